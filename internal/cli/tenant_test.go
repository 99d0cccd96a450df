package cli_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/server"
)

// TestTenantKeys: the next key is published before it signs, and revoking the
// present one ends what it has signed, at once and for everybody who verifies.
func TestTenantKeys(t *testing.T) {
	s := newShell(t)
	keys := func(args ...string) map[string]server.KeyInfo {
		t.Helper()
		var list []server.KeyInfo
		if err := json.Unmarshal([]byte(s.ok(append([]string{"tenant", "keys", s.cloud.TenantID, "-o", "json"}, args...)...)), &list); err != nil {
			t.Fatal(err)
		}
		byUse := map[string]server.KeyInfo{}
		for _, k := range list {
			byUse[k.Use] = k
		}
		return byUse
	}
	// published are the keys that everybody else sees.
	published := func() (kids []string) {
		t.Helper()
		resp, err := s.cloud.Client.Get(s.cloud.Status().Endpoints.Login + "/" + s.cloud.TenantID + "/discovery/v2.0/keys")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var doc struct{ Keys []struct{ Kid string } }
		if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("keys: %d, %v", resp.StatusCode, err)
		}
		for _, k := range doc.Keys {
			kids = append(kids, k.Kid)
		}
		return kids
	}
	first := keys()
	if len(first) != 1 || first["signs"].ID == "" {
		t.Fatalf("keys: %v", first)
	}
	rotated := keys("--rotate")
	if rotated["signs"].ID != first["signs"].ID || !rotated["waits"].Activates.After(rotated["waits"].Published) {
		t.Errorf("after --rotate: %v", rotated)
	}
	if list := published(); !slices.Contains(list, string(rotated["waits"].ID)) || !slices.Contains(list, string(first["signs"].ID)) {
		t.Errorf("the key document has %v", list)
	}
	revoked := keys("--rotate", "--revoke")
	if revoked["signs"].ID == first["signs"].ID || revoked["signs"].ID == "" {
		t.Errorf("after --revoke: %v", revoked)
	}
	if list := published(); slices.Contains(list, string(first["signs"].ID)) || !slices.Contains(list, string(revoked["signs"].ID)) {
		t.Errorf("the key document has %v", list)
	}
	if out := s.ok("tenant", "keys", s.cloud.TenantID); !strings.HasPrefix(out, "KEY ID") || !strings.Contains(out, string(revoked["signs"].ID)) {
		t.Errorf("%s", out)
	}
	s.fails(2, "--revoke is for --rotate", "tenant", "keys", s.cloud.TenantID, "--revoke")
	s.fails(3, "is hosted here", "tenant", "keys", "11111111-1111-1111-1111-111111111111")
	s.fails(2, "takes the id of one tenant", "tenant", "keys")
}
