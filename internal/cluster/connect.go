package cluster

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/entrance-id/entrance/internal/errs"
	records "github.com/entrance-id/entrance/internal/state"
)

// Styles of connection: what an API server is configured with.
const (
	// StyleWebhooks asks a webhook about tokens, and two about access, through
	// an AuthorizationConfiguration. It is all that Entrance can do.
	StyleWebhooks = "webhooks"
	// StyleFlags has one webhook for tokens and one for access, by flags alone,
	// for API servers that have no AuthorizationConfiguration (before 1.32).
	// Nothing is asked before Node and RBAC.
	StyleFlags = "flags"
	// StyleStructured has an AuthenticationConfiguration, by which the API
	// server verifies tokens itself, and an AuthorizationConfiguration.
	StyleStructured = "structured"
)

// Styles are the styles of connection.
var Styles = []string{StyleWebhooks, StyleFlags, StyleStructured}

// Connection is what an API server that somebody else runs needs in order to
// ask Entrance.
type Connection struct {
	// Key is the cluster's key, which its client certificate names.
	Key   string
	Style string // one of Styles; empty is StyleWebhooks
	Entra *Entra
	// Pods, if not nil, is the workload identity webhook.
	Pods *PodWebhook
	// Issuer, if not empty, is the issuer of service account tokens that Entrance
	// serves for the cluster, and JWKSURI the address of its keys.
	Issuer, JWKSURI string
	// Tokens is who issues people's tokens, for StyleStructured.
	Tokens *TokenIssuer
	// Certificate and PrivateKey are the client certificate by which the API
	// server proves itself, in PEM.
	Certificate, PrivateKey []byte
	// Dir is the directory of the files on the machine of the API server.
	Dir string
}

// TokenIssuer is an issuer whose tokens an API server verifies by itself.
type TokenIssuer struct {
	URL       string   // what iss is
	Discovery string   // address of the discovery document
	CA        []byte   // PEM, of the authority of that address
	Audiences []string // one of which aud is
}

// hasObject is hasOID for StyleStructured.
const hasObject = "has(request.extra) && '" + records.ExtraObject + "' in request.extra"

// Files returns the files of a connection, by name: those that the API server
// reads, and the units that keep its certificate fresh.
func (c *Connection) Files() (map[string][]byte, error) {
	if !strings.HasPrefix(c.Dir, "/") || path.Clean(c.Dir) != c.Dir {
		return nil, errs.New(errs.Invalid, "The directory %q on the API server's machine is not a clean absolute path.", c.Dir)
	}
	if err := c.Entra.validate(c.Key); err != nil {
		return nil, err
	}
	objects := map[string]object{authorizeFile: webhookKubeconfig(c.Entra.AuthorizeURL, c.Key, c.Entra.WebhookCA, c.Dir)}
	switch c.style() {
	case StyleWebhooks:
		objects[authenticateFile] = webhookKubeconfig(c.Entra.AuthenticateURL, c.Key, c.Entra.WebhookCA, c.Dir)
		objects[authorizationFile] = authorization(c.Entra, c.Dir, hasOID)
	case StyleFlags:
		objects[authenticateFile] = webhookKubeconfig(c.Entra.AuthenticateURL, c.Key, c.Entra.WebhookCA, c.Dir)
	case StyleStructured:
		if c.Tokens == nil {
			return nil, errs.New(errs.Internal, "the issuer of the tokens is missing")
		}
		objects[authenticationFile] = c.Tokens.configuration(c.Entra)
		objects[authorizationFile] = authorization(c.Entra, c.Dir, hasObject)
	default:
		return nil, errs.New(errs.Invalid, "There is no style %q: it is one of %s.", c.Style, strings.Join(Styles, ", "))
	}
	if c.Entra.DenyURL != "" && c.style() != StyleFlags {
		objects[denyFile] = webhookKubeconfig(c.Entra.DenyURL, c.Key, c.Entra.WebhookCA, c.Dir)
	}
	if c.Pods != nil {
		if err := c.Pods.validate(c.Key); err != nil {
			return nil, err
		}
		user, err := c.Pods.kubeconfig(c.Dir)
		if err != nil {
			return nil, err
		}
		objects[admissionFile], objects[admissionConfig] = user, admission(c.Dir)
	}
	files := map[string][]byte{}
	if c.Pods != nil {
		b, err := yaml.Marshal(mutator(c.Pods))
		if err != nil {
			return nil, err
		}
		files[mutatorFile] = b
	}
	files[webhookCert+".crt"], files[webhookCert+".key"] = c.Certificate, c.PrivateKey
	for name, o := range objects {
		b, err := yaml.Marshal(o)
		if err != nil {
			return nil, err
		}
		files[name] = b
	}
	for name, unit := range renewalUnits(c.Dir) {
		files[name] = []byte(unit)
	}
	return files, nil
}

func (c *Connection) style() string {
	if c.Style == "" {
		return StyleWebhooks
	}
	return c.Style
}

// configuration returns the AuthenticationConfiguration. What the webhook checks
// of a token is checked here as far as it can be told from the token alone; what
// is known only of the account is left to the denying webhook.
func (i *TokenIssuer) configuration(e *Entra) object {
	rule := func(expression, message string) object {
		return object{"expression": expression, "message": message}
	}
	return object{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "AuthenticationConfiguration",
		"jwt": []object{{
			"issuer": object{
				"url": i.URL, "discoveryURL": i.Discovery, "certificateAuthority": string(i.CA),
				"audiences": i.Audiences, "audienceMatchPolicy": "MatchAny",
			},
			"claimValidationRules": []object{
				rule("claims.tid == '"+string(e.TenantID)+"'", "the token is of another tenant"),
				rule("has(claims.oid) && claims.oid != ''", "the token names no object"),
				rule("!has(claims.cnf)", "the token is bound to a key, which cannot be proved here"),
			},
			"claimMappings": object{
				"username": object{"expression": "has(claims.upn) ? claims.upn : claims.oid"},
				"groups":   object{"expression": "has(claims.groups) ? claims.groups : []"},
				"extra": []object{
					{"key": records.ExtraObject, "valueExpression": "claims.oid"},
					{"key": records.ExtraIssued, "valueExpression": "string(int(claims.iat))"},
				},
			},
			"userValidationRules": []object{
				rule("!user.username.startsWith('system:')", "the name is one that Kubernetes keeps for itself"),
				rule("user.groups.all(g, !g.startsWith('system:'))", "a group is one that Kubernetes keeps for itself"),
			},
		}},
	}
}

// Flags returns the flags that the API server needs, in the form --name=value.
func (c *Connection) Flags() []string {
	var flags []string
	file := func(flag, name string) { flags = append(flags, "--"+flag+"="+path.Join(c.Dir, name)) }
	if c.style() == StyleStructured {
		file("authentication-config", authenticationFile)
	} else {
		file("authentication-token-webhook-config-file", authenticateFile)
		flags = append(flags, "--authentication-token-webhook-version=v1", "--authentication-token-webhook-cache-ttl=0s")
	}
	if c.style() == StyleFlags {
		flags = append(flags, "--authorization-mode=Node,RBAC,Webhook")
		file("authorization-webhook-config-file", authorizeFile)
		flags = append(flags, "--authorization-webhook-version=v1",
			"--authorization-webhook-cache-authorized-ttl="+webhookCache.String(), "--authorization-webhook-cache-unauthorized-ttl="+webhookCache.String())
	} else {
		file("authorization-config", authorizationFile)
	}
	if c.Pods != nil {
		file("admission-control-config-file", admissionConfig)
	}
	if c.Issuer != "" {
		// The first one signs. Tokens of the second, which is the usual one, stay
		// good: pods have them.
		flags = append(flags, "--service-account-issuer="+c.Issuer, "--service-account-issuer="+defaultIssuer, "--service-account-jwks-uri="+c.JWKSURI)
	}
	return flags
}

// mutatorFile is the file that registers the pod webhook. It is for kubectl, not
// for the API server's machine.
const mutatorFile = "mutating-webhook.yaml"

// needs says which API servers a style is for, and what it cannot do.
func (c *Connection) needs() string {
	switch c.style() {
	case StyleFlags:
		return "This style is for API servers before 1.32. Nothing is asked before Kubernetes RBAC, so a user who was\n" +
			"disabled keeps what a RoleBinding gives them for the ten seconds of a TokenReview; and while Entrance\n" +
			"is down its users keep what RBAC gives them, instead of being refused.\n"
	case StyleStructured:
		return "This style needs kube-apiserver 1.34 or newer, and an issuer address that it can reach. The API server\n" +
			"verifies tokens itself: groups are those of the token, users in more than 200 groups have none, and\n" +
			"proof of possession cannot be demanded. Access by Azure RBAC and admin groups follows the directory.\n" +
			"Remove the flags --oidc-*: the authentication file takes their place.\n"
	}
	return "This style needs kube-apiserver 1.32 or newer.\n"
}

// Distributions that Instructions knows.
var Distributions = []string{"flags", "kubeadm", "k3s", "kind"}

// Instructions says, for a person, what to change so that the API server uses
// the files: they are to be copied to Dir on each control plane machine first.
func (c *Connection) Instructions(distribution string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Copy the files to %s on every machine that runs an API server, readable by it alone.\n%s", c.Dir, c.needs())
	old := ""
	switch distribution {
	case "flags":
		if c.style() != StyleFlags {
			old = ", and remove --authorization-mode and\n--authorization-webhook-*: the authorization file takes their place"
		}
		fmt.Fprintf(&b, "Then add these flags to kube-apiserver%s.\n\n", old)
		for _, f := range c.Flags() {
			fmt.Fprintf(&b, "  %s\n", f)
		}
	case "kubeadm":
		b.WriteString("Then patch the ClusterConfiguration (kubeadm.k8s.io/v1beta4), and run\n'kubeadm init phase control-plane apiserver --config FILE' on each control plane machine:\n\n")
		b.WriteString("  apiVersion: kubeadm.k8s.io/v1beta4\n  kind: ClusterConfiguration\n  apiServer:\n    extraArgs:\n")
		for _, f := range c.Flags() {
			name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
			fmt.Fprintf(&b, "    - name: %s\n      value: %s\n", name, value)
		}
		fmt.Fprintf(&b, "    extraVolumes:\n    - name: entrance\n      hostPath: %s\n      mountPath: %s\n      readOnly: true\n      pathType: Directory\n", c.Dir, c.Dir)
		if c.style() != StyleFlags {
			b.WriteString("\nkubeadm 1.30 or newer leaves --authorization-mode out when it sees authorization-config.\n")
		}
	case "k3s":
		b.WriteString("Then add this to /etc/rancher/k3s/config.yaml and restart k3s:\n\n  kube-apiserver-arg:\n")
		for _, f := range c.Flags() {
			fmt.Fprintf(&b, "  - %s\n", strings.TrimPrefix(f, "--"))
		}
		if c.style() != StyleFlags {
			b.WriteString("\nk3s 1.32.3 or newer leaves --authorization-mode out when it sees authorization-config.\n")
		}
	case "kind":
		fmt.Fprintf(&b, "Then create the cluster with this configuration; hostPath is where the files are on your machine:\n\n"+
			"  kind: Cluster\n  apiVersion: kind.x-k8s.io/v1alpha4\n  nodes:\n  - role: control-plane\n    extraMounts:\n    - hostPath: %s\n      containerPath: %s\n"+
			"    kubeadmConfigPatches:\n    - |\n      kind: ClusterConfiguration\n      apiServer:\n        extraVolumes:\n        - name: entrance\n          hostPath: %s\n          mountPath: %s\n          readOnly: true\n        extraArgs:\n", c.Dir, c.Dir, c.Dir, c.Dir)
		seen := map[string]bool{} // a map holds one value of a flag, and a new cluster needs no more
		for _, f := range c.Flags() {
			name, value, _ := strings.Cut(strings.TrimPrefix(f, "--"), "=")
			if !seen[name] {
				fmt.Fprintf(&b, "          %s: %s\n", name, value)
			}
			seen[name] = true
		}
		b.WriteString("\n(Where kind writes kubeadm.k8s.io/v1beta4, extraArgs is a list of name and value.)\n")
	default:
		return "", errs.New(errs.Invalid, "There are no instructions for %q: it is one of %s.", distribution, strings.Join(Distributions, ", "))
	}
	if c.Pods != nil {
		fmt.Fprintf(&b, "\nThen have pods changed, as an administrator of the cluster:\n\n  kubectl apply -f %s\n", mutatorFile)
	}
	fmt.Fprintf(&b, `
The client certificate renews itself when, on each of these machines,

  cp %[1]s/%[2]s.* /etc/systemd/system/
  systemctl enable --now %[2]s.timer

runs 'entrance cluster renew --dir %[1]s' every day; the API server reads the files again
by itself. Keep an administrator's client certificate (group system:masters) at hand: it
works whatever state Entrance is in.
`, c.Dir, renewalUnit)
	return b.String(), nil
}
