package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// client is the application that makes a request.
type client struct {
	id         directory.AppID
	name       string
	app        *directory.Application      // nil for a managed identity
	sp         *directory.ServicePrincipal // in the tenant of the request; nil until there is one
	firstParty bool

	auth      token.ClientAuth
	federated bool
	// credential is the id of the credential that proved it; empty where the
	// certificate is known by its name alone.
	credential string
	// used is what to remember before anything is issued: an assertion that
	// works once.
	used *usedAssertion
}

func (cl *client) authName() string {
	switch {
	case cl.federated:
		return "federated"
	case cl.auth == token.ClientAssertion:
		return "certificate"
	case cl.auth == token.ClientSecret:
		return "secret"
	}
	return "none"
}

// findClient finds the application with the client id of the request, in
// tenant if that is given.
func (p *Provider) findClient(c *call, tenant *directory.Tenant, id string) (*client, error) {
	guid, ok := directory.ParseGUID(id)
	if !ok {
		return nil, fault(700016, id, c.authority)
	}
	cl := &client{id: directory.AppID(guid), auth: token.ClientPublic}
	_, cl.firstParty = directory.FirstParty(cl.id)
	app, err := state.FindApplication(c.view, cl.id)
	switch {
	case err == nil:
		cl.app, cl.name = app, app.DisplayName
	case !errs.Is(err, errs.NotFound):
		return nil, err
	case tenant == nil:
		return nil, fault(700016, id, c.authority)
	}
	if tenant == nil {
		if app.SignInAudience == "AzureADMyOrg" && c.authority == common {
			return nil, fault(50194, string(cl.id), cl.name)
		}
		return cl, nil
	}
	return cl, p.placeClient(c, tenant, cl)
}

// placeClient finds the client's service principal in a tenant.
func (p *Provider) placeClient(c *call, tenant *directory.Tenant, cl *client) error {
	sp, err := state.FindServicePrincipal(c.view, tenant.ID, cl.id)
	switch {
	case err == nil && !sp.Enabled:
		return fault(7000112, string(cl.id), sp.DisplayName)
	case err == nil:
		cl.sp = sp
		if cl.name == "" {
			cl.name = sp.DisplayName
		}
	case !errs.Is(err, errs.NotFound):
		return err
	case cl.app == nil, cl.app.SignInAudience == "AzureADMyOrg" && cl.app.Tenant != tenant.ID:
		return fault(700016, string(cl.id), tenant.DisplayName)
	}
	return nil
}

// credentials are the client's own and those of its service principal.
func (cl *client) credentials() []*directory.Credentials {
	var list []*directory.Credentials
	if cl.app != nil {
		list = append(list, &cl.app.Credentials)
	}
	if cl.sp != nil {
		list = append(list, &cl.sp.Credentials)
	}
	return list
}

// isPublic tells whether the client may go without proof of itself.
func (cl *client) isPublic() bool { return cl.app != nil && cl.app.Public() }

// presented is how a client proves itself in a request.
type presented struct {
	id, secret, assertion string
	basic                 bool
}

// presented reads the proof and refuses more than one.
func (c *call) presented() (*presented, error) {
	a := &presented{id: c.form.Get("client_id"), secret: c.form.Get("client_secret"), assertion: c.form.Get("client_assertion")}
	_, secretGiven := c.form["client_secret"]
	if h := c.r.Header.Get("Authorization"); h != "" {
		user, pass, ok := c.r.BasicAuth()
		if !ok {
			return nil, fault(9002313, "the Authorization header is not Basic")
		}
		// RFC 6749, section 2.3.1: both are form-encoded first.
		id, err1 := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(pass)
		if err1 != nil || err2 != nil {
			return nil, fault(9002313, "the Basic credentials are not well-formed")
		}
		if a.id != "" && !strings.EqualFold(a.id, id) {
			return nil, fault(9002313, "two different client ids are given")
		}
		if secretGiven || a.assertion != "" {
			return nil, fault(9002313, "the client authenticates in more than one way")
		}
		a.id, a.secret, a.basic, secretGiven = id, secret, true, true
	}
	kind := c.form.Get("client_assertion_type")
	switch {
	case a.id == "":
		return nil, fault(900144, "client_id")
	case secretGiven && a.assertion != "":
		return nil, fault(9002313, "the client authenticates in more than one way")
	case secretGiven && a.secret == "":
		// An empty secret is no secret, and never one that matches.
		return nil, fault(7000218)
	case a.assertion != "" && kind == "":
		return nil, fault(900144, "client_assertion_type")
	case a.assertion != "" && kind != assertionType:
		return nil, fault(9002313, "the client_assertion_type is not supported")
	case a.assertion == "" && kind != "":
		return nil, fault(900144, "client_assertion")
	}
	return a, nil
}

// authenticate finds the client and checks its proof. public says whether a
// client may come without one in this grant at all.
func (p *Provider) authenticate(c *call, tenant *directory.Tenant, a *presented, public bool) (*client, error) {
	cl, err := p.findClient(c, tenant, a.id)
	if err != nil {
		return nil, err
	}
	if a.secret == "" && a.assertion == "" {
		if public && cl.isPublic() {
			return cl, nil
		}
		return nil, fault(7000218)
	}
	if wait := p.limits.clientBlocked(string(cl.id), c.addr); wait > 0 {
		return nil, throttled(wait)
	}
	if a.secret != "" {
		err = cl.checkSecret(a.secret, c.now)
	} else {
		err = p.checkAssertion(c, tenant, cl, a.assertion)
	}
	if err != nil {
		if e := aadsts.From(err); e.Status == 401 {
			p.limits.clientFailed(string(cl.id), c.addr)
		}
		return nil, err
	}
	return cl, nil
}

func (cl *client) checkSecret(secret string, now time.Time) error {
	if cl.isPublic() && !cl.hasCredentials() {
		return fault(700025)
	}
	expired := false
	for _, set := range cl.credentials() {
		if pw := set.MatchPassword(secret); pw != nil {
			if !now.Before(pw.Start) && now.Before(pw.End) {
				cl.auth, cl.credential = token.ClientSecret, pw.KeyID
				return nil
			}
			expired = true
		}
	}
	if expired {
		return fault(7000222, string(cl.id))
	}
	return fault(7000215, string(cl.id))
}

func (cl *client) hasCredentials() bool {
	for _, set := range cl.credentials() {
		if len(set.Passwords)+len(set.Keys)+len(set.Federated) > 0 {
			return true
		}
	}
	return false
}

// checkAssertion checks a client assertion: the client's own, signed with its
// certificate's key, or a token of another issuer that the client trusts.
func (p *Provider) checkAssertion(c *call, tenant *directory.Tenant, cl *client, assertion string) error {
	issuer, subject, err := token.AssertionIssuer(assertion)
	if err != nil {
		return fault(50027, "it cannot be read").WithCause(err)
	}
	if cl.isPublic() && !cl.hasCredentials() {
		return fault(700025)
	}
	// The issuer decides which of the two it is: an application's id names no
	// foreign issuer, whose names are URLs.
	if strings.Contains(issuer, "://") {
		return p.checkFederated(c, cl, assertion, issuer, subject)
	}
	if !strings.EqualFold(issuer, string(cl.id)) || !strings.EqualFold(subject, string(cl.id)) {
		return fault(700021)
	}
	return p.checkCertificate(c, tenant, cl, assertion, issuer, subject)
}

func (p *Provider) checkCertificate(c *call, tenant *directory.Tenant, cl *client, assertion, issuer, subject string) error {
	var certs []*x509.Certificate
	var ids []string
	for _, set := range cl.credentials() {
		for i := range set.Keys {
			k := &set.Keys[i]
			if k.Usage != "Verify" || c.now.Before(k.Start) || !k.End.IsZero() && !c.now.Before(k.End) {
				continue
			}
			if cert, err := k.Certificate(); err == nil {
				certs, ids = append(certs, cert), append(ids, k.KeyID)
			}
		}
	}
	find := token.CertificateKeys(certs)
	var seen token.AssertionHeader
	a, err := token.VerifyAssertion(assertion, token.AssertionPolicy{
		Issuer: issuer, Subject: subject, Audiences: p.assertionAudiences(c, tenant),
		MaxLifetime: 24*time.Hour + token.Leeway,
		Find: func(h token.AssertionHeader) []token.PublicKey {
			h.X5T, h.X5TS256 = base64URL(h.X5T), base64URL(h.X5TS256)
			seen = h
			if keys := find(h); len(keys) > 0 || len(h.X5C) == 0 {
				return keys
			}
			return chainKeys(h.X5C, certs, c.now)
		},
	}, c.now)
	if err != nil {
		return p.assertionFault(c, cl, err, assertion, seen, certs)
	}
	cl.auth = token.ClientAssertion
	for i := range certs {
		if len(token.CertificateKeys(certs[i:i+1])(seen)) > 0 {
			cl.credential = ids[i]
		}
	}
	id := a.ID
	if id == "" {
		id = hex.EncodeToString(a.Hash[:])
	}
	life := time.Unix(a.Expires, 0).Sub(c.now) + 2*token.Leeway
	cl.used = &usedAssertion{Key: string(cl.id) + "/" + hash(id), Life: life}
	return nil
}

// base64URL returns a thumbprint in the spelling of RFC 7515. Microsoft's
// libraries for Go and others write it in standard base64, and Entra takes both.
func base64URL(s string) string {
	return strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(s, "="))
}

// chainKeys implements the subject name and issuer form of certificates (x5c):
// a registered certificate of an authority vouches for a newer leaf that has
// the same subject as another registered certificate. Without that a renewed
// certificate would have to be registered anew.
func chainKeys(x5c []string, registered []*x509.Certificate, now time.Time) []token.PublicKey {
	var chain []*x509.Certificate
	for _, s := range x5c {
		der, err := base64.StdEncoding.Strict().DecodeString(s)
		if err != nil {
			return nil
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil
		}
		chain = append(chain, cert)
	}
	leaf := chain[0]
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	named := false
	for _, r := range registered {
		if r.IsCA {
			roots.AddCert(r)
		} else if r.Subject.String() == leaf.Subject.String() && r.Issuer.String() == leaf.Issuer.String() && leaf.Subject.String() != "" {
			named = true
		}
	}
	if !named {
		return nil
	}
	for _, m := range chain[1:] {
		middle.AddCert(m)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}); err != nil {
		return nil
	}
	return token.CertificateKeys([]*x509.Certificate{leaf})(token.AssertionHeader{Kid: hexThumb(leaf)})
}

func hexThumb(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// assertionAudiences are the names under which a client may mean us: the token
// endpoints and the issuers, under the public address and under the host that
// the client used, which may be one of the public cloud's.
func (p *Provider) assertionAudiences(c *call, tenant *directory.Tenant) []string {
	var list []string
	hosts := []string{p.base}
	for _, n := range publicNetworks[:1] {
		for _, a := range n.Aliases {
			hosts = append(hosts, "https://"+a)
		}
	}
	segments := []string{c.authority}
	if tenant != nil {
		segments = append(segments, string(tenant.ID))
		for _, d := range tenant.Domains {
			segments = append(segments, d.Name)
		}
		list = append(list, p.cfg.Names.Name(token.V1, tenant.ID), p.cfg.Names.Name(token.V2, tenant.ID))
	}
	for _, h := range hosts {
		for _, s := range segments {
			list = append(list, h+"/"+s+"/oauth2/token", h+"/"+s+"/oauth2/v2.0/token", h+"/"+s+"/v2.0", h+"/"+s+"/", h+"/"+s)
		}
	}
	return list
}

// assertionFault chooses the code of a refused certificate assertion.
func (p *Provider) assertionFault(c *call, cl *client, err error, assertion string, h token.AssertionHeader, certs []*x509.Certificate) error {
	switch token.ClassOf(err) {
	case token.ClassAudience:
		return fault(700023).WithCause(err)
	case token.ClassExpired, token.ClassNotYet, token.ClassLifetime:
		return fault(700024, c.now.UTC().Format(aadsts.TimeFormat), expiryOf(assertion)).WithCause(err)
	case token.ClassKeyTime:
		return fault(1000502, h.X5T+h.X5TS256).WithCause(err)
	case token.ClassKey:
		if len(h.X5C) > 0 && len(certs) > 0 {
			return fault(700030, subjectOf(h.X5C)).WithCause(err)
		}
		return fault(700027, "The key was not found").WithCause(err)
	case token.ClassSignature:
		return fault(700027, "The signature is wrong").WithCause(err)
	case token.ClassSubject, token.ClassIssuer:
		return fault(700021).WithCause(err)
	case token.ClassAlgorithm, token.ClassHeader, token.ClassKind, token.ClassClaims:
		return fault(50012, "the client assertion is not of an acceptable form").WithCause(err)
	}
	return fault(50027, "it cannot be read").WithCause(err)
}

func subjectOf(x5c []string) string {
	der, err := base64.StdEncoding.DecodeString(x5c[0])
	if err != nil {
		return ""
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return ""
	}
	return cert.Subject.String()
}

// spend remembers that a client's assertion was used to get something: the
// second request for the same thing with it is a replay. Some clients keep an
// assertion for a few minutes and use it for each resource in turn, so what it
// was used for is part of it.
func (p *Provider) spend(ctx context.Context, cl *client, forWhat string) error {
	if cl.used == nil {
		return nil
	}
	u := *cl.used
	u.Key += "/" + hash(forWhat)
	err := p.store.Update(ctx, func(tx *store.Tx) error { return usedAssertions.Create(tx, &u) })
	if errs.Is(err, errs.Exists) {
		return fault(50012, "the client assertion was used before (jti)")
	}
	return err
}
