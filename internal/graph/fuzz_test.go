package graph

import (
	"encoding/json"
	"flag"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/wire"
)

// fuzzed is newWorld for a fuzz target. The embedded etcd works beside the
// target in the same process, so inputs look new that are not: the fuzzer would
// spend up to a minute on making each of them smaller.
func fuzzed(f *testing.F) *world {
	if err := flag.Set("test.fuzzminimizetime", "20x"); err != nil {
		f.Fatal(err)
	}
	return newWorld(f)
}

// FuzzBatch holds that no batch makes the server fail or write.
func FuzzBatch(f *testing.F) {
	for _, s := range []string{
		`{"requests":[{"id":"1","method":"GET","url":"/users?$filter=startswith(displayName,'a')"}]}`, `{"requests":[{"id":"1","method":"POST","url":"$batch","body":{}}]}`,
		`{"requests":[{"id":"1","method":"GET","url":"/users('a')/memberOf/$count","headers":{"ConsistencyLevel":"eventual"},"dependsOn":["0"]}]}`, `{"requests":null}`, `[]`, `{"requests":[{}]}`,
		`{"requests":[{"id":"1","method":"GET","url":"/applications(appId='x')/owners/microsoft.graph.user?$expand=a(b"}]}`,
	} {
		f.Add(s)
	}
	w := fuzzed(f)
	w.callers["reader"] = Caller{Tenant: tenantID, ID: w.admin, Scopes: []string{"Directory.Read.All"}, Issued: w.clock.Now()}
	f.Fuzz(func(t *testing.T, body string) {
		w.t = t
		rev := w.store.View().Revision()
		a := w.do("reader", "POST", "$batch", body)
		if a.status >= 500 || strings.Contains(string(a.raw), `"status":500`) {
			t.Fatalf("%s: %d %s", body, a.status, a.raw)
		}
		if !json.Valid(a.raw) {
			t.Fatalf("%s: %s", body, a.raw)
		}
		if w.store.View().Revision() != rev && strings.Contains(body, "POST") {
			t.Fatalf("%s wrote", body)
		}
	})
}

// FuzzBody sends bodies to every route that takes one. Whatever the body is, the
// server does not fail, a caller without permissions changes nothing (abuse case
// 38), and what an administrator has changed can still be read.
func FuzzBody(f *testing.F) {
	w := fuzzed(f)
	w.client("nobody")
	objects := map[string]string{
		"users": string(w.addUser("ann")), "groups": w.newGroup("admin", "g"),
		"applications":      w.do("admin", "POST", "applications", obj("displayName", "app")).want(201).str("id"),
		"servicePrincipals": string(w.client("robot").ID),
		"devices":           w.do("admin", "POST", "devices", obj("displayName", "laptop", "operatingSystem", "Linux", "operatingSystemVersion", "6", "accountEnabled", true, "alternativeSecurityIds", []any{obj("type", 2, "key", "AAAA")})).want(201).str("id"),
		"organization":      string(tenantID),
	}
	var routes []wire.Route
	for _, r := range w.svc.server.Routes {
		if r.Method == http.MethodPost || r.Method == http.MethodPatch {
			routes = append(routes, r)
		}
	}
	// In the order of their names, so that the corpus stays what it is.
	slices.SortFunc(routes, func(a, b wire.Route) int { return strings.Compare(a.Pattern+a.Method, b.Pattern+b.Method) })
	if len(routes) < 40 {
		f.Fatalf("%d routes", len(routes))
	}
	path := func(pattern string) string {
		set, _, _ := strings.Cut(pattern, "/")
		if id := objects[set]; id != "" {
			pattern = strings.Replace(pattern, "{id}", id, 1)
		}
		return strings.ReplaceAll(pattern, "{id}", objects["users"])
	}
	for i, r := range routes {
		for _, body := range seedBodies[r.Pattern] {
			f.Add(uint8(i), strings.NewReplacer("USER", objects["users"], "GROUP", objects["groups"], "SP", objects["servicePrincipals"]).Replace(body))
		}
	}
	f.Fuzz(func(t *testing.T, route uint8, body string) {
		w.t = t
		r := routes[int(route)%len(routes)]
		p := path(r.Pattern)
		rev := w.store.View().Revision()
		if a := w.do("nobody", r.Method, p, body); a.status >= 500 || a.status < 300 && w.store.View().Revision() != rev {
			t.Fatalf("%s %s %s: a caller without permissions: %d %s", r.Method, p, body, a.status, a.raw)
		}
		a := w.do("admin", r.Method, p, body)
		if a.status >= 500 || len(a.raw) > 0 && !json.Valid(a.raw) {
			t.Fatalf("%s %s %s: %d %s", r.Method, p, body, a.status, a.raw)
		}
		if a.status >= 300 {
			return
		}
		set, rest, one := strings.Cut(p, "/")
		if id, _ := a.body["id"].(string); !one && id != "" && objects[set] != "" {
			rest = id
		}
		if id, _, _ := strings.Cut(rest, "/"); id != "" && objects[set] != "" {
			if got := w.do("admin", "GET", set+"/"+id, nil); got.status != http.StatusOK || !json.Valid(got.raw) {
				t.Fatalf("%s %s %s: %d, and then it cannot be read: %d %s", r.Method, p, body, a.status, got.status, got.raw)
			}
		}
	})
}

// seedBodies are bodies that the routes take, and some that they should not.
var seedBodies = map[string][]string{
	"users": {
		`{"accountEnabled":true,"displayName":"B","mailNickname":"b","userPrincipalName":"b@` + domain + `","passwordProfile":{"password":"Correct-Horse-7","forceChangePasswordNextSignIn":true}}`,
		`{"accountEnabled":true,"displayName":"B","displayName":"C"}`, `{"accountEnabled":"true"}`, `[]`, `{`,
	},
	"users/{id}":                                     {`{"displayName":"Ann","jobTitle":null,"businessPhones":["1"],"accountEnabled":true}`, `{"id":"USER"}`, `{"extension_0123456789abcdef0123456789abcdef_x":{"a":[1]}}`, `{"identities":[{"signInType":"userName"}]}`},
	"users/{id}/changePassword":                      {`{"currentPassword":"a","newPassword":"b"}`},
	"users/{id}/getMemberGroups":                     {`{"securityEnabledOnly":true}`},
	"users/{id}/checkMemberGroups":                   {`{"groupIds":["GROUP"]}`, `{"groupIds":[1]}`},
	"users/{id}/appRoleAssignments":                  {`{"principalId":"USER","resourceId":"SP","appRoleId":"00000000-0000-0000-0000-000000000000"}`},
	"groups":                                         {`{"displayName":"x","mailNickname":"x","mailEnabled":false,"securityEnabled":true,"members@odata.bind":["https://graph.microsoft.com/v1.0/users/USER"]}`, `{"displayName":"x","mailNickname":"x","mailEnabled":false,"securityEnabled":true,"isAssignableToRole":true,"groupTypes":["Unified"]}`},
	"groups/{id}":                                    {`{"description":"x","members@odata.bind":["https://graph.microsoft.com/v1.0/directoryObjects/USER"]}`, `{"isAssignableToRole":true}`},
	"groups/{id}/members/$ref":                       {`{"@odata.id":"https://graph.microsoft.com/v1.0/directoryObjects/USER"}`, `{"@odata.id":"https://graph.microsoft.com/v1.0/groups/GROUP"}`, `{"@odata.id":"//x"}`},
	"applications":                                   {`{"displayName":"x","identifierUris":["api://x"],"web":{"redirectUris":["https://a.example/"]},"api":{"oauth2PermissionScopes":[{"id":"00000000-0000-4000-8000-000000000001","value":"a","type":"User","isEnabled":true}]}}`},
	"applications/{id}":                              {`{"requiredResourceAccess":[{"resourceAppId":"` + string(directory.Graph) + `","resourceAccess":[{"id":"e1fe6dd8-ba31-4d61-89e7-88639da4683d","type":"Scope"}]}]}`, `{"appRoles":[{"id":"00000000-0000-4000-8000-000000000002","value":"r","displayName":"r","description":"r","allowedMemberTypes":["User"],"isEnabled":true}]}`, `{"keyCredentials":[{"type":"AsymmetricX509Cert","usage":"Verify","key":"AAAA"}]}`, `{"optionalClaims":{"accessToken":[{"name":"groups"}]}}`},
	"applications/{id}/addPassword":                  {`{"passwordCredential":{"displayName":"x","endDateTime":"2027-01-01T00:00:00Z"}}`, `{"passwordCredential":null}`},
	"applications/{id}/addKey":                       {`{"keyCredential":{"type":"AsymmetricX509Cert","usage":"Verify","key":"AAAA"},"proof":"a.b.c"}`},
	"applications/{id}/federatedIdentityCredentials": {`{"name":"x","issuer":"https://issuer.example/","subject":"s","audiences":["api://AzureADTokenExchange"]}`},
	"servicePrincipals":                              {`{"appId":"` + string(directory.Graph) + `"}`, `{"appId":"00000000-0000-4000-8000-000000000003"}`},
	"servicePrincipals/{id}":                         {`{"tags":["a"],"appRoleAssignmentRequired":true,"accountEnabled":false}`},
	"oauth2PermissionGrants":                         {`{"clientId":"SP","consentType":"Principal","principalId":"USER","resourceId":"SP","scope":"a b"}`},
	"devices":                                        {`{"displayName":"d","operatingSystem":"Linux","operatingSystemVersion":"1","accountEnabled":true,"deviceId":"00000000-0000-4000-8000-000000000004","alternativeSecurityIds":[{"type":2,"key":"AAAA"}]}`},
	"organization/{id}":                              {`{"technicalNotificationMails":["a@b.c"]}`},
	"directoryObjects/getByIds":                      {`{"ids":["USER","GROUP"],"types":["user","group"]}`},
	"directoryObjects/validateProperties":            {`{"entityType":"Group","displayName":"x","mailNickname":"x"}`},
	"directoryRoles":                                 {`{"roleTemplateId":"` + directory.GlobalReader + `"}`},
	"roleManagement/directory/roleAssignments":       {`{"principalId":"USER","roleDefinitionId":"` + directory.GlobalReader + `","directoryScopeId":"/"}`, `{"principalId":"USER","roleDefinitionId":"` + directory.GlobalReader + `","directoryScopeId":"/USER","appScopeId":""}`},
}
