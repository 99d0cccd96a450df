package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/entrancetest"
	"github.com/entrance-id/entrance/internal/cli"
	"github.com/entrance-id/entrance/test/clients/harness"
	"github.com/entrance-id/entrance/test/tools"
)

// customCloud returns an az that was pointed at a cloud by what `entrance env
// --custom-cloud` prints: its variables, and then the lines in its comments.
func customCloud(t *testing.T, c *entrancetest.Cloud, authority string) *shell {
	t.Helper()
	var out, errOut bytes.Buffer
	if code := cli.Main([]string{"env", "--custom-cloud", "--authority", authority, "--data-dir", filepath.Dir(c.CAFile)}, nil, &out, &errOut); code != 0 {
		t.Fatalf("entrance env: %d: %s", code, errOut.String())
	}
	home := t.TempDir()
	env := slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(strings.ToUpper(s), "=")
		return strings.HasPrefix(name, "AZURE_") || strings.HasSuffix(name, "_PROXY") || name == "HOME"
	})
	env = append(env, "HOME="+home, "AZURE_CONFIG_DIR="+filepath.Join(home, "azure"))
	var commands []string
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		if command, ok := strings.CutPrefix(line, "# "); ok {
			commands = append(commands, command)
			continue
		}
		name, value, ok := strings.Cut(strings.TrimPrefix(line, "export "), "=")
		if !ok || strings.HasPrefix(strings.ToUpper(name), "HTTP") {
			t.Errorf("line %q", line)
		}
		env = append(env, name+"="+strings.Trim(value, "'"))
	}
	if authority == "tenant" && azBefore(2, 53) {
		// It asks login.microsoftonline.com whether it may trust the authority,
		// and has no setting against it.
		env = append(env, "HTTPS_PROXY="+c.Status().Endpoints.Proxy)
	}
	if len(commands) != 2 {
		t.Fatalf("%d commands: %s", len(commands), out.String())
	}
	for _, command := range commands {
		cmd := exec.Command("bash", "-c", command)
		cmd.Env = env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	return &shell{t: t, env: env}
}

// azBefore reports whether az is older than a version.
func azBefore(major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(versionOf(azureCLI), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}

// TestAzCustomCloud: az works as in a cloud of its own, with no proxy, in both
// forms of the authority. A password in the plain one is left out: az asks for
// the realm of the user without the port of the authority.
func TestAzCustomCloud(t *testing.T) {
	tools.Need(t, "az")
	c := entrancetest.Start(t)
	admin, app := c.Administrator, c.AddApp(t, "CI")
	c.ARM(t, "PUT", "/subscriptions/"+c.SubscriptionID+"/providers/Microsoft.Authorization/roleAssignments/4d3c2b1a-0000-4000-8000-000000000001?api-version=2022-04-01", map[string]any{
		"properties": map[string]string{
			"principalId":      app.ServicePrincipalID,
			"roleDefinitionId": "/subscriptions/" + c.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/acdd72a7-3385-48ef-bd42-f606fba81ae7", // Reader
		},
	}, nil)
	person := []string{"login", "--username", admin.UserPrincipalName, "--password", admin.Password}
	secret := []string{"login", "--service-principal", "--username", app.ClientID, "--password", app.ClientSecret, "--tenant", c.TenantID}
	device := []string{"login", "--use-device-code"}
	for _, tt := range []struct {
		authority, flow string
		args            []string
		who             string
	}{
		{"adfs", "user name and password", person, admin.UserPrincipalName},
		{"adfs", "client secret", secret, app.ClientID},
		{"adfs", "device code", device, admin.UserPrincipalName},
		{"tenant", "client secret", secret, app.ClientID},
		{"tenant", "device code", device, admin.UserPrincipalName},
	} {
		t.Run(tt.authority+"/"+tt.flow, func(t *testing.T) {
			place := "custom cloud, adfs authority"
			if tt.authority == "tenant" {
				place = "custom cloud, plain authority (az before 2.53: discovery through the proxy)"
			}
			completes(t, azureCLI, tt.flow+", "+place)
			s := customCloud(t, c, tt.authority)
			s.run(func(line string) {
				m := userCode.FindStringSubmatch(line)
				if m == nil {
					return
				}
				b := harness.NewBrowser(t, c.URL, c.Client).Get("/devicelogin").Submit(map[string]string{"otc": m[1]})
				b.Submit(map[string]string{"username": admin.UserPrincipalName})
				b.On("password").Submit(map[string]string{"password": admin.Password})
				b.On("device").Submit(map[string]string{"answer": "continue"}).On("done")
			}, append(slices.Clone(tt.args), "--output", "none")...)
			var account struct {
				EnvironmentName, TenantID, ID string
				User                          struct{ Name string }
			}
			if err := json.Unmarshal([]byte(s.run(nil, "account", "show", "--output", "json")), &account); err != nil {
				t.Fatal(err)
			}
			if account.EnvironmentName != "Entrance" || account.TenantID != c.TenantID || account.ID != c.SubscriptionID || account.User.Name != tt.who {
				t.Errorf("%+v", account)
			}
			if got := strings.TrimSpace(s.run(nil, "group", "list", "--query", "[].name", "--output", "tsv")); got != "sample" {
				t.Errorf("group list: %q", got)
			}
			if got := strings.TrimSpace(s.run(nil, "aks", "list", "--output", "json")); got != "[]" {
				t.Errorf("aks list: %s", got)
			}
			if tt.who == app.ClientID {
				return
			}
			// Microsoft Graph is a resource under its own address.
			if got := strings.TrimSpace(s.run(nil, "ad", "signed-in-user", "show", "--query", "userPrincipalName", "--output", "tsv")); got != tt.who {
				t.Errorf("signed-in-user: %q", got)
			}
		})
	}
}
