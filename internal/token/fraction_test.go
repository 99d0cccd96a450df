package token_test

import (
	"testing"

	"github.com/entrance-id/entrance/internal/token"
)

// TestAssertionFractions: MSAL for Python dates its assertions to the
// microsecond. The fraction never makes an assertion live longer.
func TestAssertionFractions(t *testing.T) {
	k := testKey(t, tenantA)
	p := clientPolicy(t, k)
	at := float64(now.Unix())
	tok := assertion(t, k, "RS256", nil, func(c map[string]any) { c["iat"], c["nbf"], c["exp"] = at+0.25, at+0.25, at+600.75 })
	a, err := token.VerifyAssertion(tok, p, now)
	if err != nil || a.Expires != now.Unix()+600 {
		t.Fatalf("%+v, %v", a, err)
	}
	tok = assertion(t, k, "RS256", nil, func(c map[string]any) { c["exp"] = at - 60 + 0.75 })
	if _, err := token.VerifyAssertion(tok, p, now); token.ClassOf(err) != token.ClassExpired {
		t.Errorf("expired by a fraction: %v", err)
	}
}
