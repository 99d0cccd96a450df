package keyring_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/keyring"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
	"github.com/entrance-id/entrance/internal/token"
)

const tenant directory.TenantID = "11111111-1111-4111-8111-111111111111"

func newRing(t *testing.T, s *store.Store, c clock.Clock) *keyring.Ring {
	t.Helper()
	r := keyring.New(s, c, token.DefaultPolicy, slog.New(slog.DiscardHandler))
	t.Cleanup(r.Close)
	return r
}

func active(t *testing.T, r *keyring.Ring) token.KeyID {
	t.Helper()
	k, err := r.Active(tenant)
	if err != nil {
		t.Fatal(err)
	}
	return k.ID
}

func TestLifeOfKeys(t *testing.T) {
	c := clock.NewManual(time.Now())
	r := newRing(t, storetest.Open(t, state.Tables()...), c)
	if _, err := r.Active(tenant); err == nil {
		t.Fatal("a tenant without keys has an active one")
	}
	ctx := context.Background()
	if err := r.Ensure(ctx, tenant); err != nil {
		t.Fatal(err)
	}
	first := active(t, r)
	if err := r.Ensure(ctx, tenant); err != nil || active(t, r) != first {
		t.Fatalf("ensuring again: %v", err)
	}
	// Published before it is used.
	c.Advance(token.DefaultPolicy.Life - token.DefaultPolicy.Ahead)
	if err := r.Ensure(ctx, tenant); err != nil {
		t.Fatal(err)
	}
	set, err := r.Set(tenant)
	if err != nil || len(set.Published(c.Now())) != 2 || active(t, r) != first {
		t.Fatalf("ahead of the change: %d published, %v", len(set.Published(c.Now())), err)
	}
	c.Advance(token.DefaultPolicy.Ahead + time.Second)
	second := active(t, r)
	if second == first {
		t.Fatal("the key did not change")
	}
	if k, ok := set.Lookup(first); !ok || !c.Now().Before(k.NotAfter) {
		t.Error("the former key does not verify in its grace")
	}
	// What has outlived its use goes.
	c.Advance(token.DefaultPolicy.Grace + time.Hour)
	if err := r.Ensure(ctx, tenant); err != nil {
		t.Fatal(err)
	}
	if set, err = r.Set(tenant); err != nil {
		t.Fatal(err)
	}
	if _, ok := set.Lookup(first); ok {
		t.Error("a key that outlived its grace is still known")
	}
}

// TestReplicasRotateTogether is the last part of abuse case 14.
func TestReplicasRotateTogether(t *testing.T) {
	c := clock.NewManual(time.Now())
	s := storetest.Open(t, state.Tables()...)
	other, err := s.Sibling(context.Background(), state.Tables()...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { other.Close() })
	rings := []*keyring.Ring{newRing(t, s, c), newRing(t, other, c)}
	known := map[string]bool{}
	for turn := range 3 {
		var wg sync.WaitGroup
		for _, r := range rings {
			wg.Go(func() {
				if err := r.Ensure(context.Background(), tenant); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, st := range []*store.Store{s, other} {
			if err := st.Fresh(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := active(t, rings[0]), active(t, rings[1]); a != b {
			t.Fatalf("two active keys: %s and %s", a, b)
		}
		made := 0
		for k := range state.SigningKeys.All(s.View()) {
			if key := state.SigningKeyKey(k); !known[key] {
				known[key] = true
				made++
			}
		}
		if made != 1 {
			t.Errorf("turn %d: %d new keys, want one for both replicas", turn, made)
		}
		c.Advance(token.DefaultPolicy.Life)
	}
}

func TestRevoke(t *testing.T) {
	c := clock.NewManual(time.Now())
	r := newRing(t, storetest.Open(t, state.Tables()...), c)
	ctx := context.Background()
	if err := r.Ensure(ctx, tenant); err != nil {
		t.Fatal(err)
	}
	bad := active(t, r)
	if err := r.Rotate(ctx, tenant, true); err != nil {
		t.Fatal(err)
	}
	if active(t, r) == bad {
		t.Fatal("the revoked key signs")
	}
	set, err := r.Set(tenant)
	if err != nil {
		t.Fatal(err)
	}
	if k, ok := set.Lookup(bad); ok && c.Now().Before(k.NotAfter) {
		t.Error("the revoked key verifies")
	}
}

func TestTrustTakesExactNames(t *testing.T) {
	c := clock.NewManual(time.Now())
	s := storetest.Open(t, state.Tables()...)
	r := newRing(t, s, c)
	ctx := context.Background()
	if err := s.Update(ctx, func(tx *store.Tx) error {
		return state.CreateTenant(tx, &directory.Tenant{ID: tenant, Domains: []directory.Domain{{Name: "contoso.test"}}})
	}); err != nil {
		t.Fatal(err)
	}
	if err := r.Ensure(ctx, tenant); err != nil {
		t.Fatal(err)
	}
	trust := &keyring.Trust{Ring: r, Issuers: token.Issuers{V2: "https://login.test"}}
	kid := active(t, r)
	for name, version := range map[string]token.Version{
		"https://sts.windows.net/" + string(tenant) + "/": token.V1,
		"https://login.test/" + string(tenant) + "/v2.0":  token.V2,
	} {
		got, ok := trust.Issuer(name)
		if !ok || got.Tenant != tenant || got.Version != version {
			t.Errorf("%s: %+v, %v", name, got, ok)
		}
		if _, ok := trust.Key(name, kid); !ok {
			t.Errorf("%s: no key", name)
		}
	}
	stranger := directory.NewGUID()
	for _, name := range []string{
		"", "https://sts.windows.net/" + string(tenant), "https://sts.windows.net/" + stranger + "/",
		"https://login.test/" + string(tenant) + "/v2.0/", "https://login.test/common/v2.0", "https://evil.test/" + string(tenant) + "/v2.0",
		"https://login.test/{tenantid}/v2.0", "https://sts.windows.net/" + string(tenant) + "/" + string(tenant) + "/",
	} {
		if got, ok := trust.Issuer(name); ok {
			t.Errorf("%q is trusted: %+v", name, got)
		}
	}
}
