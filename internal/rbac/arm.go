package rbac

import (
	"fmt"

	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// AuthorizationFailed is the code of the error that a refused ARM request gets.
const AuthorizationFailed = "AuthorizationFailed"

// Names of the attributes that conditions on role assignments test
// (delegation): in the request for a write, of the resource for a delete.
const (
	AttrRoleDefinitionID = "Microsoft.Authorization/roleAssignments:RoleDefinitionId"
	AttrPrincipalID      = "Microsoft.Authorization/roleAssignments:PrincipalId"
	AttrPrincipalType    = "Microsoft.Authorization/roleAssignments:PrincipalType"
)

// DelegationAttributes returns the attributes of a role assignment that is to
// be written (for Request.Request) or deleted (for Request.Resource).
func DelegationAttributes(a *RoleAssignment) condition.Attributes {
	return condition.Attributes{
		{Name: AttrRoleDefinitionID, Values: []string{a.RoleID}},
		{Name: AttrPrincipalID, Values: []string{string(a.PrincipalID)}},
		{Name: AttrPrincipalType, Values: []string{string(a.PrincipalType)}},
	}
}

// AuthorizeARM decides a control plane request. When it is refused the message
// is that of the AuthorizationFailed error; client is the user principal name
// or the application id of who asks.
func (s *Snapshot) AuthorizeARM(client string, r Request) (Decision, string) {
	r.DataAction = false
	d := s.Decide(&r)
	if d.Allowed() {
		return d, ""
	}
	return d, AuthorizationFailedMessage(client, &r, d)
}

// AuthorizationFailedMessage is the message of an AuthorizationFailed error.
func AuthorizationFailedMessage(client string, r *Request, d Decision) string {
	m := fmt.Sprintf("The client '%s' with object id '%s' does not have authorization to perform action '%s' over scope '%s' or the scope is invalid.",
		client, r.Principal.ID, r.Action, r.Scope)
	switch d.Reason {
	case ConditionNotMet:
		m += fmt.Sprintf(" The condition of the role assignment '%s' is not met.", d.Assignment.ID())
	case DeniedExplicitly:
		m += fmt.Sprintf(" The access is denied because of the deny assignment with name '%s' and Id '%s' at scope '%s'.",
			d.Deny.DisplayName, d.Deny.Name, d.Deny.Scope)
	}
	return m + " If access was recently granted, please refresh your credentials."
}
