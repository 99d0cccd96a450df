// Package clientauth finds the application that makes a request and checks how
// it proves itself: with a secret, with an assertion signed by its certificate's
// key, or with a token of an issuer that it trusts.
package clientauth

import (
	"context"
	"net/url"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/limit"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// Keys are the signing keys of the hosted tenants.
type Keys interface {
	// Set returns the keys of a tenant.
	Set(tenant directory.TenantID) (*token.Set, error)
}

// Issuers knows the keys of foreign issuers that federated credentials trust.
type Issuers interface {
	// Keys returns the signing keys of an issuer that one of our applications
	// trusts. Unavailable when the issuer cannot be asked; Invalid when its
	// documents are not acceptable. With refresh the caller has met a key that
	// was not there, and newer documents are fetched unless they just were.
	Keys(ctx context.Context, issuer string, refresh bool) (map[token.KeyID]token.PublicKey, error)
}

// Authenticator finds and authenticates clients. All of its fields but Issuers
// are required.
type Authenticator struct {
	// Hosts are the addresses, https:// and a host, under which a client may mean
	// us in the audience of its assertion.
	Hosts   []string
	Names   token.Issuers
	Keys    Keys
	Trust   token.Keys
	Issuers Issuers
	Tickets *ticket.Tickets
	Limits  *limit.Limiter
}

func fault(code aadsts.Code, args ...any) *aadsts.Error { return aadsts.New(code, args...) }

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// Client is the application that makes a request.
type Client struct {
	ID         directory.AppID
	Name       string
	App        *directory.Application      // nil for a managed identity
	SP         *directory.ServicePrincipal // in the tenant of the request; nil until there is one
	FirstParty bool

	Auth      token.ClientAuth
	Federated bool
	// Credential is the id of the credential that proved it; empty where the
	// certificate is known by its name alone.
	Credential string
	// used is what to remember before anything is issued: an assertion that
	// works once.
	used *assertionUse
}

// AuthName says for the log how the client proved itself.
func (cl *Client) AuthName() string {
	switch {
	case cl.Federated:
		return "federated"
	case cl.Auth == token.ClientAssertion:
		return "certificate"
	case cl.Auth == token.ClientSecret:
		return "secret"
	}
	return "none"
}

// Find finds the application with the client id of the request, in
// tenant if that is given.
func (a *Authenticator) Find(c *wire.Call, tenant *directory.Tenant, id string) (*Client, error) {
	guid, ok := directory.ParseGUID(id)
	if !ok {
		return nil, fault(700016, id, c.Authority)
	}
	cl := &Client{ID: directory.AppID(guid), Auth: token.ClientPublic}
	_, cl.FirstParty = directory.FirstParty(cl.ID)
	app, err := state.FindApplication(c.View, cl.ID)
	switch {
	case err == nil:
		cl.App, cl.Name = app, app.DisplayName
	case !errs.Is(err, errs.NotFound):
		return nil, err
	case tenant == nil:
		return nil, fault(700016, id, c.Authority)
	}
	if tenant == nil {
		if app.SignInAudience == "AzureADMyOrg" && c.Authority == wire.Common {
			return nil, fault(50194, string(cl.ID), cl.Name)
		}
		return cl, nil
	}
	return cl, a.Place(c, tenant, cl)
}

// Place finds the client's service principal in a tenant.
func (a *Authenticator) Place(c *wire.Call, tenant *directory.Tenant, cl *Client) error {
	sp, err := state.FindServicePrincipal(c.View, tenant.ID, cl.ID)
	switch {
	case err == nil && !sp.Enabled:
		return fault(7000112, string(cl.ID), sp.DisplayName)
	case err == nil:
		cl.SP = sp
		if cl.Name == "" {
			cl.Name = sp.DisplayName
		}
	case !errs.Is(err, errs.NotFound):
		return err
	case cl.App == nil, cl.App.SignInAudience == "AzureADMyOrg" && cl.App.Tenant != tenant.ID:
		return fault(700016, string(cl.ID), tenant.DisplayName)
	}
	return nil
}

// credentials are the client's own and those of its service principal.
func (cl *Client) credentials() []*directory.Credentials {
	var list []*directory.Credentials
	if cl.App != nil {
		list = append(list, &cl.App.Credentials)
	}
	if cl.SP != nil {
		list = append(list, &cl.SP.Credentials)
	}
	return list
}

// Public tells whether the client may go without proof of itself.
func (cl *Client) Public() bool { return cl.App != nil && cl.App.Public() }

// Presented is how a client proves itself in a request.
type Presented struct {
	ID, Secret, Assertion string
	basic                 bool
}

// Read reads the proof and refuses more than one.
func Read(c *wire.Call) (*Presented, error) {
	a := &Presented{ID: c.Form.Get("client_id"), Secret: c.Form.Get("client_secret"), Assertion: c.Form.Get("client_assertion")}
	_, secretGiven := c.Form["client_secret"]
	if h := c.R.Header.Get("Authorization"); h != "" {
		user, pass, ok := c.R.BasicAuth()
		if !ok {
			return nil, fault(9002313, "the Authorization header is not Basic")
		}
		// RFC 6749, section 2.3.1: both are form-encoded first.
		id, err1 := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(pass)
		if err1 != nil || err2 != nil {
			return nil, fault(9002313, "the Basic credentials are not well-formed")
		}
		if a.ID != "" && !strings.EqualFold(a.ID, id) {
			return nil, fault(9002313, "two different client ids are given")
		}
		if secretGiven || a.Assertion != "" {
			return nil, fault(9002313, "the client authenticates in more than one way")
		}
		a.ID, a.Secret, a.basic, secretGiven = id, secret, true, true
	}
	kind := c.Form.Get("client_assertion_type")
	switch {
	case a.ID == "":
		return nil, fault(900144, "client_id")
	case secretGiven && a.Assertion != "":
		return nil, fault(9002313, "the client authenticates in more than one way")
	case secretGiven && a.Secret == "":
		// An empty secret is no secret, and never one that matches.
		return nil, fault(7000218)
	case a.Assertion != "" && kind == "":
		return nil, fault(900144, "client_assertion_type")
	case a.Assertion != "" && kind != assertionType:
		return nil, fault(9002313, "the client_assertion_type is not supported")
	case a.Assertion == "" && kind != "":
		return nil, fault(900144, "client_assertion")
	}
	return a, nil
}

// Authenticate finds the client and checks its proof. public says whether a
// client may come without one in this grant at all.
func (a *Authenticator) Authenticate(c *wire.Call, tenant *directory.Tenant, shown *Presented, public bool) (*Client, error) {
	cl, err := a.Find(c, tenant, shown.ID)
	if err != nil {
		return nil, err
	}
	if shown.Secret == "" && shown.Assertion == "" {
		if public && cl.Public() {
			return cl, nil
		}
		return nil, fault(7000218)
	}
	if wait := a.Limits.ClientBlocked(string(cl.ID), c.Addr); wait > 0 {
		return nil, aadsts.Throttled(wait)
	}
	if shown.Secret != "" {
		err = cl.checkSecret(shown.Secret, c.Now)
	} else {
		err = a.checkAssertion(c, tenant, cl, shown.Assertion)
	}
	if err != nil {
		if e := aadsts.From(err); e.Status == 401 {
			a.Limits.ClientFailed(string(cl.ID), c.Addr)
		}
		return nil, err
	}
	return cl, nil
}

func (cl *Client) checkSecret(secret string, now time.Time) error {
	if cl.Public() && !cl.hasCredentials() {
		return fault(700025)
	}
	expired := false
	for _, set := range cl.credentials() {
		if pw := set.MatchPassword(secret); pw != nil {
			if !now.Before(pw.Start) && now.Before(pw.End) {
				cl.Auth, cl.Credential = token.ClientSecret, pw.KeyID
				return nil
			}
			expired = true
		}
	}
	if expired {
		return fault(7000222, string(cl.ID))
	}
	return fault(7000215, string(cl.ID))
}

func (cl *Client) hasCredentials() bool {
	for _, set := range cl.credentials() {
		if len(set.Passwords)+len(set.Keys)+len(set.Federated) > 0 {
			return true
		}
	}
	return false
}

// checkAssertion checks a client assertion: the client's own, signed with its
// certificate's key, or a token of another issuer that the client trusts.
func (a *Authenticator) checkAssertion(c *wire.Call, tenant *directory.Tenant, cl *Client, assertion string) error {
	issuer, subject, err := token.AssertionIssuer(assertion)
	if err != nil {
		return fault(50027, "it cannot be read").WithCause(err)
	}
	if cl.Public() && !cl.hasCredentials() {
		return fault(700025)
	}
	// The issuer decides which of the two it is: an application's id names no
	// foreign issuer, whose names are URLs.
	if strings.Contains(issuer, "://") {
		return a.checkFederated(c, cl, assertion, issuer, subject)
	}
	if !strings.EqualFold(issuer, string(cl.ID)) || !strings.EqualFold(subject, string(cl.ID)) {
		return fault(700021)
	}
	return a.checkCertificate(c, tenant, cl, assertion, issuer, subject)
}

// assertionUse is an assertion that works once, and how long to remember it.
type assertionUse struct {
	key  string
	life time.Duration
}

// Spend remembers that a client's assertion was used to get something: the
// second request for the same thing with it is a replay. Some clients keep an
// assertion for a few minutes and use it for each resource in turn, so what it
// was used for is part of it.
func (a *Authenticator) Spend(ctx context.Context, cl *Client, forWhat string) error {
	if cl.used == nil {
		return nil
	}
	return a.Tickets.Spend(ctx, cl.used.key+"/"+ticket.Hash(forWhat), cl.used.life)
}
