package audit

import (
	"net/netip"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// DirectoryEvent is one change of the directory, of policies or of privilege, as
// whoever made it tells the recorder.
type DirectoryEvent struct {
	ID            string // empty: made by the recorder
	CorrelationID string
	Time          time.Time
	Tenant        directory.TenantID

	Activity  string // "Add user"
	Category  string // "UserManagement", "Policy", "RoleManagement", "GroupManagement", ...
	Service   string // loggedByService; empty: Core Directory
	Operation string // Add, Update, Delete, Assign, ...
	Success   bool
	Reason    string

	// Who did it: a user, or an application by itself.
	User             directory.ObjectID
	UserName         string
	DisplayName      string
	Client           directory.AppID
	ClientName       string
	ServicePrincipal directory.ObjectID
	Address          netip.Addr

	Targets []Target
	Details []Detail
}

// Target is an object that a change was about.
type Target struct {
	Type        string // User, Group, Policy, ...
	ID          string
	DisplayName string
	UserName    string
	Changes     []Change
}

// Change is a property before and after, as JSON. The values of properties whose
// names speak of secrets are not recorded.
type Change struct{ Name, Old, New string }

// Detail is a name and a value.
type Detail struct{ Key, Value string }

// DirectoryAudit is a record of the directory log: Microsoft Graph's
// directoryAudit resource, and the tenant.
type DirectoryAudit struct {
	ID                string             `json:"id"`
	Category          string             `json:"category"`
	CorrelationID     string             `json:"correlationId"`
	Result            string             `json:"result"`
	ResultReason      string             `json:"resultReason"`
	Activity          string             `json:"activityDisplayName"`
	Time              time.Time          `json:"activityDateTime"`
	LoggedByService   string             `json:"loggedByService"`
	OperationType     string             `json:"operationType"`
	InitiatedBy       Initiator          `json:"initiatedBy"`
	TargetResources   []TargetResource   `json:"targetResources"`
	AdditionalDetails []KeyValue         `json:"additionalDetails"`
	TenantID          directory.TenantID `json:"tenantId"`
}

// Initiator is who made a change: one of the two.
type Initiator struct {
	User *UserIdentity `json:"user"`
	App  *AppIdentity  `json:"app"`
}

// UserIdentity is a user who made a change.
type UserIdentity struct {
	ID                directory.ObjectID `json:"id"`
	DisplayName       string             `json:"displayName"`
	UserPrincipalName string             `json:"userPrincipalName"`
	IPAddress         string             `json:"ipAddress"`
}

// AppIdentity is an application that made a change.
type AppIdentity struct {
	AppID              directory.AppID    `json:"appId"`
	DisplayName        string             `json:"displayName"`
	ServicePrincipalID directory.ObjectID `json:"servicePrincipalId"`
}

// TargetResource is an object that a change was about.
type TargetResource struct {
	ID                 string             `json:"id"`
	DisplayName        string             `json:"displayName"`
	Type               string             `json:"type"`
	UserPrincipalName  string             `json:"userPrincipalName,omitempty"`
	ModifiedProperties []ModifiedProperty `json:"modifiedProperties"`
}

// ModifiedProperty is a property before and after.
type ModifiedProperty struct {
	DisplayName string `json:"displayName"`
	Old         string `json:"oldValue"`
	New         string `json:"newValue"`
}

// KeyValue is a name and a value.
type KeyValue struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// Most targets and changes that one record holds.
const (
	maxTargets = 20
	maxChanges = 50
)

func directoryAudit(e *DirectoryEvent) *DirectoryAudit {
	d := &DirectoryAudit{
		ID: guid(e.ID), Category: enum(e.Category), CorrelationID: guid(e.CorrelationID), Result: "failure", ResultReason: text(e.Reason, maxText),
		Activity: text(e.Activity, maxName), Time: e.Time.UTC(), LoggedByService: enum(e.Service), OperationType: enum(e.Operation),
		TenantID: guid(e.Tenant), TargetResources: []TargetResource{}, AdditionalDetails: []KeyValue{},
	}
	if d.ID == "" {
		d.ID = directory.NewGUID()
	}
	if e.Success {
		d.Result = "success"
	}
	if d.LoggedByService == "" {
		d.LoggedByService = "Core Directory"
	}
	address := ""
	if e.Address.IsValid() {
		address = e.Address.WithZone("").Unmap().String()
	}
	if user := guid(e.User); user != "" {
		d.InitiatedBy.User = &UserIdentity{user, text(e.DisplayName, maxName), text(e.UserName, maxName), address}
	} else {
		d.InitiatedBy.App = &AppIdentity{guid(e.Client), text(e.ClientName, maxName), guid(e.ServicePrincipal)}
		if address != "" {
			d.AdditionalDetails = append(d.AdditionalDetails, KeyValue{"IPAddress", address})
		}
	}
	for i := range e.Targets[:min(len(e.Targets), maxTargets)] {
		t := &e.Targets[i]
		r := TargetResource{ID: text(t.ID, maxName), DisplayName: text(t.DisplayName, maxName), Type: enum(t.Type), UserPrincipalName: text(t.UserName, maxName), ModifiedProperties: []ModifiedProperty{}}
		for _, c := range t.Changes[:min(len(t.Changes), maxChanges)] {
			m := ModifiedProperty{text(c.Name, maxName), value(c.Name, c.Old), value(c.Name, c.New)}
			r.ModifiedProperties = append(r.ModifiedProperties, m)
		}
		d.TargetResources = append(d.TargetResources, r)
	}
	for _, x := range e.Details[:min(len(e.Details), maxChanges)] {
		d.AdditionalDetails = append(d.AdditionalDetails, KeyValue{text(x.Key, maxName), value(x.Key, x.Value)})
	}
	return d
}

func value(name, v string) string {
	if v != "" && isSensitive(name) {
		return Redacted
	}
	return text(v, maxText)
}
