package entrancetest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
)

func TestCloud(t *testing.T) {
	cloud := entrancetest.Start(t)
	ann := cloud.AddUser(t, "ann")
	inner := cloud.AddGroup(t, "inner", ann.ID)
	cloud.AddGroup(t, "outer: with @ and space", inner.ID)
	var groups struct {
		Value []struct{ DisplayName string }
	}
	cloud.Graph(t, http.MethodGet, "/users/"+ann.ID+"/transitiveMemberOf", nil, &groups)
	if len(groups.Value) != 2 {
		t.Errorf("groups of ann: %+v", groups.Value)
	}
	if token := cloud.UserToken(t, ann, cloud.ARMScope()); strings.Count(token, ".") != 2 {
		t.Errorf("token of a user: %q", token)
	}
	app := cloud.AddApp(t, "ci")
	if token := cloud.AppToken(t, app, cloud.GraphScope()); strings.Count(token, ".") != 2 {
		t.Errorf("token of an application: %q", token)
	}
}

func TestCluster(t *testing.T) {
	cloud := entrancetest.Start(t)
	ann := cloud.AddUser(t, "ann")
	admins := cloud.AddGroup(t, "admins")
	cluster := cloud.StartCluster(t, entrancetest.ClusterOptions{AdminGroups: []string{admins.ID}})

	if out, err := cluster.Kubectl(t, "", "get", "nodes"); err != nil || !strings.Contains(out, "Ready") {
		t.Fatalf("administrator: %v\n%s", err, out)
	}
	token := cloud.UserToken(t, ann, cloud.AKSScope())
	out, err := cluster.Kubectl(t, token, "get", "nodes")
	if want := `User "ann@` + cloud.Domain + `" cannot list resource "nodes"`; err == nil || !strings.Contains(out, want) {
		t.Fatalf("ann: %v\n%s", err, out)
	}
	// The same token, once ann is an administrator.
	cloud.AddMember(t, admins, ann.ID)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if out, err = cluster.Kubectl(t, token, "get", "nodes"); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("ann, as an administrator: %v\n%s", err, out)
		}
	}
}
