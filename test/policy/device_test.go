// Package policy_test asks a running cloud, over HTTP, what Conditional Access,
// devices, just-in-time privilege and the logs promise.
package policy_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/policy/deviceproof"
)

func newKey(t *testing.T) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// withKey is a client whose connections prove a key.
func withKey(t *testing.T, cloud *entrancetest.Cloud, key crypto.Signer) *http.Client {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "laptop"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := os.ReadFile(cloud.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// proof answers a challenge of the cloud.
func proof(t *testing.T, cloud *entrancetest.Cloud, key crypto.Signer, p deviceproof.Purpose) string {
	t.Helper()
	res, err := cloud.Client.PostForm(cloud.URL+policy.ChallengePath, url.Values{"tenant": {cloud.Domain}, "purpose": {string(p)}})
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var c policy.Challenged
	if err := json.NewDecoder(res.Body).Decode(&c); err != nil || c.Nonce == "" {
		t.Fatalf("challenge: HTTP %d, %v", res.StatusCode, err)
	}
	s, err := deviceproof.Sign(key, c.Claims)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post sends a body to Graph as somebody and returns the status and the answer.
func post(t *testing.T, cloud *entrancetest.Cloud, token, path string, body any) (int, map[string]any) {
	t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, cloud.URL+"/v1.0"+path, bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := cloud.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	return res.StatusCode, out
}

// answer of the token endpoint.
type answer struct {
	Access        string `json:"access_token"`
	Description   string `json:"error_description"`
	Error, Claims string
	Codes         []int  `json:"error_codes"`
	Correlation   string `json:"correlation_id"`
	DeviceCode    string `json:"device_code"`
	UserCode      string `json:"user_code"`
}

func signIn(t *testing.T, cloud *entrancetest.Cloud, client *http.Client, u entrancetest.User, header http.Header, more url.Values) answer {
	t.Helper()
	form := url.Values{
		"grant_type": {"password"}, "client_id": {string(directory.AzureCLI)}, "scope": {cloud.AKSScope()},
		"username": {u.UserPrincipalName}, "password": {u.Password},
	}
	for k, v := range more {
		form[k] = v
	}
	req, err := http.NewRequest(http.MethodPost, cloud.URL+"/"+cloud.TenantID+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var a answer
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a answer) code() int {
	if len(a.Codes) == 0 {
		return 0
	}
	return a.Codes[0]
}

// TestCompliantDevice walks through the policy that lets people reach clusters
// from compliant devices only, with the two proofs that there are and with what
// is no proof.
func TestCompliantDevice(t *testing.T) {
	cloud := entrancetest.Start(t)
	ann := cloud.AddUser(t, "ann")
	key := newKey(t)
	laptop := withKey(t, cloud, key)

	status, device := post(t, cloud, cloud.UserToken(t, ann, cloud.GraphScope()), "/devices/registerWithProof", map[string]any{
		"proof": proof(t, cloud, key, deviceproof.Register), "displayName": "ann-laptop", "operatingSystem": "Linux", "operatingSystemVersion": "6", "trustType": "AzureAd",
	})
	if status != http.StatusCreated || device["isCompliant"] == true {
		t.Fatalf("register: HTTP %d %v, want a device that is not compliant", status, device)
	}
	cloud.Graph(t, http.MethodPost, "/identity/conditionalAccess/policies", map[string]any{
		"displayName": "Clusters from compliant devices only", "state": "enabled",
		"conditions": map[string]any{
			"clientAppTypes": []string{"all"},
			"applications":   map[string]any{"includeApplications": []string{string(directory.AKSServer)}},
			"users":          map[string]any{"includeUsers": []string{ann.ID}},
		},
		"grantControls": map[string]any{"operator": "OR", "builtInControls": []string{"compliantDevice"}},
	}, nil)

	refused := func(what string, client *http.Client, header http.Header, more url.Values) {
		t.Helper()
		if a := signIn(t, cloud, client, ann, header, more); a.Access != "" || a.code() == 0 {
			t.Errorf("%s: %+v, want a refusal", what, a.Codes)
		}
	}
	refused("no device", cloud.Client, nil, nil)
	refused("a device that is not compliant", laptop, nil, nil)
	cloud.Graph(t, http.MethodPatch, "/devices/"+device["id"].(string), map[string]any{"isCompliant": true, "isManaged": true}, nil)

	if a := signIn(t, cloud, laptop, ann, nil, nil); a.Access == "" {
		t.Fatalf("compliant device by TLS: %s", a.Description)
	}
	once := proof(t, cloud, key, deviceproof.SignIn)
	if a := signIn(t, cloud, cloud.Client, ann, http.Header{policy.ProofHeader: {once}}, nil); a.Access == "" {
		t.Fatalf("compliant device by signed proof: %s", a.Description)
	}

	// What is no proof of a device's key makes no device.
	id := device["deviceId"].(string)
	refused("a proof for the second time", cloud.Client, http.Header{policy.ProofHeader: {once}}, nil)
	refused("a proof that was made to register", cloud.Client, http.Header{policy.ProofHeader: {proof(t, cloud, key, deviceproof.Register)}}, nil)
	refused("a proof with another key", cloud.Client, http.Header{policy.ProofHeader: {proof(t, cloud, newKey(t), deviceproof.SignIn)}}, nil)
	refused("a certificate with another key", withKey(t, cloud, newKey(t)), nil, nil)
	refused("headers", cloud.Client, http.Header{
		"X-Ms-Device-Id": {id}, "Device-Id": {id}, "X-Ms-Pkeyauth": {"1.0"}, "X-Client-Cert": {"MII"}, "X-Ssl-Client-Verify": {"SUCCESS"}, "Device-Compliant": {"true"},
	}, nil)
	refused("form fields", cloud.Client, nil, url.Values{"device_id": {id}, "deviceid": {id}, "isCompliant": {"true"}, "device_compliant": {"true"}})
	refused("a user agent", cloud.Client, http.Header{"User-Agent": {"PKeyAuth/1.0 deviceid=" + id + " compliant"}}, nil)

	// The log names the policy, the control and the device.
	var log struct{ Value []audit.SignIn }
	cloud.Graph(t, http.MethodGet, "/auditLogs/signIns?"+url.Values{"$filter": {"userId eq '" + ann.ID + "'"}, "$top": {"100"}}.Encode(), nil, &log)
	var granted, denied int
	for _, r := range log.Value {
		for _, p := range r.AppliedPolicies {
			if p.DisplayName != "Clusters from compliant devices only" {
				continue
			}
			switch {
			case r.Status.ErrorCode == 0 && p.Result == "success":
				granted++
				if r.Device.DeviceID != id || !r.Device.IsCompliant || !r.Device.IsManaged || r.Device.DisplayName != "ann-laptop" {
					t.Errorf("device in the log: %+v, want %s, compliant and managed", r.Device, id)
				}
			case p.Result == "failure":
				denied++
				if r.ConditionalAccess != "failure" || r.Status.ErrorCode == 0 {
					t.Errorf("a refusal is logged as %s, %+v", r.ConditionalAccess, r.Status)
				}
			default:
				continue
			}
			if len(p.GrantControls) != 1 || !strings.EqualFold(strings.ReplaceAll(p.GrantControls[0], " ", ""), "compliantDevice") && !strings.Contains(strings.ToLower(p.GrantControls[0]), "compliant") {
				t.Errorf("controls in the log: %q", p.GrantControls)
			}
			if r.ClientAppUsed == "" {
				t.Error("the log does not say which kind of client it was")
			}
		}
	}
	if granted != 2 || denied < 5 {
		t.Errorf("%d sign-ins were granted by the policy and %d refused, want 2 and at least 5", granted, denied)
	}
}

// TestRegistrationIsRefused tries to get devices and keys without a right to.
func TestRegistrationIsRefused(t *testing.T) {
	cloud := entrancetest.Start(t)
	ann := cloud.AddUser(t, "ann")
	token := cloud.UserToken(t, ann, cloud.GraphScope())
	key := newKey(t)
	body := func(proof string) map[string]any {
		return map[string]any{"proof": proof, "displayName": "d", "operatingSystem": "Linux", "operatingSystemVersion": "6", "trustType": "Workplace"}
	}
	var made struct{ ID string }
	cloud.Graph(t, http.MethodPost, "/devices", map[string]any{
		"displayName": "kiosk", "operatingSystem": "Linux", "operatingSystemVersion": "6", "accountEnabled": true,
	}, &made)
	claimed := body(proof(t, cloud, key, deviceproof.Register))
	claimed["isCompliant"] = true
	for _, c := range []struct {
		name, token, path string
		body              map[string]any
		status            int
	}{
		{"a proof for signing in", token, "/devices/registerWithProof", body(proof(t, cloud, key, deviceproof.SignIn)), 400},
		{"no proof", token, "/devices/registerWithProof", body(""), 400},
		{"compliance by one's own word", token, "/devices/registerWithProof", claimed, 400},
		{"an application", cloud.AdminToken(t, cloud.GraphScope()), "/devices/registerWithProof", body(proof(t, cloud, key, deviceproof.Register)), 400},
		{"somebody else's device", token, "/devices/" + made.ID + "/enrollKey", map[string]any{"proof": proof(t, cloud, key, deviceproof.Register)}, 403},
	} {
		if status, out := post(t, cloud, c.token, c.path, c.body); status != c.status {
			t.Errorf("%s: HTTP %d %v, want %d", c.name, status, out, c.status)
		}
	}
	admin := cloud.AdminToken(t, cloud.GraphScope())
	if status, out := post(t, cloud, admin, "/devices/"+made.ID+"/enrollKey", map[string]any{"proof": proof(t, cloud, key, deviceproof.Register)}); status != http.StatusNoContent {
		t.Errorf("an administrator enrols a key: HTTP %d %v", status, out)
	}
	if status, _ := post(t, cloud, admin, "/devices/"+made.ID+"/enrollKey", map[string]any{"proof": proof(t, cloud, newKey(t), deviceproof.Register)}); status != http.StatusConflict {
		t.Errorf("a second key: HTTP %d, want 409", status)
	}
}

// form2json sends a form to the tenant's endpoint and decodes the answer,
// whatever its status.
func form2json(t *testing.T, cloud *entrancetest.Cloud, path string, form url.Values, out any) {
	t.Helper()
	res, err := cloud.Client.PostForm(cloud.URL+"/"+cloud.TenantID+path, form)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		t.Fatal(err)
	}
}
