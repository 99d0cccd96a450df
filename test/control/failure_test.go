package control_test

import (
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCreateFails lets the API server of a new cluster die again and again: the
// operation fails and says so, and nothing of the cluster is left, neither here
// nor in the directory. The name is free.
func TestCreateFails(t *testing.T) {
	identities := func() int {
		var list struct{ Value []struct{ ID string } }
		graph(t, http.MethodGet, "/servicePrincipals?$filter=servicePrincipalType%20eq%20'ManagedIdentity'&$select=id", nil, &list)
		return len(list.Value)
	}
	before := identities()
	c := &cluster{t, "/subscriptions/" + cloud.status.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/fails"}
	a := c.call(http.MethodPut, "", clusterBody(nil))
	stop, stopped := make(chan struct{}), make(chan struct{})
	killed := 0
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			list, err := components("kube-apiserver")
			if err != nil {
				t.Error(err)
				return
			}
			for _, p := range list {
				if syscall.Kill(p.pid, syscall.SIGKILL) == nil {
					killed++
				}
			}
		}
	}()
	op := c.follow(a)
	close(stop)
	<-stopped
	if op.Status != "Failed" || op.Error.Code != "CreateFailed" || !strings.HasPrefix(op.Properties.Outcome, "Undone") {
		t.Errorf("after %d kills the operation is %+v", killed, op)
	}
	if got := c.call(http.MethodGet, "", nil); got.code != http.StatusNotFound {
		t.Errorf("the cluster: HTTP %d %s", got.code, got.raw)
	}
	nothingLeft(t)
	if now := identities(); now != before {
		t.Errorf("%d managed identities, before %d", now, before)
	}
	again := newCluster(t, "fails", nil)
	if who := again.whoami(again.admin()); who.Username != "masterclient" {
		t.Errorf("the cluster of that name that was made then: %+v", who)
	}
}
