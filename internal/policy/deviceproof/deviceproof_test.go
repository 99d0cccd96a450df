package deviceproof_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/errs"
	dp "github.com/entrance-id/entrance/internal/policy/deviceproof"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

func Example() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		fmt.Println(err)
		return
	}
	proof, err := dp.Sign(key, dp.Claims{Nonce: "from-the-server", Audience: "https://localhost:8443", Tenant: "t", Purpose: dp.SignIn})
	if err != nil {
		fmt.Println(err)
		return
	}
	claims, public, err := dp.Verify(proof)
	fmt.Println(claims.Nonce, claims.Purpose, key.PublicKey.Equal(public), err)
	// Output: from-the-server signIn true <nil>
}

// A signature over the header does not make what the header says true.
func TestSignedHeadersAreRefused(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	claims := dp.Claims{Nonce: "n", Audience: "a", Tenant: "t", Purpose: dp.SignIn}
	proof, err := dp.Sign(key, claims)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(proof, ".")
	header, err := jws.Decode(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	resign := func(old, new string) string {
		input := jws.Encode([]byte(strings.Replace(string(header), old, new, 1))) + "." + parts[1]
		sum := sha256.Sum256([]byte(input))
		r, s, err := ecdsa.Sign(rand.Reader, key, sum[:])
		if err != nil {
			t.Fatal(err)
		}
		sig := make([]byte, 64)
		r.FillBytes(sig[:32])
		s.FillBytes(sig[32:])
		return input + "." + jws.Encode(sig)
	}
	if _, _, err := dp.Verify(resign("", "")); err != nil {
		t.Fatalf("signed again unchanged: %v", err)
	}
	for name, x := range map[string][2]string{
		"another algorithm": {`"ES256"`, `"RS256"`}, "no algorithm": {`"ES256"`, `"none"`}, "hash as an algorithm": {`"ES256"`, `"HS256"`},
		"another type": {dp.Type, "JWT"}, "critical extension": {`{"typ"`, `{"crit":["b64"],"typ"`}, "private key": {`"kty"`, `"d":"AA","kty"`},
		"another kind of key": {`"EC"`, `"oct"`}, "another curve": {"P-256", "P-384"},
	} {
		if _, _, err := dp.Verify(resign(x[0], x[1])); !errs.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzVerify(f *testing.F) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	proof, err := dp.Sign(key, dp.Claims{Nonce: "n", Audience: "a", Tenant: "t", Purpose: dp.SignIn})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(proof)
	f.Add(strings.Replace(proof, ".", "..", 1))
	f.Add("e30.e30.AA")
	f.Fuzz(func(t *testing.T, s string) {
		c, k, err := dp.Verify(s)
		if err != nil {
			return
		}
		// Nothing but the key's own signature over the same bytes is accepted.
		if s != proof && c.Nonce == "n" && key.PublicKey.Equal(k) && !strings.HasPrefix(s, proof[:strings.LastIndexByte(proof, '.')]) {
			t.Errorf("a changed proof of the same key is accepted: %q", s)
		}
	})
}
