package rbac_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// facts are the facts of one tenant in plain lists: what the reference
// evaluator reads. It has no index, no parsed scope and no compiled pattern.
type facts struct {
	tenant      directory.TenantID
	roles       map[string]rbac.RoleDefinition
	assignments map[string]rbac.RoleAssignment
	denies      map[string]rbac.DenyAssignment
	groupParent map[string]string
	subGroup    map[string]string
}

func like(pattern, s string) bool {
	if pattern == "" {
		return s == ""
	}
	if pattern[0] == '*' {
		for i := 0; i <= len(s); i++ {
			if like(pattern[1:], s[i:]) {
				return true
			}
		}
		return false
	}
	return s != "" && pattern[0] == s[0] && like(pattern[1:], s[1:])
}

func anyLike(patterns []string, s string) bool {
	for _, p := range patterns {
		if like(strings.ToLower(p), strings.ToLower(s)) {
			return true
		}
	}
	return false
}

// ancestors lists every scope above one, itself included, as text.
func (f *facts) ancestors(scope string) []string {
	scope = strings.ToLower(scope)
	out := []string{scope, "/"}
	for i := range scope {
		if scope[i] == '/' {
			out = append(out, scope[:i])
		}
	}
	segs := strings.Split(scope, "/")
	mg := ""
	if len(segs) > 2 && segs[1] == "subscriptions" {
		mg = f.subGroup[segs[2]]
	} else if len(segs) > 4 && segs[3] == "managementgroups" {
		mg = f.groupParent[segs[4]]
	}
	for ; mg != ""; mg = f.groupParent[mg] {
		out = append(out, "/providers/microsoft.management/managementgroups/"+mg)
	}
	return out
}

// allowed is the reference: the rules of Azure RBAC, word for word.
func (f *facts) allowed(r *rbac.Request) (bool, rbac.Reason) {
	me := append([]directory.ObjectID{r.Principal.ID}, r.Principal.Groups...)
	above := f.ancestors(r.Scope.String())
	holds := func(text string) condition.Result {
		if text == "" {
			return condition.True
		}
		c, err := condition.Parse(text)
		if err != nil {
			panic(err)
		}
		return c.Eval(&condition.Context{Action: strings.ToLower(r.Action.String()), Resource: r.Resource, Principal: r.Principal.Attributes, Now: r.Now})
	}
	grants := func(p rbac.Permission) bool {
		if r.DataAction {
			return anyLike(p.DataActions, r.Action.String()) && !anyLike(p.NotDataActions, r.Action.String())
		}
		return anyLike(p.Actions, r.Action.String()) && !anyLike(p.NotActions, r.Action.String())
	}
	for _, d := range f.denies {
		named := slices.Contains(d.Principals, rbac.Everyone)
		for _, id := range me {
			named = named || slices.Contains(d.Principals, id)
		}
		for _, id := range me {
			named = named && !slices.Contains(d.ExcludePrincipals, id)
		}
		at := strings.ToLower(d.Scope.String())
		applies := slices.Contains(above, at)
		if d.DoNotApplyToChildScopes {
			applies = at == above[0]
		}
		if named && applies && slices.ContainsFunc(d.Permissions, grants) && holds(d.Condition) != condition.False {
			return false, rbac.DeniedExplicitly
		}
	}
	reason := rbac.NoAssignment
	for _, a := range f.assignments {
		role, ok := f.roles[a.RoleID]
		if !ok || !slices.Contains(me, a.PrincipalID) || !slices.Contains(above, strings.ToLower(a.Scope.String())) {
			continue
		}
		if slices.ContainsFunc(role.Permissions, grants) {
			if holds(a.Condition) == condition.True {
				return true, rbac.Granted
			}
			reason = rbac.ConditionNotMet
		}
	}
	return false, reason
}

// world is a random tenant, its snapshot, and what to ask about.
type world struct {
	facts
	rng        *rand.Rand
	snapshot   *rbac.Snapshot
	principals []directory.ObjectID
	scopes     []rbac.Scope
	actions    []string
	groups     []string // management groups
	subs       []string
}

func (w *world) guid() string {
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%012x", w.rng.Uint32(), w.rng.Uint32()&0xffff, w.rng.Uint32()&0xffff, w.rng.Uint32()&0xffff, w.rng.Uint64()&0xffffffffffff)
}

func pick[T any](w *world, list []T) T { return list[w.rng.IntN(len(list))] }

// anyKey picks a key by the seed alone, which ranging over a map would not.
func anyKey[V any](w *world, m map[string]V) string { return pick(w, slices.Sorted(maps.Keys(m))) }

func (w *world) mixCase(s string) string {
	if w.rng.IntN(4) > 0 {
		return s
	}
	b := []byte(s)
	for i := range b {
		if w.rng.IntN(2) == 0 {
			b[i] = strings.ToUpper(s)[i]
		}
	}
	return string(b)
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 1)), snapshot: rbac.NewSnapshot()}
	w.facts = facts{tenant: directory.TenantID(w.guid()), roles: map[string]rbac.RoleDefinition{}, assignments: map[string]rbac.RoleAssignment{},
		denies: map[string]rbac.DenyAssignment{}, groupParent: map[string]string{}, subGroup: map[string]string{}}
	for _, r := range rbac.BuiltInRoles() {
		w.roles[r.ID] = r.RoleDefinition
	}
	for range 12 {
		w.principals = append(w.principals, directory.ObjectID(w.guid()))
	}
	for i := range 5 {
		id, parent := fmt.Sprintf("mg%d", i), ""
		if i > 0 {
			parent = w.groups[w.rng.IntN(i)]
		}
		w.groups = append(w.groups, id)
		w.apply(t, rbac.PutManagementGroup{Tenant: w.tenant, ID: w.mixCase(id), Parent: w.mixCase(parent)})
		w.groupParent[id] = parent
	}
	texts := []string{"/"}
	for _, g := range w.groups {
		texts = append(texts, "/providers/Microsoft.Management/managementGroups/"+g)
	}
	for range 3 {
		sub := w.guid()
		w.subs = append(w.subs, sub)
		w.move(t, sub)
		texts = append(texts, "/subscriptions/"+sub)
		for _, rg := range []string{"rg", "rg1"} {
			base := "/subscriptions/" + sub + "/resourceGroups/" + rg
			cluster := base + "/providers/Microsoft.ContainerService/managedClusters/c"
			texts = append(texts, base, cluster, cluster+"2", cluster+"/namespaces/web", cluster+"/namespaces/we", cluster+"/managedNamespaces/web")
		}
	}
	for _, text := range texts {
		sc, err := rbac.ParseScope(text)
		if err != nil {
			t.Fatal(err)
		}
		w.scopes = append(w.scopes, sc)
	}
	w.actions = append(slices.Clone(rbac.ClusterDataActions()), rbac.ClusterActions()...)
	w.actions = append(w.actions, "Microsoft.ContainerService/managedClusters", "Microsoft.Authorization/roleAssignments/write",
		"Microsoft.ContainerService/managedClusters/stable.example.com/crontabs/read")
	for range 6 {
		w.putRole(t)
	}
	return w
}

func (w *world) apply(t testing.TB, c rbac.Change) {
	next, err := w.snapshot.Apply(c)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	w.snapshot = next
}

func (w *world) move(t testing.TB, sub string) {
	g := pick(w, w.groups)
	w.subGroup[sub] = g
	w.apply(t, rbac.PutSubscription{Tenant: w.tenant, SubscriptionID: sub, Group: w.mixCase(g)})
}

func (w *world) scope() rbac.Scope {
	sc := pick(w, w.scopes)
	if again, err := rbac.ParseScope(w.mixCase(sc.String())); err == nil {
		return again
	}
	return sc
}

// pattern makes a pattern out of an action by putting a star somewhere.
func (w *world) pattern() string {
	a := pick(w, w.actions)
	switch w.rng.IntN(6) {
	case 0:
		return w.mixCase(a)
	case 1:
		return "*"
	}
	i := w.rng.IntN(len(a))
	j := i + w.rng.IntN(len(a)-i)
	return w.mixCase(a[:i] + "*" + a[j:])
}

func (w *world) patterns(n int) []string {
	var out []string
	for range w.rng.IntN(n + 1) {
		out = append(out, w.pattern())
	}
	return out
}

func (w *world) permission() rbac.Permission {
	return rbac.Permission{Actions: w.patterns(2), NotActions: w.patterns(1), DataActions: w.patterns(3), NotDataActions: w.patterns(2)}
}

func (w *world) putRole(t testing.TB) {
	def := rbac.RoleDefinition{ID: w.guid(), Name: "custom", Permissions: []rbac.Permission{w.permission(), w.permission()}}
	w.roles[def.ID] = def
	w.apply(t, rbac.PutRole{Tenant: w.tenant, Role: def})
}

var someConditions = []string{
	"@Resource[Microsoft.ContainerService/managedClusters/customResources:group] StringEquals 'stable.example.com'",
	"@Resource[Microsoft.ContainerService/managedClusters/customResources:group] StringNotEquals 'stable.example.com'",
	"!(ActionMatches{'*/write'})",
	"ActionMatches{'*/read'} AND @Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Level] NumericGreaterThan 3",
}

func (w *world) condition() (string, string) {
	if w.rng.IntN(3) > 0 {
		return "", ""
	}
	return pick(w, someConditions), condition.Version
}

// step makes one random change.
func (w *world) step(t testing.TB) {
	roleIDs := slices.Sorted(maps.Keys(w.roles))
	switch w.rng.IntN(20) {
	case 0:
		w.putRole(t)
	case 1:
		w.move(t, pick(w, w.subs))
	case 2:
		id := pick(w, roleIDs)
		if _, ok := rbac.BuiltInRole(id); !ok {
			delete(w.roles, id)
			w.apply(t, rbac.DeleteRole{Tenant: w.tenant, ID: id})
		}
	case 3, 4:
		if len(w.denies) > 3 {
			name := anyKey(w, w.denies)
			delete(w.denies, name)
			w.apply(t, rbac.DeleteDeny{Tenant: w.tenant, Name: strings.ToUpper(name)})
		}
		d := rbac.DenyAssignment{Tenant: w.tenant, Name: w.guid(), Scope: w.scope(), Permissions: []rbac.Permission{w.permission()},
			Principals: []directory.ObjectID{pick(w, w.principals), pick(w, w.principals)}, DoNotApplyToChildScopes: w.rng.IntN(3) == 0}
		if w.rng.IntN(3) == 0 {
			d.Principals = []directory.ObjectID{rbac.Everyone}
			d.ExcludePrincipals = []directory.ObjectID{pick(w, w.principals), pick(w, w.principals), pick(w, w.principals)}
		}
		d.Condition, d.ConditionVersion = w.condition()
		w.denies[d.Name] = d
		w.apply(t, rbac.PutDeny{DenyAssignment: d})
	case 5, 6, 7:
		if len(w.assignments) > 0 {
			name := anyKey(w, w.assignments)
			delete(w.assignments, name)
			w.apply(t, rbac.DeleteAssignment{Tenant: w.tenant, Name: name})
		}
	default:
		a := rbac.RoleAssignment{Tenant: w.tenant, Name: w.guid(), Scope: w.scope(), RoleID: pick(w, roleIDs), PrincipalID: pick(w, w.principals)}
		if w.rng.IntN(4) == 0 { // one principal with so many that they are indexed by scope
			a.PrincipalID = w.principals[0]
		}
		if w.rng.IntN(8) == 0 && len(w.assignments) > 0 { // replace one
			a.Name = anyKey(w, w.assignments)
		}
		a.Condition, a.ConditionVersion = w.condition()
		w.assignments[a.Name] = a
		w.apply(t, rbac.PutAssignment{RoleAssignment: a})
	}
}

func (w *world) request(t testing.TB) *rbac.Request {
	a, err := rbac.ParseAction(w.mixCase(pick(w, w.actions)))
	if err != nil {
		t.Fatal(err)
	}
	r := &rbac.Request{Principal: rbac.Principal{Tenant: w.tenant, ID: pick(w, w.principals)}, Scope: w.scope(), Action: a, DataAction: w.rng.IntN(4) > 0}
	for range w.rng.IntN(3) {
		r.Principal.Groups = append(r.Principal.Groups, pick(w, w.principals))
	}
	if w.rng.IntN(2) == 0 {
		r.Resource = condition.Attributes{{Name: "Microsoft.ContainerService/managedClusters/customResources:group", Values: []string{pick(w, []string{"stable.example.com", "x"})}}}
	}
	if w.rng.IntN(2) == 0 {
		r.Principal.Attributes = condition.Attributes{{Name: "Microsoft.Directory/CustomSecurityAttributes/Id:Team_Level", Values: []string{pick(w, []string{"1", "5", "high"})}}}
	}
	return r
}

// TestAgainstReference makes random worlds, changes them at random, and
// compares each answer of the engine with that of the reference evaluator.
func TestAgainstReference(t *testing.T) {
	const seed, nWorlds, rounds, perRound = 20261125, 20, 100, 50
	t.Logf("seed %d, %d questions", seed, nWorlds*rounds*perRound)
	seen := map[rbac.Reason]int{}
	for i := range uint64(nWorlds) {
		w := newWorld(t, seed+i)
		for range 150 {
			w.step(t)
		}
		for range rounds {
			w.step(t)
			for range perRound {
				r := w.request(t)
				want, reason := w.allowed(r)
				got := w.snapshot.Decide(r)
				seen[reason]++
				if got.Allowed() != want || got.Reason != reason {
					t.Fatalf("world %d: %s of %s at %s (data %v, groups %v): %v (%v), want %v (%v)", i, r.Principal.ID, r.Action, r.Scope, r.DataAction, r.Principal.Groups, got.Verdict, got.Reason, want, reason)
				}
				if want {
					// What the engine names must suffice by itself.
					only := w.facts
					only.assignments = map[string]rbac.RoleAssignment{"": w.assignments[got.Assignment.Name]}
					if ok, _ := only.allowed(r); !ok {
						t.Fatalf("world %d: allowed by %s, which does not allow it", i, got.Assignment.Name)
					}
				}
				if e := w.snapshot.Explain(r); e.Decision.Verdict != got.Verdict || e.Decision.Assignment != got.Assignment || e.Decision.Reason != got.Reason {
					t.Fatalf("world %d: explained %+v, decided %+v", i, e.Decision, got)
				}
			}
		}
		if n := w.snapshot.AssignmentCount(w.tenant); n != len(w.assignments) {
			t.Errorf("world %d: %d assignments, want %d", i, n, len(w.assignments))
		}
	}
	t.Logf("%v", seen)
	for _, r := range []rbac.Reason{rbac.NoAssignment, rbac.Granted, rbac.DeniedExplicitly, rbac.ConditionNotMet} {
		if seen[r] < 1000 {
			t.Errorf("only %d questions had the answer %q; the generator is too narrow", seen[r], r)
		}
	}
}
