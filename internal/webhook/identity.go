package webhook

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// authenticate answers a TokenReview. A token that is refused is an answer, not
// an error: HTTP 200 with authenticated=false. The API server takes anything
// else for an outage and asks again.
func (s *Service) authenticate(w http.ResponseWriter, q *question) {
	var review authenticationv1.TokenReview
	if err := json.Unmarshal(q.body, &review); err != nil {
		http.Error(w, "The body is not a TokenReview: "+err.Error(), http.StatusBadRequest)
		return
	}
	if review.Kind != "TokenReview" || review.APIVersion != "authentication.k8s.io/v1" {
		http.Error(w, "Only TokenReview of authentication.k8s.io/v1 is answered here.", http.StatusBadRequest)
		return
	}
	raw := review.Spec.Token
	review.Spec = authenticationv1.TokenReviewSpec{} // never echo a token
	verdict := "authenticated"
	user, err := s.identify(q, raw)
	if err == nil {
		err = permitted(user)
	}
	if err != nil {
		user = nil
	}
	if s.Observer != nil {
		s.Observer.Reviewed(q.cluster, "authenticate", reviewed(user), Attributes{}, decision(err), q.view.Revision())
	}
	if err != nil {
		verdict = "refused"
		review.Status.Error = err.Error()
		s.Logger.Info("token refused", "cluster", q.cluster.Key, "class", token.ClassOf(err), "reason", err)
	} else {
		review.Status.Authenticated = true
		review.Status.User = *user
	}
	s.reply(w, q, "authenticate", verdict, &review)
}

// identify returns who a token's bearer is, as the directory knows them now.
func (s *Service) identify(q *question, raw string) (*authenticationv1.UserInfo, error) {
	if user, ok, err := s.identifyForeign(q, raw); ok {
		return user, err
	}
	claims, access, err := s.verify(q, raw)
	if err != nil {
		return nil, err
	}
	// The verifier has bound issuer, keys and tid to one another; the cluster
	// belongs to exactly one tenant.
	if claims.Tenant != q.cluster.Tenant {
		return nil, errs.New(errs.Unauthenticated, "the token is of tenant %s; the cluster belongs to tenant %s", claims.Tenant, q.cluster.Tenant)
	}
	if claims.Object == "" {
		return nil, errs.New(errs.Unauthenticated, "the token names no object")
	}
	if !hosted(q.view, q.cluster) {
		return s.identifyConnected(q, claims, access)
	}
	p, err := principal(q.view, claims.Tenant, claims.Object)
	if err != nil {
		return nil, errs.New(errs.Unauthenticated, "the account %s does not exist in tenant %s", claims.Object, claims.Tenant)
	}
	if p.app != claims.AppOnly() {
		return nil, errs.New(errs.Unauthenticated, "the token and the account %s are of different kinds", claims.Object)
	}
	if !p.enabled {
		return nil, errs.New(errs.Unauthenticated, "the account %s is disabled", claims.Object)
	}
	if !p.revoked.IsZero() && claims.Issued().Before(p.revoked) {
		return nil, errs.New(errs.Unauthenticated, "access was revoked at %s; sign in again", p.revoked.UTC().Format(time.RFC3339))
	}
	if id := claims.Credential(); id != "" && !p.proves(id) {
		return nil, errs.New(errs.Unauthenticated, "the credential that the token was obtained with has been deleted; sign in again with another")
	}
	if err := s.legacy(q); err != nil {
		return nil, err
	}
	user := &authenticationv1.UserInfo{
		Username: p.names[0],
		Extra:    map[string]authenticationv1.ExtraValue{"oid": {string(claims.Object)}},
	}
	if p.settling(q.now) {
		user.Extra[validFrom] = authenticationv1.ExtraValue{p.mark()}
	}
	for _, g := range state.Memberships(q.view, claims.Tenant, claims.Object, q.now) {
		user.Groups = append(user.Groups, string(g))
	}
	return user, nil
}

// permitted refuses names that Kubernetes keeps for itself, wherever they may
// have come from: no directory and no issuer makes anybody one of the cluster's
// own.
func permitted(u *authenticationv1.UserInfo) error {
	if reserved(u.Username) || slices.ContainsFunc(u.Groups, reserved) {
		return errs.New(errs.Unauthenticated, "the user or one of the groups has a name that Kubernetes keeps for itself")
	}
	return nil
}

// reviewed is the user of a TokenReview for the audit log.
func reviewed(u *authenticationv1.UserInfo) User {
	if u == nil {
		return User{}
	}
	user := User{Name: u.Username}
	if oid := u.Extra["oid"]; len(oid) == 1 { // those of other issuers have none
		user.ID = directory.ObjectID(oid[0])
	}
	return user
}

// decision is the verdict of a TokenReview for the audit log.
func decision(err error) Decision {
	if err != nil {
		return Decision{Deny, err.Error()}
	}
	return Decision{Allow, "The token is valid."}
}

// verify returns the claims of a token that is valid for the cluster: a bearer
// token, or with proof of possession a signed request around one. The two are
// never mixed: a token that is bound to a key is worth nothing without it.
func (s *Service) verify(q *question, raw string) (claims *token.Claims, access string, err error) {
	verifier := token.Verifier{Keys: s.Keys, Audiences: Audiences(q.cluster)}
	if !q.cluster.ProofOfPossession {
		claims, err = verifier.Verify(raw, q.now)
		return claims, raw, err
	}
	if !pop.IsShell(raw) {
		return nil, "", errs.New(errs.Unauthenticated, "the cluster demands proof of possession: sign in with --pop-enabled and --pop-claims u=%s", q.cluster.ID)
	}
	shell, err := pop.Verify(raw, pop.Options{Host: q.cluster.ID, Now: q.now, Validity: cmp.Or(q.cluster.ProofValidity, popValidity), MaxFuture: popFuture})
	if err != nil {
		return nil, "", err
	}
	if claims, err = verifier.VerifyBound(shell.AccessToken, shell.Thumbprint, q.now); err != nil {
		return nil, "", err
	}
	// kubectl shows one signed request for as long as it keeps it, so a second
	// sight inside its validity is counted and not refused (the API server asks
	// again every ten seconds).
	if q.cluster.ProofOnce {
		return claims, shell.AccessToken, s.first(q, shell)
	}
	s.shellsMu.Lock()
	seen, err := s.shells.Note(shell, q.now)
	s.shellsMu.Unlock()
	if err != nil {
		return nil, "", err
	}
	if seen > 1 {
		s.repeats.Inc()
	}
	return claims, shell.AccessToken, nil
}

// first refuses a signed request that any replica has seen before.
func (s *Service) first(q *question, shell *pop.Shell) error {
	err := s.Store.Update(q.request.Context(), func(tx *store.Tx) error {
		return state.SignedRequests.Create(tx, &state.SignedRequest{
			Cluster: q.cluster.Key, Hash: hex.EncodeToString(shell.Hash[:]), Life: max(shell.Expires.Sub(q.now), time.Second),
		})
	})
	switch {
	case errs.Is(err, errs.Exists):
		s.repeats.Inc()
		return errs.New(errs.Unauthenticated, "the signed request was used before, and the cluster takes each only once")
	case err != nil:
		return errs.Wrap(errs.Unavailable, err, "the signed request cannot be noted now; try again")
	}
	return nil
}

// legacy holds a cluster of the legacy integration to what it needs: its own
// server application looks up groups, with a secret that must be right. With a
// wrong one nobody gets in, as on AKS.
func (s *Service) legacy(q *question) error {
	if s.LegacySecret == nil {
		return nil
	}
	secret, ok := s.LegacySecret(q.view, q.cluster.Key)
	if !ok {
		return nil
	}
	if !state.SecretWorks(q.view, q.cluster.Tenant, q.cluster.ServerApp, secret, q.now) {
		return errs.New(errs.Unauthenticated, "the secret of the cluster's server application %s is wrong or has expired: groups cannot be looked up", q.cluster.ServerApp)
	}
	return nil
}

// Audiences returns the names under which tokens for a cluster may have been
// asked for: the server application's id, alone or behind the prefix that old
// clients put before it.
func Audiences(c *state.Cluster) []string {
	return []string{string(c.ServerApp), "spn:" + string(c.ServerApp)}
}

// account is what the directory says of a principal now.
type account struct {
	names   []string // the user name, first, and others that mean the same
	app     bool     // a service principal
	enabled bool
	revoked time.Time // tokens issued before it are refused
	// credentials are a service principal's own and its application's.
	credentials []*directory.Credentials
}

// validFrom is the key in a review's extra that says which revocation the token
// was held against. AKS's reviews have oid alone; ours have this beside it, for
// those whose access was revoked a moment ago, so that the denying webhook can
// tell a review that the API server kept from before, which it refuses, from one
// of a token that was issued since.
//
// Who may impersonate can write it, and gains nothing by it: a revocation speaks
// of tokens, and an impersonator shows one of their own, which is reviewed first.
const validFrom = "valid-from"

// settle is how long an API server may go on using a TokenReview that it has
// asked before a revocation: its own ten seconds, and one for the way.
const settle = 11 * time.Second

// ended returns the time of the latest change that ended tokens of the account.
func (a *account) ended() time.Time {
	t := a.revoked
	for _, c := range a.credentials {
		if c.Removed.After(t) {
			t = c.Removed
		}
	}
	return t
}

// settling reports whether API servers may hold reviews from before the latest
// change that ended tokens.
func (a *account) settling(now time.Time) bool {
	t := a.ended()
	return !t.IsZero() && now.Sub(t) < settle
}

// mark names the latest change that ended tokens. It is compared for equality
// alone, so that no two clocks are.
func (a *account) mark() string { return a.ended().UTC().Format(time.RFC3339Nano) }

// proves reports whether the credential with the id is still the account's.
func (a *account) proves(id string) bool {
	return slices.ContainsFunc(a.credentials, func(c *directory.Credentials) bool { return c.Has(id) })
}

// principal returns the account with the given id. Members are known by their
// user principal name; guests, service principals and managed identities by
// their object id, as AKS names them.
func principal(view store.Reader, tenant directory.TenantID, id directory.ObjectID) (*account, error) {
	key := state.Key(tenant, id)
	u, err := state.Users.Get(view, key)
	if err == nil {
		a := &account{names: []string{u.UserPrincipalName}, enabled: u.Enabled, revoked: u.AccessRevoked}
		if u.Guest {
			a.names = []string{string(id)}
		}
		return a, nil
	}
	p, err := state.ServicePrincipals.Get(view, key)
	if err != nil {
		return nil, err
	}
	a := &account{names: []string{string(id)}, app: true, enabled: p.Enabled, revoked: p.AccessRevoked, credentials: []*directory.Credentials{&p.Credentials}}
	if app, err := state.FindApplication(view, p.AppID); err == nil {
		a.credentials = append(a.credentials, &app.Credentials)
	}
	return a, nil
}
