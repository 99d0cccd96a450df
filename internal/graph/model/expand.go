package model

import (
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/odata"
)

// The navigation properties lead to objects of every kind, so the tables of
// kinds are complete before they are set.
func init() {
	members, owners := linked(directory.Member), linked(directory.Owner)
	User.Expands = map[string]func(*Object) []*Object{"memberOf": memberOf, "transitiveMemberOf": transitiveMemberOf, "ownedObjects": ownedObjects}
	Group.Expands = map[string]func(*Object) []*Object{
		"members": members, "owners": owners, "memberOf": memberOf, "transitiveMemberOf": transitiveMemberOf, "transitiveMembers": TransitiveMembers,
	}
	Device.Expands = map[string]func(*Object) []*Object{"memberOf": memberOf, "registeredOwners": owners}
	Application.Expands = map[string]func(*Object) []*Object{"owners": owners}
	ServicePrincipal.Expands = map[string]func(*Object) []*Object{
		"owners": owners, "memberOf": memberOf, "transitiveMemberOf": transitiveMemberOf, "ownedObjects": ownedObjects,
	}
	RoleAssignment.ExpandsOne = map[string]func(*Object) (*Object, bool){
		"principal": func(o *Object) (*Object, bool) { return Find(o.At, o.Rec.(*directory.RoleAssignment).Principal) },
		"roleDefinition": func(o *Object) (*Object, bool) {
			r, ok := FindRole(o.At.Tenant, o.Rec.(*directory.RoleAssignment).Role)
			if !ok {
				return nil, false
			}
			return RolesAs(RoleDefinition, o.At, r)[0], true
		},
	}
}

// Mixed is the schema of collections of several kinds: a property that one of
// them has can be selected and filtered by.
var Mixed = func() *odata.Schema {
	var all []odata.Property
	seen := map[string]bool{}
	for _, k := range []*Kind{User, Group, ServicePrincipal, Application, Device, DirectoryRole} {
		for _, p := range k.props {
			if name := strings.ToLower(p.Name); !seen[name] {
				seen[name] = true
				all = append(all, p.Property)
			}
		}
	}
	return odata.NewSchema("microsoft.graph.directoryObject", all)
}()
