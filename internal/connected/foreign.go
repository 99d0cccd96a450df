package connected

import (
	"context"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Prefix begins every name and group of an issuer that is no tenant.
const Prefix = "aks:jwt:"

const (
	maxName          = 512
	maxForeignGroups = 1000
)

// Trust lets a cluster accept tokens of an OpenID Connect issuer. Invalid when
// the issuer is one of a tenant, hosted or connected, or a prefix is missing;
// NotFound when there is no such cluster.
func (s *Service) Trust(ctx context.Context, i state.ClusterIssuer) error {
	if err := issuer.CheckURL(i.Issuer); err != nil {
		return err
	}
	if i.UsernameClaim == "" {
		i.UsernameClaim = "sub"
	}
	switch {
	case s.tenantIssuer(i.Issuer):
		return errs.New(errs.Invalid, "The issuer %q is that of a tenant, which only the cluster's own tenant may be.", i.Issuer)
	case len(i.Audiences) == 0 || slices.Contains(i.Audiences, ""):
		return errs.New(errs.Invalid, "At least one audience is needed, and none may be empty.")
	case !prefixed(i.UsernamePrefix):
		return errs.New(errs.Invalid, "The prefix of user names must begin with %s and go on.", Prefix)
	case i.GroupsClaim != "" && !prefixed(i.GroupsPrefix):
		return errs.New(errs.Invalid, "The prefix of groups must begin with %s and go on.", Prefix)
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := state.Clusters.Get(tx, i.Cluster); err != nil {
			return err
		}
		return state.ClusterIssuers.Put(tx, &i)
	})
}

// Distrust ends a cluster's trust in an issuer at once. NotFound.
func (s *Service) Distrust(ctx context.Context, cluster, issuer string) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		return state.ClusterIssuers.Delete(tx, state.ClusterIssuerKey(cluster, issuer))
	})
}

func prefixed(s string) bool {
	return strings.HasPrefix(s, Prefix) && len(s) > len(Prefix) && len(s) <= 128 && acceptable(s)
}

// tenantIssuer reports whether an issuer speaks for a tenant. Those of Entra do
// even where nobody has connected the tenant yet.
func (s *Service) tenantIssuer(name string) bool {
	_, _, connected := s.trust(name)
	return connected || s.cfg.Own(name) || strings.HasPrefix(name, token.DefaultV1Issuer) || strings.HasPrefix(name, DefaultAuthority+"/")
}

// Foreign verifies a token of an issuer that the cluster trusts beside its
// tenant. ok is false when the token's issuer is none of those. The name and the
// groups carry their prefixes, and nothing else of the token is used.
func (s *Service) Foreign(ctx context.Context, cluster, raw string, now time.Time) (name string, groups []string, ok bool, err error) {
	claimed, _, err := token.AssertionIssuer(raw)
	if err != nil {
		return "", nil, false, nil // whatever it is, it is not of such an issuer
	}
	i, err := state.ClusterIssuers.Get(s.store.View(), state.ClusterIssuerKey(cluster, claimed))
	if err != nil || i.Issuer != claimed || s.tenantIssuer(claimed) || !prefixed(i.UsernamePrefix) {
		return "", nil, false, nil
	}
	a, err := token.VerifyAssertion(raw, token.AssertionPolicy{
		Issuer: i.Issuer, Audiences: i.Audiences, NoPSS: true,
		Find: func(h token.AssertionHeader) []token.PublicKey {
			if k, found := s.key(i.Issuer, token.KeyID(h.Kid)); found && h.Kid != "" {
				return []token.PublicKey{k}
			}
			return nil
		},
	}, now)
	if err != nil {
		return "", nil, true, err
	}
	text, isText := a.Text(i.UsernameClaim)
	if !isText || text == "" || len(text) > maxName || !acceptable(text) {
		return "", nil, true, errs.New(errs.Unauthenticated, "the token has no acceptable claim %q", i.UsernameClaim)
	}
	if i.GroupsClaim != "" {
		list, isList := a.List(i.GroupsClaim)
		if one, isOne := a.Text(i.GroupsClaim); isOne {
			list, isList = []string{one}, true
		}
		if len(list) > maxForeignGroups {
			return "", nil, true, errs.New(errs.Unauthenticated, "the token names more than %d groups", maxForeignGroups)
		}
		if isList {
			for _, g := range list {
				if g == "" || len(g) > maxName || !acceptable(g) {
					return "", nil, true, errs.New(errs.Unauthenticated, "the token names a group that is not acceptable")
				}
				groups = append(groups, i.GroupsPrefix+g)
			}
		}
	}
	return i.UsernamePrefix + text, groups, true, nil
}

// acceptable reports whether a text may be part of a name in Kubernetes and its
// logs.
func acceptable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}
