package policy_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/directory"
)

// api is a cluster's API server, asked as kubectl asks it.
type api struct {
	client *http.Client
	base   string
}

func newAPI(t *testing.T, k *entrancetest.Cluster) *api {
	t.Helper()
	raw, err := os.ReadFile(k.UserKubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.Load(raw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, c := range config.Clusters {
		pool.AppendCertsFromPEM(c.CertificateAuthorityData)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	return &api{&http.Client{Transport: tr, Timeout: 10 * time.Second}, k.Server}
}

// get returns the status and Kubernetes' message.
func (a *api) get(t *testing.T, token, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, a.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := a.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var status struct{ Message string }
	_ = json.Unmarshal(raw, &status) // what is no Status has no message
	return res.StatusCode, status.Message
}

// refused waits until a request is refused, as soon as the API server's own
// memory of its last answer allows.
func (a *api) refused(t *testing.T, what, token, path string) {
	t.Helper()
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		status, _ := a.get(t, token, path)
		if status == http.StatusForbidden || status == http.StatusUnauthorized {
			return
		}
		if time.Since(start) > within {
			t.Errorf("%s: still HTTP %d after %v", what, status, within)
			return
		}
	}
}

// TestRevocationOnCluster takes the access of ten people and an application away
// in every way that there is, where bindings of Kubernetes itself would go on
// allowing them, and then lets those in who may sign in again.
func TestRevocationOnCluster(t *testing.T) {
	cloud := entrancetest.Start(t)
	k := cloud.StartCluster(t, entrancetest.ClusterOptions{})
	a := newAPI(t, k)
	const path = "/api/v1/namespaces/default/pods"
	bind := func(kind, name string) {
		t.Helper()
		if out, err := k.Kubectl(t, "", "create", "clusterrolebinding", directory.NewGUID(), "--clusterrole=view", "--"+kind+"="+name); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	temporary := cloud.AddGroup(t, "temporary")
	bind("group", temporary.ID)
	const base = "/identityGovernance/privilegedAccess/group/assignmentScheduleRequests"
	assign := func(u entrancetest.User, action string) {
		cloud.Graph(t, http.MethodPost, base, map[string]any{
			"action": action, "accessId": "member", "groupId": temporary.ID, "principalId": u.ID, "justification": "INC-1",
			"scheduleInfo": map[string]any{"expiration": map[string]any{"type": "afterDuration", "duration": "PT1H"}},
		}, nil)
	}

	ways := []struct {
		name   string
		bound  bool // by name; else through the group
		again  bool // may sign in again, and is let in then
		revoke func(u *entrancetest.User)
	}{
		{"disabled", true, false, func(u *entrancetest.User) {
			cloud.Graph(t, http.MethodPatch, "/users/"+u.ID, map[string]any{"accountEnabled": false}, nil)
		}},
		{"sessions revoked", true, true, func(u *entrancetest.User) {
			cloud.Graph(t, http.MethodPost, "/users/"+u.ID+"/revokeSignInSessions", nil, nil)
		}},
		{"password reset", true, true, func(u *entrancetest.User) {
			u.Password = "New-" + directory.NewGUID()
			cloud.Graph(t, http.MethodPatch, "/users/"+u.ID, map[string]any{"passwordProfile": map[string]any{"password": u.Password, "forceChangePasswordNextSignIn": false}}, nil)
		}},
		{"deleted", true, false, func(u *entrancetest.User) { cloud.Graph(t, http.MethodDelete, "/users/"+u.ID, nil, nil) }},
		{"temporary membership ended", false, false, func(u *entrancetest.User) { assign(*u, "adminRemove") }},
	}
	for i := range 10 {
		way := ways[i%len(ways)]
		what := fmt.Sprintf("%s, user %d", way.name, i)
		u := cloud.AddUser(t, fmt.Sprintf("user%d", i))
		if way.bound {
			bind("user", u.UserPrincipalName)
		} else {
			assign(u, "adminAssign")
		}
		token := cloud.UserToken(t, u, cloud.AKSScope())
		if status, message := a.get(t, token, path); status != http.StatusOK {
			t.Errorf("%s: HTTP %d %s before", what, status, message)
			continue
		}
		way.revoke(&u)
		revoked := time.Now()
		a.refused(t, what, token, path)
		if !way.again {
			continue
		}
		// A token's times are in whole seconds: one of the same second counts as
		// from before.
		time.Sleep(time.Until(revoked.Add(time.Second)))
		if status, message := a.get(t, cloud.UserToken(t, u, cloud.AKSScope()), path); status != http.StatusOK {
			t.Errorf("%s: HTTP %d %s with a token from since, want in at once", what, status, message)
		}
		if status, _ := a.get(t, token, path); status == http.StatusOK {
			t.Errorf("%s: the old token is let in beside the new", what)
		}
	}

	app := cloud.AddApp(t, "robot")
	bind("user", app.ServicePrincipalID)
	token := cloud.AppToken(t, app, cloud.AKSScope())
	var second struct{ SecretText string }
	cloud.Graph(t, http.MethodPost, "/applications/"+app.ObjectID+"/addPassword", map[string]any{}, &second)
	if status, message := a.get(t, token, path); status != http.StatusOK {
		t.Fatalf("application: HTTP %d %s before", status, message)
	}
	var doc struct {
		PasswordCredentials []struct{ KeyID, Hint string }
	}
	cloud.Graph(t, http.MethodGet, "/applications/"+app.ObjectID, nil, &doc)
	for _, c := range doc.PasswordCredentials {
		if c.Hint == app.ClientSecret[:3] {
			cloud.Graph(t, http.MethodPost, "/applications/"+app.ObjectID+"/removePassword", map[string]any{"keyId": c.KeyID}, nil)
		}
	}
	a.refused(t, "secret deleted", token, path)
	app.ClientSecret = second.SecretText
	if status, message := a.get(t, cloud.AppToken(t, app, cloud.AKSScope()), path); status != http.StatusOK {
		t.Errorf("the other secret: HTTP %d %s", status, message)
	}
}
