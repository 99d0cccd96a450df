package oauth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/token"
)

// cloudInstance is the name of the public cloud in metadata and keys.
const cloudInstance = "microsoftonline.com"

// metadata is an openid-configuration. Its members are Entra's, and each of
// them is true here.
type metadata struct {
	TokenEndpoint         string   `json:"token_endpoint"`
	AuthMethods           []string `json:"token_endpoint_auth_methods_supported"`
	JWKS                  string   `json:"jwks_uri"`
	ResponseModes         []string `json:"response_modes_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	Algorithms            []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	Scopes                []string `json:"scopes_supported"`
	Issuer                string   `json:"issuer"`
	MultiRefreshToken     bool     `json:"microsoft_multi_refresh_token,omitempty"`
	RequestURI            bool     `json:"request_uri_parameter_supported"`
	UserInfo              string   `json:"userinfo_endpoint"`
	Authorization         string   `json:"authorization_endpoint"`
	DeviceAuthorization   string   `json:"device_authorization_endpoint"`
	HTTPLogout            bool     `json:"http_logout_supported"`
	FrontchannelLogout    bool     `json:"frontchannel_logout_supported"`
	EndSession            string   `json:"end_session_endpoint"`
	Claims                []string `json:"claims_supported"`
	TenantRegion          *string  `json:"tenant_region_scope"`
	CloudInstanceName     string   `json:"cloud_instance_name"`
	CloudGraphHostName    string   `json:"cloud_graph_host_name"`
	MSGraphHost           string   `json:"msgraph_host"`
	RequestParameter      *bool    `json:"request_parameter_supported,omitempty"`
	AuthorizationResponse bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
}

var claimsSupported = []string{
	"sub", "iss", "cloud_instance_name", "cloud_instance_host_name", "cloud_graph_host_name", "msgraph_host",
	"aud", "exp", "iat", "auth_time", "acr", "nonce", "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email",
}

// configuration serves openid-configuration, v1 and v2.
func (p *Provider) configuration(c *call) error {
	// Endpoints are named by id even where a domain was asked, as Entra does.
	at := p.base + "/" + c.authority
	if c.tenant != nil {
		at = p.base + "/" + string(c.tenant.ID)
	}
	m := metadata{
		AuthMethods:   []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		ResponseModes: []string{"query", "fragment", "form_post"},
		SubjectTypes:  []string{"pairwise"}, Algorithms: []string{"RS256"},
		ResponseTypes:     []string{"code", "id_token", "code id_token", "id_token token"},
		Scopes:            []string{"openid", "profile", "email", "offline_access"},
		Claims:            claimsSupported,
		CloudInstanceName: cloudInstance, CloudGraphHostName: "graph.windows.net", MSGraphHost: "graph.microsoft.com",
	}
	if c.tenant != nil {
		region := regionOf(c.tenant)
		m.TenantRegion = &region
	}
	m.Issuer = p.issuerDocument(c)
	old := c.v1 || c.authority == adfs
	switch {
	case old:
		m.TokenEndpoint, m.Authorization = at+"/oauth2/token", at+"/oauth2/authorize"
		m.DeviceAuthorization, m.EndSession = at+"/oauth2/devicecode", at+"/oauth2/logout"
		m.JWKS, m.UserInfo = at+"/discovery/keys", at+"/openid/userinfo"
		m.MultiRefreshToken = true
	default:
		m.TokenEndpoint, m.Authorization = at+"/oauth2/v2.0/token", at+"/oauth2/v2.0/authorize"
		m.DeviceAuthorization, m.EndSession = at+"/oauth2/v2.0/devicecode", at+"/oauth2/v2.0/logout"
		m.JWKS, m.UserInfo = at+"/discovery/v2.0/keys", p.base+"/oidc/userinfo"
	}
	cacheable(c)
	p.write(c, http.StatusOK, m)
	return nil
}

// issuerDocument is the issuer as metadata and key documents name it: with
// braces where any tenant's tokens are meant.
func (p *Provider) issuerDocument(c *call) string {
	version := token.V2
	if c.v1 {
		version = token.V1
	}
	tenant := directory.TenantID("{tenantid}")
	if c.tenant != nil {
		tenant = c.tenant.ID
	}
	// A library that was pointed here under a name of the public cloud trusts
	// metadata only if its issuer is of that cloud. These names are a fixed
	// list: no other host that is asked for is believed.
	if host := hostname(c.r.Host); version == token.V2 && slices.Contains(publicNetworks[0].Aliases, host) {
		return token.Issuers{V2: "https://" + host}.Name(version, tenant)
	}
	return p.cfg.Names.Name(version, tenant)
}

func cacheable(c *call) {
	c.w.Header().Set("Cache-Control", "max-age=86400, private")
	c.w.Header().Del("Pragma")
	c.w.Header().Del("Expires")
}

func regionOf(t *directory.Tenant) string {
	switch t.Country {
	case "US", "CA", "MX", "":
		return "NA"
	case "AU", "NZ", "JP", "KR", "IN", "CN", "SG":
		return "AS"
	}
	return "EU"
}

// keys serves the key documents. Those of common hold the keys of all tenants.
func (p *Provider) keys(c *call) error {
	issuer, cloud := "", ""
	if !c.v1 {
		issuer, cloud = p.issuerDocument(c), cloudInstance
	}
	doc := token.JWKS{Keys: []token.JWK{}}
	add := func(tenant directory.TenantID) error {
		set, err := p.cfg.Keys.Set(tenant)
		if err != nil {
			return err
		}
		name := issuer
		if !c.v1 {
			name = p.cfg.Names.Name(token.V2, tenant)
		}
		doc.Keys = append(doc.Keys, set.JWKS(c.now, name, cloud).Keys...)
		return nil
	}
	if c.tenant != nil {
		if err := add(c.tenant.ID); err != nil {
			return err
		}
	} else {
		for t := range state.Tenants.All(c.view) {
			if err := add(t.ID); err != nil {
				return err
			}
		}
	}
	cacheable(c)
	p.write(c, http.StatusOK, doc)
	return nil
}

// network is an entry of instance discovery.
type network struct {
	Preferred string   `json:"preferred_network"`
	Cache     string   `json:"preferred_cache"`
	Aliases   []string `json:"aliases"`
}

// publicNetworks is what the public cloud answers.
var publicNetworks = []network{
	{"login.microsoftonline.com", "login.windows.net", []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"}},
	{"login.partner.microsoftonline.cn", "login.partner.microsoftonline.cn", []string{"login.partner.microsoftonline.cn", "login.chinacloudapi.cn"}},
	{"login.microsoftonline.de", "login.microsoftonline.de", []string{"login.microsoftonline.de"}},
	{"login.microsoftonline.us", "login.microsoftonline.us", []string{"login.microsoftonline.us", "login.usgovcloudapi.net"}},
	{"login-us.microsoftonline.com", "login-us.microsoftonline.com", []string{"login-us.microsoftonline.com"}},
}

// instance serves instance discovery: which hosts are one cloud. Our own host
// is a cloud of its own, and the public cloud's names are known because this
// server may stand behind them.
func (p *Provider) instance(c *call) error {
	if _, err := c.need("api-version"); err != nil {
		return err
	}
	raw, err := c.need("authorization_endpoint")
	if err != nil {
		return err
	}
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return fault(50049, raw)
	}
	own, err := url.Parse(p.base)
	if err != nil {
		return err
	}
	segment, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if segment == "" {
		segment = common
	}
	host := strings.ToLower(u.Host)
	known := host == strings.ToLower(own.Host) || hostname(host) == hostname(own.Host) || hostname(host) == hostname(c.r.Host)
	// On one machine localhost has several names.
	local := loopback(hostname(host)) && loopback(hostname(own.Host))
	known = known || local
	for _, n := range publicNetworks {
		for _, a := range n.Aliases {
			known = known || a == host
		}
	}
	if !known {
		return fault(50049, raw)
	}
	// The client names the host under which it reaches us; a client that lost
	// the port on the way gets it back.
	at := "https://" + host
	if local || hostname(host) == hostname(own.Host) {
		at = p.base
	}
	path := "/v2.0/.well-known/openid-configuration"
	if !strings.Contains(strings.ToLower(u.Path), "/v2.0/") && strings.EqualFold(segment, adfs) {
		path = "/.well-known/openid-configuration"
	}
	list := []network{{own.Host, own.Host, []string{own.Host}}}
	if h := c.r.Host; h != "" && h != own.Host && hostname(h) == hostname(own.Host) {
		list[0].Aliases = append(list[0].Aliases, h)
	}
	if h := hostname(own.Host); h != own.Host {
		// Some clients compare without the port.
		list[0].Aliases = append(list[0].Aliases, h)
	}
	p.write(c, http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": at + "/" + segment + path,
		"api-version":               "1.1",
		"metadata":                  append(list, publicNetworks...),
	})
	return nil
}

func hostname(host string) string {
	if h, _, err := net.SplitHostPort(host); err == nil {
		return strings.ToLower(h)
	}
	return strings.ToLower(host)
}

// userRealm tells how the users of a domain sign in. Every domain of a hosted
// tenant is managed here.
func (p *Provider) userRealm(c *call) error {
	name := c.rest
	_, domain, ok := strings.Cut(name, "@")
	if !ok || domain == "" || len(name) > 256 {
		return fault(90014, "user")
	}
	answer := map[string]any{"ver": "1.0", "account_type": "Unknown", "cloud_instance_name": cloudInstance}
	if _, err := state.FindTenant(c.view, domain); err == nil {
		answer["account_type"] = "Managed"
		answer["domain_name"] = strings.ToLower(domain)
		answer["cloud_audience_urn"] = "urn:federation:MicrosoftOnline"
	} else if !errs.Is(err, errs.NotFound) {
		return err
	}
	p.write(c, http.StatusOK, answer)
	return nil
}

// cors answers a preflight and marks the answers that scripts of other sites
// may read. It reports whether the request is answered.
func (p *Provider) cors(c *call, e endpoint) bool {
	origin := c.r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	h := c.w.Header()
	// No cookie is ever looked at behind these endpoints, so any site may ask,
	// as with Entra.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "client-request-id, x-ms-request-id, x-ms-clitelem, Retry-After")
	if c.r.Method != http.MethodOptions {
		return false
	}
	h.Set("Access-Control-Allow-Methods", e.methods+", OPTIONS")
	h.Set("Access-Control-Max-Age", "3600")
	if asked := c.r.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", "authorization, client-request-id, content-type, return-client-request-id, x-client-cpu, x-client-current-telemetry, x-client-last-telemetry, x-client-os, x-client-sku, x-client-ver, x-ms-lib-capability")
	}
	c.w.WriteHeader(http.StatusNoContent)
	return true
}

// loopback reports whether a host name stands for the machine itself.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
