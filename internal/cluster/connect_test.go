package cluster

import (
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/yaml"
)

func testConnection() *Connection {
	return &Connection{
		Key: "c1", Dir: "/etc/entrance", Certificate: []byte("cert"), PrivateKey: []byte("key"),
		Tokens: &TokenIssuer{URL: "https://sts.test/t/", Discovery: "https://e:8443/t/.well-known/openid-configuration", CA: []byte("ca"), Audiences: []string{"a"}},
		Entra: &Entra{
			TenantID:        "11111111-1111-4111-8111-111111111111",
			AuthenticateURL: "https://e:8444/clusters/c1/authenticate", AuthorizeURL: "https://e:8444/clusters/c1/authorize",
			DenyURL: "https://e:8444/clusters/c1/deny", WebhookCA: []byte("ca"),
		},
	}
}

func TestConnectionFiles(t *testing.T) {
	for _, style := range append([]string{""}, Styles...) {
		c := testConnection()
		c.Style = style
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
					t.Errorf("style %q: %s is named and is not there", style, name)
				}
			}
		}
		if style == StyleStructured && !strings.Contains(string(files[authorizationFile]), hasObject) {
			t.Error("the structured style asks the webhooks about nobody")
		}
		if unit := string(files["entrance-renew.service"]); !strings.Contains(unit, "cluster renew --dir /etc/entrance\n") || files["entrance-renew.timer"] == nil {
			t.Errorf("style %q renews nothing:\n%s", style, unit)
		}
	}
	c := testConnection()
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
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

// TestConnectionPods: a connected cluster gets what a local one has, the webhook's
// registration as a manifest for kubectl.
func TestConnectionPods(t *testing.T) {
	c := testConnection()
	c.Pods = &PodWebhook{URL: "https://e:8444/clusters/c1/mutate-pods", CA: []byte("ca")}
	c.Issuer, c.JWKSURI = "https://e:8443/oidc/t/c1/", "https://e:8443/oidc/t/c1/openid/v1/jwks"
	files, err := c.Files()
	if err != nil {
		t.Fatal(err)
	}
	var config admissionv1.MutatingWebhookConfiguration
	if err := yaml.UnmarshalStrict(files[mutatorFile], &config); err != nil {
		t.Fatal(err)
	}
	if config.Kind != "MutatingWebhookConfiguration" || config.APIVersion != "admissionregistration.k8s.io/v1" || !equality.Semantic.DeepEqual(config.Webhooks, mutator(c.Pods).Webhooks) {
		t.Errorf("the manifest is\n%s", files[mutatorFile])
	}
	if files[admissionFile] == nil || files[admissionConfig] == nil {
		t.Error("the API server does not prove itself to the webhook")
	}
	flags := strings.Join(c.Flags(), "\n")
	for _, f := range []string{"--admission-control-config-file=/etc/entrance/admission.yaml", "--service-account-issuer=" + c.Issuer + "\n--service-account-issuer=" + defaultIssuer, "--service-account-jwks-uri=" + c.JWKSURI} {
		if !strings.Contains(flags, f) {
			t.Errorf("no %s among\n%s", f, flags)
		}
	}
	for _, d := range Distributions {
		text, err := c.Instructions(d)
		if err != nil || !strings.Contains(text, "kubectl apply -f "+mutatorFile) || !strings.Contains(text, c.Issuer) {
			t.Errorf("%s: %v\n%s", d, err, text)
		}
		if d == "kind" && strings.Count(text, "service-account-issuer") != 1 {
			t.Errorf("a map with one key twice:\n%s", text)
		}
	}
	c.Pods.CA = nil
	if _, err := c.Files(); err == nil {
		t.Error("a webhook without an authority is taken")
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
	for style, want := range map[string]string{StyleFlags: "--authorization-mode=Node,RBAC,Webhook", StyleStructured: "--authentication-config="} {
		c.Style = style
		if text, err := c.Instructions("flags"); err != nil || !strings.Contains(text, want) || !strings.Contains(text, "This style") {
			t.Errorf("style %s: %v\n%s", style, err, text)
		}
	}
	c.Style = "other"
	if _, err := c.Files(); err == nil {
		t.Error("an unknown style has files")
	}
	if _, err := c.Instructions("minikube"); err == nil {
		t.Error("an unknown distribution has instructions")
	}
}
