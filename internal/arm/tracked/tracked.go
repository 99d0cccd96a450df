// Package tracked holds what the providers of Azure resources share: resource
// groups and the documents in them, their life in the store, and the rules that
// are the same for every type.
package tracked

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// GroupType is the resource type of resource groups.
const GroupType = "Microsoft.Resources/resourceGroups"

// GroupID returns the id of a resource group.
func GroupID(sub, group string) string {
	return "/subscriptions/" + sub + "/resourceGroups/" + group
}

// Group returns a resource group. 404.
func Group(r store.Reader, sub, group string) (*state.Resource, error) {
	g, err := state.Resources.Get(r, state.Fold(GroupID(sub, group)))
	if errs.Is(err, errs.NotFound) {
		return nil, wire.ResourceGroupNotFound(group)
	}
	return g, err
}

// WritableGroup returns a resource group that takes resources, and has the
// transaction notice its deletion. 404, 409.
func WritableGroup(tx *store.Tx, sub, group string) (*state.Resource, error) {
	g, err := Group(tx, sub, group)
	if err != nil {
		return nil, err
	}
	if Read(g).Text("properties.provisioningState") == "Deleting" {
		return nil, wire.Fail(http.StatusConflict, "ResourceGroupBeingDeleted", "The resource group '%s' is in deprovisioning state and cannot perform this operation.", g.Name)
	}
	return g, nil
}

// Read returns the document of a resource.
func Read(r *state.Resource) wire.Document {
	d, err := wire.ParseDocument(r.Body)
	if err != nil {
		// What is stored was parsed before it was stored.
		return wire.Document{"id": r.ID, "name": r.Name, "type": r.Type}
	}
	return d
}

// ID returns the id of the resource of type typ that the call's path names with
// the parameters sub, group and name.
func ID(c *wire.Call, typ string) *wire.ID {
	return &wire.ID{Subscription: c.Param("sub"), Group: c.Param("group"), Type: typ, Names: []string{c.Param("name")}}
}

// Get returns a resource. 404 for it or for its group.
func Get(r store.Reader, id *wire.ID) (*state.Resource, error) {
	res, err := state.Resources.Get(r, state.Fold(id.String()))
	if !errs.Is(err, errs.NotFound) {
		return res, err
	}
	if _, err := Group(r, id.Subscription, id.Group); err != nil {
		return nil, err
	}
	return nil, wire.ResourceNotFound(id.Type, strings.Join(id.Names, "/"), id.Group)
}

// Put writes a resource and returns what it wrote. The id, the name and the type
// of an existing one stay as they were first written. The document is the
// function's from here on.
func Put(tx *store.Tx, id *wire.ID, old *state.Resource, doc wire.Document, internal json.RawMessage, now time.Time) (*state.Resource, error) {
	g, err := WritableGroup(tx, id.Subscription, id.Group)
	if err != nil {
		return nil, err
	}
	if id.Parent() != "" {
		if _, err := state.Resources.Get(tx, state.Fold(id.Parent())); err != nil {
			if errs.Is(err, errs.NotFound) {
				return nil, wire.Fail(http.StatusNotFound, "ParentResourceNotFound", "Failed to perform 'write' on resource(s) of type '%s', because the parent resource '%s' could not be found.", id.Type, id.Parent())
			}
			return nil, err
		}
	}
	res := &state.Resource{
		Type: id.Type, Subscription: state.Fold(id.Subscription), Group: g.Name,
		Name: strings.Join(id.Names, "/"), Created: now,
	}
	canonical := *id
	canonical.Subscription, canonical.Group = res.Subscription, g.Name
	res.ID = canonical.String()
	if old != nil {
		*res = *old
	}
	res.Changed, res.Internal = now, internal
	doc["id"], doc["name"], doc["type"] = res.ID, res.Name[strings.LastIndexByte(res.Name, '/')+1:], res.Type
	res.Body = doc.JSON()
	return res, state.Resources.Put(tx, res)
}

// Remove removes a resource with its children and with the access that was given
// at and below it: what is made there later under the same name is another one.
func Remove(tx *store.Tx, tenant directory.TenantID, id string) error {
	key := state.Fold(id)
	if err := state.Resources.Delete(tx, key); err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	for _, child := range slices.Collect(state.Resources.AllPrefix(tx, key+"/")) {
		if err := state.Resources.Delete(tx, state.Fold(child.ID)); err != nil {
			return err
		}
	}
	return RemoveAccess(tx, tenant, id)
}

// RemoveAccess removes the role assignments at a scope and below it.
func RemoveAccess(tx *store.Tx, tenant directory.TenantID, id string) error {
	key := state.Fold(id)
	for _, a := range slices.Collect(state.AccessAssignments.WherePrefix(tx, "scope", key)) {
		scope := state.Fold(a.Scope)
		if a.Tenant != tenant || scope != key && !strings.HasPrefix(scope, key+"/") {
			continue
		}
		if err := state.AccessAssignments.Delete(tx, string(a.Tenant)+"/"+a.Name); err != nil {
			return err
		}
	}
	return nil
}

// List returns the resources of a type in the resource group or the
// subscription that the path names, those that the caller may read, in the order
// of their ids. 404 for the group.
func List(c *wire.Call, typ string) ([]*state.Resource, error) {
	sub, group := state.Fold(c.Param("sub")), c.Param("group")
	if group != "" {
		if _, err := Group(c.View(), sub, group); err != nil {
			return nil, err
		}
	}
	// Who may read at the list's scope may read all of it, unless something is
	// denied below.
	all := c.Allowed(typ+"/read", c.Scope) && len(c.Facts.RBAC.Denies(c.Tenant)) == 0
	var list []*state.Resource
	for r := range state.Resources.Where(c.View(), "subscription", sub+"/"+state.Fold(typ)) {
		if (group == "" || strings.EqualFold(r.Group, group)) && (all || c.Allowed(typ+"/read", Scope(r))) {
			list = append(list, r)
		}
	}
	return list, nil
}

// Key orders resources in lists.
func Key(r *state.Resource) string { return state.Fold(r.ID) }

// Scope returns the scope of a resource.
func Scope(r *state.Resource) rbac.Scope {
	s, err := rbac.ParseScope(r.ID)
	if err != nil {
		return rbac.Root() // nobody has access to less
	}
	return s
}

// Location checks the location of a new resource, or of one that exists at
// where was says, and writes it as Azure does: "East US" is eastus.
func Location(doc wire.Document, was, name, group string) error {
	loc, _ := doc["location"].(string)
	if loc == "" && was != "" {
		loc = was
	}
	loc = Region(loc)
	switch {
	case loc == "":
		return wire.Bad("LocationRequired", "The location property is required for this definition.")
	case was != "" && loc != Region(was):
		return wire.Fail(http.StatusConflict, "InvalidResourceLocation", "The resource '%s' already exists in location '%s' in resource group '%s'. A resource with the same name cannot be created in location '%s'. Please select a new resource name.", name, Region(was), group, loc)
	case was == "" && loc != "global" && !slices.ContainsFunc(Regions, func(r [2]string) bool { return r[0] == loc }):
		return wire.Bad("LocationNotAvailableForResourceType", "The provided location '%.100s' is not available for resource type. List of available regions for the resource type is '%s'.", loc, regionNames())
	}
	doc["location"] = loc
	return nil
}

// Region returns a region's name as Azure writes it.
func Region(s string) string { return strings.ToLower(strings.ReplaceAll(s, " ", "")) }

// Regions are the regions that resources may say they are in, each with its
// display name. Where they really are is this server.
var Regions = [][2]string{
	{"australiaeast", "Australia East"}, {"brazilsouth", "Brazil South"}, {"canadacentral", "Canada Central"},
	{"centralindia", "Central India"}, {"centralus", "Central US"}, {"eastasia", "East Asia"}, {"eastus", "East US"},
	{"eastus2", "East US 2"}, {"francecentral", "France Central"}, {"germanywestcentral", "Germany West Central"},
	{"italynorth", "Italy North"}, {"japaneast", "Japan East"}, {"koreacentral", "Korea Central"},
	{"northcentralus", "North Central US"}, {"northeurope", "North Europe"}, {"norwayeast", "Norway East"},
	{"polandcentral", "Poland Central"}, {"southafricanorth", "South Africa North"}, {"southcentralus", "South Central US"},
	{"southeastasia", "Southeast Asia"}, {"spaincentral", "Spain Central"}, {"swedencentral", "Sweden Central"},
	{"switzerlandnorth", "Switzerland North"}, {"uaenorth", "UAE North"}, {"uksouth", "UK South"}, {"ukwest", "UK West"},
	{"westcentralus", "West Central US"}, {"westeurope", "West Europe"}, {"westus", "West US"}, {"westus2", "West US 2"},
	{"westus3", "West US 3"},
}

func regionNames() string {
	names := make([]string, len(Regions))
	for i, r := range Regions {
		names[i] = r[0]
	}
	return strings.Join(names, ",")
}

// groupName leaves the length out: counted 90 times over, these classes would cost
// every start of a program three milliseconds and as many megabytes.
var groupName = regexp.MustCompile(`^[-\w._()\p{L}\p{Nd}]+$`)

// CheckGroupName refuses what cannot name a resource group.
func CheckGroupName(name string) error {
	if utf8.RuneCountInString(name) > 90 || !groupName.MatchString(name) || strings.HasSuffix(name, ".") {
		return wire.Bad("InvalidResourceGroup", "The provided resource group name '%.100s' has these invalid characters: it must have 1 to 90 letters, digits, '-', '_', '(', ')' and '.', and must not end with a full stop.", name)
	}
	return nil
}

// Type is what a provider does when a resource of its type goes away.
type Type struct {
	// Destroy undoes what the resource stands for outside the store. It may be
	// called again.
	Destroy func(ctx context.Context, r *state.Resource) error
	// Remove removes what the store holds beside the resource.
	Remove func(tx *store.Tx, r *state.Resource, now time.Time) error
}
