package resources

import (
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

const ownerRole = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"

// metadata tells clients of a custom cloud where everything is. Clients that
// came by a name of the public cloud are told its other names.
func (p *Provider) metadata(c *wire.Call) (*wire.Response, error) {
	login, graph, arm, name := p.BaseURL, p.BaseURL, p.BaseURL, "Entrance"
	audiences := []string{p.BaseURL, "https://management.core.windows.net/", "https://management.azure.com/"}
	if slices.ContainsFunc(p.PublicHosts, func(h string) bool { return c.Root == "https://"+h }) {
		login, graph, arm, name = "https://login.microsoftonline.com", "https://graph.microsoft.com", c.Root, "AzureCloud"
		audiences = audiences[1:]
	}
	authentication := wire.Document{"loginEndpoint": login, "audiences": audiences, "tenant": "common", "identityProvider": "AAD"}
	if c.APIVersion < "2018" {
		return wire.OK(wire.Document{
			"galleryEndpoint": arm, "graphEndpoint": graph, "portalEndpoint": login,
			"authentication": wire.Document{"loginEndpoint": login, "audiences": audiences},
		}), nil
	}
	cloud := wire.Document{
		"name": name, "portal": login, "authentication": authentication,
		"resourceManager": arm, "media": arm, "gallery": arm, "batch": arm,
		"graph": graph, "graphEndpoint": graph, "graphAudience": graph, "microsoftGraphResourceId": graph,
		"suffixes": wire.Document{},
	}
	if c.APIVersion < "2022" {
		return wire.OK([]any{cloud}), nil
	}
	return wire.OK(cloud), nil
}

func (p *Provider) tenants(c *wire.Call) (*wire.Response, error) {
	t, err := state.Tenants.Get(c.View(), string(c.Tenant))
	if err != nil {
		return nil, err
	}
	domains := []string{}
	for _, d := range t.Domains {
		domains = append(domains, d.Name)
	}
	return wire.Page(c, []wire.Document{{
		"id": "/tenants/" + string(t.ID), "tenantId": string(t.ID), "displayName": t.DisplayName, "countryCode": t.Country,
		"country": t.Country, "defaultDomain": t.DefaultDomain(), "domains": domains, "tenantCategory": "Home", "tenantType": "AAD",
	}}, func(d wire.Document) string { return d.Text("id") })
}

func subscriptionDocument(s *state.Subscription) wire.Document {
	doc := wire.Document{
		"id": "/subscriptions/" + s.ID, "authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionId": s.ID, "tenantId": string(s.Tenant), "displayName": s.DisplayName, "state": s.State,
		"subscriptionPolicies": wire.Document{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"},
	}
	if len(s.Tags) > 0 {
		doc["tags"] = s.Tags
	}
	return doc
}

func (p *Provider) subscriptions(c *wire.Call) (*wire.Response, error) {
	list := []wire.Document{}
	for s := range state.Subscriptions.Where(c.View(), "tenant", string(c.Tenant)) {
		if at, err := rbac.Subscription(s.ID); err == nil && c.Sees(at) {
			list = append(list, subscriptionDocument(s))
		}
	}
	return wire.Page(c, list, func(d wire.Document) string { return d.Text("id") })
}

func (p *Provider) subscription(c *wire.Call) (*wire.Response, error) {
	s, err := c.Subscription(c.Param("sub"))
	if err != nil {
		return nil, err
	}
	return wire.OK(subscriptionDocument(s)), nil
}

func (p *Provider) locations(c *wire.Call) (*wire.Response, error) {
	list := make([]wire.Document, len(tracked.Regions))
	for i, r := range tracked.Regions {
		list[i] = wire.Document{
			"id": "/subscriptions/" + state.Fold(c.Param("sub")) + "/locations/" + r[0], "name": r[0], "type": "Region",
			"displayName": r[1], "regionalDisplayName": r[1],
			"metadata": wire.Document{"regionType": "Physical", "regionCategory": "Recommended", "geography": "Local", "geographyGroup": "Local", "physicalLocation": "localhost", "pairedRegion": []any{}},
		}
	}
	return wire.Page(c, list, func(d wire.Document) string { return d.Text("name") })
}

// tenantRoot is the scope of what is about the tenant as a whole.
func (p *Provider) tenantRoot(c *wire.Call) (rbac.Scope, error) {
	return rbac.ManagementGroup(string(c.Tenant))
}

// aliasID makes the id of a subscription from its alias, so that the same
// request again means the same subscription. It is no secret.
func (p *Provider) alias(c *wire.Call, s *state.Subscription) wire.Document {
	return wire.Document{
		"id": "/providers/Microsoft.Subscription/aliases/" + c.Param("alias"), "name": c.Param("alias"), "type": "Microsoft.Subscription/aliases",
		"properties": wire.Document{"subscriptionId": s.ID, "displayName": s.DisplayName, "provisioningState": "Succeeded", "acceptOwnershipState": "Completed"},
	}
}

// aliasTag is the tag of a subscription that holds the alias it was made with.
const aliasTag = "entrance:alias"

func findAlias(r store.Reader, tenant directory.TenantID, alias string) *state.Subscription {
	for s := range state.Subscriptions.Where(r, "tenant", string(tenant)) {
		if strings.EqualFold(s.Tags[aliasTag], alias) {
			return s
		}
	}
	return nil
}

// putAlias makes a subscription, as `az account alias create` does. Who makes
// it owns it.
func (p *Provider) putAlias(c *wire.Call) (*wire.Response, error) {
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	name := doc.Text("properties.displayName")
	if n := utf8.RuneCountInString(name); n < 1 || n > 64 {
		return nil, wire.Bad("InvalidSubscriptionDisplayName", "The display name of a subscription has 1 to 64 characters.")
	}
	var made *state.Subscription
	created := false
	err = c.Update(func(tx *store.Tx) error {
		tx.Guard("subscriptions/" + string(c.Tenant))
		if made = findAlias(tx, c.Tenant, c.Param("alias")); made != nil {
			created = false
			return nil
		}
		created = true
		made = &state.Subscription{
			ID: directory.NewGUID(), Tenant: c.Tenant, DisplayName: name, State: "Enabled",
			Tags: map[string]string{aliasTag: c.Param("alias")},
		}
		if err := state.Subscriptions.Create(tx, made); err != nil {
			return err
		}
		kind := rbac.User
		if typ, err := state.TypeOf(tx, c.Tenant, c.ID); err == nil && typ == directory.TypeServicePrincipal {
			kind = rbac.ServicePrincipal
		}
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{
			Tenant: c.Tenant, Name: directory.NewGUID(), Scope: "/subscriptions/" + made.ID, Role: ownerRole,
			Principal: c.ID, PrincipalType: kind, Created: c.Now, Updated: c.Now, CreatedBy: c.ID, UpdatedBy: c.ID,
		})
	})
	if err != nil {
		return nil, err
	}
	resp := wire.OK(p.alias(c, made))
	if created {
		resp.Status = http.StatusCreated
	}
	return resp, nil
}

func (p *Provider) getAlias(c *wire.Call) (*wire.Response, error) {
	s := findAlias(c.View(), c.Tenant, c.Param("alias"))
	if s == nil {
		return nil, wire.Fail(http.StatusNotFound, "NotFound", "The alias '%s' does not exist.", c.Param("alias"))
	}
	return wire.OK(p.alias(c, s)), nil
}

func (p *Provider) renameSubscription(c *wire.Call) (*wire.Response, error) {
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	name, _ := doc["subscriptionName"].(string)
	if n := utf8.RuneCountInString(name); n < 1 || n > 64 {
		return nil, wire.Bad("InvalidSubscriptionDisplayName", "The display name of a subscription has 1 to 64 characters.")
	}
	err = c.Update(func(tx *store.Tx) error {
		return state.Subscriptions.Modify(tx, state.Fold(c.Param("sub")), func(s *state.Subscription) error {
			s.DisplayName = name
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	return wire.OK(wire.Document{"subscriptionId": state.Fold(c.Param("sub"))}), nil
}

// namespaces are the providers that the list of providers shows, with their
// types. Other providers' resources are stored as documents all the same.
var namespaces = []struct {
	name  string
	types []string
}{
	{"Microsoft.Authorization", []string{"roleAssignments", "roleDefinitions", "denyAssignments", "permissions", "checkAccess"}},
	{"Microsoft.ContainerRegistry", []string{"registries"}},
	{"Microsoft.ContainerService", []string{"managedClusters", "managedClusters/agentPools", "locations", "locations/operations", "locations/operationresults", "locations/kubernetesVersions"}},
	{"Microsoft.KeyVault", []string{"vaults"}},
	{"Microsoft.Kubernetes", []string{"connectedClusters"}},
	{"Microsoft.ManagedIdentity", []string{"userAssignedIdentities", "userAssignedIdentities/federatedIdentityCredentials"}},
	{"Microsoft.Management", []string{"managementGroups"}},
	{"Microsoft.Network", []string{"virtualNetworks", "networkSecurityGroups", "publicIPAddresses", "privateDnsZones"}},
	{"Microsoft.OperationalInsights", []string{"workspaces"}},
	{"Microsoft.Resources", []string{"resourceGroups", "subscriptions", "tenants", "resources"}},
	{"Microsoft.Storage", []string{"storageAccounts"}},
	{"Microsoft.Subscription", []string{"aliases"}},
}

// providerVersions are versions that clients find in the list of providers and
// that are spoken here.
var providerVersions = map[string][]string{
	"managedClusters": {"2025-03-01", "2024-09-01", "2022-11-01"}, "roleAssignments": {"2022-04-01", "2020-04-01-preview"},
	"roleDefinitions": {"2022-05-01-preview", "2022-04-01", "2018-01-01-preview"}, "userAssignedIdentities": {"2025-01-31-preview", "2023-01-31", "2022-01-31-preview"},
}

func providerDocument(c *wire.Call, i int) wire.Document {
	ns := namespaces[i]
	regions := make([]string, len(tracked.Regions))
	for j, r := range tracked.Regions {
		regions[j] = r[1]
	}
	types := make([]wire.Document, len(ns.types))
	for j, t := range ns.types {
		versions := providerVersions[t]
		if versions == nil {
			versions = []string{"2024-01-01", "2023-01-01", "2021-04-01"}
		}
		types[j] = wire.Document{"resourceType": t, "locations": regions, "apiVersions": versions, "defaultApiVersion": versions[0], "capabilities": "CrossResourceGroupResourceMove, SupportsTags, SupportsLocation"}
	}
	doc := wire.Document{"namespace": ns.name, "registrationPolicy": "RegistrationFree", "resourceTypes": types}
	id := "/providers/" + ns.name
	if sub := c.Param("sub"); sub != "" {
		id = "/subscriptions/" + state.Fold(sub) + id
		doc["registrationState"] = "Registered"
	}
	doc["id"] = id
	return doc
}

func (p *Provider) providers(c *wire.Call) (*wire.Response, error) {
	list := make([]wire.Document, len(namespaces))
	for i := range namespaces {
		list[i] = providerDocument(c, i)
	}
	return wire.Page(c, list, func(d wire.Document) string { return d.Text("namespace") })
}

func (p *Provider) provider(c *wire.Call) (*wire.Response, error) {
	for i, ns := range namespaces {
		if strings.EqualFold(ns.name, c.Param("namespace")) {
			return wire.OK(providerDocument(c, i)), nil
		}
	}
	return nil, wire.Fail(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%.100s' is invalid.", c.Param("namespace"))
}

// absent turns errs.NotFound into ARM's answer.
func absent(err error, e *wire.Error) error {
	if errs.Is(err, errs.NotFound) {
		return e
	}
	return err
}
