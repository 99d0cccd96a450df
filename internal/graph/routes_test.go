package graph

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func TestPaging(t *testing.T) {
	w := newWorld(t)
	want := []string{string(w.admin)}
	for i := range 11 {
		want = append(want, string(w.addUser(fmt.Sprintf("user%02d", i))))
	}
	slices.Sort(want)
	follow := func(path string, headers ...string) (got []string, pages int) {
		for path != "" {
			a := w.do("admin", "GET", path, nil, headers...).want(200)
			got = append(got, a.values("id")...)
			pages++
			next, _ := a.body["@odata.nextLink"].(string)
			if next != "" && !strings.HasPrefix(next, "https://localhost:8443/v1.0/users?") {
				t.Fatalf("nextLink %s", next)
			}
			path = strings.TrimPrefix(next, "https://localhost:8443")
		}
		return got, pages
	}
	got, pages := follow("users?$top=5")
	if d := cmp.Diff(want, got); d != "" || pages != 3 {
		t.Errorf("%d pages (-want +got):\n%s", pages, d)
	}
	// Filtered, counted and sorted, the pages fit together too.
	got, pages = follow("users?$top=4&$filter=startswith(userPrincipalName,'user')&$count=true", "ConsistencyLevel", "eventual")
	if len(got) != 11 || pages != 3 {
		t.Errorf("%d of 11 in %d pages", len(got), pages)
	}
	var names []string
	for path := "users?$orderby=displayName desc&$top=5"; path != ""; {
		a := w.do("admin", "GET", path, nil).want(200)
		names = append(names, a.values("displayName")...)
		next, _ := a.body["@odata.nextLink"].(string)
		path = strings.TrimPrefix(next, "https://localhost:8443")
	}
	if !slices.IsSortedFunc(names, func(a, b string) int { return strings.Compare(b, a) }) || len(names) != 12 {
		t.Errorf("sorted: %v", names)
	}
	// A client behind the proxy gets links with the name that it used.
	for _, bad := range []string{"users?$top=0", "users?$top=1000"} {
		w.do("admin", "GET", bad, nil).refused(400, "Request_UnsupportedQuery", "Invalid page size specified")
	}
	w.do("admin", "GET", "users?$skiptoken=garbage!", nil).refused(400, "Request_BadRequest", "$skiptoken")
	w.do("admin", "GET", "users?$skip=5", nil).refused(400, "Request_BadRequest", "'$skip' is not supported")
}

func TestQueryOptions(t *testing.T) {
	w := newWorld(t)
	for i, name := range []string{"Ann Smith", "Bob Smith", "Zoe"} {
		id := w.addUser(fmt.Sprintf("u%d", i))
		w.do("admin", "PATCH", "users/"+string(id), obj("displayName", name, "department", "dep"+fmt.Sprint(i), "mail", fmt.Sprintf("u%d@mail.example", i))).want(204)
	}
	eventual := []string{"ConsistencyLevel", "eventual"}
	for path, want := range map[string]string{
		"users?$filter=displayName eq 'ann smith'&$select=displayName":                                         "Ann Smith",
		"users?$filter=department eq 'dep1'&$select=displayName,department":                                    "Bob Smith",
		"users?$filter=displayName in ('Zoe','Ann Smith')&$orderby=displayName&$count=true":                    "Ann Smith Zoe",
		"users?$filter=endswith(mail,'0@mail.example')&$count=true":                                            "Ann Smith",
		"users?$filter=contains(displayName,'smith')&$count=true&$orderby=displayName":                         "Ann Smith Bob Smith",
		"users?$filter=not startswith(displayName,'A') and mail ne null&$count=true&$orderby=displayName desc": "Zoe Bob Smith",
		`users?$search="displayName:smi"&$orderby=displayName`:                                                 "Ann Smith Bob Smith",
		`users?$search="displayName:smi" AND "mail:u1"`:                                                        "Bob Smith",
	} {
		path = strings.ReplaceAll(path, `"`, "%22")
		if got := strings.Join(w.do("admin", "GET", path, nil, eventual...).want(200).values("displayName"), " "); got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	a := w.do("admin", "GET", "users?$count=true&$top=2", nil, eventual...).want(200)
	if a.body["@odata.count"] != float64(4) {
		t.Errorf("count is %v", a.body["@odata.count"])
	}
	if got := w.do("admin", "GET", "users/$count", nil, eventual...).want(200); string(got.raw) != "4" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("$count: %s as %s", got.raw, got.header.Get("Content-Type"))
	}
	if got := w.do("admin", "GET", "users/$count?$filter=startswith(displayName,'b')", nil, eventual...).want(200); string(got.raw) != "1" {
		t.Errorf("$count: %s", got.raw)
	}
	w.do("admin", "GET", "users/$count", nil).refused(400, "Request_BadRequest", "$count is not currently supported.")
	w.do("admin", "GET", "users?$filter=endswith(mail,'x')", nil).refused(400, "Request_UnsupportedQuery", "Operator 'EndsWith' is not supported because the required parameters might be missing. Try adding $count=true query parameter and ConsistencyLevel:eventual header.")
	w.do("admin", "GET", "users?$filter=mail ne 'x'", nil, eventual...).refused(400, "Request_UnsupportedQuery", "NotEqualsMatch")
	w.do("admin", "GET", "users?$search=%22displayName:a%22", nil).refused(400, "Request_UnsupportedQuery", "ConsistencyLevel: eventual")
	w.do("admin", "GET", "users?$filter=secret eq 'x'", nil).refused(400, "Request_BadRequest", "Could not find a property named 'secret' on type 'microsoft.graph.user'.")
	w.do("admin", "GET", "users?$filter=passwordHash eq 'x'", nil).want(400)
	w.do("admin", "GET", "users?$select=passwordHash", nil).want(400)
	w.do("admin", "GET", "users?$filter=displayName eq 'x", nil).refused(400, "Request_BadRequest", "at position 15")
	// The context says what was selected; navigation properties expand.
	if got := w.do("admin", "GET", "users?$select=id,mail", nil).str("@odata.context"); got != "https://localhost:8443/v1.0/$metadata#users(id,mail)" {
		t.Errorf("context %s", got)
	}
	g := w.newGroup("admin", "g")
	w.do("admin", "POST", "groups/"+g+"/members/$ref", ref(string(w.admin))).want(204)
	exp := w.do("admin", "GET", "groups/"+g+"?$expand=members($select=id,displayName)", nil).want(200)
	if m, _ := exp.body["members"].([]any); len(m) != 1 || m[0].(map[string]any)["id"] != string(w.admin) {
		t.Errorf("expanded: %s", exp.raw)
	}
	w.do("admin", "GET", "groups?$expand=secrets", nil).want(400)
}

func TestErrors(t *testing.T) {
	w := newWorld(t)
	w.do("admin", "GET", "nonsense", nil).refused(400, "BadRequest", "Resource not found for the segment 'nonsense'.")
	w.do("admin", "GET", "users/"+string(w.admin)+"/nonsense", nil).refused(400, "BadRequest", "Resource not found for the segment 'nonsense'.")
	w.do("admin", "PUT", "users", obj()).refused(405, "Request_BadRequest", "Specified HTTP method is not allowed")
	w.do("admin", "GET", "/v2.0/users", nil).refused(400, "BadRequest", "Invalid version: v2.0")
	w.do("admin", "GET", "groups/not-a-guid", nil).refused(400, "Request_BadRequest", "Invalid object identifier 'not-a-guid'.")
	w.do("admin", "GET", "groups(uniqueThing='x')", nil).want(400)
	a := w.do("nobody", "GET", "me", nil).refused(401, "InvalidAuthenticationToken", "Access token is empty.")
	if !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer ") {
		t.Error("no WWW-Authenticate")
	}
	id := "88888888-8888-4888-8888-888888888888"
	a = w.do("admin", "GET", "users/"+id, nil, "client-request-id", id).want(404)
	if inner := a.body["error"].(map[string]any)["innerError"].(map[string]any); inner["client-request-id"] != id || a.header.Get("client-request-id") != id {
		t.Errorf("client-request-id: %v", inner)
	}
	// Paths are found without case and with a namespace before actions.
	w.do("admin", "GET", "/V1.0/Users/"+string(w.admin), nil).want(200)
	w.do("admin", "GET", "/beta/users/"+string(w.admin), nil).want(200)
	w.do("admin", "POST", "directoryObjects/microsoft.graph.getByIds", obj("ids", []string{string(w.admin)})).want(200)
	w.do("admin", "GET", "users/"+string(w.admin)+"/memberOf/graph.group", nil).want(200)
	w.do("admin", "GET", "me/memberOf/microsoft.graph.directoryRole", nil).want(200)
}

func TestBadBodies(t *testing.T) {
	w := newWorld(t)
	for body, text := range map[string]string{
		"":                      "non-empty request body",
		"[]":                    "object",
		"{":                     "valid JSON",
		`{"displayName":"a"} x`: "after the JSON value",
		`{"displayName":"a","DISPLAYNAME":"b","mailNickname":"x","mailEnabled":false,"securityEnabled":true}`: "occurs twice",
		`{"theme":{"a":1,"a":2}}`:                                    "occurs twice",
		strings.Repeat(`{"a":`, 50) + "1" + strings.Repeat("}", 50):  "nested too deeply",
		"{\"displayName\":\"\xff\"}":                                 "UTF-8",
		`{"color":"red"}`:                                            "Invalid property 'color'.",
		`{"displayName":5}`:                                          "invalid type was specified for property 'displayName'",
		`{"mailEnabled":"yes"}`:                                      "invalid type was specified for property 'mailEnabled'",
		`{"createdDateTime":"2020-01-01T00:00:00Z"}`:                 "read-only",
		`{"visibility":7}`:                                           "invalid type was specified for property 'visibility'",
		`{"displayName":"a\u202eb"}`:                                 "control characters",
		`{"displayName":"` + strings.Repeat("x", 300) + `"}`:         "maximum length",
		`{"displayName":"a","mailEnabled":false,"mailNickname":"a"}`: "A value is required for property 'securityEnabled'",
		`{"displayName":"a","mailEnabled":false,"mailNickname":"a b","securityEnabled":true}`:                                                            "mailNickname",
		`{"displayName":"a","mailEnabled":false,"mailNickname":"a","securityEnabled":false}`:                                                             "neither mail-enabled nor security-enabled",
		`{"displayName":"a","mailEnabled":false,"mailNickname":"a","securityEnabled":true,"groupTypes":["DynamicMembership"]}`:                           "dynamic",
		`{"displayName":"a","mailEnabled":false,"mailNickname":"a","securityEnabled":true,"owners@odata.bind":["ftp://x"]}`:                              "Invalid URL format",
		`{"displayName":"a","mailEnabled":false,"mailNickname":"a","securityEnabled":true,"members@odata.bind":["x/users/` + directory.NewGUID() + `"]}`: "does not exist",
	} {
		a := w.do("admin", "POST", "groups", body)
		if a.status != 400 && a.status != 404 || !strings.Contains(string(a.raw), text) {
			t.Errorf("%.80q: %d %s, want %q", body, a.status, a.raw, text)
		}
	}
	if got := w.do("admin", "GET", "groups", nil).values("id"); len(got) != 0 {
		t.Errorf("a refused body made a group: %v", got)
	}
	w.do("admin", "POST", "groups", strings.Repeat(" ", 5<<20)).want(413)
	// Users.
	for _, body := range []map[string]any{
		obj("userPrincipalName", "a@"+domain, "displayName", "a", "mailNickname", "a", "accountEnabled", true),
		obj("userPrincipalName", "a@"+domain, "displayName", "a", "mailNickname", "a", "accountEnabled", true, "passwordProfile", obj("password", "short")),
		obj("userPrincipalName", "a@"+domain, "displayName", "a", "mailNickname", "a", "accountEnabled", true, "passwordProfile", obj("password", "Good-Enough-7", "hint", "x")),
		obj("userPrincipalName", "a@elsewhere.example", "displayName", "a", "mailNickname", "a", "accountEnabled", true, "passwordProfile", obj("password", "Good-Enough-7")),
		obj("userPrincipalName", "a", "displayName", "a", "mailNickname", "a", "accountEnabled", true, "passwordProfile", obj("password", "Good-Enough-7")),
		obj("userPrincipalName", "аdmin@"+domain, "displayName", "a", "mailNickname", "a", "accountEnabled", true, "passwordProfile", obj("password", "Good-Enough-7")),
		obj("userPrincipalName", "ADMIN@"+domain, "displayName", "a", "mailNickname", "a", "accountEnabled", true, "passwordProfile", obj("password", "Good-Enough-7")),
	} {
		w.do("admin", "POST", "users", body).want(400)
	}
}

func TestUnknownToUsSurvives(t *testing.T) {
	w := newWorld(t)
	ext := "extension_0123456789abcdef0123456789abcdef_badge"
	body := obj("userPrincipalName", "k@"+domain, "displayName", "k", "mailNickname", "k", "accountEnabled", true, "passwordProfile", obj("password", "Good-Enough-7"),
		"jobTitle", "Engineer", "businessPhones", []string{"1"}, "employeeHireDate", "2024-02-03T00:00:00Z", "onPremisesExtensionAttributes", obj("extensionAttribute1", "x"), ext, "B7")
	id := w.do("admin", "POST", "users", body).want(201).str("id")
	a := w.do("admin", "GET", "users/"+id+"?$select=jobTitle,businessPhones,employeeHireDate,onPremisesExtensionAttributes,department", nil).want(200)
	if a.body["jobTitle"] != "Engineer" || a.body["employeeHireDate"] != "2024-02-03T00:00:00Z" || fmt.Sprint(a.body["onPremisesExtensionAttributes"]) != "map[extensionAttribute1:x]" || a.body["department"] != nil {
		t.Errorf("%s", a.raw)
	}
	if got := w.do("admin", "GET", "users/"+id, nil).str(ext); got != "B7" {
		t.Errorf("extension %s", got)
	}
	for filter, want := range map[string]int{"employeeHireDate ge 2024-02-03T00:00:00Z": 1, "employeeHireDate lt 2024-02-03T00:00:00Z": 0, "onPremisesExtensionAttributes/extensionAttribute1 eq 'x'": 1, "businessPhones/any(p:p eq '1')": 1} {
		if got := w.do("admin", "GET", "users?$filter="+filter, nil).want(200).values("id"); len(got) != want {
			t.Errorf("%s: %v", filter, got)
		}
	}
	w.do("admin", "PATCH", "users/"+id, obj("jobTitle", nil)).want(204)
	if got := w.do("admin", "GET", "users/"+id, nil); got.body["jobTitle"] != nil {
		t.Errorf("%s", got.raw)
	}
	app := w.do("admin", "POST", "applications", obj("displayName", "a", "notes", "n", "web", obj("redirectUris", []string{"https://app.example/cb"}, "implicitGrantSettings", obj("enableIdTokenIssuance", true)), "tags", []string{"t"})).want(201).str("id")
	w.do("admin", "PATCH", "applications/"+app, obj("web", obj("logoutUrl", "https://app.example/out"))).want(204)
	got := w.do("admin", "GET", "applications/"+app, nil)
	if web := fmt.Sprint(got.body["web"]); !strings.Contains(web, "app.example/cb") || !strings.Contains(web, "enableIdTokenIssuance:true") || !strings.Contains(web, "logoutUrl:https://app.example/out") || got.body["notes"] != "n" {
		t.Errorf("%s", got.raw)
	}
}

func TestApplicationsRefuse(t *testing.T) {
	w := newWorld(t)
	app := w.do("admin", "POST", "applications", obj("displayName", "a", "api", obj("oauth2PermissionScopes", []any{obj("id", "11111111-2222-4333-8444-555555555555", "value", "read", "type", "User", "isEnabled", true)}))).want(201).str("id")
	for _, body := range []map[string]any{
		obj("web", obj("redirectUris", []string{"http://evil.example/cb"})), obj("web", obj("redirectUris", []string{"https://*.example/cb"})), obj("web", obj("redirectUris", []string{"javascript:alert(1)"})),
		obj("spa", obj("redirectUris", []string{"https://x.example/#f"})), obj("web", obj("color", "red")),
		obj("identifierUris", []string{"https://elsewhere.example/api"}), obj("identifierUris", []string{"https://management.azure.com/"}), obj("identifierUris", []string{"not a uri"}), obj("identifierUris", []string{"api://" + directory.NewGUID()}),
		obj("signInAudience", "PersonalMicrosoftAccount"), obj("api", obj("requestedAccessTokenVersion", 3)), obj("api", obj("oauth2PermissionScopes", []any{})),
		obj("appRoles", []any{obj("id", "x", "value", "v", "allowedMemberTypes", []string{"User"})}), obj("appRoles", []any{obj("id", directory.NewGUID(), "value", "a b", "allowedMemberTypes", []string{"User"})}),
		obj("requiredResourceAccess", []any{obj("resourceAppId", "x", "resourceAccess", []any{})}),
		obj("passwordCredentials", []any{obj("displayName", "x", "secretText", "chosen by me")}), obj("keyCredentials", []any{obj("key", "AAAA", "type", "AsymmetricX509Cert", "usage", "Verify")}),
		obj("keyCredentials", []any{obj("key", base64.StdEncoding.EncodeToString([]byte("secret")), "type", "Symmetric", "usage", "Sign")}), obj("appId", directory.NewGUID()), obj("displayName", ""),
	} {
		if a := w.do("admin", "PATCH", "applications/"+app, body); a.status != 400 {
			t.Errorf("%v: %d %s", body, a.status, a.raw)
		}
	}
	w.do("admin", "PATCH", "applications/"+app, obj("identifierUris", []string{"https://elsewhere.example/api"})).refused(400, "HostNameNotOnVerifiedDomain", "verified domain")
	// Two applications cannot have one name.
	w.do("admin", "PATCH", "applications/"+app, obj("identifierUris", []string{"https://x." + domain + "/a"})).want(204)
	w.do("admin", "POST", "applications", obj("displayName", "b", "identifierUris", []string{"https://X." + domain + "/a/"})).refused(400, "Request_BadRequest", "identifierUris already exists")
	// A service principal takes no name that its application does not have.
	id := w.do("admin", "GET", "applications/"+app, nil).str("appId")
	sp := w.do("admin", "POST", "servicePrincipals", obj("appId", id)).want(201).str("id")
	w.do("admin", "PATCH", "servicePrincipals/"+sp, obj("servicePrincipalNames", []string{id, "https://graph.microsoft.com/"})).want(400)
	w.do("admin", "PATCH", "servicePrincipals/"+sp, obj("servicePrincipalNames", []string{"https://x." + domain + "/a"})).want(400)
	w.do("admin", "PATCH", "servicePrincipals/"+sp, obj("appRoleAssignmentRequired", true, "tags", []string{"HideApp"})).want(204)
}

func TestFederatedCredentialRules(t *testing.T) {
	w := newWorld(t)
	path := "applications/" + w.newApp("admin", "wi").str("id") + "/federatedIdentityCredentials"
	good := func(n int) map[string]any {
		return obj("name", fmt.Sprintf("fic-%d", n), "issuer", "https://oidc.example/", "subject", fmt.Sprintf("s%d", n), "audiences", []string{"api://AzureADTokenExchange"})
	}
	for change, text := range map[string]string{
		`{"audiences":[]}`: "exactly one audience", `{"audiences":["a","b"]}`: "exactly one audience", `{"subject":""}`: "subject", `{"issuer":"http://oidc.example"}`: "https",
		`{"issuer":"https://oidc.example/ x"}`: "issuer", `{"issuer":""}`: "issuer", `{"name":"-x"}`: "invalid", `{"name":"x"}`: "invalid", `{"name":"` + strings.Repeat("n", 121) + `"}`: "maximum length",
		`{"subject":"` + strings.Repeat("s", 601) + `"}`: "maximum length", `{"color":"red"}`: "Invalid property",
	} {
		body := good(0)
		if err := json.Unmarshal([]byte(change), &body); err != nil {
			t.Fatal(err)
		}
		w.do("admin", "POST", path, body).refused(400, "Request_BadRequest", text)
	}
	for i := range directory.MaxFederatedCredentials {
		w.do("admin", "POST", path, good(i)).want(201)
		if i == 0 {
			dup := good(0)
			dup["name"] = "other-name"
			w.do("admin", "POST", path, dup).refused(400, "Request_BadRequest", "issuer https://oidc.example/ and subject s0 already exists")
			w.do("admin", "POST", path, obj("name", "fic-0", "issuer", "https://o.example", "subject", "z", "audiences", []string{"a"})).want(409)
		}
	}
	w.do("admin", "POST", path, good(99)).refused(400, "Request_BadRequest", "20")
	w.do("admin", "PATCH", path+"/fic-1", obj("subject", "s0")).want(400)
	w.do("admin", "PATCH", path+"/fic-1", obj("name", "renamed")).refused(400, "Request_BadRequest", "cannot be changed")
}

// TestFlexibleFederatedCredential: an expression in the subject's place, in the
// beta version alone.
func TestFlexibleFederatedCredential(t *testing.T) {
	w := newWorld(t)
	at := "applications/" + w.newApp("admin", "ci").str("id") + "/federatedIdentityCredentials"
	path := "/beta/" + at
	expression := func(value string) map[string]any { return obj("value", value, "languageVersion", 1) }
	const good = "claims['sub'] matches 'repo:contoso/contoso-repo:ref:refs/heads/*' and claims['repository_id'] eq '456789'"
	body := func(name string, e any, more ...any) map[string]any {
		return obj(append([]any{"name", name, "issuer", "https://token.actions.githubusercontent.com", "audiences", []string{"api://AzureADTokenExchange"}, "claimsMatchingExpression", e}, more...)...)
	}
	w.do("admin", "POST", "/v1.0/"+at, body("flexible", expression(good))).refused(400, "Request_BadRequest", "Invalid property 'claimsMatchingExpression'")
	w.do("admin", "POST", path, body("flexible", expression(good), "subject", "repo:x")).refused(400, "Request_BadRequest", "but not both")
	w.do("admin", "POST", path, body("flexible", nil)).refused(400, "Request_BadRequest", "but not both")
	w.do("admin", "POST", path, body("flexible", expression("claims['sub'] matches 'repo:*'"))).refused(400, "Request_BadRequest", "repository_id")
	w.do("admin", "POST", path, body("flexible", obj("value", good, "languageVersion", 2))).refused(400, "Request_BadRequest", "languageVersion")
	w.do("admin", "POST", path, body("flexible", expression(good), "issuer", "https://issuer.example")).refused(400, "Request_BadRequest", "GitHub, GitLab and Terraform Cloud")
	made := w.do("admin", "POST", path, body("flexible", expression(good), "subject", nil)).want(201)
	if e, ok := made.body["claimsMatchingExpression"].(map[string]any); !ok || e["value"] != good || e["languageVersion"] != 1.0 || made.body["subject"] != nil {
		t.Errorf("%s", made.raw)
	}
	w.do("admin", "POST", path, body("again", expression(good))).refused(400, "Request_BadRequest", "already exists")
	w.do("admin", "PATCH", path+"/flexible", obj("claimsMatchingExpression", expression("nonsense"))).refused(400, "Request_BadRequest", "character 1")
	// Back to an exact subject.
	w.do("admin", "PATCH", path+"/flexible", obj("claimsMatchingExpression", nil, "subject", "repo:contoso/contoso-repo:ref:refs/heads/main")).want(204)
}

// TestManagedIdentityIsAzures: whoever manages applications gets no way to sign in
// as a managed identity, which may have more rights than they, and cannot say
// where it is assigned.
func TestManagedIdentityIsAzures(t *testing.T) {
	w := newWorld(t)
	w.role(w.member("lesser"), directory.ApplicationAdministrator)
	now := w.clock.Now()
	der, _ := certificate(t, now.Add(-time.Hour), now.Add(24*time.Hour))
	id := directory.ObjectID(directory.NewGUID())
	w.update(func(tx *store.Tx) error {
		return state.ServicePrincipals.Create(tx, &directory.ServicePrincipal{
			Tenant: tenantID, ID: id, AppID: directory.AppID(directory.NewGUID()), DisplayName: "machine", Type: "ManagedIdentity", Enabled: true, AlternativeNames: []string{"isExplicit=False", "/vm"},
		})
	})
	path := "servicePrincipals/" + string(id)
	key := obj("type", "AsymmetricX509Cert", "usage", "Verify", "key", base64.StdEncoding.EncodeToString(der))
	for name, body := range map[string]any{
		"a certificate": obj("keyCredentials", []any{key}), "in other case": obj("KeyCredentials", []any{key}), "no secrets": obj("passwordCredentials", []any{}),
		"another resource": obj("alternativeNames", []string{"isExplicit=False", "/elsewhere"}), "another name": obj("displayName", "this-machine"), "names": obj("servicePrincipalNames", []string{"https://x"}),
	} {
		for _, who := range []string{"lesser", "admin"} {
			if a := w.do(who, "PATCH", path, body); a.status != 403 {
				t.Errorf("%s by %s: %d %s", name, who, a.status, a.raw)
			}
		}
	}
	if a := w.do("admin", "POST", path+"/addPassword", obj("passwordCredential", obj("displayName", "x"))); a.status < 400 {
		t.Errorf("a secret: %d %s", a.status, a.raw)
	}
	p, err := state.ServicePrincipals.Get(w.store.View(), state.Key(tenantID, id))
	if err != nil || len(p.Credentials.Keys)+len(p.Credentials.Passwords) > 0 || p.AlternativeNames[1] != "/vm" || p.DisplayName != "machine" {
		t.Errorf("%+v, %v", p, err)
	}
	// What says nothing about who it is may change.
	w.do("admin", "PATCH", path, obj("accountEnabled", false, "tags", []string{"x"})).want(204)
}

func TestAddKeyNeedsProof(t *testing.T) {
	w := newWorld(t)
	now := w.clock.Now()
	oldDER, oldKey := certificate(t, now.Add(-time.Hour), now.Add(24*time.Hour))
	newDER, newKey := certificate(t, now.Add(-time.Hour), now.Add(24*time.Hour))
	p := w.client("robot")
	app, err := state.FindApplication(w.store.View(), p.AppID)
	if err != nil {
		t.Fatal(err)
	}
	path := "applications/" + string(app.ID)
	key := obj("type", "AsymmetricX509Cert", "usage", "Verify", "key", base64.StdEncoding.EncodeToString(newDER))
	proof := func(key any, iss string, life time.Duration) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		tok, err := jwt.Signed(s).Claims(jwt.Claims{Issuer: iss, Audience: jwt.Audience{"00000002-0000-0000-c000-000000000000"}, NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(life))}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	id := string(app.ID)
	good := proof(oldKey, id, 5*time.Minute)
	// Without a key nothing proves anything.
	w.do("robot", "POST", path+"/addKey", obj("keyCredential", key, "proof", good)).want(403)
	w.do("admin", "PATCH", path, obj("keyCredentials", []any{obj("type", "AsymmetricX509Cert", "usage", "Verify", "key", base64.StdEncoding.EncodeToString(oldDER))})).want(204)
	for name, bad := range map[string]string{
		"none": "", "foreign key": proof(newKey, id, 5*time.Minute), "other app": proof(oldKey, directory.NewGUID(), 5*time.Minute), "long-lived": proof(oldKey, id, time.Hour), "expired": proof(oldKey, id, -5*time.Minute),
	} {
		if a := w.do("robot", "POST", path+"/addKey", obj("keyCredential", key, "proof", bad)); a.status != 403 {
			t.Errorf("%s: %d %s", name, a.status, a.raw)
		}
	}
	added := w.do("robot", "POST", path+"/addKey", obj("keyCredential", key, "proof", good)).want(200).str("keyId")
	w.client("stranger")
	w.do("stranger", "POST", path+"/addKey", obj("keyCredential", key, "proof", good)).want(403)
	w.do("robot", "POST", path+"/removeKey", obj("keyId", added, "proof", proof(newKey, id, time.Minute))).want(204)
	a, err := state.FindApplication(w.store.View(), p.AppID)
	if err != nil || len(a.Credentials.Keys) != 1 {
		t.Errorf("%+v, %v", a.Credentials.Keys, err)
	}
}

func TestGrants(t *testing.T) {
	w := newWorld(t)
	app := w.newApp("admin", "web")
	sp := w.do("admin", "POST", "servicePrincipals", obj("appId", app.str("appId"))).want(201).str("id")
	find := func(id directory.AppID) string {
		return w.do("admin", "GET", "servicePrincipals?$filter=servicePrincipalNames/any(c:c eq '"+string(id)+"')", nil).values("id")[0]
	}
	resource := find(directory.AKSServer)
	// az ad app permission grant
	if got := w.do("admin", "GET", "oauth2PermissionGrants?$filter=clientId eq '"+sp+"'", nil).want(200).values("id"); len(got) != 0 {
		t.Fatal(got)
	}
	body := obj("clientId", sp, "consentType", "AllPrincipals", "principalId", nil, "resourceId", resource, "scope", "user.read")
	g := w.do("admin", "POST", "oauth2PermissionGrants", body).want(201)
	if g.body["principalId"] != nil || g.str("consentType") != "AllPrincipals" {
		t.Errorf("%s", g.raw)
	}
	w.do("admin", "POST", "oauth2PermissionGrants", body).want(409)
	ann := w.addUser("ann")
	if got := state.Consented(w.store.View(), tenantID, directory.ObjectID(sp), directory.ObjectID(resource), ann); !cmp.Equal(got, []string{"user.read"}) {
		t.Errorf("consented %v", got)
	}
	w.do("admin", "PATCH", "oauth2PermissionGrants/"+g.str("id"), obj("scope", "user.read other")).want(204)
	w.do("admin", "POST", "oauth2PermissionGrants", obj("clientId", sp, "consentType", "Principal", "principalId", string(ann), "resourceId", resource, "scope", "x")).want(201)
	if got := w.do("admin", "GET", "users/"+string(ann)+"/oauth2PermissionGrants", nil).values("scope"); !cmp.Equal(got, []string{"x"}) {
		t.Errorf("ann's %v", got)
	}
	if got := w.do("admin", "GET", "oauth2PermissionGrants?$filter=clientId eq '"+sp+"' and consentType eq 'AllPrincipals'", nil).values("scope"); !cmp.Equal(got, []string{"user.read other"}) {
		t.Errorf("filtered %v", got)
	}
	for _, bad := range []map[string]any{
		obj("clientId", sp, "consentType", "Everybody", "resourceId", resource), obj("clientId", sp, "consentType", "Principal", "resourceId", resource),
		obj("clientId", "x", "consentType", "AllPrincipals", "resourceId", resource), obj("clientId", sp, "consentType", "AllPrincipals", "principalId", string(ann), "resourceId", resource),
		obj("clientId", sp, "consentType", "AllPrincipals", "resourceId", resource, "scope", "a\"b"),
	} {
		w.do("admin", "POST", "oauth2PermissionGrants", bad).want(400)
	}
	w.do("admin", "POST", "oauth2PermissionGrants", obj("clientId", directory.NewGUID(), "consentType", "AllPrincipals", "resourceId", resource)).want(404)
	w.do("admin", "DELETE", "oauth2PermissionGrants/"+g.str("id"), nil).want(204)
	w.do("admin", "GET", "oauth2PermissionGrants/"+g.str("id"), nil).want(404)
}

func TestAppRoleAssignments(t *testing.T) {
	w := newWorld(t)
	userRole, appRole := directory.NewGUID(), directory.NewGUID()
	app := w.do("admin", "POST", "applications", obj("displayName", "api", "appRoles", []any{
		obj("id", userRole, "value", "Reader", "displayName", "Reader", "description", "r", "isEnabled", true, "allowedMemberTypes", []string{"User"}),
		obj("id", appRole, "value", "Task", "displayName", "Task", "description", "t", "isEnabled", true, "allowedMemberTypes", []string{"Application"}),
	})).want(201)
	sp := w.do("admin", "POST", "servicePrincipals", obj("appId", app.str("appId"))).want(201).str("id")
	ann, g, robot := string(w.addUser("ann")), w.newGroup("admin", "g"), string(w.client("robot").ID)
	a := w.do("admin", "POST", "users/"+ann+"/appRoleAssignments", obj("principalId", ann, "resourceId", sp, "appRoleId", userRole)).want(201)
	if a.str("principalDisplayName") != "ann" || a.str("resourceDisplayName") != "api" || a.str("principalType") != "User" {
		t.Errorf("%s", a.raw)
	}
	w.do("admin", "POST", "users/"+ann+"/appRoleAssignments", obj("principalId", ann, "resourceId", sp, "appRoleId", userRole)).refused(400, "Request_BadRequest", "Permission being assigned already exists on the object")
	w.do("admin", "POST", "groups/"+g+"/appRoleAssignments", obj("principalId", g, "resourceId", sp, "appRoleId", directory.DefaultAppRole)).want(201)
	w.do("admin", "POST", "servicePrincipals/"+sp+"/appRoleAssignedTo", obj("principalId", robot, "resourceId", sp, "appRoleId", appRole)).want(201)
	for _, bad := range [][3]string{{robot, sp, userRole}, {ann, sp, appRole}, {ann, sp, directory.NewGUID()}} {
		w.do("admin", "POST", "servicePrincipals/"+sp+"/appRoleAssignedTo", obj("principalId", bad[0], "resourceId", bad[1], "appRoleId", bad[2])).refused(400, "Request_BadRequest", "Permission being assigned was not found on application")
	}
	w.do("admin", "POST", "users/"+ann+"/appRoleAssignments", obj("principalId", robot, "resourceId", sp, "appRoleId", appRole)).want(400)
	if got := w.do("admin", "GET", "servicePrincipals/"+sp+"/appRoleAssignedTo", nil).values("principalType"); len(got) != 3 {
		t.Errorf("assigned to %v", got)
	}
	if got := w.do("admin", "GET", "servicePrincipals/"+robot+"/appRoleAssignments", nil).values("appRoleId"); !cmp.Equal(got, []string{appRole}) {
		t.Errorf("robot has %v", got)
	}
	w.do("admin", "DELETE", "groups/"+g+"/appRoleAssignments/"+a.str("id"), nil).want(404)
	w.do("admin", "DELETE", "users/"+ann+"/appRoleAssignments/"+a.str("id"), nil).want(204)
}

func TestDirectoryRoles(t *testing.T) {
	w := newWorld(t)
	ann := string(w.addUser("ann"))
	roles := w.do("admin", "GET", "directoryRoles", nil).want(200)
	if len(roles.values("id")) != len(directory.Roles) || slices.Contains(roles.values("id"), directory.GlobalAdministrator) {
		t.Errorf("%s", roles.raw)
	}
	byTemplate := w.do("admin", "GET", "directoryRoles(roleTemplateId='"+directory.UserAdministrator+"')", nil).want(200)
	id := byTemplate.str("id")
	w.do("admin", "GET", "directoryRoles/"+id, nil).want(200)
	w.do("admin", "POST", "directoryRoles/"+id+"/members/$ref", ref(ann)).want(204)
	w.do("admin", "POST", "directoryRoles/"+id+"/members/$ref", ref(ann)).refused(400, "Request_BadRequest", "already exist")
	if got := w.do("admin", "GET", "directoryRoles/"+id+"/members", nil).values("id"); !cmp.Equal(got, []string{ann}) {
		t.Errorf("members %v", got)
	}
	if got := w.do("admin", "GET", "users/"+ann+"/memberOf", nil).values("@odata.type"); !cmp.Equal(got, []string{"#microsoft.graph.directoryRole"}) {
		t.Errorf("memberOf %v", got)
	}
	if got := w.do("admin", "POST", "users/"+ann+"/getMemberObjects", obj("securityEnabledOnly", false)).values(""); !cmp.Equal(got, []string{id}) {
		t.Errorf("getMemberObjects %v", got)
	}
	if got := w.do("admin", "POST", "users/"+ann+"/getMemberGroups", obj("securityEnabledOnly", false)).values(""); len(got) != 0 {
		t.Errorf("getMemberGroups %v", got)
	}
	if got := w.do("admin", "POST", "users/"+ann+"/checkMemberObjects", obj("ids", []string{id, directory.NewGUID()})).values(""); !cmp.Equal(got, []string{id}) {
		t.Errorf("checkMemberObjects %v", got)
	}
	w.do("admin", "DELETE", "directoryRoles/"+id+"/members/"+ann+"/$ref", nil).want(204)
	// Unified role management.
	defs := w.do("admin", "GET", "roleManagement/directory/roleDefinitions?$filter=displayName eq 'global reader'", nil).values("id")
	if !cmp.Equal(defs, []string{directory.GlobalReader}) {
		t.Errorf("definitions %v", defs)
	}
	body := obj("@odata.type", "#microsoft.graph.unifiedRoleAssignment", "principalId", ann, "roleDefinitionId", directory.GlobalReader, "directoryScopeId", "/")
	a := w.do("admin", "POST", "roleManagement/directory/roleAssignments", body).want(201).str("id")
	w.do("admin", "POST", "roleManagement/directory/roleAssignments", body).refused(400, "Request_BadRequest", "A conflicting object")
	if got := w.do("admin", "GET", "roleManagement/directory/roleAssignments?$filter=roleDefinitionId eq '"+directory.GlobalReader+"'", nil).values("principalId"); !cmp.Equal(got, []string{ann}) {
		t.Errorf("assignments %v", got)
	}
	shown := w.do("admin", "GET", "roleManagement/directory/roleAssignments/"+a+"?$expand=principal($select=id,userPrincipalName),roleDefinition", nil).want(200)
	if p, _ := shown.body["principal"].(map[string]any); p["id"] != ann || p["userPrincipalName"] == nil || p["displayName"] != nil {
		t.Errorf("principal %v", p)
	}
	if d, _ := shown.body["roleDefinition"].(map[string]any); d["displayName"] != "Global Reader" {
		t.Errorf("role definition %v", d)
	}
	w.do("admin", "POST", "roleManagement/directory/roleAssignments", obj("principalId", w.newGroup("admin", "plain"), "roleDefinitionId", directory.GlobalReader, "directoryScopeId", "/")).refused(400, "Request_BadRequest", "isAssignableToRole")
	w.do("admin", "DELETE", "roleManagement/directory/roleAssignments/"+a, nil).want(204)
}

func TestDeletedItems(t *testing.T) {
	w := newWorld(t)
	ann := w.member("ann")
	g := w.newGroup("admin", "g")
	w.do("admin", "POST", "groups/"+g+"/members/$ref", ref(string(ann))).want(204)
	w.do("admin", "DELETE", "users/"+string(ann), nil).want(204)
	if got := w.do("admin", "GET", "groups/"+g+"/members", nil).values("id"); len(got) != 0 {
		t.Errorf("members %v", got)
	}
	if got := w.do("admin", "GET", "directory/deletedItems/microsoft.graph.user", nil).want(200).values("id"); !cmp.Equal(got, []string{string(ann)}) {
		t.Errorf("deleted %v", got)
	}
	one := w.do("admin", "GET", "directory/deletedItems/"+string(ann)+"?$select=id,deletedDateTime", nil).want(200)
	if one.str("deletedDateTime") != "2026-03-01T12:00:00Z" {
		t.Errorf("%s", one.raw)
	}
	w.member("bob")
	w.do("bob", "POST", "directory/deletedItems/"+string(ann)+"/restore", nil).want(403)
	w.clock.Advance(time.Minute)
	w.do("admin", "POST", "directory/deletedItems/"+string(ann)+"/restore", nil).want(200)
	if got := w.do("admin", "GET", "groups/"+g+"/members", nil).values("id"); !cmp.Equal(got, []string{string(ann)}) {
		t.Errorf("members after the restore %v", got)
	}
	w.do("ann", "GET", "me", nil).want(401) // what was issued before stays dead
	// Restoring needs a free name; what is purged or old is gone.
	w.do("admin", "DELETE", "users/"+string(ann), nil).want(204)
	second := w.addUser("ann")
	w.do("admin", "POST", "directory/deletedItems/"+string(ann)+"/restore", nil).refused(400, "Request_BadRequest", "already exists")
	w.do("admin", "DELETE", "users/"+string(second), nil).want(204)
	w.do("admin", "DELETE", "directory/deletedItems/"+string(second), nil).want(204)
	w.do("admin", "POST", "directory/deletedItems/"+string(second)+"/restore", nil).want(404)
	w.clock.Advance(31 * 24 * time.Hour)
	w.do("admin", "POST", "directory/deletedItems/"+string(ann)+"/restore", nil).want(404)
	// Links come back too: who would enter a group with roles that way takes a
	// Global Administrator to restore.
	secure := w.do("admin", "POST", "groups", obj("displayName", "s", "mailNickname", "s", "mailEnabled", false, "securityEnabled", true, "isAssignableToRole", true)).want(201).str("id")
	carl := string(w.addUser("carl"))
	w.do("admin", "POST", "groups/"+secure+"/members/$ref", ref(carl)).want(204)
	w.do("admin", "DELETE", "users/"+carl, nil).want(204)
	w.role(w.member("lesser"), directory.UserAdministrator)
	w.do("lesser", "POST", "directory/deletedItems/"+carl+"/restore", nil).want(403)
	w.do("admin", "POST", "directory/deletedItems/"+carl+"/restore", nil).want(200)
	app := w.newApp("admin", "a").str("id")
	w.do("admin", "DELETE", "directoryObjects/"+app, nil).want(204)
	w.do("admin", "POST", "directory/deletedItems/"+app+"/restore", nil).want(200)
	w.do("admin", "GET", "applications/"+app, nil).want(200)
}

// TestDeletedServicePrincipals: an application and its service principal go and
// come back together, each with its object id; a managed identity does not come
// back.
func TestDeletedServicePrincipals(t *testing.T) {
	w := newWorld(t)
	app := w.do("admin", "POST", "applications", obj("displayName", "app")).want(201)
	body := obj("appId", app.str("appId"))
	sp := w.do("admin", "POST", "servicePrincipals", body).want(201).str("id")
	g := w.newGroup("admin", "g")
	w.do("admin", "POST", "groups/"+g+"/members/$ref", ref(sp)).want(204)
	deleted := func() []string {
		t.Helper()
		return w.do("admin", "GET", "directory/deletedItems/microsoft.graph.servicePrincipal?$select=id", nil).want(200).values("id")
	}
	members := func() []string {
		t.Helper()
		return w.do("admin", "GET", "groups/"+g+"/members", nil).want(200).values("id")
	}
	// By itself.
	w.do("admin", "DELETE", "servicePrincipals/"+sp, nil).want(204)
	if got := deleted(); !cmp.Equal(got, []string{sp}) || len(members()) != 0 {
		t.Errorf("deleted %v, members %v", got, members())
	}
	w.do("admin", "POST", "directory/deletedItems/"+sp+"/restore", nil).want(200)
	if got := members(); len(deleted()) != 0 || !cmp.Equal(got, []string{sp}) {
		t.Errorf("members after the restore %v", got)
	}
	// With the application, without which it cannot come back.
	w.do("admin", "DELETE", "applications/"+app.str("id"), nil).want(204)
	w.do("admin", "GET", "servicePrincipals/"+sp, nil).want(404)
	w.do("admin", "POST", "directory/deletedItems/"+sp+"/restore", nil).refused(400, "Request_BadRequest", "its service principal comes back with it")
	w.do("admin", "POST", "directory/deletedItems/"+app.str("id")+"/restore", nil).want(200)
	w.do("admin", "GET", "servicePrincipals/"+sp, nil).want(200)
	if got := members(); len(deleted()) != 0 || !cmp.Equal(got, []string{sp}) {
		t.Errorf("members after the restore of the application %v", got)
	}
	// One that was deleted before the application stays deleted.
	w.do("admin", "DELETE", "servicePrincipals/"+sp, nil).want(204)
	second := w.do("admin", "POST", "servicePrincipals", body).want(201).str("id")
	w.do("admin", "POST", "directory/deletedItems/"+sp+"/restore", nil).refused(400, "Request_BadRequest", "already exists")
	w.clock.Advance(time.Minute)
	w.do("admin", "DELETE", "applications/"+app.str("id"), nil).want(204)
	w.do("admin", "POST", "directory/deletedItems/"+app.str("id")+"/restore", nil).want(200)
	w.do("admin", "GET", "servicePrincipals/"+second, nil).want(200)
	w.do("admin", "GET", "servicePrincipals/"+sp, nil).want(404)
	// What comes back with an application may be membership in a group with
	// directory roles: whoever may restore applications may not give that.
	secure := w.do("admin", "POST", "groups", obj("displayName", "s", "mailNickname", "s", "mailEnabled", false, "securityEnabled", true, "isAssignableToRole", true)).want(201).str("id")
	w.do("admin", "POST", "groups/"+secure+"/members/$ref", ref(second)).want(204)
	w.do("admin", "DELETE", "applications/"+app.str("id"), nil).want(204)
	w.role(w.member("lesser"), directory.ApplicationAdministrator)
	w.do("lesser", "POST", "directory/deletedItems/"+app.str("id")+"/restore", nil).want(403)
	w.do("lesser", "POST", "directory/deletedItems/"+second+"/restore", nil).want(403)
	// Purged for good, both.
	w.do("admin", "DELETE", "directory/deletedItems/"+app.str("id"), nil).want(204)
	w.do("admin", "GET", "directory/deletedItems/"+second, nil).want(404)

	machine := directory.ObjectID(directory.NewGUID())
	w.update(func(tx *store.Tx) error {
		if err := state.ServicePrincipals.Create(tx, &directory.ServicePrincipal{Tenant: tenantID, ID: machine, AppID: directory.AppID(directory.NewGUID()), DisplayName: "machine", Type: "ManagedIdentity", Enabled: true}); err != nil {
			return err
		}
		return state.Delete(tx, tenantID, machine, w.clock.Now())
	})
	w.do("admin", "GET", "directory/deletedItems/"+string(machine), nil).want(404)
}

func TestDevices(t *testing.T) {
	w := newWorld(t)
	d := w.do("admin", "POST", "devices", obj("displayName", "laptop", "operatingSystem", "Linux", "operatingSystemVersion", "6", "accountEnabled", true,
		"alternativeSecurityIds", []any{obj("type", 2, "key", "AAAA")}, "trustType", "AzureAd", "isCompliant", true)).want(201)
	dev, err := state.Devices.Get(w.store.View(), state.Key(tenantID, directory.ObjectID(d.str("id"))))
	if err != nil || dev.KeyThumbprint != "" {
		t.Errorf("a request gave a device the key %q (%v)", dev.KeyThumbprint, err)
	}
	w.do("admin", "GET", "devices(deviceId='"+d.str("deviceId")+"')", nil).want(200)
	w.member("ann")
	w.do("ann", "PATCH", "devices/"+d.str("id"), obj("isCompliant", true)).want(403)
	w.do("admin", "PATCH", "devices/"+d.str("id"), obj("isCompliant", false)).want(204)
	w.do("admin", "PATCH", "devices/"+d.str("id"), obj("deviceId", directory.NewGUID())).want(400)
	if got := w.do("admin", "GET", "devices?$filter=isCompliant eq false", nil).values("displayName"); !cmp.Equal(got, []string{"laptop"}) {
		t.Errorf("%v", got)
	}
	w.update(func(tx *store.Tx) error {
		return state.Link(tx, directory.Owner, tenantID, directory.ObjectID(d.str("id")), w.admin)
	})
	w.newGroup("admin", "owned too")
	for _, list := range []string{"ownedDevices", "registeredDevices/microsoft.graph.device"} {
		if got := w.do("admin", "GET", "users/"+string(w.admin)+"/"+list, nil).want(200).values("id"); !cmp.Equal(got, []string{d.str("id")}) {
			t.Errorf("%s %v", list, got)
		}
	}
	if got := w.do("ann", "GET", "me/ownedDevices", nil).want(200).values("id"); len(got) != 0 {
		t.Errorf("ann's devices %v", got)
	}
	w.do("admin", "DELETE", "devices/"+d.str("id"), nil).want(204)
}

func TestOrganization(t *testing.T) {
	w := newWorld(t)
	o := w.do("admin", "GET", "organization", nil).want(200)
	if !cmp.Equal(o.values("id"), []string{string(tenantID)}) || !strings.Contains(string(o.raw), `"name":"`+domain+`"`) {
		t.Errorf("%s", o.raw)
	}
	w.do("admin", "GET", "organization/"+string(otherID), nil).want(404)
	w.do("admin", "PATCH", "organization/"+string(tenantID), obj("displayName", "New", "technicalNotificationMails", []string{"a@b.c"})).want(204)
	if got := w.do("admin", "GET", "organization/"+string(tenantID), nil).str("displayName"); got != "New" {
		t.Errorf("name %s", got)
	}
	if got := w.do("admin", "GET", "domains", nil).values("id"); !cmp.Equal(got, []string{domain}) {
		t.Errorf("domains %v", got)
	}
	w.do("admin", "GET", "domains/"+strings.ToUpper(domain), nil).want(200)
	w.do("admin", "GET", "domains/elsewhere.example", nil).want(404)
	w.do("admin", "POST", "directoryObjects/validateProperties", obj("entityType", "Group", "displayName", "x", "mailNickname", "ok")).want(204)
	w.do("admin", "POST", "directoryObjects/validateProperties", obj("entityType", "Group", "mailNickname", "a b")).want(422)
}

func TestRelations(t *testing.T) {
	w := newWorld(t)
	ann := string(w.addUser("ann"))
	robot := string(w.client("robot").ID)
	inner, outer := w.newGroup("admin", "inner"), w.newGroup("admin", "outer")
	add := func(g, m string) { w.do("admin", "POST", "groups/"+g+"/members/$ref", ref(m)).want(204) }
	add(inner, ann)
	add(inner, robot)
	add(outer, inner)
	add(inner, outer) // a circle does no harm
	sorted := func(s ...string) []string { slices.Sort(s); return s }
	for path, want := range map[string][]string{
		"groups/" + outer + "/members":                                     {inner},
		"groups/" + outer + "/transitiveMembers":                           sorted(inner, ann, robot),
		"groups/" + outer + "/transitiveMembers/microsoft.graph.user":      {ann},
		"groups/" + inner + "/members/microsoft.graph.servicePrincipal":    {robot},
		"groups/" + inner + "/members?$filter=displayName eq 'ann'":        {ann},
		"groups/" + inner + "/members?$select=id,appId&$top=999":           sorted(ann, robot, outer),
		"users/" + ann + "/memberOf":                                       {inner},
		"users/" + ann + "/transitiveMemberOf/microsoft.graph.group":       sorted(inner, outer),
		"servicePrincipals/" + robot + "/transitiveMemberOf":               sorted(inner, outer),
		"users/" + string(w.admin) + "/ownedObjects/microsoft.graph.group": sorted(inner, outer),
	} {
		if d := cmp.Diff(want, w.do("admin", "GET", path, nil).want(200).values("id")); d != "" {
			t.Errorf("%s (-want +got):\n%s", path, d)
		}
	}
	if got := w.do("admin", "GET", "groups/"+inner+"/members/$count", nil, "ConsistencyLevel", "eventual").want(200); string(got.raw) != "3" {
		t.Errorf("$count %s", got.raw)
	}
	refs := w.do("admin", "GET", "groups/"+outer+"/members/$ref", nil).want(200)
	if !strings.Contains(string(refs.raw), "https://localhost:8443/v1.0/directoryObjects/"+inner) {
		t.Errorf("$ref %s", refs.raw)
	}
	w.do("admin", "POST", "groups/"+inner+"/members/$ref", ref(inner)).want(400)
	w.do("admin", "POST", "groups/"+inner+"/members/$ref", ref(directory.NewGUID())).want(404)
	w.do("admin", "POST", "groups/"+inner+"/members/$ref", obj("@odata.id", "https://evil.example/x")).want(400)
	w.do("admin", "POST", "groups/"+inner+"/checkMemberGroups", obj("groupIds", []string{})).want(400)
	w.do("admin", "PATCH", "groups/"+outer, obj("members@odata.bind", []string{"https://graph.microsoft.com/v1.0/users/ann@" + domain})).want(204)
	// An activation that has ended is no membership.
	w.update(func(tx *store.Tx) error {
		return state.Links.Create(tx, &directory.Link{Tenant: tenantID, Kind: directory.Member, From: directory.ObjectID(outer), To: w.admin, ToType: directory.TypeUser, Until: w.clock.Now().Add(time.Hour)})
	})
	if got := w.do("admin", "GET", "me/memberOf/microsoft.graph.group", nil).values("id"); !cmp.Equal(got, []string{outer}) {
		t.Errorf("while active %v", got)
	}
	w.clock.Advance(time.Hour)
	if got := w.do("admin", "GET", "me/memberOf/microsoft.graph.group", nil).values("id"); len(got) != 0 {
		t.Errorf("after the end %v", got)
	}
}

func TestBatch(t *testing.T) {
	w := newWorld(t)
	g := w.newGroup("admin", "g")
	a := w.do("admin", "POST", "$batch", obj("requests", []any{
		obj("id", "1", "method", "GET", "url", "/me?$select=id"),
		obj("id", "2", "method", "PATCH", "url", "/groups/"+g, "headers", obj("Content-Type", "application/json"), "body", obj("description", "by batch")),
		obj("id", "3", "method", "GET", "url", "groups/"+g, "dependsOn", []string{"2"}),
		obj("id", "4", "method", "GET", "url", "/groups/"+directory.NewGUID()),
		obj("id", "5", "method", "GET", "url", "/me", "dependsOn", []string{"4"}),
		obj("id", "6", "method", "GET", "url", "/users/$count", "headers", obj("ConsistencyLevel", "eventual")),
		obj("id", "7", "method", "POST", "url", "/$batch", "body", obj("requests", []any{})),
	})).want(200)
	var got struct {
		Responses []struct {
			ID     string
			Status int
			Body   json.RawMessage
		}
	}
	if err := json.Unmarshal(a.raw, &got); err != nil {
		t.Fatal(err)
	}
	var status []int
	for _, r := range got.Responses {
		status = append(status, r.Status)
	}
	if d := cmp.Diff([]int{200, 204, 200, 404, 424, 200, 400}, status); d != "" {
		t.Fatalf("(-want +got):\n%s\n%s", d, a.raw)
	}
	if !strings.Contains(string(got.Responses[2].Body), "by batch") || string(got.Responses[5].Body) != `"1"` {
		t.Errorf("%s", a.raw)
	}
	many := []any{}
	for i := range 21 {
		many = append(many, obj("id", fmt.Sprint(i), "method", "GET", "url", "/me"))
	}
	for _, bad := range []any{
		obj(), obj("requests", []any{}), obj("requests", many), obj("requests", "x"), obj("requests", []any{obj("method", "GET", "url", "/me")}),
		obj("requests", []any{obj("id", "1", "method", "TRACE", "url", "/me")}), obj("requests", []any{obj("id", "1", "method", "GET")}),
		obj("requests", []any{obj("id", "1", "method", "GET", "url", "/me"), obj("id", "1", "method", "GET", "url", "/me")}),
		obj("requests", []any{obj("id", "1", "method", "GET", "url", "/me", "dependsOn", []string{"1"})}), obj("requests", []any{obj("id", "1", "method", "GET", "url", "/me", "dependsOn", []string{"9"})}), obj("extra", 1),
	} {
		w.do("admin", "POST", "$batch", bad).want(400)
	}
	w.do("admin", "GET", "$batch", nil).want(405)
}

// TestStoredText is the Graph part of abuse case 24: what people type comes
// back as JSON text that no browser takes for a page.
func TestStoredText(t *testing.T) {
	w := newWorld(t)
	name := `<script>alert(1)</script>`
	g := w.newGroup("admin", "g")
	w.do("admin", "PATCH", "groups/"+g, obj("displayName", name)).want(204)
	a := w.do("admin", "GET", "groups/"+g, nil).want(200)
	if a.str("displayName") != name || !strings.HasPrefix(a.header.Get("Content-Type"), "application/json") || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%v %s", a.header, a.raw)
	}
	evil := w.do("admin", "GET", "groups/"+url.PathEscape(name), nil).want(400)
	if !strings.HasPrefix(evil.header.Get("Content-Type"), "application/json") {
		t.Errorf("an error is served as %s", evil.header.Get("Content-Type"))
	}
}

func TestHostInLinks(t *testing.T) {
	w := newWorld(t)
	w.addUser("ann")
	for host, want := range map[string]string{"graph.microsoft.com": "https://graph.microsoft.com/v1.0/users?", "evil.example": "https://localhost:8443/v1.0/users?"} {
		a := w.doHost(host, "admin", "users?$top=1")
		if next, _ := a.body["@odata.nextLink"].(string); !strings.HasPrefix(next, want) {
			t.Errorf("under %s: %s", host, next)
		}
	}
}
