package k8s_test

import (
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

const (
	tenant  = directory.TenantID("72f988bf-86f1-41af-91ab-2d7cd011db47")
	ann     = directory.ObjectID("a0000000-0000-4000-8000-000000000001")
	annName = "ann@contoso.example"
	arm     = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod"
	admin   = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"
	reader  = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// people has ann and nobody else.
type people struct{}

func (people) Identity(_ directory.TenantID, id directory.ObjectID) (k8s.Identity, bool) {
	return k8s.Identity{Principal: rbac.Principal{Tenant: tenant, ID: ann}, UserName: annName}, id == ann
}

func cluster(t testing.TB) *k8s.Cluster {
	sc, err := rbac.ParseScope(arm)
	if err != nil {
		t.Fatal(err)
	}
	return &k8s.Cluster{Tenant: tenant, Scope: sc}
}

func snapshot(t testing.TB, role string) *rbac.Snapshot {
	s, err := rbac.NewSnapshot().Apply(rbac.PutAssignment{RoleAssignment: rbac.RoleAssignment{Tenant: tenant, Name: "d0000000-0000-4000-8000-000000000001",
		Scope: cluster(t).Scope, RoleID: role, PrincipalID: ann, PrincipalType: rbac.User}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pods(verb string) *k8s.Review {
	return &k8s.Review{User: annName, Extra: map[string][]string{"oid": {string(ann)}}, Resource: &k8s.ResourceAttributes{Verb: verb, Resource: "pods", Namespace: "web"}}
}

func TestReviewForms(t *testing.T) {
	c, s := cluster(t), snapshot(t, admin)
	for name, r := range map[string]*k8s.Review{
		"neither": {User: annName},
		"both":    {User: annName, Resource: &k8s.ResourceAttributes{}, NonResource: &k8s.NonResourceAttributes{}},
	} {
		got := c.Authorize(s, r, people{}, now)
		if !errs.Is(got.Err, errs.Invalid) || got.Verdict != k8s.Deny {
			t.Errorf("%s: %v, %v", name, got.Verdict, got.Err)
		}
	}
	for name, tc := range map[string]struct {
		f    func(*k8s.Review)
		want k8s.Verdict
	}{
		"plain":                    {func(*k8s.Review) {}, k8s.Allow},
		"upper-case object id":     {func(r *k8s.Review) { r.Extra["oid"][0] = strings.ToUpper(string(ann)) }, k8s.Allow},
		"object id as name":        {func(r *k8s.Review) { r.User = string(ann) }, k8s.Allow},
		"two object ids":           {func(r *k8s.Review) { r.Extra["oid"] = append(r.Extra["oid"], string(ann)) }, k8s.NoOpinion},
		"object id is no GUID":     {func(r *k8s.Review) { r.Extra["oid"][0] = "ann" }, k8s.NoOpinion},
		"unknown object id":        {func(r *k8s.Review) { r.Extra["oid"][0] = "a0000000-0000-4000-8000-000000000002" }, k8s.NoOpinion},
		"other name":               {func(r *k8s.Review) { r.User = "eve@contoso.example" }, k8s.NoOpinion},
		"empty name":               {func(r *k8s.Review) { r.User = "" }, k8s.NoOpinion},
		"system name":              {func(r *k8s.Review) { r.User = "SYSTEM:admin" }, k8s.NoOpinion},
		"no verb":                  {func(r *k8s.Review) { r.Resource.Verb = "" }, k8s.Deny},
		"no resource":              {func(r *k8s.Review) { r.Resource.Resource = "" }, k8s.Deny},
		"resource with a slash":    {func(r *k8s.Review) { r.Resource.Resource = "pods/exec" }, k8s.Deny},
		"group with a slash":       {func(r *k8s.Review) { r.Resource.Group = "apps/v1" }, k8s.Deny},
		"namespace in upper case":  {func(r *k8s.Review) { r.Resource.Namespace = "Web" }, k8s.Deny},
		"namespace is a dash":      {func(r *k8s.Review) { r.Resource.Namespace = "-" }, k8s.Deny},
		"long namespace":           {func(r *k8s.Review) { r.Resource.Namespace = strings.Repeat("a", 64) }, k8s.Deny},
		"subresource with dots":    {func(r *k8s.Review) { r.Resource.Subresource = "../exec" }, k8s.Deny},
		"long resource":            {func(r *k8s.Review) { r.Resource.Resource = strings.Repeat("a", 254) }, k8s.Deny},
		"name and version ignored": {func(r *k8s.Review) { r.Resource.Name, r.Resource.Version = "../../x", "v9" }, k8s.Allow},
	} {
		r := pods("get")
		tc.f(r)
		if got := c.Authorize(s, r, people{}, now); got.Verdict != tc.want || got.Err != nil {
			t.Errorf("%s: %v (%s, %v), want %v", name, got.Verdict, got.Reason, got.Err, tc.want)
		}
	}
}

// wrongTenant answers with a principal of another tenant.
type wrongTenant struct{}

func (wrongTenant) Identity(directory.TenantID, directory.ObjectID) (k8s.Identity, bool) {
	return k8s.Identity{Principal: rbac.Principal{Tenant: "99999999-86f1-41af-91ab-2d7cd011db47", ID: ann}, UserName: annName}, true
}

func TestOtherTenantHasNoOpinion(t *testing.T) {
	if got := cluster(t).Authorize(snapshot(t, admin), pods("get"), wrongTenant{}, now); got.Verdict != k8s.NoOpinion {
		t.Errorf("%v", got.Verdict)
	}
}

func TestDiscovery(t *testing.T) {
	c, s := cluster(t), snapshot(t, reader)
	for path, want := range map[string]k8s.Verdict{
		"/api": k8s.Allow, "/api/": k8s.Allow, "/api/v1": k8s.Allow, "/apis": k8s.Allow, "/openapi/v3/apis/apps/v1": k8s.Allow,
		"/version": k8s.Allow, "/version/": k8s.Allow, "/healthz": k8s.Allow, "/healthz/ping": k8s.Allow,
		"/apifoo": k8s.Deny, "/apisx": k8s.Deny, "/healthzz": k8s.Deny, "/livez": k8s.Deny, "/": k8s.Deny, "": k8s.Deny, "api": k8s.Deny,
		"/api/../logs": k8s.Deny, "/api/..": k8s.Deny, "/api//v1": k8s.Deny, "/api/%2e%2e/logs": k8s.Deny, "/api/./v1": k8s.Deny, "/api/*": k8s.Deny, `/api\x`: k8s.Deny,
	} {
		r := pods("get")
		r.Resource, r.NonResource = nil, &k8s.NonResourceAttributes{Path: path, Verb: "get"}
		if got := c.Authorize(s, r, people{}, now); got.Verdict != want {
			t.Errorf("%q: %v (%s)", path, got.Verdict, got.Reason)
		}
		if path == "/api" {
			strict := *c
			strict.CheckDiscovery = true
			if got := strict.Authorize(s, r, people{}, now); got.Verdict != k8s.Deny {
				t.Errorf("with CheckDiscovery: %v", got.Verdict)
			}
			r.NonResource.Verb = "head"
			if got := c.Authorize(s, r, people{}, now); got.Verdict != k8s.Deny {
				t.Errorf("head: %v", got.Verdict)
			}
		}
	}
}

func TestExplainTellsTheWay(t *testing.T) {
	c, s := cluster(t), snapshot(t, reader)
	e := c.Explain(s, pods("delete"), people{}, now, 3)
	if e.Verdict != k8s.Deny || len(e.Checks) != 1 || len(e.Checks[0].Explanation.Steps) != 1 || e.Checks[0].Explanation.Steps[0].Outcome != rbac.NotGranted {
		t.Fatalf("%+v", e)
	}
	if len(e.Suggestions) == 0 || e.Suggestions[0].Role.Name != "Azure Kubernetes Service RBAC Writer" || e.Suggestions[0].Scope.String() != arm+"/namespaces/web" {
		t.Errorf("suggestions %+v", e.Suggestions)
	}
	if e := c.Explain(s, pods("get"), people{}, now, 3); e.Verdict != k8s.Allow || e.Suggestions != nil || e.Checks[0].Explanation.Steps[0].Outcome != rbac.Grants {
		t.Errorf("%+v", e)
	}
}

func TestCustomResourceAttributes(t *testing.T) {
	c := cluster(t)
	c.CustomResourceConditions, c.Prefix = true, k8s.ConnectedClusters
	r := pods("patch")
	r.Resource.Group, r.Resource.Resource = "Stable.example.com", "CronTabs"
	got, err := c.Checks(r)
	if err != nil {
		t.Fatal(err)
	}
	want := condition.Attributes{{Name: k8s.AttrGroup, Values: []string{"stable.example.com"}}, {Name: k8s.AttrKind, Values: []string{"crontabs"}}}
	if len(got) != 1 || got[0].Action.String() != "Microsoft.Kubernetes/connectedClusters/customresources/write" || len(got[0].Attributes) != 2 ||
		got[0].Attributes.Get(want[0].Name)[0] != want[0].Values[0] || got[0].Attributes.Get(want[1].Name)[0] != want[1].Values[0] {
		t.Errorf("%+v", got)
	}
}

// FuzzAuthorize: whatever a review holds, a principal with no role is allowed
// nothing but discovery, and what a reader is allowed is a read.
func FuzzAuthorize(f *testing.F) {
	f.Add("get", "", "pods", "log", "web", "/api", false)
	f.Add("*", "*", "*", "", "", "/logs", false)
	f.Add("create", "apps", "deployments", "scale", "web", "/metrics", true)
	f.Add("get", "stable.example.com", "crontabs", "status", "a%2fb", "/api/../logs", true)
	f.Add("impersonate", "authentication.k8s.io", "userextras", "scopes", "", "/apifoo", true)
	f.Add("proxy", "", "pods", "*", "..", "//", true)
	none, err := rbac.NewSnapshot().Apply(rbac.PutSubscription{Tenant: tenant, SubscriptionID: "0b1f6471-1bf0-4dda-aec3-cb9272f09590"})
	if err != nil {
		f.Fatal(err)
	}
	readers := snapshot(f, reader)
	f.Fuzz(func(t *testing.T, verb, group, resource, sub, ns, path string, strict bool) {
		c := cluster(t)
		c.StrictSubresources, c.CustomResourceConditions, c.ManagedNamespaces = strict, strict, strict
		c.Resources = k8s.NewResources([]k8s.Resource{{Resource: "pods", Namespaced: true}, {Resource: "nodes"}, {Group: "stable.example.com", Resource: "crontabs", Namespaced: true}})
		r := pods(verb)
		*r.Resource = k8s.ResourceAttributes{Verb: verb, Group: group, Resource: resource, Subresource: sub, Namespace: ns}
		if got := c.Authorize(none, r, people{}, now); got.Verdict != k8s.Deny {
			t.Errorf("no role, and %v", got.Verdict)
		}
		got := c.Authorize(readers, r, people{}, now)
		if got.Verdict == k8s.Allow {
			for _, k := range got.Checks {
				if !k.Fallback && !strings.HasSuffix(k.Action.String(), "/read") {
					t.Errorf("a reader may %s", k.Action)
				}
			}
			if first, _, _ := strings.Cut(sub, "/"); strings.EqualFold(first, "exec") && strings.EqualFold(resource, "pods") && group == "" && verb != "*" {
				t.Error("a reader may exec")
			}
		}
		if e := c.Explain(readers, r, people{}, now, 2); e.Verdict != got.Verdict || e.Reason != got.Reason {
			t.Errorf("explained %v, decided %v", e.Verdict, got.Verdict)
		}
		r.Resource, r.NonResource = nil, &k8s.NonResourceAttributes{Path: path, Verb: verb}
		if got := c.Authorize(none, r, people{}, now); got.Verdict == k8s.Allow && (verb != "get" || strings.Contains(path, "..") && strings.Contains(path+"/", "/../")) {
			t.Errorf("no role, and %s %s is allowed", verb, path)
		}
	})
}

func BenchmarkAuthorize(b *testing.B) {
	c, s, r := cluster(b), snapshot(b, reader), pods("get")
	b.ReportAllocs()
	for b.Loop() {
		if got := c.Authorize(s, r, people{}, now); got.Verdict != k8s.Allow {
			b.Fatal(got.Reason)
		}
	}
}

// TestExpandKeepsSubresources: a wildcard beside a subresource must not answer
// for less than what the concrete request would be checked for.
func TestExpandKeepsSubresources(t *testing.T) {
	c := cluster(t)
	c.Resources = k8s.NewResources([]k8s.Resource{{Resource: "pods", Namespaced: true}, {Resource: "pods", Namespaced: true}, {Resource: "pods/log"}, {Resource: "services", Namespaced: true}})
	if n := len(c.Resources.All()); n != 2 {
		t.Errorf("%d resources, want pods and services", n)
	}
	for _, tc := range []struct {
		verb, resource, sub string
		strict              bool
		want                string
	}{
		{"*", "pods", "exec", false, "pods/exec/action"},
		{"get", "*", "exec", false, "pods/exec/action services/read"},
		{"*", "pods", "log", false, "pods/read pods/write pods/delete pods/exec/action"},
		{"*", "pods", "log", true, "pods/log/read"},
		{"get", "*", "proxy", true, "pods/proxy/action services/proxy/action"},
		{"*", "pods", "scale", true, "pods/scale/read pods/scale/write pods/scale/delete"},
		{"*", "pods", "*", true, ""},
		{"get", "pods", "*", true, ""},
	} {
		c.StrictSubresources = tc.strict
		r := pods(tc.verb)
		r.Resource.Resource, r.Resource.Subresource = tc.resource, tc.sub
		checks, err := c.Checks(r)
		var got []string
		for _, k := range checks {
			got = append(got, strings.TrimPrefix(k.Action.String(), k8s.ManagedClusters+"/"))
		}
		if s := strings.Join(got, " "); s != tc.want || (err != nil) != (tc.want == "") {
			t.Errorf("%s %s/%s (strict %v): %s (%v), want %s", tc.verb, tc.resource, tc.sub, tc.strict, s, err, tc.want)
		}
	}
}

func TestNamesFoldOnlyASCII(t *testing.T) {
	r := pods("get")
	r.User = "ann@\u212Aontoso.example" // the Kelvin sign
	kelvin := kelvinAnn{}
	if got := cluster(t).Authorize(snapshot(t, admin), r, kelvin, now); got.Verdict != k8s.NoOpinion {
		t.Errorf("%v", got.Verdict)
	}
}

type kelvinAnn struct{}

func (kelvinAnn) Identity(directory.TenantID, directory.ObjectID) (k8s.Identity, bool) {
	return k8s.Identity{Principal: rbac.Principal{Tenant: tenant, ID: ann}, UserName: "ann@kontoso.example"}, true
}

// TestSpellings: no spelling of a request makes less of it than it is.
func TestSpellings(t *testing.T) {
	c, s := cluster(t), snapshot(t, reader)
	for _, strict := range []bool{false, true} {
		c.StrictSubresources = strict
		for _, a := range []k8s.ResourceAttributes{
			{Verb: "get", Resource: "pods", Subresource: "exec"},
			{Verb: "get", Resource: "PODS", Subresource: "exec"},
			{Verb: "get", Resource: "pods", Subresource: "EXEC"},
			{Verb: "get", Resource: "pods", Subresource: "exec/x"},
			{Verb: "get", Resource: "pods", Subresource: "exec "},
			{Verb: "get", Resource: "pods", Subresource: "exec\x00"},
			{Verb: "get", Resource: "pods", Subresource: "\uff45xec"},
			{Verb: "GET", Resource: "pods"},
			{Verb: "read", Resource: "pods"},
			{Verb: "approve", Group: "pods", Resource: "read"},
			{Verb: "approve", Group: "pods", Resource: "Read"},
			{Verb: "get", Resource: "SECRETS"},
			{Verb: "get", Resource: "\u017fecrets"},
		} {
			r := pods(a.Verb)
			a.Namespace, r.Resource = "web", &a
			if got := c.Authorize(s, r, people{}, now); got.Verdict != k8s.Deny || got.Reason == "" {
				t.Errorf("strict %v, %+v: %v (%s)", strict, a, got.Verdict, got.Reason)
			}
		}
	}
	for _, a := range []k8s.NonResourceAttributes{{Verb: "post", Path: "/pods/read"}, {Verb: "put", Path: "/pods/read/"}, {Verb: "patch", Path: "/metrics.k8s.io/pods/READ"}} {
		r := pods("get")
		r.Resource, r.NonResource = nil, &a
		if got := c.Authorize(s, r, people{}, now); got.Verdict != k8s.Deny {
			t.Errorf("%+v: %v (%s)", a, got.Verdict, got.Reason)
		}
	}
}
