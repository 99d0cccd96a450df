package state

import (
	"encoding/json"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/store"
)

// Subscription is an Azure subscription: the unit that resource groups belong
// to. It trusts exactly one tenant.
type Subscription struct {
	ID              string             `json:"subscriptionId"` // GUID
	Tenant          directory.TenantID `json:"tenantId"`
	DisplayName     string             `json:"displayName"`
	State           string             `json:"state"`                     // Enabled, Disabled
	ManagementGroup string             `json:"managementGroup,omitempty"` // name; empty: the tenant's root group
	Tags            map[string]string  `json:"tags,omitempty"`
}

// ManagementGroup is a node of the tree above subscriptions. The root group's
// name is the tenant id.
type ManagementGroup struct {
	Name        string             `json:"name"`
	Tenant      directory.TenantID `json:"tenantId"`
	DisplayName string             `json:"displayName"`
	Parent      string             `json:"parent,omitempty"` // name; empty for the root group
}

// Resource is a resource of Azure Resource Manager, a resource group included.
// Body is the document as its client sent it, with the members that Entrance
// sets (decision 6 of the design: unknown properties survive).
type Resource struct {
	ID           string          `json:"id"`   // as first written; compared without case
	Type         string          `json:"type"` // Microsoft.ContainerService/managedClusters
	Subscription string          `json:"subscription"`
	Group        string          `json:"resourceGroup,omitempty"`
	Name         string          `json:"name"`
	Body         json.RawMessage `json:"body"`
	// Internal holds what Entrance needs beside the document and never shows.
	Internal json.RawMessage `json:"internal,omitempty"`
	Created  time.Time       `json:"createdTime"`
	Changed  time.Time       `json:"changedTime"`
}

var (
	// Subscriptions: "tenant".
	Subscriptions = store.NewTable("subscriptions", store.Options[Subscription]{
		Key: func(s *Subscription) string { return Fold(s.ID) },
		Indexes: []store.Index[Subscription]{
			{Name: "tenant", Values: func(s *Subscription) []string { return one(string(s.Tenant)) }},
		},
	})

	// ManagementGroups: "tenant"; "parent" (tenant/folded parent).
	ManagementGroups = store.NewTable("managementgroups", store.Options[ManagementGroup]{
		Key: func(g *ManagementGroup) string { return join(string(g.Tenant), Fold(g.Name)) },
		Indexes: []store.Index[ManagementGroup]{
			{Name: "tenant"},
			{Name: "parent", Values: func(g *ManagementGroup) []string {
				return one(join(string(g.Tenant), Fold(g.Parent)))
			}},
		},
	})

	// Resources, by folded id: "type" (folded); "subscription"
	// (subscription/folded type); "group" (subscription/folded group).
	Resources = store.NewTable("resources", store.Options[Resource]{
		Key: func(r *Resource) string { return Fold(r.ID) },
		Indexes: []store.Index[Resource]{
			{Name: "type", Values: func(r *Resource) []string { return one(Fold(r.Type)) }},
			{Name: "subscription", Values: func(r *Resource) []string {
				return one(join(Fold(r.Subscription), Fold(r.Type)))
			}},
			{Name: "group", Values: func(r *Resource) []string {
				if r.Group == "" {
					return nil
				}
				return one(join(Fold(r.Subscription), Fold(r.Group)))
			}},
		},
	})
)
