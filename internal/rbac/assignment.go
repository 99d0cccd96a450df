package rbac

import (
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// PrincipalType is the type of the principal of a role assignment.
type PrincipalType string

const (
	User             PrincipalType = "User"
	Group            PrincipalType = "Group"
	ServicePrincipal PrincipalType = "ServicePrincipal"
	ForeignGroup     PrincipalType = "ForeignGroup"
	Device           PrincipalType = "Device"
)

// Everyone is the id that stands for all principals in a deny assignment.
const Everyone directory.ObjectID = "00000000-0000-0000-0000-000000000000"

// RoleAssignment gives a role to a principal at a scope and below.
type RoleAssignment struct {
	Tenant           directory.TenantID
	Name             string // a GUID, unique in the tenant
	Scope            Scope
	RoleID           string // the GUID of the role definition
	PrincipalID      directory.ObjectID
	PrincipalType    PrincipalType
	Condition        string
	ConditionVersion string

	cond *condition.Condition
}

// ID returns the ARM id of the assignment.
func (a *RoleAssignment) ID() string {
	return strings.TrimSuffix(a.Scope.text, "/") + "/providers/Microsoft.Authorization/roleAssignments/" + a.Name
}

// DenyAssignment refuses actions to principals at a scope and below. It beats
// every role assignment.
type DenyAssignment struct {
	Tenant                  directory.TenantID
	Name                    string // a GUID
	DisplayName             string
	Scope                   Scope
	Permissions             []Permission
	Principals              []directory.ObjectID // Everyone stands for all
	ExcludePrincipals       []directory.ObjectID
	DoNotApplyToChildScopes bool
	SystemProtected         bool
	Condition               string
	ConditionVersion        string

	blocks []block
	cond   *condition.Condition
}

// ID returns the ARM id of the deny assignment.
func (d *DenyAssignment) ID() string {
	return strings.TrimSuffix(d.Scope.text, "/") + "/providers/Microsoft.Authorization/denyAssignments/" + d.Name
}

func guid(what, s string) (string, error) {
	g, ok := directory.ParseGUID(s)
	if !ok {
		return "", errs.New(errs.Invalid, "%s must be a GUID.", what)
	}
	return g, nil
}

// compile checks the assignment and returns a copy that is ready for use.
func (a RoleAssignment) compile() (*RoleAssignment, error) {
	var err error
	if a.Name, err = guid("The name of a role assignment", a.Name); err != nil {
		return nil, err
	}
	if a.RoleID, err = guid("The role definition of a role assignment", a.RoleID); err != nil {
		return nil, err
	}
	principal, err := guid("The principal of a role assignment", string(a.PrincipalID))
	if err != nil {
		return nil, err
	}
	a.PrincipalID = directory.ObjectID(principal)
	tenant, err := guid("The tenant of a role assignment", string(a.Tenant))
	if err != nil {
		return nil, err
	}
	a.Tenant = directory.TenantID(tenant)
	switch {
	case a.Scope.IsZero():
		return nil, errs.New(errs.Invalid, "A role assignment has a scope.")
	case a.PrincipalID == Everyone:
		return nil, errs.New(errs.Invalid, "A role cannot be assigned to all principals.")
	}
	a.cond, err = condition.ParseVersion(a.ConditionVersion, a.Condition)
	return &a, err
}

func (d DenyAssignment) compile() (*DenyAssignment, error) {
	var err error
	if d.Name, err = guid("The name of a deny assignment", d.Name); err != nil {
		return nil, err
	}
	tenant, err := guid("The tenant of a deny assignment", string(d.Tenant))
	if err != nil {
		return nil, err
	}
	d.Tenant = directory.TenantID(tenant)
	switch {
	case d.Scope.IsZero():
		return nil, errs.New(errs.Invalid, "A deny assignment has a scope.")
	case len(d.Principals) == 0:
		return nil, errs.New(errs.Invalid, "A deny assignment has principals.")
	}
	if d.Principals, err = lowerIDs(d.Principals); err != nil {
		return nil, err
	}
	if d.ExcludePrincipals, err = lowerIDs(d.ExcludePrincipals); err != nil {
		return nil, err
	}
	for _, p := range d.ExcludePrincipals {
		if p == Everyone {
			return nil, errs.New(errs.Invalid, "A deny assignment cannot exclude all principals.")
		}
	}
	if d.blocks, err = compileBlocks(d.Permissions); err != nil {
		return nil, err
	}
	d.cond, err = condition.ParseVersion(d.ConditionVersion, d.Condition)
	return &d, err
}

func lowerIDs(in []directory.ObjectID) ([]directory.ObjectID, error) {
	out := make([]directory.ObjectID, len(in))
	for i, id := range in {
		g, err := guid("A principal", string(id))
		if err != nil {
			return nil, err
		}
		out[i] = directory.ObjectID(g)
	}
	return out, nil
}
