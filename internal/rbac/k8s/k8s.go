package k8s

import (
	"cmp"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// Prefixes of data actions, by type of cluster.
const (
	ManagedClusters   = "Microsoft.ContainerService/managedClusters"
	ConnectedClusters = "Microsoft.Kubernetes/connectedClusters"
	Fleets            = "Microsoft.ContainerService/fleets"
)

// Names of the attributes that conditions on data actions test. They are the
// same for all types of cluster.
const (
	AttrGroup       = "Microsoft.ContainerService/managedClusters/customResources:group"
	AttrKind        = "Microsoft.ContainerService/managedClusters/customResources:kind"
	AttrSubresource = "Microsoft.ContainerService/managedClusters/resources:subresource"
)

// Reasons, as AKS words them.
const (
	ReasonSystemUser = "Azure does not have opinion for this user."
	ReasonNotEntra   = "Azure does not have opinion for this non AAD user. If you are an AAD user, please set Extra:oid parameter for impersonated user in the kubeconfig"
	ReasonDenied     = "User does not have access to the resource in Azure. Update role assignment to allow access."
	ReasonDiscovery  = "Access allowed by Azure RBAC"
)

// Review is what a SubjectAccessReview asks: exactly one of Resource and
// NonResource is set.
type Review struct {
	User        string
	Extra       map[string][]string
	Resource    *ResourceAttributes
	NonResource *NonResourceAttributes
}

// ResourceAttributes are the attributes of a request for a resource. Version
// and Name are carried for the trail; they do not count.
type ResourceAttributes struct {
	Namespace, Verb, Group, Version, Resource, Subresource, Name string
}

// NonResourceAttributes are the attributes of a request for a path.
type NonResourceAttributes struct{ Path, Verb string }

// Cluster is what must be known of a cluster to answer its reviews. The zero
// values of the switches give the behaviour of AKS.
type Cluster struct {
	Tenant directory.TenantID
	Scope  rbac.Scope // the ARM id
	Prefix string     // ManagedClusters when empty

	// StrictSubresources gives subresources actions of their own; see the
	// package comment.
	StrictSubresources bool
	// CustomResourceConditions maps custom resources to the customresources
	// actions with their group and plural name as attributes, so that conditions
	// can tell them apart. Otherwise they map literally.
	CustomResourceConditions bool
	// ManagedNamespaces asks at {cluster}/managedNamespaces/{ns} when the answer
	// at the namespace's scope was no.
	ManagedNamespaces bool
	// ConfigurationNamespaces names namespaces
	// {cluster}/providers/Microsoft.KubernetesConfiguration/namespaces/{ns}.
	ConfigurationNamespaces bool
	// CheckDiscovery asks for a role even for the discovery paths.
	CheckDiscovery bool
	// Resources are what the API server serves; wildcards need them.
	Resources *Resources
}

// Identity is a principal and the names that its tokens give it on clusters.
type Identity struct {
	Principal rbac.Principal
	UserName  string // the user principal name; empty for service principals and guests
	// Blocked, when not empty, is why the principal gets no access at all
	// although it exists, such as that it is disabled.
	Blocked string
}

// is reports whether the user name of a review is this identity's: its user
// principal name, which has no case, or its object id.
func (i *Identity) is(user string) bool {
	return i.UserName != "" && wildcard.Lower(i.UserName) == wildcard.Lower(user) || user == string(i.Principal.ID)
}

// Directory finds identities.
type Directory interface {
	// Identity returns the identity with the object id in the tenant as it is
	// now, groups included, and whether there is one.
	Identity(tenant directory.TenantID, id directory.ObjectID) (Identity, bool)
}

// Verdict is the answer to a review. The zero value is Deny.
type Verdict uint8

const (
	Deny      Verdict = iota // no, and no later authorizer is asked
	Allow                    // yes
	NoOpinion                // let the other authorizers decide
)

// String returns "deny", "allow" or "no opinion".
func (v Verdict) String() string { return [...]string{"deny", "allow", "no opinion"}[v] }

// Check is one question that a review comes down to.
type Check struct {
	Scope      rbac.Scope
	Action     rbac.Action
	Attributes condition.Attributes // of the resource
}

// Checked is a check with its answer.
type Checked struct {
	Check
	Fallback    bool // asked again at the managed namespace
	Decision    rbac.Decision
	Explanation *rbac.Explanation // only from Explain
}

// Result is the answer to a review, its reason, and the way there.
type Result struct {
	Verdict Verdict
	Reason  string
	// Err is set when the review cannot be answered: it is malformed
	// (errs.Invalid), or needs Resources that are not known (errs.Unavailable).
	// The verdict is then Deny.
	Err error
	// Who is the identity that was asked about, when it was found.
	Who    *Identity
	Checks []Checked
}

// Authorize answers a review.
func (c *Cluster) Authorize(s *rbac.Snapshot, r *Review, dir Directory, now time.Time) Result {
	return c.answer(s, r, dir, now, false)
}

// Explained is a Result, with explanations in its checks, and what would help.
type Explained struct {
	Result
	Suggestions []rbac.Suggestion // smallest first; only for a denial
}

// Explain answers a review through the same code as Authorize. It looks at
// every assignment instead of stopping at the first, and when access is refused
// it suggests up to limit role assignments that would allow it.
func (c *Cluster) Explain(s *rbac.Snapshot, r *Review, dir Directory, now time.Time, limit int) Explained {
	out := Explained{Result: c.answer(s, r, dir, now, true)}
	if out.Verdict != Deny || out.Err != nil || out.Who == nil || out.Who.Blocked != "" {
		return out
	}
	var failed []*rbac.Request
	for i := range out.Checks {
		if k := &out.Checks[i]; !k.Fallback && !k.Decision.Allowed() {
			q := c.Request(&k.Check, out.Who.Principal, now)
			failed = append(failed, &q)
		}
	}
	out.Suggestions = s.Suggest(limit, failed...)
	return out
}

// Request turns a check into a question for the rbac package.
func (c *Cluster) Request(k *Check, p rbac.Principal, now time.Time) rbac.Request {
	return rbac.Request{Principal: p, Scope: k.Scope, Action: k.Action, DataAction: true, Resource: k.Attributes, Now: now}
}

func (c *Cluster) answer(s *rbac.Snapshot, r *Review, dir Directory, now time.Time, explain bool) Result {
	if (r.Resource == nil) == (r.NonResource == nil) {
		return Result{Err: errs.New(errs.Invalid, "A review has either resource or non-resource attributes.")}
	}
	who, reason := c.identify(r, dir)
	if who == nil {
		return Result{Verdict: NoOpinion, Reason: reason}
	}
	out := Result{Who: who}
	switch {
	case who.Blocked != "":
		out.Reason = who.Blocked
		return out
	case r.NonResource != nil && !c.CheckDiscovery && r.NonResource.Verb == "get" && discovery(r.NonResource.Path):
		out.Verdict, out.Reason = Allow, ReasonDiscovery
		return out
	}
	checks, err := c.Checks(r)
	if err != nil {
		out.Reason = ReasonDenied
		if m := (*malformed)(nil); !asMalformed(err, &m) {
			out.Err = err
		} else {
			out.Reason = "Access denied by Azure RBAC: " + m.why
		}
		return out
	}
	c.decide(s, checks, r.User, now, explain, &out)
	return out
}

// decide asks the checks about out.Who and fills in the answer: all must be
// allowed. The reason names what allows the first.
func (c *Cluster) decide(s *rbac.Snapshot, checks []Check, user string, now time.Time, explain bool, out *Result) {
	out.Checks = make([]Checked, 0, len(checks))
	out.Reason = ReasonDenied
	var by *rbac.RoleAssignment
	refused := len(checks) == 0
	for i := range checks {
		k, ok := c.check(s, &checks[i], out.Who, now, explain, out)
		if !ok {
			if refused = true; !explain {
				return
			}
		} else if by == nil {
			by = k.Decision.Assignment
		}
	}
	if !refused {
		out.Verdict = Allow
		out.Reason = "Access allowed by Azure RBAC Role Assignment " + by.Name + " of Role " + by.RoleID + " to user " + user
	}
}

// Searcher is a Directory that knows the members of groups too.
type Searcher interface {
	Directory
	// Members returns the users and service principals that belong to the group,
	// nested groups included; none for what is no group.
	Members(group directory.ObjectID) []directory.ObjectID
}

// WhoCan returns the answers for all principals that may do what a review asks,
// whoever the review names. It looks at all role assignments of the tenant.
func (c *Cluster) WhoCan(s *rbac.Snapshot, r *Review, dir Searcher, now time.Time) ([]Result, error) {
	checks, err := c.Checks(r)
	if err != nil {
		return nil, err
	}
	// Whoever may do all may do the first, here or at the managed namespace.
	first := checks[0]
	found := s.WhoCan(c.Tenant, c.Request(&first, rbac.Principal{}, now), searcher{dir})
	if first.Scope.Kind() == rbac.NamespaceScope && c.ManagedNamespaces {
		if first.Scope, err = c.Scope.Child("managedNamespaces", first.Scope.Name()); err == nil {
			found = append(found, s.WhoCan(c.Tenant, c.Request(&first, rbac.Principal{}, now), searcher{dir})...)
		}
	}
	var out []Result
	seen := map[directory.ObjectID]bool{}
	for _, h := range found {
		who, ok := dir.Identity(c.Tenant, h.Principal)
		if !ok || seen[h.Principal] {
			continue
		}
		seen[h.Principal] = true
		one := Result{Who: &who}
		if c.decide(s, checks, cmp.Or(who.UserName, string(h.Principal)), now, false, &one); one.Verdict == Allow {
			out = append(out, one)
		}
	}
	return out, nil
}

// searcher is a Searcher in the terms of the rbac package.
type searcher struct{ Searcher }

func (d searcher) Principal(tenant directory.TenantID, id directory.ObjectID) (rbac.Principal, bool) {
	who, ok := d.Identity(tenant, id)
	return who.Principal, ok && who.Blocked == ""
}

// check answers one check, at the managed namespace too when that is on, and
// appends what it asked to the trail. What a deny assignment forbids stays
// forbidden: the second scope is no way around it.
func (c *Cluster) check(s *rbac.Snapshot, k *Check, who *Identity, now time.Time, explain bool, out *Result) (*Checked, bool) {
	one := func(k Check, fallback bool) *Checked {
		q := c.Request(&k, who.Principal, now)
		done := Checked{Check: k, Fallback: fallback}
		if explain {
			e := s.Explain(&q)
			done.Explanation, done.Decision = &e, e.Decision
		} else {
			done.Decision = s.Decide(&q)
		}
		out.Checks = append(out.Checks, done)
		return &out.Checks[len(out.Checks)-1]
	}
	first := one(*k, false)
	if first.Decision.Allowed() {
		return first, true
	}
	if !c.ManagedNamespaces || k.Scope.Kind() != rbac.NamespaceScope || first.Decision.Reason == rbac.DeniedExplicitly {
		return first, false
	}
	second := *k
	var err error
	if second.Scope, err = c.Scope.Child("managedNamespaces", k.Scope.Name()); err != nil {
		return first, false
	}
	again := one(second, true)
	return again, again.Decision.Allowed()
}

// identify finds who a review asks about, or says why there is no opinion.
func (c *Cluster) identify(r *Review, dir Directory) (*Identity, string) {
	if len(r.User) >= len("system:") && strings.EqualFold(r.User[:len("system:")], "system:") {
		return nil, ReasonSystemUser
	}
	oids := r.Extra["oid"]
	if len(oids) != 1 { // several would leave open whose groups count
		return nil, ReasonNotEntra
	}
	id, ok := directory.ParseGUID(oids[0])
	if !ok {
		return nil, ReasonNotEntra
	}
	who, ok := dir.Identity(c.Tenant, directory.ObjectID(id))
	if !ok || who.Principal.Tenant != c.Tenant || !who.is(r.User) {
		return nil, ReasonNotEntra
	}
	return &who, ""
}

// discovery reports whether a path is one of those that every user may read.
// It must be the path itself or lie under it: /apifoo is not /api, and a path
// that could be read in two ways is none of them.
func discovery(path string) bool {
	if !plainPath(path) {
		return false
	}
	for _, p := range []string{"/api", "/apis", "/openapi", "/version", "/healthz"} {
		if rest, ok := strings.CutPrefix(path, p); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}
