package oauth

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
)

// deviceCode starts a sign-in on another device.
func (p *Provider) deviceCode(c *call) error {
	if c.Authority == wire.Consumers {
		return fault(9001023)
	}
	id, err := c.Need("client_id")
	if err != nil {
		return err
	}
	w, err := p.needScope(c, 28000)
	if err != nil {
		return err
	}
	if c.V1 && w.Name == "" {
		return fault(900144, "resource")
	}
	cl, err := p.clients.Find(c.Call, c.Tenant, id)
	if err != nil {
		return err
	}
	if !cl.Public() {
		return fault(7000218)
	}
	if _, err := grant.ReadClaims(c.Form.Get("claims")); err != nil {
		return err
	}
	if c.Tenant != nil {
		t, err := p.cfg.Aliases.Resource(c.Call, c.Tenant, w)
		if err != nil {
			return err
		}
		for _, v := range w.Values {
			if scope.Find(t, v) == nil {
				return fault(650053, cl.Name, v, string(t.AppID))
			}
		}
	}
	if wait := p.limits.Codes(c.Addr); wait > 0 {
		return aadsts.Throttled(wait)
	}
	d := &ticket.Device{
		Client: cl.ID, Authority: c.Authority,
		Scope: c.Form.Get("scope"), Resource: c.Form.Get("resource"), Claims: c.Form.Get("claims"),
		From: c.Addr.String(),
	}
	if c.Tenant != nil {
		d.Tenant = c.Tenant.ID
	}
	secret, err := p.tickets.NewDevice(c.R.Context(), d)
	if err != nil {
		return err
	}
	page := p.base + "/devicelogin"
	answer := map[string]any{
		"user_code": d.UserCode, "device_code": secret,
		"message": fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, d.UserCode),
	}
	life, every := int(ticket.DeviceLife/time.Second), int(ticket.PollEvery/time.Second)
	if c.V1 {
		answer["verification_url"] = page
		answer["expires_in"], answer["interval"] = strconv.Itoa(life), strconv.Itoa(every)
	} else {
		answer["verification_uri"] = page
		answer["expires_in"], answer["interval"] = life, every
	}
	c.Write(p.log, 200, answer)
	return nil
}

// redeemDevice answers a device that polls.
func (p *Provider) redeemDevice(c *call) error {
	g := c.attempt(grantDevice, conditionalaccess.StepDeviceCode)
	if c.Authority == wire.Consumers {
		return fault(9001023)
	}
	a, err := clientauth.Read(c.Call)
	if err != nil {
		return err
	}
	// v1 calls it code; some clients send both, with one value.
	secret := c.Form.Get("device_code")
	if secret == "" {
		secret = c.Form.Get("code")
	}
	if secret == "" {
		return fault(900144, "device_code")
	}
	if g.Client, err = p.clients.Authenticate(c.Call, c.Tenant, a, true); err != nil {
		return err
	}
	key := ticket.Hash(secret)
	d, err := p.tickets.Device(c.R.Context(), key)
	if errs.Is(err, errs.NotFound) {
		return fault(70018).Called("bad_verification_code")
	}
	if err != nil {
		return err
	}
	if d.Client != g.Client.ID {
		return fault(70000, "the device code was issued to another client")
	}
	switch {
	case d.Denied:
		return fault(65004).Called("authorization_declined")
	case !c.Now.Before(d.Expires):
		e := fault(70020)
		if c.V1 {
			e = e.Called("code_expired")
		}
		return e
	case d.SignedIn == nil:
		if p.limits.Polled(key, ticket.PollEvery) {
			return fault(70016).Called("slow_down")
		}
		return fault(70016)
	}
	// Taken before anything is issued: of many polls at once, one is answered.
	if d, err = p.tickets.TakeDevice(c.R.Context(), key); errs.Is(err, errs.NotFound) {
		return fault(70018)
	} else if err != nil {
		return err
	}
	if d.SignedIn == nil || d.Denied {
		return fault(70018)
	}
	if err := p.setUser(c, g, *d.SignedIn); err != nil {
		return err
	}
	resource, asked := d.Resource, d.Scope
	if c.V1 && resource == "" {
		resource = c.Form.Get("resource")
	}
	w, err := scope.AskFor(c.Call, resource, asked, 28000)
	if err != nil {
		return err
	}
	if g.Claims, err = grant.ReadClaims(d.Claims); err != nil {
		return err
	}
	if g.Cnf, err = grant.ReadConfirmation(c.Call); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	return p.respond(c, g, "", &ticket.Refresh{Client: g.Client.ID, Who: g.Who, Issued: c.Now, Resource: d.Resource, Scope: d.Scope})
}

const devicePurpose = "device sign-in"

// deviceState is what the browser carries while a device's sign-in is
// confirmed.
type deviceState struct {
	Device  string    `json:"d"` // hash
	Started time.Time `json:"s"`
	// Confirmed names the browser and the account that have said that the
	// sign-in is theirs: in another browser the same address asks again.
	// Denied is set if they said that it is not.
	Confirmed string `json:"c,omitempty"`
	Denied    bool   `json:"x,omitempty"`
}

// StartDevice finds the sign-in that waits under a user code and returns the
// path where it is confirmed. Guessing is throttled by address. NotFound for a
// code that does not exist or has expired, Throttled.
func (p *Provider) StartDevice(ctx context.Context, from netip.Addr, typed string) (path string, err error) {
	if wait := p.limits.Guesses(from); wait > 0 {
		return "", errs.New(errs.Throttled, "Too many wrong codes were typed. Wait a minute, then try again.")
	}
	unknown := errs.New(errs.NotFound, "That code did not work. Check it and type it again; codes end after 15 minutes.")
	typed, ok := ticket.NormalizeUserCode(typed)
	if !ok {
		p.limits.Guessed(from)
		return "", unknown
	}
	d, err := p.tickets.FindDevice(ctx, typed)
	if errs.Is(err, errs.NotFound) {
		p.limits.Guessed(from)
		return "", unknown
	}
	if err != nil {
		return "", err
	}
	return p.deviceBack(d, deviceState{Device: d.Hash, Started: p.clock.Now()})
}

func (p *Provider) deviceBack(d *ticket.Device, s deviceState) (string, error) {
	sealed, err := p.cfg.Sealer.Seal(devicePurpose, s)
	if err != nil {
		return "", err
	}
	return "/" + d.Authority + "/oauth2/deviceauth?" + url.Values{"dctx": {sealed}}.Encode(), nil
}

// deviceAuth takes a person through the confirmation of a device's sign-in:
// who they are, what it is that waits, and what policy and consent want. It is
// the device flow's authorize endpoint.
func (p *Provider) deviceAuth(c *call) error {
	g := c.attempt(grantDevice, conditionalaccess.StepDeviceSignIn)
	var s deviceState
	if p.cfg.Sealer.Open(devicePurpose, c.Form.Get("dctx"), &s) != nil || c.Now.Sub(s.Started) > maxInteraction {
		return fault(70018)
	}
	d, err := p.tickets.Device(c.R.Context(), s.Device)
	if errs.Is(err, errs.NotFound) {
		return fault(70018)
	}
	if err != nil {
		return err
	}
	if d.Denied || d.SignedIn != nil {
		return fault(70018)
	}
	if !c.Now.Before(d.Expires) {
		return fault(70019)
	}
	if g.Client, err = p.clients.Find(c.Call, c.Tenant, string(d.Client)); err != nil {
		return err
	}
	if s.Denied {
		if err := p.tickets.AnswerDevice(c.R.Context(), d, nil); err != nil {
			return err
		}
		p.audit(c, g, fault(65004))
		p.cfg.SignIn.Done(c.W, c.R, g.Client.Name, false)
		return nil
	}
	c.V1 = d.Scope == "" && d.Resource != ""
	w, err := scope.AskFor(c.Call, d.Resource, d.Scope, 28000)
	if err != nil {
		return err
	}
	if g.Claims, err = grant.ReadClaims(d.Claims); err != nil {
		return err
	}
	back, err := p.deviceBack(d, s)
	if err != nil {
		return err
	}
	denied := s
	denied.Denied = true
	cancel, err := p.deviceBack(d, denied)
	if err != nil {
		return err
	}
	at := &interaction{back: back, cancel: cancel, want: w}
	// The flow goes with the sign-in: a policy against device codes sees it.
	at.flow = conditionalaccess.DeviceCodeFlow
	if done, err := p.interact(c, g, at); done || err != nil {
		return err
	}
	if by := ticket.Hash(at.session + " " + string(g.User.ID)); s.Confirmed != by {
		confirmed := s
		confirmed.Confirmed = by
		yes, err := p.deviceBack(d, confirmed)
		if err != nil {
			return err
		}
		p.cfg.SignIn.Ask(c.W, c.R, &state.Ask{
			Kind: state.AskDevice, Return: yes, Cancel: cancel, Tenant: g.Tenant.ID, User: g.User.ID,
			Client: g.Client.ID, ClientName: g.Client.Name, Verified: g.Client.FirstParty || g.Client.App != nil && g.Client.App.Tenant == g.Tenant.ID,
			UserCode: d.UserCode, From: d.From, Started: d.Started,
		})
		return nil
	}
	g.Who.Grant = ticket.Random(16)
	if err := p.tickets.AnswerDevice(c.R.Context(), d, &g.Who); err != nil {
		return err
	}
	p.audit(c, g, nil)
	p.cfg.SignIn.Done(c.W, c.R, g.Client.Name, true)
	return nil
}
