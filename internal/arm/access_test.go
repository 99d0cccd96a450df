package arm_test

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

const authorization = "/providers/Microsoft.Authorization/"

func assignmentBody(role string, who directory.ObjectID) object {
	return object{"properties": object{"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + role, "principalId": who}}
}

func TestRoleDefinitions(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	all := w.call(w.olga, "GET", "/subscriptions/SUB"+authorization+"roleDefinitions", nil).want(200)
	if n := len(all.list()); n != len(rbac.BuiltInRoles()) {
		t.Errorf("%d role definitions, want all %d built-in ones", n, len(rbac.BuiltInRoles()))
	}
	// az compares ids as text, whatever the scope of the request.
	want := "/subscriptions/" + w.sub + authorization + "roleDefinitions/" + owner
	for _, scope := range []string{"/subscriptions/" + w.sub, g, g + "/providers/Microsoft.KeyVault/vaults/v"} {
		a := w.call(w.olga, "GET", scope+authorization+"roleDefinitions?$filter=roleName%20eq%20'Owner'", nil).want(200)
		if got := a.names("id"); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v", scope, got)
		}
		if a.get("value.0.properties.type") != "BuiltInRole" || a.get("value.0.properties.assignableScopes.0") != "/" || a.get("value.0.properties.permissions.0.actions.0") != "*" {
			t.Errorf("%s", a.raw)
		}
	}
	if got := w.call(w.olga, "GET", authorization+"roleDefinitions/"+owner, nil).want(200).text("id"); got != authorization+"roleDefinitions/"+owner {
		t.Errorf("id at the root %q", got)
	}
	w.call(w.olga, "GET", "/subscriptions/SUB"+authorization+"roleDefinitions?$filter=nonsense%20eq%201", nil).refused(400, "UnsupportedFilter")

	name := directory.NewGUID()
	path := "/subscriptions/SUB" + authorization + "roleDefinitions/" + name
	body := object{"properties": object{
		"roleName": "Pod reader", "description": "reads pods", "type": "CustomRole",
		"permissions": []object{{"actions": []string{}, "notActions": []string{}, "dataActions": []string{
			"Microsoft.ContainerService/managedClusters/pods/read"}, "notDataActions": []string{}}},
		"assignableScopes": []string{g},
	}}
	a := w.call(w.olga, "PUT", path, body).want(201)
	if a.text("id") != "/subscriptions/"+w.sub+authorization+"roleDefinitions/"+name || a.text("properties.type") != "CustomRole" || a.text("properties.createdBy") != string(w.olga) {
		t.Errorf("%s", a.raw)
	}
	body["properties"].(object)["description"] = "reads all pods"
	w.call(w.olga, "PUT", path, body).want(201) // Microsoft's clients take nothing else for an update either
	if got := w.call(w.olga, "GET", g+authorization+"roleDefinitions?$filter=type%20eq%20'CustomRole'", nil).want(200).names("name"); !slices.Equal(got, []string{name}) {
		t.Errorf("custom roles %v", got)
	}
	w.call(w.olga, "PUT", "/subscriptions/SUB"+authorization+"roleDefinitions/"+directory.NewGUID(), body).refused(409, "RoleDefinitionWithSameNameExists")
	w.call(w.olga, "PUT", "/subscriptions/SUB"+authorization+"roleDefinitions/"+owner, body).refused(403, "CannotModifyBuiltInRole")
	w.call(w.olga, "DELETE", "/subscriptions/SUB"+authorization+"roleDefinitions/"+owner, nil).refused(403, "CannotModifyBuiltInRole")
	w.call(w.olga, "PUT", "/subscriptions/SUB"+authorization+"roleDefinitions/mine", body).refused(400, "InvalidRoleDefinitionId")
	for why, change := range map[string]func(object){
		"root":        func(p object) { p["assignableScopes"] = []string{"/"} },
		"no scope":    func(p object) { p["assignableScopes"] = []string{} },
		"star in id":  func(p object) { p["assignableScopes"] = []string{"/subscriptions/*"} },
		"two stars":   func(p object) { p["permissions"] = []object{{"actions": []string{"*/read/*"}}} },
		"no name":     func(p object) { p["roleName"] = " " },
		"built-in":    func(p object) { p["type"] = "BuiltInRole" },
		"double path": func(p object) { p["assignableScopes"] = []string{g + "//x"} },
	} {
		next := object{"properties": object{}}
		for k, v := range body["properties"].(object) {
			next["properties"].(object)[k] = v
		}
		change(next["properties"].(object))
		if a := w.call(w.olga, "PUT", path, next); a.status != 400 || a.text("error.code") != "InvalidRoleDefinition" {
			t.Errorf("%s: %d %s", why, a.status, a.raw)
		}
	}

	assigned := g + authorization + "roleAssignments/" + directory.NewGUID()
	w.call(w.olga, "PUT", assigned, assignmentBody(name, w.nina)).want(201)
	w.call(w.olga, "PUT", "/subscriptions/SUB"+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(name, w.nina)).refused(400, "RoleNotAssignableAtScope")
	w.call(w.olga, "DELETE", path, nil).refused(400, "RoleDefinitionHasAssignments")
	w.call(w.olga, "DELETE", assigned, nil).want(200)
	w.call(w.olga, "DELETE", path, nil).want(200)
	w.call(w.olga, "DELETE", path, nil).want(204)
}

func TestRoleAssignments(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	name := directory.NewGUID()
	path := g + authorization + "roleAssignments/" + name
	w.call(w.olga, "GET", path, nil).refused(404, "RoleAssignmentNotFound")
	a := w.call(w.olga, "PUT", path, assignmentBody(reader, w.nina)).want(201)
	for member, want := range map[string]any{
		"id": path, "name": name, "type": "Microsoft.Authorization/roleAssignments", "properties.scope": g,
		"properties.roleDefinitionId": "/subscriptions/" + w.sub + authorization + "roleDefinitions/" + reader,
		"properties.principalId":      string(w.nina), "properties.principalType": "User", "properties.condition": nil,
		"properties.createdBy": string(w.olga),
	} {
		if got := a.get(member); got != want {
			t.Errorf("%s = %v, want %v", member, got, want)
		}
	}
	w.call(w.nina, "GET", g, nil).want(200) // it acts at once

	w.call(w.olga, "PUT", g+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(reader, w.nina)).refused(409, "RoleAssignmentExists")
	if m := w.call(w.olga, "PUT", path, assignmentBody(contributor, w.nina)).refused(400, "RoleAssignmentUpdateNotPermitted"); m != "Tenant ID, application ID, principal ID, and scope are not allowed to be updated." {
		t.Errorf("message %q", m)
	}
	// The same name at another scope is the same assignment.
	w.call(w.olga, "PUT", "/subscriptions/SUB"+authorization+"roleAssignments/"+name, assignmentBody(reader, w.nina)).refused(400, "RoleAssignmentUpdateNotPermitted")
	body := assignmentBody(reader, w.nina)
	body["properties"].(object)["description"] = "for the audit"
	if got := w.call(w.olga, "PUT", path, body).want(200).text("properties.description"); got != "for the audit" {
		t.Errorf("description %q", got)
	}

	ghost := directory.ObjectID(directory.NewGUID())
	m := w.call(w.olga, "PUT", g+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(reader, ghost)).refused(400, "PrincipalNotFound")
	if !strings.HasPrefix(m, "Principal "+strings.ReplaceAll(string(ghost), "-", "")+" does not exist in the directory "+string(w.tenant)) {
		t.Errorf("message %q", m)
	}
	body = assignmentBody(reader, ghost)
	body["properties"].(object)["principalType"] = "ServicePrincipal"
	w.call(w.olga, "PUT", g+authorization+"roleAssignments/"+directory.NewGUID(), body).want(201)
	for why, tc := range map[string]struct {
		set  func(p object)
		code string
	}{
		"wrong type":   {func(p object) { p["principalType"] = "Group" }, "UnmatchedPrincipalType"},
		"unknown type": {func(p object) { p["principalType"] = "Robot" }, "InvalidPrincipalType"},
		"principal":    {func(p object) { p["principalId"] = "nina" }, "InvalidPrincipalId"},
		"everyone":     {func(p object) { p["principalId"], p["principalType"] = rbac.Everyone, "User" }, "InvalidRoleAssignmentRequest"},
		"role":         {func(p object) { p["roleDefinitionId"] = "Reader" }, "InvalidRoleDefinitionId"},
		"role id":      {func(p object) { p["roleDefinitionId"] = authorization + "roleDefinitions/Reader" }, "InvalidRoleDefinitionId"},
		"no such role": {func(p object) { p["roleDefinitionId"] = authorization + "roleDefinitions/" + directory.NewGUID() }, "RoleDefinitionDoesNotExist"},
		"other's role": {func(p object) {
			p["roleDefinitionId"] = "/subscriptions/" + directory.NewGUID() + authorization + "roleDefinitions/" + reader
		}, "RoleDefinitionDoesNotExist"},
		"condition": {func(p object) {
			p["condition"], p["conditionVersion"] = "@Resource[x] StringEquals", "2.0"
		}, "InvalidRoleAssignmentRequest"},
		"condition version": {func(p object) { p["condition"], p["conditionVersion"] = "Exists @Environment[UtcNow]", "9" }, "InvalidRoleAssignmentRequest"},
	} {
		body := assignmentBody(contributor, w.nina)
		tc.set(body["properties"].(object))
		if a := w.call(w.olga, "PUT", g+authorization+"roleAssignments/"+directory.NewGUID(), body); a.text("error.code") != tc.code {
			t.Errorf("%s: %d %s, want %s", why, a.status, a.raw, tc.code)
		}
	}
	// Nothing can be planted at a scope that is not there yet.
	for scope, code := range map[string]string{
		"/subscriptions/" + w.sub + "/resourceGroups/later":                                      "ResourceGroupNotFound",
		g + "/providers/Microsoft.ContainerService/managedClusters/later":                        "ResourceNotFound",
		g + "/providers/Microsoft.ContainerService/managedClusters/later/namespaces/kube-system": "ResourceNotFound",
		"/providers/Microsoft.Management/managementGroups/later":                                 "AuthorizationFailed",
	} {
		if a := w.call(w.olga, "PUT", scope+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(reader, w.nina)); a.text("error.code") != code {
			t.Errorf("%s: %d %s", scope, a.status, a.raw)
		}
	}
	// A namespace is a scope, though it is no resource.
	k := w.newCluster(g, "web", clusterBody(object{"managed": true}))
	ns := k + "/namespaces/dev"
	if got := w.call(w.olga, "PUT", ns+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(aksReader, w.nina)).want(201).text("properties.scope"); got != ns {
		t.Errorf("scope %q", got)
	}

	w.call(w.olga, "DELETE", "/subscriptions/SUB"+authorization+"roleAssignments/"+name, nil).want(204) // at another scope
	w.call(w.olga, "GET", path, nil).want(200)
	if got := w.call(w.olga, "DELETE", path, nil).want(200).text("name"); got != name {
		t.Errorf("deleted %q", got)
	}
	w.call(w.olga, "DELETE", path, nil).want(204)
	w.call(w.nina, "GET", g, nil).refused(403, "AuthorizationFailed")
}

func TestRoleAssignmentFilters(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	k := w.newCluster(g, "web", clusterBody(object{"managed": true}))
	w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, w.tenant, w.group, w.nina) })
	above := w.assign(w.nina, reader, "/subscriptions/"+w.sub)
	at := w.assign(w.nina, clusterUser, g)
	below := w.assign(w.nina, aksReader, k+"/namespaces/dev")
	byGroup := w.assign(w.group, aksAdmin, g)
	ended := w.assign(w.olga, aksAdmin, g)
	w.update(func(tx *store.Tx) error {
		return state.AccessAssignments.Modify(tx, string(w.tenant)+"/"+ended, func(a *state.AccessAssignment) error {
			a.Until = w.clock.Now().Add(-time.Second)
			return nil
		})
	})
	olgas := w.call(w.olga, "GET", "/subscriptions/SUB"+authorization+"roleAssignments?$filter=principalId%20eq%20'"+string(w.olga)+"'", nil).want(200).names("name")
	if len(olgas) != 1 {
		t.Fatalf("olga has %v", olgas)
	}
	for filter, want := range map[string][]string{
		"":          {above, at, below, byGroup, olgas[0]},
		"atScope()": {above, at, byGroup, olgas[0]},
		"principalId eq '" + string(w.nina) + "'":                   {above, at, below},
		"assignedTo('" + string(w.nina) + "')":                      {above, at, below, byGroup},
		"atScope() and assignedTo('" + string(w.nina) + "')":        {above, at, byGroup},
		"principalId eq '" + strings.ToUpper(string(w.group)) + "'": {byGroup},
	} {
		got := w.call(w.olga, "GET", g+authorization+"roleAssignments?$filter="+strings.ReplaceAll(filter, " ", "%20"), nil).want(200).names("name")
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", filter, got, want)
		}
	}
	w.call(w.olga, "GET", g+authorization+"roleAssignments?$filter="+strings.Repeat("(", 100)+"atScope()"+strings.Repeat(")", 100), nil).refused(400, "UnsupportedFilter")
	w.call(w.olga, "GET", "/subscriptions/SUB/resourceGroups/none"+authorization+"roleAssignments", nil).refused(404, "ResourceGroupNotFound")

	// Page by page, with nothing twice.
	var pages []string
	path := g + authorization + "roleAssignments?$top=2"
	for path != "" {
		a := w.call(w.olga, "GET", path, nil).want(200)
		pages = append(pages, a.names("name")...)
		path = strings.TrimPrefix(a.text("nextLink"), baseURL)
	}
	if len(pages) != 5 || len(slices.Compact(slices.Sorted(slices.Values(pages)))) != 5 {
		t.Errorf("pages %v", pages)
	}
	if a := w.call(w.olga, "GET", g+authorization+"permissions", nil).want(200); len(a.list()) != 1 {
		t.Errorf("%s", a.raw)
	}
}

// TestEscalation is abuse case 38: whoever may hand out some access may not turn
// that into more.
func TestEscalation(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	w.newResourceGroup("other")
	local := w.user("local") // owns one group
	w.assign(local, owner, g)
	limited := w.user("limited") // may hand out Reader, to nobody but users
	w.update(func(tx *store.Tx) error {
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{
			Tenant: w.tenant, Name: directory.NewGUID(), Scope: g, Role: rbacAdmin, Principal: limited, PrincipalType: rbac.User, ConditionVersion: "2.0",
			Condition: "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})) OR (@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {" + reader + "} AND @Request[Microsoft.Authorization/roleAssignments:PrincipalType] StringEqualsIgnoreCase 'User')) AND " +
				"((!(ActionMatches{'Microsoft.Authorization/roleAssignments/delete'})) OR (@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {" + reader + "}))",
		})
	})
	revision := func() int64 { return w.store.View().Revision() }
	before := revision()
	put := func(who directory.ObjectID, scope, role string) *answer {
		return w.call(who, "PUT", scope+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(role, who))
	}
	// Above the own scope, beside it, and by spellings of it.
	for _, scope := range []string{"", "/subscriptions/" + w.sub, "/subscriptions/" + w.sub + "/resourceGroups/other", "/providers/Microsoft.Management/managementGroups/" + string(w.tenant)} {
		put(local, scope, owner).refused(403, "AuthorizationFailed")
	}
	for _, scope := range []string{g + "/..", g + "//..", g + "/", "/subscriptions/" + w.sub + "/resourceGroups/rg%2f..", g + "/../other"} {
		if a := put(local, scope, owner); a.status != 400 && a.status != 404 {
			t.Errorf("%s: %d %s", scope, a.status, a.raw)
		}
	}
	// The delegate, by role, by type, and by taking somebody's access away.
	if m := put(limited, g, owner).refused(403, "AuthorizationFailed"); !strings.Contains(m, "The condition of the role assignment") {
		t.Errorf("the message does not tell that a condition refused: %q", m)
	}
	w.call(limited, "PUT", g+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(reader, w.group)).refused(403, "AuthorizationFailed")
	lie := assignmentBody(reader, w.group)
	lie["properties"].(object)["principalType"] = "User"
	w.call(limited, "PUT", g+authorization+"roleAssignments/"+directory.NewGUID(), lie).refused(400, "UnmatchedPrincipalType")
	var owners string
	for a := range state.AccessAssignments.Where(w.store.View(), "principal", string(w.tenant)+"/"+string(local)) {
		owners = a.Name
	}
	w.call(limited, "DELETE", g+authorization+"roleAssignments/"+owners, nil).refused(403, "AuthorizationFailed")

	// A custom role with all actions and scopes that are not the maker's.
	role := func(scopes ...string) object {
		return object{"properties": object{"roleName": "everything", "permissions": []object{{"actions": []string{"*"}}}, "assignableScopes": scopes}}
	}
	id := directory.NewGUID()
	w.call(local, "PUT", g+authorization+"roleDefinitions/"+id, role("/subscriptions/"+w.sub)).refused(403, "LinkedAuthorizationFailed")
	w.call(local, "PUT", g+authorization+"roleDefinitions/"+id, role(g, "/subscriptions/"+w.sub+"/resourceGroups/other")).refused(403, "LinkedAuthorizationFailed")
	w.call(local, "PUT", g+authorization+"roleDefinitions/"+id, role("/")).refused(400, "InvalidRoleDefinition")
	w.call(limited, "PUT", g+authorization+"roleDefinitions/"+id, role(g)).refused(403, "AuthorizationFailed")
	if revision() != before {
		t.Error("refused requests have changed something")
	}

	// A role that others use cannot be changed by way of one of its scopes.
	w.call(w.olga, "PUT", "/subscriptions/SUB"+authorization+"roleDefinitions/"+id, role(g, "/subscriptions/"+w.sub+"/resourceGroups/other")).want(201)
	w.call(local, "PUT", g+authorization+"roleDefinitions/"+id, role(g)).refused(403, "LinkedAuthorizationFailed")
	w.call(local, "DELETE", g+authorization+"roleDefinitions/"+id, nil).refused(403, "LinkedAuthorizationFailed")

	// What each may do goes on to work.
	put(local, g, reader).want(201)
	name := directory.NewGUID()
	w.call(limited, "PUT", g+authorization+"roleAssignments/"+name, assignmentBody(reader, w.nina)).want(201)
	w.call(limited, "DELETE", g+authorization+"roleAssignments/"+name, nil).want(200)
}

// TestLastOwner: of two owners who remove each other at the same time, one
// stays (abuse case 38).
func TestLastOwner(t *testing.T) {
	w := newWorld(t)
	pam := w.user("pam")
	w.assign(pam, owner, "/subscriptions/"+w.sub)
	var names []string
	for a := range state.AccessAssignments.Where(w.store.View(), "tenant", string(w.tenant)) {
		names = append(names, a.Name)
	}
	var wg sync.WaitGroup
	codes := make([]int, 2)
	for i, name := range names {
		wg.Go(func() {
			who := w.olga
			if i == 1 {
				who = pam
			}
			codes[i] = w.call(who, "DELETE", "/subscriptions/SUB"+authorization+"roleAssignments/"+name, nil).status
		})
	}
	wg.Wait()
	left := 0
	for range state.AccessAssignments.Where(w.store.View(), "tenant", string(w.tenant)) {
		left++
	}
	if left != 1 {
		t.Fatalf("%d owners are left, answers %v", left, codes)
	}
	last, _ := state.AccessAssignments.First(w.store.View(), "tenant", string(w.tenant))
	if m := w.call(last.Principal, "DELETE", "/subscriptions/SUB"+authorization+"roleAssignments/"+last.Name, nil).refused(400, "CannotDeleteLastRbacAdminAssignment"); m != "Cannot delete the last RBAC admin assignment." {
		t.Errorf("message %q", m)
	}
}

func TestElevateAccess(t *testing.T) {
	w := newWorld(t)
	path := authorization + "elevateAccess"
	w.call(w.nina, "POST", path, nil).refused(403, "AuthorizationFailed")
	w.call(w.olga, "POST", path, nil).refused(403, "AuthorizationFailed") // owner, but no administrator of the directory
	w.update(func(tx *store.Tx) error {
		return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: w.tenant, ID: directory.NewGUID(), Role: directory.GlobalAdministrator, Principal: w.nina, Scope: "/"})
	})
	w.call(w.nina, "POST", path, nil).want(200)
	w.call(w.nina, "POST", path, nil).want(200)
	w.call(w.nina, "PUT", "/subscriptions/SUB"+authorization+"roleAssignments/"+directory.NewGUID(), assignmentBody(reader, w.nina)).want(201)
}

func TestDenyAssignments(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	name := directory.NewGUID()
	w.update(func(tx *store.Tx) error {
		return state.AccessDenies.Create(tx, &state.AccessDeny{
			Tenant: w.tenant, Name: name, DisplayName: "stack", Scope: g, Principals: []directory.ObjectID{rbac.Everyone}, SystemProtected: true,
			Permissions: []rbac.Permission{{Actions: []string{"Microsoft.KeyVault/*"}}},
		})
	})
	a := w.call(w.olga, "GET", g+authorization+"denyAssignments", nil).want(200)
	if a.get("value.0.properties.denyAssignmentName") != "stack" || a.get("value.0.properties.principals.0.type") != "SystemDefined" {
		t.Errorf("%s", a.raw)
	}
	w.call(w.olga, "GET", g+authorization+"denyAssignments/"+name, nil).want(200)
	w.call(w.olga, "GET", "/subscriptions/SUB"+authorization+"denyAssignments/"+name, nil).refused(404, "DenyAssignmentNotFound")
	w.call(w.olga, "PUT", g+authorization+"denyAssignments/"+name, object{}).refused(404, "InvalidResourceType")
	m := w.call(w.olga, "PUT", g+"/providers/Microsoft.KeyVault/vaults/kv", object{"location": "eastus"}).refused(403, "AuthorizationFailed")
	if !strings.Contains(m, "because of the deny assignment with name 'stack'") {
		t.Errorf("message %q", m)
	}
}

func TestCheckAccess(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	k := w.newCluster(g, "web", clusterBody(object{"managed": true, "enableAzureRBAC": true}))
	w.update(func(tx *store.Tx) error { return state.Link(tx, directory.Member, w.tenant, w.group, w.nina) })
	w.assign(w.group, aksReader, k)
	check := func(subject object, actions ...object) *answer {
		return w.call(w.olga, "POST", k+authorization+"checkaccess?api-version=2018-09-01-preview", object{
			"Subject": object{"Attributes": subject}, "Actions": actions, "Resource": object{"Id": k},
		})
	}
	pods := object{"Id": "Microsoft.ContainerService/managedClusters/pods/read", "IsDataAction": true, "Attributes": object{}}
	secrets := object{"Id": "Microsoft.ContainerService/managedClusters/secrets/read", "IsDataAction": true}
	var out []object
	// The groups that the request names do not count for a principal that the
	// directory knows.
	if err := json.Unmarshal(check(object{"ObjectId": w.nina, "Groups": []string{}}, pods, secrets).want(200).raw, &out); err != nil {
		t.Fatal(err)
	}
	if len(out) != 2 || out[0]["accessDecision"] != "Allowed" || out[1]["accessDecision"] != "NotAllowed" || out[0]["actionId"] != pods["Id"] {
		t.Errorf("%v", out)
	}
	ra, _ := out[0]["roleAssignment"].(object)
	if ra["principalId"] != string(w.group) || ra["scope"] != k {
		t.Errorf("%v", ra)
	}
	out = nil
	if err := json.Unmarshal(check(object{"ObjectId": w.olga, "Groups": []any{w.group}}, pods).want(200).raw, &out); err != nil || out[0]["accessDecision"] != "NotAllowed" {
		t.Errorf("claimed groups count: %v %v", out, err)
	}
	check(object{"ObjectId": "olga"}, pods).refused(400, "InvalidSubject")
	check(object{"ObjectId": w.nina}).refused(400, "InvalidActions")
	check(object{"ObjectId": w.nina}, object{"Id": "*"}).refused(400, "InvalidActions")
	w.call(w.user("mona"), "POST", k+authorization+"checkaccess", object{}).refused(403, "AuthorizationFailed")
	w.call(w.olga, "POST", k+authorization+"checkaccess", object{
		"Subject": object{"Attributes": object{"ObjectId": w.nina}}, "Actions": []object{pods}, "Resource": object{"Id": g},
	}).refused(400, "InvalidResource")
}

func TestProviderOperations(t *testing.T) {
	w := newWorld(t)
	a := w.call(w.nina, "GET", authorization+"providerOperations/Microsoft.ContainerService", nil).want(200)
	if !strings.Contains(string(a.raw), `"Microsoft.ContainerService/managedClusters/pods/read"`) {
		t.Error("no data actions")
	}
}

// TestEnded: a time-bound assignment ends by itself.
func TestEnded(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	name := w.assign(w.nina, reader, g)
	w.update(func(tx *store.Tx) error {
		return state.AccessAssignments.Modify(tx, string(w.tenant)+"/"+name, func(a *state.AccessAssignment) error {
			a.Until = w.clock.Now().Add(50 * time.Millisecond)
			return nil
		})
	})
	w.call(w.nina, "GET", g, nil).want(200)
	w.clock.Advance(time.Hour)
	w.waitFor(func() bool { return w.call(w.nina, "GET", g, nil).status == 403 })
	w.call(w.olga, "GET", g+authorization+"roleAssignments/"+name, nil).refused(404, "RoleAssignmentNotFound")
}
