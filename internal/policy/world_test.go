package policy_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const (
	tenant  directory.TenantID = "11111111-0000-4000-8000-000000000001"
	tenant2 directory.TenantID = "11111111-0000-4000-8000-000000000002"
	ann     directory.ObjectID = "33333333-0000-4000-8000-000000000001"
	bob     directory.ObjectID = "33333333-0000-4000-8000-000000000002"
	ops     directory.ObjectID = "44444444-0000-4000-8000-000000000001"
	inner   directory.ObjectID = "44444444-0000-4000-8000-000000000002"
	aks     directory.AppID    = "6dae42f8-4368-4678-94ff-3960e28e3630"
	baseURL                    = "https://localhost:8443"
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

type world struct {
	t       testing.TB
	store   *store.Store
	clock   *clock.Manual
	keeper  *policy.Keeper
	devices *policy.Devices
}

func tables() []store.AnyTable {
	return append(append(state.Tables(), state.Authenticators), policy.Tables()...)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: storetest.Open(t, tables()...), clock: clock.NewManual(start)}
	w.update(func(tx *store.Tx) error {
		for id, domain := range map[directory.TenantID]string{tenant: "example.com", tenant2: "example.org"} {
			if err := state.CreateTenant(tx, &directory.Tenant{ID: id, Created: start, Domains: []directory.Domain{{Name: domain, Default: true, Initial: true}}}); err != nil {
				return err
			}
		}
		for id, name := range map[directory.ObjectID]string{ann: "ann", bob: "bob"} {
			if err := state.CreateUser(tx, &directory.User{Tenant: tenant, ID: id, UserPrincipalName: name + "@example.com", Enabled: true, Created: start}); err != nil {
				return err
			}
		}
		for _, id := range []directory.ObjectID{ops, inner} {
			if err := state.Groups.Create(tx, &directory.Group{Tenant: tenant, ID: id, DisplayName: string(id), SecurityEnabled: true, Created: start}); err != nil {
				return err
			}
		}
		return nil
	})
	w.keeper = policy.New(w.store, w.clock, nil)
	t.Cleanup(w.keeper.Close)
	w.devices = policy.NewDevices(w.store, w.clock, baseURL)
	return w
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.try(fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) try(fn func(tx *store.Tx) error) error {
	return w.store.Update(w.t.Context(), fn)
}

type writer func(*store.Tx, directory.TenantID, []byte, time.Time) (*policy.Document, error)

func (w *world) create(fn writer, body string) *policy.Document {
	w.t.Helper()
	d, err := w.tryCreate(fn, body)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func (w *world) tryCreate(fn writer, body string) (*policy.Document, error) {
	var d *policy.Document
	err := w.try(func(tx *store.Tx) error {
		var err error
		d, err = fn(tx, tenant, []byte(body), w.clock.Now())
		return err
	})
	return d, err
}

// rule is a policy about AKS with a condition on users and a control.
func rule(name, users, control string) string {
	return fmt.Sprintf(`{"displayName":%q,"state":"enabled","conditions":{"users":%s,
		"applications":{"includeApplications":[%q]},"clientAppTypes":["all"]},
		"grantControls":{"operator":"OR","builtInControls":[%q]}}`, name, users, aks, control)
}

const everybody = `{"includeUsers":["All"]}`

func facts(who directory.ObjectID) *ca.Facts {
	return &ca.Facts{
		Tenant: tenant, User: &ca.User{ID: who}, Resources: []directory.AppID{aks}, ClientAppType: ca.MobileAndDesktop,
		Methods: []ca.Authentication{{Method: ca.Password, At: start}}, AuthTime: start, Step: ca.StepRefreshToken,
	}
}

func (w *world) decide(f *ca.Facts) ca.Decision {
	return w.keeper.Evaluate(w.t.Context(), f).Decision
}

func wantKind(t testing.TB, err error, k errs.Kind) {
	t.Helper()
	if err == nil || errs.KindOf(err) != k {
		t.Errorf("error is %v, want kind %v", err, k)
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func decode(t testing.TB, raw []byte) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	return m
}
