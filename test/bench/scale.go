package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
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
// that takes, and Graph over HTTP in it.
func measureScale(ctx context.Context, r *run) error {
	c, err := newCloud(ctx, r, "--no-cluster")
	if err != nil {
		return err
	}
	return errors.Join(c.measureScale(ctx), c.close())
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
		took, err := c.up(ctx, "--no-cluster")
		if err != nil {
			return err
		}
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
	s, err := store.Open(ctx, store.Config{Dir: paths.Store(), SealKey: [32]byte(raw), UnsafeNoFsync: true}, state.Tables()...)
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
