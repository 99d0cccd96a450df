package token_test

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"

	"github.com/entrance-id/entrance/internal/token"
)

// publicKeys are the keys of the corpus by kid.
func (w *world) publicKeys() map[string]*rsa.PublicKey {
	m := make(map[string]*rsa.PublicKey)
	for _, k := range w.keys {
		m[string(k.ID)] = k.Public()
	}
	return m
}

// joseClaims is go-jose's opinion of a token: its signature, and its claims.
func joseClaims(tok string, keys map[string]*rsa.PublicKey) (map[string]any, error) {
	s, err := jose.ParseSignedCompact(tok, []jose.SignatureAlgorithm{jose.RS256, jose.PS256})
	if err != nil {
		return nil, err
	}
	h := s.Signatures[0].Header
	key := keys[h.KeyID]
	if key == nil {
		return nil, errors.New("no such key")
	}
	payload, err := s.Verify(key)
	if err != nil {
		return nil, err
	}
	var c map[string]any
	return c, json.Unmarshal(payload, &c)
}

// jwtClaims is golang-jwt's opinion of a token: signature and times.
func jwtClaims(tok string, keys map[string]*rsa.PublicKey) (map[string]any, error) {
	c := jwt.MapClaims{}
	_, err := jwt.NewParser(
		jwt.WithValidMethods([]string{"RS256", "PS256"}), jwt.WithLeeway(token.Leeway),
		jwt.WithTimeFunc(func() time.Time { return now }), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
	).ParseWithClaims(tok, c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if k := keys[kid]; k != nil {
			return k, nil
		}
		return nil, errors.New("no such key")
	})
	return c, err
}

// differ reports what our verifier and the two others disagree about, as far as
// that would be our mistake.
func differ(t *testing.T, w *world, v vector) {
	tok := v.token()
	_, err := w.verify(t, v)
	if err != nil {
		return // stricter is what we want to be
	}
	keys := w.publicKeys()
	ours, perr := token.UnverifiedClaims(tok)
	j, jerr := joseClaims(tok, keys)
	g, gerr := jwtClaims(tok, keys)
	if perr != nil || jerr != nil && gerr != nil {
		t.Fatalf("accepted here, and by nobody else: %v, %v, %v", perr, jerr, gerr)
	}
	// Whoever accepts it too must read the same.
	for name, other := range map[string]struct {
		claims map[string]any
		err    error
	}{"go-jose": {j, jerr}, "golang-jwt": {g, gerr}} {
		if other.err != nil {
			t.Errorf("%s refuses it: %v", name, other.err)
			continue
		}
		for claim, want := range ours {
			if got, _ := other.claims[claim].(string); got != want {
				t.Errorf("%s reads %s as %q, we as %q", name, claim, got, want)
			}
		}
	}
}

func TestDifferential(t *testing.T) {
	w := loadWorld(t)
	for _, v := range readCorpus(t) {
		t.Run(v.Name, func(t *testing.T) {
			differ(t, w, v)
			if v.Expect != "ok" {
				return
			}
			// On the valid half all agree.
			if v.Kind == "assertion" {
				return // they find no key by x5t; differ has asked them by kid
			}
			if _, err := joseClaims(v.token(), w.publicKeys()); err != nil {
				t.Errorf("go-jose: %v", err)
			}
			if _, err := jwtClaims(v.token(), w.publicKeys()); err != nil {
				t.Errorf("golang-jwt: %v", err)
			}
		})
	}
}

// FuzzVerify starts from the corpus. A token that is accepted must be accepted
// by the witnesses, with the same claims, and must be the only spelling of
// itself.
func FuzzVerify(f *testing.F) {
	for _, v := range readCorpus(f) {
		f.Add(v.token(), v.Kind == "assertion")
	}
	w := loadWorld(f)
	f.Fuzz(func(t *testing.T, tok string, assertion bool) {
		v := vector{Name: "fuzz", Kind: "access", Prefix: tok}
		if assertion {
			v.Kind = "assertion"
		}
		_, err := w.verify(t, v)
		if err != nil && token.ClassOf(err) == 0 {
			t.Errorf("an error without a class: %v", err)
		}
		differ(t, w, v)
	})
}

// FuzzSignedClaims signs any payload, so that the fuzzer gets past the
// signature to the claims.
func FuzzSignedClaims(f *testing.F) {
	w := loadWorld(f)
	a := w.keys["a-active"]
	hdr := `{"typ":"JWT","alg":"RS256","kid":"` + string(a.ID) + `"}`
	for _, v := range readCorpus(f) {
		if payload, ok := payloadOf(v.token()); ok && v.Kind != "assertion" {
			f.Add(payload)
		}
	}
	f.Fuzz(func(t *testing.T, payload string) {
		differ(t, w, vector{Name: "fuzz", Kind: "access", Prefix: raw(t, a, hdr, payload)})
	})
}

func FuzzParseJWKS(f *testing.F) {
	k := testKey(f, tenantA)
	doc, err := json.Marshal(newSet(f, token.DefaultPolicy, k).JWKS(now, "i", "c"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(doc)
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC"}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		keys, err := token.ParseJWKS(doc)
		for _, k := range keys {
			if _, err := x509.MarshalPKIXPublicKey(k); err != nil || k.N.BitLen() < 2048 || k.E < 3 {
				t.Errorf("a key that no one should use: %v", err)
			}
		}
		if err == nil && len(keys) == 0 {
			t.Error("no keys and no error")
		}
	})
}
