package cluster

import (
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func testConnection() *Connection {
	return &Connection{
		Key: "c1", Dir: "/etc/entrance", Certificate: []byte("cert"), PrivateKey: []byte("key"),
		Entra: &Entra{
			TenantID:        "11111111-1111-4111-8111-111111111111",
			AuthenticateURL: "https://e:8444/clusters/c1/authenticate", AuthorizeURL: "https://e:8444/clusters/c1/authorize",
			DenyURL: "https://e:8444/clusters/c1/deny", WebhookCA: []byte("ca"),
		},
	}
}

func TestConnectionFiles(t *testing.T) {
	c := testConnection()
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
	}
	// Every file that a flag or another file names is among them.
	named := c.Flags()
	for _, content := range files {
		named = append(named, strings.Fields(string(content))...)
	}
	for _, n := range named {
		if i := strings.Index(n, "/etc/entrance/"); i >= 0 {
			if name := n[i+len("/etc/entrance/"):]; files[name] == nil {
				t.Errorf("%s is named and is not there", name)
			}
		}
	}
	var config struct {
		Authorizers []struct{ Type, Name string }
	}
	if err := yaml.Unmarshal(files[authorizationFile], &config); err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, a := range config.Authorizers {
		order = append(order, a.Name)
	}
	if strings.Join(order, " ") != "entrance-deny node rbac entrance" {
		t.Errorf("order = %v", order)
	}
	for _, dir := range []string{"", "relative", "/etc/../x", "/etc/entrance/"} {
		c := testConnection()
		c.Dir = dir
		if _, err := c.Files(); err == nil {
			t.Errorf("the directory %q is taken", dir)
		}
	}
}

func TestInstructionsNameEveryFlag(t *testing.T) {
	c := testConnection()
	for _, d := range Distributions {
		text, err := c.Instructions(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range c.Flags() {
			name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
			if !strings.Contains(text, name) || !strings.Contains(text, value) {
				t.Errorf("%s does not name %s", d, f)
			}
		}
	}
	if _, err := c.Instructions("minikube"); err == nil {
		t.Error("an unknown distribution has instructions")
	}
}
