package state_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const tenant directory.TenantID = "11111111-1111-4111-8111-111111111111"

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

type world struct {
	t     *testing.T
	store *store.Store
	ids   map[string]directory.ObjectID
}

// newWorld is a tenant with the users ann and bob and the groups inner, outer
// and roles, the last one assignable to roles.
func newWorld(t *testing.T) *world {
	w := &world{t, storetest.Open(t, state.Tables()...), map[string]directory.ObjectID{}}
	for _, name := range []string{"ann", "bob", "inner", "outer", "roles"} {
		w.ids[name] = directory.ObjectID(directory.NewGUID())
	}
	w.must(func(tx *store.Tx) error {
		if err := state.CreateTenant(tx, &directory.Tenant{ID: tenant, Created: now, Domains: []directory.Domain{{Name: "Contoso.test", Default: true}}}); err != nil {
			return err
		}
		for _, name := range []string{"ann", "bob"} {
			if err := state.CreateUser(tx, &directory.User{Tenant: tenant, ID: w.ids[name], UserPrincipalName: name + "@contoso.test", Enabled: true}); err != nil {
				return err
			}
		}
		for _, name := range []string{"inner", "outer", "roles"} {
			if err := state.Groups.Create(tx, &directory.Group{Tenant: tenant, ID: w.ids[name], DisplayName: name, IsAssignableToRole: name == "roles"}); err != nil {
				return err
			}
		}
		return nil
	})
	return w
}

func (w *world) try(fn func(*store.Tx) error) error { return w.store.Update(context.Background(), fn) }

func (w *world) must(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.try(fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) link(kind directory.LinkKind, from, to string) error {
	return w.try(func(tx *store.Tx) error { return state.Link(tx, kind, tenant, w.ids[from], w.ids[to]) })
}

func (w *world) memberships(of string, at time.Time) (names []string) {
	for _, g := range state.Memberships(w.store.View(), tenant, w.ids[of], at) {
		for name, id := range w.ids {
			if id == g {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (w *world) wantMemberships(of string, at time.Time, want ...string) {
	w.t.Helper()
	if got := w.memberships(of, at); !slices.Equal(got, want) {
		w.t.Errorf("groups of %s = %v, want %v", of, got, want)
	}
}

func TestMembershipsAreTransitiveAndSurviveCycles(t *testing.T) {
	w := newWorld(t)
	for _, l := range [][2]string{{"inner", "ann"}, {"outer", "inner"}, {"inner", "outer"}} {
		if err := w.link(directory.Member, l[0], l[1]); err != nil {
			t.Fatal(err)
		}
	}
	w.wantMemberships("ann", now, "inner", "outer")
	w.wantMemberships("bob", now)
	w.must(func(tx *store.Tx) error {
		return state.Unlink(tx, directory.Member, tenant, w.ids["outer"], w.ids["inner"])
	})
	w.wantMemberships("ann", now, "inner")
}

func TestLinkRefuses(t *testing.T) {
	w := newWorld(t)
	if err := w.link(directory.Member, "inner", "ann"); err != nil {
		t.Fatal(err)
	}
	w.ids["nobody"] = directory.ObjectID(directory.NewGUID())
	for _, tc := range []struct {
		kind     directory.LinkKind
		from, to string
		want     errs.Kind
	}{
		{directory.Member, "inner", "ann", errs.Exists},
		{directory.Member, "inner", "inner", errs.Invalid},
		{directory.Member, "ann", "bob", errs.Invalid},
		{directory.Owner, "inner", "outer", errs.Invalid},
		{directory.Member, "roles", "inner", errs.Invalid}, // nesting would hide who has the role
		{directory.Member, "inner", "nobody", errs.NotFound},
		{directory.Member, "nobody", "ann", errs.NotFound},
	} {
		if err := w.link(tc.kind, tc.from, tc.to); !errs.Is(err, tc.want) {
			t.Errorf("%s of %s to %s: %v, want %v", tc.kind, tc.from, tc.to, err, tc.want)
		}
	}
}

func TestTimeBoundLinkEndsAndCanBecomePermanent(t *testing.T) {
	w := newWorld(t)
	w.must(func(tx *store.Tx) error {
		return state.Links.Create(tx, &directory.Link{Tenant: tenant, Kind: directory.Member, From: w.ids["inner"], To: w.ids["ann"], ToType: directory.TypeUser, Until: now.Add(time.Hour)})
	})
	w.wantMemberships("ann", now, "inner")
	w.wantMemberships("ann", now.Add(time.Hour))
	if state.IsMember(w.store.View(), tenant, w.ids["inner"], w.ids["ann"], now.Add(time.Hour)) {
		t.Error("a member at the end of the time")
	}
	if err := w.link(directory.Member, "inner", "ann"); err != nil {
		t.Fatal(err)
	}
	w.wantMemberships("ann", now.Add(time.Hour), "inner")
}

func TestRolesThroughRoleAssignableGroups(t *testing.T) {
	w := newWorld(t)
	for _, group := range []string{"roles", "inner"} {
		if err := w.link(directory.Member, group, "ann"); err != nil {
			t.Fatal(err)
		}
		w.must(func(tx *store.Tx) error {
			return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenant, ID: directory.NewGUID(), Role: group, Principal: w.ids[group], Scope: "/"})
		})
	}
	// A role given to a group that anybody's owner may fill would be a role for
	// anybody: only role-assignable groups pass theirs on.
	if got := state.Roles(w.store.View(), tenant, w.ids["ann"], now); !slices.Equal(got, []string{"roles"}) {
		t.Errorf("roles = %v", got)
	}
}

func TestUserPrincipalNames(t *testing.T) {
	w := newWorld(t)
	create := func(name string) error {
		return w.try(func(tx *store.Tx) error {
			return state.CreateUser(tx, &directory.User{Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: name})
		})
	}
	for _, name := range []string{
		"", "x", "@contoso.test", "x@", "x@evil.test", "a@b@contoso.test", "system:admin@contoso.test", "a b@contoso.test",
		"аnn@contoso.test" /* Cyrillic a */, ".x@contoso.test", "x..y@contoso.test", "x\n@contoso.test", "ann@conto\u017fo.test",
	} {
		if err := create(name); !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %v, want invalid", name, err)
		}
	}
	if err := create("ANN@CONTOSO.TEST"); !errs.Is(err, errs.Exists) {
		t.Errorf("the same name in other letters: %v", err)
	}
	if u, err := state.FindUser(w.store.View(), tenant, "Ann@Contoso.Test"); err != nil || u.ID != w.ids["ann"] {
		t.Errorf("found %v, %v", u, err)
	}
}

func TestDeleteAndRestore(t *testing.T) {
	w := newWorld(t)
	for _, l := range [][2]string{{"inner", "ann"}, {"outer", "ann"}} {
		if err := w.link(directory.Member, l[0], l[1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.link(directory.Owner, "inner", "ann"); err != nil {
		t.Fatal(err)
	}
	w.must(func(tx *store.Tx) error {
		return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenant, ID: directory.NewGUID(), Role: "r", Principal: w.ids["ann"], Scope: "/"})
	})
	w.must(func(tx *store.Tx) error { return state.Delete(tx, tenant, w.ids["ann"], now) })
	for range state.Links.All(w.store.View()) {
		t.Error("a link to a deleted user is left")
	}
	if len(state.Roles(w.store.View(), tenant, w.ids["ann"], now)) != 0 {
		t.Error("a role of a deleted user is left")
	}
	w.must(func(tx *store.Tx) error { return state.Delete(tx, tenant, w.ids["outer"], now) })
	w.must(func(tx *store.Tx) error { return state.Restore(tx, tenant, w.ids["ann"]) })
	w.wantMemberships("ann", now, "inner") // outer is gone
	if len(state.Roles(w.store.View(), tenant, w.ids["ann"], now)) != 0 {
		t.Error("restoring brought a role back")
	}
	w.must(func(tx *store.Tx) error { return state.Delete(tx, tenant, w.ids["ann"], now) })
	w.must(func(tx *store.Tx) error {
		return state.CreateUser(tx, &directory.User{Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: "ann@contoso.test"})
	})
	if err := w.try(func(tx *store.Tx) error { return state.Restore(tx, tenant, w.ids["ann"]) }); !errs.Is(err, errs.Exists) {
		t.Errorf("restoring under a name that was taken: %v", err)
	}
}

func TestFindResource(t *testing.T) {
	w := newWorld(t)
	v := w.store.View()
	for _, name := range []string{"https://graph.microsoft.com", "https://graph.microsoft.com/", "HTTPS://Graph.Microsoft.com/", string(directory.Graph), "spn:" + string(directory.Graph)} {
		if p, err := state.FindResource(v, tenant, name); err != nil || p.AppID != directory.Graph {
			t.Errorf("%q: %v, %v", name, p, err)
		}
	}
	for _, name := range []string{"", "https://graph.microsoft.com.evil.test", "spn:spn:" + string(directory.Graph), "/"} {
		if p, err := state.FindResource(v, tenant, name); err == nil {
			t.Errorf("%q names %s", name, p.DisplayName)
		}
	}
	for _, name := range []string{"contoso.test", "CONTOSO.TEST", string(tenant)} {
		if _, err := state.FindTenant(v, name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"common", "organizations", "evil.test", ""} {
		if _, err := state.FindTenant(v, name); !errs.Is(err, errs.NotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}
