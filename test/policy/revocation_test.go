package policy_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/directory"
)

// TestRefreshEndsAtOnce takes ten people's sessions away in the ways that there
// are, and uses their refresh tokens and an application's secret right after.
func TestRefreshEndsAtOnce(t *testing.T) {
	cloud := entrancetest.Start(t)
	refresh := func(a refreshed, scope string) refreshed {
		return redeem(t, cloud, url.Values{"grant_type": {"refresh_token"}, "client_id": {string(directory.AzureCLI)}, "refresh_token": {a.Refresh}, "scope": {scope}})
	}
	ways := []struct {
		name   string
		codes  []int
		revoke func(u entrancetest.User)
	}{
		{"disabled", []int{50057}, func(u entrancetest.User) {
			cloud.Graph(t, http.MethodPatch, "/users/"+u.ID, map[string]any{"accountEnabled": false}, nil)
		}},
		{"sessions revoked", []int{50173}, func(u entrancetest.User) {
			cloud.Graph(t, http.MethodPost, "/users/"+u.ID+"/revokeSignInSessions", nil, nil)
		}},
		{"password reset", []int{50173}, func(u entrancetest.User) {
			cloud.Graph(t, http.MethodPatch, "/users/"+u.ID, map[string]any{"passwordProfile": map[string]any{"password": "New-" + directory.NewGUID(), "forceChangePasswordNextSignIn": false}}, nil)
		}},
		{"deleted", []int{50034, 50173, 70000, 700082, 700003}, func(u entrancetest.User) {
			cloud.Graph(t, http.MethodDelete, "/users/"+u.ID, nil, nil)
		}},
	}
	for i := range 10 {
		way := ways[i%len(ways)]
		u := cloud.AddUser(t, fmt.Sprintf("user%d", i))
		first := redeem(t, cloud, url.Values{
			"grant_type": {"password"}, "client_id": {string(directory.AzureCLI)}, "username": {u.UserPrincipalName}, "password": {u.Password},
			"scope": {cloud.ARMScope() + " offline_access"},
		})
		second := refresh(first, cloud.AKSScope())
		if second.Access == "" || first.Refresh == "" {
			t.Fatalf("before: %+v %+v", first.Codes, second.Codes)
		}
		way.revoke(u)
		if a := refresh(first, cloud.AKSScope()); a.Access != "" || a.Error != "invalid_grant" || !contains(way.codes, a.Codes) {
			t.Errorf("%s: token %v, %s %v, want invalid_grant with one of %v", way.name, a.Access != "", a.Error, a.Codes, way.codes)
		}
	}

	app := cloud.AddApp(t, "robot")
	cloud.AppToken(t, app, cloud.AKSScope())
	var doc struct{ PasswordCredentials []struct{ KeyID string } }
	cloud.Graph(t, http.MethodGet, "/applications/"+app.ObjectID, nil, &doc)
	for _, c := range doc.PasswordCredentials {
		cloud.Graph(t, http.MethodPost, "/applications/"+app.ObjectID+"/removePassword", map[string]any{"keyId": c.KeyID}, nil)
	}
	a := redeem(t, cloud, url.Values{"grant_type": {"client_credentials"}, "client_id": {app.ClientID}, "client_secret": {app.ClientSecret}, "scope": {cloud.AKSScope()}})
	if a.Access != "" || a.Error != "invalid_client" {
		t.Errorf("deleted secret: token %v, %s %v", a.Access != "", a.Error, a.Codes)
	}
}

// refreshed is an answer with a refresh token.
type refreshed struct {
	answer
	Refresh string `json:"refresh_token"`
}

func contains(want, got []int) bool {
	for _, w := range want {
		for _, g := range got {
			if w == g {
				return true
			}
		}
	}
	return false
}

func redeem(t *testing.T, cloud *entrancetest.Cloud, form url.Values) refreshed {
	t.Helper()
	var a refreshed
	form2json(t, cloud, "/oauth2/v2.0/token", form, &a)
	return a
}
