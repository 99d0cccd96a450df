package clientauth

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/directory/matching"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// checkFederated checks a token of another issuer against the client's
// federated credentials: issuer, subject and audience exactly, or the credential's
// claims matching expression in the subject's place, and a signature by the
// issuer's own keys.
func (a *Authenticator) checkFederated(c *wire.Call, cl *Client, assertion, issuer, subject string) error {
	var list []directory.FederatedCredential
	for _, set := range cl.credentials() {
		list = append(list, set.Federated...)
	}
	if len(list) == 0 {
		return fault(70025, string(cl.ID), cl.Name)
	}
	own := a.ownIssuer(issuer)
	matches, err := matchFederated(list, assertion, issuer, subject)
	if err != nil {
		if own && aadsts.From(err).Code == 700211 {
			return fault(700222)
		}
		return err
	}
	keys, err := a.issuerKeys(c, issuer, own, false)
	if err != nil {
		return err
	}
	var audiences []string
	for i := range matches {
		audiences = append(audiences, matches[i].Audiences...)
	}
	verify := func() (*token.Assertion, error) {
		return token.VerifyAssertion(assertion, token.AssertionPolicy{
			Issuer: issuer, Subject: subject, Audiences: audiences, NoPSS: true,
			Find: func(h token.AssertionHeader) []token.PublicKey {
				if k, ok := keys[token.KeyID(h.Kid)]; ok {
					return []token.PublicKey{k}
				}
				return nil
			},
		}, c.Now)
	}
	proof, err := verify()
	if token.ClassOf(err) == token.ClassKey && !own {
		// The issuer may have changed its keys.
		if keys, err = a.issuerKeys(c, issuer, own, true); err != nil {
			return err
		}
		proof, err = verify()
	}
	if err != nil {
		return federatedFault(c, err, assertion)
	}
	if own {
		if err := a.standing(c, proof); err != nil {
			return err
		}
	}
	match, err := proven(matches, proof)
	if err != nil {
		return err
	}
	cl.Auth, cl.Federated, cl.Credential = token.ClientAssertion, true, match.ID
	return nil
}

// standing checks a token of a tenant here: it stands for an application only,
// and for one that would get such a token now.
func (a *Authenticator) standing(c *wire.Call, proof *token.Assertion) error {
	// Only in an application's access token are the object and the subject one;
	// a person's token has a scope, and its subject, as an ID token's, is theirs
	// for one client.
	object, _ := proof.Text("oid")
	if kind, _ := proof.Text("idtyp"); kind == "user" || hasText(proof, "scp") || object == "" || object != proof.Subject {
		return fault(700229)
	}
	trust, ok := a.Trust.Issuer(proof.Issuer)
	if !ok {
		return fault(700211, proof.Issuer)
	}
	sp, err := state.ServicePrincipals.Get(c.View, state.Key(trust.Tenant, directory.ObjectID(object)))
	switch {
	case errs.Is(err, errs.NotFound):
		return fault(700229)
	case err != nil:
		return err
	case !sp.Enabled:
		return fault(7000112, string(sp.AppID), sp.DisplayName)
	}
	if issued := time.Unix(proof.IssuedAt, 0); !sp.AccessRevoked.IsZero() && issued.Before(sp.AccessRevoked) {
		return fault(50173, issued.UTC().Format(aadsts.TimeFormat), sp.AccessRevoked.UTC().Format(aadsts.TimeFormat))
	}
	return nil
}

// proven returns which of the credentials that an assertion may mean it meets, now
// that it is known to be its issuer's. Expressions are evaluated here only: nobody
// has us work on claims of their own making.
func proven(matches []directory.FederatedCredential, a *token.Assertion) (*directory.FederatedCredential, error) {
	failed := ""
	for i := range matches {
		f := &matches[i]
		switch {
		case f.Issuer != a.Issuer || !slices.ContainsFunc(f.Audiences, func(s string) bool { return slices.Contains(a.Audiences, s) }):
			continue
		case f.Matching == nil:
			if f.Subject != "" && f.Subject == a.Subject {
				return f, nil
			}
			continue
		}
		e, err := matching.Parse(f.Issuer, f.Matching)
		if err != nil {
			continue // what cannot be evaluated is not met
		}
		claim, ok := e.Match(a.Text)
		if ok {
			return f, nil
		}
		failed = claim
	}
	if failed == "" {
		return nil, fault(7002137, "claims, since the credential's expression cannot be evaluated,", a.Subject)
	}
	value, _ := a.Text(failed)
	return nil, fault(7002137, "claim "+failed, value)
}

func hasText(a *token.Assertion, name string) bool {
	s, ok := a.Text(name)
	return ok && s != ""
}

// ownIssuer tells whether an issuer is one of our own tenants.
func (a *Authenticator) ownIssuer(issuer string) bool {
	_, ok := a.Trust.Issuer(issuer)
	return ok
}

func (a *Authenticator) issuerKeys(c *wire.Call, issuer string, own, refresh bool) (map[token.KeyID]token.PublicKey, error) {
	if own {
		return a.ownKeys(c, issuer)
	}
	if a.Issuers == nil {
		return nil, fault(501661, "no issuers can be asked")
	}
	keys, err := a.Issuers.Keys(c.R.Context(), issuer, refresh)
	switch {
	case errs.Is(err, errs.Invalid):
		return nil, fault(90061, errs.Message(err)).WithCause(err)
	case err != nil:
		return nil, fault(501661, issuer).WithCause(err)
	}
	return keys, nil
}

func (a *Authenticator) ownKeys(c *wire.Call, issuer string) (map[token.KeyID]token.PublicKey, error) {
	trust, ok := a.Trust.Issuer(issuer)
	if !ok {
		return nil, fault(700211, issuer)
	}
	set, err := a.Keys.Set(trust.Tenant)
	if err != nil {
		return nil, err
	}
	keys := map[token.KeyID]token.PublicKey{}
	for _, k := range set.Published(c.Now) {
		if pub, ok := a.Trust.Key(issuer, k.ID); ok {
			keys[k.ID] = pub
		}
	}
	return keys, nil
}

// matchFederated finds the credentials that an assertion may mean. Nothing is
// proven yet: what it says is only compared, so that the right issuer's keys are
// asked for, and no others'.
func matchFederated(list []directory.FederatedCredential, assertion, issuer, subject string) ([]directory.FederatedCredential, error) {
	audiences := peekAudiences(assertion)
	keep := func(list []directory.FederatedCredential, ok func(f *directory.FederatedCredential) bool) []directory.FederatedCredential {
		return slices.DeleteFunc(slices.Clone(list), func(f directory.FederatedCredential) bool { return !ok(&f) })
	}
	but := func(list []directory.FederatedCredential, one func(f *directory.FederatedCredential) []string, values ...string) bool {
		return slices.ContainsFunc(list, func(f directory.FederatedCredential) bool {
			return slices.ContainsFunc(one(&f), func(a string) bool {
				return a != "" && slices.ContainsFunc(values, func(b string) bool { return strings.EqualFold(a, b) })
			})
		})
	}
	at := keep(list, func(f *directory.FederatedCredential) bool { return f.Issuer == issuer })
	if len(at) == 0 {
		if but(list, func(f *directory.FederatedCredential) []string { return []string{f.Issuer} }, issuer) {
			return nil, caseFault("issuer", issuer)
		}
		return nil, fault(700211, issuer)
	}
	// An expression takes the subject's place.
	named := keep(at, func(f *directory.FederatedCredential) bool {
		return f.Matching != nil || f.Subject != "" && f.Subject == subject
	})
	if len(named) == 0 {
		if but(at, func(f *directory.FederatedCredential) []string { return []string{f.Subject} }, subject) {
			return nil, caseFault("subject", subject)
		}
		return nil, fault(700213, subject)
	}
	meant := keep(named, func(f *directory.FederatedCredential) bool {
		return slices.ContainsFunc(f.Audiences, func(a string) bool { return slices.Contains(audiences, a) })
	})
	if len(meant) == 0 {
		text := strings.Join(audiences, " ")
		if but(named, func(f *directory.FederatedCredential) []string { return f.Audiences }, audiences...) {
			return nil, caseFault("audience", text)
		}
		return nil, fault(700212, text)
	}
	return meant, nil
}

func caseFault(name, value string) error { return fault(7002138, name, value, name) }

// federatedFault chooses the code of a refused federated assertion.
func federatedFault(c *wire.Call, err error, assertion string) error {
	switch token.ClassOf(err) {
	case token.ClassAudience:
		return fault(700212, strings.Join(peekAudiences(assertion), " ")).WithCause(err)
	case token.ClassExpired, token.ClassNotYet, token.ClassLifetime:
		return fault(700024, c.Now.UTC().Format(aadsts.TimeFormat), expiryOf(assertion)).WithCause(err)
	case token.ClassKey, token.ClassKeyTime:
		return fault(700027, "The key was not found").WithCause(err)
	case token.ClassSignature:
		return fault(700027, "The signature is wrong").WithCause(err)
	case token.ClassAlgorithm, token.ClassHeader, token.ClassKind, token.ClassClaims:
		return fault(50012, "the client assertion is not of an acceptable form").WithCause(err)
	}
	return fault(50027, "it cannot be read").WithCause(err)
}

// peekAudiences and expiryOf read one claim of an assertion for a message or
// for comparison. Nothing is proven of it.
func peekAudiences(assertion string) []string {
	var one struct {
		Audience json.RawMessage `json:"aud"`
	}
	if !peek(assertion, &one) {
		return nil
	}
	var s string
	if json.Unmarshal(one.Audience, &s) == nil {
		return []string{s}
	}
	var list []string
	_ = json.Unmarshal(one.Audience, &list)
	return list
}

func expiryOf(assertion string) string {
	var one struct {
		Expires float64 `json:"exp"`
	}
	if !peek(assertion, &one) || one.Expires < 0 || one.Expires > 253402300799 {
		return "unknown"
	}
	return time.Unix(int64(one.Expires), 0).UTC().Format(aadsts.TimeFormat)
}

func peek(assertion string, v any) bool {
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[1])
	return err == nil && json.Unmarshal(raw, v) == nil
}
