package rbac

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// Permission is one block of a role definition. What it grants is its actions
// less its notActions, and likewise for data actions; the subtraction never
// reaches beyond the block.
type Permission struct {
	Actions          []string `json:"actions"`
	NotActions       []string `json:"notActions"`
	DataActions      []string `json:"dataActions"`
	NotDataActions   []string `json:"notDataActions"`
	Condition        string   `json:"condition,omitempty"`
	ConditionVersion string   `json:"conditionVersion,omitempty"`
}

// RoleDefinition is a role: built-in, or a tenant's own.
type RoleDefinition struct {
	ID               string // the GUID, in lower case
	Name             string // the name that people see
	Description      string
	BuiltIn          bool
	Permissions      []Permission
	AssignableScopes []string
}

// ResourceID returns the id of the role definition at tenant level.
func (r *RoleDefinition) ResourceID() string {
	return "/providers/Microsoft.Authorization/roleDefinitions/" + r.ID
}

// Limits of custom roles.
const (
	MaxCustomRoles         = 5000 // in a tenant
	MaxRoleName            = 512
	MaxRoleDescription     = 2048
	MaxAssignableScopes    = 2000
	maxPermissionActions   = 2000
	maxActionLength        = 512
	maxManagementDepth     = 6
	maxSubscriptionRoles   = 4000 // role assignments in a subscription
	maxManagementRoleCount = 500  // role assignments at a management group
)

// ValidateCustomRole checks a custom role as it is written: names, lengths, one
// wildcard in each action, assignable scopes. Whether its name is free is a
// question for Snapshot.CheckRole.
func ValidateCustomRole(r *RoleDefinition) error {
	if _, ok := directory.ParseGUID(r.ID); !ok {
		return errs.New(errs.Invalid, "The id of a role definition must be a GUID.")
	}
	switch n := utf8.RuneCountInString(r.Name); {
	case strings.TrimSpace(r.Name) == "":
		return errs.New(errs.Invalid, "A role definition needs a name.")
	case n > MaxRoleName:
		return errs.New(errs.Invalid, "The role name has more than %d characters.", MaxRoleName)
	case utf8.RuneCountInString(r.Description) > MaxRoleDescription:
		return errs.New(errs.Invalid, "The description has more than %d characters.", MaxRoleDescription)
	case len(r.Permissions) == 0:
		return errs.New(errs.Invalid, "A role definition needs permissions.")
	case len(r.AssignableScopes) == 0:
		return errs.New(errs.Invalid, "A role definition needs at least one assignable scope.")
	case len(r.AssignableScopes) > MaxAssignableScopes:
		return errs.New(errs.Invalid, "A role definition has at most %d assignable scopes.", MaxAssignableScopes)
	}
	total := 0
	for i := range r.Permissions {
		p := &r.Permissions[i]
		for _, list := range [][]string{p.Actions, p.NotActions, p.DataActions, p.NotDataActions} {
			total += len(list)
			for _, a := range list {
				if err := validateActionPattern(a); err != nil {
					return err
				}
			}
		}
		if err := condition.Check(p.ConditionVersion, p.Condition); err != nil {
			return err
		}
	}
	if total > maxPermissionActions {
		return errs.New(errs.Invalid, "A role definition has at most %d actions.", maxPermissionActions)
	}
	groups := 0
	for _, text := range r.AssignableScopes {
		s, err := ParseScope(text)
		if err != nil {
			return err
		}
		switch s.Kind() {
		case RootScope:
			return errs.New(errs.Invalid, "A custom role cannot be assignable at the root scope.")
		case ManagementGroupScope:
			if groups++; groups > 1 {
				return errs.New(errs.Invalid, "A custom role can have only one management group among its assignable scopes.")
			}
		case SubscriptionScope, ResourceGroupScope, ResourceScope, ChildScope:
		default:
			return errs.New(errs.Invalid, "A custom role cannot be assignable at a %s.", s.Kind())
		}
	}
	return nil
}

func validateActionPattern(a string) error {
	if a == "" || len(a) > maxActionLength {
		return errs.New(errs.Invalid, "An action has between 1 and %d characters.", maxActionLength)
	}
	if strings.Count(a, "*") > 1 {
		return errs.New(errs.Invalid, "The action %q has more than one wildcard.", a)
	}
	for i := 0; i < len(a); i++ {
		if c := a[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`\?#%"<>`, c) >= 0 {
			return errs.New(errs.Invalid, "The action %q has a character that is not allowed.", a)
		}
	}
	if !strings.Contains(a, "/") && a != "*" || strings.Contains(a, "//") || strings.HasPrefix(a, "/") || strings.HasSuffix(a, "/") {
		return errs.New(errs.Invalid, "The action %q is not of the form Provider/type/verb.", a)
	}
	return nil
}

// Role is a compiled role definition. It is immutable.
type Role struct {
	RoleDefinition
	blocks []block
	data   bool // has data actions
}

// HasDataActions reports whether the role grants data actions.
func (r *Role) HasDataActions() bool { return r.data }

// block is a compiled permission.
type block struct {
	control, data rules
	cond          *condition.Condition
}

// rules are the patterns of one plane: those without a wildcard are looked up,
// the rest tried in turn.
type rules struct{ allow, not patternSet }

type patternSet struct {
	exact map[string]struct{}
	wild  []wildcard.Pattern
}

func compileSet(list []string) patternSet {
	var s patternSet
	for _, text := range list {
		p := wildcard.Compile(text)
		if p.Wild() {
			s.wild = append(s.wild, p)
			continue
		}
		if s.exact == nil {
			s.exact = make(map[string]struct{}, len(list))
		}
		s.exact[p.String()] = struct{}{}
	}
	return s
}

func (s *patternSet) match(key string) bool {
	for i := range s.wild {
		if s.wild[i].Match(key) {
			return true
		}
	}
	if s.exact == nil {
		return false
	}
	_, ok := s.exact[key]
	return ok
}

func compileBlocks(perms []Permission) ([]block, error) {
	blocks := make([]block, 0, len(perms))
	for i := range perms {
		p := &perms[i]
		c, err := condition.ParseVersion(p.ConditionVersion, p.Condition)
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, block{
			control: rules{compileSet(p.Actions), compileSet(p.NotActions)},
			data:    rules{compileSet(p.DataActions), compileSet(p.NotDataActions)},
			cond:    c,
		})
	}
	return blocks, nil
}

func compileRole(def RoleDefinition) (*Role, error) {
	id, ok := directory.ParseGUID(def.ID)
	if !ok {
		return nil, errs.New(errs.Invalid, "The id of a role definition must be a GUID.")
	}
	def.ID = id
	blocks, err := compileBlocks(def.Permissions)
	if err != nil {
		return nil, err
	}
	r := &Role{RoleDefinition: def, blocks: blocks}
	for _, p := range def.Permissions {
		r.data = r.data || len(p.DataActions) > 0
	}
	return r, nil
}

// match says how a permission block meets an action.
type match uint8

const (
	noMatch  match = iota
	excluded       // among the actions, and among the notActions
	granted
)

func (b *block) match(key string, data bool) match {
	r := &b.control
	if data {
		r = &b.data
	}
	switch {
	case !r.allow.match(key):
		return noMatch
	case r.not.match(key):
		return excluded
	}
	return granted
}

// Grants reports whether the role, taken by itself and leaving conditions
// aside, grants the action.
func (r *Role) Grants(a Action, data bool) bool {
	for i := range r.blocks {
		if r.blocks[i].match(a.key, data) == granted {
			return true
		}
	}
	return false
}

//go:embed builtin-roles.json
var builtInJSON []byte

type catalogue struct {
	roles   map[string]*Role
	sorted  []*Role
	data    []string // data actions of managedClusters, as published
	control []string // actions of managedClusters
}

// builtIn parses the data file once. That it is well-formed is a test's
// business, so a defect in it panics.
var builtIn = sync.OnceValue(func() *catalogue {
	var file struct {
		RoleDefinitions []struct {
			Name             string   `json:"name"`
			RoleName         string   `json:"roleName"`
			AssignableScopes []string `json:"assignableScopes"`
			Permissions      []struct {
				Permission
				Condition        *string `json:"condition"`
				ConditionVersion *string `json:"conditionVersion"`
			} `json:"permissions"`
		} `json:"roleDefinitions"`
		Data struct {
			Explicit []string `json:"explicit"`
		} `json:"managedClustersDataActions"`
		Control []string `json:"managedClustersActions"`
	}
	if err := json.Unmarshal(builtInJSON, &file); err != nil {
		panic("rbac: built-in roles: " + err.Error())
	}
	c := &catalogue{roles: map[string]*Role{}, data: file.Data.Explicit, control: file.Control}
	for _, d := range file.RoleDefinitions {
		def := RoleDefinition{ID: d.Name, Name: d.RoleName, BuiltIn: true, AssignableScopes: d.AssignableScopes}
		for _, p := range d.Permissions {
			if p.Condition != nil {
				p.Permission.Condition = *p.Condition
			}
			if p.ConditionVersion != nil {
				p.Permission.ConditionVersion = *p.ConditionVersion
			}
			def.Permissions = append(def.Permissions, p.Permission)
		}
		r, err := compileRole(def)
		if err != nil {
			panic("rbac: built-in role " + def.Name + ": " + err.Error())
		}
		c.roles[r.ID] = r
		c.sorted = append(c.sorted, r)
	}
	slices.SortFunc(c.sorted, func(a, b *Role) int { return strings.Compare(a.Name, b.Name) })
	return c
})

// BuiltInRoles returns the built-in roles, sorted by name. The caller must not
// change the slice.
func BuiltInRoles() []*Role { return builtIn().sorted }

// BuiltInRole returns a built-in role by its GUID or by its name.
func BuiltInRole(idOrName string) (*Role, bool) {
	if r, ok := builtIn().roles[strings.ToLower(idOrName)]; ok {
		return r, true
	}
	for _, r := range builtIn().sorted {
		if strings.EqualFold(r.Name, idOrName) {
			return r, true
		}
	}
	return nil, false
}

// ClusterDataActions returns the published data actions of
// Microsoft.ContainerService/managedClusters. The caller must not change it.
func ClusterDataActions() []string { return builtIn().data }

// ClusterActions returns the published control plane actions of managed
// clusters. The caller must not change it.
func ClusterActions() []string { return builtIn().control }

// Action is the name of an operation, such as
// Microsoft.ContainerService/managedClusters/pods/read. The zero Action is
// invalid and nothing grants it.
type Action struct{ text, key string }

// ParseAction checks the name of an action. A request names one action, so a
// wildcard is refused: what it covers must be expanded by the caller.
func ParseAction(s string) (Action, error) {
	if s == "" || len(s) > maxActionLength {
		return Action{}, errs.New(errs.Invalid, "An action has between 1 and %d characters.", maxActionLength)
	}
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '*' || c == '\\' || c == '%' || c == '?' || c == '#' {
			return Action{}, errs.New(errs.Invalid, "The action %q has a character that is not allowed.", s)
		}
	}
	return Action{s, wildcard.Lower(s)}, nil
}

// String returns the action in the spelling it was parsed from.
func (a Action) String() string { return a.text }
