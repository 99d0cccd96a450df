package conditionalaccess

import (
	"slices"

	"github.com/entrance-id/entrance/internal/directory"
)

// Condition names a condition as Graph's conditionalAccessConditions does.
type Condition string

// The conditions, in the order in which they are looked at.
const (
	CondUsers             Condition = "users"
	CondServicePrincipals Condition = "servicePrincipals"
	CondApplication       Condition = "application"
	CondClientType        Condition = "clientType"
	CondPlatform          Condition = "devicePlatform"
	CondLocation          Condition = "location"
	CondDevice            Condition = "deviceState"
	CondAuthFlow          Condition = "authenticationFlows"
)

// ConditionTrace is how one condition was answered.
type ConditionTrace struct {
	Condition Condition `json:"condition"`
	Satisfied bool      `json:"satisfied"`
	Detail    string    `json:"detail"`
}

// subject is the facts made ready for many policies.
type subject struct {
	*Facts
	flow   AuthFlow // the step's own flow, whatever the facts say
	device *Device  // never one in the device code flow
	groups map[directory.ObjectID]bool
	roles  map[directory.ObjectID]bool
	set    *Set
	known  bool // exactly one of User and Workload
}

func newSubject(s *Set, f *Facts) *subject {
	x := &subject{Facts: f, set: s, flow: f.Flow, known: (f.User == nil) != (f.Workload == nil)}
	if f.Step == StepDeviceSignIn || f.Step == StepDeviceCode {
		x.flow = DeviceCodeFlow
	}
	if x.flow != DeviceCodeFlow {
		x.device = f.Device
	}
	if f.User != nil {
		x.groups, x.roles = ids(f.User.Groups), ids(f.User.Roles)
	}
	return x
}

func ids(list []directory.ObjectID) map[directory.ObjectID]bool {
	m := make(map[directory.ObjectID]bool, len(list))
	for _, id := range list {
		m[id] = true
	}
	return m
}

// checks holds method expressions: method values would be made anew for each
// policy.
var checks = [...]struct {
	name  Condition
	match func(*subject, *compiled) (bool, string)
}{
	{CondUsers, (*subject).matchWho}, // or service principals
	{CondApplication, (*subject).matchApplication},
	{CondClientType, (*subject).matchClientType},
	{CondPlatform, (*subject).matchPlatform},
	{CondLocation, (*subject).matchLocation},
	{CondDevice, (*subject).matchDevice},
	{CondAuthFlow, (*subject).matchFlow},
}

// applies tells whether every condition of the policy matches, and if not,
// which did not. Without trace it stops at the first.
func (x *subject) applies(c *compiled, trace bool) (bool, Condition, []ConditionTrace) {
	var out []ConditionTrace
	first := Condition("")
	who := CondUsers
	if c.Conditions.Workloads != nil {
		who = CondServicePrincipals
	}
	for _, check := range checks {
		if check.name == CondUsers {
			check.name = who
		}
		ok, detail := check.match(x, c)
		if !ok && first == "" {
			first = check.name
			if !trace {
				return false, first, nil
			}
		}
		if trace && detail != "" {
			out = append(out, ConditionTrace{check.name, ok, detail})
		}
	}
	return first == "", first, out
}

// The match functions return an empty detail for a condition that the policy
// does not have. Details are constant texts, so that the usual path does not
// pay for them.

func (x *subject) matchWho(c *compiled) (bool, string) {
	if c.Conditions.Workloads != nil {
		return x.matchWorkload(c)
	}
	if x.User == nil {
		return false, "the policy is about users and a service principal signs in"
	}
	u := &c.Conditions.Users
	if x.selects(c.excludeUsers, u.ExcludeGroups, u.ExcludeRoles, u.ExcludeGuests) {
		return false, "the user is excluded"
	}
	if x.selects(c.includeUsers, u.IncludeGroups, u.IncludeRoles, u.IncludeGuests) {
		return true, "the user is included"
	}
	return false, "the user is not included"
}

func (x *subject) matchWorkload(c *compiled) (bool, string) {
	switch {
	case x.Workload == nil:
		return false, "the policy is about service principals and a user signs in"
	case x.Workload.ManagedIdentity:
		return false, "policies do not reach managed identities"
	case x.Workload.Foreign:
		return false, "the application belongs to another tenant"
	case c.excludeSPs[string(x.Workload.ID)]:
		return false, "the service principal is excluded"
	case c.includeSPs[ServicePrincipalsInMyTenant], c.includeSPs[string(x.Workload.ID)]:
		return true, "the service principal is included"
	}
	return false, "the service principal is not included"
}

func (x *subject) selects(users map[string]bool, groups, roles []string, guests *Guests) bool {
	u := x.User
	if len(users) > 0 && (users[All] || users[string(u.ID)] || u.Guest != Member && users[GuestsOrExternalUsers]) {
		return true
	}
	for _, g := range groups {
		if x.groups[directory.ObjectID(g)] {
			return true
		}
	}
	for _, r := range roles {
		if x.roles[directory.ObjectID(r)] {
			return true
		}
	}
	return guests != nil && u.Guest != Member && slices.Contains(guests.Types, u.Guest) &&
		(guests.Tenants == nil || slices.Contains(guests.Tenants, u.HomeTenant))
}

func (x *subject) matchApplication(c *compiled) (bool, string) {
	a := &c.Conditions.Applications
	switch {
	case len(a.UserActions) > 0:
		if x.UserAction != "" && slices.Contains(a.UserActions, x.UserAction) {
			return true, "the policy is about this user action"
		}
		return false, "the policy is about another user action"
	case len(a.AuthContexts) > 0:
		for _, want := range x.AuthContexts {
			if slices.Contains(a.AuthContexts, want) {
				return true, "an authentication context of the policy is asked for"
			}
		}
		return false, "no authentication context of the policy is asked for"
	case x.UserAction != "":
		return false, "the policy is about applications and a user action is done"
	case c.includeApps[None]:
		return false, "the policy includes no application"
	case slices.Contains(x.Policies, c.ID):
		// The challenge came from this policy, for a resource further down the
		// road; meeting it now is the whole point of sending it.
		return true, "a claims challenge names the policy"
	}
	for _, r := range x.Resources {
		if !c.excludeApps[string(r)] && (c.includeApps[All] || c.includeApps[string(r)]) {
			return true, "the application is included"
		}
	}
	if len(x.Resources) == 0 && c.includeApps[All] {
		return true, "the policy is about all applications"
	}
	for _, r := range x.Resources {
		if c.excludeApps[string(r)] {
			return false, "the application is excluded"
		}
	}
	return false, "the application is not included"
}

func (x *subject) matchClientType(c *compiled) (bool, string) {
	switch types := c.Conditions.ClientAppTypes; {
	case len(types) == 0:
		return true, ""
	case x.ClientAppType == "":
		return true, "the kind of client is unknown, which counts as included"
	case slices.Contains(types, x.ClientAppType):
		return true, "the kind of client is included"
	}
	return false, "the kind of client is not included"
}

func (x *subject) matchPlatform(c *compiled) (bool, string) {
	p := c.Conditions.Platforms
	switch has := string(x.Platform); {
	case p == nil:
		return true, ""
	case slices.Contains(p.Exclude, "all"), has != "" && slices.Contains(p.Exclude, has):
		return false, "the claimed platform is excluded"
	case slices.Contains(p.Include, "all"), has != "" && slices.Contains(p.Include, has):
		return true, "the claimed platform is included"
	}
	return false, "the claimed platform is not included"
}

func (x *subject) matchLocation(c *compiled) (bool, string) {
	switch {
	case c.Conditions.Locations == nil:
		return true, ""
	case x.inside(c.out, false):
		return false, "the location is excluded"
	case x.inside(c.in, true):
		return true, "the location is included"
	}
	return false, "the location is not included"
}

// inside tells whether the sign-in comes from one of the places. What is not
// known (the address, or the place itself) counts as unknown says.
func (x *subject) inside(places []place, unknown bool) bool {
	for _, p := range places {
		switch {
		case p.all:
			return true
		case !x.Address.IsValid(), !p.trusted && p.location == nil:
			if unknown {
				return true
			}
		case p.trusted:
			for _, l := range x.set.trusted {
				if l.Contains(x.Address, x.Country) {
					return true
				}
			}
		case p.location.Contains(x.Address, x.Country):
			return true
		}
	}
	return false
}

func (x *subject) matchDevice(c *compiled) (bool, string) {
	f := c.Conditions.DeviceFilter
	if f == nil {
		return true, ""
	}
	hit := f.Rule.Match(x.device)
	switch {
	case f.Exclude && hit:
		return false, "the device filter excludes the device"
	case f.Exclude:
		return true, "the device filter does not exclude the device"
	case hit:
		return true, "the device filter includes the device"
	}
	return false, "the device filter does not include the device"
}

func (x *subject) matchFlow(c *compiled) (bool, string) {
	switch {
	case len(c.Conditions.AuthFlows) == 0:
		return true, ""
	case slices.Contains(c.Conditions.AuthFlows, x.flow):
		return true, "the sign-in came by this flow"
	}
	return false, "the sign-in came by another flow"
}
