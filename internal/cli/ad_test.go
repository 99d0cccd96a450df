package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestUser(t *testing.T) {
	s := newShell(t)
	upn := "eve@" + s.cloud.Domain
	id := s.word("id", "ad", "user", "create", "--display-name", "Eve", "--user-principal-name", upn, "--password", "Vq7-brassy-Umber", "--force-change-password-next-sign-in", "false")
	s.want("Eve", "displayName", "ad", "user", "show", "--id", id)
	s.want(id, "id", "ad", "user", "show", "--id", upn)
	s.want(upn, "[].userPrincipalName", "ad", "user", "list", "--display-name", "Ev")
	s.want(upn, "[].userPrincipalName", "ad", "user", "list", "--upn", upn)
	s.want(upn, "[].userPrincipalName", "ad", "user", "list", "--filter", "displayName eq 'Eve'")
	s.ok("ad", "user", "update", "--id", upn, "--display-name", "Eva", "--account-enabled", "false")
	s.want("Eva", "displayName", "ad", "user", "show", "--id", upn)
	s.fails(1, "AADSTS50057", "login", "-u", upn, "-p", "Vq7-brassy-Umber")
	s.fails(2, "nothing to change", "ad", "user", "update", "--id", upn)
	g := s.cloud.AddGroup(t, "outer", s.cloud.AddGroup(t, "inner", id).ID)
	s.want("True", "contains(@, '"+g.ID+"')", "ad", "user", "get-member-groups", "--id", upn)
	s.ok("ad", "user", "delete", "--id", upn)
	s.fails(3, "Request_ResourceNotFound", "ad", "user", "show", "--id", upn)
	s.fails(2, "required: --display-name, --user-principal-name, --password", "ad", "user", "create")

	s.fails(2, "'entrance login'", "ad", "signed-in-user", "show")
	s.ok("login", "-u", s.cloud.Administrator.UserPrincipalName, "-p", s.cloud.Administrator.Password)
	s.want(s.cloud.Administrator.UserPrincipalName, "userPrincipalName", "ad", "signed-in-user", "show")
	s.ok("ad", "signed-in-user", "list-owned-objects")
}

func TestGroupsAndMembers(t *testing.T) {
	s := newShell(t)
	ann := s.cloud.AddUser(t, "ann")
	create := []string{"ad", "group", "create", "--display-name", "It's ours", "--mail-nickname", "ours"}
	id := s.word("id", create...)
	s.want(id, "id", create...) // the one that is there
	if again := s.word("id", append(create, "--force")...); again == id {
		t.Error("--force made no other group")
	} else {
		s.ok("ad", "group", "delete", "-g", again)
	}
	s.want(id, "id", "ad", "group", "show", "--group", "It's ours")
	s.want("It's ours", "[].displayName", "ad", "group", "list", "--filter", "displayname eq 'It''s ours'")
	if got := s.ok("ad", "group", "list", "--display-name", "It", "-o", "table"); !strings.HasPrefix(got, "DisplayName  MailNickname  Id\n") || !strings.Contains(got, "It's ours    ours          "+id) {
		t.Error(got)
	}
	s.ok("ad", "group", "member", "add", "--group", id, "--member-id", ann.ID)
	s.fails(1, "already exist", "ad", "group", "member", "add", "--group", id, "--member-id", ann.ID)
	s.want(ann.UserPrincipalName, "[].userPrincipalName", "ad", "group", "member", "list", "-g", "It's ours")
	s.want("True", "value", "ad", "group", "member", "check", "-g", id, "--member-id", ann.ID)
	s.ok("ad", "group", "owner", "add", "-g", id, "--owner-id", ann.ID)
	s.want(ann.ID, "[?id=='"+ann.ID+"'].id", "ad", "group", "owner", "list", "-g", id)
	s.ok("ad", "group", "owner", "add", "-g", id, "--owner-id", s.cloud.Administrator.ID)
	s.ok("ad", "group", "owner", "remove", "-g", id, "--owner-id", ann.ID)
	s.want("", "[?id=='"+ann.ID+"'].id", "ad", "group", "owner", "list", "-g", id)
	s.ok("ad", "group", "member", "remove", "-g", id, "--member-id", ann.ID)
	s.want("False", "value", "ad", "group", "member", "check", "-g", id, "--member-id", ann.ID)
	s.want("0", "length(@)", "ad", "group", "get-member-groups", "-g", id)
	s.ok("ad", "group", "delete", "-g", id)
	s.fails(3, "No group is called", "ad", "group", "show", "-g", "It's ours")
	s.fails(3, "", "ad", "group", "delete", "-g", id)
}

// TestManyGroups holds that a list has all pages.
func TestManyGroups(t *testing.T) {
	s := newShell(t)
	for i := range 120 {
		s.cloud.AddGroup(t, "many-"+string(rune('a'+i/26))+string(rune('a'+i%26)))
	}
	s.want("120", "length(@)", "ad", "group", "list", "--display-name", "many-")
}

func TestApp(t *testing.T) {
	s := newShell(t)
	uri := "api://web." + s.cloud.Domain
	app := s.word("appId", "ad", "app", "create", "--display-name", "web", "--identifier-uris", uri, uri+"/two", "--is-fallback-public-client", "true",
		"--public-client-redirect-uris", "http://localhost", "--web-redirect-uris", "https://web.contoso.test/cb", "--enable-id-token-issuance")
	s.want("2 True http://localhost True", "join(' ', [to_string(length(identifierUris)), 'True', publicClient.redirectUris[0], 'True'])", "ad", "app", "show", "--id", uri)
	s.want("True", "isFallbackPublicClient", "ad", "app", "show", "--id", app)
	s.want("True", "web.implicitGrantSettings.enableIdTokenIssuance", "ad", "app", "show", "--id", app)
	s.want(app, "appId", "ad", "app", "create", "--display-name", "web", "--sign-in-audience", "AzureADMultipleOrgs")
	s.want("AzureADMultipleOrgs", "[0].signInAudience", "ad", "app", "list", "--app-id", app)
	s.want(app, "[0].appId", "ad", "app", "list", "--identifier-uri", uri)
	s.want(app, "[0].appId", "ad", "app", "list", "--display-name", "web")
	s.ok("ad", "app", "update", "--id", app, "--set", "groupMembershipClaims=All", "api.requestedAccessTokenVersion=2")
	s.want("All2", "join('', [groupMembershipClaims, to_string(api.requestedAccessTokenVersion)])", "ad", "app", "show", "--id", app)
	s.fails(2, "--set takes", "ad", "app", "update", "--id", app, "--set", "nope")
	s.fails(2, "--app-roles is not JSON", "ad", "app", "update", "--id", app, "--app-roles", "{")
	// As the second document has it, in az's words of then.
	old := s.word("appId", "ad", "app", "create", "--display-name", "desktop", "--native-app", "--reply-urls", "http://localhost/old")
	s.want("true http://localhost/old", "join(' ', [to_string(isFallbackPublicClient), publicClient.redirectUris[0]])", "ad", "app", "show", "--id", old)
	s.ok("ad", "sp", "create", "--id", old)
	s.want(old, "appId", "ad", "sp", "credential", "reset", "--name", old, "--credential-description", "AKSPassword")
	s.want("AKSPassword", "[].displayName", "ad", "sp", "credential", "list", "--id", old)
	s.fails(1, "verified domain", "ad", "app", "create", "--display-name", "other", "--identifier-uris", "https://elsewhere.example")

	// Permissions, as the second of the five documents asks for them.
	const graphAPI = "00000003-0000-0000-c000-000000000000"
	s.ok("ad", "app", "permission", "add", "--id", app, "--api", graphAPI, "--api-permissions", "e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope", "7ab1d382-f21e-4acd-a863-ba3e13f7da61=Role")
	s.want("2", "length([0].resourceAccess)", "ad", "app", "permission", "list", "--id", app)
	s.fails(2, "ID=Scope", "ad", "app", "permission", "add", "--id", app, "--api", graphAPI, "--api-permissions", "x")
	sp := s.word("id", "ad", "sp", "create", "--id", app)
	s.want("User.Read", "scope", "ad", "app", "permission", "grant", "--id", app, "--api", graphAPI, "--scope", "User.Read")
	s.want("User.Read Directory.Read.All", "scope", "ad", "app", "permission", "grant", "--id", app, "--api", graphAPI, "--scope", "User.Read", "Directory.Read.All")
	s.want("1", "length(@)", "ad", "app", "permission", "list-grants", "--id", app)
	s.ok("ad", "app", "permission", "admin-consent", "--id", app)
	s.ok("ad", "app", "permission", "admin-consent", "--id", app) // twice is once
	s.want("User.Read", "[0].scope", "ad", "app", "permission", "list-grants", "--id", app)
	var roles struct{ Value []struct{ AppRoleID string } }
	s.cloud.Graph(t, "GET", "/servicePrincipals/"+sp+"/appRoleAssignments", nil, &roles)
	if len(roles.Value) != 1 || roles.Value[0].AppRoleID != "7ab1d382-f21e-4acd-a863-ba3e13f7da61" {
		t.Errorf("application permissions: %+v", roles)
	}
	s.ok("ad", "app", "permission", "delete", "--id", app, "--api", graphAPI, "--api-permissions", "7ab1d382-f21e-4acd-a863-ba3e13f7da61")
	s.want("1", "length([0].resourceAccess)", "ad", "app", "permission", "list", "--id", app)
	s.ok("ad", "app", "permission", "delete", "--id", app, "--api", graphAPI)
	s.want("0", "length(@)", "ad", "app", "permission", "list", "--id", app)

	// Tokens of other issuers.
	fed := []string{"ad", "app", "federated-credential"}
	s.ok(append(fed, "create", "--id", app, "--parameters", `{"name":"pipeline","issuer":"https://issuer.example","subject":"repo:x","audiences":["api://AzureADTokenExchange"]}`)...)
	s.want("repo:x", "[].subject", append(fed, "list", "--id", app)...)
	file := filepath.Join(t.TempDir(), "fed.json")
	if err := os.WriteFile(file, []byte(`{"subject":"repo:y"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok(append(fed, "update", "--id", app, "--federated-credential-id", "pipeline", "--parameters", "@"+file)...)
	s.want("repo:y", "subject", append(fed, "show", "--id", app, "--federated-credential-id", "pipeline")...)
	s.ok(append(fed, "delete", "--id", app, "--federated-credential-id", "pipeline")...)
	s.want("0", "length(@)", append(fed, "list", "--id", app)...)

	ann := s.cloud.AddUser(t, "ann")
	s.ok("ad", "app", "owner", "add", "--id", app, "--owner-object-id", ann.ID)
	s.want("1", "length([?id=='"+ann.ID+"'])", "ad", "app", "owner", "list", "--id", app)
	s.ok("ad", "app", "owner", "remove", "--id", app, "--owner-object-id", ann.ID)
	s.ok("ad", "app", "delete", "--id", app)
	s.fails(3, "", "ad", "app", "show", "--id", app)
}

// TestCredentials holds that what the commands print signs in, and what they
// replace no longer does.
func TestCredentials(t *testing.T) {
	s := newShell(t)
	t.Setenv("HOME", t.TempDir())
	app := s.word("appId", "ad", "app", "create", "--display-name", "robot")
	s.ok("ad", "sp", "create", "--id", app)
	reset := func(kind string, more ...string) (password string) {
		t.Helper()
		var made struct{ AppID, Password, Tenant string }
		out, errOut, code := s.run("", append([]string{"ad", kind, "credential", "reset", "--id", app}, more...)...)
		if err := json.Unmarshal([]byte(out), &made); err != nil || code != 0 || made.AppID != app || made.Tenant != s.cloud.TenantID || !strings.Contains(errOut, "protect") {
			t.Fatalf("%v %d %s %s", err, code, out, errOut)
		}
		return made.Password
	}
	login := func(secret string) []string {
		return []string{"login", "--service-principal", "--allow-no-subscriptions", "-u", app, "-p", secret, "--tenant", s.cloud.TenantID, "-o", "none"}
	}
	first := reset("app", "--display-name", "first", "--years", "2")
	s.ok(login(first)...)
	s.ok("account", "clear")
	second := reset("app", "--append", "--end-date", "2100-01-31")
	s.want("2", "length(@)", "ad", "app", "credential", "list", "--id", app)
	s.ok(login(first)...)
	s.ok("account", "clear")
	id := s.word("[?displayName=='first'].keyId", "ad", "app", "credential", "list", "--id", app)
	s.ok("ad", "app", "credential", "delete", "--id", app, "--key-id", id)
	s.fails(1, "AADSTS7000215", login(first)...)
	s.ok(login(second)...)
	s.ok("account", "clear")
	third := reset("app")
	s.fails(1, "AADSTS7000215", login(second)...)
	s.ok(login(third)...)
	s.ok("account", "clear")
	onSP := reset("sp")
	s.ok(login(onSP)...)
	s.ok("account", "clear")
	s.want("1", "length(@)", "ad", "sp", "credential", "list", "--id", app)
	s.fails(2, "past", "ad", "app", "credential", "reset", "--id", app, "--end-date", "2001-01-01")
	s.fails(2, "a day such as", "ad", "app", "credential", "reset", "--id", app, "--end-date", "soon")

	// Certificates: one that is made, and one that is there.
	file := s.word("fileWithCertAndPrivateKey", "ad", "app", "credential", "reset", "--id", app, "--create-cert", "--append")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info, err)
	}
	s.ok(login(file)...)
	s.ok("account", "clear")
	s.fails(2, "private key", "ad", "app", "credential", "reset", "--id", app, "--cert", "@"+file)
	_, der := certificate(t)
	der64 := filepath.Join(t.TempDir(), "cert.der")
	if err := os.WriteFile(der64, der, 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("ad", "app", "credential", "reset", "--id", app, "--cert", "@"+der64, "--append")
	s.want("2", "length(@)", "ad", "app", "credential", "list", "--id", app, "--cert")
	s.ok("ad", "app", "credential", "delete", "--id", app, "--cert", "--key-id", s.word("[0].keyId", "ad", "app", "credential", "list", "--id", app, "--cert"))
	s.want("1", "length(@)", "ad", "app", "credential", "list", "--id", app, "--cert")
}

func TestServicePrincipal(t *testing.T) {
	s := newShell(t)
	scope := "/subscriptions/" + s.cloud.SubscriptionID + "/resourceGroups/sample"
	var made struct{ AppID, DisplayName, Password, Tenant string }
	if err := json.Unmarshal([]byte(s.ok("ad", "sp", "create-for-rbac", "--name", "ci", "--role", "Reader", "--scopes", scope)), &made); err != nil {
		t.Fatal(err)
	}
	s.want("Reader", "[].roleDefinitionName", "role", "assignment", "list", "--assignee", made.AppID, "--all")
	var again struct{ AppID, Password string }
	if err := json.Unmarshal([]byte(s.ok("ad", "sp", "create-for-rbac", "-n", "ci", "--role", "Reader", "--scopes", scope)), &again); err != nil {
		t.Fatal(err)
	}
	if again.AppID != made.AppID || again.Password == made.Password {
		t.Errorf("%+v after %+v", again, made)
	}
	s.ok("login", "--service-principal", "-u", made.AppID, "-p", again.Password, "--tenant", made.Tenant)
	s.want("sample", "[].name", "group", "list")
	s.fails(1, "(AuthorizationFailed)", "group", "create", "-n", "x", "-l", "eastus")
	s.fails(1, "entrance role assignment create", "group", "create", "-n", "x", "-l", "eastus")
	s.fails(1, "(Authorization_RequestDenied)", "ad", "user", "create", "--display-name", "x", "--user-principal-name", "x@"+s.cloud.Domain, "--password", "Vq7-brassy-Umber")
	s.ok("account", "clear")
	s.fails(2, "--scopes", "ad", "sp", "create-for-rbac", "-n", "ci", "--role", "Reader")
	s.fails(2, "slash", "ad", "sp", "create-for-rbac", "-n", "ci", "--role", "Reader", "--scopes", "sample")

	s.want("ci", "displayName", "ad", "sp", "show", "--id", made.AppID)
	s.want("ci", "[].displayName", "ad", "sp", "list", "--spn", made.AppID)
	s.want("ci", "[].displayName", "ad", "sp", "list", "--display-name", "ci")
	s.want("True", "length(@) > `0`", "ad", "sp", "list")
	s.want("True", "length(@) > `5`", "ad", "sp", "list", "--all")
	s.ok("ad", "sp", "update", "--id", made.AppID, "--set", "accountEnabled=false")
	s.want("False", "accountEnabled", "ad", "sp", "show", "--id", made.AppID)
	s.ok("ad", "sp", "delete", "--id", made.AppID)
	s.fails(3, "", "ad", "sp", "show", "--id", made.AppID)
	s.want("ci", "displayName", "ad", "app", "show", "--id", made.AppID)
}
