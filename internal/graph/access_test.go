package graph

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// path fills the keys of a pattern with objects that exist.
func (w *world) path(pattern string, ids map[string]string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if p != "{id}" {
			continue
		}
		if id, ok := ids[parts[i-1]]; ok {
			parts[i] = id
		} else {
			parts[i] = ids[parts[0]]
		}
	}
	return strings.Join(parts, "/")
}

// TestEveryRouteIsGuarded walks the table of routes: without a token, with a
// token that carries no permission, and with one that carries every
// permission but belongs to somebody without any right (abuse case 38).
func TestEveryRouteIsGuarded(t *testing.T) {
	w := newWorld(t)
	victim := string(w.addUser("victim"))
	app := w.client("target")
	group := w.newGroup("admin", "g")
	w.do("admin", "POST", "groups/"+group+"/members/$ref", ref(victim)).want(204)
	ids := map[string]string{
		"users": victim, "groups": group, "members": victim, "owners": string(w.admin), "servicePrincipals": string(app.ID), "directoryObjects": victim,
		"applications": w.newApp("admin", "a").str("id"), "devices": directory.NewGUID(), "deletedItems": directory.NewGUID(), "organization": string(tenantID), "domains": domain,
		"oauth2PermissionGrants": directory.NewGUID(), "federatedIdentityCredentials": "x", "directoryRoles": directory.GlobalAdministrator, "directoryRoleTemplates": directory.GlobalAdministrator,
		"roleDefinitions": directory.GlobalAdministrator, "roleAssignments": directory.NewGUID(), "roleManagement": directory.NewGUID(), "directory": directory.NewGUID(),
	}
	nobody := w.addUser("nobody")
	w.signIn("no scopes", nobody)
	w.client("no roles")
	guest := w.addUser("guest")
	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(tenantID, guest), func(u *directory.User) error { u.Guest = true; return nil })
	})
	w.signIn("guest", guest, wire.AsUser)
	// What each may do all the same: look at the tenant's name, and ask for a
	// deletion whose rule is that of what would be deleted.
	open := []string{"GET organization", "GET organization/{id}"}
	rev := w.store.View().Revision()
	for _, r := range w.svc.Routes() {
		name := r.Method + " " + r.Pattern
		path := w.path(r.Pattern, ids)
		w.do("", r.Method, path, obj()).refused(401, "InvalidAuthenticationToken", "")
		for _, token := range []string{"no scopes", "no roles", "guest"} {
			if token == "guest" && slices.Contains(open, name) {
				continue
			}
			body := any(obj())
			if r.Method == http.MethodGet {
				body = nil
			}
			a := w.do(token, r.Method, path, body)
			if a.status != http.StatusForbidden {
				t.Errorf("%s answered %d: %s", a.request, a.status, a.raw)
			}
		}
		if !r.Reads() && r.Method == http.MethodGet || r.Reads() && r.Method != http.MethodGet && r.Method != http.MethodPost {
			t.Errorf("%s: a %s that is a write: %v", name, r.Method, !r.Reads())
		}
		if r.Access == anyone && name != "DELETE directoryObjects/{id}" {
			t.Errorf("%s is open to everybody", name)
		}
	}
	if now := w.store.View().Revision(); now != rev {
		t.Errorf("refused requests wrote to the store: revision %d, was %d", now, rev)
	}
	// POST routes that are no writes are known by name.
	var asks []string
	for _, r := range w.svc.Routes() {
		if r.Method == http.MethodPost && r.Reads() {
			asks = append(asks, r.Pattern[strings.LastIndexByte(r.Pattern, '/')+1:])
		}
	}
	slices.Sort(asks)
	if got := strings.Join(slices.Compact(asks), " "); got != "checkMemberGroups checkMemberObjects getByIds getMemberGroups getMemberObjects validateProperties" {
		t.Errorf("POST routes without an audit activity: %s", got)
	}
}

// TestRefusedWritesAreAudited holds that a refusal is on record too.
func TestRefusedWritesAreAudited(t *testing.T) {
	w := newWorld(t)
	w.member("mallory")
	w.do("mallory", "DELETE", "users/"+string(w.admin), nil).want(403)
	e := w.events.last()
	if e.Activity != "Delete user" || e.Success || e.UPN != "mallory@"+domain || e.Operation != "Delete" {
		t.Errorf("recorded %+v", e)
	}
	w.do("admin", "POST", "groups", obj("displayName", "x", "mailNickname", "x", "mailEnabled", false, "securityEnabled", true), "client-request-id", "99999999-9999-4999-8999-999999999999").want(201)
	e = w.events.last()
	if e.Activity != "Add group" || !e.Success || len(e.Targets) != 1 || e.Targets[0].DisplayName != "x" || e.CorrelationID != "99999999-9999-4999-8999-999999999999" {
		t.Errorf("recorded %+v", e)
	}
}

func TestMembersMay(t *testing.T) {
	w := newWorld(t)
	ann := string(w.member("ann"))
	bob := string(w.member("bob"))
	// As in a tenant with default settings: read, make groups and applications.
	for _, path := range []string{"users", "users/" + bob, "groups", "applications", "servicePrincipals", "me", "me/memberOf", "directoryRoles"} {
		w.do("ann", "GET", path, nil).want(200)
	}
	g := w.newGroup("ann", "anns")
	w.do("ann", "POST", "groups/"+g+"/members/$ref", ref(bob)).want(204)
	w.do("bob", "DELETE", "groups/"+g+"/members/"+bob+"/$ref", nil).want(403)
	w.do("bob", "DELETE", "groups/"+g, nil).want(403)
	w.do("bob", "PATCH", "groups/"+g, obj("description", "mine")).want(403)
	app := w.newApp("ann", "anns")
	w.do("ann", "POST", "applications/"+app.str("id")+"/addPassword", obj()).want(200)
	w.do("bob", "POST", "applications/"+app.str("id")+"/addPassword", obj()).want(403)
	w.do("bob", "POST", "servicePrincipals", obj("appId", app.str("appId"))).want(403)
	w.do("ann", "POST", "servicePrincipals", obj("appId", app.str("appId"))).want(201)
	// Nothing about others, and not everything about themselves.
	w.do("ann", "PATCH", "users/"+bob, obj("displayName", "x")).want(403)
	w.do("ann", "PATCH", "me", obj("mobilePhone", "+1 555")).want(204)
	for _, body := range []map[string]any{obj("displayName", "x"), obj("userPrincipalName", "root@"+domain), obj("accountEnabled", true), obj("userType", "Guest"), obj("passwordProfile", obj("password", "Some-Secret-77")), obj("mobilePhone", "1", "jobTitle", "boss")} {
		w.do("ann", "PATCH", "users/"+ann, body).want(403)
	}
	w.do("ann", "POST", "users", obj()).want(403)
	w.do("ann", "DELETE", "users/"+ann, nil).want(403)
	w.do("ann", "POST", "oauth2PermissionGrants", obj()).want(403)
	w.do("ann", "POST", "directoryRoles/"+directory.GlobalAdministrator+"/members/$ref", ref(ann)).want(403)
	w.do("ann", "PATCH", "organization/"+string(tenantID), obj("displayName", "x")).want(403)
}

func TestClientsNeedPermissionsBesideTheUser(t *testing.T) {
	w := newWorld(t)
	w.signIn("reader", w.admin, "User.Read")
	w.do("reader", "GET", "me", nil).want(200)
	w.do("reader", "GET", "users", nil).refused(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
	w.signIn("basic", w.admin, "User.ReadBasic.All")
	a := w.do("basic", "GET", "users?$select=displayName,accountEnabled", nil).want(200)
	if strings.Contains(string(a.raw), "accountEnabled\":") {
		t.Errorf("User.ReadBasic.All shows %s", a.raw)
	}
	w.do("basic", "GET", "users?$filter=accountEnabled eq true", nil).want(403)
	w.signIn("groups", w.admin, "Group.ReadWrite.All")
	w.newGroup("groups", "g")
	w.do("groups", "POST", "users", obj()).want(403)
	w.signIn("apps", w.admin, "Application.ReadWrite.All")
	w.newApp("apps", "a")
	w.do("apps", "POST", "groups", obj()).want(403)
}

func TestAppPermissions(t *testing.T) {
	w := newWorld(t)
	w.client("reader", "User.Read.All")
	w.do("reader", "GET", "users", nil).want(200)
	w.do("reader", "GET", "groups", nil).want(403)
	w.do("reader", "GET", "me", nil).refused(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
	w.client("writer", "User.ReadWrite.All")
	id := w.do("writer", "POST", "users", obj("userPrincipalName", "z@"+domain, "displayName", "z", "mailNickname", "z", "accountEnabled", true, "passwordProfile", obj("password", "Correct-Horse-9"))).want(201).str("id")
	w.do("writer", "PATCH", "users/"+id, obj("jobTitle", "x")).want(204)
	// Application permissions alone reset nobody's password.
	w.do("writer", "PATCH", "users/"+id, obj("passwordProfile", obj("password", "Other-Secret-8"))).want(403)
	p := w.client("robot", "User.ReadWrite.All")
	w.role(p.ID, directory.UserAdministrator)
	w.do("robot", "PATCH", "users/"+id, obj("passwordProfile", obj("password", "Other-Secret-8"))).want(204)

	// OwnedBy covers what the client has made and no more.
	w.client("builder", "Application.ReadWrite.OwnedBy")
	own := w.newApp("builder", "own").str("id")
	other := w.newApp("admin", "other").str("id")
	w.do("builder", "PATCH", "applications/"+own, obj("displayName", "own2")).want(204)
	w.do("builder", "PATCH", "applications/"+other, obj("displayName", "x")).want(403)
	w.do("builder", "POST", "applications/"+other+"/addPassword", obj()).want(403)

	// A directory role of the service principal is enough by itself.
	q := w.client("operator")
	w.role(q.ID, directory.GlobalAdministrator)
	w.do("operator", "GET", "users", nil).want(200)
	w.newGroup("operator", "ops")
}

// TestEscalation is abuse case 38 for Microsoft Graph: each way by which
// somebody could get more than they have.
func TestEscalation(t *testing.T) {
	w := newWorld(t)
	secure := w.do("admin", "POST", "groups", obj("displayName", "admins", "mailNickname", "admins", "mailEnabled", false, "securityEnabled", true, "isAssignableToRole", true)).want(201).str("id")
	w.do("admin", "POST", "directoryRoles/"+directory.PrivilegedRoleAdministrator+"/members/$ref", ref(secure)).want(204)
	boss := string(w.member("boss"))
	w.do("admin", "POST", "groups/"+secure+"/members/$ref", ref(boss)).want(204)
	lesser := w.member("lesser")
	w.role(lesser, directory.UserAdministrator)
	w.role(lesser, directory.GroupsAdministrator)
	w.role(lesser, directory.ApplicationAdministrator)
	me := string(lesser)

	rev := w.store.View().Revision()
	// Take over somebody with more rights.
	for _, id := range []string{string(w.admin), boss} {
		w.do("lesser", "PATCH", "users/"+id, obj("passwordProfile", obj("password", "Mine-Secret-99"))).want(403)
		w.do("lesser", "PATCH", "users/"+id, obj("accountEnabled", false)).want(403)
		w.do("lesser", "PATCH", "users/"+id, obj("userPrincipalName", "taken@"+domain)).want(403)
		w.do("lesser", "DELETE", "users/"+id, nil).want(403)
		w.do("lesser", "DELETE", "directoryObjects/"+id, nil).want(403)
		w.do("lesser", "POST", "users/"+id+"/revokeSignInSessions", nil).want(403)
	}
	// Enter a group that has a role, own it, change it, make one.
	w.do("lesser", "POST", "groups/"+secure+"/members/$ref", ref(me)).want(403)
	w.do("lesser", "PATCH", "groups/"+secure, obj("members@odata.bind", []string{"https://graph.microsoft.com/v1.0/users/" + me})).want(403)
	w.do("lesser", "POST", "groups/"+secure+"/owners/$ref", ref(me)).want(403)
	w.do("lesser", "DELETE", "groups/"+secure+"/members/"+boss+"/$ref", nil).want(403)
	w.do("lesser", "DELETE", "groups/"+secure, nil).want(403)
	w.do("lesser", "POST", "groups", obj("displayName", "x", "mailNickname", "x", "mailEnabled", false, "securityEnabled", true, "isAssignableToRole", true)).want(403)
	// Give oneself a role.
	w.do("lesser", "POST", "directoryRoles(roleTemplateId='"+directory.GlobalAdministrator+"')/members/$ref", ref(me)).want(403)
	w.do("lesser", "POST", "roleManagement/directory/roleAssignments", obj("principalId", me, "roleDefinitionId", directory.GlobalAdministrator, "directoryScopeId", "/")).want(403)
	if now := w.store.View().Revision(); now != rev {
		t.Errorf("refused requests wrote to the store")
	}
	// Turn a plain group into one that can have roles.
	plain := w.newGroup("lesser", "plain")
	w.do("admin", "PATCH", "groups/"+plain, obj("isAssignableToRole", true)).refused(400, "Request_BadRequest", "immutable")

	// An application that may write applications grants itself nothing, neither
	// as a role nor as delegated consent.
	mallory := w.client("mallory", "Application.ReadWrite.All")
	graphSP, err := state.FindServicePrincipal(w.store.View(), tenantID, directory.Graph)
	if err != nil {
		t.Fatal(err)
	}
	grab := obj("principalId", string(mallory.ID), "resourceId", string(graphSP.ID), "appRoleId", "9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8")
	w.do("mallory", "POST", "servicePrincipals/"+string(mallory.ID)+"/appRoleAssignments", grab).want(403)
	w.do("mallory", "POST", "servicePrincipals/"+string(graphSP.ID)+"/appRoleAssignedTo", grab).want(403)
	w.do("mallory", "POST", "oauth2PermissionGrants", obj("clientId", string(mallory.ID), "consentType", "AllPrincipals", "resourceId", string(graphSP.ID), "scope", "Directory.ReadWrite.All")).want(403)
	// Nobody holds a credential of a first-party application.
	w.do("admin", "POST", "servicePrincipals/"+string(graphSP.ID)+"/addPassword", obj()).refused(400, "Request_BadRequest", "first-party")
	w.do("mallory", "POST", "applications", obj("displayName", "x", "identifierUris", []string{"https://graph.microsoft.com"})).want(400)
	w.do("mallory", "POST", "applications", obj("displayName", "x", "identifierUris", []string{"api://" + string(directory.AKSServer)})).want(400)
	// An application administrator consents to other APIs, not to Microsoft Graph.
	w.do("lesser", "POST", "servicePrincipals/"+string(mallory.ID)+"/appRoleAssignments", grab).want(403)
	w.do("admin", "POST", "servicePrincipals/"+string(mallory.ID)+"/appRoleAssignments", grab).want(201)

	// A batch cannot speak for somebody else.
	w.do("lesser", "POST", "$batch", obj("requests", []any{obj("id", "1", "method", "GET", "url", "/me", "headers", obj("authorization", "Bearer admin"))})).want(400)
	batch := w.do("lesser", "POST", "$batch", obj("requests", []any{obj("id", "1", "method", "POST", "url", "/directoryRoles/"+directory.GlobalAdministrator+"/members/$ref", "headers", obj("Content-Type", "application/json"), "body", ref(me))})).want(200)
	if !strings.Contains(string(batch.raw), `"status":403`) {
		t.Errorf("batch: %s", batch.raw)
	}
}

// TestRolesEndAtOnce holds that the directory decides, not the token.
func TestRolesEndAtOnce(t *testing.T) {
	w := newWorld(t)
	ann := w.member("ann")
	bob := string(w.addUser("bob"))
	w.update(func(tx *store.Tx) error {
		return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenantID, ID: "r", Role: directory.UserAdministrator, Principal: ann, Scope: "/", Until: w.clock.Now().Add(time.Hour)})
	})
	w.do("ann", "PATCH", "users/"+bob, obj("jobTitle", "x")).want(204)
	w.clock.Advance(time.Hour)
	w.do("ann", "PATCH", "users/"+bob, obj("jobTitle", "y")).want(403)
}

func TestRevocation(t *testing.T) {
	w := newWorld(t)
	ann := w.member("ann")
	w.do("ann", "GET", "me", nil).want(200)
	w.clock.Advance(time.Minute)
	w.do("admin", "POST", "users/"+string(ann)+"/revokeSignInSessions", nil).want(200)
	w.do("ann", "GET", "me", nil).refused(401, "InvalidAuthenticationToken", "TokenIssuedBeforeRevocationTimestamp")
	w.signIn("ann", ann, wire.AsUser)
	w.do("ann", "GET", "me", nil).want(200)
	w.clock.Advance(time.Minute)
	// A reset ends sessions too.
	w.do("admin", "PATCH", "users/"+string(ann), obj("passwordProfile", obj("password", "Brand-New-55", "forceChangePasswordNextSignIn", true))).want(204)
	w.do("ann", "GET", "me", nil).want(401)
	u, err := state.Users.Get(w.store.View(), state.Key(tenantID, ann))
	if err != nil || u.PasswordHash != "plain:Brand-New-55" || !u.MustChangePassword || !u.SessionsValidFrom.Equal(w.clock.Now()) || !u.AccessRevoked.Equal(w.clock.Now()) {
		t.Errorf("after the reset: %+v, %v", u, err)
	}
	// So does disabling, for as long as it lasts and for what was issued before.
	w.signIn("ann", ann, wire.AsUser)
	w.clock.Advance(time.Minute)
	w.do("admin", "PATCH", "users/"+string(ann), obj("accountEnabled", false)).want(204)
	w.do("ann", "GET", "me", nil).refused(401, "InvalidAuthenticationToken", "AccountDisabled")
	w.do("admin", "PATCH", "users/"+string(ann), obj("accountEnabled", true)).want(204)
	w.do("ann", "GET", "me", nil).want(401)
	// A client whose service principal is disabled is out.
	p := w.client("robot", "User.Read.All")
	w.do("robot", "GET", "users", nil).want(200)
	w.do("admin", "PATCH", "servicePrincipals/"+string(p.ID), obj("accountEnabled", false)).want(204)
	w.do("robot", "GET", "users", nil).want(401)
}

func TestChangePassword(t *testing.T) {
	w := newWorld(t)
	ann := w.member("ann")
	for _, tt := range []struct {
		body   map[string]any
		status int
	}{
		{obj("currentPassword", "wrong", "newPassword", "Good-Enough-7"), 400},
		{obj("currentPassword", "Old-Secret-ann1", "newPassword", "short"), 400},
		{obj("currentPassword", "Old-Secret-ann1", "newPassword", "Old-Secret-ann1"), 400},
		{obj("currentPassword", "Old-Secret-ann1"), 400},
		{obj("currentPassword", "Old-Secret-ann1", "newPassword", "Good-Enough-7"), 204},
	} {
		w.do("ann", "POST", "me/changePassword", tt.body).want(tt.status)
	}
	u, err := state.Users.Get(w.store.View(), state.Key(tenantID, ann))
	if err != nil || u.PasswordHash != "plain:Good-Enough-7" || u.SessionsValidFrom.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	w.do("admin", "POST", "users/"+string(ann)+"/changePassword", obj("currentPassword", "Good-Enough-7", "newPassword", "Good-Enough-8")).want(403)
	for _, e := range w.events.all {
		for _, target := range e.Targets {
			for _, c := range target.Changes {
				if strings.Contains(c.New+c.Old, "Good-Enough") {
					t.Errorf("the audit log holds a password: %+v", e)
				}
			}
		}
	}
}

func TestResetPassword(t *testing.T) {
	w := newWorld(t)
	ann := string(w.member("ann"))
	w.role(w.member("helper"), directory.AuthenticationAdministrator)
	path := "users/" + ann + "/authentication/methods/" + passwordMethod + "/resetPassword"
	w.do("ann", "POST", path, nil).want(403)
	w.do("helper", "POST", "users/"+string(w.admin)+"/authentication/methods/"+passwordMethod+"/resetPassword", nil).want(403)
	w.do("helper", "POST", "users/"+ann+"/authentication/methods/"+directory.NewGUID()+"/resetPassword", nil).want(404)
	made := w.do("helper", "POST", path, nil).want(202).str("newPassword")
	u, err := state.Users.Get(w.store.View(), state.Key(tenantID, directory.ObjectID(ann)))
	if err != nil || u.PasswordHash != "plain:"+made || !u.MustChangePassword || u.AccessRevoked.IsZero() {
		t.Errorf("%+v, %v", u, err)
	}
	if a := w.do("helper", "POST", path, obj("newPassword", "Chosen-Word-88")).want(202); strings.Contains(string(a.raw), "Chosen") {
		t.Errorf("%s", a.raw)
	}
	w.do("helper", "POST", path, obj("newPassword", "weak")).want(400)
}

// TestLastAdministrator holds that a tenant cannot be left without one, even by
// two requests at once.
func TestLastAdministrator(t *testing.T) {
	w := newWorld(t)
	admin := string(w.admin)
	a := w.do("admin", "GET", "roleManagement/directory/roleAssignments?$filter=principalId eq '"+admin+"'", nil).want(200).values("id")[0]
	for _, try := range []func() *answer{
		func() *answer { return w.do("admin", "DELETE", "roleManagement/directory/roleAssignments/"+a, nil) },
		func() *answer {
			return w.do("admin", "DELETE", "directoryRoles/"+directory.GlobalAdministrator+"/members/"+admin+"/$ref", nil)
		},
		func() *answer { return w.do("admin", "DELETE", "users/"+admin, nil) },
		func() *answer { return w.do("admin", "PATCH", "users/"+admin, obj("accountEnabled", false)) },
	} {
		try().refused(400, "Request_BadRequest", "last Global Administrator")
	}
	w.role(w.member("roles"), directory.PrivilegedRoleAdministrator)
	keep := w.admin
	for range 8 {
		second := w.addUser("second" + directory.NewGUID()[:8])
		w.role(second, directory.GlobalAdministrator)
		done := make(chan int, 2)
		for _, id := range []directory.ObjectID{keep, second} {
			go func() {
				done <- w.do("roles", "DELETE", "directoryRoles/"+directory.GlobalAdministrator+"/members/"+string(id)+"/$ref", nil).status
			}()
		}
		got := []int{<-done, <-done}
		slices.Sort(got)
		if !slices.Equal(got, []int{204, 400}) {
			t.Fatalf("both at once: %v", got)
		}
		left := administrators(&wire.Call{Standing: wire.Standing{Caller: Caller{Tenant: tenantID}}, Now: w.clock.Now()}, w.store.View())
		if len(left) != 1 {
			t.Fatalf("%d administrators are left", len(left))
		}
		for keep = range left {
		}
	}
}

// TestLastOwner is the ETag race of abuse case 38: two owners remove each
// other at the same time.
func TestLastOwner(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		g := w.newGroup("admin", "g")
		ann := string(w.addUser("ann" + g[:8]))
		w.do("admin", "POST", "groups/"+g+"/owners/$ref", ref(ann)).want(204)
		done := make(chan int, 2)
		for _, id := range []string{ann, string(w.admin)} {
			go func() { done <- w.do("admin", "DELETE", "groups/"+g+"/owners/"+id+"/$ref", nil).status }()
		}
		got := []int{<-done, <-done}
		slices.Sort(got)
		if !slices.Equal(got, []int{204, 400}) {
			t.Fatalf("removing both owners answered %v", got)
		}
		if owners := w.do("admin", "GET", "groups/"+g+"/owners", nil).values("id"); len(owners) != 1 {
			t.Fatalf("owners %v", owners)
		}
	}
}

func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	g := w.newGroup("admin", "g")
	tag := w.do("admin", "GET", "groups/"+g, nil).header.Get("Etag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	w.do("admin", "PATCH", "groups/"+g, obj("description", "a"), "If-Match", tag).want(204)
	w.do("admin", "PATCH", "groups/"+g, obj("description", "b"), "If-Match", tag).want(412)
	w.do("admin", "PATCH", "groups/"+g, obj("description", "b"), "If-Match", "*").want(204)
}

// TestTenantsApart holds that ids of another tenant do not exist in this one.
func TestTenantsApart(t *testing.T) {
	w := newWorld(t)
	foreign := &directory.User{Tenant: otherID, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: "eve@fabrikam.example", DisplayName: "eve", Enabled: true}
	app := &directory.Application{Tenant: otherID, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()), DisplayName: "theirs", SignInAudience: "AzureADMyOrg"}
	w.update(func(tx *store.Tx) error {
		if err := state.Applications.Create(tx, app); err != nil {
			return err
		}
		return state.CreateUser(tx, foreign)
	})
	id := string(foreign.ID)
	w.do("admin", "GET", "users/"+id, nil).want(404)
	w.do("admin", "GET", "users/eve@fabrikam.example", nil).want(404)
	w.do("admin", "PATCH", "users/"+id, obj("displayName", "x")).want(404)
	w.do("admin", "DELETE", "users/"+id, nil).want(404)
	g := w.newGroup("admin", "g")
	w.do("admin", "POST", "groups/"+g+"/members/$ref", ref(id)).want(404)
	w.do("admin", "GET", "applications(appId='"+string(app.AppID)+"')", nil).want(404)
	for _, path := range []string{"users?$filter=id eq '" + id + "'", "applications?$filter=appId eq '" + string(app.AppID) + "'", "users?$filter=startswith(userPrincipalName,'eve')"} {
		if got := w.do("admin", "GET", path, nil).want(200).values("id"); len(got) != 0 {
			t.Errorf("%s: %v", path, got)
		}
	}
	// Another tenant's application can be used here only if it says so.
	w.do("admin", "POST", "servicePrincipals", obj("appId", string(app.AppID))).refused(400, "NoBackingApplicationObject", string(app.AppID))
	w.update(func(tx *store.Tx) error {
		return state.Applications.Modify(tx, state.Key(otherID, app.ID), func(a *directory.Application) error { a.SignInAudience = "AzureADMultipleOrgs"; return nil })
	})
	w.member("ann")
	w.do("ann", "POST", "servicePrincipals", obj("appId", string(app.AppID))).want(403)
	w.do("admin", "POST", "servicePrincipals", obj("appId", string(app.AppID))).want(201)
}
