package containerservice

import (
	"slices"
	"strconv"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
)

// aad holds the Entra integration to its rules.
func (n *plan) aad() error {
	const path = "properties.aadProfile"
	local := n.doc.Bool("properties.disableLocalAccounts")
	given := n.doc.Object(path)
	was := n.old.Object(path)
	if given == nil {
		if _, there := n.doc.Get(path); there {
			return invalid("aadProfile", "It is not an object.")
		}
		n.doc.Delete(path)
		if local {
			return wire.BadRequest("Since kubernetes version 1.25, disableLocalAccounts can only be set on Azure AD integration enabled cluster. Please integrate your cluster with AAD.")
		}
		return nil
	}
	for name, v := range was {
		if given[name] == nil {
			given[name] = v
		}
	}
	if was.Bool("managed") && !given.Bool("managed") {
		return immutable("aadProfile.managed")
	}
	if !n.doc.Bool("properties.enableRBAC") {
		return wire.BadRequest("Azure AD integration requires Kubernetes RBAC, and Kubernetes RBAC cannot be added to a cluster that was made without it.").On("enableRBAC")
	}
	tenant, err := n.aadTenant(given)
	if err != nil {
		return err
	}
	given["tenantID"] = string(tenant)
	if !given.Bool("managed") {
		return n.legacy(given, was)
	}
	// Managed integration has no applications of its own: an upgrade drops them.
	for _, name := range []string{"clientAppID", "serverAppID", "serverAppSecret"} {
		if v := given.Text(name); v != "" && v != was.Text(name) {
			return wire.BadRequest("The properties clientAppID, serverAppID and serverAppSecret cannot be set with AKS-managed Azure AD.").On("aadProfile." + name)
		}
		delete(given, name)
	}
	n.secret.ServerApp = ""
	groups, err := adminGroups(given)
	if err != nil {
		return err
	}
	given["adminGroupObjectIDs"] = groups
	if v, ok := given["enableAzureRBAC"]; !ok || v == nil {
		given["enableAzureRBAC"] = false
	} else if _, isBool := v.(bool); !isBool {
		return invalid("aadProfile.enableAzureRBAC", "It is neither true nor false.")
	}
	if given.Bool("enableAzureRBAC") && tenant != n.tenant {
		return wire.BadRequest("Azure RBAC is only supported when the Azure AD tenant of the cluster is the tenant of its subscription.").On("aadProfile.enableAzureRBAC")
	}
	return nil
}

func (n *plan) aadTenant(given wire.Document) (directory.TenantID, error) {
	text := given.Text("tenantID")
	if text == "" {
		return n.tenant, nil
	}
	id, ok := directory.ParseGUID(text)
	if !ok {
		return "", invalid("aadProfile.tenantID", "'%.50s' is not a tenant id.", text)
	}
	_, noHost := state.Tenants.Get(n.r, id)
	_, notConnected := state.ConnectedTenants.Get(n.r, id)
	if noHost != nil && notConnected != nil {
		return "", wire.BadRequest("The Azure AD tenant '%s' was not found.", id).On("aadProfile.tenantID")
	}
	return directory.TenantID(id), nil
}

func adminGroups(given wire.Document) ([]any, error) {
	v, ok := given["adminGroupObjectIDs"]
	if !ok || v == nil {
		return []any{}, nil
	}
	l, ok := v.([]any)
	if !ok {
		return nil, invalid("aadProfile.adminGroupObjectIDs", "It is not a list.")
	}
	out := []any{}
	for _, e := range l {
		s, _ := e.(string)
		id, ok := directory.ParseGUID(strings.TrimSpace(s))
		if !ok {
			return nil, invalid("aadProfile.adminGroupObjectIDs", "'%.50v' is not an object id.", e)
		}
		if !slices.Contains(out, any(id)) {
			out = append(out, id)
		}
	}
	return out, nil
}

// legacy is the integration with a server and a client application of the
// cluster's own.
func (n *plan) legacy(given, was wire.Document) error {
	server, client := given.Text("serverAppID"), given.Text("clientAppID")
	if server == "" {
		return wire.BadRequest("The property managed of aadProfile must be true for AKS-managed Azure AD.").On("aadProfile.managed")
	}
	if !n.p.LegacyIntegration && was == nil {
		return wire.BadRequest("Azure AD integration with a server and a client application of its own is no longer supported. Please use AKS-managed Azure AD instead: https://aka.ms/aks/aad-legacy").On("aadProfile")
	}
	for name, v := range map[string]string{"serverAppID": server, "clientAppID": client} {
		id, ok := directory.ParseGUID(v)
		if !ok {
			return invalid("aadProfile."+name, "'%.50s' is not an application id.", v)
		}
		given[name] = id
	}
	if given.Bool("enableAzureRBAC") || len(given.List("adminGroupObjectIDs")) > 0 {
		return wire.BadRequest("The properties enableAzureRBAC and adminGroupObjectIDs need AKS-managed Azure AD.").On("aadProfile")
	}
	if secret := given.Text("serverAppSecret"); secret != "" {
		n.secret.ServerApp = secret
	}
	if n.secret.ServerApp == "" {
		return wire.BadRequest("The property serverAppSecret of aadProfile is required.").On("aadProfile.serverAppSecret")
	}
	delete(given, "serverAppSecret")
	return nil
}

// issuer holds the OIDC issuer and workload identity to their rules.
func (n *plan) issuer() error {
	const path = "properties.oidcIssuerProfile"
	if _, said := n.doc.Get(path + ".enabled"); !said && n.old == nil {
		n.doc.Set(path+".enabled", issuerByDefault(n.p.KubernetesVersion))
	}
	enabled := n.doc.Bool(path + ".enabled")
	if n.old.Bool(path+".enabled") && !enabled {
		return immutable("oidcIssuerProfile.enabled")
	}
	n.doc.Set(path, map[string]any{"enabled": enabled})
	if enabled {
		n.doc.Set(path+".issuerURL", issuer.URL(n.p.BaseURL, n.tenant, n.in.Key))
	}
	if n.doc.Bool("properties.securityProfile.workloadIdentity.enabled") && !enabled {
		return wire.BadRequest("Workload identity requires the OIDC issuer: enable it with oidcIssuerProfile.enabled.").On("securityProfile.workloadIdentity")
	}
	return nil
}

// issuerByDefault reports whether new clusters of a version have the OIDC
// issuer on unless told otherwise: from 1.34 on.
func issuerByDefault(version string) bool {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return false
	}
	minor, err := strconv.Atoi(parts[1])
	return err == nil && minor >= 34
}
