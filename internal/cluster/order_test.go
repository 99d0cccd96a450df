package cluster

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/cluster/proc"
)

// TestStopOrder runs stand-ins for all processes (see fakeChild) and reads in
// which order they were told to stop and ended.
func TestStopOrder(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	m, err := Open(t.Context(), Config{Dir: t.TempDir(), Binary: os.Args[0], Clock: clock.Func(time.Now), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	dir := t.TempDir()
	etcd, err := m.start(proc.Command{Name: etcdChild, Dir: dir, Log: filepath.Join(dir, "etcd.log")})
	if err != nil {
		t.Fatal(err)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	m.etcd = &sharedEtcd{child: etcd, client: client}
	c, err := m.Load(t.Context(), Spec{
		Key: "k", ARMID: "/subscriptions/s/resourceGroups/g/providers/Microsoft.ContainerService/managedClusters/c", Location: "x",
	})
	if err != nil {
		t.Fatal(err)
	}
	all := []string{apiserver, kcm, scheduler, nodesChild}
	p := &plan{}
	for _, name := range all {
		if err := c.startChild(p, component{name: name}, map[string]bool{name: true}); err != nil {
			t.Fatal(err)
		}
	}
	events := func() []string {
		data, _ := os.ReadFile(filepath.Join(tmp, "events"))
		return strings.Fields(string(data))
	}
	for deadline := time.Now().Add(10 * time.Second); len(events()) < 5; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("started: %q", events())
		}
	}
	m.Stop()
	got := events()
	at := func(what string) int {
		i := slices.Index(got, what)
		if i < 0 {
			t.Fatalf("%s is not in %q", what, got)
		}
		return i
	}
	for _, name := range []string{kcm, scheduler, nodesChild} {
		if at("gone:"+name) > at("told:"+apiserver) {
			t.Errorf("the API server was told to stop before %s had ended: %q", name, got)
		}
	}
	if at("gone:"+apiserver) > at("told:"+etcdChild) {
		t.Errorf("etcd was told to stop before the API server had ended: %q", got)
	}
	at("gone:" + etcdChild)
}
