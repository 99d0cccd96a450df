// Package metadata says what the identity provider is: its configuration, its
// keys, which host names are one cloud, and how the users of a domain sign in.
package metadata

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// Keys are the signing keys of the hosted tenants.
type Keys interface {
	// Set returns the keys of a tenant.
	Set(tenant directory.TenantID) (*token.Set, error)
}

// Publisher publishes under a base URL, which has no final slash.
type Publisher struct {
	Base  string
	Names token.Issuers
	Keys  Keys
}

func fault(code aadsts.Code, args ...any) *aadsts.Error { return aadsts.New(code, args...) }

// cloudInstance is the name of the public cloud in metadata and keys.
const cloudInstance = "microsoftonline.com"

// Document is an openid-configuration. Its members are Entra's, and each of
// them is true here.
type Document struct {
	TokenEndpoint       string   `json:"token_endpoint"`
	AuthMethods         []string `json:"token_endpoint_auth_methods_supported"`
	JWKS                string   `json:"jwks_uri"`
	ResponseModes       []string `json:"response_modes_supported"`
	SubjectTypes        []string `json:"subject_types_supported"`
	Algorithms          []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes       []string `json:"response_types_supported"`
	Scopes              []string `json:"scopes_supported"`
	Issuer              string   `json:"issuer"`
	MultiRefreshToken   bool     `json:"microsoft_multi_refresh_token,omitempty"`
	RequestURI          bool     `json:"request_uri_parameter_supported"`
	UserInfo            string   `json:"userinfo_endpoint"`
	Authorization       string   `json:"authorization_endpoint"`
	DeviceAuthorization string   `json:"device_authorization_endpoint"`
	HTTPLogout          bool     `json:"http_logout_supported"`
	FrontchannelLogout  bool     `json:"frontchannel_logout_supported"`
	EndSession          string   `json:"end_session_endpoint"`
	Claims              []string `json:"claims_supported"`
	TenantRegion        *string  `json:"tenant_region_scope"`
	CloudInstanceName   string   `json:"cloud_instance_name"`
	CloudGraphHostName  string   `json:"cloud_graph_host_name"`
	MSGraphHost         string   `json:"msgraph_host"`
}

var claimsSupported = []string{
	"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host",
	"aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email",
}

// Configuration returns openid-configuration, v1 and v2.
func (p *Publisher) Configuration(c *wire.Call) *Document {
	// Endpoints are named by id even where a domain was asked, as Entra does.
	at := p.Base + "/" + c.Authority
	if c.Tenant != nil {
		at = p.Base + "/" + string(c.Tenant.ID)
	}
	m := Document{
		AuthMethods:   []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		ResponseModes: []string{"query", "fragment", "form_post"},
		SubjectTypes:  []string{"pairwise"}, Algorithms: []string{"RS256"},
		ResponseTypes:      []string{"code", "id_token", "code id_token", "id_token token"},
		Scopes:             []string{"openid", "profile", "email", "offline_access"},
		HTTPLogout:         true,
		FrontchannelLogout: true,
		Claims:             claimsSupported,
		CloudInstanceName:  cloudInstance, CloudGraphHostName: "graph.windows.net", MSGraphHost: "graph.microsoft.com",
	}
	if c.Tenant != nil {
		region := Region(c.Tenant)
		m.TenantRegion = &region
	}
	m.Issuer = p.issuerDocument(c)
	old := c.V1 || c.Authority == wire.ADFS
	switch {
	case old:
		m.TokenEndpoint, m.Authorization = at+"/oauth2/token", at+"/oauth2/authorize"
		m.DeviceAuthorization, m.EndSession = at+"/oauth2/devicecode", at+"/oauth2/logout"
		m.JWKS, m.UserInfo = at+"/discovery/keys", at+"/openid/userinfo"
		m.MultiRefreshToken = true
	default:
		m.TokenEndpoint, m.Authorization = at+"/oauth2/v2.0/token", at+"/oauth2/v2.0/authorize"
		m.DeviceAuthorization, m.EndSession = at+"/oauth2/v2.0/devicecode", at+"/oauth2/v2.0/logout"
		m.JWKS, m.UserInfo = at+"/discovery/v2.0/keys", p.Base+"/oidc/userinfo"
	}
	cacheable(c)
	return &m
}

// issuerDocument is the issuer as metadata and key documents name it: with
// braces where any tenant's tokens are meant.
func (p *Publisher) issuerDocument(c *wire.Call) string {
	version := token.V2
	if c.V1 {
		version = token.V1
	}
	tenant := directory.TenantID("{tenantid}")
	if c.Tenant != nil {
		tenant = c.Tenant.ID
	}
	// A library that was pointed here under a name of the public cloud trusts
	// metadata only if its issuer is of that cloud. These names are a fixed
	// list: no other host that is asked for is believed.
	if host := hostname(c.R.Host); version == token.V2 && slices.Contains(publicNetworks[0].Aliases, host) {
		return token.Issuers{V2: "https://" + host}.Name(version, tenant)
	}
	return p.Names.Name(version, tenant)
}

func cacheable(c *wire.Call) {
	c.W.Header().Set("Cache-Control", "max-age=86400, private")
	c.W.Header().Del("Pragma")
	c.W.Header().Del("Expires")
}

// Region is the tenant_region_scope of a tenant.
func Region(t *directory.Tenant) string {
	switch t.Country {
	case "US", "CA", "MX", "":
		return "NA"
	case "AU", "NZ", "JP", "KR", "IN", "CN", "SG":
		return "AS"
	}
	return "EU"
}

// KeySet returns the key documents. Those of common hold the keys of all tenants.
func (p *Publisher) KeySet(c *wire.Call) (*token.JWKS, error) {
	issuer, cloud := "", ""
	if !c.V1 {
		issuer, cloud = p.issuerDocument(c), cloudInstance
	}
	doc := token.JWKS{Keys: []token.JWK{}}
	add := func(tenant directory.TenantID) error {
		set, err := p.Keys.Set(tenant)
		if err != nil {
			return err
		}
		name := issuer
		if !c.V1 {
			name = p.Names.Name(token.V2, tenant)
		}
		doc.Keys = append(doc.Keys, set.JWKS(c.Now, name, cloud).Keys...)
		return nil
	}
	if c.Tenant != nil {
		if err := add(c.Tenant.ID); err != nil {
			return nil, err
		}
	} else {
		for t := range state.Tenants.All(c.View) {
			if err := add(t.ID); err != nil {
				return nil, err
			}
		}
	}
	cacheable(c)
	return &doc, nil
}

// Network is an entry of instance discovery.
type Network struct {
	Preferred string   `json:"preferred_network"`
	Cache     string   `json:"preferred_cache"`
	Aliases   []string `json:"aliases"`
}

// Instance is the answer of instance discovery.
type Instance struct {
	Endpoint string    `json:"tenant_discovery_endpoint"`
	Version  string    `json:"api-version"`
	Networks []Network `json:"metadata"`
}

// PublicHosts returns the addresses of the public cloud, under which this server
// may be reached.
func PublicHosts() (list []string) {
	for _, a := range publicNetworks[0].Aliases {
		list = append(list, "https://"+a)
	}
	return list
}

// publicNetworks is what the public cloud answers.
var publicNetworks = []Network{
	{"login.microsoftonline.com", "login.windows.net", []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"}},
	{"login.partner.microsoftonline.cn", "login.partner.microsoftonline.cn", []string{"login.partner.microsoftonline.cn", "login.chinacloudapi.cn"}},
	{"login.microsoftonline.de", "login.microsoftonline.de", []string{"login.microsoftonline.de"}},
	{"login.microsoftonline.us", "login.microsoftonline.us", []string{"login.microsoftonline.us", "login.usgovcloudapi.net"}},
	{"login-us.microsoftonline.com", "login-us.microsoftonline.com", []string{"login-us.microsoftonline.com"}},
}

// Instance answers instance discovery: which hosts are one cloud. Our own host
// is a cloud of its own, and the public cloud's names are known because this
// server may stand behind them.
func (p *Publisher) Instance(c *wire.Call) (*Instance, error) {
	if _, err := c.Need("api-version"); err != nil {
		return nil, err
	}
	raw, err := c.Need("authorization_endpoint")
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fault(50049, raw)
	}
	own, err := url.Parse(p.Base)
	if err != nil {
		return nil, err
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if segment == "" {
		segment = wire.Common
	}
	host := strings.ToLower(u.Host)
	known := host == strings.ToLower(own.Host) || hostname(host) == hostname(own.Host) || hostname(host) == hostname(c.R.Host)
	// On one machine localhost has several names.
	local := loopback(hostname(host)) && loopback(hostname(own.Host))
	known = known || local
	for _, n := range publicNetworks {
		for _, a := range n.Aliases {
			known = known || a == host
		}
	}
	if !known {
		return nil, fault(50049, raw)
	}
	// The client names the host under which it reaches us; a client that lost
	// the port on the way gets it back.
	at := "https://" + host
	if local || hostname(host) == hostname(own.Host) {
		at = p.Base
	}
	path := "/v2.0/.well-known/openid-configuration"
	if !strings.Contains(strings.ToLower(u.Path), "/v2.0/") && strings.EqualFold(segment, wire.ADFS) {
		path = "/.well-known/openid-configuration"
	}
	list := []Network{{own.Host, own.Host, []string{own.Host}}}
	if h := c.R.Host; h != "" && h != own.Host && hostname(h) == hostname(own.Host) {
		list[0].Aliases = append(list[0].Aliases, h)
	}
	if h := hostname(own.Host); h != own.Host {
		// Some clients compare without the port.
		list[0].Aliases = append(list[0].Aliases, h)
	}
	return &Instance{at + "/" + segment + path, "1.1", append(list, publicNetworks...)}, nil
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return strings.ToLower(h)
	}
	return strings.ToLower(host)
}

// UserRealm tells how the users of a domain sign in. Every domain of a hosted
// tenant is managed here.
func UserRealm(c *wire.Call, name string) (map[string]any, error) {
	_, domain, ok := strings.Cut(name, "@")
	if !ok || domain == "" || len(name) > 256 {
		return nil, fault(90014, "user")
	}
	answer := map[string]any{"ver": "1.0", "account_type": "Unknown", "cloud_instance_name": cloudInstance}
	if _, err := state.FindTenant(c.View, domain); err == nil {
		answer["account_type"] = "Managed"
		answer["domain_name"] = strings.ToLower(domain)
		answer["cloud_audience_urn"] = "urn:federation:MicrosoftOnline"
	} else if !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	return answer, nil
}

// loopback reports whether a host name stands for the machine itself.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
