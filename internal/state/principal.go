package state

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// FindUser returns the user of tenant with the given object id or user
// principal name. NotFound.
func FindUser(r store.Reader, tenant directory.TenantID, name string) (*directory.User, error) {
	if id, ok := directory.ParseGUID(name); ok {
		return Users.Get(r, Key(tenant, directory.ObjectID(id)))
	}
	if u, ok := Users.First(r, "upn", join(string(tenant), Fold(name))); ok {
		return u, nil
	}
	return nil, errs.New(errs.NotFound, "The user '%s' does not exist in the directory.", name)
}

// FindApplication returns the registration of an application, first-party ones
// included. NotFound.
func FindApplication(r store.Reader, id directory.AppID) (*directory.Application, error) {
	if a, ok := directory.FirstParty(id); ok {
		return a, nil
	}
	if a, ok := Applications.First(r, "appid", string(id)); ok {
		return a, nil
	}
	return nil, errs.New(errs.NotFound, "Application with identifier '%s' was not found.", id)
}

// FindServicePrincipal returns the service principal of an application in a
// tenant. NotFound.
func FindServicePrincipal(r store.Reader, tenant directory.TenantID, id directory.AppID) (*directory.ServicePrincipal, error) {
	if p, ok := ServicePrincipals.First(r, "appid", join(string(tenant), string(id))); ok {
		return p, nil
	}
	return nil, errs.New(errs.NotFound, "Application with identifier '%s' was not found in the directory '%s'.", id, tenant)
}

// SecretWorks reports whether an application may sign in to a tenant with a
// secret now.
func SecretWorks(r store.Reader, tenant directory.TenantID, id directory.AppID, secret string, now time.Time) bool {
	app, err := FindApplication(r, id)
	if err != nil {
		return false
	}
	sp, err := FindServicePrincipal(r, tenant, id)
	if err != nil || !sp.Enabled {
		return false
	}
	return slices.ContainsFunc([]*directory.Credentials{&app.Credentials, &sp.Credentials}, func(c *directory.Credentials) bool {
		p := c.MatchPassword(secret)
		return p != nil && !now.Before(p.Start) && now.Before(p.End)
	})
}

// FindResource returns the service principal of the resource that a client
// names by client id or identifier URI, with or without a final slash, with or
// without the prefix spn: that old clients put before it. NotFound.
func FindResource(r store.Reader, tenant directory.TenantID, name string) (*directory.ServicePrincipal, error) {
	bare := strings.TrimPrefix(name, "spn:")
	if p, ok := ServicePrincipals.First(r, "name", resourceName(tenant, bare)); ok {
		return p, nil
	}
	return nil, errs.New(errs.NotFound, "The resource principal named %s was not found in the tenant named %s.", name, tenant)
}

// TypeOf returns what kind of object id is in tenant. NotFound.
func TypeOf(r store.Reader, tenant directory.TenantID, id directory.ObjectID) (directory.Type, error) {
	key := Key(tenant, id)
	if _, err := Users.Get(r, key); err == nil {
		return directory.TypeUser, nil
	}
	if _, err := Groups.Get(r, key); err == nil {
		return directory.TypeGroup, nil
	}
	if _, err := ServicePrincipals.Get(r, key); err == nil {
		return directory.TypeServicePrincipal, nil
	}
	if _, err := Applications.Get(r, key); err == nil {
		return directory.TypeApplication, nil
	}
	if _, err := Devices.Get(r, key); err == nil {
		return directory.TypeDevice, nil
	}
	return "", errs.New(errs.NotFound, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", id)
}

// CreateUser adds a user. Exists when the user principal name is taken,
// Invalid when it does not belong to a domain of the tenant.
func CreateUser(tx *store.Tx, u *directory.User) error {
	t, err := Tenants.Get(tx, string(u.Tenant))
	if err != nil {
		return err
	}
	if err := CheckUserPrincipalName(t, u.UserPrincipalName); err != nil {
		return err
	}
	return Users.Create(tx, u)
}

// CheckUserPrincipalName returns Invalid unless name is a well-formed user
// principal name in a domain of t. Names that Kubernetes keeps for itself, and
// characters outside printable ASCII that could make one name look like
// another, are refused.
func CheckUserPrincipalName(t *directory.Tenant, name string) error {
	local, domain, ok := strings.Cut(name, "@")
	if !ok || local == "" || strings.Contains(domain, "@") || len(local) > 64 || len(name) > 113 {
		return errs.New(errs.Invalid, "Invalid value specified for property 'userPrincipalName' of resource 'User'.")
	}
	for _, c := range name {
		if c <= ' ' || c > '~' || strings.ContainsRune(`"(),:;<>[\]/`, c) {
			return errs.New(errs.Invalid, "Invalid value specified for property 'userPrincipalName' of resource 'User': the character %q is not allowed.", c)
		}
	}
	if strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
		return errs.New(errs.Invalid, "Invalid value specified for property 'userPrincipalName' of resource 'User'.")
	}
	if !t.HasDomain(domain) {
		return errs.New(errs.Invalid, "The domain portion of the userPrincipalName property is invalid. You must use one of the verified domain names in your organization.")
	}
	return nil
}

// Link adds to as a member or owner of from. Exists when it is one already,
// NotFound when either does not exist, Invalid when the kinds do not fit or a
// group would be its own member.
func Link(tx *store.Tx, kind directory.LinkKind, tenant directory.TenantID, from, to directory.ObjectID) error {
	guard(tx, tenant, from)
	guard(tx, tenant, to)
	toType, err := TypeOf(tx, tenant, to)
	if err != nil {
		return err
	}
	fromType, err := TypeOf(tx, tenant, from)
	if err != nil {
		return err
	}
	switch {
	case from == to:
		return errs.New(errs.Invalid, "A group cannot be a member of itself.")
	case kind == directory.Member && fromType != directory.TypeGroup,
		kind == directory.Member && toType == directory.TypeApplication,
		kind == directory.Owner && toType != directory.TypeUser && toType != directory.TypeServicePrincipal,
		kind == directory.Owner && fromType == directory.TypeUser:
		return errs.New(errs.Invalid, "Objects of type %s cannot be a %s of objects of type %s.", toType, kind, fromType)
	}
	if kind == directory.Member && fromType == directory.TypeGroup {
		g, err := Groups.Get(tx, Key(tenant, from))
		if err != nil {
			return err
		}
		if g.IsAssignableToRole && toType == directory.TypeGroup {
			return errs.New(errs.Invalid, "Groups cannot be added as members of a role-assignable group.")
		}
	}
	link := &directory.Link{Tenant: tenant, Kind: kind, From: from, To: to, ToType: toType}
	if old, err := Links.Get(tx, linkKey(tenant, kind, from, to)); err == nil && !old.Until.IsZero() {
		// An activation that ends by itself does not stand in the way of a
		// membership that does not.
		return Links.Put(tx, link)
	}
	err = Links.Create(tx, link)
	if errs.Is(err, errs.Exists) {
		return errs.New(errs.Exists, "One or more added object references already exist for the following modified properties: '%ss'.", kind)
	}
	return err
}

// guard makes the deletion of an object and whatever refers to it notice each
// other, so that nothing refers to an object that is gone.
func guard(tx *store.Tx, tenant directory.TenantID, id directory.ObjectID) {
	tx.Guard("object/" + Key(tenant, id))
}

// Unlink removes what Link added. NotFound.
func Unlink(tx *store.Tx, kind directory.LinkKind, tenant directory.TenantID, from, to directory.ObjectID) error {
	return Links.Delete(tx, linkKey(tenant, kind, from, to))
}

// Linked returns the links of the given kind that start at from: the members
// of a group, the owners of an object. Links that have ended are left out.
func Linked(r store.Reader, kind directory.LinkKind, tenant directory.TenantID, from directory.ObjectID, now time.Time) (links []*directory.Link) {
	for l := range Links.Where(r, "from", join(string(tenant), string(kind), string(from))) {
		if l.Until.IsZero() || now.Before(l.Until) {
			links = append(links, l)
		}
	}
	return links
}

// LinkedTo returns the links of the given kind that end at to: the groups that
// it is a direct member of, what it owns.
func LinkedTo(r store.Reader, kind directory.LinkKind, tenant directory.TenantID, to directory.ObjectID, now time.Time) (links []*directory.Link) {
	for l := range Links.Where(r, "to", join(string(tenant), string(kind), string(to))) {
		if l.Until.IsZero() || now.Before(l.Until) {
			links = append(links, l)
		}
	}
	return links
}

// IsMember reports whether to is a direct member of the group from.
func IsMember(r store.Reader, tenant directory.TenantID, from, to directory.ObjectID, now time.Time) bool {
	l, err := Links.Get(r, linkKey(tenant, directory.Member, from, to))
	return err == nil && (l.Until.IsZero() || now.Before(l.Until))
}

// Memberships returns the ids of every group that a principal belongs to at
// now, through other groups too, in ascending order and without the principal
// itself. Cycles are harmless.
func Memberships(r store.Reader, tenant directory.TenantID, id directory.ObjectID, now time.Time) []directory.ObjectID {
	seen := map[directory.ObjectID]bool{id: true}
	queue := []directory.ObjectID{id}
	var groups []directory.ObjectID
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, l := range LinkedTo(r, directory.Member, tenant, next, now) {
			if !seen[l.From] {
				seen[l.From] = true
				groups = append(groups, l.From)
				queue = append(queue, l.From)
			}
		}
	}
	slices.Sort(groups)
	return groups
}

// Roles returns the template ids of the directory roles that a principal has
// at now for the whole tenant, directly or through role-assignable groups.
func Roles(r store.Reader, tenant directory.TenantID, id directory.ObjectID, now time.Time) []string {
	var roles []string
	add := func(principal directory.ObjectID) {
		for a := range RoleAssignments.Where(r, "principal", Key(tenant, principal)) {
			if a.Scope == "/" && (a.Until.IsZero() || now.Before(a.Until)) && !slices.Contains(roles, a.Role) {
				roles = append(roles, a.Role)
			}
		}
	}
	add(id)
	for _, g := range Memberships(r, tenant, id, now) {
		if group, err := Groups.Get(r, Key(tenant, g)); err == nil && group.IsAssignableToRole {
			add(g)
		}
	}
	slices.Sort(roles)
	return roles
}

// HasRole reports whether a principal has one of the given directory roles.
func HasRole(r store.Reader, tenant directory.TenantID, id directory.ObjectID, now time.Time, templates ...string) bool {
	for _, role := range Roles(r, tenant, id, now) {
		if slices.Contains(templates, role) {
			return true
		}
	}
	return false
}

// Delete removes a user, group, application, service principal or device with
// everything that refers to it, an application with its service principal. All
// but devices and managed identities can be restored from Deleted. NotFound.
func Delete(tx *store.Tx, tenant directory.TenantID, id directory.ObjectID, now time.Time) error {
	kind, err := TypeOf(tx, tenant, id)
	if err != nil {
		return err
	}
	guard(tx, tenant, id)
	key := Key(tenant, id)
	d := &DeletedObject{Tenant: tenant, ID: id, Type: kind, Deleted: now}
	switch kind {
	case directory.TypeUser:
		err = moveToDeleted(tx, Users, key, d)
	case directory.TypeGroup:
		err = moveToDeleted(tx, Groups, key, d)
	case directory.TypeApplication:
		app, gerr := Applications.Get(tx, key)
		if gerr != nil {
			return gerr
		}
		if p, perr := FindServicePrincipal(tx, tenant, app.AppID); perr == nil {
			if err := Delete(tx, tenant, p.ID, now); err != nil {
				return err
			}
		}
		err = moveToDeleted(tx, Applications, key, d)
	case directory.TypeServicePrincipal:
		p, gerr := ServicePrincipals.Get(tx, key)
		if gerr != nil {
			return gerr
		}
		if p.Type == "ManagedIdentity" {
			err = ServicePrincipals.Delete(tx, key)
		} else {
			err = moveToDeleted(tx, ServicePrincipals, key, d)
		}
	case directory.TypeDevice:
		err = Devices.Delete(tx, key)
	}
	if err != nil {
		return err
	}
	if err := deleteReferences(tx, tenant, id, d); err != nil {
		return err
	}
	if d.Object == nil {
		return nil
	}
	return Deleted.Put(tx, d)
}

// Restorable returns the deleted object and what comes back, or is purged,
// together with it: the service principal of an application, where that is among
// the deleted items too. NotFound.
func Restorable(r store.Reader, tenant directory.TenantID, id directory.ObjectID) ([]*DeletedObject, error) {
	d, err := Deleted.Get(r, Key(tenant, id))
	if err != nil {
		return nil, err
	}
	list := []*DeletedObject{d}
	if d.Type != directory.TypeApplication {
		return list, nil
	}
	var app directory.Application
	if err := json.Unmarshal(d.Object, &app); err != nil {
		return nil, err
	}
	for other := range Deleted.Where(r, "tenant", string(tenant)) {
		if other.Type != directory.TypeServicePrincipal {
			continue
		}
		var p directory.ServicePrincipal
		if err := json.Unmarshal(other.Object, &p); err != nil {
			return nil, err
		}
		if p.AppID == app.AppID && !other.Deleted.Before(d.Deleted) {
			list = append(list, other)
		}
	}
	return list, nil
}

// Restore brings a deleted object back, with what Restorable says and with those
// of their links whose other side still exists. NotFound; Exists when its name
// has been taken since; Invalid for a service principal whose application is
// deleted.
func Restore(tx *store.Tx, tenant directory.TenantID, id directory.ObjectID) error {
	list, err := Restorable(tx, tenant, id)
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := restoreOne(tx, d); err != nil {
			return err
		}
	}
	return nil
}

// Purge removes a deleted object for good, with what Restorable says. NotFound.
func Purge(tx *store.Tx, tenant directory.TenantID, id directory.ObjectID) error {
	list, err := Restorable(tx, tenant, id)
	if err != nil {
		return err
	}
	for _, d := range list {
		if err := Deleted.Delete(tx, Key(tenant, d.ID)); err != nil {
			return err
		}
	}
	return nil
}

func restoreOne(tx *store.Tx, d *DeletedObject) error {
	var err error
	switch d.Type {
	case directory.TypeUser:
		err = restore(tx, Users, d)
	case directory.TypeGroup:
		err = restore(tx, Groups, d)
	case directory.TypeApplication:
		err = restore(tx, Applications, d)
	case directory.TypeServicePrincipal:
		err = restoreServicePrincipal(tx, d)
	default:
		err = errs.New(errs.Invalid, "Objects of type %s cannot be restored.", d.Type)
	}
	if err != nil {
		return err
	}
	for _, l := range d.Links {
		other := l.From
		if other == d.ID {
			other = l.To
		}
		if _, err := TypeOf(tx, d.Tenant, other); err != nil {
			continue
		}
		if err := Links.Put(tx, &l); err != nil {
			return err
		}
	}
	return Deleted.Delete(tx, Key(d.Tenant, d.ID))
}

// restoreServicePrincipal restores one whose application, if it is the tenant's
// own, exists.
func restoreServicePrincipal(tx *store.Tx, d *DeletedObject) error {
	var p directory.ServicePrincipal
	if err := json.Unmarshal(d.Object, &p); err != nil {
		return err
	}
	if _, ok := Applications.First(tx, "appid", string(p.AppID)); !ok && p.AppOwnerTenant == d.Tenant {
		return errs.New(errs.Invalid, "The application '%s' is deleted: restore it, and its service principal comes back with it.", p.AppID)
	}
	return restore(tx, ServicePrincipals, d)
}

func moveToDeleted[T any](tx *store.Tx, table *store.Table[T], key string, d *DeletedObject) error {
	v, err := table.Get(tx, key)
	if err != nil {
		return err
	}
	if d.Object, err = json.Marshal(v); err != nil {
		return err
	}
	return table.Delete(tx, key)
}

func restore[T any](tx *store.Tx, table *store.Table[T], d *DeletedObject) error {
	var v T
	if err := json.Unmarshal(d.Object, &v); err != nil {
		return err
	}
	return table.Create(tx, &v)
}

// deleteReferences removes every link, grant and assignment that names id; the
// links are kept in d, if it is given, for Restore.
func deleteReferences(tx *store.Tx, tenant directory.TenantID, id directory.ObjectID, d *DeletedObject) error {
	var links []*directory.Link
	for _, kind := range []directory.LinkKind{directory.Member, directory.Owner} {
		at := join(string(tenant), string(kind), string(id))
		links = slices.AppendSeq(links, Links.Where(tx, "from", at))
		links = slices.AppendSeq(links, Links.Where(tx, "to", at))
	}
	for _, l := range links {
		if d != nil {
			d.Links = append(d.Links, *l)
		}
		if err := Links.Delete(tx, linkKey(l.Tenant, l.Kind, l.From, l.To)); err != nil {
			return err
		}
	}
	at := Key(tenant, id)
	for _, index := range []string{"client", "resource", "user"} {
		for _, g := range slices.Collect(Grants.Where(tx, index, at)) {
			if err := Grants.Delete(tx, join(string(g.Tenant), g.ID)); err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
	}
	for _, index := range []string{"principal", "resource"} {
		for _, a := range slices.Collect(AppRoleAssignments.Where(tx, index, at)) {
			if err := AppRoleAssignments.Delete(tx, join(string(a.Tenant), a.ID)); err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
	}
	for _, a := range slices.Collect(RoleAssignments.Where(tx, "principal", at)) {
		if err := RoleAssignments.Delete(tx, join(string(a.Tenant), a.ID)); err != nil {
			return err
		}
	}
	return nil
}
