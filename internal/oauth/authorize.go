package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/redirect"
	"github.com/entrance-id/entrance/internal/oauth/scope"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// authorization is a request to the authorization endpoint whose client and
// redirect URI are valid: from here on errors go to the client.
type authorization struct {
	cl       *clientauth.Client
	redirect redirect.Redirect
	given    bool // whether the request named the redirect URI

	state, nonce      string
	mode              string
	code, id, access  bool
	challenge, method string
	prompt            []string
	maxAge            time.Duration // of the sign-in; negative when any is good
	hinted            string        // who the id_token_hint is about
	want              *scope.Wanted
	claims            conditionalaccess.ClaimsRequest
	back              backState
}

const backPurpose = "authorization request"

// backState is what an authorization request remembers while the person is on
// the sign-in pages. It is bound to the request's parameters.
type backState struct {
	Request   string    `json:"r"` // hash of the parameters
	Started   time.Time `json:"s"`
	Consented bool      `json:"c,omitempty"`
	Denied    bool      `json:"x,omitempty"`
	// Refused is what the person has been shown and the client is told now.
	Refused *refused `json:"e,omitempty"`
}

// refused is a refusal that a page has shown.
type refused struct {
	Code   aadsts.Code `json:"c"`
	OAuth  string      `json:"o"`
	Text   string      `json:"t"`
	Claims string      `json:"q,omitempty"`
}

func (r *refused) err() error {
	return &aadsts.Error{Code: r.Code, OAuth: r.OAuth, Text: r.Text, Claims: r.Claims}
}

// maxInteraction is how long a person may take.
const maxInteraction = time.Hour

// authorize serves the authorization endpoint.
func (p *Provider) authorize(c *call) error {
	if c.Authority == wire.ADFS {
		c.V1 = false
	}
	a, err := p.readClient(c)
	if err != nil {
		return err
	}
	g := c.attempt("authorize", conditionalaccess.StepAuthorize)
	g.Client = a.cl
	g.AppType = conditionalaccess.Browser
	if a.redirect.Native {
		g.AppType = conditionalaccess.MobileAndDesktop
	}
	if err := p.readRequest(c, a); err != nil {
		return p.answerError(c, a, err)
	}
	done, err := p.authorized(c, g, a)
	if err != nil {
		return p.answerError(c, a, err)
	}
	if done {
		return nil
	}
	if err := p.answerTokens(c, g, a); err != nil {
		return p.answerError(c, a, err)
	}
	return nil
}

// readClient finds the client and the redirect URI. What goes wrong here is
// shown to the person and never sent anywhere: the address may be an
// attacker's.
func (p *Provider) readClient(c *call) (*authorization, error) {
	id, err := c.Need("client_id")
	if err != nil {
		return nil, err
	}
	a := &authorization{state: c.Form.Get("state")}
	if a.cl, err = p.clients.Find(c.Call, c.Tenant, id); err != nil {
		return nil, err
	}
	if a.cl.App == nil {
		return nil, fault(700016, id, c.Authority)
	}
	uri, given := c.Form.Get("redirect_uri"), c.Form.Get("redirect_uri") != ""
	if a.redirect, err = redirect.Match(a.cl.App, uri); err != nil {
		return nil, err
	}
	a.given = given
	return a, nil
}

// readRequest reads and checks the rest of the request.
func (p *Provider) readRequest(c *call, a *authorization) error {
	f := c.Form
	for _, k := range []string{"request", "request_uri", "registration"} {
		if f.Get(k) != "" {
			return fault(9002313, "the parameter '"+k+"' is not supported")
		}
	}
	kind := f.Get("response_type")
	if kind == "" {
		// The mode must be known before an error can be sent.
		a.mode = "query"
		return fault(900144, "response_type")
	}
	for _, t := range strings.Fields(kind) {
		switch t {
		case "code":
			a.code = true
		case "id_token":
			a.id = true
		case "token":
			a.access = true
		default:
			a.mode = "query"
			return fault(70005, kind)
		}
	}
	a.mode = f.Get("response_mode")
	if a.mode == "" {
		a.mode = "query"
		if a.id || a.access {
			a.mode = "fragment"
		}
	}
	switch {
	case a.mode != "query" && a.mode != "fragment" && a.mode != "form_post",
		a.mode == "query" && (a.id || a.access):
		mode := a.mode
		a.mode = "query"
		if a.id || a.access {
			a.mode = "fragment"
		}
		return fault(70007, mode, kind)
	case a.code && a.access:
		return fault(70005, kind)
	case a.id && !a.cl.App.Web.ImplicitID:
		return fault(700054)
	case a.access && !a.cl.App.Web.ImplicitAT:
		return fault(700051)
	}
	if len(a.state) > 4096 {
		return fault(9002313, "the state is too long")
	}
	if a.nonce = f.Get("nonce"); a.id && a.nonce == "" {
		return fault(900144, "nonce")
	} else if len(a.nonce) > 1024 {
		return fault(9002313, "the nonce is too long")
	}
	if err := a.readPKCE(f); err != nil {
		return err
	}
	a.prompt = strings.Fields(f.Get("prompt"))
	for _, v := range a.prompt {
		if !slices.Contains([]string{"none", "login", "select_account", "consent", "admin_consent", "create", "attempt_none"}, v) || v == "none" && len(a.prompt) > 1 {
			return fault(9002313, "the value of 'prompt' is not supported")
		}
	}
	if err := p.readHints(c, a); err != nil {
		return err
	}
	if !c.V1 {
		if _, err := c.Need("scope"); err != nil {
			return err
		}
	}
	var err error
	if a.want, err = scope.Ask(c.Call, 28000); err != nil {
		return err
	}
	if a.id && !a.want.OpenID {
		return fault(70011, c.Form.Get("scope"))
	}
	if a.claims, err = grant.ReadClaims(f.Get("claims")); err != nil {
		return err
	}
	return p.readBack(c, a)
}

// readHints reads what the request says of the sign-in that it wants.
func (p *Provider) readHints(c *call, a *authorization) error {
	a.maxAge = -1
	if s := c.Form.Get("max_age"); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return fault(9002313, "the value of 'max_age' is not a number of seconds")
		}
		a.maxAge = time.Duration(n) * time.Second
	}
	if hint := c.Form.Get("id_token_hint"); hint != "" {
		v := &token.Verifier{Keys: p.cfg.Trust}
		claims, err := v.VerifyIDTokenHint(hint, a.cl.ID, c.Now)
		if err != nil {
			return fault(9002313, "the id_token_hint is not an ID token of this application").WithCause(err)
		}
		a.hinted = string(claims.Object)
		if u, err := state.Users.Get(c.View, state.Key(claims.Tenant, claims.Object)); err == nil {
			a.hinted = u.UserPrincipalName
		}
	}
	return nil
}

func (a *authorization) readPKCE(f url.Values) error {
	a.challenge, a.method = f.Get("code_challenge"), f.Get("code_challenge_method")
	switch {
	case a.challenge == "" && a.method != "":
		return fault(900144, "code_challenge")
	case a.challenge == "" && a.code && (a.redirect.SPA || a.redirect.Native):
		// RFC 9700, section 2.1.1: a client without a secret has nothing else
		// that ties the code to it.
		return fault(9002325)
	case a.challenge == "":
		return nil
	case !ticket.ValidVerifier(a.challenge):
		return fault(501491)
	case a.method == "":
		a.method = "plain"
	case a.method != "S256" && a.method != "plain":
		return fault(9002313, "the code_challenge_method is not supported")
	}
	if a.method == "plain" && a.redirect.SPA {
		return fault(9002325)
	}
	return nil
}

// readBack reads what the request remembers of its own first arrival.
func (p *Provider) readBack(c *call, a *authorization) error {
	request := requestHash(c)
	sealed := c.Form.Get("sctx")
	if sealed != "" {
		var b backState
		if p.cfg.Sealer.Open(backPurpose, sealed, &b) == nil && b.Request == request && c.Now.Sub(b.Started) < maxInteraction {
			a.back = b
			return nil
		}
	}
	a.back = backState{Request: request, Started: c.Now}
	return nil
}

// requestHash names the request: its path and all parameters but our own.
func requestHash(c *call) string {
	v := url.Values{}
	for k, list := range c.Form {
		if k != "sctx" {
			v[k] = list
		}
	}
	return ticket.Hash(c.R.URL.Path + "?" + v.Encode())
}

// backTo is the path at which the request comes back from the pages.
func (p *Provider) backTo(c *call, b backState) (string, error) {
	sealed, err := p.cfg.Sealer.Seal(backPurpose, b)
	if err != nil {
		return "", err
	}
	v := url.Values{}
	for k, list := range c.Form {
		v[k] = list
	}
	v.Set("sctx", sealed)
	return c.R.URL.Path + "?" + v.Encode(), nil
}

// authorized takes the person through the pages until nothing is missing.
func (p *Provider) authorized(c *call, g *grant.Grant, a *authorization) (bool, error) {
	if a.back.Denied {
		return false, fault(65004)
	}
	if r := a.back.Refused; r != nil {
		return false, r.err()
	}
	back, err := p.backTo(c, a.back)
	if err != nil {
		return false, err
	}
	consented, denied := a.back, a.back
	consented.Consented, denied.Denied = true, true
	at := &interaction{back: back, target: a.redirect.URI, want: a.want, hint: c.Form.Get("login_hint")}
	if at.cancel, err = p.backTo(c, denied); err != nil {
		return false, err
	}
	if at.consented, err = p.backTo(c, consented); err != nil {
		return false, err
	}
	if len(at.hint) > 256 {
		at.hint = ""
	}
	if a.hinted != "" {
		at.hint = a.hinted
	}
	if a.maxAge >= 0 {
		// From the request's first arrival: whoever signs in because of it is in
		// time when they come back.
		at.fresh = a.back.Started.Add(-a.maxAge)
	}
	for _, v := range a.prompt {
		switch v {
		case "none", "attempt_none":
			at.silent = v == "none"
		case "login":
			at.fresh = a.back.Started
		case "select_account", "create":
			at.choose = a.back.Started
		case "consent", "admin_consent":
			at.consent = !a.back.Consented
		}
	}
	if at.silent {
		g.Step = conditionalaccess.StepAuthorizeSilent
	}
	g.Claims = a.claims
	g.NoAccess = !a.code && !a.access
	return p.interact(c, g, at)
}

// answerTokens issues what the response type names and sends it.
func (p *Provider) answerTokens(c *call, g *grant.Grant, a *authorization) error {
	g.Who.Grant = ticket.Random(16)
	var out [][2]string
	text, access := "", ""
	var err error
	if a.code {
		k := &ticket.Code{
			Client: g.Client.ID, Redirect: a.redirect.URI, RedirectGiven: a.given, SPA: a.redirect.SPA, Native: a.redirect.Native,
			Scope: c.Form.Get("scope"), Resource: c.Form.Get("resource"), Nonce: a.nonce,
			Challenge: a.challenge, Method: a.method, Claims: c.Form.Get("claims"), SignedIn: g.Who,
		}
		if text, err = p.tickets.NewCode(c.R.Context(), k); err != nil {
			return err
		}
		out = append(out, [2]string{"code", text})
	}
	if a.access {
		m, err := p.issue(c, g)
		if err != nil {
			return err
		}
		access = m.Text
		out = append(out, [][2]string{
			{"access_token", access}, {"token_type", m.Kind}, {"expires_in", itoa(m.Life)}, {"scope", m.Scopes},
		}...)
	}
	if a.id {
		id, err := p.mint.IDToken(c.Call, g, a.nonce, text, access, a.mode == "fragment")
		if err != nil {
			return err
		}
		out = append(out, [2]string{"id_token", id})
	}
	if c.Form.Get("client_info") == "1" {
		out = append(out, [2]string{"client_info", g.ClientInfo()})
	}
	if a.state != "" {
		out = append(out, [2]string{"state", a.state})
	}
	out = append(out, [2]string{"session_state", g.Who.Session})
	if app := g.Client.App; app != nil && app.Web.LogoutURL != "" {
		if err := p.cfg.SignIn.Entered(c.R, g.Tenant.ID, app.AppID); err != nil {
			return err
		}
	}
	p.audit(c, g, nil)
	p.send(c, a, out)
	return nil
}

// answerError sends an error to the client, whose redirect URI is valid.
func (p *Provider) answerError(c *call, a *authorization, err error) error {
	e := aadsts.From(err)
	if e.Status >= 500 || e.Status == http.StatusTooManyRequests {
		return err // ours: the person sees it
	}
	switch e.Code {
	case 65001:
		e = e.Called("interaction_required")
	case 50105, 50020, 50057, 90094, 50005, 50131, 53000, 53001, 53003, 530002, 530003:
		// A person can do something about these, the client cannot: shown, and
		// sent where nobody is asked, or when the person goes back.
		if slices.Contains(a.prompt, "none") || a.back.Refused != nil {
			break
		}
		shown := a.back
		shown.Refused = &refused{e.Code, e.OAuth, e.Text, e.Claims}
		var failed error
		if c.back, failed = p.backTo(c, shown); failed != nil {
			return failed
		}
		return err
	}
	if slices.Contains(a.prompt, "none") && e.Code == 50058 {
		e.OAuth = "login_required"
	}
	if a.back.Refused == nil { // else the log has it
		p.audit(c, c.g, e)
	}
	p.record(c, e)
	out := [][2]string{
		{"error", e.OAuth}, {"error_description", e.Describe(c.Trace, c.Correlation, c.Now)},
		{"error_uri", e.Body(p.base, "", "", c.Now).URI},
	}
	if e.Code == 65004 {
		out = append(out, [2]string{"error_subcode", "cancel"})
	}
	if e.Claims != "" {
		out = append(out, [2]string{"claims", e.Claims})
	}
	if a.state != "" {
		out = append(out, [2]string{"state", a.state})
	}
	p.send(c, a, out)
	return nil
}

// send delivers an answer to the client by the response mode.
func (p *Provider) send(c *call, a *authorization, fields [][2]string) {
	if a.mode == "form_post" {
		p.cfg.SignIn.Post(c.W, c.R, a.redirect.URI, fields)
		return
	}
	v := url.Values{}
	for _, f := range fields {
		v.Set(f[0], f[1])
	}
	to := a.redirect.URI
	switch {
	case a.mode == "fragment":
		to += "#" + v.Encode()
	case strings.Contains(to, "?"):
		to += "&" + v.Encode()
	default:
		to += "?" + v.Encode()
	}
	status := http.StatusFound
	if c.R.Method == http.MethodPost {
		status = http.StatusSeeOther
	}
	c.W.Header().Set("Referrer-Policy", "no-referrer")
	c.W.Header().Set("Location", to)
	c.W.WriteHeader(status)
}
