package graph

import (
	"fmt"
	"testing"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

const (
	benchUsers  = 100_000
	benchGroups = 10_000
)

// fill adds users user000000... and groups group00000..., 100 members in the
// first of them.
func (w *world) fill(users, groups int) {
	w.t.Helper()
	const chunk = 50
	for first := 0; first < users; first += chunk {
		w.update(func(tx *store.Tx) error {
			for i := first; i < min(first+chunk, users); i++ {
				u := &directory.User{
					Tenant: tenantID, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: fmt.Sprintf("user%06d@%s", i, domain), DisplayName: fmt.Sprintf("User %06d", i),
					MailNickname: fmt.Sprintf("user%06d", i), Mail: fmt.Sprintf("user%06d@mail.example", i), Enabled: i%10 != 0, Created: w.clock.Now(),
				}
				if err := state.Users.Create(tx, u); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for first := 0; first < groups; first += chunk {
		w.update(func(tx *store.Tx) error {
			for i := first; i < min(first+chunk, groups); i++ {
				g := &directory.Group{Tenant: tenantID, ID: directory.ObjectID(directory.NewGUID()), DisplayName: fmt.Sprintf("Group %05d", i), MailNickname: fmt.Sprintf("g%05d", i), SecurityEnabled: true, Created: w.clock.Now()}
				if err := state.Groups.Create(tx, g); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// BenchmarkGraph measures whole requests, in process, over 100,000 users and
// 10,000 groups.
func BenchmarkGraph(b *testing.B) {
	w := newWorld(b)
	w.fill(benchUsers, benchGroups)
	u, err := state.FindUser(w.store.View(), tenantID, "user050000@"+domain)
	if err != nil {
		b.Fatal(err)
	}
	g, ok := state.Groups.First(w.store.View(), "name", string(tenantID)+"/group 05000")
	if !ok {
		b.Fatal("no group")
	}
	w.update(func(tx *store.Tx) error {
		return state.Link(tx, directory.Member, tenantID, g.ID, u.ID)
	})
	// The last page: what a client that pages through everybody asks for last.
	last := ""
	for id := range state.Users.AllPrefix(w.store.View(), string(tenantID)+"/f") {
		last = string(id.ID)
	}
	deep := wire.PageToken(last[:8])
	for _, bench := range []struct{ name, method, path string }{
		{"get user", "GET", "users/" + string(u.ID)},
		{"get user by name", "GET", "users/user050000@" + domain},
		{"list 100 users", "GET", "users"},
		{"list 999 users", "GET", "users?$top=999"},
		{"list the last page", "GET", "users?$skiptoken=" + deep},
		{"filter name eq (indexed)", "GET", "users?$filter=userPrincipalName eq 'user050000@" + domain + "'"},
		{"filter name startswith (indexed)", "GET", "users?$filter=startswith(userPrincipalName,'user05')"},
		{"filter displayName eq", "GET", "users?$filter=displayName eq 'User 050000'"},
		{"filter disabled", "GET", "users?$filter=accountEnabled eq false"},
		{"filter contains, counted", "GET", "users?$filter=contains(mail,'5000')&$count=true"},
		{"order by displayName", "GET", "users?$orderby=displayName"},
		{"search", "GET", "users?$search=%22displayName:050000%22"},
		{"count users", "GET", "users/$count"},
		{"filter group name eq (indexed)", "GET", "groups?$filter=displayName eq 'Group 05000'"},
		{"filter group startswith (indexed)", "GET", "groups?$filter=startswith(displayName,'group 05')"},
		{"filter group description", "GET", "groups?$filter=description eq 'x'"},
		{"members", "GET", "groups/" + string(g.ID) + "/members"},
		{"transitiveMemberOf", "GET", "users/" + string(u.ID) + "/transitiveMemberOf"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			w.t = b
			b.ReportAllocs()
			for b.Loop() {
				w.do("admin", bench.method, bench.path, nil, "ConsistencyLevel", "eventual").want(200)
			}
		})
	}
	b.Run("add and remove a member", func(b *testing.B) {
		w.t = b
		for b.Loop() {
			w.do("admin", "POST", "groups/"+string(g.ID)+"/members/$ref", ref(string(w.admin))).want(204)
			w.do("admin", "DELETE", "groups/"+string(g.ID)+"/members/"+string(w.admin)+"/$ref", nil).want(204)
		}
	})
}

// BenchmarkAuthorize measures what every request pays for the decision.
func BenchmarkAuthorize(b *testing.B) {
	s := &wire.Standing{Caller: Caller{Scopes: []string{"openid", "profile", wire.AsUser}}, Directory: []string{directory.UserAdministrator}}
	for b.Loop() {
		if !usersWrite.Decide(s, wire.Relation{}) {
			b.Fatal("refused")
		}
	}
}
