package control_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
)

// TestLegacyIntegration makes a cluster with a server and a client application
// of its own, as AKS did before it had the managed integration, and upgrades it.
func TestLegacyIntegration(t *testing.T) {
	ada := account(t, "ada")
	group := newGroup(t, "legacy", ada.ObjectID)
	newApp := func(name string, more map[string]any) (id, appID string) {
		body := map[string]any{"displayName": name}
		for k, v := range more {
			body[k] = v
		}
		var app struct{ ID, AppID string }
		graph(t, http.MethodPost, "/applications", body, &app)
		graph(t, http.MethodPost, "/servicePrincipals", map[string]string{"appId": app.AppID}, nil)
		return app.ID, app.AppID
	}
	server, serverApp := newApp("legacy server", map[string]any{"groupMembershipClaims": "All", "api": map[string]any{"oauth2PermissionScopes": []any{map[string]any{
		"id": directory.NewGUID(), "value": "user_impersonation", "type": "User", "isEnabled": true, "adminConsentDisplayName": "Access", "adminConsentDescription": "Access the cluster",
	}}}})
	_, clientApp := newApp("legacy client", map[string]any{"isFallbackPublicClient": true, "publicClient": map[string]any{"redirectUris": []string{"http://localhost"}}})
	var clientSP struct{ ID string }
	graph(t, http.MethodGet, "/servicePrincipals(appId='"+clientApp+"')", nil, &clientSP)
	var serverSP struct{ ID string }
	graph(t, http.MethodGet, "/servicePrincipals(appId='"+serverApp+"')", nil, &serverSP)
	graph(t, http.MethodPost, "/oauth2PermissionGrants", map[string]string{"clientId": clientSP.ID, "resourceId": serverSP.ID, "consentType": "AllPrincipals", "scope": "user_impersonation"}, nil)
	var secret struct{ SecretText, KeyID string }
	graph(t, http.MethodPost, "/applications/"+server+"/addPassword", map[string]any{"passwordCredential": map[string]string{"displayName": "cluster"}}, &secret)

	profile := func(secret string) map[string]any {
		p := map[string]any{"serverAppID": serverApp, "clientAppID": clientApp}
		if secret != "" {
			p["serverAppSecret"] = secret
		}
		return map[string]any{"aadProfile": p}
	}
	c := newCluster(t, "legacy", profile(secret.SecretText))
	running := c.apiserver()
	user := c.user()
	if raw, err := os.ReadFile(user); err != nil || !strings.Contains(string(raw), serverApp) || !strings.Contains(string(raw), clientApp) {
		t.Errorf("the kubeconfig does not name the cluster's own applications: %v\n%s", err, raw)
	}
	// The v1.0 endpoint puts spn: before the audience, the v2.0 endpoint does
	// not: kubectl's old plugin used the one, kubelogin uses the other.
	sign := func(endpoint, parameter, value, want string) string {
		t.Helper()
		token, err := tokenFrom(endpoint, url.Values{
			"grant_type": {"password"}, "client_id": {clientApp}, "username": {ada.UserPrincipalName}, "password": {ada.Password}, parameter: {value},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := audience(t, token); got != want {
			t.Errorf("%s gives a token for %s, want %s", endpoint, got, want)
		}
		return bearer(t, user, token)
	}
	fresh := func() string { return sign("oauth2/v2.0/token", "scope", serverApp+"/.default", serverApp) }
	bare, prefixed := fresh(), sign("oauth2/token", "resource", serverApp, "spn:"+serverApp)
	for audience, kubeconfig := range map[string]string{"without spn:": bare, "with spn:": prefixed} {
		who := c.whoami(kubeconfig)
		if who.Username != ada.UserPrincipalName || !slices.Contains(who.Groups, group) {
			t.Errorf("%s: ada is %+v", audience, who)
		}
	}
	c.unauthorized("a token for AKS's own server application", bearer(t, user, person(t, "ada", aksScope)))
	// Her groups are those of the directory: a binding of Kubernetes names one.
	admin := c.admin()
	if out, err := kubectl(admin, "create", "clusterrolebinding", "legacy", "--clusterrole=cluster-admin", "--group="+group); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, ok := may(bare, true, "*", "*", "--all-namespaces")(); !ok {
		t.Errorf("by her group: %s", out)
	}

	// A wrong secret, and one that has been taken away: nobody's groups can be
	// looked up, so nobody is let in. What the API server has just been told of
	// a token it remembers, so each try shows a new one.
	c.put(profile("not-the-secret"))
	c.unauthorized("with a wrong secret", fresh())
	c.put(profile(secret.SecretText))
	if who := c.whoami(fresh()); who.Username != ada.UserPrincipalName {
		t.Errorf("with the right secret again: %+v", who)
	}
	graph(t, http.MethodPost, "/applications/"+server+"/removePassword", map[string]string{"keyId": secret.KeyID}, nil)
	c.unauthorized("with a secret that the application has no more", fresh())

	// The upgrade: AKS's own applications take the place of the cluster's.
	c.put(map[string]any{"aadProfile": map[string]any{"managed": true, "adminGroupObjectIDs": []string{group}}})
	managed := bearer(t, user, person(t, "ada", aksScope))
	if who := c.whoami(managed); who.Username != ada.UserPrincipalName || !slices.Contains(who.Groups, group) {
		t.Errorf("after the upgrade ada is %+v", who)
	}
	if out, ok := may(managed, true, "*", "*", "--all-namespaces")(); !ok {
		t.Errorf("the admin group after the upgrade: %s", out)
	}
	c.unauthorized("a token for the former server application", fresh())
	if raw, err := os.ReadFile(c.user()); err != nil || strings.Contains(string(raw), serverApp) || !strings.Contains(string(raw), string(directory.AKSServer)) {
		t.Errorf("the kubeconfig after the upgrade: %v\n%s", err, raw)
	}
	// Which applications count is Entrance's to say: the API server goes on.
	if now := c.apiserver(); now.pid != running.pid || !slices.Equal(now.args, running.args) {
		t.Errorf("the API server ran with %q, and after the upgrade with %q", running.args, now.args)
	}
	// There is no way back.
	if a := c.call(http.MethodPut, "", clusterBody(profile(secret.SecretText))); a.code != http.StatusBadRequest {
		t.Errorf("back to the legacy integration: HTTP %d %s", a.code, a.raw)
	}
}

// audience returns whom a token is for.
func audience(t *testing.T, token string) string {
	t.Helper()
	var claims struct{ Aud string }
	if err := json.Unmarshal(payload(t, token), &claims); err != nil {
		t.Fatal(err)
	}
	return claims.Aud
}

// payload returns a token's claims.
func payload(t *testing.T, token string) []byte {
	t.Helper()
	parts := strings.Split(token, ".")
	raw, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
