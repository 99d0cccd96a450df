package cli_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/cli"
)

// world is a cloud without a cluster and the command on its data directory.
type world struct {
	*entrancetest.Cloud
	t   *testing.T
	dir string
}

func newWorld(t *testing.T) *world {
	c := entrancetest.Start(t)
	t.Setenv("ENTRANCE_CONFIG_DIR", t.TempDir())
	return &world{c, t, filepath.Dir(c.CAFile)}
}

// run runs the command and returns its exit code and what it printed.
func (w *world) run(in io.Reader, args ...string) (int, string, string) {
	w.t.Helper()
	var out, errOut bytes.Buffer
	code := cli.Main(append(args, "--data-dir", w.dir), in, &out, &errOut)
	return code, out.String(), errOut.String()
}

// apply applies a file that must be taken.
func (w *world) apply(text string, args ...string) string {
	w.t.Helper()
	code, out, errOut := w.run(strings.NewReader("version: 1\n"+text), append([]string{"apply", "-f", "-", "--yes"}, args...)...)
	if code != 0 {
		w.t.Fatalf("apply: exit code %d\n%s%s", code, out, errOut)
	}
	return out
}

// refused applies a file that must be refused, and holds that nothing changed.
func (w *world) refused(text string, want ...string) {
	w.t.Helper()
	before := w.export()
	code, out, errOut := w.run(strings.NewReader("version: 1\n"+text), "apply", "-f", "-", "--yes")
	if code == 0 {
		w.t.Errorf("applied:\n%s\n%s", text, out)
	}
	for _, s := range want {
		if !strings.Contains(errOut, s) {
			w.t.Errorf("no %q in:\n%s", s, errOut)
		}
	}
	if w.export() != before {
		w.t.Errorf("something was changed by:\n%s", text)
	}
}

func (w *world) export() string {
	w.t.Helper()
	code, out, errOut := w.run(nil, "export")
	if code != 0 {
		w.t.Fatalf("export: exit code %d: %s", code, errOut)
	}
	return out
}

// first returns the one object of a collection of Graph that has a display name.
func (w *world) first(collection, name string) map[string]any {
	w.t.Helper()
	var answer struct{ Value []map[string]any }
	w.Graph(w.t, http.MethodGet, "/"+collection+"?$filter="+url.QueryEscape("displayName eq '"+name+"'"), nil, &answer)
	if len(answer.Value) != 1 {
		w.t.Fatalf("%d of %s are called %s", len(answer.Value), collection, name)
	}
	return answer.Value[0]
}

const directoryPart = `
users:
  - userPrincipalName: ann
    displayName: Ann Archer
    passwordFrom: {env: APPLY_TEST_PASSWORD}
  - {userPrincipalName: bob, displayName: Bob Baker, department: Bread}
groups:
  - displayName: bakers
    description: They bake
    owners: [{user: ann}, {app: oven}]
    members: [{user: bob}, {group: apprentices}, {app: oven}, {identity: mill}]
  - {displayName: apprentices, members: [{user: ann}]}
  - {displayName: role-holders, isAssignableToRole: true}
apps:
  - displayName: oven
    identifierUris: ["api://{appId}", "api://oven"]
    isFallbackPublicClient: true
    redirectUris: {web: [https://oven.contoso.test/back], publicClient: [http://localhost]}
    owners: [{user: bob}]
    appRoles:
      - {value: Bread.Bake, displayName: Bake, description: Bakes, allowedMemberTypes: [Application]}
      - {value: Bread.Eat, displayName: Eat, description: Eats, allowedMemberTypes: [User]}
    federatedCredentials:
      - {name: pipeline, issuer: https://ci.example/, subject: "repo:a/b"}
  - {displayName: plain, servicePrincipal: false}
resourceGroups:
  - {name: village, location: westeurope, tags: {kind: test}}
identities:
  - name: mill
    resourceGroup: village
    tags: {power: water}
    federatedCredentials:
      - {name: elsewhere, issuer: https://ci.example/, subject: mill, audiences: [api://x]}
roleDefinitions:
  - name: Bread Reader
    description: Reads
    assignableScopes: [{resourceGroup: village}, {subscription: Sample subscription}]
    actions: [Microsoft.Resources/subscriptions/resourceGroups/read]
    notActions: [Microsoft.Resources/subscriptions/resourceGroups/write]
roleAssignments:
  - {principal: {group: bakers}, role: Bread Reader, scope: {resourceGroup: village}}
  - {principal: {identity: mill}, role: Reader, scope: {identity: mill}, description: Itself}
  - principal: {user: bob}
    role: Role Based Access Control Administrator
    scope: {resourceGroup: village}
    condition: "((!(ActionMatches{'Microsoft.Authorization/roleAssignments/write'})))"
directoryRoleAssignments:
  - {principal: {group: role-holders}, role: Groups Administrator}
  - {principal: {app: oven}, role: Directory Readers}
`

// TestApplyDirectory: a file makes everything but a cluster, is idempotent, and
// is what comes out again.
func TestApplyDirectory(t *testing.T) {
	w := newWorld(t)
	const password = "Brown-Crust-19"
	t.Setenv("APPLY_TEST_PASSWORD", password)

	if out := w.apply(directoryPart); !strings.Contains(out, "15 to create, 0 to change, 0 unchanged.") {
		t.Errorf("plan:\n%s", out)
	}
	if out := w.apply(directoryPart); !strings.Contains(out, "No changes: all 15 objects") {
		t.Errorf("the second time:\n%s", out)
	}

	// The password is the one that the file names; the other was generated, and
	// is in the file that only its owner can read.
	w.UserToken(t, entrancetest.User{UserPrincipalName: "ann@" + w.Domain, Password: password}, w.GraphScope())
	file := filepath.Join(w.dir, "generated-passwords.json")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var accounts []struct{ UserPrincipalName, Password string }
	if err := json.Unmarshal(raw, &accounts); err != nil || len(accounts) != 1 || accounts[0].UserPrincipalName != "bob@"+w.Domain {
		t.Fatalf("%v: %s", err, raw)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	w.UserToken(t, entrancetest.User{UserPrincipalName: accounts[0].UserPrincipalName, Password: accounts[0].Password}, w.GraphScope())

	app := w.first("applications", "oven")
	if uris, _ := app["identifierUris"].([]any); len(uris) != 2 || uris[0] != "api://"+app["appId"].(string) {
		t.Errorf("identifierUris: %v", uris)
	}
	var owners struct {
		Value []struct{ UserPrincipalName string }
	}
	w.Graph(t, http.MethodGet, "/applications/"+app["id"].(string)+"/owners", nil, &owners)
	if len(owners.Value) != 1 || owners.Value[0].UserPrincipalName != "bob@"+w.Domain {
		t.Errorf("owners: %v", owners.Value)
	}
	var members struct {
		Value []struct{ DisplayName string }
	}
	w.Graph(t, http.MethodGet, "/groups/"+w.first("groups", "bakers")["id"].(string)+"/members", nil, &members)
	if len(members.Value) != 4 {
		t.Errorf("members: %v", members.Value)
	}

	exported := w.export()
	if strings.Contains(exported, password) || strings.Contains(strings.ToLower(exported), "passwordfrom:") {
		t.Error("the export has a password")
	}
	if code, out, errOut := w.run(strings.NewReader(exported), "apply", "-f", "-", "--yes"); code != 0 || !strings.Contains(out, "No changes") {
		t.Errorf("the export on the same cloud: %d\n%s%s", code, out, errOut)
	}
	// On another cloud it makes the same, and then exports as the same.
	other := newWorld(t)
	if code, out, errOut := other.run(strings.NewReader(exported), "apply", "-f", "-", "--yes"); code != 0 || !strings.Contains(out, "15 to create") {
		t.Fatalf("the export on another cloud: %d\n%s%s", code, out, errOut)
	}
	if again := other.export(); again != exported {
		t.Errorf("the other cloud differs:\n%s\n---\n%s", exported, again)
	}

	// What is changed by hand is put right; what the file does not name stays.
	w.AddUser(t, "stranger")
	w.RemoveMember(t, entrancetest.Group{ID: w.first("groups", "bakers")["id"].(string)}, w.first("users", "Bob Baker")["id"].(string))
	w.Graph(t, http.MethodPatch, "/users/bob@"+w.Domain, map[string]any{"department": "Cake"}, nil)
	out := w.apply(directoryPart)
	if !strings.Contains(out, "department: Cake -> Bread") || !strings.Contains(out, "+ members: user bob@"+w.Domain) || !strings.Contains(out, "0 to create, 2 to change, 13 unchanged.") {
		t.Errorf("converging:\n%s", out)
	}
	w.first("users", "stranger")

	// Everything that can change does.
	changed := strings.NewReplacer(
		"They bake", "They baked", "{user: bob}, {group: apprentices}, ", "{user: ann}, ", "{user: ann}, {app: oven}]", "{user: bob}]",
		`, "api://oven"`, "", "isFallbackPublicClient: true", "isFallbackPublicClient: false", "publicClient: [http://localhost]", "spa: [https://oven.contoso.test/spa]",
		"      - {value: Bread.Eat, displayName: Eat, description: Eats, allowedMemberTypes: [User]}\n", "      - {value: Bread.Sell, displayName: Sell, description: Sells, allowedMemberTypes: [User]}\n",
		"Bake, description: Bakes", "Bake, description: Bakes bread", "repo:a/b", "repo:a/c", "kind: test", "kind: real", "power: water", "power: wind",
		"name: elsewhere", "name: somewhere", "description: Reads", "description: Reads all", "resourceGroups/write", "resourceGroups/delete", "description: Itself", "description: Only itself",
		"servicePrincipal: false", "servicePrincipal: true",
	).Replace(directoryPart)
	if out := w.apply(changed); !strings.Contains(out, "0 to create, 7 to change, 8 unchanged.") {
		t.Errorf("changing:\n%s", out)
	}
	if out := w.apply(changed); !strings.Contains(out, "No changes") {
		t.Errorf("changed, again:\n%s", out)
	}
}

// TestApplyRefuses: nothing is written where something is wrong.
func TestApplyRefuses(t *testing.T) {
	w := newWorld(t)
	w.refused("users:\n- userPrincipalName: a\n  colour: red\n", `standard input:4: unknown key "colour"`)
	w.refused("users: [{userPrincipalName: new}]\ngroups:\n- {displayName: g, members: [{user: nobody}]}\n", `standard input:4: there is no user "nobody@contoso.test"`)
	w.refused("users:\n- {userPrincipalName: eve, passwordFrom: {env: APPLY_TEST_NOT_SET}}\n- {userPrincipalName: eva, passwordFrom: {file: /nonexistent}}\n",
		`standard input:3: the password of user "eve@contoso.test": The environment variable APPLY_TEST_NOT_SET is not set`, `standard input:4: the password`)
	t.Setenv("APPLY_TEST_PASSWORD", "short")
	w.refused("users: [{userPrincipalName: eve, passwordFrom: {env: APPLY_TEST_PASSWORD}}]\n", "A password has 8 to")
	w.refused("resourceGroups: [{name: sample, location: westeurope}]\n", "location of resourceGroup \"sample\" cannot be changed")
	// Two groups of one name: neither can be meant.
	w.AddGroup(t, "twin")
	w.AddGroup(t, "twin")
	w.refused("groups: [{displayName: twin, description: x}]\n", "its name is not unique")
	if _, _, errOut := w.run(nil, "export"); !strings.Contains(errOut, "left out: every group called twin") {
		t.Errorf("export: %s", errOut)
	}

	for name, args := range map[string][]string{
		"no file":         {"apply"},
		"no answer":       {"apply", "-f", "-"},
		"both":            {"apply", "-f", "-", "--yes", "--dry-run"},
		"format":          {"apply", "-f", "-", "--yes", "-o", "xml"},
		"nobody to ask":   {"apply", "-f", filepath.Join(t.TempDir(), "t.yaml")},
		"a file too much": {"apply", "-f", "-", "--yes", "more"},
	} {
		if name == "nobody to ask" {
			if err := os.WriteFile(args[2], []byte("version: 1\nusers: [{userPrincipalName: eve}]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if code, _, errOut := w.run(strings.NewReader("version: 1\n"), args...); code != 2 {
			t.Errorf("%s: exit code %d: %s", name, code, errOut)
		}
	}
	if code, _, _ := w.run(nil, "apply", "-f", "/nonexistent", "--yes"); code != 3 {
		t.Errorf("a file that is not there: exit code %d", code)
	}
}

// TestApplyAsks: on a terminal the person decides, after the plan was shown.
func TestApplyAsks(t *testing.T) {
	w := newWorld(t)
	file := filepath.Join(t.TempDir(), "t.yaml")
	if err := os.WriteFile(file, []byte("version: 1\ngroups: [{displayName: choir}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		answer string
		code   int
		want   string
	}{{"n\n", 1, "+ group choir"}, {"\n", 1, "+ group choir"}, {"y\n", 0, "Applied: 1 steps."}, {"", 0, "No changes"}} {
		screen, terminal, err := pty.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(screen, tt.answer); err != nil {
			t.Fatal(err)
		}
		code, out, errOut := w.run(terminal, "apply", "-f", file)
		if code != tt.code || !strings.Contains(out, tt.want) {
			t.Errorf("answer %q: exit code %d\n%s%s", tt.answer, code, out, errOut)
		}
		if asked := strings.Contains(errOut, "Apply these changes?"); asked != (tt.answer != "") {
			t.Errorf("answer %q: asked %v", tt.answer, asked)
		}
		terminal.Close()
		screen.Close()
	}
}

// TestApplyDryRun: the plan is shown, as text and as JSON, and nothing changes.
func TestApplyDryRun(t *testing.T) {
	w := newWorld(t)
	before := w.export()
	const text = "version: 1\nusers: [{userPrincipalName: eve, displayName: \"Eve\\e[31m\"}]\ngroups: [{displayName: developers, members: [{user: eve}]}]\n"
	code, out, _ := w.run(strings.NewReader(text), "apply", "-f", "-", "--dry-run")
	if code != 0 || !strings.Contains(out, "+ user eve@contoso.test") || strings.Contains(out, "\x1b") || !strings.Contains(out, "- members: user dev@contoso.test") {
		t.Errorf("%d\n%q", code, out)
	}
	code, out, _ = w.run(strings.NewReader(text), "apply", "-f", "-", "--dry-run", "-o", "json")
	var report struct {
		DryRun  bool
		Changes []struct {
			Action, Kind, Name string
			Changes            []struct{ Field, Op, From, To string }
		}
		Done, NotDone []string
	}
	if err := json.Unmarshal([]byte(out), &report); code != 0 || err != nil {
		t.Fatalf("%d %v\n%s", code, err, out)
	}
	if !report.DryRun || len(report.Changes) != 2 || report.Changes[0].Action != "create" || len(report.Done) != 0 || len(report.NotDone) != 2 {
		t.Errorf("%+v", report)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "generated-passwords.json")); err == nil {
		t.Error("a dry run wrote passwords")
	}
	if w.export() != before {
		t.Error("a dry run changed something")
	}
}

// TestApplyGoesOn: a step that fails says what was done and what was not, and
// applying the file again finishes.
func TestApplyGoesOn(t *testing.T) {
	w := newWorld(t)
	// The name of the app is taken by a resource that only the server can know
	// of: an identifier URI must be under a domain of the tenant.
	const text = `
users: [{userPrincipalName: eve}]
apps: [{displayName: site, identifierUris: ["https://not.ours.example"]}]
resourceGroups: [{name: later, location: westeurope}]
`
	code, _, errOut := w.run(strings.NewReader("version: 1"+text), "apply", "-f", "-", "--yes")
	if code != 1 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	for _, want := range []string{"done: create user eve@contoso.test", "could not create app site: (HostNameNotOnVerifiedDomain)", "not done: create resource group later", "1 of 3 steps were done; apply the file again to go on"} {
		if !strings.Contains(errOut, want) {
			t.Errorf("no %q in:\n%s", want, errOut)
		}
	}
	code, out, _ := w.run(strings.NewReader("version: 1"+text), "apply", "-f", "-", "--yes", "-o", "json")
	var report struct {
		Error         string
		Done, NotDone []string
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 || report.Error == "" || len(report.Done) != 0 || len(report.NotDone) != 2 {
		t.Errorf("%d %v\n%s", code, err, out)
	}
	fixed := strings.ReplaceAll(text, "not.ours.example", "site.contoso.test")
	if out := w.apply(fixed); !strings.Contains(out, "1 to create, 1 to change, 1 unchanged.") {
		t.Errorf("going on:\n%s", out)
	}
	if out := w.apply(fixed); !strings.Contains(out, "No changes") {
		t.Errorf("in the end:\n%s", out)
	}
}

// TestApplyAsPerson: whoever has signed in applies with their own rights.
func TestApplyAsPerson(t *testing.T) {
	w := newWorld(t)
	const text = "version: 1\nusers: [{userPrincipalName: eve}]\ngroups: [{displayName: choir}]\n"
	weak := w.AddUser(t, "weak")
	w.apply("roleAssignments: [{principal: {user: weak}, role: Reader, scope: {subscription: Sample subscription}}]\n")
	for _, tt := range []struct {
		who  entrancetest.User
		code int
		want string
	}{{weak, 1, "could not create user eve@contoso.test: (Authorization_RequestDenied)"}, {w.Administrator, 0, ""}} {
		if code, _, errOut := w.run(nil, "login", "-u", tt.who.UserPrincipalName, "-p", tt.who.Password); code != 0 {
			t.Fatalf("login: %d: %s", code, errOut)
		}
		code, out, errOut := w.run(strings.NewReader(text), "apply", "-f", "-", "--yes")
		if code != tt.code || !strings.Contains(errOut, tt.want) {
			t.Errorf("%s: exit code %d\n%s%s", tt.who.UserPrincipalName, code, out, errOut)
		}
	}
	var owners struct{ Value []struct{ ID string } }
	w.Graph(t, http.MethodGet, "/groups/"+w.first("groups", "choir")["id"].(string)+"/owners", nil, &owners)
	if len(owners.Value) != 1 || owners.Value[0].ID != w.Administrator.ID {
		t.Errorf("the group was not made by the administrator: %v", owners.Value)
	}
}
