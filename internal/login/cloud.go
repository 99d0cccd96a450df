package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const publicHost = "login.microsoftonline.com"

// cloudHosts is the built-in instance metadata: each known authority host and
// the name under which its cloud caches tokens.
var cloudHosts = map[string]string{
	publicHost:                         "login.windows.net",
	"login.windows.net":                "login.windows.net",
	"login.microsoft.com":              "login.windows.net",
	"sts.windows.net":                  "login.windows.net",
	"login.partner.microsoftonline.cn": "login.partner.microsoftonline.cn",
	"login.chinacloudapi.cn":           "login.partner.microsoftonline.cn",
	"login.microsoftonline.us":         "login.microsoftonline.us",
	"login.usgovcloudapi.net":          "login.microsoftonline.us",
	"login-us.microsoftonline.com":     "login-us.microsoftonline.com",
	"login.microsoftonline.de":         "login.microsoftonline.de",
}

// environmentHost maps --environment to an authority host. Unknown names mean
// the public cloud, as in the original.
func environmentHost(name string) string {
	switch strings.ToLower(name) {
	case "azureusgovernment", "azureusgovernmentcloud":
		return "login.microsoftonline.us"
	case "azurechinacloud":
		return "login.chinacloudapi.cn"
	}
	return publicHost
}

// authority is where a tenant signs in.
type authority struct {
	base   *url.URL // with a path that ends in '/'
	tenant string
	known  bool // one of Microsoft's clouds, or declared good by the user
}

// newAuthority makes the authority of o and refuses tenant names that would
// change the meaning of a URL.
func newAuthority(o *Options) (*authority, error) {
	raw := o.AuthorityHost
	if raw == "" {
		raw = "https://" + environmentHost(o.Environment) + "/"
	}
	if err := checkAuthorityHost(raw); err != nil {
		return nil, err
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	u.Host = strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	if strings.ContainsFunc(o.TenantID, func(r rune) bool {
		return !strings.ContainsRune("-._", r) && badInSubscription(r) || r == ' '
	}) {
		return nil, fmt.Errorf("invalid tenantID %q: only letters, digits, '-', '_' and '.' are allowed", o.TenantID)
	}
	_, known := cloudHosts[u.Host]
	return &authority{base: u, tenant: o.TenantID, known: known || o.DisableInstanceDiscovery}, nil
}

// cacheName is the authority as cache keys spell it: all hosts of one cloud
// share their tokens.
func (a *authority) cacheName() string {
	if name, ok := cloudHosts[a.base.Host]; ok && a.base.Path == "/" {
		return name
	}
	return a.base.Host + strings.TrimSuffix(a.base.Path, "/")
}

func (a *authority) url(path string) string {
	return a.base.String() + path
}

// endpoints are what the tenant's metadata names.
type endpoints struct {
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	DeviceCode    string `json:"device_authorization_endpoint"`
	Issuer        string `json:"issuer"`
}

// resolve finds the endpoints of the tenant. For a host that is not one of
// Microsoft's it first asks Microsoft's instance discovery, unless the user
// has said that the host is good.
func (c *oauthClient) resolve(ctx context.Context) (*endpoints, error) {
	if c.ends != nil {
		return c.ends, nil
	}
	if !c.auth.known {
		if err := c.discoverInstance(ctx); err != nil {
			return nil, err
		}
	}
	var ends endpoints
	where := c.auth.url(c.auth.tenant + "/v2.0/.well-known/openid-configuration")
	if err := c.getJSON(ctx, where, nil, &ends); err != nil {
		return nil, err
	}
	if err := ends.check(c.auth); err != nil {
		return nil, err
	}
	if ends.DeviceCode == "" {
		ends.DeviceCode = strings.TrimSuffix(ends.Token, "/token") + "/devicecode"
	}
	c.ends = &ends
	return c.ends, nil
}

// check refuses metadata that is incomplete, that would send secrets in the
// clear, or whose issuer is somebody else.
func (e *endpoints) check(a *authority) error {
	for _, f := range []struct{ name, value string }{
		{"authorization_endpoint", e.Authorization}, {"token_endpoint", e.Token},
		{"issuer", e.Issuer}, {"device_authorization_endpoint", e.DeviceCode},
	} {
		if f.value == "" {
			if f.name == "device_authorization_endpoint" {
				continue
			}
			return fmt.Errorf("metadata of %s has no %s", a.base.Host, f.name)
		}
		u, err := url.Parse(f.value)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return fmt.Errorf("metadata of %s names an unusable %s", a.base.Host, f.name)
		}
	}
	u, _ := url.Parse(e.Issuer)
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	_, microsoft := cloudHosts[host]
	// A regional host stands before the cloud's own name.
	if _, rest, ok := strings.Cut(host, "."); ok && !microsoft {
		_, microsoft = cloudHosts[rest]
	}
	if host != a.base.Host && !microsoft {
		return fmt.Errorf("metadata of %s names the issuer %s, which is another host", a.base.Host, clean(e.Issuer))
	}
	return nil
}

func (c *oauthClient) discoverInstance(ctx context.Context) error {
	q := url.Values{"api-version": {"1.1"}, "authorization_endpoint": {c.auth.url(c.auth.tenant + "/oauth2/v2.0/authorize")}}
	var out struct {
		Endpoint string `json:"tenant_discovery_endpoint"`
	}
	err := c.getJSON(ctx, "https://"+publicHost+"/common/discovery/instance?"+q.Encode(), nil, &out)
	var se *ServerError
	if errors.As(err, &se) && se.Code == "invalid_instance" {
		return fmt.Errorf("%s is not a host of a Microsoft cloud; if you trust it, add --disable-instance-discovery", c.auth.base.Host)
	}
	if err != nil {
		return fmt.Errorf("asking %s whether it knows %s (--disable-instance-discovery skips this): %w", publicHost, c.auth.base.Host, err)
	}
	if out.Endpoint == "" {
		return fmt.Errorf("%s gave no answer about %s; add --disable-instance-discovery if you trust it", publicHost, c.auth.base.Host)
	}
	c.auth.known = true
	return nil
}

// realm asks whether a user's password is checked here or by a federated
// provider.
func (c *oauthClient) realm(ctx context.Context, user string) (*userRealm, error) {
	var r userRealm
	err := c.getJSON(ctx, c.auth.url("common/UserRealm/"+url.PathEscape(user)+"?api-version=1.0"), http.Header{}, &r)
	if err != nil {
		return nil, err
	}
	return &r, nil
}

type userRealm struct {
	AccountType   string `json:"account_type"`
	Protocol      string `json:"federation_protocol"`
	MetadataURL   string `json:"federation_metadata_url"`
	CloudAudience string `json:"cloud_audience_urn"`
}
