package cli_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestWithoutSignIn(t *testing.T) {
	s := newShell(t)
	s.want("servicePrincipal", "user.type", "account", "show")
	s.want(s.cloud.SubscriptionID, "id", "account", "show")
	s.want("Sample subscription", "[].name", "account", "list")
	s.want("sample", "[].name", "group", "list")
	s.want("sample", "[].name", "group", "list", "--subscription", "sample SUBSCRIPTION")
	s.fails(3, "doesn't exist", "group", "list", "--subscription", "nope")
	s.fails(1, "Nobody is signed in", "logout")
	s.fails(1, "'entrance login'", "account", "set", "--subscription", "x")
	s.fails(3, "'entrance up'", "group", "list", "--data-dir", t.TempDir())
	s.want("eastus", "[?name=='eastus'].name | [0]", "account", "list-locations")
}

func TestLogin(t *testing.T) {
	s := newShell(t)
	admin := s.cloud.Administrator
	s.want(admin.UserPrincipalName, "[].user.name", "login", "-u", admin.UserPrincipalName, "-p", admin.Password)
	s.want("user", "user.type", "account", "show")
	s.want("sample", "[].name", "group", "list")
	s.want(s.cloud.TenantID, "tenant", "account", "get-access-token", "--resource-type", "ms-graph")
	s.want("Bearer", "tokenType", "account", "get-access-token", "--scope", s.cloud.AKSScope())
	s.fails(2, "one of", "account", "get-access-token", "--scope", s.cloud.AKSScope(), "--resource-type", "arm")

	// A password may come on standard input, where nobody sees it.
	dev := s.cloud.AddUser(t, "dee")
	if _, errOut, code := s.run(dev.Password+"\n", "login", "-u", dev.UserPrincipalName, "--allow-no-subscriptions"); code != 0 {
		t.Fatal(errOut)
	}
	s.want(dev.UserPrincipalName, "user.name", "account", "show")
	s.want("2", "length(@)", "account", "list")
	s.ok("account", "set", "--subscription", s.cloud.SubscriptionID)
	s.want(admin.UserPrincipalName, "user.name", "account", "show")
	s.ok("logout")
	s.want(dev.UserPrincipalName, "user.name", "account", "show")
	s.fails(1, "not signed in", "logout", "--username", admin.UserPrincipalName)
	s.ok("account", "clear")
	s.want("servicePrincipal", "user.type", "account", "show")

	s.fails(1, "Check the user name", "login", "-u", admin.UserPrincipalName, "-p", "wrong")
	s.fails(1, "AADSTS50126", "login", "-u", admin.UserPrincipalName, "-p", "wrong")
	s.fails(1, "--allow-no-subscriptions", "login", "-u", dev.UserPrincipalName, "-p", dev.Password)
	s.fails(2, "--cloud", "login", "--cloud", "MoonCloud")
	s.fails(2, "https", "login", "--cloud", "http://localhost:1")
	s.fails(2, "--username", "login", "-p", "x")
	s.fails(2, "browser", "login", "--use-device-code", "-u", "x")
	s.want("servicePrincipal", "user.type", "account", "show")
}

// TestTokensAreKept holds that a command after another asks for no token, and
// that nothing of a sign-in is left after logout or readable meanwhile.
func TestTokensAreKept(t *testing.T) {
	s := newShell(t)
	admin := s.cloud.Administrator
	s.ok("login", "-u", admin.UserPrincipalName, "-p", admin.Password)
	first := s.word("accessToken", "account", "get-access-token")
	if again := s.word("accessToken", "account", "get-access-token"); again != first {
		t.Error("each command gets a token of its own")
	}
	dir := os.Getenv("ENTRANCE_CONFIG_DIR")
	tokens := 0
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v", path, info.Mode())
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), first[:40]) || strings.Contains(string(raw), admin.Password) {
			t.Errorf("%s holds a secret in the clear", path)
		}
		if filepath.Ext(path) == ".token" {
			tokens++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if tokens == 0 {
		t.Error("nothing is kept")
	}
	s.ok("logout")
	if left, _ := filepath.Glob(filepath.Join(dir, "tokens", "store", "*.token")); len(left) != 0 {
		t.Errorf("left after logout: %v", left)
	}
}

func TestLoginServicePrincipal(t *testing.T) {
	s := newShell(t)
	app := s.cloud.AddApp(t, "robot")
	login := []string{"login", "--service-principal", "--allow-no-subscriptions", "-u", app.ClientID, "--tenant", s.cloud.TenantID}
	s.want(app.ClientID, "[0].user.name", append(login, "-p", app.ClientSecret)...)
	s.ok("account", "get-access-token", "--resource-type", "ms-graph")
	s.fails(1, "AADSTS7000215", append(login, "-p", "wrong")...)
	s.fails(2, "--tenant", "login", "--service-principal", "-u", app.ClientID, "-p", "x")
	s.fails(2, "--certificate", login...)
	s.fails(2, "exclude", append(login, "-p", "x", "--identity")...)

	// A certificate, by --certificate and by --password as older az has it.
	file, der := certificate(t)
	s.cloud.Graph(t, "PATCH", "/applications/"+app.ObjectID, map[string]any{"keyCredentials": []any{map[string]any{
		"type": "AsymmetricX509Cert", "usage": "Verify", "key": base64.StdEncoding.EncodeToString(der)}}}, nil)
	s.want("servicePrincipal", "[0].user.type", append(login, "--certificate", file)...)
	s.ok(append(login, "-p", file)...)
	s.ok("account", "get-access-token", "--resource-type", "ms-graph")

	s.want("systemAssignedIdentity", "[0].user.name", "login", "--identity", "--allow-no-subscriptions")
	s.want("2", "length(@)", "account", "list")
}

func certificate(t *testing.T) (file string, der []byte) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "robot"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	if der, err = x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key); err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "robot.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, der
}
