package oauth_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/test/clients/harness"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// rsaKeys are made once: they are slow to make.
var rsaKeys = sync.OnceValue(func() (k [3]*rsa.PrivateKey) {
	for i := range k {
		var err error
		if k[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return k
})

// cert makes a certificate for key, signed by the parent if there is one.
func cert(t testing.TB, name string, key *rsa.PrivateKey, from, until time.Time, parent *x509.Certificate, signer *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	template := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: until, KeyUsage: x509.KeyUsageDigitalSignature}
	if parent == nil {
		parent, signer = template, key
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage |= x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func keyCredential(c *x509.Certificate) directory.KeyCredential {
	return directory.KeyCredential{KeyID: directory.NewGUID(), Type: "AsymmetricX509Cert", Usage: "Verify", Key: c.Raw, Start: c.NotBefore, End: c.NotAfter.Add(48 * time.Hour)}
}

type object = map[string]any

// jwt signs a token. Members of header and claims are as given.
func jwt(t testing.TB, key *rsa.PrivateKey, header, claims object) string {
	t.Helper()
	part := func(v any) string {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return base64.RawURLEncoding.EncodeToString(b)
	}
	return signParts(t, key, header, part(header), part(claims))
}

// signParts signs parts that are encoded already, as the header says.
func signParts(t testing.TB, key *rsa.PrivateKey, header object, first, second string) string {
	t.Helper()
	text := first + "." + second
	sum := sha256.Sum256([]byte(text))
	var sig []byte
	var err error
	if header["alg"] == "PS256" {
		sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		sig, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func x5t(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func x5tS256(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// certified is a confidential client with a certificate.
type certified struct {
	c    *harness.Cloud
	app  *directory.Application
	cert *x509.Certificate
}

func newCertified(t *testing.T, c *harness.Cloud) *certified {
	k := &certified{c: c}
	k.cert = cert(t, "ci", rsaKeys()[0], c.Clock.Now().Add(-time.Hour), c.Clock.Now().Add(24*time.Hour), nil, nil)
	k.app, _ = c.AddApp("certified", func(a *directory.Application) {
		a.Credentials.Keys = []directory.KeyCredential{keyCredential(k.cert)}
	})
	return k
}

func (k *certified) header() object { return object{"typ": "JWT", "alg": "RS256", "x5t": x5t(k.cert)} }

func (k *certified) claims() object {
	now := k.c.Clock.Now().Unix()
	return object{"iss": k.app.AppID, "sub": k.app.AppID, "aud": k.c.URL + k.c.TokenPath(), "jti": directory.NewGUID(), "iat": now, "nbf": now, "exp": now + 600}
}

func (k *certified) send(assertion string, more ...string) *harness.Reply {
	return k.c.Post(k.c.TokenPath(), append([]string{"grant_type", "client_credentials", "client_id", string(k.app.AppID), "scope", aksApp + "/.default",
		"client_assertion_type", assertionType, "client_assertion", assertion}, more...)...)
}

func TestCertificateAssertion(t *testing.T) {
	c := harness.Start(t)
	k := newCertified(t, c)
	for _, tt := range []struct {
		name string
		edit func(h, cl object)
	}{
		{"RS256 and x5t", func(h, cl object) {}},
		{"PS256 and x5t#S256", func(h, cl object) { h["alg"], h["x5t#S256"] = "PS256", x5tS256(k.cert); delete(h, "x5t") }},
		{"kid", func(h, cl object) { h["kid"] = x5t(k.cert); delete(h, "x5t") }},
		{"audience of v1", func(h, cl object) { cl["aud"] = c.URL + c.V1TokenPath() }},
		{"audience is the issuer", func(h, cl object) { cl["aud"] = c.URL + "/" + string(c.Tenant.ID) + "/v2.0" }},
		{"audience of the public cloud", func(h, cl object) { cl["aud"] = "https://login.microsoftonline.com" + c.TokenPath() }},
		{"no jti", func(h, cl object) { delete(cl, "jti") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, cl := k.header(), k.claims()
			tt.edit(h, cl)
			r := k.send(jwt(t, rsaKeys()[0], h, cl)).Want(c)
			if claims := c.Verify(r.Text("access_token"), aksApp); claims.AppIDACR != "2" {
				t.Errorf("appidacr is %q after a certificate", claims.AppIDACR)
			}
		})
	}
}

// TestCertificateRegistration: a certificate proves its application only while it
// is registered, and only if it is registered for that.
func TestCertificateRegistration(t *testing.T) {
	c := harness.Start(t)
	now := c.Clock.Now()
	for name, edit := range map[string]func(k *directory.KeyCredential){
		"its registration has ended":      func(k *directory.KeyCredential) { k.End = now.Add(-time.Minute) },
		"its registration has not begun":  func(k *directory.KeyCredential) { k.Start = now.Add(time.Minute) },
		"it is registered for encryption": func(k *directory.KeyCredential) { k.Usage = "Encrypt" },
	} {
		k := newCertified(t, c)
		c.Update(func(tx *store.Tx) error {
			return state.Applications.Modify(tx, state.Key(k.app.Tenant, k.app.ID), func(a *directory.Application) error {
				edit(&a.Credentials.Keys[0])
				return nil
			})
		})
		if r := k.send(jwt(t, rsaKeys()[0], k.header(), k.claims())); r.Code() != 700027 || r.Status != 401 {
			t.Errorf("%s: %d: %s", name, r.Code(), r.Body)
		}
	}
}

// TestSubjectName is the subject name and issuer form: a new certificate of the
// same name by the same authority works without being registered.
func TestSubjectName(t *testing.T) {
	c := harness.Start(t)
	now := c.Clock.Now()
	ca := cert(t, "Contoso CA", rsaKeys()[0], now.Add(-time.Hour), now.Add(time.Hour), nil, nil)
	old := cert(t, "ci.contoso.example", rsaKeys()[1], now.Add(-time.Hour), now.Add(time.Hour), ca, rsaKeys()[0])
	renewed := cert(t, "ci.contoso.example", rsaKeys()[2], now.Add(-time.Hour), now.Add(time.Hour), ca, rsaKeys()[0])
	other := cert(t, "somebody.else.example", rsaKeys()[2], now.Add(-time.Hour), now.Add(time.Hour), ca, rsaKeys()[0])
	forged := cert(t, "ci.contoso.example", rsaKeys()[2], now.Add(-time.Hour), now.Add(time.Hour), nil, nil)
	k := &certified{c: c, cert: renewed}
	k.app, _ = c.AddApp("sni", func(a *directory.Application) {
		a.Credentials.Keys = []directory.KeyCredential{keyCredential(ca), keyCredential(old)}
	})
	for _, tt := range []struct {
		name string
		leaf *x509.Certificate
		want int
	}{{"renewed", renewed, 0}, {"another subject", other, 700030}, {"self-signed", forged, 700030}} {
		k.cert = tt.leaf
		h := k.header()
		h["x5c"] = []string{base64.StdEncoding.EncodeToString(tt.leaf.Raw), base64.StdEncoding.EncodeToString(ca.Raw)}
		if r := k.send(jwt(t, rsaKeys()[2], h, k.claims())); r.Code() != tt.want {
			t.Errorf("%s: %d: %s", tt.name, r.Code(), r.Body)
		}
	}
}

// federated is a client that trusts a foreign issuer.
type federated struct {
	c   *harness.Cloud
	app *directory.Application
}

const issuer = "https://issuer.example/cluster/"

func newFederated(c *harness.Cloud) *federated {
	f := &federated{c: c}
	f.app, _ = c.AddApp("federated", func(a *directory.Application) {
		a.Credentials.Federated = []directory.FederatedCredential{{
			ID: directory.NewGUID(), Name: "f", Issuer: issuer, Subject: "system:serviceaccount:ns:sa", Audiences: []string{"api://AzureADTokenExchange"},
		}}
	})
	c.Issuers.Keyed[issuer] = publicKeys("k1", rsaKeys()[1])
	return f
}

func (f *federated) claims() object {
	now := f.c.Clock.Now().Unix()
	return object{"iss": issuer, "sub": "system:serviceaccount:ns:sa", "aud": []string{"api://AzureADTokenExchange"}, "iat": now, "nbf": now, "exp": now + 3600}
}

func (f *federated) send(t testing.TB, header, claims object) *harness.Reply {
	return f.c.Post(f.c.TokenPath(), "grant_type", "client_credentials", "client_id", string(f.app.AppID), "scope", aksApp+"/.default",
		"client_assertion_type", assertionType, "client_assertion", jwt(t, rsaKeys()[1], header, claims))
}

func TestFederatedAssertion(t *testing.T) {
	c := harness.Start(t)
	f := newFederated(c)
	// The same assertion serves for one resource after another, as the Azure
	// CLI and the SDKs use it.
	claims := f.claims()
	for range 2 {
		r := f.send(t, object{"alg": "RS256", "kid": "k1"}, claims).Want(c)
		if got := c.Verify(r.Text("access_token"), aksApp); got.AppIDACR != "2" {
			t.Errorf("appidacr is %q", got.AppIDACR)
		}
		if r.JSON["expires_in"] != 86400.0 && r.JSON["expires_in"] != 86399.0 {
			t.Errorf("expires_in is %v, want a day", r.JSON["expires_in"])
		}
	}
	events := c.Events()
	if events[0].ClientAuth != "federated" || events[0].ServicePrincipal == "" {
		t.Errorf("log: %+v", events[0])
	}
}
