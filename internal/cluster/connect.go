package cluster

import (
	"fmt"
	"path"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/entrance-id/entrance/internal/errs"
)

// Connection is what an API server that somebody else runs needs in order to
// ask Entrance.
type Connection struct {
	// Key is the cluster's key, which its client certificate names.
	Key   string `json:"key"`
	Entra *Entra `json:"-"`
	// Pods, if not nil, is the workload identity webhook.
	Pods *PodWebhook `json:"-"`
	// Issuer, if not empty, is the issuer of service account tokens that Entrance
	// serves for the cluster, and JWKSURI the address of its keys.
	Issuer  string `json:"-"`
	JWKSURI string `json:"-"`
	// Certificate and PrivateKey are the client certificate by which the API
	// server proves itself, in PEM.
	Certificate, PrivateKey []byte `json:"-"`
	// Dir is the directory of the files on the machine of the API server.
	Dir string `json:"dir"`
}

// Files returns the files of a connection, by name. They are the same that
// local clusters use: the deny-only webhook first, then Node, RBAC and the
// allowing webhook.
func (c *Connection) Files() (map[string][]byte, error) {
	if !strings.HasPrefix(c.Dir, "/") || path.Clean(c.Dir) != c.Dir {
		return nil, errs.New(errs.Invalid, "The directory %q on the API server's machine is not a clean absolute path.", c.Dir)
	}
	if err := c.Entra.validate(c.Key); err != nil {
		return nil, err
	}
	objects := map[string]object{
		authenticateFile:  webhookKubeconfig(c.Entra.AuthenticateURL, c.Key, c.Entra.WebhookCA, c.Dir),
		authorizeFile:     webhookKubeconfig(c.Entra.AuthorizeURL, c.Key, c.Entra.WebhookCA, c.Dir),
		authorizationFile: authorization(c.Entra, c.Dir),
	}
	if c.Entra.DenyURL != "" {
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
	return files, nil
}

// Flags returns the flags that the API server needs, in the form --name=value.
func (c *Connection) Flags() []string {
	flags := []string{
		"--authentication-token-webhook-config-file=" + path.Join(c.Dir, authenticateFile),
		"--authentication-token-webhook-version=v1",
		"--authentication-token-webhook-cache-ttl=0s",
		"--authorization-config=" + path.Join(c.Dir, authorizationFile),
	}
	if c.Pods != nil {
		flags = append(flags, "--admission-control-config-file="+path.Join(c.Dir, admissionConfig))
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

// Distributions that Instructions knows.
var Distributions = []string{"flags", "kubeadm", "k3s", "kind"}

// Instructions says, for a person, what to change so that the API server uses
// the files: they are to be copied to Dir on each control plane machine first.
func (c *Connection) Instructions(distribution string) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "Copy the files to %s on every machine that runs an API server, readable by it alone.\n", c.Dir)
	switch distribution {
	case "flags":
		b.WriteString("Then add these flags to kube-apiserver (1.30 or newer), and remove --authorization-mode and\n--authorization-webhook-*: the authorization file takes their place.\n\n")
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
		b.WriteString("\nkubeadm 1.30 or newer leaves --authorization-mode out when it sees authorization-config. With an\nolder one remove it from /etc/kubernetes/manifests/kube-apiserver.yaml.\n")
	case "k3s":
		b.WriteString("Then add this to /etc/rancher/k3s/config.yaml and restart k3s:\n\n  kube-apiserver-arg:\n")
		for _, f := range c.Flags() {
			fmt.Fprintf(&b, "  - %s\n", strings.TrimPrefix(f, "--"))
		}
		b.WriteString("\nk3s 1.30.11, 1.31.7, 1.32.3 or newer leaves --authorization-mode out when it sees\nauthorization-config; older ones cannot use an authorization file.\n")
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
	b.WriteString("\nKeep an administrator's client certificate (group system:masters) at hand: it works whatever\nstate Entrance is in. The client certificate of these files is read again when it is replaced.\n")
	return b.String(), nil
}
