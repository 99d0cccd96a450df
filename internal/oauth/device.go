package oauth

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// userAlphabet has no vowels, so that codes spell nothing, and no characters
// that look alike: 9 of them are 2^40 codes, of which few are alive at a time
// and each address may type ten wrong ones a minute.
const userAlphabet = "BCDFGHJKLMNPQRSTVWXZ23456789"

const userCodeLength = 9

func newUserCode() string {
	var b [userCodeLength]byte
	for i := range b {
		for {
			var x [1]byte
			rand.Read(x[:])
			// 28 * 9 = 252: what is above would make some letters likelier.
			if x[0] < 252 {
				b[i] = userAlphabet[x[0]%28]
				break
			}
		}
	}
	return string(b[:])
}

// NormalizeUserCode returns a typed user code as it is kept, and whether it can
// be one at all.
func NormalizeUserCode(s string) (string, bool) {
	var b strings.Builder
	for _, r := range strings.ToUpper(s) {
		switch {
		case r == ' ' || r == '-':
		case r < 0x80 && strings.ContainsRune(userAlphabet, r):
			b.WriteRune(r)
		default:
			return "", false
		}
	}
	return b.String(), b.Len() == userCodeLength
}

// deviceCode starts a sign-in on another device.
func (p *Provider) deviceCode(c *call) error {
	if c.authority == consumers {
		return fault(9001023)
	}
	id, err := c.need("client_id")
	if err != nil {
		return err
	}
	w, err := p.needScope(c, 28000)
	if err != nil {
		return err
	}
	if c.v1 && w.name == "" {
		return fault(900144, "resource")
	}
	cl, err := p.findClient(c, c.tenant, id)
	if err != nil {
		return err
	}
	if !cl.isPublic() {
		return fault(7000218)
	}
	if _, err := c.readClaims(c.form.Get("claims")); err != nil {
		return err
	}
	if c.tenant != nil {
		t, err := p.resource(c, c.tenant, w)
		if err != nil {
			return err
		}
		for _, v := range w.values {
			if findScope(t, v) == nil {
				return fault(650053, cl.name, v, string(t.AppID))
			}
		}
	}
	if wait := p.limits.codes(c.addr); wait > 0 {
		return throttled(wait)
	}
	secret := "1." + random(64)
	d := &device{
		Hash: hash(secret), Client: cl.id, Authority: c.authority,
		Scope: c.form.Get("scope"), Resource: c.form.Get("resource"), Claims: c.form.Get("claims"),
		From: c.addr.String(), Started: c.now, Expires: c.now.Add(deviceLife),
	}
	if c.tenant != nil {
		d.Tenant = c.tenant.ID
	}
	for range 3 {
		d.UserCode = newUserCode()
		err = p.store.Update(c.r.Context(), func(tx *store.Tx) error {
			if err := userCodes.Create(tx, &userCode{d.UserCode, d.Hash}); err != nil {
				return err
			}
			return devices.Create(tx, d)
		})
		if !errs.Is(err, errs.Exists) {
			break
		}
	}
	if err != nil {
		return err
	}
	page := p.base + "/devicelogin"
	answer := map[string]any{
		"user_code": d.UserCode, "device_code": secret,
		"message": fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.", page, d.UserCode),
	}
	life, every := int(deviceLife/time.Second), int(pollEvery/time.Second)
	if c.v1 {
		answer["verification_url"] = page
		answer["expires_in"], answer["interval"] = strconv.Itoa(life), strconv.Itoa(every)
	} else {
		answer["verification_uri"] = page
		answer["expires_in"], answer["interval"] = life, every
	}
	p.write(c, 200, answer)
	return nil
}

// redeemDevice answers a device that polls.
func (p *Provider) redeemDevice(c *call) error {
	g := c.attempt(grantDevice, conditionalaccess.StepDeviceCode)
	if c.authority == consumers {
		return fault(9001023)
	}
	a, err := c.presented()
	if err != nil {
		return err
	}
	// v1 calls it code; some clients send both, with one value.
	secret := c.form.Get("device_code")
	if secret == "" {
		secret = c.form.Get("code")
	}
	if secret == "" {
		return fault(900144, "device_code")
	}
	if g.cl, err = p.authenticate(c, c.tenant, a, true); err != nil {
		return err
	}
	key := hash(secret)
	d, err := devices.GetFresh(c.r.Context(), p.store, key)
	if errs.Is(err, errs.NotFound) {
		return fault(70018).Called("bad_verification_code")
	}
	if err != nil {
		return err
	}
	if d.Client != g.cl.id {
		return fault(70000, "the device code was issued to another client")
	}
	switch {
	case d.Denied:
		return fault(65004).Called("authorization_declined")
	case !c.now.Before(d.Expires):
		e := fault(70020)
		if c.v1 {
			e = e.Called("code_expired")
		}
		return e
	case d.SignedIn == nil:
		if p.limits.polled(key) {
			return fault(70016).Called("slow_down")
		}
		return fault(70016)
	}
	// Taken before anything is issued: of many polls at once, one is answered.
	if d, err = devices.Take(c.r.Context(), p.store, key); errs.Is(err, errs.NotFound) {
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
	resource, scope := d.Resource, d.Scope
	if c.v1 && resource == "" {
		resource = c.form.Get("resource")
	}
	w, err := c.askFor(resource, scope, 28000)
	if err != nil {
		return err
	}
	if g.claims, err = c.readClaims(d.Claims); err != nil {
		return err
	}
	if g.cnf, err = c.confirmation(); err != nil {
		return err
	}
	if err := p.setTarget(c, g, w); err != nil {
		return err
	}
	return p.respond(c, g, "", &refreshTicket{Client: g.cl.id, Who: g.who, Issued: c.now, Resource: d.Resource, Scope: d.Scope})
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
	if wait := p.limits.guesses(from); wait > 0 {
		return "", errs.New(errs.Throttled, "Too many wrong codes were typed. Wait a minute, then try again.")
	}
	unknown := errs.New(errs.NotFound, "That code did not work. Check it and type it again; codes end after 15 minutes.")
	typed, ok := NormalizeUserCode(typed)
	if !ok {
		p.limits.guessed(from)
		return "", unknown
	}
	u, err := userCodes.GetFresh(ctx, p.store, typed)
	if errs.Is(err, errs.NotFound) {
		p.limits.guessed(from)
		return "", unknown
	}
	if err != nil {
		return "", err
	}
	d, err := devices.GetFresh(ctx, p.store, u.Device)
	if errs.Is(err, errs.NotFound) || err == nil && (d.Denied || d.SignedIn != nil || !p.clock.Now().Before(d.Expires)) {
		p.limits.guessed(from)
		return "", unknown
	}
	if err != nil {
		return "", err
	}
	return p.deviceBack(d, deviceState{Device: d.Hash, Started: p.clock.Now()})
}

func (p *Provider) deviceBack(d *device, s deviceState) (string, error) {
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
	if p.cfg.Sealer.Open(devicePurpose, c.form.Get("dctx"), &s) != nil || c.now.Sub(s.Started) > maxInteraction {
		return fault(70018)
	}
	d, err := devices.GetFresh(c.r.Context(), p.store, s.Device)
	if errs.Is(err, errs.NotFound) {
		return fault(70018)
	}
	if err != nil {
		return err
	}
	if d.Denied || d.SignedIn != nil {
		return fault(70018)
	}
	if !c.now.Before(d.Expires) {
		return fault(70019)
	}
	if g.cl, err = p.findClient(c, c.tenant, string(d.Client)); err != nil {
		return err
	}
	if s.Denied {
		if err := p.answerDevice(c, d, nil); err != nil {
			return err
		}
		p.audit(c, g, fault(65004))
		p.cfg.SignIn.Done(c.w, c.r, g.cl.name, false)
		return nil
	}
	c.v1 = d.Scope == "" && d.Resource != ""
	w, err := c.askFor(d.Resource, d.Scope, 28000)
	if err != nil {
		return err
	}
	if g.claims, err = c.readClaims(d.Claims); err != nil {
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
	if by := hash(at.session + " " + string(g.user.ID)); s.Confirmed != by {
		confirmed := s
		confirmed.Confirmed = by
		yes, err := p.deviceBack(d, confirmed)
		if err != nil {
			return err
		}
		p.cfg.SignIn.Ask(c.w, c.r, &state.Ask{
			Kind: state.AskDevice, Return: yes, Cancel: cancel, Tenant: g.tenant.ID, User: g.user.ID,
			Client: g.cl.id, ClientName: g.cl.name, Verified: g.cl.firstParty || g.cl.app != nil && g.cl.app.Tenant == g.tenant.ID,
			UserCode: d.UserCode, From: d.From, Started: d.Started,
		})
		return nil
	}
	g.who.Grant = random(16)
	if err := p.answerDevice(c, d, &g.who); err != nil {
		return err
	}
	p.audit(c, g, nil)
	p.cfg.SignIn.Done(c.w, c.r, g.cl.name, true)
	return nil
}

// answerDevice writes a person's answer, once: who approves twice, or after a
// denial, is told that the code is gone.
func (p *Provider) answerDevice(c *call, d *device, who *signedIn) error {
	err := p.store.Update(c.r.Context(), func(tx *store.Tx) error {
		err := devices.Modify(tx, d.Hash, func(d *device) error {
			if d.Denied || d.SignedIn != nil {
				return errs.New(errs.NotFound, "answered already")
			}
			d.SignedIn, d.Denied = who, who == nil
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := userCodes.Get(tx, d.UserCode); errs.Is(err, errs.NotFound) {
			return nil
		} else if err != nil {
			return err
		}
		return userCodes.Delete(tx, d.UserCode)
	})
	if errs.Is(err, errs.NotFound) {
		return fault(70018)
	}
	return err
}
