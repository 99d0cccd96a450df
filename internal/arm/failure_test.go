package arm_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
)

func TestClusterFailures(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := g + "/providers/Microsoft.ContainerService/managedClusters/web"
	broken := errs.New(errs.Unavailable, "The API server does not come up.")
	w.fake.set(nil, func(arm.ClusterSpec) error { return broken })
	principals := func() (n int) {
		for sp := range state.ServicePrincipals.All(w.store.View()) {
			if sp.Type == "ManagedIdentity" {
				n++
			}
		}
		return n
	}

	s := w.finish(w.olga, w.call(w.olga, "PUT", id, clusterBody(nil)).want(201))
	if s.text("status") != "Failed" || s.text("error.message") != "The API server does not come up." || !strings.HasPrefix(s.text("properties.outcome"), "Undone") {
		t.Fatalf("%s", s.raw)
	}
	w.call(w.olga, "GET", id, nil).refused(404, "ResourceNotFound")
	if len(w.fake.deleted) != 1 || principals() != 0 {
		t.Errorf("half a cluster is left: deleted %v, %d identities", w.fake.deleted, principals())
	}

	w.fake.set(nil, nil)
	w.newCluster(g, "web", clusterBody(object{"managed": true, "adminGroupObjectIDs": []string{string(w.group)}}))
	before := w.call(w.olga, "GET", id, nil).want(200)
	good := w.fake.last(t)
	w.fake.set(nil, func(s arm.ClusterSpec) error {
		if s.CertificateGeneration > 0 || len(s.Entra.AdminGroups) == 0 {
			return broken
		}
		return nil
	})
	body := clusterBody(object{"managed": true, "adminGroupObjectIDs": []string{}})
	s = w.finish(w.olga, w.call(w.olga, "PUT", id, body).want(200))
	if s.text("status") != "Failed" || s.text("properties.outcome") != "Undone: the cluster is what it was before." {
		t.Fatalf("%s", s.raw)
	}
	after := w.call(w.olga, "GET", id, nil).want(200)
	if got := after.get("properties.aadProfile.adminGroupObjectIDs.0"); got != string(w.group) || after.text("properties.provisioningState") != "Succeeded" {
		t.Errorf("not undone: %s", after.raw)
	}
	if rec := w.record(id); len(rec.AdminGroups) != 1 {
		t.Errorf("the record is not undone: %+v", rec)
	}
	if now := w.fake.last(t); len(now.Entra.AdminGroups) != 1 || now.Key != good.Key {
		t.Errorf("the cluster is not undone: %+v", now)
	}
	if before.text("properties.fqdn") != after.text("properties.fqdn") || principals() != 2 {
		t.Error("something else has changed")
	}
	s = w.finish(w.olga, w.call(w.olga, "POST", id+"/rotateClusterCertificates", nil).want(202))
	if s.text("status") != "Failed" || w.fake.last(t).CertificateGeneration != 0 {
		t.Fatalf("%s", s.raw)
	}
}

// TestCrash kills the process in the middle of a create, an update and a
// delete. After the restart each is finished, and says so.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	id := g + "/providers/Microsoft.ContainerService/managedClusters/web"
	steps := []struct {
		name string
		do   func() *answer
	}{
		{"create", func() *answer { return w.call(w.olga, "PUT", id, clusterBody(object{"managed": true})).want(201) }},
		{"update", func() *answer {
			return w.call(w.olga, "PUT", id, clusterBody(object{"managed": true, "enableAzureRBAC": true})).want(200)
		}},
	}
	for _, step := range steps {
		w.fake.set(make(chan struct{}), nil) // never ends
		a := step.do()
		w.waitFor(func() bool {
			s := w.call(w.olga, "GET", strings.TrimPrefix(a.header.Get("Azure-Asyncoperation"), baseURL), nil)
			return s.text("status") == "InProgress"
		})
		w.waitFor(w.fake.waiting)
		w.fake.set(nil, nil)
		w.restart()
		s := w.finish(w.olga, a)
		if s.text("status") != "Succeeded" || s.text("properties.outcome") != "Finished after an interruption." {
			t.Fatalf("%s: %s", step.name, s.raw)
		}
		if got := w.call(w.olga, "GET", id, nil).want(200).text("properties.provisioningState"); got != "Succeeded" {
			t.Errorf("%s: provisioningState %s", step.name, got)
		}
	}
	if !w.record(id).AzureRBAC {
		t.Error("the update is lost")
	}
	specs, err := w.service.Specs(w.store.View())
	if err != nil || len(specs) != 1 || specs[0].ID != id || specs[0].Entra == nil {
		t.Errorf("specs %+v %v", specs, err)
	}

	w.fake.set(make(chan struct{}), nil)
	a := w.call(w.olga, "DELETE", id, nil).want(202)
	w.waitFor(w.fake.waiting)
	w.fake.set(nil, nil)
	w.restart()
	// A server that starts does not start what is being deleted.
	if op := w.finish(w.olga, a); op.text("status") != "Succeeded" {
		t.Fatalf("delete: %s", op.raw)
	}
	w.call(w.olga, "GET", id, nil).refused(404, "ResourceNotFound")
	if specs, err := w.service.Specs(w.store.View()); err != nil || len(specs) != 0 || len(w.fake.running()) != 0 {
		t.Errorf("specs %+v %v", specs, err)
	}
}

// TestCrashThenFailure: what cannot be finished after the restart is undone, and
// says so: a create leaves nothing, an update what was before.
func TestCrashThenFailure(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	interrupted := func(id string, body object, status int, failure func(arm.ClusterSpec) error) *answer {
		t.Helper()
		w.fake.set(make(chan struct{}), nil) // never ends
		a := w.call(w.olga, "PUT", id, body).want(status)
		at := strings.TrimPrefix(a.header.Get("Azure-Asyncoperation"), baseURL)
		w.waitFor(func() bool { return w.call(w.olga, "GET", at, nil).text("status") == "InProgress" })
		w.waitFor(w.fake.waiting)
		w.fake.set(nil, failure)
		w.restart()
		return w.finish(w.olga, a)
	}
	broken := errs.New(errs.Unavailable, "The API server does not come up.")
	id := g + "/providers/Microsoft.ContainerService/managedClusters/web"
	s := interrupted(id, clusterBody(object{"managed": true}), 201, func(arm.ClusterSpec) error { return broken })
	if s.text("status") != "Failed" || s.text("error.code") != "CreateFailed" || s.text("properties.outcome") != "Undone: nothing of the cluster is left." {
		t.Errorf("create: %s", s.raw)
	}
	w.call(w.olga, "GET", id, nil).refused(404, "ResourceNotFound")
	if specs, err := w.service.Specs(w.store.View()); err != nil || len(specs) != 0 || len(w.fake.running()) != 0 {
		t.Errorf("specs %+v %v", specs, err)
	}

	w.fake.set(nil, nil)
	w.newCluster(g, "web", clusterBody(object{"managed": true, "adminGroupObjectIDs": []string{string(w.group)}}))
	s = interrupted(id, clusterBody(object{"managed": true, "adminGroupObjectIDs": []string{}}), 200, func(s arm.ClusterSpec) error {
		if len(s.Entra.AdminGroups) == 0 {
			return broken
		}
		return nil
	})
	if s.text("status") != "Failed" || s.text("error.code") != "UpdateFailed" || s.text("properties.outcome") != "Undone: the cluster is what it was before." {
		t.Errorf("update: %s", s.raw)
	}
	if got := w.call(w.olga, "GET", id, nil).want(200).get("properties.aadProfile.adminGroupObjectIDs.0"); got != string(w.group) || len(w.record(id).AdminGroups) != 1 {
		t.Errorf("the update is not undone: %v", got)
	}
}

func (w *world) waitFor(ok func() bool) {
	w.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatal("it does not happen")
		}
	}
}

// TestOperationAccess: an operation is told to who has started it, and to who
// may read what it is about.
func TestOperationAccess(t *testing.T) {
	w := newWorld(t)
	g := w.newResourceGroup("rg")
	a := w.call(w.olga, "PUT", g+"/providers/Microsoft.ContainerService/managedClusters/web", clusterBody(nil)).want(201)
	w.finish(w.olga, a)
	at := strings.TrimPrefix(a.header.Get("Azure-Asyncoperation"), baseURL)
	w.call(w.nina, "GET", at, nil).refused(404, "OperationNotFound")
	w.call(w.nina, "GET", strings.Replace(at, "/operations/", "/operationresults/", 1), nil).refused(404, "OperationNotFound")
	w.assign(w.nina, reader, g)
	w.call(w.nina, "GET", at, nil).want(200)
}

// TestConcurrentUpdates: of many updates at once one is accepted, and the others
// are told to wait.
func TestConcurrentUpdates(t *testing.T) {
	w := newWorld(t)
	id := w.newCluster(w.newResourceGroup("rg"), "web", clusterBody(object{"managed": true}))
	hold := make(chan struct{})
	w.fake.set(hold, nil)
	answers := make([]*answer, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = w.call(w.olga, "PUT", id, clusterBody(object{"managed": true})) })
	}
	wg.Wait()
	close(hold)
	accepted := 0
	for _, a := range answers {
		if a.status == 200 {
			accepted++
			w.finish(w.olga, a)
			continue
		}
		a.refused(409, "OperationNotAllowed")
	}
	if accepted != 1 {
		t.Errorf("%d updates are accepted", accepted)
	}
}
