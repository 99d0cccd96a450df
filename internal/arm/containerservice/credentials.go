package containerservice

import (
	"encoding/base64"
	"net/http"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
)

// localAccounts is the refusal of static credentials (AKS, "Manage local
// accounts").
func localAccounts() error {
	return wire.BadRequest("Getting static credential is not allowed because this cluster is set to disable local accounts. For more details, see https://learn.microsoft.com/en-us/azure/aks/manage-local-accounts-managed-azure-ad")
}

// cluster is a managed cluster as credentials are given for it.
type cluster struct {
	res *state.Resource
	doc wire.Document
	key string
	// entra is whether people sign in with Entra; else the user's credentials
	// are static too.
	entra bool
}

func (p *Provider) cluster(c *wire.Call) (*cluster, error) {
	res, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	in, err := readInternal(c.View(), res)
	if err != nil {
		return nil, err
	}
	rec, err := state.Clusters.Get(c.View(), in.Key)
	if err != nil {
		return nil, err
	}
	if p.Credentials == nil {
		return nil, wire.Fail(http.StatusServiceUnavailable, "ServiceUnavailable", "This server runs no clusters.")
	}
	k := &cluster{res: res, doc: tracked.Read(res), key: in.Key, entra: rec.Entra}
	if s := k.doc.Text("properties.provisioningState"); s == "Creating" {
		return nil, wire.Fail(http.StatusConflict, "OperationNotAllowed", "The cluster is being created: its credentials are not there yet.")
	}
	return k, nil
}

// static reports whether the cluster still gives out static credentials. A
// document that does not say so has them disabled.
func (k *cluster) static() bool {
	v, ok := k.doc.Get("properties.disableLocalAccounts")
	return !ok || v == false
}

func (k *cluster) absent(err error) error {
	if errs.Is(err, errs.NotFound) {
		return wire.Fail(http.StatusConflict, "OperationNotAllowed", "The cluster '%s' does not run on this server.", k.res.Name)
	}
	return err
}

// userKubeconfig returns the kubeconfig for people.
func (p *Provider) userKubeconfig(c *wire.Call, k *cluster) ([]byte, error) {
	if !k.entra && !k.static() {
		return nil, localAccounts()
	}
	format := strings.ToLower(c.Query.Get("format"))
	if format != "" && format != "exec" && format != "azure" {
		return nil, wire.BadRequest("The kubeconfig format '%.20s' is neither azure nor exec.", format)
	}
	b, err := p.Credentials.UserKubeconfig(k.key, format)
	return b, k.absent(err)
}

func (p *Provider) adminKubeconfig(k *cluster) ([]byte, error) {
	if !k.static() {
		return nil, localAccounts()
	}
	b, err := p.Credentials.AdminKubeconfig(k.key)
	return b, k.absent(err)
}

func credential(name string, kubeconfig []byte) *wire.Response {
	return wire.OK(wire.Document{"kubeconfigs": []wire.Document{{
		"name": name, "value": base64.StdEncoding.EncodeToString(kubeconfig),
	}}})
}

func (p *Provider) userCredential(name string) func(*wire.Call) (*wire.Response, error) {
	return func(c *wire.Call) (*wire.Response, error) {
		k, err := p.cluster(c)
		if err != nil {
			return nil, err
		}
		b, err := p.userKubeconfig(c, k)
		if err != nil {
			return nil, err
		}
		return credential(name, b), nil
	}
}

func (p *Provider) adminCredential(c *wire.Call) (*wire.Response, error) {
	k, err := p.cluster(c)
	if err != nil {
		return nil, err
	}
	b, err := p.adminKubeconfig(k)
	if err != nil {
		return nil, err
	}
	return credential("clusterAdmin", b), nil
}

// accessProfile is the old form of both.
func (p *Provider) accessProfile(c *wire.Call) (*wire.Response, error) {
	k, err := p.cluster(c)
	if err != nil {
		return nil, err
	}
	var b []byte
	name := ""
	switch strings.ToLower(c.Param("profile")) {
	case "clusteradmin":
		name = "clusterAdmin"
		b, err = p.adminKubeconfig(k)
	case "clusteruser":
		name = "clusterUser"
		b, err = p.userKubeconfig(c, k)
	default:
		return nil, wire.ResourceNotFound(Type+"/accessProfiles", k.res.Name+"/"+c.Param("profile"), k.res.Group)
	}
	if err != nil {
		return nil, err
	}
	return wire.OK(wire.Document{
		"id": k.res.ID + "/accessProfiles/" + name, "name": name, "type": Type + "/accessProfiles", "location": k.doc.Text("location"),
		"properties": wire.Document{"kubeConfig": base64.StdEncoding.EncodeToString(b)},
	}), nil
}

// namespaceCredential gives the user's kubeconfig to who has a managed
// namespace alone.
func (p *Provider) namespaceCredential(c *wire.Call) (*wire.Response, error) {
	k, err := p.cluster(c)
	if err != nil {
		return nil, err
	}
	if _, err := state.Resources.Get(c.View(), state.Fold(k.res.ID+"/managedNamespaces/"+c.Param("namespace"))); err != nil {
		if errs.Is(err, errs.NotFound) {
			return nil, wire.ResourceNotFound(Type+"/managedNamespaces", k.res.Name+"/"+c.Param("namespace"), k.res.Group)
		}
		return nil, err
	}
	b, err := p.userKubeconfig(c, k)
	if err != nil {
		return nil, err
	}
	return credential("clusterUser", b), nil
}
