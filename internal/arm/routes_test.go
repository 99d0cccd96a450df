package arm_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// open are the routes that do not ask for an action, each with the reason. A new
// route is not among them unless somebody puts it here.
var open = map[string]string{
	"GET /metadata/endpoints":    "public by nature",
	"GET /tenants":               "the own tenant",
	"GET /subscriptions":         "filtered by access",
	"GET /providers":             "the same for everybody",
	"GET /providers/{namespace}": "the same for everybody",
	"GET /providers/Microsoft.Management/managementGroups":                                                  "filtered by access",
	"POST /providers/Microsoft.Management/getEntities":                                                      "filtered by access",
	"GET {scope}/providers/Microsoft.Authorization/permissions":                                             "the own permissions",
	"POST /providers/Microsoft.Authorization/elevateAccess":                                                 "the handler asks for a directory role",
	"GET /providers/Microsoft.Authorization/providerOperations/{namespace}":                                 "the same for everybody",
	"GET /subscriptions/{sub}/operations/{id}":                                                              "the handler asks who started it",
	"GET /subscriptions/{sub}/operationresults/{id}":                                                        "the handler asks who started it",
	"GET /subscriptions/{sub}/providers/{namespace}/locations/{location}/operations/{id}":                   "the handler asks who started it",
	"GET /subscriptions/{sub}/providers/{namespace}/locations/{location}/operationresults/{id}":             "the handler asks who started it",
	"GET /subscriptions/{sub}/providers/Microsoft.ContainerService/locations/{location}/kubernetesVersions": "the same for everybody",
	"GET /subscriptions/{sub}/providers/Microsoft.ContainerService/locations/{location}/orchestrators":      "the same for everybody",
}

// TestEveryRouteIsAuthorized walks the table: a caller without any access is
// refused on each route with the route's own action, one from another tenant
// and one without a token never get in, and nothing has changed afterwards (abuse
// case 38).
func TestEveryRouteIsAuthorized(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	w.newCluster(g, "x", clusterBody(nil))
	before := w.store.View().Revision()
	name := directory.NewGUID()
	path := strings.NewReplacer(
		"{scope}", g, "{sub}", w.sub, "{group}", "rg", "{name}", "x", "{rest}", "vaults/x", "{location}", "eastus",
		"{namespace}", "Microsoft.KeyVault", "{profile}", "clusterUser", "{pool}", "nodepool1", "{credential}", "fed",
		"{alias}", "a", "{stage}", name, "{id}", name,
	)
	routes := w.service.Routes()
	if len(routes) < 80 {
		t.Fatalf("%d routes", len(routes))
	}
	stranger := string(w.tenant) + "/" + directory.NewGUID()
	for _, r := range routes {
		key := r.Method + " " + r.Pattern
		t.Run(key, func(t *testing.T) {
			p := path.Replace(r.Pattern)
			if strings.Contains(r.Pattern, "Microsoft.Authorization/role") && strings.HasSuffix(r.Pattern, "{name}") {
				p = strings.TrimSuffix(p, "x") + name
			}
			var body any
			if r.Method != "GET" && r.Method != "HEAD" && r.Method != "DELETE" {
				body = object{"location": "eastus", "properties": object{
					"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + owner, "principalId": w.nina,
				}}
			}
			if (r.Who == wire.Anonymous) != (w.send("", r.Method, p, body, nil).status != 401) {
				t.Error("a request without a token is let in")
			}
			if r.Who == wire.Anonymous {
				return
			}
			if got := w.send(stranger, r.Method, p, body, nil).status; got != 401 {
				t.Errorf("a caller whom the directory does not know: %d", got)
			}
			reason, ok := open[key]
			if strings.Contains(key, "Schedule") || strings.Contains(key, "roleAssignmentApprovals") {
				// Privileged Identity Management decides by what is asked for:
				// TestPrivileged has the refusals.
				reason, ok = "people ask for what concerns themselves", true
			}
			if ok {
				if r.Who != wire.Authenticated {
					t.Errorf("%q is the reason to be open, but it is not", reason)
				}
				return
			}
			if r.Who == wire.Authenticated {
				t.Fatal("the route asks for nothing")
			}
			a := w.call(w.nina, r.Method, p, body)
			if r.Method == "HEAD" {
				a.want(403)
				return
			}
			m := a.refused(403, "AuthorizationFailed")
			action := strings.Replace(r.Action, "{type}", "Microsoft.KeyVault/vaults", 1)
			if !strings.HasPrefix(m, "The client 'nina@contoso.test' with object id '"+string(w.nina)+"' does not have authorization to perform action '"+action+"' over scope '") ||
				!strings.HasSuffix(m, "' or the scope is invalid. If access was recently granted, please refresh your credentials.") {
				t.Errorf("message %q", m)
			}
		})
	}
	for key := range open {
		if !slices.ContainsFunc(routes, func(r wire.Route) bool { return r.Method+" "+r.Pattern == key }) {
			t.Errorf("%s is no route", key)
		}
	}
	if w.store.View().Revision() != before {
		t.Error("refused requests have changed something")
	}
}

// TestOtherTenant: whoever owns everything in one tenant has nothing in another.
func TestOtherTenant(t *testing.T) {
	w := newWorld(t)
	w.newResourceGroup("rg")
	other := directory.TenantID(directory.NewGUID())
	mallory := directory.ObjectID(directory.NewGUID())
	w.update(func(tx *store.Tx) error {
		return state.CreateTenant(tx, &directory.Tenant{ID: other, DisplayName: "Evil", Domains: []directory.Domain{{Name: "evil.test", Default: true, Initial: true}}})
	})
	w.update(func(tx *store.Tx) error {
		if err := state.CreateUser(tx, &directory.User{Tenant: other, ID: mallory, UserPrincipalName: "m@evil.test", Enabled: true}); err != nil {
			return err
		}
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{Tenant: other, Name: directory.NewGUID(), Scope: "/", Role: owner, Principal: mallory, PrincipalType: rbac.User})
	})
	token := string(other) + "/" + string(mallory)
	for _, tc := range []struct{ method, path string }{
		{"GET", "/subscriptions/SUB"},
		{"GET", "/subscriptions/SUB/resourceGroups/rg"},
		{"PUT", "/subscriptions/SUB/resourceGroups/rg2"},
		{"DELETE", "/subscriptions/SUB/resourceGroups/rg"},
		{"GET", "/subscriptions/SUB/providers/Microsoft.Authorization/roleAssignments"},
		{"PUT", "/subscriptions/SUB/providers/Microsoft.Authorization/roleAssignments/" + directory.NewGUID()},
		{"GET", "/subscriptions/SUB/providers/Microsoft.Authorization/permissions"},
		{"GET", "/subscriptions/SUB/providers/Microsoft.ContainerService/locations/eastus/kubernetesVersions"},
	} {
		a := w.send(token, tc.method, tc.path, object{"location": "eastus"}, nil)
		a.refused(401, "InvalidAuthenticationTokenTenant")
		if h := a.header.Get("WWW-Authenticate"); !strings.Contains(h, `authorization_uri="`+baseURL+"/"+string(w.tenant)+`"`) {
			t.Errorf("%s: WWW-Authenticate %q", tc.path, h)
		}
	}
	if got := w.send(token, "GET", "/subscriptions", nil, nil).want(200).list(); len(got) != 0 {
		t.Errorf("subscriptions %v", got)
	}
	// A custom role of one tenant cannot name the other's subscription.
	role := w.send(token, "PUT", "/providers/Microsoft.Authorization/roleDefinitions/"+directory.NewGUID(), object{"properties": object{
		"roleName": "all", "permissions": []object{{"actions": []string{"*"}}}, "assignableScopes": []string{"/subscriptions/" + w.sub},
	}}, nil)
	role.refused(400, "RoleDefinitionAssignableScopeNotFound")
}

// TestPaths: what could be read in two ways is refused, whoever asks (abuse case
// 38).
func TestPaths(t *testing.T) {
	w := newWorld(t)
	w.newResourceGroup("rg")
	for _, path := range []string{
		"///subscriptions/SUB", "/subscriptions//SUB", "//subscriptions//SUB", "/subscriptions/SUB//resourceGroups/rg", "/subscriptions/SUB/../SUB", "/subscriptions/SUB/resourceGroups/./rg",
		"/subscriptions/SUB/resourceGroups/a%2f..%2frg", "/subscriptions/SUB/resourceGroups/rg%5c", "/subscriptions/SUB/resourceGroups/rg%00",
		"/subscriptions/SUB/resourceGroups/%2e%2e", "/subscriptions/SUB/resourceGroups/rg%20", "/subscriptions/SUB/resourceGroups/rg;x", "/subscriptions/SUB/resourceGroups/rg.",
		"/subscriptions/SUB/resourceGroups/" + strings.Repeat("a", 300), "/subscriptions/SUB/resourceGroups/%ff",
	} {
		if got := w.call(w.olga, "GET", path, nil); got.status != 400 {
			t.Errorf("%s: %d %s", path, got.status, got.raw)
		}
	}
	w.call(w.olga, "GET", "/SUBSCRIPTIONS/"+strings.ToUpper(w.sub)+"/RESOURCEGROUPS/RG", nil).refused(404, "MissingSubscription")
	got := w.call(w.olga, "GET", "/Subscriptions/"+w.sub+"/resourcegroups/RG", nil).want(200)
	if got.text("name") != "rg" {
		t.Errorf("name %q", got.text("name"))
	}
	// A slash too many in front, as @azure/arm-authorization sends it, is read
	// as one: the same resource, and the same decision about it.
	if id := w.call(w.olga, "GET", "//subscriptions/SUB/resourceGroups/rg", nil).want(200).text("id"); id != "/subscriptions/"+w.sub+"/resourceGroups/rg" {
		t.Errorf("id %q", id)
	}
	if m := w.call(w.nina, "DELETE", "//subscriptions/SUB/resourceGroups/rg", nil).refused(403, "AuthorizationFailed"); !strings.Contains(m, "over scope '/subscriptions/"+w.sub+"/resourceGroups/rg'") {
		t.Errorf("message %q", m)
	}
}

func TestEnvelope(t *testing.T) {
	w := newWorld(t)
	w.newResourceGroup("rg")
	a := w.send("", "GET", "/subscriptions/SUB", nil, nil)
	if m := a.refused(401, "AuthenticationFailed"); m != "Authentication failed. The 'Authorization' header is missing." {
		t.Errorf("message %q", m)
	}
	if h := a.header.Get("WWW-Authenticate"); !strings.HasPrefix(h, `Bearer authorization_uri="`+baseURL) {
		t.Errorf("WWW-Authenticate %q", h)
	}
	w.send("junk", "GET", "/subscriptions/SUB", nil, nil).refused(401, "InvalidAuthenticationToken")
	if m := w.call(w.olga, "GET", "/subscriptions/SUB?api-version=", nil).refused(400, "MissingApiVersionParameter"); m != "The api-version query parameter (?api-version=) is required for all requests." {
		t.Errorf("message %q", m)
	}
	for v, ok := range map[string]bool{
		"2019-11-01": true, "2015-07-01-preview": true, "2020-04-01-PREVIEW": true, "2025-01-31-preview": true,
		"latest": false, "2020-13-01": false, "2020-1-1": false, "2020-01-01-preview;": false,
	} {
		a := w.call(w.olga, "GET", "/subscriptions/SUB?api-version="+strings.ReplaceAll(v, ";", "%3B"), nil)
		if ok {
			a.want(200)
		} else {
			a.refused(400, "InvalidApiVersionParameter")
		}
	}
	w.call(w.olga, "GET", "/subscriptions/SUB?Api-Version=2019-11-01", nil).want(200)

	id := directory.NewGUID()
	a = w.send(string(w.tenant)+"/"+string(w.olga), "GET", "/subscriptions/SUB", nil, http.Header{"X-Ms-Correlation-Request-Id": {id}})
	if a.header.Get("x-ms-correlation-request-id") != id || a.header.Get("x-ms-request-id") == "" {
		t.Errorf("headers %v", a.header)
	}
	w.call(w.olga, "POST", "/subscriptions/SUB", nil).refused(405, "MethodNotAllowed")
	w.call(w.olga, "GET", "/nothing/here", nil).refused(404, "MissingSubscription")
	w.call(w.olga, "GET", "/subscriptions/not-a-guid", nil).refused(400, "InvalidSubscriptionId")
	w.call(w.olga, "GET", "/subscriptions/"+directory.NewGUID(), nil).refused(404, "SubscriptionNotFound")
	for _, body := range []string{"", "{", "[]", "{} {}", `"x"`, strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40)} {
		w.call(w.olga, "PUT", "/subscriptions/SUB/resourceGroups/rg3", body).refused(400, "InvalidRequestContent")
	}
	w.call(w.olga, "PUT", "/subscriptions/SUB/resourceGroups/rg3", `{"location":"eastus","x":"`+strings.Repeat("a", 1<<20)+`"}`).refused(413, "RequestEntityTooLarge")

	// Who is disabled, or has signed out everywhere, is out at once.
	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(w.tenant, w.nina), func(u *directory.User) error { u.Enabled = false; return nil })
	})
	w.call(w.nina, "GET", "/subscriptions", nil).refused(401, "InvalidAuthenticationToken")
}

// TestStoredText is Resource Manager's part of abuse case 24: what people type
// comes back as JSON that no browser takes for a page, in resources and in
// errors, and what a browser sends by itself is no credential.
func TestStoredText(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	const script = `<script>alert(1)</script>`
	harmless := func(a *answer) {
		t.Helper()
		if !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%v %s", a.header, a.raw)
		}
	}
	role := object{"properties": object{"roleName": script, "description": script, "permissions": []object{{"actions": []string{"*/read"}}}, "assignableScopes": []string{g}}}
	id := directory.NewGUID()
	made := w.call(w.olga, "PUT", g+authorization+"roleDefinitions/"+id, role).want(201)
	harmless(made)
	if made.text("properties.roleName") != script {
		t.Errorf("the name is %q", made.text("properties.roleName"))
	}
	for _, path := range []string{"/subscriptions/SUB/resourceGroups/%3Cscript%3E", "/subscriptions/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/subscriptions/SUB/resources?$filter=%3Cscript%3E", "/subscriptions/SUB?api-version=%3Cscript%3E"} {
		a := w.call(w.olga, "GET", path, nil)
		harmless(a)
		if a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	harmless(w.call(w.olga, "PUT", "/subscriptions/SUB/resourceGroups/x", object{"location": script}))
	token := string(w.tenant) + "/" + string(w.olga)
	before := w.store.View().Revision()
	for _, h := range []http.Header{{"Cookie": {"access_token=" + token}}, {"Cookie": {"Authorization=Bearer " + token}, "Origin": {"https://evil.example"}}} {
		a := w.send("", "PUT", "/subscriptions/SUB/resourceGroups/x", object{"location": "eastus"}, h)
		a.refused(401, "AuthenticationFailed")
		if a.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%v", a.header)
		}
	}
	if w.store.View().Revision() != before {
		t.Error("a cookie has changed something")
	}
}

// TestAudit: writes and refusals are told, reads are not.
func TestAudit(t *testing.T) {
	w := newWorld(t)
	w.newResourceGroup("rg")
	w.call(w.olga, "GET", "/subscriptions/SUB/resourceGroups/rg", nil).want(200)
	w.call(w.nina, "DELETE", "/subscriptions/SUB/resourceGroups/rg", nil).want(403)
	if len(w.events) != 2 {
		t.Fatalf("%d events", len(w.events))
	}
	made, refused := w.events[0], w.events[1]
	if made.Action != "Microsoft.Resources/subscriptions/resourceGroups/write" || made.Status != 201 || made.Caller != w.olga ||
		!strings.EqualFold(made.Scope, "/subscriptions/"+w.sub+"/resourceGroups/rg") {
		t.Errorf("%+v", made)
	}
	if refused.Code != "AuthorizationFailed" || refused.Status != 403 || refused.CallerName != "nina@contoso.test" {
		t.Errorf("%+v", refused)
	}
}
