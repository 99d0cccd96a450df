package token_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/token"
)

const (
	tenantA = directory.TenantID("11111111-1111-4111-8111-111111111111")
	tenantB = directory.TenantID("22222222-2222-4222-8222-222222222222")
	userID  = directory.ObjectID("33333333-3333-4333-8333-333333333333")
	spID    = directory.ObjectID("44444444-4444-4444-8444-444444444444")
	otherID = directory.ObjectID("55555555-5555-4555-8555-555555555555")
)

var (
	now     = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	issuers = token.Issuers{V2: "https://login.example.test"}
)

// testKey returns a key for a tenant that signs from a day before now. Keys are
// made once, since that is slow.
var testKey = func() func(testing.TB, directory.TenantID) *token.Key {
	var mu sync.Mutex
	made := make(map[directory.TenantID]*token.Key)
	return func(t testing.TB, tenant directory.TenantID) *token.Key {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if made[tenant] == nil {
			day := now.Add(-24 * time.Hour)
			k, err := token.GenerateKey(tenant, token.KeyTimes{Published: day, Activates: day})
			if err != nil {
				t.Fatal(err)
			}
			made[tenant] = k
		}
		return made[tenant]
	}
}()

func newSet(t testing.TB, p token.Policy, keys ...*token.Key) *token.Set {
	t.Helper()
	s, err := token.NewSet(p, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newVerifier returns the verifier of the AKS server application, which trusts
// tenants A and B.
func newVerifier(t testing.TB) *token.Verifier {
	t.Helper()
	trust := token.NewTrustStore()
	for _, tenant := range []directory.TenantID{tenantA, tenantB} {
		if err := trust.AddTenant(tenant, issuers, newSet(t, token.DefaultPolicy, testKey(t, tenant))); err != nil {
			t.Fatal(err)
		}
	}
	return &token.Verifier{Keys: trust, Audiences: []string{string(directory.AKSServer)}}
}

func userFacts() token.Facts {
	return token.Facts{
		Now: now, UTI: "dXRpLW9uZQ",
		Tenant:   token.Tenant{ID: tenantA, Issuers: issuers, Pairwise: []byte("secret of tenant A")},
		Resource: token.Resource{AppID: directory.AKSServer, Audience: string(directory.AKSServer), GroupClaims: "All", FirstParty: true},
		Client:   token.Client{AppID: directory.AKSClient, Auth: token.ClientPublic},
		User:     &token.User{ID: userID, UPN: "ann@contoso.test", DisplayName: "Ann <Admin> & Co", GivenName: "Ann", Surname: "Ådmin"},
		Auth:     token.Auth{Time: now.Add(-time.Minute), AMR: []string{"pwd", "mfa"}},
		Scopes:   []string{"user.read"},
		Groups:   []token.Group{{ID: otherID, Security: true}},
	}
}

func appFacts() token.Facts {
	f := userFacts()
	f.User, f.Auth, f.Scopes = nil, token.Auth{}, nil
	f.App = &token.App{ID: spID}
	f.Client.Auth = token.ClientSecret
	return f
}

func accessClaims(t testing.TB, f token.Facts) *token.Claims {
	t.Helper()
	c, err := token.AccessToken(f)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func sign(t testing.TB, k *token.Key, c *token.Claims) string {
	t.Helper()
	s, err := k.Sign(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRoundTrip(t *testing.T) {
	v := newVerifier(t)
	v2 := func(f token.Facts) token.Facts { f.Resource.Version = token.V2; return f }
	for name, f := range map[string]token.Facts{
		"user v1": userFacts(), "user v2": v2(userFacts()),
		"app v1": appFacts(), "app v2": v2(appFacts()),
	} {
		t.Run(name, func(t *testing.T) {
			want := accessClaims(t, f)
			got, err := v.Verify(sign(t, testKey(t, tenantA), want), now)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("claims changed on the way (-signed +verified):\n%s", d)
			}
			if got.AppOnly() != (f.App != nil) {
				t.Errorf("AppOnly = %v", got.AppOnly())
			}
		})
	}
}
