package oauth

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/store"
)

// errReplay aborts a redemption of a code that was redeemed before.
var errReplay = errors.New("oauth: the code was redeemed before")

// takeCode marks a code as redeemed, in one transaction: of many callers one
// gets it. For the others it ends what the first one got, since one of them has
// stolen it.
func (p *Provider) takeCode(c *call, text string) (*code, error) {
	key := hash(text)
	var got code
	err := p.store.Update(c.r.Context(), func(tx *store.Tx) error {
		return codes.Modify(tx, key, func(k *code) error {
			got = *k
			if k.Redeemed {
				return errReplay
			}
			k.Redeemed = true
			return nil
		})
	})
	switch {
	case errors.Is(err, errReplay):
		if err := p.revoke(c.r.Context(), got.SignedIn.Grant); err != nil {
			return nil, err
		}
		p.log.Warn("authorization code replayed: its grant is revoked", "client", got.Client, "tenant", got.SignedIn.Tenant)
		return nil, fault(54005)
	case errs.Is(err, errs.NotFound):
		return nil, fault(70000, "the authorization code is not valid")
	case err != nil:
		return nil, err
	case !c.now.Before(got.Expires):
		return nil, fault(70008)
	}
	return &got, nil
}

// redeemCode redeems an authorization code. Whatever is wrong with the request
// once the code has been found, the code is burned.
func (p *Provider) redeemCode(c *call) error {
	g := c.attempt(grantCode, conditionalaccess.StepAuthorizationCode)
	a, err := c.presented()
	if err != nil {
		return err
	}
	text, err := c.need("code")
	if err != nil {
		return err
	}
	// The client first: a stranger without its secret must not be able to burn
	// its codes. Who is public proves nothing, and may.
	peeked, err := codes.GetFresh(c.r.Context(), p.store, hash(text))
	if err != nil && !errs.Is(err, errs.NotFound) {
		return err
	}
	open := peeked != nil && (peeked.SPA || peeked.Native)
	if open && a.secret == "" && a.assertion == "" {
		g.cl, err = p.findClient(c, c.tenant, a.id)
	} else {
		g.cl, err = p.authenticate(c, c.tenant, a, true)
	}
	if err != nil {
		return err
	}
	k, err := p.takeCode(c, text)
	if err != nil {
		return err
	}
	redirect := c.form.Get("redirect_uri")
	switch {
	case k.Client != g.cl.id:
		return fault(70000, "the authorization code was issued to another client")
	case redirect == "" && k.RedirectGiven:
		return fault(90014, "redirect_uri")
	case redirect != "" && redirect != k.Redirect:
		return fault(500112, redirect, k.Redirect)
	}
	if err := p.checkOrigin(c, k.SPA); err != nil {
		return err
	}
	if err := checkVerifier(k, c.form.Get("code_verifier")); err != nil {
		return err
	}
	if err := p.setUser(c, g, k.SignedIn); err != nil {
		return err
	}
	if k.Native || k.SPA {
		g.appType = conditionalaccess.MobileAndDesktop
		if k.SPA {
			g.appType = conditionalaccess.Browser
		}
	} else {
		g.appType = conditionalaccess.Browser
	}
	resource, scope := k.Resource, k.Scope
	if r := c.form.Get("resource"); r != "" {
		resource = r
	}
	if s, given := c.form["scope"]; given && !c.v1 {
		if scope = s[0]; scope == "" {
			return fault(28003)
		}
	}
	w, err := c.askFor(resource, scope, 28000)
	if e, ok := errors.AsType[*aadsts.Error](err); ok && e.Code == 70011 {
		return fault(28002, scope)
	}
	if err != nil {
		return err
	}
	first, err := c.askFor(k.Resource, k.Scope, 28000)
	if err != nil {
		return err
	}
	// openid and offline_access are what the person saw at the authorization
	// endpoint; redemption may not widen them.
	w.openid, w.offline = first.openid, first.offline
	claims := k.Claims
	if given := c.form.Get("claims"); given != "" {
		claims = given
	}
	if g.claims, err = c.readClaims(claims); err != nil {
		return err
	}
	if g.cnf, err = c.confirmation(); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	if err := p.spend(c.r.Context(), g.cl, k.Hash); err != nil {
		return err
	}
	t := &refreshTicket{Client: g.cl.id, Who: g.who, Issued: c.now, Resource: k.Resource, Scope: k.Scope}
	if k.SPA {
		t.SPA = c.now.Add(spaLife)
	}
	return p.respond(c, g, k.Nonce, t)
}

// checkVerifier checks proof of possession of the code's challenge (RFC 7636).
// A verifier where no challenge was given is refused too: somebody took the
// challenge out of the authorization request (RFC 9700, section 2.1.1).
func checkVerifier(k *code, verifier string) error {
	switch {
	case k.Challenge == "" && verifier == "":
		if k.SPA {
			return fault(9002325)
		}
		return nil
	case k.Challenge == "":
		return fault(501481)
	case verifier == "":
		return fault(900144, "code_verifier")
	case !validVerifier(verifier):
		return fault(501481)
	}
	got := verifier
	if k.Method != "plain" {
		sum := sha256.Sum256([]byte(verifier))
		got = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(k.Challenge)) != 1 {
		return fault(501481)
	}
	return nil
}

// validVerifier reports whether s has the form of a verifier or a challenge.
func validVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_', r == '~':
		default:
			return false
		}
	}
	return true
}

// newCode stores an authorization code and returns its text.
func (p *Provider) newCode(c *call, k *code) (string, error) {
	text := "1." + random(48)
	k.Hash, k.Expires = hash(text), c.now.Add(codeLife)
	err := p.store.Update(c.r.Context(), func(tx *store.Tx) error { return codes.Create(tx, k) })
	return text, err
}
