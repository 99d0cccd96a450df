package cluster

import (
	"fmt"

	"sigs.k8s.io/yaml"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Format is a form of a user's kubeconfig, as the format parameter of the
// credentials call spells it.
type Format string

const (
	FormatExec  Format = "exec"  // kubelogin as an exec plugin
	FormatAzure Format = "azure" // the auth provider that kubectl had before 1.26
)

// ParseFormat reads the format parameter of a credentials call. Without one
// the answer is exec, as for every version of Kubernetes that can be run here.
func ParseFormat(s string) (Format, error) {
	switch Format(s) {
	case "", FormatExec:
		return FormatExec, nil
	case FormatAzure:
		return FormatAzure, nil
	}
	return "", errs.New(errs.Invalid, "The kubeconfig format %q is neither azure nor exec.", s)
}

const installHint = `
kubelogin is not installed which is required to connect to AAD enabled cluster.

To learn more, please go to https://aka.ms/aks/kubelogin
`

type kubeconfigNames struct{ cluster, user string }

// renderKubeconfig writes a kubeconfig as AKS returns it: one cluster, one
// user, one context, keys in alphabetical order.
func renderKubeconfig(n kubeconfigNames, server string, ca []byte, user object) ([]byte, error) {
	return yaml.Marshal(object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"preferences":     object{},
		"clusters":        []object{{"name": n.cluster, "cluster": object{"server": server, "certificate-authority-data": ca}}},
		"users":           []object{{"name": n.user, "user": user}},
		"contexts":        []object{{"name": n.cluster, "context": object{"cluster": n.cluster, "user": n.user}}},
		"current-context": n.cluster,
	})
}

// entraUser returns the user entry of a cluster with Entra. Beside AKS's own
// arguments it names the authority, so that kubelogin, ours and the original,
// finds it without a proxy.
func entraUser(format Format, e *Entra, authorityHost string) (object, error) {
	server, client := e.applications()
	switch format {
	case FormatExec:
		return object{"exec": object{
			"apiVersion": "client.authentication.k8s.io/v1beta1",
			"command":    "kubelogin",
			"args": []string{
				"get-token",
				"--environment", "AzurePublicCloud",
				"--server-id", server,
				"--client-id", client,
				"--tenant-id", string(e.TenantID),
				"--login", "devicecode",
				"--authority-host", authorityHost,
				"--disable-instance-discovery",
			},
			"env":                nil,
			"installHint":        installHint,
			"provideClusterInfo": false,
		}}, nil
	case FormatAzure:
		return object{"auth-provider": object{
			"name": "azure",
			"config": map[string]string{
				"apiserver-id": server,
				"client-id":    client,
				"config-mode":  "1", // the audience has no spn: prefix
				"environment":  "AzurePublicCloud",
				"tenant-id":    string(e.TenantID),
			},
		}}, nil
	}
	return nil, errs.New(errs.Invalid, "The kubeconfig format %q is neither azure nor exec.", format)
}

// applications returns the server and the client application of kubeconfigs.
func (e *Entra) applications() (server, client string) {
	server, client = string(directory.AKSServer), string(directory.AKSClient)
	if e.ServerApp != "" {
		server = string(e.ServerApp)
	}
	if e.ClientApp != "" {
		client = string(e.ClientApp)
	}
	return server, client
}

// adminUser returns the user entry with the static credentials of a
// generation of certificates.
func adminUser(c certs) (object, error) {
	cert, key, err := c.keyPair("admin")
	if err != nil {
		return nil, fmt.Errorf("reading the admin certificate: %w", err)
	}
	return object{"client-certificate-data": cert, "client-key-data": key, "token": c.token}, nil
}

// UserKubeconfig returns the kubeconfig of listClusterUserCredential. For a
// cluster without Entra it holds the static credentials, whatever the format.
func (c *Cluster) UserKubeconfig(format Format) ([]byte, error) {
	v, err := c.current()
	if err != nil {
		return nil, err
	}
	id, err := parseARMID(v.spec.ARMID)
	if err != nil {
		return nil, err
	}
	var user object
	if v.spec.Entra != nil {
		user, err = entraUser(format, v.spec.Entra, c.m.cfg.AuthorityHost)
	} else {
		user, err = adminUser(v.certs)
	}
	if err != nil {
		return nil, err
	}
	return renderKubeconfig(kubeconfigNames{id.name, "clusterUser_" + id.group + "_" + id.name}, serverURL(v.state.Port), v.certs.ca, user)
}

// AdminKubeconfig returns the kubeconfig of listClusterAdminCredential. It
// gives every right on the cluster, and cannot be taken back but by a new
// generation of certificates.
func (c *Cluster) AdminKubeconfig() ([]byte, error) {
	v, err := c.current()
	if err != nil {
		return nil, err
	}
	id, err := parseARMID(v.spec.ARMID)
	if err != nil {
		return nil, err
	}
	user, err := adminUser(v.certs)
	if err != nil {
		return nil, err
	}
	return renderKubeconfig(kubeconfigNames{id.name, "clusterAdmin_" + id.group + "_" + id.name}, serverURL(v.state.Port), v.certs.ca, user)
}
