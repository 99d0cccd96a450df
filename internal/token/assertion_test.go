package token_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/token"
)

func clientPolicy(t testing.TB, k *token.Key) token.AssertionPolicy {
	t.Helper()
	cert, err := x509.ParseCertificate(k.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return token.AssertionPolicy{
		Issuer: clientID, Subject: clientID, Audiences: []string{assertAud}, RequireID: true, MaxLifetime: 15 * time.Minute,
		Find: token.CertificateKeys([]*x509.Certificate{cert}),
	}
}

func TestAssertion(t *testing.T) {
	k := testKey(t, tenantA)
	p := clientPolicy(t, k)
	tok := assertion(t, k, "RS256", nil, func(c map[string]any) { c["extra"], c["list"] = "x", []string{"y"} })
	a, err := token.VerifyAssertion(tok, p, now)
	if err != nil {
		t.Fatal(err)
	}
	if a.Issuer != clientID || a.Subject != clientID || a.ID != "j-1" || a.Expires != now.Unix()+600 || a.Header.X5T != string(k.ID) {
		t.Errorf("assertion = %+v", a)
	}
	if s, ok := a.Text("extra"); !ok || s != "x" {
		t.Errorf("extra = %q", s)
	}
	if l, ok := a.List("list"); !ok || len(l) != 1 {
		t.Errorf("list = %v", l)
	}
	if iss, sub, err := token.AssertionIssuer(tok); err != nil || iss != clientID || sub != clientID {
		t.Errorf("AssertionIssuer = %s, %s, %v", iss, sub, err)
	}
	sum := sha1.Sum(k.Certificate())
	byHex := assertion(t, k, "RS256", func(h map[string]any) {
		delete(h, "x5t")
		h["kid"] = hex.EncodeToString(sum[:])
	}, nil)
	if _, err := token.VerifyAssertion(byHex, p, now); err != nil {
		t.Errorf("kid as the thumbprint in hexadecimal: %v", err)
	}
	p.NoPSS = true
	if _, err := token.VerifyAssertion(assertion(t, k, "PS256", nil, nil), p, now); token.ClassOf(err) != token.ClassAlgorithm {
		t.Errorf("PS256 where it is not used: %v", err)
	}
	p.MaxLifetime = 0
	for exp, ok := range map[int64]bool{86460: true, 86461: false} {
		tok := assertion(t, k, "RS256", nil, func(c map[string]any) { c["exp"] = now.Unix() + exp })
		if _, err := token.VerifyAssertion(tok, p, now); (err == nil) != ok {
			t.Errorf("exp in %d s without a bound of the caller's: %v", exp, err)
		}
	}
	p.Issuer = ""
	tok = assertion(t, k, "RS256", nil, func(c map[string]any) { c["iss"] = "" })
	if _, err := token.VerifyAssertion(tok, p, now); err == nil {
		t.Error("an empty policy trusts an empty issuer")
	}
}

func TestAssertionCertificateDates(t *testing.T) {
	k := testKey(t, tenantA)
	p := clientPolicy(t, k)
	cert, err := x509.ParseCertificate(k.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		at time.Time
		ok bool
	}{
		"before": {cert.NotBefore.Add(-time.Second), false}, "first": {cert.NotBefore, true},
		"last": {cert.NotAfter, true}, "after": {cert.NotAfter.Add(time.Second), false},
	} {
		tok := assertion(t, k, "RS256", nil, func(c map[string]any) {
			c["nbf"], c["iat"], c["exp"] = tc.at.Unix(), tc.at.Unix(), tc.at.Unix()+600
		})
		_, err := token.VerifyAssertion(tok, p, tc.at)
		if tc.ok && err != nil || !tc.ok && token.ClassOf(err) != token.ClassKeyTime {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAssertionWeakKeys(t *testing.T) {
	k := testKey(t, tenantA)
	p := clientPolicy(t, k)
	tok := assertion(t, k, "RS256", nil, nil)
	good := k.Public()
	for name, weak := range map[string]*rsa.PublicKey{
		"none": nil, "no modulus": {E: 65537}, "even exponent": {N: good.N, E: 65536}, "exponent one": {N: good.N, E: 1},
		"even modulus": {N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}, "short": {N: big.NewInt(1<<62 + 1), E: 65537},
	} {
		p.Find = func(token.AssertionHeader) []token.PublicKey { return []token.PublicKey{{Key: weak}} }
		if _, err := token.VerifyAssertion(tok, p, now); token.ClassOf(err) != token.ClassSignature {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Signed with a key that is too short, and verified with it.
	short, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip("this toolchain makes no short keys")
	}
	p.Find = func(token.AssertionHeader) []token.PublicKey { return []token.PublicKey{{Key: &short.PublicKey}} }
	if _, err := token.VerifyAssertion(rawPrivate(t, short, `{"alg":"RS256"}`, fmt.Sprintf(
		`{"iss":%q,"sub":%q,"aud":%q,"jti":"j","exp":%d}`, clientID, clientID, assertAud, now.Unix()+60)), p, now); token.ClassOf(err) != token.ClassSignature {
		t.Errorf("a key of 1024 bits: %v", err)
	}
}

func TestIssuerKeys(t *testing.T) {
	a, b := testKey(t, tenantA), testKey(t, tenantB)
	doc, err := json.Marshal(newSet(t, token.DefaultPolicy, a).JWKS(now, "", ""))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := token.ParseJWKS(doc)
	if err != nil {
		t.Fatal(err)
	}
	const iss = "https://oidc.example.test/"
	p := token.AssertionPolicy{Issuer: iss, Audiences: []string{"api://AzureADTokenExchange"}, Find: token.IssuerKeys(keys)}
	k8s := func(k *token.Key, header func(map[string]any), iss string) string {
		return assertion(t, k, "RS256", func(h map[string]any) {
			delete(h, "x5t")
			delete(h, "typ")
			if header != nil {
				header(h)
			}
		}, func(c map[string]any) {
			c["iss"], c["sub"], c["aud"] = iss, "system:serviceaccount:ns:sa", []string{"api://AzureADTokenExchange"}
			delete(c, "jti")
		})
	}
	noKid := func(h map[string]any) { delete(h, "kid") }
	got, err := token.VerifyAssertion(k8s(a, nil, iss), p, now)
	if err != nil || got.Subject != "system:serviceaccount:ns:sa" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := token.VerifyAssertion(k8s(a, noKid, iss), p, now); err != nil {
		t.Errorf("one key, no kid: %v", err)
	}
	if _, err := token.VerifyAssertion(k8s(b, nil, iss), p, now); token.ClassOf(err) != token.ClassKey {
		t.Errorf("another's kid: %v", err)
	}
	if _, err := token.VerifyAssertion(k8s(b, noKid, iss), p, now); token.ClassOf(err) != token.ClassSignature {
		t.Errorf("another's key: %v", err)
	}
	if _, err := token.VerifyAssertion(k8s(a, nil, iss[:len(iss)-1]), p, now); token.ClassOf(err) != token.ClassIssuer {
		t.Errorf("issuer without its slash: %v", err)
	}
	keys["second"] = b.Public()
	if _, err := token.VerifyAssertion(k8s(a, noKid, iss), p, now); token.ClassOf(err) != token.ClassKey {
		t.Errorf("two keys, no kid: %v", err)
	}
}

func TestRemoteTrust(t *testing.T) {
	k := testKey(t, tenantB)
	trust := token.NewTrustStore()
	name := issuers.Name(token.V1, tenantB)
	keys := map[token.KeyID]*rsa.PublicKey{k.ID: k.Public(), "weak": {N: big.NewInt(15), E: 3}}
	if err := trust.AddRemote(name, token.Trust{Tenant: tenantB, Version: token.V1}, keys, now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok := trust.Key(name, "weak"); ok {
		t.Error("a weak key is trusted")
	}
	if err := trust.AddRemote(name, token.Trust{Tenant: tenantA, Version: token.V1}, keys, time.Time{}); err == nil {
		t.Error("one issuer speaks for two tenants")
	}
	if err := trust.AddRemote("https://x.example.test/", token.Trust{Version: token.V1}, keys, time.Time{}); err == nil {
		t.Error("an issuer speaks for no tenant")
	}
	v := &token.Verifier{Keys: trust, Audiences: newVerifier(t).Audiences}
	f := userFacts()
	f.Tenant.ID, f.Lifetime = tenantB, 5*time.Hour
	tok := sign(t, k, accessClaims(t, f))
	if _, err := v.Verify(tok, now); err != nil {
		t.Error(err)
	}
	if _, err := v.Verify(tok, now.Add(time.Hour)); token.ClassOf(err) != token.ClassKeyTime {
		t.Errorf("after the key document has gone stale: %v", err)
	}
}

// TestShell is the way of a token that is bound to a key: issued for the
// client's key, wrapped by the client, verified twice by the receiver.
func TestShell(t *testing.T) {
	key, err := pop.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	cnf, err := pop.DecodeReqCnf(key.ReqCnf())
	if err != nil {
		t.Fatal(err)
	}
	f := userFacts()
	f.Cnf = &token.Confirmation{KeyID: cnf.KeyID, Location: cnf.Location}
	inner := sign(t, testKey(t, tenantA), accessClaims(t, f))
	v := newVerifier(t)
	show := func(k *pop.Key) error {
		outer, err := k.Sign(inner, "cluster", pop.NewNonce(), now)
		if err != nil {
			t.Fatal(err)
		}
		s, err := pop.Verify(outer, pop.Options{Host: "cluster", Now: now})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.VerifyBound(s.AccessToken, s.Thumbprint, now)
		return err
	}
	if err := show(key); err != nil {
		t.Errorf("the owner: %v", err)
	}
	thief, err := pop.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := show(thief); token.ClassOf(err) != token.ClassBinding {
		t.Errorf("a thief: %v", err)
	}
	if _, err := v.VerifyBound(inner, "", now); token.ClassOf(err) != token.ClassBinding {
		t.Errorf("without a thumbprint: %v", err)
	}
}
