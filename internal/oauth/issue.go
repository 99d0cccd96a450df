package oauth

import (
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/mint"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/token"
)

// issue judges a grant, writes the log and signs an access token. Everything
// that Entrance issues to a client comes through here.
func (p *Provider) issue(c *call, g *grant.Grant) (*mint.Access, error) {
	g.TokenID = token.NewUTI()
	err := p.permit(c, g)
	var m *mint.Access
	if err == nil {
		m, err = p.mint.Access(c.Call, g)
	}
	p.audit(c, g, err)
	return m, err
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
func (p *Provider) respond(c *call, g *grant.Grant, nonce string, refresh *ticket.Refresh) error {
	m, err := p.issue(c, g)
	if err != nil {
		return err
	}
	seconds := int64(m.Life / time.Second)
	a := &answer{TokenType: m.Kind, AccessToken: m.Text, Scope: m.Scopes, ExpiresIn: seconds, ExtExpiresIn: seconds}
	if c.V1 {
		text := strconv.FormatInt(seconds, 10)
		a.ExpiresIn, a.ExtExpiresIn = text, text
		a.ExpiresOn, a.NotBefore = strconv.FormatInt(c.Now.Unix()+seconds, 10), strconv.FormatInt(m.From, 10)
		a.Resource = g.Target.Audience
		a.Scope = strings.Join(g.Scopes, " ")
	}
	if g.User != nil {
		if g.Want.OpenID {
			if a.IDToken, err = p.mint.IDToken(c.Call, g, nonce, "", m.Text, false); err != nil {
				return err
			}
		}
		if c.Form.Get("client_info") == "1" || c.V1 && c.Authority == wire.ADFS {
			a.ClientInfo = g.ClientInfo()
		}
		if refresh != nil && (g.Want.Offline || c.V1) {
			refresh.Who = g.Who // with the device that was proven meanwhile
			if a.RefreshToken, err = p.tickets.SealRefresh(refresh); err != nil {
				return err
			}
			if family(g.Client.ID) {
				a.FamilyID = "1"
			}
		}
	}
	c.Write(p.log, 200, a)
	return nil
}

// family tells whether a client is one of the family that shares refresh
// tokens.
func family(id directory.AppID) bool {
	return id == directory.AzureCLI || id == directory.AzurePowerShell
}
