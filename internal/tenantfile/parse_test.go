package tenantfile_test

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/tenantfile"
)

const example = "../../examples/tenant/tenant.yaml"

func TestParseExample(t *testing.T) {
	data, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	f, err := tenantfile.Parse("tenant.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	for section, want := range map[string]int{
		tenantfile.Users: 3, tenantfile.Groups: 4, tenantfile.Apps: 2, tenantfile.ResourceGroups: 1, tenantfile.Identities: 1,
		tenantfile.Clusters: 1, tenantfile.RoleDefinitions: 1, tenantfile.RoleAssignments: 4, tenantfile.DirectoryRoles: 1,
	} {
		if got := len(f.Entities(section)); got != want {
			t.Errorf("%s: %d, want %d", section, got, want)
		}
	}
	g := f.Entities(tenantfile.Groups)[2]
	if m := g.Refs("members"); len(m) != 3 || m[2].String() != "app shop-ci" {
		t.Errorf("members of %s: %v", g.Name(), m)
	}
}

// TestParseErrors: what is wrong is said with its line, everything at once.
func TestParseErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"empty":        {"", []string{"f: the file is empty"}},
		"not YAML":     {"version: 1\nusers: [", []string{"this is not YAML"}},
		"a list":       {"- a\n", []string{"f:1: a tenant file is a mapping"}},
		"no version":   {"users: []\n", []string{"f:1: the key version is missing"}},
		"new version":  {"version: 2\n", []string{"f:1: the version of the format is 1"}},
		"documents":    {"version: 1\n---\nversion: 1\n", []string{"more than one document"}},
		"section":      {"version: 1\nuser: []\n", []string{`f:2: unknown key "user" in the file`}},
		"not a list":   {"version: 1\nusers: {}\n", []string{"f:2: users is a list"}},
		"twice a key":  {"version: 1\nusers:\n- userPrincipalName: a\n  userPrincipalName: b\n", []string{`f:4: the key "userPrincipalName" of user occurs twice; the first is on line 3`}},
		"unknown keys": {"version: 1\nusers:\n- userPrincipalName: a\n  displyName: A\n- userPrincipalName: b\n  pasword: x\n", []string{`f:4: unknown key "displyName" in user`, `f:6: unknown key "pasword" in user`}},
		"nested key":   {"version: 1\nclusters:\n- name: a\n  resourceGroup: g\n  aad: {enableAzureRBAC: true}\n", []string{`f:5: unknown key "enableAzureRBAC" in aad of cluster; it has adminGroups`}},
		"no name":      {"version: 1\ngroups:\n- description: x\n", []string{"f:3: displayName of the group is missing"}},
		"number":       {"version: 1\ngroups:\n- displayName: 7\n", []string{`f:3: displayName of group is a text; write it in quotes: "7"`}},
		"null":         {"version: 1\ngroups:\n- displayName: g\n  description:\n", []string{"f:4: description of group has no value"}},
		"blank":        {"version: 1\ngroups:\n- displayName: ' '\n", []string{"f:3: displayName of group is empty"}},
		"truth":        {"version: 1\nusers:\n- userPrincipalName: a\n  accountEnabled: 'yes'\n", []string{"f:4: accountEnabled of user is true or false"}},
		"alias":        {"version: 1\ngroups:\n- &a {displayName: g}\n- displayName: h\n  members: &m [{user: u}]\n- displayName: i\n  members: *m\n", []string{"f:7: aliases (*m) are not allowed"}},
		"two users":    {"version: 1\nusers:\n- userPrincipalName: Ann@contoso.test\n- userPrincipalName: ann@contoso.test\n", []string{`f:4: user "ann@contoso.test" occurs twice; the first is on line 3`}},
		"two clusters": {"version: 1\nclusters:\n- {name: a, resourceGroup: g}\n- {name: a, resourceGroup: h}\n- {name: A, resourceGroup: G}\n", []string{`f:5: cluster "G/A" occurs twice; the first is on line 3`}},
		"two roles":    {"version: 1\nroleAssignments:\n- &x\n  principal: {user: a}\n  role: Reader\n  scope: {resourceGroup: g}\n- principal: {user: A}\n  role: reader\n  scope: {resourceGroup: G}\n", []string{"f:7: roleAssignment", "occurs twice; the first is on line"}},
		"two members":  {"version: 1\ngroups:\n- displayName: g\n  members:\n  - {user: a}\n  - {user: A}\n", []string{`f:6: members of group "g" names user A twice`}},
		"member kinds": {"version: 1\ngroups:\n- displayName: g\n  members: [{user: a, group: b}, {cluster: c}, {}]\n", []string{"names both a user and a group", `unknown key "cluster"`, "names nothing"}},
		"namespace":    {"version: 1\nroleAssignments:\n- {principal: {user: a}, role: R, scope: {resourceGroup: g, namespace: n}}\n", []string{"only a cluster has a namespace"}},
		"user name":    {"version: 1\nusers:\n- userPrincipalName: 'a b@c'\n", []string{`f:3: "a b@c" is not a user principal name`}},
		"password":     {"version: 1\nusers:\n- userPrincipalName: a\n  passwordFrom: {env: A, file: b}\n", []string{"f:4: passwordFrom of user \"a\" has either env or file"}},
		"secret":       {"version: 1\nusers:\n- userPrincipalName: a\n  password: hunter2\n", []string{`f:4: unknown key "password"`}},
		"credential":   {"version: 1\napps:\n- displayName: a\n  federatedCredentials:\n  - name: ok-1\n    subject: s\n  - name: x\n    issuer: nowhere\n    subject: s\n    audiences: [a, b]\n", []string{"f:5: federated credential ok-1 of app \"a\" has either issuer or cluster", `f:7: "x" is not a name of a federated credential`, "f:8: the issuer of", "exactly one audience"}},
		"role":         {"version: 1\nroleDefinitions:\n- name: r\n  assignableScopes: []\n  actions: [read]\n", []string{"f:3: role \"r\": The action \"read\" is not of the form", "f:4: role \"r\" has no assignable scope"}},
		"condition":    {"version: 1\nroleAssignments:\n- principal: {user: a}\n  role: R\n  scope: {resourceGroup: g}\n  condition: '(('\n", []string{"f:6: The condition is not valid"}},
		"cluster":      {"version: 1\nclusters:\n- name: a_\n  resourceGroup: g\n  nodeCount: 0\n  oidcIssuer: false\n  workloadIdentity: true\n", []string{`f:3: "a_" is not a name of a cluster`, "f:5: nodeCount", "f:7: workloadIdentity"}},
		"app role":     {"version: 1\napps:\n- displayName: a\n  appRoles:\n  - value: x\n    displayName: X\n    allowedMemberTypes: [Robot]\n", []string{`f:7: allowedMemberTypes of an element of appRoles of app is User or Application, not "Robot"`}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := tenantfile.Parse("f", []byte(tt.text))
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

func TestParseSize(t *testing.T) {
	if _, err := tenantfile.Parse("f", make([]byte, tenantfile.MaxSize+1)); err == nil || !strings.Contains(err.Error(), "larger than 4 MiB") {
		t.Error(err)
	}
}

// FuzzParse: no input is a panic, and what is understood survives being written
// and read again.
func FuzzParse(f *testing.F) {
	// The fuzzer is to look for inputs, not to spend a minute on the size of each.
	if err := flag.Set("test.fuzzminimizetime", "20x"); err != nil {
		f.Fatal(err)
	}
	data, err := os.ReadFile(example)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, s := range []string{
		"version: 1\n", "version: 1\nusers:\n- userPrincipalName: \"a\\u0000@b\"\n  displayName: \"true\"\n", "version: 1\ngroups:\n- displayName: |\n    x\n    y\n",
		"version: 1\nresourceGroups:\n- {name: g, location: l, tags: {'1': '2', 'y': 'null'}}\n", "a: &a [*a]\n", "version: 1\napps: [{displayName: ' x '}]\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := tenantfile.Parse("f", data)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("an error without a text")
			}
			return
		}
		out, err := tenantfile.Marshal(&tenantfile.World{File: *file})
		if err != nil {
			t.Fatalf("writing: %v", err)
		}
		again, err := tenantfile.Parse("f", out)
		if err != nil {
			t.Fatalf("reading what was written: %v\n%s", err, out)
		}
		twice, err := tenantfile.Marshal(&tenantfile.World{File: *again})
		if err != nil || string(twice) != string(out) {
			t.Fatalf("not the same again (%v):\n%s\n%s", err, out, twice)
		}
	})
}
