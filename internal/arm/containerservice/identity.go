package containerservice

import (
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/managedidentity"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
)

// kinds of identities that a cluster may have.
const (
	systemAssigned = "SystemAssigned"
	userAssigned   = "UserAssigned"
	noIdentity     = "None"
)

// identity completes the identity that the control plane acts with.
func (n *plan) identity() error {
	given := n.doc.Object("identity")
	kind := given.Text("type")
	client := n.doc.Text("properties.servicePrincipalProfile.clientId")
	i := slices.IndexFunc([]string{systemAssigned, userAssigned, noIdentity, ""}, func(s string) bool { return strings.EqualFold(s, kind) })
	if i < 0 {
		return wire.Bad("InvalidIdentityType", "The identity type '%.50s' is not supported: it must be SystemAssigned, UserAssigned or None.", kind)
	}
	kind = []string{systemAssigned, userAssigned, noIdentity, noIdentity}[i]
	if kind == noIdentity && (client == "" || client == "msi") {
		return wire.BadRequest("The cluster must have a managed identity or a service principal: set identity.type, or servicePrincipalProfile.").On("servicePrincipalProfile")
	}
	if was := n.old.Text("identity.type"); n.old != nil && kind == noIdentity && was != "" && was != noIdentity {
		return immutable("identity.type")
	}
	switch kind {
	case systemAssigned:
		sp, err := n.own(n.in.System, n.id.Name(), n.id.String(), false)
		if err != nil {
			return err
		}
		n.in.System = sp.ID
		n.doc["identity"] = map[string]any{"type": kind, "principalId": string(sp.ID), "tenantId": string(n.tenant)}
		return nil
	case noIdentity:
		n.in.System = ""
		delete(n.doc, "identity")
		return nil
	}
	n.in.System = ""
	ids := given.Object("userAssignedIdentities")
	if len(ids) != 1 {
		return wire.Bad("InvalidUserAssignedIdentities", "A cluster has exactly one user-assigned identity.").On("identity.userAssignedIdentities")
	}
	shown := map[string]any{}
	for id := range ids {
		found, err := n.use(id)
		if err != nil {
			return err
		}
		shown[found.ID] = map[string]any{"principalId": string(found.Principal), "clientId": string(found.Client)}
	}
	n.doc["identity"] = map[string]any{"type": kind, "userAssignedIdentities": shown}
	return nil
}

// own returns a service principal that belongs to the cluster, made if need be.
func (n *plan) own(id directory.ObjectID, name, resource string, explicit bool) (*directory.ServicePrincipal, error) {
	if id != "" {
		if sp, err := state.ServicePrincipals.Get(n.r, state.Key(n.tenant, id)); err == nil {
			return sp, nil
		}
	}
	sp := managedidentity.NewPrincipal(n.tenant, name, resource, explicit, n.now)
	n.made = append(n.made, sp)
	return sp, nil
}

// use returns a user-assigned identity that the caller may give to the cluster.
func (n *plan) use(resource string) (*managedidentity.Identity, error) {
	found, err := managedidentity.Find(n.r, resource)
	if err != nil {
		return nil, err
	}
	if found.Tenant != n.tenant {
		return nil, wire.Fail(http.StatusNotFound, "ResourceNotFound", "The identity '%s' was not found.", resource)
	}
	scope, err := rbac.ParseScope(found.ID)
	if err != nil {
		return nil, err
	}
	// What an update merely repeats needs no right anew.
	if n.old != nil && strings.Contains(strings.ToLower(string(n.old.JSON())), `"`+strings.ToLower(found.ID)+`"`) {
		return found, nil
	}
	if n.assign != nil {
		if err := n.assign(scope); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// kubelet completes the identity that the nodes act with.
func (n *plan) kubelet() error {
	if n.doc.Text("identity.type") == "" {
		n.doc.Delete("properties.identityProfile")
		return nil
	}
	const path = "properties.identityProfile.kubeletidentity"
	resource := n.doc.Text(path + ".resourceId")
	if resource != "" && (n.in.Kubelet == "" || n.old.Text(path+".resourceId") != resource) {
		found, err := n.use(resource)
		if err != nil {
			return err
		}
		n.in.Kubelet = ""
		n.doc.Set(path, map[string]any{"resourceId": found.ID, "clientId": string(found.Client), "objectId": string(found.Principal)})
		return nil
	}
	resource = "/subscriptions/" + n.id.Subscription + "/resourcegroups/" + n.doc.Text("properties.nodeResourceGroup") + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/" + n.id.Name() + "-agentpool"
	sp, err := n.own(n.in.Kubelet, n.id.Name()+"-agentpool", resource, true)
	if err != nil {
		return err
	}
	n.in.Kubelet = sp.ID
	n.doc.Set(path, map[string]any{"resourceId": resource, "clientId": string(sp.AppID), "objectId": string(sp.ID)})
	return nil
}

func (n *plan) servicePrincipal() error {
	const path = "properties.servicePrincipalProfile"
	client, secret := n.doc.Text(path+".clientId"), n.doc.Text(path+".secret")
	was := n.old.Text(path + ".clientId")
	if n.doc.Text("identity.type") != "" {
		if client != "" && client != "msi" && client != was {
			return immutable("servicePrincipalProfile.clientId")
		}
		n.doc.Set(path, map[string]any{"clientId": "msi"})
		n.secret.Principal = ""
		return nil
	}
	if was != "" && client != was {
		return immutable("servicePrincipalProfile.clientId")
	}
	if _, ok := directory.ParseGUID(client); !ok {
		return invalid("servicePrincipalProfile.clientId", "It is not a client id.")
	}
	if secret != "" {
		n.secret.Principal = secret
	}
	n.doc.Set(path, map[string]any{"clientId": client})
	return nil
}
