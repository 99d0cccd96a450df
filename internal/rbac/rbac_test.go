package rbac_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

const (
	roleReader  = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"
	roleWriter  = "a7ffa36f-339b-4b5c-8bdf-e2c188b2c0eb"
	roleOwner   = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	customRole  = "c0000000-0000-4000-8000-000000000001"
	alice       = directory.ObjectID("a0000000-0000-4000-8000-000000000001")
	bob         = directory.ObjectID("a0000000-0000-4000-8000-000000000002")
	devs        = directory.ObjectID("b0000000-0000-4000-8000-000000000001")
	staff       = directory.ObjectID("b0000000-0000-4000-8000-000000000002")
	otherTenant = directory.TenantID("99999999-86f1-41af-91ab-2d7cd011db47")
)

func assignment(t testing.TB, n int, role, scope string, to directory.ObjectID) rbac.RoleAssignment {
	return rbac.RoleAssignment{Tenant: benchTenant, Name: benchGUID(9, n), Scope: mustScope(t, scope), RoleID: role, PrincipalID: to, PrincipalType: rbac.User}
}

func snapshot(t testing.TB, changes ...rbac.Change) *rbac.Snapshot {
	t.Helper()
	s, err := rbac.NewSnapshot().Apply(changes...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func request(t testing.TB, who directory.ObjectID, scope, action string, data bool) *rbac.Request {
	a, err := rbac.ParseAction(action)
	if err != nil {
		t.Fatal(err)
	}
	return &rbac.Request{Principal: rbac.Principal{Tenant: benchTenant, ID: who}, Scope: mustScope(t, scope), Action: a, DataAction: data}
}

const podsRead = "Microsoft.ContainerService/managedClusters/pods/read"

func TestTenantsAreApart(t *testing.T) {
	s := snapshot(t, rbac.PutAssignment{RoleAssignment: assignment(t, 1, roleReader, "/", alice)})
	r := request(t, alice, cluster, podsRead, true)
	if !s.Decide(r).Allowed() {
		t.Fatal("refused in its own tenant")
	}
	r.Principal.Tenant = otherTenant
	if s.Decide(r).Allowed() {
		t.Error("allowed in another tenant")
	}
	s2, err := s.Apply(rbac.DeleteTenant{Tenant: benchTenant})
	if err != nil {
		t.Fatal(err)
	}
	r.Principal.Tenant = benchTenant
	if s2.Decide(r).Allowed() {
		t.Error("allowed in a tenant that was deleted")
	}
	if !s.Decide(r).Allowed() {
		t.Error("the old snapshot changed")
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	s := snapshot(t, rbac.PutAssignment{RoleAssignment: assignment(t, 1, "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b", "/", alice)})
	good := request(t, alice, cluster, podsRead, true)
	for name, f := range map[string]func(*rbac.Request){
		"no principal": func(r *rbac.Request) { r.Principal.ID = "" },
		"everyone":     func(r *rbac.Request) { r.Principal.ID = rbac.Everyone },
		"no scope":     func(r *rbac.Request) { r.Scope = rbac.Scope{} },
		"no action":    func(r *rbac.Request) { r.Action = rbac.Action{} },
	} {
		r := *good
		f(&r)
		if d := s.Decide(&r); d.Allowed() || d.Reason != rbac.Malformed {
			t.Errorf("%s: %v (%v)", name, d.Verdict, d.Reason)
		}
	}
	for _, text := range []string{"", "*", "a/*/read", "a b", "a\x00", "a%2fb", strings.Repeat("a", 600)} {
		if _, err := rbac.ParseAction(text); err == nil {
			t.Errorf("the action %q was accepted", text)
		}
	}
}

func TestApplyIsAllOrNothing(t *testing.T) {
	s := snapshot(t)
	bad := assignment(t, 2, roleReader, "/", bob)
	bad.Condition, bad.ConditionVersion = "nonsense", condition.Version
	if _, err := s.Apply(rbac.PutAssignment{RoleAssignment: assignment(t, 1, roleReader, "/", alice)}, rbac.PutAssignment{RoleAssignment: bad}); err == nil {
		t.Fatal("a condition that does not parse was accepted")
	} else if !strings.Contains(err.Error(), "Change 1") {
		t.Errorf("error %v does not name the change", err)
	}
	if s.AssignmentCount(benchTenant) != 0 {
		t.Error("the snapshot changed")
	}
	for name, c := range map[string]rbac.Change{
		"assignment without scope": rbac.PutAssignment{RoleAssignment: rbac.RoleAssignment{Tenant: benchTenant, Name: benchGUID(1, 1), RoleID: roleReader, PrincipalID: alice}},
		"assignment to all":        rbac.PutAssignment{RoleAssignment: assignment(t, 1, roleReader, "/", rbac.Everyone)},
		"assignment without role":  rbac.PutAssignment{RoleAssignment: assignment(t, 1, "", "/", alice)},
		"deny of nobody":           rbac.PutDeny{DenyAssignment: rbac.DenyAssignment{Tenant: benchTenant, Name: benchGUID(1, 1), Scope: rbac.Root()}},
		"deny that excludes all":   rbac.PutDeny{DenyAssignment: rbac.DenyAssignment{Tenant: benchTenant, Name: benchGUID(1, 1), Scope: rbac.Root(), Principals: []directory.ObjectID{alice}, ExcludePrincipals: []directory.ObjectID{rbac.Everyone}}},
		"built-in role":            rbac.PutRole{Tenant: benchTenant, Role: rbac.RoleDefinition{ID: roleReader}},
		"no tenant":                rbac.DeleteAssignment{Name: "x"},
	} {
		if _, err := s.Apply(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestDenyConditionUnknown: a condition that cannot be read must not open what
// the deny assignment closes.
func TestDenyConditionUnknown(t *testing.T) {
	d := rbac.DenyAssignment{Tenant: benchTenant, Name: benchGUID(1, 1), Scope: rbac.Root(), Principals: []directory.ObjectID{alice},
		Permissions:      []rbac.Permission{{DataActions: []string{"*"}}},
		Condition:        "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Level] NumericLessThan 3",
		ConditionVersion: condition.Version}
	s := snapshot(t, rbac.PutAssignment{RoleAssignment: assignment(t, 1, roleReader, "/", alice)}, rbac.PutDeny{DenyAssignment: d})
	for value, want := range map[string]bool{"1": false, "5": true, "high": false} {
		r := request(t, alice, cluster, podsRead, true)
		r.Principal.Attributes = condition.Attributes{{Name: "Microsoft.Directory/CustomSecurityAttributes/Id:Team_Level", Values: []string{value}}}
		if got := s.Decide(r).Allowed(); got != want {
			t.Errorf("level %s: allowed %v, want %v", value, got, want)
		}
	}
}

func goodRole() rbac.RoleDefinition {
	return rbac.RoleDefinition{ID: customRole, Name: "Pod Reader", Permissions: []rbac.Permission{{DataActions: []string{podsRead}}}, AssignableScopes: []string{subA}}
}

func TestCheckRole(t *testing.T) {
	s := snapshot(t, rbac.PutRole{Tenant: benchTenant, Role: goodRole()}, rbac.PutAssignment{RoleAssignment: assignment(t, 1, customRole, subA, alice)})
	if err := s.CheckRole(benchTenant, goodRole()); err != nil {
		t.Errorf("an update: %v", err)
	}
	many := make([]string, 2001)
	for i := range many {
		many[i] = subA
	}
	for name, tc := range map[string]struct {
		f    func(*rbac.RoleDefinition)
		want string
	}{
		"name taken":          {func(r *rbac.RoleDefinition) { r.ID, r.Name = benchGUID(5, 1), "POD reader" }, "already exists"},
		"name of built-in":    {func(r *rbac.RoleDefinition) { r.Name = "Owner" }, "already exists"},
		"built-in":            {func(r *rbac.RoleDefinition) { r.ID = roleReader }, "built-in"},
		"no name":             {func(r *rbac.RoleDefinition) { r.Name = " " }, "needs a name"},
		"long name":           {func(r *rbac.RoleDefinition) { r.Name = strings.Repeat("é", 513) }, "512"},
		"long description":    {func(r *rbac.RoleDefinition) { r.Description = strings.Repeat("x", 2049) }, "2048"},
		"no permissions":      {func(r *rbac.RoleDefinition) { r.Permissions = nil }, "needs permissions"},
		"two wildcards":       {func(r *rbac.RoleDefinition) { r.Permissions[0].Actions = []string{"*/a/*"} }, "more than one wildcard"},
		"action form":         {func(r *rbac.RoleDefinition) { r.Permissions[0].NotActions = []string{"read"} }, "not of the form"},
		"action character":    {func(r *rbac.RoleDefinition) { r.Permissions[0].NotDataActions = []string{"a/b c"} }, "not allowed"},
		"no scopes":           {func(r *rbac.RoleDefinition) { r.AssignableScopes = nil }, "at least one"},
		"many scopes":         {func(r *rbac.RoleDefinition) { r.AssignableScopes = many }, "at most 2000"},
		"root scope":          {func(r *rbac.RoleDefinition) { r.AssignableScopes = []string{"/"} }, "root scope"},
		"wildcard scope":      {func(r *rbac.RoleDefinition) { r.AssignableScopes = []string{"/subscriptions/*"} }, "not allowed"},
		"namespace scope":     {func(r *rbac.RoleDefinition) { r.AssignableScopes = []string{cluster + "/namespaces/x"} }, "cannot be assignable at a namespace"},
		"2 management groups": {func(r *rbac.RoleDefinition) { r.AssignableScopes = []string{mgScope + "a", mgScope + "b"} }, "only one management group"},
		"condition": {func(r *rbac.RoleDefinition) {
			r.Permissions[0].Condition, r.Permissions[0].ConditionVersion = "x", "2.0"
		}, "not a function"},
	} {
		def := goodRole()
		tc.f(&def)
		if err := s.CheckRole(benchTenant, def); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if err := s.CheckRoleDelete(benchTenant, strings.ToUpper(customRole)); !errors.Is(err, rbac.ErrRoleInUse) {
		t.Errorf("delete while assigned: %v", err)
	}
	if err := s.CheckRoleDelete(benchTenant, roleReader); !errors.Is(err, rbac.ErrRoleBuiltIn) {
		t.Errorf("delete of a built-in role: %v", err)
	}
	s2, _ := s.Apply(rbac.DeleteAssignment{Tenant: benchTenant, Name: benchGUID(9, 1)})
	if err := s2.CheckRoleDelete(benchTenant, customRole); err != nil {
		t.Error(err)
	}
}

const mgScope = "/providers/Microsoft.Management/managementGroups/"

func TestCheckAssignment(t *testing.T) {
	s := snapshot(t, rbac.PutRole{Tenant: benchTenant, Role: goodRole()}, rbac.PutAssignment{RoleAssignment: assignment(t, 1, roleReader, subA, alice)})
	moved := assignment(t, 1, roleReader, cluster, alice)
	conditioned := assignment(t, 1, roleReader, strings.ToUpper(subA), alice)
	conditioned.Condition, conditioned.ConditionVersion = "ActionMatches{'*/read'}", condition.Version
	badCondition := assignment(t, 2, roleReader, subA, bob)
	badCondition.Condition, badCondition.ConditionVersion = "Exists", condition.Version
	for _, tc := range []struct {
		name string
		a    rbac.RoleAssignment
		want error
	}{
		{"new", assignment(t, 2, roleReader, subA, bob), nil},
		{"condition added", conditioned, nil},
		{"same triple", assignment(t, 2, roleReader, subA, alice), rbac.ErrAssignmentExists},
		{"moved", moved, rbac.ErrAssignmentImmutable},
		{"no role", assignment(t, 2, benchGUID(7, 7), subA, alice), rbac.ErrRoleNotFound},
		{"custom role", assignment(t, 2, customRole, cluster, alice), nil},
		{"custom role elsewhere", assignment(t, 2, customRole, "/subscriptions/"+benchGUID(1, 1), alice), rbac.ErrNotAssignable},
		{"data actions at a management group", assignment(t, 2, customRole, mgScope+"a", alice), rbac.ErrNotAssignable},
	} {
		if err := s.CheckAssignment(tc.a); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
	var se *condition.SyntaxError
	if err := s.CheckAssignment(badCondition); !errors.As(err, &se) {
		t.Errorf("bad condition: %v", err)
	}
	var changes []rbac.Change
	for i := range 500 {
		changes = append(changes, rbac.PutAssignment{RoleAssignment: assignment(t, 100+i, roleReader, mgScope+"a", directory.ObjectID(benchGUID(3, i)))})
	}
	s, err := s.Apply(changes...)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CheckAssignment(assignment(t, 3, roleReader, mgScope+"a", bob)); !errors.Is(err, rbac.ErrAssignmentLimit) {
		t.Errorf("one over the limit: %v", err)
	}
	if err := s.CheckAssignment(assignment(t, 3, roleReader, mgScope+"b", bob)); err != nil {
		t.Errorf("another management group: %v", err)
	}
}

func TestLastOwner(t *testing.T) {
	s := snapshot(t, rbac.PutAssignment{RoleAssignment: assignment(t, 1, roleOwner, subA, alice)}, rbac.PutAssignment{RoleAssignment: assignment(t, 2, roleOwner, subA, bob)})
	if err := s.CheckAssignmentDelete(benchTenant, benchGUID(9, 1)); err != nil {
		t.Error(err)
	}
	s, _ = s.Apply(rbac.DeleteAssignment{Tenant: benchTenant, Name: benchGUID(9, 2)})
	if err := s.CheckAssignmentDelete(benchTenant, benchGUID(9, 1)); !errors.Is(err, rbac.ErrLastOwner) {
		t.Errorf("last owner: %v", err)
	}
}

func TestAuthorizationFailedMessage(t *testing.T) {
	s := snapshot(t)
	_, got := s.AuthorizeARM("alice@contoso.example", *request(t, alice, cluster, "Microsoft.ContainerService/managedClusters/read", true))
	want := "The client 'alice@contoso.example' with object id '" + string(alice) + "' does not have authorization to perform action 'Microsoft.ContainerService/managedClusters/read' over scope '" + cluster + "' or the scope is invalid. If access was recently granted, please refresh your credentials."
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	a := assignment(t, 1, roleOwner, subA, alice)
	a.Condition, a.ConditionVersion = "ActionMatches{'*/write'}", condition.Version
	s = snapshot(t, rbac.PutAssignment{RoleAssignment: a})
	if _, got := s.AuthorizeARM("alice", *request(t, alice, cluster, "Microsoft.X/y/read", false)); !strings.Contains(got, "The condition of the role assignment '"+subA+"/providers/Microsoft.Authorization/roleAssignments/"+a.Name+"' is not met.") {
		t.Error(got)
	}
	d := rbac.DenyAssignment{Tenant: benchTenant, Name: benchGUID(1, 1), DisplayName: "stack", Scope: rbac.Root(), Principals: []directory.ObjectID{rbac.Everyone}, Permissions: []rbac.Permission{{Actions: []string{"*"}}}}
	s, _ = s.Apply(rbac.PutDeny{DenyAssignment: d})
	if _, got := s.AuthorizeARM("alice", *request(t, alice, cluster, "Microsoft.X/y/write", false)); !strings.Contains(got, "deny assignment with name 'stack'") {
		t.Error(got)
	}
}

func TestSuggest(t *testing.T) {
	s := snapshot(t, rbac.PutRole{Tenant: benchTenant, Role: goodRole()})
	names := func(list []rbac.Suggestion) string {
		var out []string
		for _, sug := range list {
			out = append(out, sug.Role.Name)
		}
		return strings.Join(out, ", ")
	}
	ns := cluster + "/namespaces/web"
	got := s.Suggest(3, request(t, alice, ns, podsRead, true))
	if n := names(got); n != "Pod Reader, Azure Kubernetes Service RBAC Reader, Azure Kubernetes Service RBAC Writer" || got[0].Scope.String() != ns {
		t.Errorf("pods: %s", n)
	}
	got = s.Suggest(2, request(t, alice, ns, podsRead, true), request(t, alice, cluster, "Microsoft.ContainerService/managedClusters/namespaces/write", true))
	if n := names(got); n != "Azure Kubernetes Service RBAC Cluster Admin" || got[0].Scope.String() != cluster {
		t.Errorf("both: %s", n)
	}
	if got := s.Suggest(1, request(t, alice, cluster, "Microsoft.ContainerService/managedClusters/listClusterUserCredential/action", false)); names(got) != "Azure Kubernetes Service Cluster User Role" {
		t.Errorf("credential: %s", names(got))
	}
	s, _ = s.Apply(rbac.PutDeny{DenyAssignment: rbac.DenyAssignment{Tenant: benchTenant, Name: benchGUID(1, 1), Scope: rbac.Root(), Principals: []directory.ObjectID{alice}, Permissions: []rbac.Permission{{DataActions: []string{"*"}}}}})
	if got := s.Suggest(3, request(t, alice, ns, podsRead, true)); got != nil {
		t.Errorf("no role helps against a deny assignment, but %s", names(got))
	}
}

func TestMembershipAndWhatIf(t *testing.T) {
	graph := map[directory.ObjectID][]directory.ObjectID{alice: {devs}, devs: {staff}, staff: {devs}}
	parents := func(id directory.ObjectID) []directory.ObjectID { return graph[id] }
	if got := rbac.Closure(alice, parents); !slices.Equal(got, []directory.ObjectID{devs, staff}) {
		t.Errorf("closure %v", got)
	}
	if got := rbac.MembershipPath(alice, staff, parents); !slices.Equal(got, []directory.ObjectID{alice, devs, staff}) {
		t.Errorf("path %v", got)
	}
	if got := rbac.MembershipPath(bob, staff, parents); got != nil {
		t.Errorf("path %v", got)
	}
	if got := rbac.Closure(alice, rbac.WithoutMember(parents, alice, devs)); got != nil {
		t.Errorf("without the membership: %v", got)
	}
	s := snapshot(t)
	r := request(t, alice, cluster, podsRead, true)
	r.Principal.Groups = rbac.Closure(alice, parents)
	next, err := s.WithAssignments(assignment(t, 1, roleReader, cluster, staff))
	if err != nil {
		t.Fatal(err)
	}
	if d := next.Decide(r); !d.Allowed() || d.Via != staff {
		t.Errorf("with the assignment: %+v", d)
	}
	if s.Decide(r).Allowed() {
		t.Error("what-if changed the snapshot")
	}
	if _, err := next.WithAssignments(assignment(t, 2, roleReader, cluster, staff)); !errors.Is(err, rbac.ErrAssignmentExists) {
		t.Errorf("what-if does not check: %v", err)
	}
}

func TestWhatCan(t *testing.T) {
	s := snapshot(t, rbac.PutAssignment{RoleAssignment: assignment(t, 1, roleReader, cluster, alice)},
		rbac.PutAssignment{RoleAssignment: assignment(t, 2, roleOwner, subA, devs)},
		rbac.PutAssignment{RoleAssignment: assignment(t, 3, roleOwner, subA, bob)},
		rbac.PutAssignment{RoleAssignment: assignment(t, 4, roleWriter, subA+"/resourceGroups/other", alice)},
		rbac.PutDeny{DenyAssignment: rbac.DenyAssignment{Tenant: benchTenant, Name: benchGUID(1, 1), Scope: rbac.Root(), Principals: []directory.ObjectID{rbac.Everyone}, ExcludePrincipals: []directory.ObjectID{bob}}})
	p := rbac.Principal{Tenant: benchTenant, ID: alice, Groups: []directory.ObjectID{devs}}
	list := func(under rbac.Scope) string {
		grants, denies := s.WhatCan(p, under)
		var out []string
		for _, g := range grants {
			out = append(out, fmt.Sprintf("%s via %.8s", g.Role.Name, g.Via))
		}
		return fmt.Sprintf("%s; %d denies", strings.Join(out, ", "), len(denies))
	}
	if got, want := list(mustScope(t, cluster+"/namespaces/x")), "Azure Kubernetes Service RBAC Reader via a0000000, Owner via b0000000; 1 denies"; got != want {
		t.Errorf("got %s", got)
	}
	if got := list(rbac.Scope{}); strings.Count(got, "via") != 3 {
		t.Errorf("everywhere: %s", got)
	}
	if got := s.Permissions(p, mustScope(t, subA)); len(got) != 1 || got[0].Actions[0] != "*" {
		t.Errorf("permissions at the subscription: %+v", got)
	}
	p.ID, p.Groups = bob, nil
	if _, denies := s.WhatCan(p, rbac.Scope{}); len(denies) != 0 {
		t.Error("a deny assignment that excludes bob is his")
	}
}

func TestBuiltInRoles(t *testing.T) {
	if n := len(rbac.BuiltInRoles()); n < 50 {
		t.Errorf("%d built-in roles", n)
	}
	byName, _ := rbac.BuiltInRole("azure kubernetes service rbac reader")
	byID, _ := rbac.BuiltInRole(strings.ToUpper(roleReader))
	if byName == nil || byName != byID || !byName.BuiltIn || !byName.HasDataActions() {
		t.Errorf("by name %v, by id %v", byName, byID)
	}
}
