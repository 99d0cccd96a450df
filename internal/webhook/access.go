package webhook

import (
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Attributes are those of a SubjectAccessReview: one of the two is set.
type Attributes struct {
	Resource    *authorizationv1.ResourceAttributes
	NonResource *authorizationv1.NonResourceAttributes
}

// Reasons that kubectl shows behind a refusal.
const (
	reasonSystemUser  = "Azure does not have opinion for this user."
	reasonNoOID       = "Azure does not have opinion for this user: it is not a Microsoft Entra user of the cluster's tenant. If you are impersonating someone, Azure RBAC does not apply to them."
	reasonOwnIdentity = "Access allowed to the cluster's own identity, for workload identity."
	reasonAdminGroup  = "Access allowed by membership of the cluster's administrator group %s."
	reasonDisabled    = "The account was disabled or deleted. Access ends at once; sign-in is not possible."
	reasonRevoked     = "The account's access was revoked a moment ago, or the credential that it signed in with was deleted. Sign in again."
	reasonGroupLost   = "The user is no longer a member of group %s. Try again in a few seconds, when the API server has forgotten the old membership."
)

// authorize answers the SubjectAccessReview that comes after Node and RBAC.
func (s *Service) authorize(w http.ResponseWriter, q *question) {
	s.access(w, q, "authorize", s.allows)
}

// deny answers the SubjectAccessReview that comes before every other
// authorizer. It never allows.
func (s *Service) deny(w http.ResponseWriter, q *question) {
	s.access(w, q, "deny", s.denies)
}

func (s *Service) access(w http.ResponseWriter, q *question, kind string, decide func(*question, *authorizationv1.SubjectAccessReviewSpec, Attributes) (User, Decision)) {
	var review authorizationv1.SubjectAccessReview
	if err := json.Unmarshal(q.body, &review); err != nil {
		http.Error(w, "The body is not a SubjectAccessReview: "+err.Error(), http.StatusBadRequest)
		return
	}
	if review.Kind != "SubjectAccessReview" || review.APIVersion != "authorization.k8s.io/v1" && review.APIVersion != "authorization.k8s.io/v1beta1" {
		http.Error(w, "Only SubjectAccessReview of authorization.k8s.io/v1 and v1beta1 is answered here.", http.StatusBadRequest)
		return
	}
	if review.APIVersion == "authorization.k8s.io/v1beta1" {
		// The old version differs in one member's name: groups was group.
		var old struct {
			Spec struct {
				Groups []string `json:"group"`
			} `json:"spec"`
		}
		if err := json.Unmarshal(q.body, &old); err == nil && review.Spec.Groups == nil {
			review.Spec.Groups = old.Spec.Groups
		}
	}
	a := Attributes{Resource: review.Spec.ResourceAttributes, NonResource: review.Spec.NonResourceAttributes}
	if (a.Resource == nil) == (a.NonResource == nil) {
		http.Error(w, "A SubjectAccessReview has exactly one of resourceAttributes and nonResourceAttributes.", http.StatusBadRequest)
		return
	}
	s.probes.note(q.cluster.Key, kind, a)
	user, d := decide(q, &review.Spec, a)
	if s.Observer != nil {
		s.Observer.Reviewed(q.cluster, kind, user, a, d, q.view.Revision())
	}
	review.Spec = authorizationv1.SubjectAccessReviewSpec{}
	review.Status = authorizationv1.SubjectAccessReviewStatus{
		Allowed: d.Verdict == Allow,
		Denied:  d.Verdict == Deny,
		Reason:  d.Reason,
	}
	s.reply(w, q, kind, [...]string{"no opinion", "allow", "deny"}[d.Verdict], &review)
}

// allows decides for the webhook after Node and RBAC.
func (s *Service) allows(q *question, spec *authorizationv1.SubjectAccessReviewSpec, a Attributes) (User, Decision) {
	user, d, ok := s.subject(q, spec)
	if !ok {
		return user, d
	}
	if q.cluster.Identity != "" && user.ID == q.cluster.Identity && reads(q.cluster, a) {
		return user, Decision{Allow, reasonOwnIdentity}
	}
	for _, g := range q.cluster.AdminGroups {
		if _, found := slices.BinarySearch(user.Groups, g); found {
			return user, Decision{Allow, strings.Replace(reasonAdminGroup, "%s", string(g), 1)}
		}
	}
	if q.cluster.AzureRBAC && s.Azure != nil {
		return user, s.Azure.Authorize(q.view, q.cluster, user, a)
	}
	return user, Decision{}
}

// reads reports whether a request is one of the few that Entrance makes to a
// connected cluster, as the cluster's own identity: it reads a service account
// when a pod is to be changed, and the keys of the issuer that it serves.
func reads(c *state.Cluster, a Attributes) bool {
	if r := a.Resource; r != nil {
		return c.WorkloadIdentity && r.Verb == "get" && r.Group == "" && r.Resource == "serviceaccounts" && r.Subresource == "" && r.Name != ""
	}
	return c.Issuer != "" && a.NonResource.Verb == "get" && a.NonResource.Path == "/openid/v1/jwks"
}

// denies decides for the webhook before Node and RBAC. It goes by the object id
// alone: the API server may hold a review from before the user was renamed, and
// an account that is renamed when it is disabled must not slip through. Who
// impersonates with an object id is held to it as well.
func (s *Service) denies(q *question, spec *authorizationv1.SubjectAccessReviewSpec, _ Attributes) (User, Decision) {
	oid, ok := oidOf(spec)
	if !ok || reserved(spec.User) {
		return User{Name: spec.User}, Decision{}
	}
	user := User{ID: oid, Name: spec.User}
	if !hosted(q.view, q.cluster) {
		return user, Decision{}
	}
	p, err := principal(q.view, q.cluster.Tenant, oid)
	if err != nil {
		return user, Decision{Deny, reasonDisabled}
	}
	if !p.enabled {
		return user, Decision{Deny, reasonDisabled}
	}
	if fresh, itself := issuedAfter(spec, p.ended()); itself && !fresh || !itself && p.settling(q.now) && one(spec, validFrom) != p.mark() {
		return user, Decision{Deny, reasonRevoked}
	}
	user.Groups = state.Memberships(q.view, q.cluster.Tenant, oid, q.now)
	for _, g := range spec.Groups {
		id, ok := directory.ParseGUID(g)
		if !ok {
			continue // system:authenticated and its like
		}
		if _, found := slices.BinarySearch(user.Groups, directory.ObjectID(id)); !found {
			return user, Decision{Deny, strings.Replace(reasonGroupLost, "%s", id, 1)}
		}
	}
	return user, Decision{}
}

// subject returns the user of the cluster's tenant that a review is about, with
// the groups of this moment. When there is no such user ok is false and the
// decision says why there is no opinion.
func (s *Service) subject(q *question, spec *authorizationv1.SubjectAccessReviewSpec) (u User, d Decision, ok bool) {
	u.Name = spec.User
	if reserved(spec.User) {
		return u, Decision{NoOpinion, reasonSystemUser}, false
	}
	oid, ok := oidOf(spec)
	if !ok {
		return u, Decision{NoOpinion, reasonNoOID}, false
	}
	u.ID = oid
	if !hosted(q.view, q.cluster) {
		// A connected tenant's groups are those of the review; there is no
		// directory here to ask. Whose oid it is has been noted when they showed
		// their token.
		if s.Connected == nil || !s.Connected.Known(q.request.Context(), q.cluster.Tenant, oid, spec.User) {
			return u, Decision{NoOpinion, reasonNoOID}, false
		}
		for _, g := range spec.Groups {
			if id, ok := directory.ParseGUID(g); ok {
				u.Groups = append(u.Groups, directory.ObjectID(id))
			}
		}
		slices.Sort(u.Groups)
		return u, Decision{}, true
	}
	p, err := principal(q.view, q.cluster.Tenant, oid)
	if err != nil || !named(p, spec.User) {
		return u, Decision{NoOpinion, reasonNoOID}, false
	}
	if !p.enabled {
		return u, Decision{Deny, reasonDisabled}, false
	}
	u.Groups = state.Memberships(q.view, q.cluster.Tenant, oid, q.now)
	return u, Decision{}, true
}

// reserved reports whether a user name is one that Kubernetes keeps for itself.
func reserved(name string) bool {
	return len(name) >= 7 && strings.EqualFold(name[:7], "system:")
}

// named reports whether a review's user name is one of a principal's. Case does
// not matter, as it does not in the engine: a user principal name is one name
// however it is written. Only that of ASCII: Unicode folds letters that look
// like others (ſ and s, the Kelvin sign and k) into one.
func named(p *account, name string) bool {
	lower := wildcard.Lower(name)
	return slices.ContainsFunc(p.names, func(n string) bool { return wildcard.Lower(n) == lower })
}

// oidOf returns the one object id of a review's extra.
func oidOf(spec *authorizationv1.SubjectAccessReviewSpec) (directory.ObjectID, bool) {
	id, ok := directory.ParseGUID(one(spec, state.ExtraOID, state.ExtraObject))
	return directory.ObjectID(id), ok
}

// one returns the only value that a review's extra has under some keys, in any
// case; empty if there is none or more than one.
func one(spec *authorizationv1.SubjectAccessReviewSpec, keys ...string) string {
	var values []string
	for k, v := range spec.Extra {
		if slices.Contains(keys, wildcard.Lower(k)) {
			values = append(values, v...)
		}
	}
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// issuedAfter reports whether a review comes from an API server that verifies
// tokens by itself, and then, whether the token behind it was issued after a
// moment. An API server that asks for a TokenReview was told of what was
// revoked; the other was not, and has to say when the token was issued.
func issuedAfter(spec *authorizationv1.SubjectAccessReviewSpec, t time.Time) (after, itself bool) {
	for k := range spec.Extra {
		k = wildcard.Lower(k)
		itself = itself || k == state.ExtraObject || k == state.ExtraIssued
	}
	if t.IsZero() {
		return true, itself
	}
	n, err := strconv.ParseInt(one(spec, state.ExtraIssued), 10, 64)
	return err == nil && !(&token.Claims{IssuedAt: n}).Issued().Before(t), itself
}

// hosted reports whether the cluster's tenant is one of ours.
func hosted(view store.Reader, c *state.Cluster) bool {
	_, err := state.Tenants.Get(view, string(c.Tenant))
	return err == nil
}
