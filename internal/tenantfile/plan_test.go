package tenantfile_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/tenantfile"
)

type values = map[string]any

func ref(kind, name string) tenantfile.Ref { return tenantfile.Ref{Kind: kind, Name: name} }

// world is a cloud with one of everything.
func world() *tenantfile.World {
	w := &tenantfile.World{
		TenantID: "11111111-1111-1111-1111-111111111111", Domain: "contoso.test",
		SubscriptionID: "22222222-2222-2222-2222-222222222222", SubscriptionName: "Sample subscription",
		Roles: []string{"Reader", "Azure Kubernetes Service Cluster User Role", "Azure Kubernetes Service RBAC Writer"}, ManagementGroups: []string{"root"}, DirectoryRoles: []string{"Directory Readers", "Groups Administrator"},
		Resources: []string{"/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/kv"},
		Issuers:   map[string]string{"rg/one": "https://localhost/oidc/one/"},
	}
	for _, e := range []*tenantfile.Entity{
		tenantfile.New(tenantfile.Users, values{"userPrincipalName": "ann@contoso.test", "displayName": "Ann", "accountEnabled": true}),
		tenantfile.New(tenantfile.Users, values{"userPrincipalName": "bob@contoso.test", "displayName": "Bob", "accountEnabled": true}),
		tenantfile.New(tenantfile.Groups, values{"displayName": "team", "owners": []tenantfile.Ref{}, "members": []tenantfile.Ref{ref("user", "ann@contoso.test")}}),
		tenantfile.New(tenantfile.Apps, values{"displayName": "bare", "servicePrincipal": false, "redirectUris": &tenantfile.Entity{}}),
		tenantfile.New(tenantfile.Apps, values{"displayName": "ci", "federatedCredentials": []*tenantfile.Entity{{Values: values{
			"name": "pod", "cluster": ref("cluster", "rg/one"), "serviceAccount": "default/app", "audiences": []string{tenantfile.DefaultAudience},
		}}}, "appRoles": []*tenantfile.Entity{}}),
		tenantfile.New(tenantfile.ResourceGroups, values{"name": "rg", "location": "centralus", "tags": map[string]string{"a": "1"}}),
		tenantfile.New(tenantfile.Identities, values{"name": "pod", "resourceGroup": ref("resourceGroup", "rg"), "location": "centralus"}),
		tenantfile.New(tenantfile.Clusters, values{
			"name": "one", "resourceGroup": ref("resourceGroup", "rg"), "location": "centralus", "nodeCount": 1, "oidcIssuer": true, "disableLocalAccounts": false,
			"aad": &tenantfile.Entity{Values: values{"azureRBAC": false, "adminGroups": []tenantfile.Ref{ref("group", "team")}}},
		}),
		tenantfile.New(tenantfile.Clusters, values{"name": "two", "resourceGroup": ref("resourceGroup", "rg"), "location": "centralus", "oidcIssuer": false}),
		tenantfile.New(tenantfile.RoleAssignments, values{
			"principal": ref("group", "team"), "role": ref("role", "Reader"), "scope": tenantfile.Ref{Kind: "cluster", Name: "rg/one", Namespace: "prod"},
		}),
		tenantfile.New(tenantfile.DirectoryRoles, values{"principal": ref("app", "ci"), "role": ref("directoryRole", "Groups Administrator")}),
	} {
		w.Add(e)
	}
	return w
}

func plan(t *testing.T, text string, w *tenantfile.World) (*tenantfile.Plan, error) {
	t.Helper()
	f, err := tenantfile.Parse("f", []byte("version: 1\n"+text))
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return tenantfile.MakePlan("f", f, w)
}

// TestMarshal: an export of a cloud is a file that changes nothing there.
func TestMarshal(t *testing.T) {
	w := world()
	w.Notes = []string{"the weather"}
	out, err := tenantfile.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tenantfile.Parse("f", out)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, err := tenantfile.MakePlan("f", f, w)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(p.Items) > 0 || p.Unchanged != 11 {
		t.Errorf("changes:\n%s\n%s", p.Text(), out)
	}
	if !strings.Contains(string(out), "Left out:\n#   the weather") {
		t.Errorf("the notes are missing:\n%s", out)
	}
}

func TestPlanExample(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tenantfile.Parse("tenant.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	p, err := tenantfile.MakePlan("tenant.yaml", f, world())
	if err != nil {
		t.Fatal(err)
	}
	steps := p.Steps()
	at := func(part string) int {
		i := slices.IndexFunc(steps, func(s tenantfile.Step) bool { return strings.Contains(s.String(), part) })
		if i < 0 {
			t.Fatalf("no step %q", part)
		}
		return i
	}
	// What others need comes first.
	for _, pair := range [][2]string{
		{"create user wei@", "members and owners of group shop-developers"},
		{"create app shop-ci", "members and owners of group shop-everybody"},
		{"create group shop-admins", "create cluster shop/shop"},
		{"create resource group shop", "create identity shop/shop-orders"},
		{"create cluster shop/shop", "federated credentials of identity shop/shop-orders"},
		{"create role Shop Log Reader", "shop/shop-orders is Shop Log Reader"},
		{"create cluster shop/shop", "is Azure Kubernetes Service RBAC Writer"},
	} {
		if at(pair[0]) >= at(pair[1]) {
			t.Errorf("%q comes after %q", pair[0], pair[1])
		}
	}
}

func TestPlanChanges(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"nothing":                      {"users: [{userPrincipalName: Ann, displayName: Ann}]\n", ""},
		"a key that is left out stays": {"groups: [{displayName: team}]\n", ""},
		"a key":                        {"users: [{userPrincipalName: ann, displayName: Anna}]\n", "~ user ann@contoso.test\n    displayName: Ann -> Anna"},
		"disabled":                     {"users: [{userPrincipalName: ann, accountEnabled: false}]\n", "accountEnabled: true -> false"},
		"a password changes nothing":   {"users: [{userPrincipalName: ann, passwordFrom: {env: X}}]\n", ""},
		"a new user":                   {"users: [{userPrincipalName: eve, passwordFrom: {env: X}}]\n", "+ user eve@contoso.test\n    passwordFrom.env: X"},
		"members":                      {"groups: [{displayName: TEAM, members: [{user: bob}]}]\n", "+ members: user bob@contoso.test\n    - members: user ann@contoso.test"},
		"no members":                   {"groups: [{displayName: team, members: []}]\n", "- members: user ann@contoso.test"},
		"a member of the file":         {"users: [{userPrincipalName: eve}]\ngroups: [{displayName: team, members: [{user: ann}, {user: EVE}]}]\n", "+ members: user eve@contoso.test"},
		"tags":                         {"resourceGroups: [{name: rg, location: Central US, tags: {a: '2'}}]\n", "+ tags: a=2\n    - tags: a=1"},
		"Azure RBAC":                   {"clusters: [{name: one, resourceGroup: rg, aad: {azureRBAC: true}}]\n", "aad.azureRBAC: false -> true"},
		"Entra":                        {"clusters: [{name: two, resourceGroup: rg, aad: {}}]\n", "aad: enabled"},
		"no Entra asked for":           {"clusters: [{name: two, resourceGroup: rg, disableLocalAccounts: false}]\n", ""},
		"the same role":                {"roleAssignments: [{principal: {group: team}, role: reader, scope: {cluster: one, namespace: prod}}]\n", ""},
		"another namespace":            {"roleAssignments: [{principal: {group: team}, role: Reader, scope: {cluster: one, namespace: test}}]\n", "+ role assignment group team is Reader at cluster rg/one namespace test"},
		"a condition":                  {"roleAssignments: [{principal: {group: team}, role: Reader, scope: {cluster: one, namespace: prod}, description: x}]\n", "~ role assignment"},
		"other scopes":                 {"roleAssignments:\n- {principal: {app: ci}, role: Reader, scope: {resource: resourceGroups/rg/providers/Microsoft.KeyVault/vaults/KV}}\n- {principal: {app: ci}, role: Reader, scope: {managementGroup: root}}\n- {principal: {identity: pod}, role: Reader, scope: {subscription: 22222222-2222-2222-2222-222222222222}}\n", "at subscription Sample subscription"},
		"a credential, as a URL":       {"apps: [{displayName: ci, federatedCredentials: [{name: pod, issuer: 'https://localhost/oidc/one', subject: 'system:serviceaccount:default:app'}]}]\n", ""},
		"another service account":      {"apps: [{displayName: ci, federatedCredentials: [{name: pod, cluster: one, serviceAccount: default/web}]}]\n", "federatedCredentials.pod.serviceAccount: default/app -> default/web"},
		"from cluster to issuer":       {"apps: [{displayName: ci, federatedCredentials: [{name: pod, issuer: 'https://x.test', subject: s}]}]\n", "federatedCredentials.pod.issuer: https://x.test\n    federatedCredentials.pod.cluster: cluster rg/one -> not set\n    federatedCredentials.pod.subject: s\n    federatedCredentials.pod.serviceAccount: default/app -> not set"},
		"a credential goes":            {"apps: [{displayName: ci, federatedCredentials: []}]\n", "- federatedCredentials: pod"},
		"a role of the directory":      {"directoryRoleAssignments: [{principal: {user: ann}, role: directory readers}]\n", "+ role assignment user ann@contoso.test is Directory Readers of the directory"},
		"one that is held":             {"directoryRoleAssignments: [{principal: {app: CI}, role: groups administrator}]\n", ""},
		"a service principal":          {"apps: [{displayName: bare, servicePrincipal: true}]\ngroups: [{displayName: team, members: [{user: ann}, {app: bare}]}]\n", "servicePrincipal: false -> true"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := plan(t, tt.text, world())
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" && len(p.Items) > 0 || !strings.Contains(p.Text(), tt.want) {
				t.Errorf("want %q:\n%s", tt.want, p.Text())
			}
			if (len(p.Items) == 0) != (len(p.Steps()) == 0) {
				t.Errorf("%d changes in %d steps", len(p.Items), len(p.Steps()))
			}
		})
	}
}

// TestPlanProblems: everything that stands in the way is found before anything
// is written.
func TestPlanProblems(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"missing": {
			"groups:\n- displayName: team\n  members:\n  - {user: eve}\n  - {group: gone}\n  - {app: nope}\nroleAssignments:\n- {principal: {user: ann}, role: Reeder, scope: {cluster: three}}\n",
			[]string{`f:5: there is no user "eve@contoso.test"`, `f:6: there is no group "gone"`, `f:7: there is no app "nope"`, `f:9: there is no role "Reeder"`, `f:9: there is no cluster "three"`},
		},
		"missing scopes":        {"roleAssignments:\n- {principal: {user: ann}, role: Reader, scope: {subscription: Other}}\n- {principal: {user: ann}, role: Reader, scope: {resource: /resourceGroups/rg/providers/A.B/c/d}}\n- {principal: {user: ann}, role: Reader, scope: {managementGroup: x}}\n", []string{`no subscription "Other"`, `no resource "/resourceGroups`, `no management group "x"`}},
		"no resource group":     {"identities: [{name: new, resourceGroup: gone}]\n", []string{`there is no resource group "gone"`}},
		"moved":                 {"resourceGroups: [{name: rg, location: westeurope}]\n", []string{"location of resourceGroup \"rg\" cannot be changed: it is centralus"}},
		"no location":           {"resourceGroups: [{name: new}]\n", []string{`resourceGroup "new" is new and has no location`}},
		"role-assignable":       {"groups: [{displayName: team, isAssignableToRole: true}]\n", []string{"isAssignableToRole of group \"team\" cannot be changed: it is not set"}},
		"nested in one":         {"groups: [{displayName: new, isAssignableToRole: true, members: [{group: team}]}]\n", []string{"no group can be a member of it"}},
		"twice, with a domain":  {"users: [{userPrincipalName: ann}, {userPrincipalName: ANN@contoso.test}]\n", []string{"occurs twice"}},
		"issuer off":            {"clusters: [{name: one, resourceGroup: rg, oidcIssuer: false}]\n", []string{"oidcIssuer of cluster \"rg/one\" cannot be switched off"}},
		"no local accounts":     {"clusters: [{name: two, resourceGroup: rg, disableLocalAccounts: true}]\n", []string{"needs aad"}},
		"own tenant":            {"clusters: [{name: two, resourceGroup: rg, aad: {tenantID: 11111111-1111-1111-1111-111111111111}}]\n", []string{"is this tenant: leave it out"}},
		"no issuer":             {"identities: [{name: pod, resourceGroup: rg, federatedCredentials: [{name: abc, cluster: two, serviceAccount: a/b}]}]\n", []string{"the cluster rg/two has no issuer"}},
		"no service principal":  {"groups: [{displayName: team, members: [{app: bare}]}]\n", []string{"the app bare has no service principal"}},
		"a directory's role":    {"directoryRoleAssignments: [{principal: {group: team}, role: Emperor}]\n", []string{`no role of the directory "Emperor"`, "the group team cannot be given a role of the directory"}},
		"a built-in role":       {"roleDefinitions: [{name: reader, actions: ['*/read'], assignableScopes: [{resourceGroup: rg}]}]\n", []string{"is a built-in role"}},
		"a role without scopes": {"roleDefinitions: [{name: mine, actions: ['*/read']}]\n", []string{"is new and has no assignableScopes"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := plan(t, tt.text, world())
			if err == nil {
				t.Fatal("no error")
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("no %q in:\n%v", want, err)
				}
			}
		})
	}
}

// TestPlanNames: a name that means two things is refused, not guessed.
func TestPlanNames(t *testing.T) {
	w := world()
	w.Add(tenantfile.New(tenantfile.ResourceGroups, values{"name": "other", "location": "centralus"}))
	w.Add(tenantfile.New(tenantfile.Clusters, values{"name": "one", "resourceGroup": ref("resourceGroup", "other")}))
	w.Ambiguous = []tenantfile.Ref{ref("group", "twin")}
	w.Add(&tenantfile.Entity{Kind: w.Entities(tenantfile.Groups)[0].Kind, Values: values{"displayName": "twin"}, Unmanaged: "its name is not unique"})
	const at = "roleAssignments: [{principal: {user: ann}, role: Reader, scope: {cluster: %s}}]\n"
	if _, err := plan(t, strings.Replace(at, "%s", "one", 1), w); err == nil || !strings.Contains(err.Error(), "more than one cluster one: write rg/one or other/one") {
		t.Error(err)
	}
	if _, err := plan(t, strings.Replace(at, "%s", "other/one", 1), w); err != nil {
		t.Error(err)
	}
	if _, err := plan(t, "groups: [{displayName: team, members: [{group: twin}]}]\n", w); err == nil || !strings.Contains(err.Error(), "more than one group of the cloud is called twin") {
		t.Error(err)
	}
	if _, err := plan(t, "groups: [{displayName: twin, description: x}]\n", w); err == nil || !strings.Contains(err.Error(), "its name is not unique") {
		t.Error(err)
	}
}

func TestPrintable(t *testing.T) {
	if got := tenantfile.Printable("a\x1b[2J\u202eb\nc"); got != "a\uFFFD[2J\uFFFDb\nc" {
		t.Errorf("%q", got)
	}
}
