package webhook

import (
	"context"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/token"
)

// Connected knows what is not in the directory here: the people of a tenant
// that somebody else hosts, and the tokens of further issuers of a cluster.
type Connected interface {
	// Name returns the user name of the bearer of a verified token of a
	// connected tenant.
	Name(c *token.Claims) (string, error)
	// Groups returns all their groups, or an error when some cannot be had. access
	// is the text of the verified token.
	Groups(ctx context.Context, c *token.Claims, access string) ([]directory.ObjectID, error)
	// Remember binds the object id to the name, for Known.
	Remember(ctx context.Context, c *token.Claims, name string) error
	// Known reports whether the object id is known by this name. False for
	// tenants that are not connected.
	Known(ctx context.Context, tenant directory.TenantID, id directory.ObjectID, name string) bool
	// Foreign verifies a token of an OpenID Connect issuer that the cluster
	// trusts beside its tenant; ok is false when its issuer is none of those.
	Foreign(ctx context.Context, cluster, raw string, now time.Time) (name string, groups []string, ok bool, err error)
}

// identifyForeign returns who the bearer of a token of a further issuer is: a
// name and groups behind a prefix, and nobody of any tenant. There is no oid, so
// that neither the authorizers here nor a role assignment can mean them.
func (s *Service) identifyForeign(q *question, raw string) (user *authenticationv1.UserInfo, ok bool, err error) {
	if s.Connected == nil {
		return nil, false, nil
	}
	name, groups, ok, err := s.Connected.Foreign(q.request.Context(), q.cluster.Key, raw, q.now)
	switch {
	case !ok || err != nil:
		return nil, ok, err
	case q.cluster.ProofOfPossession:
		return nil, true, errs.New(errs.Unauthenticated, "the cluster demands proof of possession, which tokens of other issuers do not have")
	}
	return &authenticationv1.UserInfo{Username: name, Groups: groups}, true, nil
}

// identifyConnected returns who the bearer of a verified token of the cluster's
// connected tenant is, as the token and the tenant's Graph say.
func (s *Service) identifyConnected(q *question, claims *token.Claims, access string) (*authenticationv1.UserInfo, error) {
	if s.Connected == nil {
		return nil, errs.New(errs.Unauthenticated, "tenant %s is neither hosted nor connected", claims.Tenant)
	}
	ctx := q.request.Context()
	name, err := s.Connected.Name(claims)
	if err != nil {
		return nil, err
	}
	groups, err := s.Connected.Groups(ctx, claims, access)
	if err != nil {
		return nil, err
	}
	if err := s.Connected.Remember(ctx, claims, name); err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "who the token's bearer is cannot be noted now; try again")
	}
	user := &authenticationv1.UserInfo{
		Username: name,
		Extra:    map[string]authenticationv1.ExtraValue{"oid": {string(claims.Object)}},
	}
	for _, g := range groups {
		user.Groups = append(user.Groups, string(g))
	}
	return user, nil
}
