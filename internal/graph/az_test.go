package graph

import (
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
)

// The tests of this file send what az sends for each of its directory
// commands, and look for what az needs in the answer.

func TestAzSignedInUser(t *testing.T) {
	w := newWorld(t)
	me := w.do("admin", "GET", "me", nil).want(200)
	if me.str("id") != string(w.admin) || me.str("userPrincipalName") != "admin@"+domain {
		t.Errorf("me is %s", me.raw)
	}
	if me.str("@odata.context") != "https://localhost:8443/v1.0/$metadata#users/$entity" {
		t.Errorf("context is %v", me.body["@odata.context"])
	}
	if _, shown := me.body["accountEnabled"]; shown {
		t.Error("accountEnabled is not among the default properties")
	}
}

func TestAzGroup(t *testing.T) {
	w := newWorld(t)
	// az ad group create
	q := "groups?$filter=displayName%20eq%20%27AKS%20admins%27%20and%20mailNickname%20eq%20%27aksadmins%27"
	if got := w.do("admin", "GET", q, nil).want(200).values("id"); len(got) != 0 {
		t.Fatalf("found %v", got)
	}
	created := w.do("admin", "POST", "groups", obj("displayName", "AKS admins", "mailNickname", "aksadmins", "mailEnabled", false, "securityEnabled", true)).want(201)
	g := created.str("id")
	if created.body["securityEnabled"] != true || created.body["mailEnabled"] != false {
		t.Errorf("created %s", created.raw)
	}
	if got := w.do("admin", "GET", q, nil).want(200).values("id"); !cmp.Equal(got, []string{g}) {
		t.Fatalf("found %v", got)
	}
	// az ad group list, --display-name, --filter, with the property in another case
	for path, want := range map[string]int{
		"groups": 1, "groups?$filter=startswith(displayName,'aks')": 1, "groups?$filter=displayname eq 'aks ADMINS'": 1, "groups?$filter=displayName eq 'x'": 0,
	} {
		if got := w.do("admin", "GET", path, nil).want(200).values("id"); len(got) != want {
			t.Errorf("%s: %v", path, got)
		}
	}
	// az ad group show
	if w.do("admin", "GET", "groups/"+g, nil).want(200).str("displayName") != "AKS admins" {
		t.Error("show")
	}
	w.do("admin", "GET", "groups/"+directory.NewGUID(), nil).refused(404, "Request_ResourceNotFound", "does not exist")
	// az ad group member add, twice
	ann := string(w.addUser("ann"))
	w.do("admin", "POST", "groups/"+g+"/members/$ref", ref(ann)).want(204)
	w.do("admin", "POST", "groups/"+g+"/members/$ref", ref(ann)).refused(400, "Request_BadRequest", "One or more added object references already exist for the following modified properties: 'members'.")
	// az ad group member list
	list := w.do("admin", "GET", "groups/"+g+"/members", nil).want(200)
	if !cmp.Equal(list.values("id"), []string{ann}) || !cmp.Equal(list.values("@odata.type"), []string{"#microsoft.graph.user"}) {
		t.Errorf("members %s", list.raw)
	}
	// az ad group member check
	check := w.do("admin", "POST", "directoryObjects/"+ann+"/checkMemberGroups", obj("groupIds", []string{g, directory.NewGUID()})).want(200)
	if !cmp.Equal(check.values(""), []string{g}) {
		t.Errorf("check %s", check.raw)
	}
	// az ad group owner list, get-member-groups
	if got := w.do("admin", "GET", "groups/"+g+"/owners", nil).want(200).values("id"); !cmp.Equal(got, []string{string(w.admin)}) {
		t.Errorf("owners %v", got)
	}
	outer := w.newGroup("admin", "outer")
	w.do("admin", "POST", "groups/"+outer+"/members/$ref", ref(g)).want(204)
	if got := w.do("admin", "POST", "groups/"+g+"/getMemberGroups", obj("securityEnabledOnly", false)).want(200).values(""); !cmp.Equal(got, []string{outer}) {
		t.Errorf("getMemberGroups %v", got)
	}
	// az ad user get-member-groups, by UPN, through the nested group
	got := w.do("admin", "POST", "users/ann@"+domain+"/getMemberGroups", obj("securityEnabledOnly", true)).want(200).values("")
	if len(got) != 2 {
		t.Errorf("user getMemberGroups %v", got)
	}
	// az ad group member remove
	w.do("admin", "DELETE", "groups/"+g+"/members/"+ann+"/$ref", nil).want(204)
	w.do("admin", "DELETE", "groups/"+g+"/members/"+ann+"/$ref", nil).refused(404, "Request_ResourceNotFound", ann)
	w.do("admin", "DELETE", "groups/"+g, nil).want(204)
}

func TestAzUser(t *testing.T) {
	w := newWorld(t)
	body := obj("userPrincipalName", "zoe@"+domain, "displayName", "Zoe", "mailNickname", "zoe", "accountEnabled", true,
		"passwordProfile", obj("password", "Correct-Horse-9", "forceChangePasswordNextSignIn", false))
	created := w.do("admin", "POST", "users", body).want(201)
	id := created.str("id")
	if strings.Contains(string(created.raw), "Correct-Horse") {
		t.Error("the answer shows the password")
	}
	w.do("admin", "POST", "users", body).refused(400, "Request_BadRequest", "Another object with the same value for property userPrincipalName already exists.")
	for _, path := range []string{"users/" + id, "users/zoe@" + domain, "users/ZOE@" + domain, "users('" + id + "')", "users(userPrincipalName='zoe@" + domain + "')", "users?$filter=userPrincipalName eq 'zoe@" + domain + "'"} {
		a := w.do("admin", "GET", path, nil).want(200)
		if !strings.Contains(string(a.raw), id) {
			t.Errorf("%s: %s", path, a.raw)
		}
	}
	w.do("admin", "GET", "users/nobody@"+domain, nil).refused(404, "Request_ResourceNotFound", "nobody@")
	u, err := state.FindUser(w.store.View(), tenantID, id)
	if err != nil || u.PasswordHash != "plain:Correct-Horse-9" || u.MustChangePassword {
		t.Errorf("stored %+v, %v", u, err)
	}
	w.do("admin", "DELETE", "users/zoe@"+domain, nil).want(204)
	w.do("admin", "GET", "users/"+id, nil).want(404)
}

func TestAzRoleAssignmentLookups(t *testing.T) {
	w := newWorld(t)
	ann, g, p := string(w.addUser("ann")), w.newGroup("admin", "g"), w.client("robot")
	got := w.do("admin", "GET", "servicePrincipals?$filter=servicePrincipalNames/any(c:c%20eq%20'"+string(p.AppID)+"')", nil).want(200).values("id")
	if !cmp.Equal(got, []string{string(p.ID)}) {
		t.Errorf("by name: %v", got)
	}
	a := w.do("admin", "POST", "directoryObjects/getByIds", obj("ids", []string{ann, g, string(p.ID), directory.NewGUID()}, "types", []string{"user", "group", "servicePrincipal", "directoryObjectPartnerReference"})).want(200)
	if d := cmp.Diff([]string{"#microsoft.graph.user", "#microsoft.graph.group", "#microsoft.graph.servicePrincipal"}, a.values("@odata.type")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"#microsoft.graph.group"}, w.do("admin", "POST", "directoryObjects/getByIds", obj("ids", []string{ann, g}, "types", []string{"group"})).values("@odata.type")); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestAzApp(t *testing.T) {
	w := newWorld(t)
	if got := w.do("admin", "GET", "applications?$filter=startswith(displayName,'web')", nil).want(200).values("id"); len(got) != 0 {
		t.Fatal(got)
	}
	app := w.do("admin", "POST", "applications", obj("displayName", "web", "identifierUris", []string{"https://web." + domain}, "keyCredentials", []any{}, "isFallbackPublicClient", true, "publicClient", obj("redirectUris", []string{"http://localhost"}))).want(201)
	id, appID := app.str("id"), app.str("appId")
	for _, m := range []string{"requiredResourceAccess", "passwordCredentials", "keyCredentials"} {
		if _, ok := app.body[m].([]any); !ok {
			t.Errorf("%s is %v", m, app.body[m])
		}
	}
	for _, path := range []string{
		"applications?$filter=appId eq '" + appID + "'", "applications?$filter=identifierUris/any(s:s eq 'https://web." + domain + "')",
		"applications?$filter=startswith(displayName,'WE')",
	} {
		if got := w.do("admin", "GET", path, nil).want(200).values("id"); !cmp.Equal(got, []string{id}) {
			t.Errorf("%s: %v", path, got)
		}
	}
	w.do("admin", "GET", "applications(appId='"+appID+"')", nil).want(200)
	// az ad app update --set
	w.do("admin", "PATCH", "applications/"+id, obj("signInAudience", "AzureADMultipleOrgs")).want(204)
	w.do("admin", "PATCH", "applications/"+id, obj("api", obj("oauth2PermissionScopes", []any{obj("id", directory.NewGUID(), "value", "user_impersonation", "type", "User", "isEnabled", true, "adminConsentDescription", "a", "adminConsentDisplayName", "b", "userConsentDescription", "c", "userConsentDisplayName", "d")}))).want(204)
	// az ad app permission add
	w.do("admin", "PATCH", "applications/"+id, obj("requiredResourceAccess", []any{obj("resourceAppId", string(directory.Graph), "resourceAccess", []any{obj("id", "e1fe6dd8-ba31-4d61-89e7-88639da4683d", "type", "Scope")})})).want(204)
	after := w.do("admin", "GET", "applications/"+id, nil).want(200)
	if after.str("signInAudience") != "AzureADMultipleOrgs" || !strings.Contains(string(after.raw), "user_impersonation") || !strings.Contains(string(after.raw), "e1fe6dd8") {
		t.Errorf("after the updates: %s", after.raw)
	}
	// az ad app credential reset
	secret := w.do("admin", "POST", "applications/"+id+"/addPassword", obj("passwordCredential", obj("displayName", "rbac", "startDateTime", "2026-03-01T12:00:00Z", "endDateTime", "2027-03-01T12:00:00Z"))).want(200)
	text := secret.str("secretText")
	if secret.str("hint") != text[:3] || len(text) < 40 {
		t.Errorf("secret %q, hint %v", text, secret.body["hint"])
	}
	if again := w.do("admin", "GET", "applications/"+id, nil).want(200); strings.Contains(string(again.raw), text) || !strings.Contains(string(again.raw), secret.str("keyId")) {
		t.Errorf("after addPassword: %s", again.raw)
	}
	stored, err := state.Applications.Get(w.store.View(), state.Key(tenantID, directory.ObjectID(id)))
	if err != nil {
		t.Fatal(err)
	}
	if stored.Credentials.MatchPassword(text) == nil || stored.Credentials.MatchPassword(text+"x") != nil {
		t.Error("the stored credential does not match its secret")
	}
	if sum := sha256.Sum256([]byte(text)); string(sum[:]) != string(stored.Credentials.Passwords[0].SHA256) {
		t.Error("the secret is kept as something else than its SHA-256")
	}
	w.do("admin", "POST", "applications/"+id+"/removePassword", obj("keyId", secret.str("keyId"))).want(204)
	w.do("admin", "POST", "applications/"+id+"/removePassword", obj("keyId", secret.str("keyId"))).refused(400, "Request_BadRequest", "No password credential found with keyId.")
	// az ad sp create, show, credential reset, delete
	sp := w.do("admin", "POST", "servicePrincipals", obj("appId", appID, "accountEnabled", true)).want(201)
	if d := cmp.Diff([]any{appID, "https://web." + domain}, sp.body["servicePrincipalNames"]); d != "" {
		t.Errorf("servicePrincipalNames (-want +got):\n%s", d)
	}
	w.do("admin", "POST", "servicePrincipals", obj("appId", appID)).refused(409, "Request_MultipleObjectsWithSameKeyValue", appID)
	if got := w.do("admin", "GET", "servicePrincipals?$filter=servicePrincipalNames/any(c:c eq 'https://web."+domain+"')", nil).values("id"); !cmp.Equal(got, []string{sp.str("id")}) {
		t.Errorf("by uri: %v", got)
	}
	spSecret := w.do("admin", "POST", "servicePrincipals/"+sp.str("id")+"/addPassword", obj("passwordCredential", obj("displayName", nil))).want(200)
	p, err := state.FindServicePrincipal(w.store.View(), tenantID, directory.AppID(appID))
	if err != nil || p.Credentials.MatchPassword(spSecret.str("secretText")) == nil {
		t.Errorf("the service principal's secret does not match: %v", err)
	}
	// A change of the application reaches the service principal.
	w.do("admin", "PATCH", "applications/"+id, obj("displayName", "web2", "identifierUris", []string{"api://" + appID})).want(204)
	if got := w.do("admin", "GET", "servicePrincipals?$filter=displayName eq 'web2'", nil).values("id"); !cmp.Equal(got, []string{sp.str("id")}) {
		t.Errorf("by new name: %v", got)
	}
	if p, err = state.FindServicePrincipal(w.store.View(), tenantID, directory.AppID(appID)); err != nil || p.Credentials.MatchPassword(spSecret.str("secretText")) == nil {
		t.Error("the change of the application took the service principal's secret away")
	}
	w.do("admin", "DELETE", "servicePrincipals/"+sp.str("id"), nil).want(204)
	w.do("admin", "DELETE", "applications/"+id, nil).want(204)
	w.do("admin", "GET", "applications/"+id, nil).want(404)
}

func TestAzCertificate(t *testing.T) {
	w := newWorld(t)
	der, _ := certificate(t, w.clock.Now().Add(-time.Hour), w.clock.Now().Add(24*time.Hour))
	b64 := base64.StdEncoding.EncodeToString(der)
	broken := b64[:64] + "\n" + b64[64:128] + "\r\n" + b64[128:] + "\n"
	app := w.do("admin", "POST", "applications", obj("displayName", "cert", "keyCredentials", []any{
		obj("key", broken, "type", "AsymmetricX509Cert", "usage", "Verify", "endDateTime", w.clock.Now().Add(23*time.Hour).Format(time.RFC3339)),
	})).want(201)
	a, err := state.Applications.Get(w.store.View(), state.Key(tenantID, directory.ObjectID(app.str("id"))))
	if err != nil || len(a.Credentials.Keys) != 1 || string(a.Credentials.Keys[0].Key) != string(der) {
		t.Fatalf("stored %+v, %v", a, err)
	}
	list := w.do("admin", "GET", "applications/"+app.str("id"), nil).want(200)
	if strings.Contains(string(list.raw), b64) {
		t.Error("the certificate is shown without being selected")
	}
	sel := w.do("admin", "GET", "applications/"+app.str("id")+"?$select=keyCredentials", nil).want(200)
	if !strings.Contains(string(sel.raw), b64) {
		t.Errorf("selected: %s", sel.raw)
	}
}

func TestAzFederatedCredential(t *testing.T) {
	w := newWorld(t)
	app := w.newApp("admin", "wi").str("id")
	path := "applications/" + app + "/federatedIdentityCredentials"
	f := obj("name", "kubernetes", "issuer", "https://oidc.example/abc/", "subject", "system:serviceaccount:ns:sa", "audiences", []string{"api://AzureADTokenExchange"}, "description", "d")
	created := w.do("admin", "POST", path, f).want(201)
	if created.str("issuer") != "https://oidc.example/abc/" {
		t.Errorf("%s", created.raw)
	}
	if got := w.do("admin", "GET", path, nil).want(200).values("name"); !cmp.Equal(got, []string{"kubernetes"}) {
		t.Errorf("list %v", got)
	}
	for _, key := range []string{created.str("id"), "kubernetes"} {
		w.do("admin", "GET", path+"/"+key, nil).want(200)
	}
	w.do("admin", "PATCH", path+"/kubernetes", obj("subject", "system:serviceaccount:ns:other")).want(204)
	w.do("admin", "DELETE", path+"/"+created.str("id"), nil).want(204)
	w.do("admin", "GET", path+"/kubernetes", nil).want(404)
}
