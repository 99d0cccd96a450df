package token

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// Version is the version of a token: its ver claim.
type Version string

// The versions of tokens. The version of an access token is a property of the
// resource; that of an ID token follows the endpoint.
const (
	V1 Version = "1.0"
	V2 Version = "2.0"
)

// Slack is how far before the moment of issue iat and nbf lie, so that a
// resource whose clock is behind accepts the token at once.
const Slack = 5 * time.Minute

// Claims are the claims of an access or ID token. Members that do not apply
// are empty and stay out of the token. Identity is Tenant and Object; names and
// addresses are for display only, since others may change them.
type Claims struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	AuthTime  int64  `json:"auth_time,omitempty"`

	ACCT            *int                `json:"acct,omitempty"` // 0 member, 1 guest
	ACR             string              `json:"acr,omitempty"`
	ACRS            []string            `json:"acrs,omitempty"` // authentication contexts that were met
	AIO             string              `json:"aio,omitempty"`
	AMR             []string            `json:"amr,omitempty"`
	AppDisplayName  string              `json:"app_displayname,omitempty"`
	AppID           directory.AppID     `json:"appid,omitempty"`    // v1
	AppIDACR        string              `json:"appidacr,omitempty"` // v1
	AZP             directory.AppID     `json:"azp,omitempty"`      // v2
	AZPACR          string              `json:"azpacr,omitempty"`   // v2
	AtHash          string              `json:"at_hash,omitempty"`
	CHash           string              `json:"c_hash,omitempty"`
	Cnf             *Confirmation       `json:"cnf,omitempty"`
	Country         string              `json:"ctry,omitempty"`
	DeviceID        directory.ObjectID  `json:"deviceid,omitempty"`
	Email           string              `json:"email,omitempty"`
	FamilyName      string              `json:"family_name,omitempty"`
	Forwarded       string              `json:"fwd,omitempty"`
	GivenName       string              `json:"given_name,omitempty"`
	Groups          []string            `json:"groups,omitempty"`
	HasGroups       bool                `json:"hasgroups,omitempty"`
	ClaimNames      map[string]string   `json:"_claim_names,omitempty"`
	ClaimSources    map[string]Endpoint `json:"_claim_sources,omitempty"`
	IDP             string              `json:"idp,omitempty"`
	IDTyp           string              `json:"idtyp,omitempty"`
	InCorp          string              `json:"in_corp,omitempty"`
	IPAddr          string              `json:"ipaddr,omitempty"`
	LoginHint       string              `json:"login_hint,omitempty"`
	Name            string              `json:"name,omitempty"`
	Nickname        string              `json:"nickname,omitempty"`
	Nonce           string              `json:"nonce,omitempty"` // ID tokens
	Object          directory.ObjectID  `json:"oid,omitempty"`
	OnPremSID       string              `json:"onprem_sid,omitempty"`
	Preferred       string              `json:"preferred_username,omitempty"` // v2
	PUID            string              `json:"puid,omitempty"`
	PasswordExpires string              `json:"pwd_exp,omitempty"`
	PasswordURL     string              `json:"pwd_url,omitempty"`
	RH              string              `json:"rh,omitempty"`
	Roles           []string            `json:"roles,omitempty"`
	Scope           string              `json:"scp,omitempty"`
	Session         string              `json:"sid,omitempty"`
	Subject         string              `json:"sub"`
	TenantCountry   string              `json:"tenant_ctry,omitempty"`
	TenantRegion    string              `json:"tenant_region_scope,omitempty"`
	Tenant          directory.TenantID  `json:"tid"`
	UniqueName      string              `json:"unique_name,omitempty"` // v1
	UPN             string              `json:"upn,omitempty"`
	UTI             string              `json:"uti,omitempty"`
	Version         Version             `json:"ver"`
	PrimaryEmail    []string            `json:"verified_primary_email,omitempty"`
	SecondaryEmail  []string            `json:"verified_secondary_email,omitempty"`
	VNet            string              `json:"vnet,omitempty"`
	WIDs            []string            `json:"wids,omitempty"`
	AzureResource   string              `json:"xms_az_rid,omitempty"`
	Capabilities    []string            `json:"xms_cc,omitempty"`
	EmailVerified   *bool               `json:"xms_edov,omitempty"`
	ManagedIdentity string              `json:"xms_mirid,omitempty"`
	UserLanguage    string              `json:"xms_pl,omitempty"`
	TenantCreated   int64               `json:"xms_tcdt,omitempty"`
	TenantLanguage  string              `json:"xms_tpl,omitempty"`
	ZTDID           string              `json:"ztdid,omitempty"`
}

// Confirmation binds a token to a key (cnf): whoever shows the token must prove
// to hold the private half.
type Confirmation struct {
	KeyID    string `json:"kid"`               // RFC 7638 thumbprint
	Location string `json:"xms_ksl,omitempty"` // where the key is kept: "sw"
}

// Endpoint is where a claim that is too large for the token can be had.
type Endpoint struct {
	Endpoint string `json:"endpoint"`
}

// ClientID returns the application that the token was issued to.
func (c *Claims) ClientID() directory.AppID {
	if c.Version == V1 {
		return c.AppID
	}
	return c.AZP
}

// ClientAuth returns how the client proved itself: "0" not at all, "1" with a
// secret, "2" with a certificate or federated token.
func (c *Claims) ClientAuth() string {
	if c.Version == V1 {
		return c.AppIDACR
	}
	return c.AZPACR
}

// AppOnly reports whether the token speaks for an application and no user.
func (c *Claims) AppOnly() bool { return c.Scope == "" && c.Subject == string(c.Object) }

// Scopes returns the delegated scopes.
func (c *Claims) Scopes() []string { return strings.Fields(c.Scope) }

// HasScope reports whether the delegated scope is there, in any case.
func (c *Claims) HasScope(scope string) bool {
	return slices.ContainsFunc(c.Scopes(), func(s string) bool { return strings.EqualFold(s, scope) })
}

// HasRole reports whether the app role is there.
func (c *Claims) HasRole(role string) bool { return slices.Contains(c.Roles, role) }

// Issued returns when the token was really issued, as far as iat tells: it lies
// Slack earlier. Compare this, not iat, with the time of a revocation.
func (c *Claims) Issued() time.Time { return time.Unix(c.IssuedAt, 0).Add(Slack) }

// Credential returns the id of the credential that an application obtained the
// token with; empty for people, and where the token does not say.
func (c *Claims) Credential() string {
	raw, err := base64.StdEncoding.DecodeString(c.AIO)
	if err != nil || len(raw) != 33 || raw[0] != credentialMark || !c.AppOnly() {
		return ""
	}
	id := hex.EncodeToString(raw[17:])
	return strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:]}, "-")
}

// ExpiresAt returns exp as a time.
func (c *Claims) ExpiresAt() time.Time { return time.Unix(c.Expires, 0) }

// GroupsOverage reports whether the token says that its subject is in more
// groups than fit. Where to look is never taken from the token.
func (c *Claims) GroupsOverage() bool {
	if c.HasGroups {
		return true
	}
	src, ok := c.ClaimNames["groups"]
	return ok && c.ClaimSources[src].Endpoint != ""
}

// JSON returns the claims as they stand in a token.
func (c *Claims) JSON() []byte {
	b, err := json.Marshal(c)
	if err != nil {
		panic("token: claims do not encode: " + err.Error()) // plain strings and numbers always do
	}
	return b
}
