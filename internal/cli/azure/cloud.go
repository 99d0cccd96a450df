package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// EnvCloud names the cloud of a sign-in, as --cloud does.
const EnvCloud = "ENTRANCE_CLOUD"

// Cloud is where a sign-in, Microsoft Graph and Resource Manager are. Addresses
// have no slash at the end.
type Cloud struct {
	Name string `json:"name"`
	// DataDir is the data directory of the instance that is the cloud; empty for
	// every other.
	DataDir string `json:"dataDir,omitempty"`
	Login   string `json:"login"`
	Graph   string `json:"graph"`
	ARM     string `json:"resourceManager"`
	// Audience and GraphAudience are the resources that tokens are for.
	Audience      string `json:"audience"`
	GraphAudience string `json:"graphAudience"`
	// IMDS is the managed identity endpoint; empty: the platform's.
	IMDS string `json:"imds,omitempty"`
	// CAFile holds an authority to trust instead of the system's.
	CAFile string `json:"caFile,omitempty"`
}

// Local is the name of a cloud that a data directory holds.
const Local = "Entrance"

// public are the clouds that are known by name, as az spells them.
var public = []Cloud{
	{Name: "AzureCloud", Login: "https://login.microsoftonline.com", Graph: "https://graph.microsoft.com", ARM: "https://management.azure.com",
		Audience: "https://management.azure.com", GraphAudience: "https://graph.microsoft.com"},
	{Name: "AzureUSGovernment", Login: "https://login.microsoftonline.us", Graph: "https://graph.microsoft.us", ARM: "https://management.usgovcloudapi.net",
		Audience: "https://management.usgovcloudapi.net", GraphAudience: "https://graph.microsoft.us"},
	{Name: "AzureChinaCloud", Login: "https://login.chinacloudapi.cn", Graph: "https://microsoftgraph.chinacloudapi.cn", ARM: "https://management.chinacloudapi.cn",
		Audience: "https://management.chinacloudapi.cn", GraphAudience: "https://microsoftgraph.chinacloudapi.cn"},
}

// localCloud is the cloud of a running instance.
func localCloud(s *server.Status, dir string) Cloud {
	return Cloud{
		Name: Local, DataDir: dir, Login: strings.TrimSuffix(s.Endpoints.Login, "/"), Graph: strings.TrimSuffix(s.Endpoints.Graph, "/"),
		ARM: strings.TrimSuffix(s.Endpoints.ARM, "/"), IMDS: s.Endpoints.IMDS, CAFile: s.CAFile,
		Audience: "https://management.azure.com", GraphAudience: "https://graph.microsoft.com",
	}
}

// FindCloud returns the cloud that a person names: one of Microsoft's by its
// name, or any by the address of its Resource Manager, whose metadata tell the
// rest. Without a name it is the instance that runs in the data directory.
func FindCloud(ctx context.Context, name, dataDir string) (Cloud, error) {
	switch {
	case name == "" || strings.EqualFold(name, Local):
		s, err := server.ReadStatus(ctx, dataDir)
		if err != nil {
			return Cloud{}, errs.Wrap(errs.KindOf(err), err, "No cloud is running in %s. Start one with 'entrance up', or name another with --cloud", dataDir)
		}
		return localCloud(s, dataDir), nil
	case strings.Contains(name, "://"):
		return discoverCloud(ctx, name)
	}
	names := []string{Local}
	for _, c := range public {
		if strings.EqualFold(c.Name, name) {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return Cloud{}, Usagef("--cloud is %s or the address of a Resource Manager, not %q", strings.Join(names, ", "), name)
}

// discoverCloud asks a Resource Manager for the endpoints of its cloud, which it
// tells without a token (GET /metadata/endpoints, as `az cloud register` asks).
func discoverCloud(ctx context.Context, address string) (Cloud, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return Cloud{}, Usagef("--cloud: %q is not the https address of a Resource Manager", address)
	}
	c := Cloud{Name: u.Host, ARM: strings.TrimRight(address, "/")}
	client, err := c.HTTP()
	if err != nil {
		return Cloud{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.ARM+"/metadata/endpoints?api-version=2022-09-01", nil)
	if err != nil {
		return Cloud{}, err
	}
	res, err := client.Do(req)
	if err != nil {
		return Cloud{}, errs.Wrap(errs.Unavailable, err, "%s does not answer", c.ARM)
	}
	defer res.Body.Close()
	var meta struct {
		Name           string
		Authentication struct {
			LoginEndpoint string
			Audiences     []string
		}
		Graph, GraphAudience     string
		MicrosoftGraphResourceID string `json:"microsoftGraphResourceId"`
	}
	if res.StatusCode != http.StatusOK {
		return Cloud{}, errs.New(errs.Invalid, "%s does not tell its cloud's endpoints: HTTP %d.", c.ARM, res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&meta); err != nil {
		return Cloud{}, errs.Wrap(errs.Invalid, err, "%s does not tell its cloud's endpoints", c.ARM)
	}
	if meta.Name != "" {
		c.Name = meta.Name
	}
	c.Login, c.Graph = strings.TrimRight(meta.Authentication.LoginEndpoint, "/"), strings.TrimRight(meta.MicrosoftGraphResourceID, "/")
	c.GraphAudience = c.Graph
	for _, audience := range meta.Authentication.Audiences {
		// A name that Graph has too would get a token for Graph.
		if audience = strings.TrimRight(audience, "/"); c.Audience == "" && audience != c.GraphAudience {
			c.Audience = audience
		}
	}
	for what, v := range map[string]string{"loginEndpoint": c.Login, "microsoftGraphResourceId": c.Graph, "audiences": c.Audience} {
		if !strings.HasPrefix(v, "https://") {
			return Cloud{}, errs.New(errs.Invalid, "The metadata of %s have no https address as %s.", c.ARM, what)
		}
	}
	return c, nil
}

// HTTP returns a client for the cloud. The proxy in the environment is for the
// clouds of others: the one of a data directory is reached directly.
func (c Cloud) HTTP() (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.DataDir != "" {
		t.Proxy = nil
	}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "The authority's certificate cannot be read")
		}
		t.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !t.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errs.New(errs.Invalid, "%s holds no certificate.", c.CAFile)
		}
	}
	// A redirect could carry a secret elsewhere.
	return &http.Client{Transport: t, Timeout: 100 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// options are what every client of the cloud is made with.
func (c Cloud) options(client *http.Client) *arm.ClientOptions {
	return &arm.ClientOptions{
		DisableRPRegistration: true, // az does not register providers either for what these commands do
		ClientOptions: policy.ClientOptions{
			Transport: client,
			Telemetry: policy.TelemetryOptions{ApplicationID: "entrance"},
			Retry:     policy.RetryOptions{MaxRetries: 2, RetryDelay: 200 * time.Millisecond},
			Cloud: cloud.Configuration{
				ActiveDirectoryAuthorityHost: c.Login,
				Services:                     map[cloud.ServiceName]cloud.ServiceConfiguration{cloud.ResourceManager: {Endpoint: c.ARM, Audience: c.Audience}},
			},
		},
	}
}

// String names the cloud for a person.
func (c Cloud) String() string {
	if c.DataDir != "" {
		return fmt.Sprintf("%s (%s)", c.Name, c.DataDir)
	}
	return c.Name
}
