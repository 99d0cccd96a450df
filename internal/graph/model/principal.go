package model

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/state"
)

// User is a person's account.
var User = newKind(Kind{
	Name: "user", Label: "User", Set: "users",
	Defaults: []string{"businessPhones", "displayName", "givenName", "jobTitle", "mail", "mobilePhone", "officeLocation", "preferredLanguage", "surname", "userPrincipalName", "id"},
}, join(
	read("id", odata.String, func(u *directory.User) any { return string(u.ID) }),
	deletedAt(),
	flag("accountEnabled", func(u *directory.User) *bool { return &u.Enabled }),
	when("createdDateTime", func(u *directory.User) time.Time { return u.Created }),
	text("displayName", 256, func(u *directory.User) *string { return &u.DisplayName }),
	text("givenName", 64, func(u *directory.User) *string { return &u.GivenName }),
	text("surname", 64, func(u *directory.User) *string { return &u.Surname }),
	text("mail", 256, func(u *directory.User) *string { return &u.Mail }),
	text("mailNickname", 64, func(u *directory.User) *string { return &u.MailNickname }),
	text("userPrincipalName", 113, func(u *directory.User) *string { return &u.UserPrincipalName }),
	userType(),
	when("lastPasswordChangeDateTime", func(u *directory.User) time.Time { return later(u.PasswordChanged, u.Created) }),
	when("signInSessionsValidFromDateTime", func(u *directory.User) time.Time { return later(u.SessionsValidFrom, u.Created) }),
	when("refreshTokensValidFromDateTime", func(u *directory.User) time.Time { return later(u.SessionsValidFrom, u.Created) }),
	read("passwordProfile", odata.Complex, func(u *directory.User) any {
		if u.PasswordHash == "" {
			return nil
		}
		return map[string]any{"password": nil, "forceChangePasswordNextSignIn": u.MustChangePassword, "forceChangePasswordNextSignInWithMfa": false}
	}),
	read("identities", odata.Complex, func(u *directory.User) any {
		_, domain, _ := strings.Cut(u.UserPrincipalName, "@")
		return []any{map[string]any{"signInType": "userPrincipalName", "issuer": domain, "issuerAssignedId": u.UserPrincipalName}}
	}).list(),
	keptList("businessPhones", odata.String), keptList("otherMails", odata.String), keptList("interests", odata.String),
	keptList("responsibilities", odata.String), keptList("schools", odata.String), keptList("skills", odata.String), keptList("pastProjects", odata.String),
	keptAll(odata.String, "jobTitle", "mobilePhone", "officeLocation", "preferredLanguage", "department", "companyName", "city", "country", "state",
		"streetAddress", "postalCode", "usageLocation", "employeeId", "employeeType", "faxNumber", "ageGroup", "consentProvidedForMinor",
		"passwordPolicies", "preferredDataLocation", "aboutMe", "mySite", "preferredName", "onPremisesImmutableId", "externalUserState", "creationType"),
	keptAll(odata.DateTime, "employeeHireDate", "employeeLeaveDateTime", "birthday", "externalUserStateChangeDateTime"),
	kept("showInAddressList", odata.Boolean), kept("onPremisesExtensionAttributes", odata.Complex), kept("employeeOrgData", odata.Complex),
	nulls(odata.String, "onPremisesDistinguishedName", "onPremisesDomainName", "onPremisesSamAccountName", "onPremisesSecurityIdentifier",
		"onPremisesUserPrincipalName", "legalAgeGroupClassification", "securityIdentifier"),
	nulls(odata.Boolean, "onPremisesSyncEnabled"), nulls(odata.DateTime, "onPremisesLastSyncDateTime"),
	empties(odata.String, "proxyAddresses", "imAddresses"),
	empties(odata.Complex, "assignedLicenses", "assignedPlans", "provisionedPlans", "onPremisesProvisioningErrors", "serviceProvisioningErrors"),
))

func userType() property {
	p := read("userType", odata.String, func(u *directory.User) any {
		if u.Guest {
			return "Guest"
		}
		return "Member"
	})
	p.set = func(rec any, raw json.RawMessage) error {
		var s string
		if err := json.Unmarshal(raw, &s); err != nil {
			return err
		}
		switch {
		case strings.EqualFold(s, "Member"):
			rec.(*directory.User).Guest = false
		case strings.EqualFold(s, "Guest"):
			rec.(*directory.User).Guest = true
		default:
			return errs.New(errs.Invalid, "Invalid value specified for property 'userType' of resource 'User'.")
		}
		return nil
	}
	return p
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// Group is a set of principals.
var Group = newKind(Kind{
	Name: "group", Label: "Group", Set: "groups",
}, join(
	read("id", odata.String, func(g *directory.Group) any { return string(g.ID) }),
	deletedAt(),
	kept("classification", odata.String),
	when("createdDateTime", func(g *directory.Group) time.Time { return g.Created }),
	empties(odata.String, "creationOptions"),
	text("description", 1024, func(g *directory.Group) *string { return &g.Description }),
	text("displayName", 256, func(g *directory.Group) *string { return &g.DisplayName }),
	constant("expirationDateTime", odata.DateTime, nil),
	texts("groupTypes", 2, func(g *directory.Group) *[]string { return &g.GroupTypes }),
	flag("isAssignableToRole", func(g *directory.Group) *bool { return &g.IsAssignableToRole }),
	constant("mail", odata.String, nil),
	flag("mailEnabled", func(g *directory.Group) *bool { return &g.MailEnabled }),
	text("mailNickname", 64, func(g *directory.Group) *string { return &g.MailNickname }),
	kept("membershipRule", odata.String), kept("membershipRuleProcessingState", odata.String),
	nulls(odata.String, "onPremisesDomainName"), nulls(odata.DateTime, "onPremisesLastSyncDateTime"),
	nulls(odata.String, "onPremisesNetBiosName", "onPremisesSamAccountName", "onPremisesSecurityIdentifier"), nulls(odata.Boolean, "onPremisesSyncEnabled"),
	kept("preferredDataLocation", odata.String), kept("preferredLanguage", odata.String),
	empties(odata.String, "proxyAddresses"),
	when("renewedDateTime", func(g *directory.Group) time.Time { return g.Created }),
	keptList("resourceBehaviorOptions", odata.String), keptList("resourceProvisioningOptions", odata.String),
	flag("securityEnabled", func(g *directory.Group) *bool { return &g.SecurityEnabled }),
	constant("securityIdentifier", odata.String, nil),
	kept("theme", odata.String), kept("uniqueName", odata.String), kept("visibility", odata.String),
	empties(odata.Complex, "onPremisesProvisioningErrors", "serviceProvisioningErrors"),
))

// Device is a computer or phone.
var Device = newKind(Kind{
	Name: "device", Label: "Device", Set: "devices",
}, join(
	read("id", odata.String, func(d *directory.Device) any { return string(d.ID) }),
	deletedAt(),
	flag("accountEnabled", func(d *directory.Device) *bool { return &d.Enabled }),
	when("approximateLastSignInDateTime", func(d *directory.Device) time.Time { return d.Created }),
	constant("complianceExpirationDateTime", odata.DateTime, nil),
	when("createdDateTime", func(d *directory.Device) time.Time { return d.Created }),
	kept("deviceCategory", odata.String),
	deviceID(),
	keptAll(odata.String, "deviceMetadata", "deviceOwnership", "enrollmentProfileName", "enrollmentType", "managementType", "manufacturer", "mdmAppId", "model", "profileType"),
	constant("deviceVersion", odata.Int, int64(2)),
	text("displayName", 256, func(d *directory.Device) *string { return &d.DisplayName }),
	flag("isCompliant", func(d *directory.Device) *bool { return &d.Compliant }),
	flag("isManaged", func(d *directory.Device) *bool { return &d.Managed }),
	kept("isRooted", odata.Boolean),
	text("operatingSystem", 64, func(d *directory.Device) *string { return &d.OS }),
	text("operatingSystemVersion", 64, func(d *directory.Device) *string { return &d.OSVersion }),
	when("registrationDateTime", func(d *directory.Device) time.Time { return d.Created }),
	text("trustType", 32, func(d *directory.Device) *string { return &d.TrustType }),
	read("alternativeSecurityIds", odata.Complex, func(d *directory.Device) any {
		if d.KeyThumbprint == "" {
			return []any{}
		}
		return []any{map[string]any{"type": 2, "identityProvider": nil, "key": d.KeyThumbprint}}
	}).list(),
	kept("extensionAttributes", odata.Complex),
	keptList("physicalIds", odata.String), keptList("systemLabels", odata.String),
	nulls(odata.Boolean, "onPremisesSyncEnabled"), nulls(odata.DateTime, "onPremisesLastSyncDateTime"),
))

func deviceID() property {
	p := text("deviceId", 36, func(d *directory.Device) *string { return &d.DeviceID })
	set := p.set
	p.set = func(rec any, raw json.RawMessage) error {
		if err := set(rec, raw); err != nil {
			return err
		}
		d := rec.(*directory.Device)
		id, ok := directory.ParseGUID(d.DeviceID)
		if !ok {
			return errs.New(errs.Invalid, "Invalid value specified for property 'deviceId' of resource 'Device'.")
		}
		d.DeviceID = id
		return nil
	}
	return p
}

// Users returns u as a resource.
func Users(at *At, u *directory.User) *Object {
	return &Object{Kind: User, ID: string(u.ID), Rec: u, Extra: u.Properties, At: at}
}

// Groups returns g as a resource.
func Groups(at *At, g *directory.Group) *Object {
	return &Object{Kind: Group, ID: string(g.ID), Rec: g, Extra: g.Properties, At: at}
}

// Devices returns d as a resource.
func Devices(at *At, d *directory.Device) *Object {
	return &Object{Kind: Device, ID: string(d.ID), Rec: d, Extra: d.Properties, At: at}
}

// Find returns the object of any type that has the id, or false.
func Find(at *At, id directory.ObjectID) (*Object, bool) {
	key := state.Key(at.Tenant, id)
	if u, err := state.Users.Get(at.Reader, key); err == nil {
		return Users(at, u), true
	}
	if g, err := state.Groups.Get(at.Reader, key); err == nil {
		return Groups(at, g), true
	}
	if p, err := state.ServicePrincipals.Get(at.Reader, key); err == nil {
		return ServicePrincipals(at, p), true
	}
	if a, err := state.Applications.Get(at.Reader, key); err == nil {
		return Applications(at, a), true
	}
	if d, err := state.Devices.Get(at.Reader, key); err == nil {
		return Devices(at, d), true
	}
	return nil, false
}

// FindTyped is Find when the type is known.
func FindTyped(at *At, id directory.ObjectID, t directory.Type) (*Object, bool) {
	key := state.Key(at.Tenant, id)
	switch t {
	case directory.TypeUser:
		if u, err := state.Users.Get(at.Reader, key); err == nil {
			return Users(at, u), true
		}
		return nil, false
	case directory.TypeGroup:
		if g, err := state.Groups.Get(at.Reader, key); err == nil {
			return Groups(at, g), true
		}
		return nil, false
	}
	return Find(at, id)
}

func linked(kind directory.LinkKind) func(*Object) []*Object {
	return func(o *Object) (out []*Object) {
		for _, l := range state.Linked(o.At.Reader, kind, o.At.Tenant, directory.ObjectID(o.ID), o.At.Now) {
			if other, ok := FindTyped(o.At, l.To, l.ToType); ok {
				out = append(out, other)
			}
		}
		return out
	}
}

func memberOf(o *Object) (out []*Object) {
	for _, l := range state.LinkedTo(o.At.Reader, directory.Member, o.At.Tenant, directory.ObjectID(o.ID), o.At.Now) {
		if g, ok := FindTyped(o.At, l.From, directory.TypeGroup); ok {
			out = append(out, g)
		}
	}
	return out
}

// MemberOf returns the groups that an object is a direct member of, and the
// directory roles assigned to it.
func MemberOf(o *Object) []*Object {
	return append(memberOf(o), assignedRoles(o, directory.ObjectID(o.ID))...)
}

// TransitiveMemberOf is MemberOf through groups.
func TransitiveMemberOf(o *Object) (out []*Object) {
	out = transitiveMemberOf(o)
	for _, template := range state.Roles(o.At.Reader, o.At.Tenant, directory.ObjectID(o.ID), o.At.Now) {
		if r, ok := FindRole(o.At.Tenant, template); ok {
			out = append(out, RolesAs(DirectoryRole, o.At, r)...)
		}
	}
	return out
}

func assignedRoles(o *Object, id directory.ObjectID) (out []*Object) {
	for a := range state.RoleAssignments.Where(o.At.Reader, "principal", state.Key(o.At.Tenant, id)) {
		if r, ok := FindRole(o.At.Tenant, a.Role); ok && a.Scope == "/" && (a.Until.IsZero() || o.At.Now.Before(a.Until)) {
			out = append(out, RolesAs(DirectoryRole, o.At, r)...)
		}
	}
	return out
}

// OwnedObjects returns what an object owns.
func OwnedObjects(o *Object) []*Object { return ownedObjects(o) }

// OwnedDevices returns the devices whose registered owner a user is.
func OwnedDevices(o *Object) []*Object {
	return slices.DeleteFunc(ownedObjects(o), func(other *Object) bool { return other.Kind != Device })
}

// Linked returns the members or owners of an object.
func Linked(kind directory.LinkKind, o *Object) []*Object { return linked(kind)(o) }

func transitiveMemberOf(o *Object) (out []*Object) {
	for _, id := range state.Memberships(o.At.Reader, o.At.Tenant, directory.ObjectID(o.ID), o.At.Now) {
		if g, ok := FindTyped(o.At, id, directory.TypeGroup); ok {
			out = append(out, g)
		}
	}
	return out
}

func ownedObjects(o *Object) (out []*Object) {
	for _, l := range state.LinkedTo(o.At.Reader, directory.Owner, o.At.Tenant, directory.ObjectID(o.ID), o.At.Now) {
		if other, ok := Find(o.At, l.From); ok {
			out = append(out, other)
		}
	}
	return out
}

// TransitiveMembers returns the members of a group and of the groups in it,
// each once. Cycles are harmless.
func TransitiveMembers(o *Object) (out []*Object) {
	seen := map[directory.ObjectID]bool{directory.ObjectID(o.ID): true}
	queue := []directory.ObjectID{directory.ObjectID(o.ID)}
	for len(queue) > 0 {
		next := queue[0]
		queue = queue[1:]
		for _, l := range state.Linked(o.At.Reader, directory.Member, o.At.Tenant, next, o.At.Now) {
			if seen[l.To] {
				continue
			}
			seen[l.To] = true
			if l.ToType == directory.TypeGroup {
				queue = append(queue, l.To)
			}
			if other, ok := FindTyped(o.At, l.To, l.ToType); ok {
				out = append(out, other)
			}
		}
	}
	return out
}
