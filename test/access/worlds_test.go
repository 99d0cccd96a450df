// Package access_test asks a whole cloud about access: every world of
// test/worlds/access through every API that answers about it.
package access_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/rbac/worlds"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// auditor is who asks Resource Manager about others.
const auditor directory.ObjectID = "aaaaaaaa-0000-4000-8000-00000000000a"

// cloud is a running cloud that holds one world.
type cloud struct {
	t       *testing.T
	world   *worlds.World
	dir     string
	server  *server.Server
	keeper  *access.Keeper
	arm     http.Handler
	clients map[string]*http.Client // by key of the cluster
}

func start(t *testing.T, w *worlds.World) *cloud {
	t.Helper()
	// The cloud starts by the machine's clock, for its certificates must hold,
	// and is then put to the time of the world.
	var skew atomic.Int64
	now := clock.Func(func() time.Time { return time.Now().Add(time.Duration(skew.Load())) })
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s, err := server.Start(t.Context(), server.Config{DataDir: dir, Clock: now, UnsafeNoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	c := &cloud{t: t, world: w, dir: dir, server: s, clients: map[string]*http.Client{}}
	if err := s.Store().Update(t.Context(), c.load); err != nil {
		t.Fatal(err)
	}
	for name := range w.Clusters {
		c.clients[name] = c.connect(name)
	}
	skew.Store(int64(time.Until(w.Time())))
	if c.keeper, err = access.New(s.Store(), now, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.keeper.Close)
	c.arm = arm.New(arm.Config{
		Store: s.Store(), Access: c.keeper, Clock: now, BaseURL: s.Status().Endpoints.ARM,
		Authenticate: func(*http.Request) (arm.Caller, error) {
			return arm.Caller{Tenant: w.Tenant(), ID: auditor, Issued: now()}, nil
		},
	})
	return c
}

// load writes the world into the store.
func (c *cloud) load(tx *store.Tx) error {
	w, tenant := c.world, c.world.Tenant()
	var fail error
	must := func(err error) {
		if fail == nil {
			fail = err
		}
	}
	must(state.CreateTenant(tx, &directory.Tenant{ID: tenant, Domains: []directory.Domain{{Name: "contoso.example", Default: true}}}))
	must(state.CreateUser(tx, &directory.User{Tenant: tenant, ID: auditor, UserPrincipalName: "the-auditor@contoso.example", Enabled: true}))
	must(state.AccessAssignments.Create(tx, &state.AccessAssignment{Tenant: tenant, Name: directory.NewGUID(), Scope: "/", Role: builtIn("Owner"), Principal: auditor, PrincipalType: rbac.User}))
	id := func(name string) directory.ObjectID {
		v, err := w.ObjectID(name)
		must(err)
		return v
	}
	for name, u := range w.Users {
		upn := u.UPN
		if upn == "" {
			upn = name + "@contoso.example"
		}
		must(state.Users.Create(tx, &directory.User{Tenant: tenant, ID: id(name), UserPrincipalName: upn, Enabled: !u.Disabled, Guest: u.Guest}))
	}
	for name, p := range w.ServicePrincipals {
		must(state.ServicePrincipals.Create(tx, &directory.ServicePrincipal{Tenant: tenant, ID: id(name), AppID: directory.AppID(directory.NewGUID()), DisplayName: name, Type: "Application", Enabled: !p.Disabled}))
	}
	for name := range w.Groups {
		must(state.Groups.Create(tx, &directory.Group{Tenant: tenant, ID: id(name), DisplayName: name, SecurityEnabled: true}))
	}
	if fail != nil {
		return fail
	}
	for _, set := range []map[string]worlds.Principal{w.Users, w.ServicePrincipals, w.Groups} {
		for name, p := range set {
			for _, g := range p.MemberOf {
				must(state.Link(tx, directory.Member, tenant, id(g), id(name)))
			}
		}
	}
	for name, parent := range w.ManagementGroups {
		must(state.ManagementGroups.Create(tx, &state.ManagementGroup{Tenant: tenant, Name: name, Parent: parent}))
	}
	for name, group := range w.Subscriptions {
		must(state.Subscriptions.Create(tx, &state.Subscription{ID: w.ID("subscription", name), Tenant: tenant, State: "Enabled", ManagementGroup: group}))
	}
	scope := func(text string) string {
		s, err := w.Scope(text)
		must(err)
		return s.String()
	}
	for name, k := range w.Clusters {
		must(state.Clusters.Create(tx, &state.Cluster{
			Key: "key-" + name, ID: scope("cluster:" + name), Tenant: tenant, Entra: true, ServerApp: directory.AKSServer, AzureRBAC: true, Connected: true,
			StrictSubresources: k.StrictSubresources, CustomResourceConditions: k.CustomResourceConditions, ConfigurationNamespaces: k.ConfigurationNamespaces,
		}))
	}
	roles, err := w.RoleDefinitions()
	must(err)
	for _, r := range roles {
		must(state.AccessRoles.Create(tx, &state.AccessRole{Tenant: tenant, Role: r}))
	}
	for _, a := range w.Assignments {
		r, err := w.RoleAssignment(a)
		must(err)
		must(state.AccessAssignments.Create(tx, &state.AccessAssignment{
			Tenant: tenant, Name: r.Name, Scope: r.Scope.String(), Role: r.RoleID, Principal: r.PrincipalID, PrincipalType: r.PrincipalType,
			Condition: r.Condition, ConditionVersion: r.ConditionVersion,
		}))
	}
	for _, d := range w.Denies {
		ids := func(names []string) (list []directory.ObjectID) {
			for _, n := range names {
				if n == "everyone" {
					list = append(list, rbac.Everyone)
				} else {
					list = append(list, id(n))
				}
			}
			return list
		}
		p := d.Permissions
		must(state.AccessDenies.Create(tx, &state.AccessDeny{
			Tenant: tenant, Name: w.ID("deny", d.Name), DisplayName: d.Name, Scope: scope(d.Scope),
			Permissions: []rbac.Permission{{Actions: p.Actions, NotActions: p.NotActions, DataActions: p.DataActions, NotDataActions: p.NotDataActions}},
			Principals:  ids(d.Principals), ExcludePrincipals: ids(d.Exclude), DoNotApplyToChildScopes: d.DoNotApplyToChildScopes,
		}))
	}
	return fail
}

func builtIn(name string) string {
	r, ok := rbac.BuiltInRole(name)
	if !ok {
		panic("there is no role " + name)
	}
	return r.ID
}

// connect returns a client with the certificate of a cluster's API server.
func (c *cloud) connect(name string) *http.Client {
	c.t.Helper()
	answer, err := server.Connect(c.t.Context(), c.dir, server.ConnectQuery{Cluster: c.cluster(name).ID, Dir: "/etc/entrance", Distribution: "flags"})
	if err != nil {
		c.t.Fatal(err)
	}
	var cert, key []byte
	for file, b := range answer.Files {
		switch {
		case strings.HasSuffix(file, ".key"):
			key = b
		case strings.HasSuffix(file, ".crt"):
			cert = b
		}
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		c.t.Fatalf("the files %v: %v", slices.Sorted(maps.Keys(answer.Files)), err)
	}
	pool := x509.NewCertPool()
	ca, err := os.ReadFile(c.server.Status().CAFile)
	if err != nil || !pool.AppendCertsFromPEM(ca) {
		c.t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}}
	c.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 10 * time.Second}
}

func (c *cloud) cluster(name string) *state.Cluster {
	k, err := state.Clusters.Get(c.server.Store().View(), "key-"+name)
	if err != nil {
		c.t.Fatal(err)
	}
	return k
}

// review asks the webhook, over HTTP with mutual TLS.
func (c *cloud) review(t *testing.T, cluster string, r *k8s.Review) (int, authorizationv1.SubjectAccessReviewStatus) {
	t.Helper()
	spec := authorizationv1.SubjectAccessReviewSpec{User: r.User, Groups: []string{"system:authenticated"}, Extra: map[string]authorizationv1.ExtraValue{}}
	for k, v := range r.Extra {
		spec.Extra[k] = v
	}
	if a := r.Resource; a != nil {
		spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Namespace: a.Namespace, Verb: a.Verb, Group: a.Group, Version: a.Version, Resource: a.Resource, Subresource: a.Subresource, Name: a.Name}
	} else {
		spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Path: r.NonResource.Path, Verb: r.NonResource.Verb}
	}
	body, err := json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.clients[cluster].Post(c.server.Status().Endpoints.Webhooks+"/clusters/key-"+cluster+"/authorize", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out authorizationv1.SubjectAccessReview
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(raw, &out); err != nil {
			t.Fatal(err)
		}
	}
	return res.StatusCode, out.Status
}

// TestWorlds asks every question of every world through every API.
func TestWorlds(t *testing.T) {
	list, err := worlds.Load(os.DirFS("../worlds/access"))
	if err != nil {
		t.Fatal(err)
	}
	var reviews, explained, checked int
	left := map[string]int{}
	for _, w := range list {
		t.Run(w.Name, func(t *testing.T) {
			c := start(t, w)
			for i := range w.Questions {
				q := &w.Questions[i]
				if why := c.leftOut(q); why != "" {
					left[why]++
					continue
				}
				t.Run(q.String(), func(t *testing.T) {
					if q.Ask == "" {
						c.askARM(t, q)
						checked++
						return
					}
					if len(w.Clusters[q.On].Resources) > 0 {
						// What the cluster serves is the world's to say. Over HTTP it would be
						// an API server's; TestRealCluster asks about wildcards there.
						c.askKeeper(t, q)
						explained++
						return
					}
					c.askWebhook(t, q)
					reviews++
					if q.As == "" && q.OID == "" {
						c.askExplain(t, q)
						explained++
					}
				})
			}
		})
	}
	t.Logf("%d worlds: %d reviews over HTTP, %d explained, %d asked of Resource Manager", len(list), reviews, explained, checked)
	for why, n := range left {
		t.Logf("%d questions left out: %s", n, why)
	}
	if reviews < 260 || explained < 265 || checked < 50 {
		t.Errorf("too few questions were asked: %d, %d, %d", reviews, explained, checked)
	}
}

// leftOut says why a question cannot be asked of a cloud, "" where it can.
func (c *cloud) leftOut(q *worlds.Question) string {
	for _, p := range c.world.Users {
		if len(p.Attributes) > 0 {
			return "the directory has no custom security attributes"
		}
	}
	if q.Ask == "" {
		if len(q.Request)+len(q.Target) > 0 {
			return "the attributes are those of a role assignment that is written: internal/arm tests them so"
		}
		return ""
	}
	switch k := c.world.Clusters[q.On]; {
	case c.world.Name == "managed-namespaces" && !k.ManagedNamespaces:
		return "every cluster of a cloud has managed namespaces"
	}
	return ""
}

func (c *cloud) askWebhook(t *testing.T, q *worlds.Question) {
	r, err := c.world.Review(q)
	if err != nil {
		t.Fatal(err)
	}
	code, got := c.review(t, q.On, r)
	if q.Want == "error" {
		if got.Allowed || code == http.StatusOK && !got.Denied {
			t.Errorf("HTTP %d %+v, want a refusal", code, got)
		}
		return
	}
	if code != http.StatusOK || got.Allowed != (q.Want == "allow") || got.Denied != (q.Want == "deny") {
		t.Fatalf("HTTP %d %+v, want %s", code, got, q.Want)
	}
	// The webhook knows of strangers and disabled accounts by itself, and has
	// words of its own for them.
	if want, err := c.world.WantReason(q); err != nil || (q.Want == "allow" || want == k8s.ReasonDenied) && got.Reason != want {
		t.Errorf("reason %q, want %q (%v)", got.Reason, want, err)
	}
}

// askKeeper asks the function behind the webhook and the one behind `entrance
// access explain` about a cluster that serves what the world says.
func (c *cloud) askKeeper(t *testing.T, q *worlds.Question) {
	r, err := c.world.Review(q)
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.world.Cluster(q.On)
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.world.ObjectID(q.Who)
	if err != nil {
		t.Fatal(err)
	}
	got, _ := c.keeper.Authorize(c.cluster(q.On), k.Resources, r)
	told, err := c.keeper.Explain(c.cluster(q.On), k.Resources, nil, access.Query{Who: string(who), Resource: r.Resource, NonResource: r.NonResource})
	if err != nil {
		t.Fatal(err)
	}
	if q.Want == "error" {
		if got.Err == nil || got.Verdict != k8s.Deny || told.Allowed {
			t.Errorf("%+v, explained %v, want an error", got, told.Allowed)
		}
		return
	}
	if (got.Verdict == k8s.Allow) != (q.Want == "allow") || told.Allowed != (q.Want == "allow") {
		t.Fatalf("%v (%s), explained %v, want %s", got.Verdict, got.Reason, told.Allowed, q.Want)
	}
	if want, err := c.world.WantReason(q); err != nil || q.Want == "allow" && (got.Reason != want || told.Reason != want) {
		t.Errorf("reasons %q and %q, want %q (%v)", got.Reason, told.Reason, want, err)
	}
}

func (c *cloud) askExplain(t *testing.T, q *worlds.Question) {
	r, err := c.world.Review(q)
	if err != nil {
		t.Fatal(err)
	}
	who, err := c.world.ObjectID(q.Who)
	if err != nil {
		t.Fatal(err)
	}
	query := access.Query{Who: string(who), Resource: r.Resource, NonResource: r.NonResource}
	// Once in this process, once as `entrance access explain` asks: they say
	// the same, word for word.
	got, err := c.keeper.Explain(c.cluster(q.On), nil, nil, query)
	told, err2 := server.Explain(t.Context(), c.dir, server.AccessQuery{Cluster: c.cluster(q.On).ID, Query: query})
	if err != nil || err2 != nil {
		if q.Want != "error" {
			t.Fatal(err, err2)
		}
		return
	}
	if got.Allowed != (q.Want == "allow") || told.Allowed != got.Allowed || told.Reason != got.Reason {
		t.Fatalf("explained %v (%s), told %v (%s), want %s", got.Allowed, got.Reason, told.Allowed, told.Reason, q.Want)
	}
	if want, err := c.world.WantReason(q); err != nil || q.Want == "allow" && got.Reason != want {
		t.Errorf("explained by %q, want %q (%v)", got.Reason, want, err)
	}
}

// askARM asks checkAccess.
func (c *cloud) askARM(t *testing.T, q *worlds.Question) {
	r, err := c.world.Request(q)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]any{
		"Subject":  map[string]any{"Attributes": map[string]any{"ObjectId": r.Principal.ID}},
		"Actions":  []any{map[string]any{"Id": q.Action, "IsDataAction": q.Data}},
		"Resource": map[string]any{"Id": r.Scope.String()},
	})
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimSuffix(r.Scope.String(), "/") + "/providers/Microsoft.Authorization/checkaccess?api-version=2018-09-01-preview"
	req := httptest.NewRequest(http.MethodPost, c.server.Status().Endpoints.ARM+path, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer of the auditor") // whom Authenticate knows
	rec := httptest.NewRecorder()
	c.arm.ServeHTTP(rec, req)
	var out []struct {
		AccessDecision string
		RoleAssignment struct{ ID string }
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &out); rec.Code != http.StatusOK || err != nil || len(out) != 1 {
		t.Fatalf("HTTP %d: %s", rec.Code, rec.Body)
	}
	if (out[0].AccessDecision == "Allowed") != (q.Want == "allow") {
		t.Fatalf("%+v, want %s", out[0], q.Want)
	}
	if q.Want == "allow" && !strings.HasSuffix(out[0].RoleAssignment.ID, c.world.ID("assignment", q.By)) {
		t.Errorf("allowed by %s, want %s", out[0].RoleAssignment.ID, q.By)
	}
}
