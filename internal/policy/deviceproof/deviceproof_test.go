package deviceproof_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"strings"
	"testing"

	dp "github.com/entrance-id/entrance/internal/policy/deviceproof"
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
