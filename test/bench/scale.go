package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// The size of the directory that measureScale loads.
const (
	scaleUsers  = 100_000
	scaleGroups = 10_000 // of ten members each
	scaleGrants = 100_000
)

// measureScale fills the store of a stopped cloud, starts it, and measures what
// that takes, and Graph over HTTP in it. The store is an etcd of its own, so
// that the server's memory is the server's alone.
func measureScale(ctx context.Context, r *run) error {
	home, err := os.MkdirTemp("", "entrance-bench-")
	if err != nil {
		return err
	}
	c := &cloud{run: r, home: home}
	stop, err := c.etcd(ctx)
	if err != nil {
		return errors.Join(err, os.RemoveAll(home))
	}
	_, err = c.up(ctx, "--no-cluster", "--etcd-endpoints", c.endpoint())
	if err == nil {
		err = c.measureScale(ctx)
	}
	err = errors.Join(err, c.down(context.WithoutCancel(ctx)))
	stop()
	return errors.Join(err, os.RemoveAll(home))
}

func (c *cloud) endpoint() string { return fmt.Sprintf("http://127.0.0.1:%d", c.run.base+8) }

// etcd starts an etcd and returns what stops it.
func (c *cloud) etcd(ctx context.Context) (stop func(), err error) {
	peer := fmt.Sprintf("http://127.0.0.1:%d", c.run.base+9)
	cmd := exec.Command(filepath.Join(c.run.bin, "entrance-kube"), "etcd", "--data-dir", filepath.Join(c.home, "etcd"), "--log-level", "error",
		"--listen-client-urls", c.endpoint(), "--advertise-client-urls", c.endpoint(), "--listen-peer-urls", peer,
		"--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer,
		"--max-txn-ops", "10000", "--max-request-bytes", "10485760", "--quota-backend-bytes", "8589934592", "--unsafe-no-fsync")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() { cmd.Process.Kill(); cmd.Wait() }
	for range 200 {
		time.Sleep(50 * time.Millisecond)
		res, err := http.Get(c.endpoint() + "/health")
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return stop, nil
			}
		}
		if ctx.Err() != nil {
			break
		}
	}
	stop()
	return nil, errors.New("etcd does not get healthy")
}

func (c *cloud) measureScale(ctx context.Context) error {
	if err := c.down(ctx); err != nil {
		return err
	}
	if err := c.fill(ctx); err != nil {
		return err
	}
	var starts []time.Duration
	var memory []float64
	for i := range 3 {
		took, err := c.up(ctx, "--no-cluster", "--etcd-endpoints", c.endpoint())
		if err != nil {
			return err
		}
		time.Sleep(3 * time.Second) // what loading needed is given back
		m, err := c.memory()
		if err != nil {
			return err
		}
		starts, memory = append(starts, took), append(memory, m)
		if i < 2 {
			if err := c.down(ctx); err != nil {
				return err
			}
		}
	}
	c.run.add("scale/start-warm", seconds(starts), "s")
	c.run.add("scale/server-memory", median(memory), "MiB")
	graph, err := c.appToken("https://graph.microsoft.com/.default")
	if err != nil {
		return err
	}
	for _, q := range []struct{ name, path string }{
		{"get-user", "/users/" + scaleUPN(50_000)},
		{"list-100", "/users"},
		{"list-999", "/users?$top=999"},
		{"filter-name-eq", "/users?$filter=" + url.QueryEscape("userPrincipalName eq '"+scaleUPN(50_000)+"'")},
		{"filter-name-startswith", "/users?$filter=" + url.QueryEscape("startswith(userPrincipalName,'user05')")},
		{"filter-display-name-eq", "/users?$filter=" + url.QueryEscape("displayName eq 'User 050000'")},
		{"filter-contains-counted", "/users?$count=true&$filter=" + url.QueryEscape("contains(mail,'5000')")},
		{"order-by-display-name", "/users?$orderby=displayName"},
		{"count-groups", "/groups?$count=true&$top=1"},
		{"filter-group-name-eq", "/groups?$filter=" + url.QueryEscape("displayName eq 'Group 05000'")},
	} {
		var took []float64
		for range 21 {
			start := time.Now()
			if err := c.call(ctx, http.MethodGet, c.status.Endpoints.Graph+"/v1.0"+q.path, graph, nil, nil); err != nil {
				return err
			}
			took = append(took, float64(time.Since(start).Microseconds())/1000)
		}
		c.run.add("scale/graph-"+q.name, median(took), "ms")
	}
	heap, err := c.metric("go_memstats_heap_alloc_bytes")
	if err != nil {
		return err
	}
	c.run.add("scale/server-heap", heap/(1<<20), "MiB")
	m, err := c.memory()
	c.run.add("scale/server-memory-after-queries", m, "MiB")
	return err
}

func scaleUPN(i int) string { return fmt.Sprintf("user%06d@contoso.test", i) }

func scaleID(kind, i int) directory.ObjectID {
	return directory.ObjectID(fmt.Sprintf("%08x-%04x-4000-8000-%012x", uint32(i*2654435761), kind, i))
}

// fill writes the directory into the store, past the server: over Graph it
// would take longer than all other measurements together.
func (c *cloud) fill(ctx context.Context) error {
	paths := server.Paths{Dir: c.data()}
	raw, err := os.ReadFile(paths.SealKey())
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Config{Endpoints: []string{c.endpoint()}, SealKey: [32]byte(raw)}, state.Tables()...)
	if err != nil {
		return err
	}
	tenant, now := c.status.TenantID, time.Now()
	chunks := func(n int, each func(tx *store.Tx, i int) error) error {
		const chunk = 500
		for first := 0; first < n; first += chunk {
			if err := s.Update(ctx, func(tx *store.Tx) error {
				for i := first; i < min(first+chunk, n); i++ {
					if err := each(tx, i); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				return err
			}
		}
		return nil
	}
	err = chunks(scaleUsers, func(tx *store.Tx, i int) error {
		return state.Users.Create(tx, &directory.User{
			Tenant: tenant, ID: scaleID(1, i), UserPrincipalName: scaleUPN(i), DisplayName: fmt.Sprintf("User %06d", i),
			MailNickname: fmt.Sprintf("user%06d", i), Mail: fmt.Sprintf("user%06d@mail.example", i), Enabled: true, Created: now,
		})
	})
	if err == nil {
		err = chunks(scaleGroups, func(tx *store.Tx, i int) error {
			return state.Groups.Create(tx, &directory.Group{
				Tenant: tenant, ID: scaleID(2, i), DisplayName: fmt.Sprintf("Group %05d", i), MailNickname: fmt.Sprintf("g%05d", i), SecurityEnabled: true, Created: now,
			})
		})
	}
	if err == nil {
		err = chunks(scaleUsers, func(tx *store.Tx, i int) error {
			return state.Links.Create(tx, &directory.Link{Tenant: tenant, Kind: directory.Member, From: scaleID(2, i/10), To: scaleID(1, i)})
		})
	}
	if err == nil {
		err = chunks(scaleGrants, func(tx *store.Tx, i int) error {
			return state.AccessAssignments.Create(tx, &state.AccessAssignment{
				Tenant: tenant, Name: string(scaleID(3, i)), Role: rbacReader, Principal: scaleID(1, i), PrincipalType: "User", Created: now, Updated: now,
				Scope: fmt.Sprintf("/subscriptions/%s/resourceGroups/rg%d/providers/Microsoft.ContainerService/managedClusters/c%d", c.status.SubscriptionID, i%200, i%1000),
			})
		})
	}
	return errors.Join(err, s.Close())
}
