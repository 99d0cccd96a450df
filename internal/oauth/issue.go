package oauth

import (
	"encoding/base64"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pop/jws"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// minted is an access token and what goes with it.
type minted struct {
	text     string
	kind     string // Bearer or pop
	from     int64  // nbf
	life     time.Duration
	response string // the scopes, as they are told to the client
}

// issue judges a grant, writes the log and signs an access token. Everything
// that Entrance issues to a client comes through here.
func (p *Provider) issue(c *call, g *grant) (*minted, error) {
	g.tokenID = token.NewUTI()
	err := p.permit(c, g)
	var m *minted
	if err == nil {
		m, err = p.mint(c, g)
	}
	p.audit(c, g, err)
	return m, err
}

func (p *Provider) tokenTenant(c *call, t *directory.Tenant) (token.Tenant, error) {
	secret, err := p.pairwise(c.r.Context(), t.ID)
	return token.Tenant{ID: t.ID, Issuers: p.cfg.Names, Pairwise: secret, Created: t.Created, Country: t.Country, Region: regionOf(t)}, err
}

func (p *Provider) mint(c *call, g *grant) (*minted, error) {
	f, err := p.tokenFacts(c, g)
	if err != nil {
		return nil, err
	}
	f.UTI = g.tokenID
	f.Lifetime = g.lifetime(c.now)
	f.Cnf = g.cnf
	f.Resource = token.Resource{
		AppID: g.target.AppID, Audience: g.target.aud(), Version: versionOf(g.target.TokenVersion),
		GroupClaims: g.target.GroupClaims, Optional: g.target.Optional.AccessToken, FirstParty: g.target.firstParty(),
	}
	if f.Resource.FirstParty && (g.target.AppID == directory.Graph || g.target.AppID == directory.ARM) {
		f.Resource.GroupClaims = "DirectoryRole"
	}
	f.Groups, f.WIDs = p.groups(c, g, f.Resource.GroupClaims, g.target.ServicePrincipal)
	principal := g.principal()
	f.Roles, _ = state.AppRoles(c.view, g.tenant.ID, principal, g.target.ServicePrincipal, c.now)
	claims, err := token.AccessToken(f)
	if err != nil {
		return nil, err
	}
	if g.user != nil && !f.Resource.FirstParty {
		// What an application in the middle hands on when it acts for the
		// person: how and when they signed in, which it cannot change.
		if claims.AIO, err = p.cfg.Sealer.Seal(carryPurpose, g.who); err != nil {
			return nil, err
		}
	}
	key, err := p.cfg.Keys.Active(g.tenant.ID)
	if err != nil {
		return nil, err
	}
	var text string
	if g.target.AppID == directory.Graph {
		text, err = key.SignGraph(claims, random(24))
	} else {
		text, err = key.Sign(claims)
	}
	if err != nil {
		return nil, err
	}
	m := &minted{text: text, kind: "Bearer", from: claims.NotBefore, life: time.Unix(claims.Expires, 0).Sub(c.now).Truncate(time.Second)}
	if g.cnf != nil {
		m.kind = "pop"
	}
	if g.user != nil && g.want != nil {
		m.response = g.want.response(g.target, g.scopes)
	}
	return m, nil
}

func (g *grant) principal() directory.ObjectID {
	if g.app != nil {
		return g.app.ID
	}
	return g.user.ID
}

// lifetime is how long an access token lives: an hour for applications, a day
// where a federated token was exchanged, else token's own choice, but no longer
// than the sign-in may be old.
func (g *grant) lifetime(now time.Time) time.Duration {
	if g.app != nil {
		if g.step == conditionalaccess.StepManagedIdentity {
			return managedLife
		}
		if g.cl.federated {
			return 24 * time.Hour
		}
		return time.Hour
	}
	life := token.AccessLifetime(g.tokenID)
	if within := g.outcome.Session.SignInWithin; within > 0 {
		life = min(life, max(time.Minute, within-now.Sub(g.who.Time)))
	}
	return life
}

func versionOf(v *int) token.Version {
	if v != nil && *v == 2 {
		return token.V2
	}
	return token.V1
}

// tokenFacts gathers what access and ID tokens have in common.
func (p *Provider) tokenFacts(c *call, g *grant) (token.Facts, error) {
	tenant, err := p.tokenTenant(c, g.tenant)
	f := token.Facts{
		Now: c.now, UTI: token.NewUTI(), Tenant: tenant,
		Client: token.Client{AppID: g.cl.id, DisplayName: g.cl.name, Auth: g.cl.auth, Credential: g.cl.credential, Capabilities: g.claims.Capabilities},
	}
	if err != nil {
		return f, err
	}
	if g.cl.app != nil {
		f.Client.GroupClaims, f.Client.Optional = g.cl.app.GroupClaims, g.cl.app.Optional.IDToken
	}
	if g.app != nil {
		f.App = &token.App{ID: g.app.ID}
		if g.app.Type == "ManagedIdentity" && len(g.app.AlternativeNames) > 0 {
			f.App.ManagedIdentity = g.app.AlternativeNames[len(g.app.AlternativeNames)-1]
		}
		return f, nil
	}
	u := g.user
	f.User = &token.User{
		ID: u.ID, UPN: u.UserPrincipalName, DisplayName: u.DisplayName, GivenName: u.GivenName, Surname: u.Surname,
		Mail: u.Mail, MailNickname: u.MailNickname, Guest: u.Guest,
	}
	f.Auth = token.Auth{
		Time: g.who.Time, AMR: amr(g.who.Methods), ACR: "1", Contexts: g.outcome.AuthContexts,
		DeviceID: directory.ObjectID(g.who.Device), IP: c.addr, Session: g.who.Session,
	}
	f.Scopes = g.scopes
	if g.want != nil {
		f.Profile, f.Email = g.want.profile, g.want.email
	}
	return f, nil
}

// groups returns the subject's groups and directory roles, if an application's
// setting asks for any.
func (p *Provider) groups(c *call, g *grant, setting string, app *directory.ServicePrincipal) (list []token.Group, wids []string) {
	setting = strings.ToLower(setting)
	if setting == "" || setting == "none" {
		return nil, nil
	}
	id := g.principal()
	if strings.Contains(setting, "directoryrole") || strings.Contains(setting, "all") {
		wids = state.Roles(c.view, g.tenant.ID, id, c.now)
	}
	if setting == "directoryrole" {
		return nil, wids
	}
	direct := map[directory.ObjectID]bool{}
	for _, l := range state.LinkedTo(c.view, directory.Member, g.tenant.ID, id, c.now) {
		direct[l.From] = true
	}
	for _, m := range state.Memberships(c.view, g.tenant.ID, id, c.now) {
		group, err := state.Groups.Get(c.view, state.Key(g.tenant.ID, m))
		if err != nil {
			continue
		}
		entry := token.Group{ID: m, Security: group.SecurityEnabled}
		if app != nil && direct[m] {
			for a := range state.AppRoleAssignments.Where(c.view, "principal", state.Key(g.tenant.ID, m)) {
				entry.Assigned = entry.Assigned || a.Resource == app.ID
			}
		}
		list = append(list, entry)
	}
	return list, wids
}

// idToken signs an ID token for the grant's user.
func (p *Provider) idToken(c *call, g *grant, nonce, code, access string, fragment bool) (string, error) {
	f, err := p.tokenFacts(c, g)
	if err != nil {
		return "", err
	}
	f.Nonce, f.Implicit, f.IDVersion = nonce, fragment, token.V2
	if c.v1 {
		f.IDVersion, f.Profile, f.Email = token.V1, true, true
	}
	if code != "" {
		f.CHash = token.HalfHash(code)
	}
	if access != "" {
		f.AtHash = token.HalfHash(access)
	}
	if g.cl.sp != nil {
		f.Roles, _ = state.AppRoles(c.view, g.tenant.ID, g.user.ID, g.cl.sp, c.now)
	}
	f.Groups, f.WIDs = p.groups(c, g, f.Client.GroupClaims, g.cl.sp)
	claims, err := token.IDToken(f)
	if err != nil {
		return "", err
	}
	key, err := p.cfg.Keys.Active(g.tenant.ID)
	if err != nil {
		return "", err
	}
	return key.Sign(claims)
}

// answer is a token response. Numbers are texts on v1.
type answer struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope,omitempty"`
	ExpiresIn    any    `json:"expires_in"`
	ExtExpiresIn any    `json:"ext_expires_in"`
	ExpiresOn    string `json:"expires_on,omitempty"`
	NotBefore    string `json:"not_before,omitempty"`
	Resource     string `json:"resource,omitempty"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	FamilyID     string `json:"foci,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

// respond issues and answers with the tokens of a grant. refresh, if not nil,
// is the state of the refresh token that is handed out beside.
func (p *Provider) respond(c *call, g *grant, nonce string, refresh *refreshTicket) error {
	m, err := p.issue(c, g)
	if err != nil {
		return err
	}
	seconds := int64(m.life / time.Second)
	a := &answer{TokenType: m.kind, AccessToken: m.text, Scope: m.response, ExpiresIn: seconds, ExtExpiresIn: seconds}
	if c.v1 {
		text := strconv.FormatInt(seconds, 10)
		a.ExpiresIn, a.ExtExpiresIn = text, text
		a.ExpiresOn, a.NotBefore = strconv.FormatInt(c.now.Unix()+seconds, 10), strconv.FormatInt(m.from, 10)
		a.Resource = g.target.audience
		a.Scope = strings.Join(g.scopes, " ")
	}
	if g.user != nil {
		if g.want.openid {
			if a.IDToken, err = p.idToken(c, g, nonce, "", m.text, false); err != nil {
				return err
			}
		}
		if c.form.Get("client_info") == "1" || c.v1 && c.authority == adfs {
			a.ClientInfo = clientInfo(g)
		}
		if refresh != nil && (g.want.offline || c.v1) {
			refresh.Who = g.who // with the device that was proven meanwhile
			if a.RefreshToken, err = p.sealRefresh(refresh); err != nil {
				return err
			}
			if family(g.cl.id) {
				a.FamilyID = "1"
			}
		}
	}
	p.write(c, 200, a)
	return nil
}

func clientInfo(g *grant) string {
	raw, _ := json.Marshal(struct {
		UID  directory.ObjectID `json:"uid"`
		UTID directory.TenantID `json:"utid"`
	}{g.user.ID, g.tenant.ID})
	return base64.RawURLEncoding.EncodeToString(raw)
}

// family tells whether a client is one of the family that shares refresh
// tokens.
func family(id directory.AppID) bool {
	return id == directory.AzureCLI || id == directory.AzurePowerShell
}

// confirmation reads what a client asks to have its token bound to.
func (c *call) confirmation() (*token.Confirmation, error) {
	switch kind := c.form.Get("token_type"); {
	case kind == "" || strings.EqualFold(kind, "bearer"):
		return nil, nil
	case !strings.EqualFold(kind, "pop"):
		return nil, fault(9002313, "the token_type is not supported")
	}
	raw, err := c.need("req_cnf")
	if err != nil {
		return nil, err
	}
	doc, err := decode64(strings.TrimRight(raw, "="))
	if err != nil || len(doc) > 4096 {
		return nil, fault(9002313, "req_cnf is not base64url")
	}
	o, err := jws.ParseObject(string(doc))
	if err != nil {
		return nil, fault(9002313, "req_cnf is not a JSON object")
	}
	kid, ok := o.Get("kid").Str()
	if sum, err := decode64(kid); !ok || err != nil || len(sum) != 32 {
		return nil, fault(9002313, "req_cnf names no key by its SHA-256 thumbprint")
	}
	where, _ := o.Get("xms_ksl").Str()
	if where != "" && where != "sw" {
		return nil, fault(9002313, "req_cnf names a key store that is not known")
	}
	return &token.Confirmation{KeyID: kid, Location: where}, nil
}

func decode64(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// readClaims reads the claims parameter.
func (c *call) readClaims(parameter string) (conditionalaccess.ClaimsRequest, error) {
	r, err := conditionalaccess.ParseClaims(parameter)
	if err != nil {
		return r, fault(9002313, "the claims parameter is not valid").WithCause(err)
	}
	r.Capabilities = slices.DeleteFunc(r.Capabilities, func(s string) bool { return !strings.EqualFold(s, "cp1") })
	return r, nil
}
