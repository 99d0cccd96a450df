package containerservice

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// ConnectedType is the resource type of clusters that somebody else runs.
//
// Beside what Azure Arc has, two properties say how the cluster is reached, for
// the kubeconfig: properties.entrance.server, an https URL, and
// properties.entrance.certificateAuthorityData, base64 of PEM.
const ConnectedType = "Microsoft.Kubernetes/connectedClusters"

func (p *Provider) connectedRoutes() []wire.Route {
	const (
		group = "/subscriptions/{sub}/resourceGroups/{group}/providers/" + ConnectedType
		one   = group + "/{name}"
		act   = ConnectedType + "/"
	)
	return []wire.Route{
		{Method: "GET", Pattern: "/subscriptions/{sub}/providers/" + ConnectedType, Who: wire.Visible, Action: act + "read", Handle: p.listConnected},
		{Method: "GET", Pattern: group, Who: wire.Visible, Action: act + "read", Handle: p.listConnected},
		{Method: "GET", Pattern: one, Action: act + "read", Handle: p.getConnected},
		{Method: "PUT", Pattern: one, Action: act + "write", Handle: p.putConnected},
		{Method: "PATCH", Pattern: one, Action: act + "write", Handle: p.patchConnected},
		{Method: "DELETE", Pattern: one, Action: act + "delete", Handle: p.deleteConnected},
		{Method: "POST", Pattern: one + "/listClusterUserCredential", Action: act + "listClusterUserCredential/action", Handle: p.connectedCredential},
		{Method: "POST", Pattern: one + "/listClusterUserCredentials", Action: act + "listClusterUserCredentials/action", Handle: p.connectedCredential},
	}
}

func (p *Provider) listConnected(c *wire.Call) (*wire.Response, error) {
	all, err := tracked.List(c, ConnectedType)
	if err != nil {
		return nil, err
	}
	docs := make([]stored, len(all))
	for i, r := range all {
		docs[i] = stored{tracked.Key(r), r.Body}
	}
	return wire.Page(c, docs, func(d stored) string { return d.key })
}

func (p *Provider) getConnected(c *wire.Call) (*wire.Response, error) {
	r, err := tracked.Get(c.View(), tracked.ID(c, ConnectedType))
	if err != nil {
		return nil, err
	}
	return wire.OK(tracked.Read(r)), nil
}

func (p *Provider) putConnected(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	return p.writeConnected(c, true, func(was wire.Document) wire.Document { return body.Clone() })
}

func (p *Provider) patchConnected(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	return p.writeConnected(c, false, func(was wire.Document) wire.Document {
		if tags, ok := body["tags"]; ok {
			was["tags"] = tags
		}
		for name, v := range body.Clone().Object("properties") {
			was.Set("properties."+name, v)
		}
		return was
	})
}

func (p *Provider) writeConnected(c *wire.Call, create bool, next func(was wire.Document) wire.Document) (*wire.Response, error) {
	created := false
	err := c.Update(func(tx *store.Tx) error {
		id := tracked.ID(c, ConnectedType)
		if !clusterName.MatchString(id.Name()) {
			return invalid("resourceName", "'%.70s' is not a name: it has 1 to 63 letters, digits, '_' and '-', the first and the last a letter or digit.", id.Name())
		}
		old, err := tracked.Get(tx, id)
		if e, ok := err.(*wire.Error); ok && e.Code == "ResourceNotFound" && create {
			old, err = nil, nil
		}
		if err != nil {
			return err
		}
		created = old == nil
		n := &plan{p: p, tenant: c.Tenant, id: id, now: c.Now, r: tx}
		was := wire.Document{}
		if created {
			n.in = internal{Key: newKey(), UID: directory.NewGUID()}
		} else {
			was = tracked.Read(old)
			n.old = was.Clone()
			i, err := readInternal(tx, old)
			if err != nil {
				return err
			}
			n.in = *i
		}
		n.doc = next(was)
		if err := n.completeConnected(); err != nil {
			return err
		}
		res, err := tracked.Put(tx, id, old, n.doc, n.in.raw(), c.Now)
		if err != nil {
			return err
		}
		n.rec.ID = res.ID
		if err := state.Clusters.Put(tx, &n.rec); err != nil {
			return err
		}
		for _, sp := range n.made {
			if err := state.ServicePrincipals.Create(tx, sp); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	resp, err := p.getConnected(c)
	if err == nil && created {
		resp.Status = http.StatusCreated
	}
	return resp, err
}

// completeConnected fills and checks the document of a connected cluster, and
// derives what the webhooks decide from.
func (n *plan) completeConnected() error {
	if _, err := n.doc.Tags(); err != nil {
		return err
	}
	if n.doc.Object("properties") == nil {
		n.doc["properties"] = map[string]any{}
	}
	if err := n.location(); err != nil {
		return err
	}
	sp, err := n.own(n.in.System, n.id.Name(), n.id.String(), false)
	if err != nil {
		return err
	}
	n.in.System = sp.ID
	n.doc["identity"] = map[string]any{"type": systemAssigned, "principalId": string(sp.ID), "tenantId": string(n.tenant)}
	n.doc.Set("properties.provisioningState", "Succeeded")
	n.preset("properties.connectivityStatus", "Connected")
	if n.doc.Object("properties.aadProfile") == nil {
		n.doc.Set("properties.aadProfile", map[string]any{})
	}
	aad := n.doc.Object("properties.aadProfile")
	tenant, err := n.aadTenant(aad)
	if err != nil {
		return err
	}
	groups, err := adminGroups(aad)
	if err != nil {
		return err
	}
	aad["tenantID"], aad["adminGroupObjectIDs"] = string(tenant), groups
	if aad.Bool("enableAzureRBAC") && tenant != n.tenant {
		return wire.BadRequest("Azure RBAC is only supported when the Azure AD tenant of the cluster is the tenant of its subscription.").On("aadProfile.enableAzureRBAC")
	}
	r := &n.rec
	*r = state.Cluster{
		Key: n.in.Key, ID: n.id.String(), Tenant: tenant, Entra: true, Connected: true,
		ServerApp: directory.AKSServer, AzureRBAC: aad.Bool("enableAzureRBAC"),
		WorkloadIdentity: n.doc.Bool("properties.securityProfile.workloadIdentity.enabled"),
	}
	if tenant == n.tenant {
		r.Identity = sp.ID
	}
	if err := n.connectedIssuer(); err != nil {
		return err
	}
	for _, g := range groups {
		if s, ok := g.(string); ok {
			r.AdminGroups = append(r.AdminGroups, directory.ObjectID(s))
		}
	}
	if app := aad.Text("serverAppID"); app != "" {
		id, ok := directory.ParseGUID(app)
		if !ok {
			return invalid("aadProfile.serverAppID", "'%.50s' is not an application id.", app)
		}
		r.ServerApp = directory.AppID(id)
	}
	if server := n.doc.Text("properties.entrance.server"); server != "" && !httpsURL(server) {
		return invalid("entrance.server", "It is not an https URL.")
	}
	if ca := n.doc.Text("properties.entrance.certificateAuthorityData"); ca != "" {
		if _, err := base64.StdEncoding.DecodeString(ca); err != nil {
			return invalid("entrance.certificateAuthorityData", "It is not base64.")
		}
	}
	return readSwitches(n.doc, r)
}

// connectedIssuer says who the issuer of a connected cluster's service account
// tokens is: one that somebody else serves, or, when it is enabled, one that we
// serve with the keys that the cluster has.
func (n *plan) connectedIssuer() error {
	const path = "properties.oidcIssuerProfile"
	own := n.doc.Text(path + ".selfHostedIssuerUrl")
	switch {
	case own != "":
		if err := issuer.CheckURL(own); err != nil {
			return invalid("oidcIssuerProfile.selfHostedIssuerUrl", "%s", errs.Message(err))
		}
		// No cluster may take the issuer of another: its tokens would pass for
		// that one's.
		if strings.HasPrefix(strings.ToLower(own)+"/", strings.ToLower(n.p.BaseURL)+"/") {
			return invalid("oidcIssuerProfile.selfHostedIssuerUrl", "It lies within this server's own address.")
		}
		if other, ok := state.Clusters.First(n.r, "issuer", own); ok && other.Key != n.in.Key {
			return invalid("oidcIssuerProfile.selfHostedIssuerUrl", "Another cluster has this issuer.")
		}
		n.rec.Issuer = own
	case n.doc.Bool(path + ".enabled"):
		if n.doc.Text("properties.entrance.server") == "" {
			return invalid("oidcIssuerProfile.enabled", "The keys are read from the API server: set properties.entrance.server.")
		}
		if n.rec.Identity == "" {
			return invalid("oidcIssuerProfile.enabled", "The cluster believes the tokens of a tenant that is hosted elsewhere, so that its keys cannot be read: name an issuer of its own as selfHostedIssuerUrl.")
		}
		n.rec.Issuer = issuer.URL(n.p.BaseURL, n.tenant, n.in.Key)
	}
	if n.rec.Issuer == "" {
		n.doc.Delete(path + ".issuerUrl")
		return nil
	}
	n.doc.Set(path+".issuerUrl", n.rec.Issuer)
	return nil
}

func httpsURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

func (p *Provider) deleteConnected(c *wire.Call) (*wire.Response, error) {
	err := c.Update(func(tx *store.Tx) error {
		r, err := tracked.Get(tx, tracked.ID(c, ConnectedType))
		if err != nil {
			return err
		}
		if _, busy := operation.Busy(tx, r.ID); busy {
			return operation.Conflict("Updating")
		}
		return p.removeAll(tx, c.Tenant, r, c.Now)
	})
	if e, ok := err.(*wire.Error); ok && e.Status == http.StatusNotFound || errs.Is(err, errs.NotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return &wire.Response{Status: http.StatusOK}, nil
}

// connectedCredential gives the kubeconfig with which people reach the cluster
// directly: there is no proxy between.
func (p *Provider) connectedCredential(c *wire.Call) (*wire.Response, error) {
	body, err := c.OptionalDocument()
	if err != nil {
		return nil, err
	}
	if m := body.Text("authenticationMethod"); m != "" && !strings.EqualFold(m, "AAD") {
		return nil, wire.BadRequest("The authentication method '%.20s' is not supported: it must be AAD.", m)
	}
	res, err := tracked.Get(c.View(), tracked.ID(c, ConnectedType))
	if err != nil {
		return nil, err
	}
	doc := tracked.Read(res)
	server := doc.Text("properties.entrance.server")
	if server == "" {
		return nil, wire.BadRequest("The connected cluster does not say where it is reached: set properties.entrance.server.")
	}
	in, err := readInternal(c.View(), res)
	if err != nil {
		return nil, err
	}
	rec, err := state.Clusters.Get(c.View(), in.Key)
	if err != nil {
		return nil, err
	}
	client := directory.AKSClient
	if rec.ServerApp == directory.ArcServer {
		client = directory.ArcClient
	}
	user := "clusterUser_" + res.Group + "_" + res.Name
	at := map[string]any{"server": server}
	if ca := doc.Text("properties.entrance.certificateAuthorityData"); ca != "" {
		at["certificate-authority-data"] = ca
	}
	kubeconfig, err := yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "preferences": map[string]any{}, "current-context": res.Name,
		"clusters": []any{map[string]any{"name": res.Name, "cluster": at}},
		"contexts": []any{map[string]any{"name": res.Name, "context": map[string]any{"cluster": res.Name, "user": user}}},
		"users": []any{map[string]any{"name": user, "user": map[string]any{"exec": map[string]any{
			"apiVersion": "client.authentication.k8s.io/v1beta1", "command": "kubelogin", "env": nil, "provideClusterInfo": false,
			"args": []string{
				"get-token", "--environment", "AzurePublicCloud", "--server-id", string(rec.ServerApp), "--client-id", string(client),
				"--tenant-id", string(rec.Tenant), "--login", "devicecode", "--authority-host", p.BaseURL + "/", "--disable-instance-discovery",
			},
		}}}},
	})
	if err != nil {
		return nil, err
	}
	return wire.OK(wire.Document{
		"hybridConnectionConfig": wire.Document{},
		"kubeconfigs":            []wire.Document{{"name": "credentialName1", "value": base64.StdEncoding.EncodeToString(kubeconfig)}},
	}), nil
}
