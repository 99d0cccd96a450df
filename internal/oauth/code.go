package oauth

import (
	"errors"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
)

// redeemCode redeems an authorization code. Whatever is wrong with the request
// once the code has been found, the code is burned.
func (p *Provider) redeemCode(c *call) error {
	g := c.attempt(grantCode, conditionalaccess.StepAuthorizationCode)
	a, err := clientauth.Read(c.Call)
	if err != nil {
		return err
	}
	text, err := c.Need("code")
	if err != nil {
		return err
	}
	// The client first: a stranger without its secret must not be able to burn
	// its codes. Who is public proves nothing, and may.
	peeked, err := p.tickets.PeekCode(c.R.Context(), text)
	if err != nil {
		return err
	}
	open := peeked != nil && (peeked.SPA || peeked.Native)
	if open && a.Secret == "" && a.Assertion == "" {
		g.Client, err = p.clients.Find(c.Call, c.Tenant, a.ID)
	} else {
		g.Client, err = p.clients.Authenticate(c.Call, c.Tenant, a, true)
	}
	if err != nil {
		return err
	}
	k, err := p.tickets.TakeCode(c.R.Context(), text)
	if err != nil {
		if k != nil {
			p.log.Warn("authorization code replayed: its grant is revoked", "client", k.Client, "tenant", k.SignedIn.Tenant)
		}
		return err
	}
	redirect := c.Form.Get("redirect_uri")
	switch {
	case k.Client != g.Client.ID:
		return fault(70000, "the authorization code was issued to another client")
	case redirect == "" && k.RedirectGiven:
		return fault(90014, "redirect_uri")
	case redirect != "" && redirect != k.Redirect:
		return fault(500112, redirect, k.Redirect)
	}
	if err := p.checkOrigin(c, k.SPA); err != nil {
		return err
	}
	if err := k.CheckVerifier(c.Form.Get("code_verifier")); err != nil {
		return err
	}
	if err := p.setUser(c, g, k.SignedIn); err != nil {
		return err
	}
	if k.Native || k.SPA {
		g.AppType = conditionalaccess.MobileAndDesktop
		if k.SPA {
			g.AppType = conditionalaccess.Browser
		}
	} else {
		g.AppType = conditionalaccess.Browser
	}
	resource, asked := k.Resource, k.Scope
	if r := c.Form.Get("resource"); r != "" {
		resource = r
	}
	if s, given := c.Form["scope"]; given && !c.V1 {
		if asked = s[0]; asked == "" {
			return fault(28003)
		}
	}
	w, err := scope.AskFor(c.Call, resource, asked, 28000)
	if e, ok := errors.AsType[*aadsts.Error](err); ok && e.Code == 70011 {
		return fault(28002, asked)
	}
	if err != nil {
		return err
	}
	first, err := scope.AskFor(c.Call, k.Resource, k.Scope, 28000)
	if err != nil {
		return err
	}
	// openid and offline_access are what the person saw at the authorization
	// endpoint; redemption may not widen them.
	w.OpenID, w.Offline = first.OpenID, first.Offline
	claims := k.Claims
	if given := c.Form.Get("claims"); given != "" {
		claims = given
	}
	if g.Claims, err = grant.ReadClaims(claims); err != nil {
		return err
	}
	if g.Cnf, err = grant.ReadConfirmation(c.Call); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	if err := p.clients.Spend(c.R.Context(), g.Client, k.Hash); err != nil {
		return err
	}
	t := &ticket.Refresh{Client: g.Client.ID, Who: g.Who, Issued: c.Now, Resource: k.Resource, Scope: k.Scope}
	if k.SPA {
		t.SPA = c.Now.Add(ticket.SPALife)
	}
	return p.respond(c, g, k.Nonce, t)
}
