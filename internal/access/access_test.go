package access_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const (
	tenant  directory.TenantID = "11111111-1111-4111-8111-111111111111"
	sub                        = "22222222-2222-4222-8222-222222222222"
	cluster                    = "/subscriptions/" + sub + "/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c"
	reader                     = "7f6c6a51-bcf8-42ba-9220-52d62157d7db" // Azure Kubernetes Service RBAC Reader
)

type world struct {
	t      *testing.T
	store  *store.Store
	clock  *clock.Manual
	keeper *access.Keeper
	dev    directory.ObjectID
	team   directory.ObjectID // dev's group
	outer  directory.ObjectID // team's group
	c      *state.Cluster
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, store: storetest.Open(t, state.Tables()...), clock: clock.NewManual(time.Now()),
		dev: directory.ObjectID(directory.NewGUID()), team: directory.ObjectID(directory.NewGUID()), outer: directory.ObjectID(directory.NewGUID()),
		c: &state.Cluster{Key: "c", ID: cluster, Tenant: tenant, Entra: true, AzureRBAC: true},
	}
	w.update(func(tx *store.Tx) error {
		if err := state.CreateTenant(tx, &directory.Tenant{ID: tenant, Domains: []directory.Domain{{Name: "contoso.test", Default: true}}}); err != nil {
			return err
		}
		if err := state.CreateUser(tx, &directory.User{Tenant: tenant, ID: w.dev, UserPrincipalName: "dev@contoso.test", Enabled: true}); err != nil {
			return err
		}
		for id, name := range map[directory.ObjectID]string{w.team: "team", w.outer: "outer"} {
			if err := state.Groups.Create(tx, &directory.Group{Tenant: tenant, ID: id, DisplayName: name}); err != nil {
				return err
			}
		}
		if err := state.Link(tx, directory.Member, tenant, w.outer, w.team); err != nil {
			return err
		}
		if err := state.Link(tx, directory.Member, tenant, w.team, w.dev); err != nil {
			return err
		}
		return state.Subscriptions.Create(tx, &state.Subscription{ID: sub, Tenant: tenant, State: "Enabled"})
	})
	var err error
	if w.keeper, err = access.New(w.store, w.clock, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.keeper.Close)
	return w
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) assign(principal directory.ObjectID, scope string, until time.Time) *state.AccessAssignment {
	a := &state.AccessAssignment{Tenant: tenant, Name: directory.NewGUID(), Scope: scope, Role: reader, Principal: principal, PrincipalType: rbac.Group, Until: until}
	w.update(func(tx *store.Tx) error { return state.AccessAssignments.Create(tx, a) })
	return a
}

func pods(namespace string) access.Query {
	return access.Query{Who: "dev@contoso.test", Resource: &k8s.ResourceAttributes{Verb: "list", Resource: "pods", Namespace: namespace}}
}

func (w *world) explain(q access.Query, kubernetes *access.KubernetesRBAC) *access.Report {
	w.t.Helper()
	r, err := w.keeper.Explain(w.c, nil, kubernetes, q)
	if err != nil {
		w.t.Fatal(err)
	}
	// What is explained is what is decided.
	if kubernetes == nil && len(q.WithAssignment)+len(q.WithoutMember) == 0 && w.c.AzureRBAC {
		res, _ := w.keeper.Authorize(w.c, nil, &k8s.Review{User: "dev@contoso.test", Extra: map[string][]string{"oid": {string(w.dev)}}, Resource: q.Resource})
		if (res.Verdict == k8s.Allow) != r.Allowed {
			w.t.Errorf("explained as %v, decided as %v", r.Allowed, res.Verdict)
		}
	}
	return r
}

func TestExplainFollowsTheStore(t *testing.T) {
	w := newWorld(t)
	r := w.explain(pods("prod"), nil)
	if r.Allowed || r.By != "azure-rbac" || len(r.Suggestions) == 0 {
		t.Fatalf("without an assignment: %+v", r)
	}
	if len(r.Subject.Groups) != 2 {
		t.Errorf("groups = %+v", r.Subject.Groups)
	}
	for _, g := range r.Subject.Groups {
		if g.Name == "outer" && strings.Join(g.Path, ">") != "team>outer" {
			t.Errorf("path to outer = %v", g.Path)
		}
	}
	a := w.assign(w.outer, cluster+"/namespaces/prod", time.Time{})
	if r = w.explain(pods("prod"), nil); !r.Allowed || len(r.Checks) == 0 || r.Checks[0].Steps[0].Role != "Azure Kubernetes Service RBAC Reader" {
		t.Errorf("with an assignment: %+v", r)
	}
	if w.explain(pods("dev"), nil).Allowed {
		t.Error("an assignment in one namespace counts in another")
	}
	if q := pods("prod"); true {
		idle := directory.ObjectID(directory.NewGUID()) // holds nothing
		w.update(func(tx *store.Tx) error {
			return state.Groups.Create(tx, &directory.Group{Tenant: tenant, ID: idle, DisplayName: "idle"})
		})
		q.WithMember = []string{string(idle)}
		q.WithoutMember = []string{string(w.team)}
		if w.explain(q, nil).Allowed {
			t.Error("what-if: still allowed without the membership")
		}
	}
	w.update(func(tx *store.Tx) error { return state.AccessAssignments.Delete(tx, string(tenant)+"/"+a.Name) })
	if w.explain(pods("prod"), nil).Allowed {
		t.Error("a deleted assignment counts")
	}
	q := pods("prod")
	q.WithAssignment = []string{"Azure Kubernetes Service RBAC Reader@namespace/prod"}
	if !w.explain(q, nil).Allowed {
		t.Error("what-if: refused with the assignment")
	}
}

func TestTimeBoundAssignmentEnds(t *testing.T) {
	w := newWorld(t)
	w.assign(w.team, cluster, w.clock.Now().Add(50*time.Millisecond))
	if !w.explain(pods("prod"), nil).Allowed {
		t.Fatal("refused inside the window")
	}
	w.clock.Advance(time.Second)
	// Nothing is written: the keeper wakes by itself.
	for end := time.Now().Add(5 * time.Second); w.explain(pods("prod"), nil).Allowed; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("allowed after the end of the window")
		}
	}
}

// TestMovedClock: a machine that slept through the end of a window, or whose clock
// was set, grants nothing past it (abuse case 26).
func TestMovedClock(t *testing.T) {
	w := newWorld(t)
	w.assign(w.team, cluster, w.clock.Now().Add(time.Hour))
	w.assign(w.outer, cluster+"/namespaces/dev", w.clock.Now().Add(2*time.Hour))
	if !w.explain(pods("prod"), nil).Allowed {
		t.Fatal("refused inside the window")
	}
	w.clock.Advance(time.Hour)
	if w.explain(pods("prod"), nil).Allowed {
		t.Error("allowed at the end of the window")
	}
	if !w.explain(pods("dev"), nil).Allowed {
		t.Error("the longer window ended with the shorter")
	}
	w.clock.Advance(time.Hour)
	if w.explain(pods("dev"), nil).Allowed {
		t.Error("allowed at the end of the longer window")
	}
}

func TestKubernetesRBACIsPartOfTheAnswer(t *testing.T) {
	w := newWorld(t)
	w.c.AzureRBAC = false
	kubernetes := &access.KubernetesRBAC{
		ClusterRoles: []rbacv1.ClusterRole{{ObjectMeta: metav1.ObjectMeta{Name: "view"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}},
		RoleBindings: []rbacv1.RoleBinding{{
			ObjectMeta: metav1.ObjectMeta{Name: "team-view", Namespace: "prod"},
			Subjects:   []rbacv1.Subject{{Kind: "Group", Name: string(w.outer)}},
			RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"},
		}},
	}
	if r := w.explain(pods("prod"), kubernetes); !r.Allowed || r.By != "kubernetes-rbac" || r.Kubernetes[0].Binding != "RoleBinding/team-view" {
		t.Errorf("in the namespace: %+v", r)
	}
	for name, q := range map[string]access.Query{
		"another namespace": pods("dev"),
		"all namespaces":    pods(""),
		"another verb":      {Who: "dev@contoso.test", Resource: &k8s.ResourceAttributes{Verb: "delete", Resource: "pods", Namespace: "prod"}},
		"a subresource":     {Who: "dev@contoso.test", Resource: &k8s.ResourceAttributes{Verb: "get", Resource: "pods", Subresource: "log", Namespace: "prod"}},
	} {
		if r := w.explain(q, kubernetes); r.Allowed || r.By != "nothing" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestSearches(t *testing.T) {
	w := newWorld(t)
	w.assign(w.outer, cluster, time.Time{})
	holders, err := w.keeper.WhoCan(w.c, nil, nil, pods("prod"))
	if err != nil || len(holders) != 1 || holders[0].UserName != "dev@contoso.test" {
		t.Errorf("who can = %+v, %v", holders, err)
	}
	held, err := w.keeper.WhatCan(tenant, "dev@contoso.test", rbac.Scope{})
	if err != nil || len(held) != 1 || held[0].Via != w.outer || held[0].Scope != cluster {
		t.Errorf("what can = %+v, %v", held, err)
	}
	if _, err := w.keeper.WhatCan(tenant, "nobody@contoso.test", rbac.Scope{}); err == nil {
		t.Error("a subject that does not exist has an answer")
	}
}

// TestSearchesInKubernetesRBAC: bindings of the cluster count, and say who is
// meant.
func TestSearchesInKubernetesRBAC(t *testing.T) {
	w := newWorld(t)
	w.c.AzureRBAC = false
	binding := func(name string, s ...rbacv1.Subject) rbacv1.RoleBinding {
		return rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "prod"}, Subjects: s, RoleRef: rbacv1.RoleRef{Kind: "ClusterRole", Name: "view"}}
	}
	kubernetes := &access.KubernetesRBAC{
		ClusterRoles: []rbacv1.ClusterRole{{ObjectMeta: metav1.ObjectMeta{Name: "view"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"pods"}}}}},
		RoleBindings: []rbacv1.RoleBinding{binding("group", rbacv1.Subject{Kind: "Group", Name: string(w.outer)}), binding("robot", rbacv1.Subject{Kind: "ServiceAccount", Name: "r"}), binding("case", rbacv1.Subject{Kind: "User", Name: "DEV@contoso.test"})},
	}
	who := func(namespace string) (list []string) {
		t.Helper()
		holders, err := w.keeper.WhoCan(w.c, nil, kubernetes, pods(namespace))
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range holders {
			list = append(list, h.UserName)
		}
		return list
	}
	// Kubernetes compares names as they are written, so the third names nobody.
	if got := strings.Join(who("prod"), " "); got != "ServiceAccount/prod/r User/DEV@contoso.test dev@contoso.test" {
		t.Errorf("who can = %s", got)
	}
	if got := who("dev"); got != nil {
		t.Errorf("in another namespace: %v", got)
	}
	held, err := w.keeper.Bound(w.c, kubernetes, "dev@contoso.test")
	if err != nil || len(held) != 1 || held[0].ID != "RoleBinding/group" || held[0].Via != w.outer || held[0].Scope != cluster+"/namespaces/prod" {
		t.Errorf("bound = %+v, %v", held, err)
	}
}

// TestImaginedGroups: a group that is not there, or not theirs, is no answer.
func TestImaginedGroups(t *testing.T) {
	w := newWorld(t)
	w.assign(w.team, cluster, time.Time{})
	q := pods("prod")
	q.WithoutMember = []string{"TEAM"}
	if r, err := w.keeper.Explain(w.c, nil, nil, q); err != nil || r.Allowed {
		t.Errorf("without the group, by name: %+v, %v", r, err)
	}
	for _, g := range []string{"nobody", directory.NewGUID(), "outer"} { // outer is not theirs directly
		q.WithoutMember = []string{g}
		if r, err := w.keeper.Explain(w.c, nil, nil, q); err == nil {
			t.Errorf("without %s: %+v", g, r)
		}
	}
	q.WithoutMember, q.WithMember = nil, []string{"nobody"}
	if r, err := w.keeper.Explain(w.c, nil, nil, q); err == nil {
		t.Errorf("with a group that is not there: %+v", r)
	}
}
