package wire

import (
	"slices"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// Caller is who makes a request, as the access token says.
type Caller struct {
	Tenant directory.TenantID
	ID     directory.ObjectID // of the user, or of the client's service principal
	AppID  directory.AppID    // the client
	// AppOnly is true for a token that a client got for itself.
	AppOnly bool
	Scopes  []string // delegated permissions (scp)
	Roles   []string // application permissions (roles)
	// Issued is when the token was issued: access revoked since is refused.
	Issued time.Time
	// Methods are the authentication methods of the user (amr).
	Methods []string
}

// Standing is what the directory knows about a caller at the time of a call.
type Standing struct {
	Caller
	Directory []string // template ids of the directory roles
	Guest     bool
}

// HasRole reports whether the caller has one of the directory roles, or is a
// Global Administrator.
func (s *Standing) HasRole(templates ...string) bool {
	for _, r := range s.Directory {
		if r == directory.GlobalAdministrator || slices.Contains(templates, r) {
			return true
		}
	}
	return false
}

// AsUser is the permission by which a client may do whatever its user may:
// what first-party clients such as Azure CLI have.
const AsUser = "Directory.AccessAsUser.All"

// Access says who may use a route. The zero Access allows nobody but a Global
// Administrator through a client with [AsUser].
type Access struct {
	// Permissions are those of which a client needs one: delegated for a call
	// with a user, application ones for a call without.
	Permissions []string
	// Delegated are further permissions that suffice with a user only.
	Delegated []string
	// Roles are the directory roles that let a user do it through a permitted
	// client, and a service principal by itself. Global Administrator always
	// does, Global Reader where Read is set.
	Roles []string
	Read  bool
	// Members lets every user of the tenant who is not a guest; Guests lets
	// guests too.
	Members, Guests bool
	// Self lets a caller act on the object that is the caller; SelfPermissions
	// are permissions that suffice for that, besides Permissions.
	Self            bool
	SelfPermissions []string
	// SelfClient lets an application act on itself without any permission.
	SelfClient bool
	// Owner lets the owners of the object; OwnerPermissions are application
	// permissions that suffice for a client that owns it.
	Owner            bool
	OwnerPermissions []string
	// Public lets everybody who is authenticated: the handler answers about
	// the caller alone, or asks Decide again for what the body names.
	Public bool
}

// Relation is how a caller stands to the object that a request names.
type Relation struct {
	Self, Owner bool
}

// Decide is the one authorization decision of Microsoft Graph here.
func (a *Access) Decide(s *Standing, r Relation) bool {
	if a.Public {
		return true
	}
	role := s.HasRole(a.Roles...) || a.Read && s.HasRole(directory.GlobalReader)
	if s.AppOnly {
		return role || overlap(s.Roles, a.Permissions) ||
			r.Owner && overlap(s.Roles, a.OwnerPermissions) ||
			r.Self && a.SelfClient
	}
	client := slices.Contains(s.Scopes, AsUser) || overlap(s.Scopes, a.Permissions) || overlap(s.Scopes, a.Delegated) ||
		r.Self && a.Self && overlap(s.Scopes, a.SelfPermissions)
	user := role || a.Members && !s.Guest || a.Guests || a.Self && r.Self || a.Owner && r.Owner
	return client && user
}

func overlap(have, want []string) bool {
	return slices.ContainsFunc(have, func(h string) bool { return slices.Contains(want, h) })
}
