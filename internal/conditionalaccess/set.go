package conditionalaccess

import (
	"slices"

	"github.com/entrance-id/entrance/internal/errs"
)

// Set is everything that decisions are made from, compiled. It never changes
// and may be shared; a new one is made when a document changes.
type Set struct {
	policies   []compiled
	trusted    []*NamedLocation
	unresolved []string
}

type compiled struct {
	*Policy
	includeUsers, excludeUsers map[string]bool
	includeApps, excludeApps   map[string]bool
	includeSPs, excludeSPs     map[string]bool
	in, out                    []place
	strength                   *AuthenticationStrength
	clauses                    [][]Control // AND of ORs
	grantNames, sessionNames   []string
}

// place is one entry of a location list.
type place struct {
	all, trusted bool
	location     *NamedLocation // nil if neither: it does not exist
}

// Compile makes a Set. A policy that refers to something missing still applies
// (see the package comment) and is listed by Unresolved. It is an error if a
// document has no id or shares one.
func Compile(policies []*Policy, locations []*NamedLocation, strengths []*AuthenticationStrength) (*Set, error) {
	s := &Set{policies: make([]compiled, 0, len(policies))}
	places, err := index(locations, func(l *NamedLocation) string { return l.ID })
	if err != nil {
		return nil, err
	}
	for _, l := range locations {
		if l.Trusted {
			s.trusted = append(s.trusted, l)
		}
	}
	strong, err := index(append(slices.Clone(builtIn), strengths...), func(a *AuthenticationStrength) string { return a.ID })
	if err != nil {
		return nil, err
	}
	if _, err := index(policies, func(p *Policy) string { return p.ID }); err != nil {
		return nil, err
	}
	for _, p := range policies {
		s.policies = append(s.policies, s.compile(p, places, strong))
	}
	return s, nil
}

func index[T any](list []T, id func(T) string) (map[string]T, error) {
	m := make(map[string]T, len(list))
	for _, x := range list {
		k := id(x)
		if k == "" {
			return nil, errs.New(errs.Internal, "conditionalaccess: a document has no id")
		}
		if _, ok := m[k]; ok {
			return nil, errs.New(errs.Internal, "conditionalaccess: two documents have the id %s", k)
		}
		m[k] = x
	}
	return m, nil
}

func (s *Set) compile(p *Policy, places map[string]*NamedLocation, strong map[string]*AuthenticationStrength) compiled {
	c := compiled{
		Policy:       p,
		includeUsers: set(p.Conditions.Users.IncludeUsers),
		excludeUsers: set(p.Conditions.Users.ExcludeUsers),
		includeApps:  set(p.Conditions.Applications.Include),
		excludeApps:  set(p.Conditions.Applications.Exclude),
	}
	if w := p.Conditions.Workloads; w != nil {
		c.includeSPs, c.excludeSPs = set(w.Include), set(w.Exclude)
	}
	if l := p.Conditions.Locations; l != nil {
		find := func(ids []string) (out []place) {
			for _, id := range ids {
				pl := place{all: id == All, trusted: id == AllTrusted, location: places[id]}
				if !pl.all && !pl.trusted && pl.location == nil {
					s.unresolved = append(s.unresolved, "policy "+p.ID+" names the location "+id+", which does not exist")
				}
				out = append(out, pl)
			}
			return out
		}
		c.in, c.out = find(l.Include), find(l.Exclude)
	}
	if g := p.Grant; g != nil {
		controls := slices.Clone(g.Controls)
		if g.AuthenticationStrength != "" {
			controls = append(controls, StrengthControl)
			if c.strength = strong[g.AuthenticationStrength]; c.strength == nil {
				s.unresolved = append(s.unresolved, "policy "+p.ID+" names the authentication strength "+g.AuthenticationStrength+", which does not exist")
			}
		}
		for _, x := range controls {
			c.grantNames = append(c.grantNames, logNames[x])
			if g.All {
				c.clauses = append(c.clauses, []Control{x})
			}
		}
		if !g.All {
			c.clauses = [][]Control{controls}
		}
	}
	if p.Session.SignInFrequency != nil {
		c.sessionNames = append(c.sessionNames, "SignInFrequency")
	}
	if p.Session.PersistentBrowser != "" {
		c.sessionNames = append(c.sessionNames, "PersistentBrowserSessionMode")
	}
	return c
}

// logNames are the names that sign-in logs use for controls.
var logNames = map[Control]string{
	Block: "Block", MFA: "Mfa", CompliantDevice: "RequireCompliantDevice",
	DomainJoinedDevice: "RequireDomainJoinedDevice", StrengthControl: "AuthenticationStrength",
}

func set(list []string) map[string]bool {
	if len(list) == 0 {
		return nil
	}
	m := make(map[string]bool, len(list))
	for _, s := range list {
		m[s] = true
	}
	return m
}

// Unresolved describes what policies refer to and does not exist.
func (s *Set) Unresolved() []string { return slices.Clone(s.unresolved) }

// Len returns the number of policies.
func (s *Set) Len() int { return len(s.policies) }

// CheckReferences tells whether everything that p names exists; built-in
// strengths always do. It is for whoever writes a policy: the error is of kind
// errs.Invalid and names the property.
func CheckReferences(p *Policy, locations []*NamedLocation, strengths []*AuthenticationStrength) error {
	if l := p.Conditions.Locations; l != nil {
		for _, part := range []struct {
			member string
			ids    []string
		}{{"includeLocations", l.Include}, {"excludeLocations", l.Exclude}} {
			for _, id := range part.ids {
				if id != All && id != AllTrusted && !slices.ContainsFunc(locations, func(n *NamedLocation) bool { return n.ID == id }) {
					return errs.New(errs.Invalid, "Property conditions.locations.%s names the location %s, which does not exist.", part.member, id)
				}
			}
		}
	}
	if g := p.Grant; g != nil && g.AuthenticationStrength != "" {
		known := func(a *AuthenticationStrength) bool { return a.ID == g.AuthenticationStrength }
		if !slices.ContainsFunc(builtIn, known) && !slices.ContainsFunc(strengths, known) {
			return errs.New(errs.Invalid, "Property grantControls.authenticationStrength.id names the authentication strength %s, which does not exist.", g.AuthenticationStrength)
		}
	}
	return nil
}

// Names tells whether p refers to the named location or authentication strength
// with this id, which then must not be deleted.
func (p *Policy) Names(id string) bool {
	if l := p.Conditions.Locations; l != nil && (slices.Contains(l.Include, id) || slices.Contains(l.Exclude, id)) {
		return true
	}
	return p.Grant != nil && p.Grant.AuthenticationStrength == id
}
