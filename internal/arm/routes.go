package arm

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Types of resources.
const (
	TypeResourceGroup  = "Microsoft.Resources/resourceGroups"
	TypeManagedCluster = "Microsoft.ContainerService/managedClusters"
)

const clusterPattern = "/subscriptions/{sub}/resourceGroups/{group}/providers/Microsoft.ContainerService/managedClusters/{name}"

func (s *Service) table() []*route {
	const (
		groups   = "/subscriptions/{sub}/resourceGroups"
		group    = groups + "/{group}"
		provider = "/providers/Microsoft.ContainerService/managedClusters"
		aks      = "Microsoft.ContainerService/managedClusters/"
		read     = "Microsoft.Resources/subscriptions/resourceGroups/read"
	)
	rows := []*route{
		{"GET", "/tenants", "", 0, s.tenants, nil},
		{"GET", "/subscriptions", "", 0, s.subscriptions, nil},
		{"GET", "/subscriptions/{sub}", "Microsoft.Resources/subscriptions/read", 2, s.subscription, nil},
		{"GET", "/subscriptions/{sub}/locations", "Microsoft.Resources/subscriptions/locations/read", 2, s.locations, nil},
		{"GET", groups, "", 0, s.groups, nil},
		{"GET", group, read, 4, s.group, nil},
		{"PUT", group, "Microsoft.Resources/subscriptions/resourceGroups/write", 4, s.putGroup, nil},
		{"GET", "/subscriptions/{sub}" + provider, "", 0, s.clusters, nil},
		{"GET", group + provider, "", 0, s.clusters, nil},
		{"GET", clusterPattern, aks + "read", 8, s.cluster, nil},
		{"POST", clusterPattern + "/listClusterUserCredential", aks + "listClusterUserCredential/action", 8, s.userCredential, nil},
		{"POST", clusterPattern + "/listClusterAdminCredential", aks + "listClusterAdminCredential/action", 8, s.adminCredential, nil},
	}
	for _, row := range rows {
		row.segments = strings.Split(strings.TrimPrefix(row.pattern, "/"), "/")
	}
	return rows
}

// metadata tells clients of a custom cloud where everything is.
func (s *Service) metadata(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return &Error{http.StatusMethodNotAllowed, "MethodNotAllowed", "The metadata can only be read."}
	}
	base := s.BaseURL
	reply(w, http.StatusOK, map[string]any{
		"name":                     "Entrance",
		"portal":                   base,
		"graphEndpoint":            base,
		"graph":                    base,
		"graphAudience":            base,
		"microsoftGraphResourceId": base,
		"resourceManager":          base,
		"suffixes":                 map[string]string{},
		"authentication": map[string]any{
			"loginEndpoint": base, "audiences": []string{base, "https://management.core.windows.net/", "https://management.azure.com/"},
			"tenant": "common", "identityProvider": "AAD",
		},
	})
	return nil
}

func (s *Service) tenants(c *call) error {
	t, err := state.Tenants.Get(c.facts.View, string(c.caller.Tenant))
	if err != nil {
		return err
	}
	return list(c, []map[string]any{{
		"id": "/tenants/" + string(t.ID), "tenantId": t.ID, "displayName": t.DisplayName, "countryCode": t.Country,
		"defaultDomain": t.DefaultDomain(), "tenantCategory": "Home", "tenantType": "AAD",
		"domains": func() (names []string) {
			for _, d := range t.Domains {
				names = append(names, d.Name)
			}
			return names
		}(),
	}})
}

func subscriptionDocument(sub *state.Subscription) map[string]any {
	doc := map[string]any{
		"id": "/subscriptions/" + sub.ID, "subscriptionId": sub.ID, "tenantId": sub.Tenant,
		"displayName": sub.DisplayName, "state": sub.State, "authorizationSource": "RoleBased",
		"managedByTenants": []any{}, "subscriptionPolicies": map[string]string{
			"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off",
		},
	}
	if len(sub.Tags) > 0 {
		doc["tags"] = sub.Tags
	}
	return doc
}

// subscriptions shows a caller those subscriptions in which the caller may read
// anything at all, as Azure does.
func (s *Service) subscriptions(c *call) error {
	var subs []map[string]any
	for sub := range state.Subscriptions.Where(c.facts.View, "tenant", string(c.caller.Tenant)) {
		if s.sees(c, sub) {
			subs = append(subs, subscriptionDocument(sub))
		}
	}
	return list(c, subs)
}

// sees reports whether the caller may read the subscription, or has a role
// somewhere in it.
func (s *Service) sees(c *call, sub *state.Subscription) bool {
	scope := "/subscriptions/" + sub.ID
	if s.may(c, "Microsoft.Resources/subscriptions/read", scope) {
		return true
	}
	now := s.Clock.Now()
	principals := append(state.Memberships(c.facts.View, c.caller.Tenant, c.caller.ID, now), c.caller.ID)
	for _, p := range principals {
		for _, a := range c.facts.RBAC.AssignmentsOf(c.caller.Tenant, p) {
			if strings.EqualFold(a.Scope.SubscriptionID(), sub.ID) {
				return true
			}
		}
	}
	return false
}

func (s *Service) subscription(c *call) error {
	sub, err := state.Subscriptions.Get(c.facts.View, state.Fold(c.params["sub"]))
	if err != nil {
		return err
	}
	reply(c.w, http.StatusOK, subscriptionDocument(sub))
	return nil
}

// regions that a cluster can be said to be in.
var regions = []struct{ name, display string }{
	{"centralus", "Central US"}, {"eastus", "East US"}, {"eastus2", "East US 2"}, {"northeurope", "North Europe"},
	{"westeurope", "West Europe"}, {"westus", "West US"}, {"westus2", "West US 2"}, {"westus3", "West US 3"},
}

func (s *Service) locations(c *call) error {
	var all []map[string]any
	for _, r := range regions {
		all = append(all, map[string]any{
			"id":   "/subscriptions/" + c.params["sub"] + "/locations/" + r.name,
			"name": r.name, "displayName": r.display, "regionalDisplayName": r.display, "type": "Region",
			"metadata": map[string]string{"regionType": "Physical", "regionCategory": "Recommended"},
		})
	}
	return list(c, all)
}

func (s *Service) groups(c *call) error {
	var all []json.RawMessage
	at := state.Fold(c.params["sub"]) + "/" + state.Fold(TypeResourceGroup)
	for r := range state.Resources.Where(c.facts.View, "subscription", at) {
		if s.may(c, "Microsoft.Resources/subscriptions/resourceGroups/read", r.ID) {
			all = append(all, r.Body)
		}
	}
	return list(c, all)
}

func (s *Service) group(c *call) error {
	r, err := s.find(c, "/subscriptions/"+c.params["sub"]+"/resourceGroups/"+c.params["group"])
	if err != nil {
		return &Error{http.StatusNotFound, "ResourceGroupNotFound", "Resource group '" + c.params["group"] + "' could not be found."}
	}
	if c.r.Method == http.MethodHead {
		c.w.WriteHeader(http.StatusNoContent)
		return nil
	}
	reply(c.w, http.StatusOK, r.Body)
	return nil
}

// groupRE is the rule for names of resource groups.
var groupRE = regexp.MustCompile(`^[-\w._()]{0,89}[-\w_()]$`)

func (s *Service) putGroup(c *call) error {
	name := c.params["group"]
	if !groupRE.MatchString(name) {
		return &Error{http.StatusBadRequest, "InvalidResourceGroup", "The provided resource group name '" + name + "' has these invalid characters or ends with a period. The name can only be a letter, digit, '-', '.', '(', ')' or '_'."}
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, 1<<20))
	if err != nil {
		return &Error{http.StatusRequestEntityTooLarge, "RequestContentTooLarge", "The request content is too large."}
	}
	var doc map[string]any
	if err := json.Unmarshal(body, &doc); err != nil {
		return &Error{http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized: '" + err.Error() + "'."}
	}
	location, _ := doc["location"].(string)
	if location == "" {
		return &Error{http.StatusBadRequest, "LocationRequired", "The location property is required for this definition."}
	}
	id := "/subscriptions/" + c.params["sub"] + "/resourceGroups/" + name
	status := http.StatusOK
	var stored json.RawMessage
	err = s.Store.Update(c.r.Context(), func(tx *store.Tx) error {
		now := s.Clock.Now()
		r := &state.Resource{ID: id, Type: TypeResourceGroup, Subscription: c.params["sub"], Name: name, Created: now}
		status = http.StatusCreated
		if old, err := state.Resources.Get(tx, state.Fold(id)); err == nil {
			var have struct{ Location string }
			if err := json.Unmarshal(old.Body, &have); err != nil {
				return err
			}
			if !sameRegion(have.Location, location) {
				return &Error{http.StatusConflict, "InvalidResourceGroupLocation", fmt.Sprintf("Invalid resource group location '%s'. The Resource group already exists in location '%s'.", location, have.Location)}
			}
			r.ID, r.Name, r.Created = old.ID, old.Name, old.Created
			status = http.StatusOK
		}
		doc["id"], doc["name"], doc["type"] = r.ID, r.Name, TypeResourceGroup
		doc["location"] = region(location)
		doc["properties"] = map[string]string{"provisioningState": "Succeeded"}
		raw, err := json.Marshal(doc)
		if err != nil {
			return err
		}
		r.Body, r.Changed, stored = raw, now, raw
		return state.Resources.Put(tx, r)
	})
	if err != nil {
		return err
	}
	reply(c.w, status, stored)
	return nil
}

// region returns a region's name as Azure writes it: "East US" is eastus.
func region(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

func sameRegion(a, b string) bool { return region(a) == region(b) }

func (s *Service) find(c *call, id string) (*state.Resource, error) {
	r, err := state.Resources.Get(c.facts.View, state.Fold(id))
	if errs.Is(err, errs.NotFound) {
		// Another replica may have just written it.
		return state.Resources.GetFresh(c.r.Context(), s.Store, state.Fold(id))
	}
	return r, err
}

func (s *Service) clusters(c *call) error {
	var all []json.RawMessage
	at := state.Fold(c.params["sub"]) + "/" + state.Fold(TypeManagedCluster)
	for r := range state.Resources.Where(c.facts.View, "subscription", at) {
		if g := c.params["group"]; g != "" && !strings.EqualFold(g, r.Group) {
			continue
		}
		if s.may(c, "Microsoft.ContainerService/managedClusters/read", r.ID) {
			all = append(all, r.Body)
		}
	}
	return list(c, all)
}

func (s *Service) managedCluster(c *call) (*state.Resource, *state.Cluster, error) {
	id := "/subscriptions/" + c.params["sub"] + "/resourceGroups/" + c.params["group"] + "/providers/" + TypeManagedCluster + "/" + c.params["name"]
	r, err := s.find(c, id)
	if err != nil {
		return nil, nil, &Error{http.StatusNotFound, "ResourceNotFound", fmt.Sprintf("The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", TypeManagedCluster, c.params["name"], c.params["group"])}
	}
	k, ok := state.Clusters.First(c.facts.View, "id", state.Fold(id))
	if !ok {
		return nil, nil, errs.New(errs.Unavailable, "The cluster is being created. Try again in a moment.")
	}
	return r, k, nil
}

func (s *Service) cluster(c *call) error {
	r, _, err := s.managedCluster(c)
	if err != nil {
		return err
	}
	reply(c.w, http.StatusOK, r.Body)
	return nil
}

// localAccounts is the refusal of static credentials (AKS, "Manage local
// accounts").
const localAccounts = "Getting static credential is not allowed because this cluster is set to disable local accounts."

func (s *Service) userCredential(c *call) error {
	r, k, err := s.managedCluster(c)
	if err != nil {
		return err
	}
	if !k.Entra && localAccountsDisabled(r) {
		return &Error{http.StatusBadRequest, "BadRequest", localAccounts}
	}
	kubeconfig, err := s.Clusters.UserKubeconfig(k.Key, c.r.URL.Query().Get("format"))
	if err != nil {
		return err
	}
	return credential(c, "clusterUser", kubeconfig)
}

func (s *Service) adminCredential(c *call) error {
	r, k, err := s.managedCluster(c)
	if err != nil {
		return err
	}
	if localAccountsDisabled(r) {
		return &Error{http.StatusBadRequest, "BadRequest", localAccounts}
	}
	kubeconfig, err := s.Clusters.AdminKubeconfig(k.Key)
	if err != nil {
		return err
	}
	return credential(c, "clusterAdmin", kubeconfig)
}

// localAccountsDisabled reads the setting from the stored document. A document
// that cannot be read has them disabled.
func localAccountsDisabled(r *state.Resource) bool {
	var doc struct {
		Properties struct {
			DisableLocalAccounts bool `json:"disableLocalAccounts"`
		} `json:"properties"`
	}
	return json.Unmarshal(r.Body, &doc) != nil || doc.Properties.DisableLocalAccounts
}

func credential(c *call, name string, kubeconfig []byte) error {
	reply(c.w, http.StatusOK, map[string]any{"kubeconfigs": []map[string]string{{
		"name": name, "value": base64.StdEncoding.EncodeToString(kubeconfig),
	}}})
	return nil
}
