package policy_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/policy/deviceproof"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// prove answers a new challenge.
func (w *world) prove(key crypto.Signer, p deviceproof.Purpose, change ...func(*deviceproof.Claims)) string {
	w.t.Helper()
	nonce, expires, err := w.devices.Challenge(w.t.Context(), tenant, p)
	if err != nil {
		w.t.Fatal(err)
	}
	if !expires.Equal(w.clock.Now().Add(policy.ChallengeLife)) {
		w.t.Errorf("the challenge expires at %v", expires)
	}
	c := deviceproof.Claims{Nonce: nonce, Audience: baseURL, Tenant: tenant, Purpose: p}
	for _, fn := range change {
		fn(&c)
	}
	proof, err := deviceproof.Sign(key, c)
	if err != nil {
		w.t.Fatal(err)
	}
	return proof
}

func (w *world) register(key crypto.Signer) *directory.Device {
	w.t.Helper()
	d, err := w.devices.Register(w.t.Context(), tenant, policy.Registration{
		Proof: w.prove(key, deviceproof.Register), DisplayName: "laptop", OS: "Linux", OSVersion: "6", TrustType: "AzureAd", Owner: ann,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) compliant(d *directory.Device) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		return state.Devices.Modify(tx, state.Key(tenant, d.ID), func(d *directory.Device) error { d.Compliant = true; return nil })
	})
}

// certificate is self-signed with a device's key.
func certificate(t testing.TB, key crypto.Signer, notAfter time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "any name"}, NotBefore: start.Add(-time.Hour), NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestRegisteredDeviceProvesItself(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": newKey(t), "RSA": rsaKey} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			d := w.register(key)
			if d.Compliant || d.Managed || d.KeyThumbprint == "" {
				t.Errorf("registered %+v", d)
			}
			if owners := state.Linked(w.store.View(), directory.Owner, tenant, d.ID, start); len(owners) != 1 || owners[0].To != ann {
				t.Errorf("owners %v", owners)
			}
			got, err := w.devices.FromProof(t.Context(), tenant, w.prove(key, deviceproof.SignIn))
			if err != nil || got.ID != d.DeviceID || got.Compliant || got.TrustType != ca.TrustAzureAD || got.Attributes.OperatingSystem != "Linux" {
				t.Fatalf("%+v %v", got, err)
			}
			w.compliant(d)
			if got, err = w.devices.FromProof(t.Context(), tenant, w.prove(key, deviceproof.SignIn)); err != nil || !got.Compliant {
				t.Errorf("%+v %v", got, err)
			}
		})
	}
}

// Over a real TLS connection: the handshake proves the key.
func TestTLSProvesTheDevice(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	d := w.register(key)
	var got *ca.Device
	var gotErr error
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, gotErr = w.devices.DeviceOf(r.Context(), r, tenant)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	ask := func(certs ...tls.Certificate) error {
		t.Helper()
		transport := server.Client().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = certs
		defer transport.CloseIdleConnections()
		got, gotErr = nil, nil
		res, err := (&http.Client{Transport: transport}).Get(server.URL)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	if err := ask(certificate(t, key, start.Add(time.Hour))); err != nil || gotErr != nil || got == nil || got.ID != d.DeviceID {
		t.Errorf("with the device's key: %+v %v %v", got, gotErr, err)
	}
	if err := ask(); err != nil || got != nil || gotErr != nil {
		t.Errorf("without a certificate: %+v %v %v", got, gotErr, err)
	}
	if err := ask(certificate(t, newKey(t), start.Add(time.Hour))); err != nil || got != nil || gotErr != nil {
		t.Errorf("with another key: %+v %v %v", got, gotErr, err)
	}
	// The device's certificate without its key: the handshake fails.
	stolen := certificate(t, key, start.Add(time.Hour))
	stolen.PrivateKey = newKey(t)
	if err := ask(stolen); err == nil && got != nil {
		t.Error("a certificate alone is a device")
	}
	if err := ask(certificate(t, key, start.Add(-time.Minute))); err != nil || got != nil || !errs.Is(gotErr, errs.Unauthenticated) {
		t.Errorf("with a certificate that has expired: %+v %v %v", got, gotErr, err)
	}
	w.update(func(tx *store.Tx) error {
		return state.Devices.Modify(tx, state.Key(tenant, d.ID), func(d *directory.Device) error { d.Enabled = false; return nil })
	})
	if err := ask(certificate(t, key, start.Add(time.Hour))); err != nil || got != nil || !errs.Is(gotErr, errs.Forbidden) {
		t.Errorf("of a disabled device: %+v %v %v", got, gotErr, err)
	}
}

// Everything by which a request could say that it comes from a device, other
// than its proofs: none makes one, and the policy that wants a compliant device
// refuses each.
func TestNothingElseIsADevice(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	d := w.register(key)
	w.compliant(d)
	w.create(policy.CreatePolicy, rule("compliant", everybody, "compliantDevice"))
	cert := certificate(t, key, start.Add(time.Hour))
	der := base64.StdEncoding.EncodeToString(cert.Certificate[0])
	pem := url.QueryEscape("-----BEGIN CERTIFICATE-----\n" + der + "\n-----END CERTIFICATE-----\n")
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	form := func(name, value string) func(*http.Request) {
		return func(r *http.Request) {
			r.Form, r.PostForm = url.Values{name: {value}}, url.Values{name: {value}}
			r.URL.RawQuery = r.Form.Encode()
		}
	}
	unsigned := func(alg string) string {
		enc := base64.RawURLEncoding.EncodeToString
		return enc([]byte(`{"alg":"`+alg+`","typ":"JWT"}`)) + "." + enc([]byte(`{"device_id":"`+d.DeviceID+`","deviceid":"`+d.DeviceID+`","is_compliant":true}`)) + "." + enc([]byte("x"))
	}
	attempts := map[string]func(*http.Request){
		"nothing":                           func(*http.Request) {},
		"header X-Client-Cert":              header("X-Client-Cert", pem),
		"header X-SSL-Client-Cert":          header("X-SSL-Client-Cert", pem),
		"header X-Forwarded-Client-Cert":    header("X-Forwarded-Client-Cert", `Hash=`+d.KeyThumbprint+`;Cert="`+pem+`"`),
		"header X-ARR-ClientCert":           header("X-ARR-ClientCert", der),
		"header Client-Cert (RFC 9440)":     header("Client-Cert", ":"+der+":"),
		"header X-SSL-Client-Verify":        header("X-SSL-Client-Verify", "SUCCESS"),
		"header x-ms-device-id":             header("x-ms-device-id", d.DeviceID),
		"header X-MS-DeviceId":              header("X-MS-DeviceId", d.DeviceID),
		"header x-ms-isCompliant":           header("x-ms-isCompliant", "true"),
		"header x-ms-DeviceCredential":      header("x-ms-DeviceCredential", unsigned("RS256")),
		"header x-ms-RefreshTokenCredentia": header("x-ms-RefreshTokenCredential", unsigned("HS256")),
		"header DPoP":                       header("DPoP", unsigned("none")),
		"header Authorization":              header("Authorization", "Bearer "+unsigned("none")),
		"header Device-Id":                  header("Device-Id", d.DeviceID),
		"cookie": func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "x-ms-RefreshTokenCredential", Value: unsigned("none")})
			r.AddCookie(&http.Cookie{Name: "deviceid", Value: d.DeviceID})
		},
		"form device_id":      form("device_id", d.DeviceID),
		"form deviceid":       form("deviceid", d.DeviceID),
		"form device_proof":   form("device_proof", d.KeyThumbprint),
		"form key_thumbprint": form("key_thumbprint", d.KeyThumbprint),
		"form client_info":    form("client_info", unsigned("none")),
		"form is_compliant":   form("is_compliant", "true"),
		"user agent": header("User-Agent",
			"Mozilla/5.0 (Windows NT 10.0; Win64; x64) Edge/120 (compliant; managed; deviceId "+d.DeviceID+")"),
		"unfinished handshake": func(r *http.Request) {
			leaf, _ := x509.ParseCertificate(cert.Certificate[0])
			r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		},
		"only an issuer's certificate has the key": func(r *http.Request) {
			leaf, _ := x509.ParseCertificate(certificate(t, newKey(t), start.Add(time.Hour)).Certificate[0])
			issuer, _ := x509.ParseCertificate(cert.Certificate[0])
			r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: []*x509.Certificate{leaf, issuer}}
		},
		"proof that is the device's id":         header(policy.ProofHeader, d.DeviceID),
		"proof that is the thumbprint":          header(policy.ProofHeader, d.KeyThumbprint),
		"proof without a signature":             header(policy.ProofHeader, unsigned("none")),
		"empty proof":                           header(policy.ProofHeader, ""),
		"proof of a key that nobody registered": header(policy.ProofHeader, w.prove(newKey(t), deviceproof.SignIn)),
		"two proofs": func(r *http.Request) {
			r.Header.Add(policy.ProofHeader, w.prove(key, deviceproof.SignIn))
			r.Header.Add(policy.ProofHeader, w.prove(key, deviceproof.SignIn))
		},
	}
	for name, attempt := range attempts {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, baseURL+"/token", nil)
			attempt(r)
			device, err := w.devices.DeviceOf(t.Context(), r, tenant)
			if device != nil {
				t.Fatalf("became the device %+v", device)
			}
			if strings.Contains(name, "proof") && name != "form device_proof" && err == nil {
				t.Error("a proof that is not valid is no error")
			}
			f := facts(ann)
			f.Device = device
			if got := w.decide(f); got == ca.Granted {
				t.Error("granted")
			}
		})
	}
	// The same request with a real proof is granted: the policy is what refused.
	r := httptest.NewRequest(http.MethodPost, baseURL+"/token", nil)
	r.Header.Set(policy.ProofHeader, w.prove(key, deviceproof.SignIn))
	device, err := w.devices.DeviceOf(t.Context(), r, tenant)
	if err != nil {
		t.Fatal(err)
	}
	f := facts(ann)
	f.Device = device
	if got := w.decide(f); got != ca.Granted {
		t.Errorf("with a proof: %v", got)
	}
}

func TestProofIsRefused(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	w.register(key)
	good := w.prove(key, deviceproof.SignIn)
	parts := strings.Split(good, ".")
	header, _ := base64.RawURLEncoding.DecodeString(parts[0])
	reheader := func(old, new string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(strings.Replace(string(header), old, new, 1))) + "." + parts[1] + "." + parts[2]
	}
	flipped := []byte(parts[2])
	flipped[10] ^= 1
	for name, proof := range map[string]string{
		"of another purpose":         w.prove(key, deviceproof.Register),
		"for another audience":       w.prove(key, deviceproof.SignIn, func(c *deviceproof.Claims) { c.Audience = "https://login.example" }),
		"for another tenant":         w.prove(key, deviceproof.SignIn, func(c *deviceproof.Claims) { c.Tenant = tenant2 }),
		"purpose changed":            w.prove(key, deviceproof.Register, func(c *deviceproof.Claims) { c.Purpose = deviceproof.SignIn }),
		"nonce of its own":           w.prove(key, deviceproof.SignIn, func(c *deviceproof.Claims) { c.Nonce = base64.RawURLEncoding.EncodeToString(make([]byte, 40)) }),
		"short nonce":                w.prove(key, deviceproof.SignIn, func(c *deviceproof.Claims) { c.Nonce = "AAAA" }),
		"no nonce":                   w.prove(key, deviceproof.SignIn, func(c *deviceproof.Claims) { c.Nonce = "" }),
		"alg none":                   reheader(`"ES256"`, `"none"`),
		"alg of another key":         reheader(`"ES256"`, `"RS256"`),
		"typ of another token":       reheader(deviceproof.Type, "JWT"),
		"critical extension":         reheader(`{"typ"`, `{"crit":["x"],"typ"`),
		"private key in the header":  reheader(`"kty"`, `"d":"AA","kty"`),
		"curve changed":              reheader("P-256", "P-384"),
		"signature changed":          parts[0] + "." + parts[1] + "." + string(flipped),
		"signature empty":            parts[0] + "." + parts[1] + ".",
		"payload of another proof":   parts[0] + "." + strings.Split(w.prove(key, deviceproof.SignIn), ".")[1] + "." + parts[2],
		"header of another key":      strings.Split(w.prove(newKey(t), deviceproof.SignIn), ".")[0] + "." + parts[1] + "." + parts[2],
		"too long":                   good + strings.Repeat("A", deviceproof.MaxLength),
		"padding":                    good + "=",
		"four parts":                 good + ".x",
		"expired":                    "",
		"clock set back by an hour ": "",
	} {
		t.Run(name, func(t *testing.T) {
			switch {
			case name == "expired":
				proof = w.prove(key, deviceproof.SignIn)
				w.clock.Advance(policy.ChallengeLife)
				defer w.clock.Advance(-policy.ChallengeLife)
			case strings.HasPrefix(name, "clock"):
				proof = w.prove(key, deviceproof.SignIn)
				w.clock.Advance(-time.Hour)
				defer w.clock.Advance(time.Hour)
			}
			d, err := w.devices.FromProof(t.Context(), tenant, proof)
			if d != nil {
				t.Fatal("accepted")
			}
			wantKind(t, err, errs.Unauthenticated)
		})
	}
	if _, err := w.devices.FromProof(t.Context(), tenant, good); err != nil {
		t.Errorf("the proof that all of them were made from: %v", err)
	}
	_, err := w.devices.FromProof(t.Context(), tenant, good)
	wantKind(t, err, errs.Unauthenticated)
}

// Many replicas get one proof at once: it works once.
func TestProofWorksOnce(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	w.register(key)
	sibling, err := w.store.Sibling(t.Context(), tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer sibling.Close()
	replicas := []*policy.Devices{w.devices, policy.NewDevices(sibling, w.clock, baseURL+"/")}
	proof := w.prove(key, deviceproof.SignIn)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for i := range 10 {
		wg.Go(func() {
			if _, err := replicas[i%2].FromProof(context.Background(), tenant, proof); err == nil {
				mu.Lock()
				won++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if won != 1 {
		t.Errorf("the proof worked %d times", won)
	}
}

func TestRegistrationIsRefused(t *testing.T) {
	w := newWorld(t)
	key := newKey(t)
	w.register(key)
	good := policy.Registration{DisplayName: "x", OS: "Linux", OSVersion: "6", TrustType: "Workplace", Owner: ann}
	for name, x := range map[string]struct {
		change func(*policy.Registration)
		want   errs.Kind
	}{
		"key that another device has": {func(r *policy.Registration) { r.Proof = w.prove(key, deviceproof.Register) }, errs.Exists},
		"proof of a sign-in":          {func(r *policy.Registration) { r.Proof = w.prove(newKey(t), deviceproof.SignIn) }, errs.Unauthenticated},
		"no proof":                    {func(r *policy.Registration) { r.Proof = "" }, errs.Unauthenticated},
		"claim of a hybrid join":      {func(r *policy.Registration) { r.TrustType = "ServerAd" }, errs.Invalid},
		"no name":                     {func(r *policy.Registration) { r.DisplayName = "" }, errs.Invalid},
		"owner who does not exist":    {func(r *policy.Registration) { r.Owner = "33333333-0000-4000-8000-00000000dead" }, errs.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			in := good
			in.Proof = w.prove(newKey(t), deviceproof.Register)
			x.change(&in)
			_, err := w.devices.Register(t.Context(), tenant, in)
			wantKind(t, err, x.want)
		})
	}
	if n := state.Devices.Count(w.store.View(), "tenant", string(tenant)); n != 1 {
		t.Errorf("%d devices", n)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		if _, err := deviceproof.Sign(weak, deviceproof.Claims{}); err == nil {
			t.Error("a short key is accepted")
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, err = deviceproof.Thumbprint(p384.Public())
	wantKind(t, err, errs.Invalid)
}

func TestEnroll(t *testing.T) {
	w := newWorld(t)
	d := &directory.Device{Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()), DeviceID: directory.NewGUID(), DisplayName: "given", Enabled: true, TrustType: "ServerAd", Compliant: true}
	w.update(func(tx *store.Tx) error { return state.Devices.Create(tx, d) })
	key := newKey(t)
	if err := w.devices.Enroll(t.Context(), tenant, d.ID, w.prove(key, deviceproof.Register)); err != nil {
		t.Fatal(err)
	}
	got, err := w.devices.FromProof(t.Context(), tenant, w.prove(key, deviceproof.SignIn))
	if err != nil || got.ID != d.DeviceID || got.TrustType != ca.TrustServerAD || !got.Compliant {
		t.Errorf("%+v %v", got, err)
	}
	wantKind(t, w.devices.Enroll(t.Context(), tenant, d.ID, w.prove(newKey(t), deviceproof.Register)), errs.Conflict)
	wantKind(t, w.devices.Enroll(t.Context(), tenant, "33333333-0000-4000-8000-00000000dead", w.prove(newKey(t), deviceproof.Register)), errs.NotFound)
}

func TestBoundDeviceIsThePresentOne(t *testing.T) {
	w := newWorld(t)
	d := w.register(newKey(t))
	got, err := w.devices.Bound(tenant, d.DeviceID)
	if err != nil || got.ID != d.DeviceID || got.Compliant {
		t.Fatalf("%+v %v", got, err)
	}
	w.compliant(d)
	if got, err = w.devices.Bound(tenant, d.DeviceID); err != nil || !got.Compliant {
		t.Errorf("%+v %v", got, err)
	}
	w.update(func(tx *store.Tx) error {
		return state.Devices.Modify(tx, state.Key(tenant, d.ID), func(d *directory.Device) error { d.Enabled = false; return nil })
	})
	_, err = w.devices.Bound(tenant, d.DeviceID)
	wantKind(t, err, errs.Forbidden)
	w.update(func(tx *store.Tx) error { return state.Delete(tx, tenant, d.ID, start) })
	_, err = w.devices.Bound(tenant, d.DeviceID)
	wantKind(t, err, errs.Forbidden)
}

func TestAttributesForFilters(t *testing.T) {
	d := &directory.Device{DeviceID: "x", DisplayName: "n", TrustType: "Workplace", Properties: directory.Properties{
		"model": []byte(`"Surface"`), "deviceOwnership": []byte(`"Company"`), "physicalIds": []byte(`["a","b"]`), "mdmAppId": []byte(`7`),
		"extensionAttributes": []byte(`{"extensionAttribute3":"gold","extensionAttribute4":null}`),
	}}
	a := policy.Fact(d).Attributes
	if a.Model != "Surface" || a.DeviceOwnership != "Company" || len(a.PhysicalIDs) != 2 || a.MdmAppID != "" || a.ExtensionAttributes[2] != "gold" {
		t.Errorf("%+v", a)
	}
}
