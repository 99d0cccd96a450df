package privileged_test

import (
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const (
	tenant  directory.TenantID = "11111111-0000-4000-8000-000000000001"
	sub                        = "22222222-0000-4000-8000-000000000001"
	ann     directory.ObjectID = "33333333-0000-4000-8000-000000000001"
	bob     directory.ObjectID = "33333333-0000-4000-8000-000000000002"
	admin   directory.ObjectID = "33333333-0000-4000-8000-000000000003"
	other   directory.ObjectID = "33333333-0000-4000-8000-000000000004"
	gone    directory.ObjectID = "33333333-0000-4000-8000-00000000dead"
	ops     directory.ObjectID = "44444444-0000-4000-8000-000000000001"
	team    directory.ObjectID = "44444444-0000-4000-8000-000000000002"
	guarded directory.ObjectID = "44444444-0000-4000-8000-000000000003" // role-assignable
	reader                     = "7f6c6a51-bcf8-42ba-9220-52d62157d7db" // Azure Kubernetes Service RBAC Reader
	scope                      = "/subscriptions/" + sub + "/resourceGroups/RG"
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

type world struct {
	t     testing.TB
	store *store.Store
	clock *clock.Manual
	svc   *privileged.Service
}

func tables() []store.AnyTable { return append(state.Tables(), privileged.Tables()...) }

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, store: storetest.Open(t, tables()...), clock: clock.NewManual(start)}
	w.svc = privileged.New(w.store, w.clock, storetest.Logger(t))
	w.update(func(tx *store.Tx) error {
		if err := state.CreateTenant(tx, &directory.Tenant{ID: tenant, DisplayName: "T", Created: start, Domains: []directory.Domain{{Name: "example.com", Default: true, Initial: true}}}); err != nil {
			return err
		}
		for id, name := range map[directory.ObjectID]string{ann: "ann", bob: "bob", admin: "admin", other: "other"} {
			if err := state.CreateUser(tx, &directory.User{Tenant: tenant, ID: id, UserPrincipalName: name + "@example.com", DisplayName: name, Enabled: true, Created: start}); err != nil {
				return err
			}
		}
		for id, assignable := range map[directory.ObjectID]bool{ops: false, team: false, guarded: true} {
			if err := state.Groups.Create(tx, &directory.Group{Tenant: tenant, ID: id, DisplayName: string(id), SecurityEnabled: true, IsAssignableToRole: assignable, Created: start}); err != nil {
				return err
			}
		}
		return state.Subscriptions.Create(tx, &state.Subscription{ID: sub, Tenant: tenant, State: "Enabled"})
	})
	return w
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// targets are one of each kind.
var targets = map[string]pim.Target{
	"member":         pim.GroupTarget(ops, pim.Member),
	"owner":          pim.GroupTarget(ops, pim.Owner),
	"directory role": pim.DirectoryRoleTarget(directory.UserAdministrator, "/"),
	"azure role":     pim.AzureRoleTarget("/subscriptions/"+sub+"/providers/Microsoft.Authorization/roleDefinitions/"+reader, scope),
}

var administrator = privileged.Caller{ID: admin, Administrator: true, MFA: true}

func self(id directory.ObjectID) privileged.Caller { return privileged.Caller{ID: id, MFA: true} }

func (w *world) request(c privileged.Caller, in privileged.NewRequest) (*privileged.Request, error) {
	w.t.Helper()
	if in.Sort == "" {
		in.Sort = pim.Active
	}
	return w.svc.CreateRequest(w.t.Context(), tenant, c, in)
}

func (w *world) must(c privileged.Caller, in privileged.NewRequest) *privileged.Request {
	w.t.Helper()
	q, err := w.request(c, in)
	if err != nil {
		w.t.Fatalf("%s: %v", in.Action, err)
	}
	return q
}

func (w *world) eligible(who directory.ObjectID, t pim.Target) *privileged.Request {
	w.t.Helper()
	return w.must(administrator, privileged.NewRequest{Action: pim.AdminAssign, Sort: pim.Eligible, Target: t, Principal: who, Expiration: pim.Expiration{Duration: 30 * 24 * time.Hour}})
}

func activation(t pim.Target, d time.Duration) privileged.NewRequest {
	return privileged.NewRequest{Action: pim.SelfActivate, Target: t, Justification: "the cluster is down", Expiration: pim.Expiration{Duration: d}}
}

// holds tells what the readers of the records say at a time.
func (w *world) holds(who directory.ObjectID, t pim.Target, at time.Time) bool {
	w.t.Helper()
	v := w.store.View()
	switch t.Kind {
	case pim.Group:
		for _, l := range state.LinkedTo(v, directory.LinkKind(t.Role), tenant, who, at) {
			if string(l.From) == t.Scope {
				return true
			}
		}
	case pim.DirectoryRole:
		return state.HasRole(v, tenant, who, at, t.Role)
	case pim.AzureRole:
		for a := range state.AccessAssignments.Where(v, "principal", state.Key(tenant, who)) {
			if a.Role == t.Role && (a.Until.IsZero() || at.Before(a.Until)) {
				return true
			}
		}
	}
	return false
}

// records counts the records there are for a holder, ended or not.
func (w *world) records(who directory.ObjectID, t pim.Target) int {
	w.t.Helper()
	v := w.store.View()
	switch t.Kind {
	case pim.Group:
		return state.Links.Count(v, "to", string(tenant)+"/"+t.Role+"/"+string(who))
	case pim.DirectoryRole:
		return state.RoleAssignments.Count(v, "principal", state.Key(tenant, who))
	}
	return state.AccessAssignments.Count(v, "principal", state.Key(tenant, who))
}

// permanent gives somebody a target the ordinary way.
func (w *world) permanent(who directory.ObjectID, t pim.Target) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		switch t.Kind {
		case pim.Group:
			return state.Link(tx, directory.LinkKind(t.Role), tenant, directory.ObjectID(t.Scope), who)
		case pim.DirectoryRole:
			return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenant, ID: directory.NewGUID(), Role: t.Role, Principal: who, Scope: "/"})
		}
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{Tenant: tenant, Name: directory.NewGUID(), Scope: scope, Role: t.Role, Principal: who})
	})
}

// takeAway removes whatever record there is, as an administrator would through
// Microsoft Graph or ARM.
func (w *world) takeAway(who directory.ObjectID, t pim.Target) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		switch t.Kind {
		case pim.Group:
			return state.Unlink(tx, directory.LinkKind(t.Role), tenant, directory.ObjectID(t.Scope), who)
		case pim.DirectoryRole:
			a, _ := state.RoleAssignments.First(tx, "principal", state.Key(tenant, who))
			return state.RoleAssignments.Delete(tx, string(tenant)+"/"+a.ID)
		}
		a, _ := state.AccessAssignments.First(tx, "principal", state.Key(tenant, who))
		return state.AccessAssignments.Delete(tx, string(tenant)+"/"+a.Name)
	})
}

func (w *world) settle() time.Time {
	w.t.Helper()
	next, err := w.svc.Settle(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	perr, ok := err.(*pim.Error)
	if !ok || perr.Code != code {
		t.Errorf("error is %v, want the code %s", err, code)
	}
}

func wantKind(t testing.TB, err error, k errs.Kind) {
	t.Helper()
	if err == nil || errs.KindOf(err) != k {
		t.Errorf("error is %v, want kind %v", err, k)
	}
}

// each runs a test for each kind of target in a world of its own.
func each(t *testing.T, fn func(t *testing.T, w *world, target pim.Target)) {
	for name, target := range targets {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fn(t, newWorld(t), target)
		})
	}
}
