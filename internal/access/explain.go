package access

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Query asks what somebody may do on a cluster.
type Query struct {
	// Who is the object id or user principal name of a user, or the object id or
	// application id of a service principal.
	Who         string                     `json:"who"`
	Resource    *k8s.ResourceAttributes    `json:"resource,omitempty"`
	NonResource *k8s.NonResourceAttributes `json:"nonResource,omitempty"`
	// WithAssignment are role assignments to imagine: role@scope, the role by
	// name or id, the scope by id, or namespace/NAME below the cluster.
	WithAssignment []string `json:"withAssignment,omitempty"`
	// WithoutMember are groups, by object id or display name, that the subject is to be imagined
	// not to be a direct member of.
	WithoutMember []string `json:"withoutMember,omitempty"`
	// WithMember are groups that the subject is to be imagined to be a member of.
	WithMember []string `json:"withMember,omitempty"`
}

// Report is the answer, with the way to it.
type Report struct {
	Allowed bool   `json:"allowed"`
	By      string `json:"by"` // kubernetes-rbac, admin-group, azure-rbac, or what refuses
	Reason  string `json:"reason"`
	Subject struct {
		ID       directory.ObjectID `json:"objectId"`
		UserName string             `json:"userName"`
		Groups   []GroupPath        `json:"groups"`
	} `json:"subject"`
	Kubernetes []BindingGrant `json:"kubernetesBindings"`
	// Unread is true where the cluster's own RBAC could not be read: then it may
	// allow what is refused here.
	Unread      bool           `json:"kubernetesUnread,omitempty"`
	AdminGroup  string         `json:"adminGroup,omitempty"`
	AzureRBAC   string         `json:"azureRBAC"` // off, or the verdict
	Checks      []CheckReport  `json:"checks"`
	Suggestions []string       `json:"suggestions"` // role assignments that would allow it
	Windows     []Window       `json:"privileged"`  // of Privileged Identity Management
	Policies    []PolicyEffect `json:"conditionalAccess"`
	Revision    int64          `json:"revision"` // of the store
}

// Window is a privilege that is held for a time, or could be. Package diagnose
// knows them.
type Window struct {
	Privilege string    `json:"privilege"` // in words
	State     string    `json:"state"`     // WindowActive or WindowEligible
	Until     time.Time `json:"until,omitzero"`
	Activate  string    `json:"activate,omitempty"` // the command that does, for one that would allow what is refused
}

// States of a window.
const (
	WindowActive   = "active"
	WindowEligible = "eligible"
)

// PolicyEffect is what a Conditional Access policy says to a way of signing in
// to the cluster.
type PolicyEffect struct {
	SignIn   string   `json:"signIn"` // with device code, in a browser, ...
	Policy   string   `json:"policy"` // display name
	Result   string   `json:"result"` // success, failure, reportOnlyFailure, ...
	Controls []string `json:"controls"`
	Advice   string   `json:"advice,omitempty"`
}

// GroupPath is a group that the subject belongs to, and by way of which others.
type GroupPath struct {
	ID   directory.ObjectID `json:"id"`
	Name string             `json:"displayName"`
	Path []string           `json:"path"` // display names from the subject's own group to this one
}

// CheckReport is one question that the request comes down to.
type CheckReport struct {
	Action  string       `json:"action"`
	Scope   string       `json:"scope"`
	Allowed bool         `json:"allowed"`
	Reason  string       `json:"reason"`
	Steps   []StepReport `json:"assignments"` // every assignment of the subject that applies at the scope
	Denies  []string     `json:"denyAssignments,omitempty"`
}

// StepReport is what one role assignment had to say.
type StepReport struct {
	Assignment string    `json:"id"`
	Role       string    `json:"role"`
	Scope      string    `json:"scope"`
	Principal  string    `json:"principalId"`
	Outcome    string    `json:"outcome"`
	Condition  string    `json:"condition,omitempty"`
	Until      time.Time `json:"until,omitzero"` // end of a time-bound assignment
}

// maxSuggestions bounds how many role assignments are suggested.
const maxSuggestions = 3

// Explain answers a query from the newest facts, through the code that decides
// for the cluster. Kubernetes is the cluster's own RBAC, or nil where it cannot
// be read.
func (k *Keeper) Explain(c *state.Cluster, resources *k8s.Resources, kubernetes *KubernetesRBAC, q Query) (*Report, error) {
	facts, err := k.Facts()
	if err != nil {
		return nil, err
	}
	if (q.Resource == nil) == (q.NonResource == nil) {
		return nil, errs.New(errs.Invalid, "Ask about a resource or about a path, one of them.")
	}
	now := k.clock.Now()
	id, err := Subject(facts.View, c.Tenant, q.Who)
	if err != nil {
		return nil, err
	}
	dir, err := imagineGroups(Directory{facts.View, now}, c.Tenant, id, q)
	if err != nil {
		return nil, err
	}
	who, ok := dir.Identity(c.Tenant, id)
	if !ok {
		return nil, errs.New(errs.NotFound, "The subject %q does not exist in tenant %s.", q.Who, c.Tenant)
	}
	cluster, err := Cluster(c, resources)
	if err != nil {
		return nil, err
	}
	snapshot, err := imagine(facts.RBAC, c, id, q.WithAssignment)
	if err != nil {
		return nil, err
	}
	r := &Report{Revision: facts.View.Revision(), AzureRBAC: "off", Kubernetes: []BindingGrant{}, Checks: []CheckReport{}, Suggestions: []string{}, Windows: []Window{}, Policies: []PolicyEffect{}}
	r.Subject.ID, r.Subject.UserName = id, who.UserName
	if r.Subject.UserName == "" {
		r.Subject.UserName = string(id)
	}
	r.Subject.Groups = dir.paths(c.Tenant, who.Principal.Groups)
	review := &k8s.Review{User: r.Subject.UserName, Extra: map[string][]string{"oid": {string(id)}}, Resource: q.Resource, NonResource: q.NonResource}

	groups := []string{"system:authenticated"}
	for _, g := range who.Principal.Groups {
		groups = append(groups, string(g))
	}
	if r.Unread = kubernetes == nil; !r.Unread {
		r.Kubernetes = append(r.Kubernetes, kubernetes.Allows(r.Subject.UserName, groups, review)...)
	}
	for _, g := range c.AdminGroups {
		if slices.Contains(who.Principal.Groups, g) {
			r.AdminGroup = string(g)
		}
	}
	var azure k8s.Explained
	if c.AzureRBAC {
		azure = cluster.Explain(snapshot, review, dir, now, maxSuggestions)
		r.AzureRBAC = azure.Verdict.String()
		r.Checks = append(r.Checks, checks(facts.View, azure.Checks)...)
		for _, s := range azure.Suggestions {
			r.Suggestions = append(r.Suggestions, fmt.Sprintf("%s at %s", s.Role.Name, s.Scope))
		}
	}
	r.conclude(c, who, azure.Result)
	return r, nil
}

// conclude says what the API server will do: its authorizers in their order.
func (r *Report) conclude(c *state.Cluster, who k8s.Identity, azure k8s.Result) {
	switch {
	case who.Blocked != "":
		r.By, r.Reason = "account", who.Blocked
	case len(r.Kubernetes) > 0:
		b := r.Kubernetes[0]
		r.Allowed, r.By = true, "kubernetes-rbac"
		r.Reason = fmt.Sprintf("%s binds %s to %s.", b.Binding, b.Subject, b.Role)
	case r.AdminGroup != "":
		r.Allowed, r.By = true, "admin-group"
		r.Reason = fmt.Sprintf("Member of the cluster's administrator group %s.", r.AdminGroup)
	case !c.AzureRBAC && r.Unread:
		r.By, r.Reason = "nothing", "Azure RBAC is off for this cluster. Its own RBAC, which cannot be read from here, may allow it."
	case !c.AzureRBAC:
		r.By, r.Reason = "nothing", "No binding of Kubernetes RBAC allows it, and Azure RBAC is off for this cluster."
	case azure.Err != nil:
		r.By, r.Reason = "azure-rbac", errs.Message(azure.Err)
	default:
		r.Allowed, r.By, r.Reason = azure.Verdict == k8s.Allow, "azure-rbac", azure.Reason
	}
}

func checks(view store.Reader, list []k8s.Checked) []CheckReport {
	var out []CheckReport
	for _, c := range list {
		r := CheckReport{Action: c.Action.String(), Scope: c.Scope.String(), Allowed: c.Decision.Allowed(), Reason: c.Decision.Reason.String(), Steps: []StepReport{}}
		if c.Explanation != nil {
			for _, s := range c.Explanation.Steps {
				step := StepReport{
					Assignment: s.Assignment.ID(), Role: s.Assignment.RoleID, Scope: s.Assignment.Scope.String(),
					Principal: string(s.Assignment.PrincipalID), Outcome: string(s.Outcome), Condition: s.Assignment.Condition,
				}
				if s.Role != nil {
					step.Role = s.Role.Name
				}
				if a, err := state.AccessAssignments.Get(view, string(s.Assignment.Tenant)+"/"+s.Assignment.Name); err == nil {
					step.Until = a.Until
				}
				r.Steps = append(r.Steps, step)
			}
			for _, d := range c.Explanation.Denies {
				r.Denies = append(r.Denies, d.Deny.ID())
			}
		}
		out = append(out, r)
	}
	return out
}

// Subject finds the user or service principal that a person names, as Query.Who
// does. NotFound.
func Subject(view store.Reader, tenant directory.TenantID, who string) (directory.ObjectID, error) {
	if u, err := state.FindUser(view, tenant, who); err == nil {
		return u.ID, nil
	}
	if id, ok := directory.ParseGUID(who); ok {
		if p, err := state.ServicePrincipals.Get(view, state.Key(tenant, directory.ObjectID(id))); err == nil {
			return p.ID, nil
		}
		if p, err := state.FindServicePrincipal(view, tenant, directory.AppID(id)); err == nil {
			return p.ID, nil
		}
	}
	return "", errs.New(errs.NotFound, "There is no user or service principal %q in tenant %s.", who, tenant)
}

// imagine returns the snapshot with the role assignments of a what-if.
func imagine(s *rbac.Snapshot, c *state.Cluster, id directory.ObjectID, with []string) (*rbac.Snapshot, error) {
	var list []rbac.RoleAssignment
	for _, w := range with {
		roleName, scopeText, ok := strings.Cut(w, "@")
		if !ok {
			return nil, errs.New(errs.Invalid, "A role assignment to imagine is written ROLE@SCOPE, not %q.", w)
		}
		switch {
		case scopeText == "cluster":
			scopeText = c.ID
		case strings.HasPrefix(scopeText, "namespace/"):
			between := "/namespaces/"
			if c.ConfigurationNamespaces {
				between = "/providers/Microsoft.KubernetesConfiguration/namespaces/"
			}
			scopeText = c.ID + between + strings.TrimPrefix(scopeText, "namespace/")
		}
		scope, err := rbac.ParseScope(scopeText)
		if err != nil {
			return nil, err
		}
		roleID := ""
		for _, role := range append(s.Roles(c.Tenant), rbac.BuiltInRoles()...) {
			if strings.EqualFold(role.Name, roleName) || strings.EqualFold(role.ID, roleName) {
				roleID = role.ID
				break
			}
		}
		if roleID == "" {
			return nil, errs.New(errs.NotFound, "There is no role %q.", roleName)
		}
		list = append(list, rbac.RoleAssignment{Tenant: c.Tenant, Name: directory.NewGUID(), Scope: scope, RoleID: roleID, PrincipalID: id, PrincipalType: rbac.User})
	}
	if len(list) == 0 {
		return s, nil
	}
	return s.WithAssignments(list...)
}

// imagined is the directory with some direct memberships of one principal left
// out, and others put in.
type imagined struct {
	Directory
	id            directory.ObjectID
	without, with []directory.ObjectID
}

// imagineGroups finds the groups of a what-if, by object id or display name.
// NotFound for a group that does not exist, Invalid for one whose loss would
// change nothing because the subject is no direct member of it.
func imagineGroups(dir Directory, tenant directory.TenantID, id directory.ObjectID, q Query) (imagined, error) {
	out := imagined{Directory: dir, id: id}
	for _, name := range q.WithMember {
		g, err := group(dir.View, tenant, name)
		if err != nil {
			return out, err
		}
		out.with = append(out.with, g)
	}
	direct := map[directory.ObjectID]bool{}
	for _, l := range state.LinkedTo(dir.View, directory.Member, tenant, id, dir.Now) {
		direct[l.From] = true
	}
	for _, name := range q.WithoutMember {
		g, err := group(dir.View, tenant, name)
		if err != nil {
			return out, err
		}
		if !direct[g] {
			return out, errs.New(errs.Invalid, "The subject is no direct member of the group %q, so there is no membership to imagine away.", name)
		}
		out.without = append(out.without, g)
	}
	return out, nil
}

// group finds a group by object id, or by a display name that one group has.
func group(view store.Reader, tenant directory.TenantID, name string) (directory.ObjectID, error) {
	if id, ok := directory.ParseGUID(name); ok {
		if g, err := state.Groups.Get(view, state.Key(tenant, directory.ObjectID(id))); err == nil {
			return g.ID, nil
		}
		return "", errs.New(errs.NotFound, "There is no group %s in tenant %s.", name, tenant)
	}
	var found []directory.ObjectID
	for g := range state.Groups.AllPrefix(view, string(tenant)+"/") {
		if state.Fold(g.DisplayName) == state.Fold(name) {
			found = append(found, g.ID)
		}
	}
	switch len(found) {
	case 0:
		return "", errs.New(errs.NotFound, "There is no group %q in tenant %s.", name, tenant)
	case 1:
		return found[0], nil
	}
	return "", errs.New(errs.Invalid, "%d groups are called %q: name one by its object id.", len(found), name)
}

func (d imagined) parents(tenant directory.TenantID) func(directory.ObjectID) []directory.ObjectID {
	parents := func(id directory.ObjectID) (groups []directory.ObjectID) {
		for _, l := range state.LinkedTo(d.View, directory.Member, tenant, id, d.Now) {
			groups = append(groups, l.From)
		}
		if id == d.id {
			groups = append(groups, d.with...)
		}
		return groups
	}
	for _, g := range d.without {
		parents = rbac.WithoutMember(parents, d.id, g)
	}
	return parents
}

// Identity implements k8s.Directory.
func (d imagined) Identity(tenant directory.TenantID, id directory.ObjectID) (k8s.Identity, bool) {
	who, ok := d.Directory.Identity(tenant, id)
	if ok && len(d.without)+len(d.with) > 0 {
		who.Principal.Groups = rbac.Closure(id, d.parents(tenant))
		slices.Sort(who.Principal.Groups)
	}
	return who, ok
}

func (d imagined) paths(tenant directory.TenantID, groups []directory.ObjectID) []GroupPath {
	name := func(id directory.ObjectID) string {
		if g, err := state.Groups.Get(d.View, state.Key(tenant, id)); err == nil {
			return g.DisplayName
		}
		return string(id)
	}
	list := []GroupPath{}
	for _, g := range groups {
		p := GroupPath{ID: g, Name: name(g)}
		for _, step := range rbac.MembershipPath(d.id, g, d.parents(tenant)) {
			if step != d.id {
				p.Path = append(p.Path, name(step))
			}
		}
		list = append(list, p)
	}
	return list
}
