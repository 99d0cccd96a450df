package rbac_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
)

const (
	subA    = "/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590"
	cluster = subA + "/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod"
)

func mustScope(t testing.TB, s string) rbac.Scope {
	t.Helper()
	sc, err := rbac.ParseScope(s)
	if err != nil {
		t.Fatal(err)
	}
	return sc
}

func TestParseScope(t *testing.T) {
	for _, tc := range []struct {
		text   string
		kind   rbac.ScopeKind
		parent string
	}{
		{"/", rbac.RootScope, ""},
		{"/providers/Microsoft.Management/managementGroups/Top", rbac.ManagementGroupScope, ""},
		{subA, rbac.SubscriptionScope, ""},
		{subA + "/resourceGroups/my.rg_(1)-x", rbac.ResourceGroupScope, subA},
		{subA + "/resourceGroups/größe", rbac.ResourceGroupScope, subA},
		{cluster, rbac.ResourceScope, subA + "/resourceGroups/rg"},
		{subA + "/providers/Microsoft.Foo/bars/b", rbac.ResourceScope, subA},
		{"/providers/Microsoft.Foo/bars/b", rbac.ResourceScope, "/"},
		{cluster + "/agentPools/p", rbac.ChildScope, cluster},
		{cluster + "/namespaces/web", rbac.NamespaceScope, cluster},
		{cluster + "/NAMESPACES/web", rbac.NamespaceScope, cluster},
		{cluster + "/managedNamespaces/web", rbac.ManagedNamespaceScope, cluster},
		{cluster + "/providers/Microsoft.KubernetesConfiguration/namespaces/web", rbac.NamespaceScope, cluster},
		{cluster + "/providers/Microsoft.Authorization/roleAssignments/x", rbac.ChildScope, cluster},
		{subA + "/resourceGroups/rg/providers/Microsoft.EventHub/namespaces/n", rbac.ResourceScope, subA + "/resourceGroups/rg"},
		{subA + "/resourceGroups/rg/providers/Microsoft.Foo/bars/b/namespaces/n", rbac.ChildScope, subA + "/resourceGroups/rg/providers/Microsoft.Foo/bars/b"},
	} {
		sc := mustScope(t, tc.text)
		if sc.Kind() != tc.kind || sc.String() != tc.text {
			t.Errorf("%s: %v (%s), want %v", tc.text, sc.Kind(), sc, tc.kind)
		}
		parent, ok := sc.Parent()
		if ok != (tc.parent != "") || parent.String() != tc.parent {
			t.Errorf("%s: parent %s, want %s", tc.text, parent, tc.parent)
		}
		if !mustScope(t, strings.ToUpper(tc.text)).Equal(sc) && !strings.Contains(tc.text, "ö") {
			t.Errorf("%s: case counts", tc.text)
		}
	}
}

func TestParseScopeRefuses(t *testing.T) {
	for _, text := range []string{
		"", "subscriptions", "//", "/subscriptions", "/subscriptions/", "/subscriptions/not-a-guid", subA + "/", subA + "//resourceGroups/rg",
		subA + "/resourceGroups", subA + "/resourceGroups/", subA + "/resourceGroups/..", subA + "/./resourceGroups/rg", subA + "/resourceGroups/a/../b",
		subA + "/resourceGroups/a%2fb", subA + "/resourceGroups/a%252fb", subA + `/resourceGroups/a\b`, subA + "/resourceGroups/a b", subA + "/resourceGroups/a\x00",
		subA + "/resourceGroups/rg?x", subA + "/resourceGroups/rg#x", subA + "/resourceGroups/*", subA + "/resourceGroups/rg.", subA + "/resourceGroups/\xff",
		subA + "/resourceGroups/rg/providers", subA + "/resourceGroups/rg/providers/Microsoft.X", subA + "/resourceGroups/rg/providers/Microsoft.X/t",
		subA + "/resourceGroups/rg/providers/nodot/t/n", subA + "/resourceGroups/rg/resourceGroups/rg2", subA + subA, cluster + "/namespaces", cluster + "/namespaces/a/b",
		"/providers/Microsoft.Management/managementGroups", "/providers/Microsoft.Management/managementGroups/a/b", "/tenants/x",
		subA + "/resourceGroups/" + strings.Repeat("x", 261), subA + "/resourceGroups/rg/providers/Microsoft.X" + strings.Repeat("/t/n", 600),
		subA + "/resourceGroups/a\u2028b", subA + "/resourceGroups/a\u202eb",
	} {
		if sc, err := rbac.ParseScope(text); err == nil {
			t.Errorf("%q was accepted as a %v", text, sc.Kind())
		} else if !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: kind %v", text, errs.KindOf(err))
		}
	}
}

func TestChildIsParse(t *testing.T) {
	for _, base := range []string{"/", subA, subA + "/resourceGroups/RG", cluster, strings.ToUpper(cluster), cluster + "/agentPools/p", cluster + "/namespaces/web"} {
		for _, typ := range []string{"namespaces", "Namespaces", "managedNamespaces", "agentPools", "resourceGroups", "a/b", ".."} {
			for _, name := range []string{"web", "Web", "", "a/b", "..", "a%2fb"} {
				got, err := mustScope(t, base).Child(typ, name)
				if strings.Contains(typ+name, "/") || typ == ".." {
					if err == nil {
						t.Errorf("%s: child %s/%s was accepted", base, typ, name)
					}
					continue
				}
				want, wantErr := rbac.ParseScope(strings.TrimSuffix(base, "/") + "/" + typ + "/" + name)
				if (err == nil) != (wantErr == nil) {
					if base != "/" { // the root joins with its own slash, and takes no children
						t.Errorf("%s: child %s/%s: %v, parse: %v", base, typ, name, err, wantErr)
					}
				} else if err == nil && got != want {
					t.Errorf("%s: child %s/%s: %+v, parse %+v", base, typ, name, got, want)
				}
			}
		}
	}
}

func TestAncestors(t *testing.T) {
	s, err := rbac.NewSnapshot().Apply(
		rbac.PutSubscription{Tenant: benchTenant, SubscriptionID: strings.ToUpper(subA[len("/subscriptions/"):]), Group: "Mid"},
		rbac.PutManagementGroup{Tenant: benchTenant, ID: "MID", Parent: "top"}, // before its parent
		rbac.PutManagementGroup{Tenant: benchTenant, ID: "top"},
	)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, sc := range s.Ancestors(benchTenant, mustScope(t, cluster+"/namespaces/web")) {
		got = append(got, sc.String())
	}
	want := []string{cluster + "/namespaces/web", cluster, subA + "/resourceGroups/rg", subA,
		"/providers/Microsoft.Management/managementGroups/mid", "/providers/Microsoft.Management/managementGroups/top", "/"}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestCheckManagementGroup(t *testing.T) {
	s := rbac.NewSnapshot()
	parent := ""
	for _, id := range []string{"g0", "g1", "g2", "g3", "g4", "g5", "g6"} {
		if err := s.CheckManagementGroup(benchTenant, id, parent); err != nil {
			t.Fatal(err)
		}
		s, _ = s.Apply(rbac.PutManagementGroup{Tenant: benchTenant, ID: id, Parent: parent})
		parent = id
	}
	for _, tc := range []struct{ id, parent, want string }{
		{"g7", "g6", "deeper"},
		{"g0", "g6", "circle"},
		{"g1", "G1", "circle"},
		{"x", "nobody", "does not exist"},
		{"a/b", "g0", "Invalid"},
	} {
		err := s.CheckManagementGroup(benchTenant, tc.id, tc.parent)
		if err == nil || tc.want != "Invalid" && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s under %s: %v, want %s", tc.id, tc.parent, err, tc.want)
		}
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"/", subA, cluster, cluster + "/namespaces/web", "/providers/Microsoft.Management/managementGroups/x", "/subscriptions//x", cluster + "/%2e%2e"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		sc, err := rbac.ParseScope(text)
		if err != nil {
			return
		}
		if sc.String() != text || strings.Contains(text, "//") || strings.ContainsAny(text, `%\?#*`) || strings.Contains(text+"/", "/../") || strings.Contains(text+"/", "/./") {
			t.Errorf("%q was accepted", text)
		}
		again, err := rbac.ParseScope(sc.Key())
		if err != nil || !again.Equal(sc) || again.Kind() != sc.Kind() {
			t.Errorf("%q: its key gives %v %v", text, again, err)
		}
		for p, ok := sc.Parent(); ok; p, ok = p.Parent() {
			if len(p.Key()) >= len(sc.Key()) || !strings.HasPrefix(sc.Key(), p.Key()) {
				t.Fatalf("%q has the parent %q", text, p)
			}
		}
	})
}

// TestScopesFoldAsResourcesDo: two spellings of a resource group are one to the
// store (state.Fold) exactly if they are one to a deny assignment.
func TestScopesFoldAsResourcesDo(t *testing.T) {
	group := func(name string) rbac.Scope {
		s, err := rbac.ParseScope("/subscriptions/0b1f6471-1bf0-4dda-aec3-cb9272f09590/resourceGroups/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for _, pair := range [][2]string{{"kit", "KIT"}, {"\u00e4rger", "\u00c4RGER"}, {"kit", "\u212Ait"}, {"it", "\u0130t"}, {"s", "\u017f"}} {
		stored := state.Fold(pair[0]) == state.Fold(pair[1])
		if got := group(pair[0]).Equal(group(pair[1])); got != stored {
			t.Errorf("%q: one scope %v, one resource %v", pair, got, stored)
		}
	}
	if state.Fold("\u00c4") != "\u00e4" || state.Fold("\u212A") == "k" || state.Fold("\u0130") == "i" {
		t.Error("Fold folds too little or too much")
	}
}
