package cli_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	s := newShell(t)
	ann := s.cloud.AddUser(t, "ann")
	s.fails(2, "--user and --cluster are required", "doctor")
	s.fails(3, "There is no cluster", "doctor", "--user", ann.UserPrincipalName, "--cluster", "none")
	s.ok("cluster", "connect", "edge", "-g", "sample", "--enable-azure-rbac", "--output-dir", t.TempDir())
	out, _, code := s.run("", "doctor", "--user", ann.UserPrincipalName, "--cluster", "edge")
	if code != 1 || !strings.Contains(out, "may not list nodes") || !strings.Contains(out, "az role assignment create") {
		t.Errorf("exit %d:\n%s", code, out)
	}
	s.cloud.Graph(t, http.MethodPost, "/identity/conditionalAccess/policies", map[string]any{
		"displayName": "no device code", "state": "enabled",
		"conditions": map[string]any{
			"clientAppTypes": []string{"all"}, "applications": map[string]any{"includeApplications": []string{"All"}}, "users": map[string]any{"includeUsers": []string{ann.ID}},
			"authenticationFlows": map[string]any{"transferMethods": "deviceCodeFlow"},
		},
		"grantControls": map[string]any{"operator": "OR", "builtInControls": []string{"block"}},
	}, nil)
	out, _, code = s.run("", "doctor", "--user", ann.ID, "--cluster", "edge", "-o", "json")
	if code != 1 || !strings.Contains(out, `with device code: policy \"no device code\" stops the sign-in`) {
		t.Errorf("exit %d:\n%s", code, out)
	}
}
