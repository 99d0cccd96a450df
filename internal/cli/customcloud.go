package cli

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"github.com/entrance-id/entrance/internal/server"
)

// Forms of the authority that az is given. MSAL asks login.microsoftonline.com
// whether it may trust an authority that it does not know, unless the first
// segment of its path is adfs; az has a setting that keeps it from asking since
// version 2.53.
const (
	authorityADFS   = "adfs"
	authorityTenant = "tenant"
)

// cloudConfig is the file that `az cloud register --cloud-config` reads. az 2.45
// asks the cloud for what is missing; all of these are needed for it not to.
type cloudConfig struct {
	Endpoints struct {
		Management                     string `json:"management"`
		ResourceManager                string `json:"resourceManager"`
		ActiveDirectory                string `json:"activeDirectory"`
		ActiveDirectoryResourceID      string `json:"activeDirectoryResourceId"`
		ActiveDirectoryGraphResourceID string `json:"activeDirectoryGraphResourceId"`
		MicrosoftGraphResourceID       string `json:"microsoftGraphResourceId"`
	} `json:"endpoints"`
}

func cloudConfigFile(s *server.Status) string {
	return filepath.Join(filepath.Dir(s.CAFile), "azure-cloud.json")
}

// writeCloudConfig writes the file for `az cloud register`.
func writeCloudConfig(s *server.Status, authority string) error {
	var c cloudConfig
	e := &c.Endpoints
	e.ResourceManager = strings.TrimSuffix(s.Endpoints.ARM, "/") + "/"
	e.Management = e.ResourceManager
	e.ActiveDirectory = strings.TrimSuffix(s.Endpoints.Login, "/")
	if authority == authorityADFS {
		e.ActiveDirectory += "/adfs"
	}
	e.ActiveDirectoryResourceID = "https://management.azure.com/"
	// az takes the address of Microsoft Graph for the name of the resource too.
	e.MicrosoftGraphResourceID = strings.TrimSuffix(s.Endpoints.Graph, "/") + "/"
	e.ActiveDirectoryGraphResourceID = e.MicrosoftGraphResourceID
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return server.WriteFile(cloudConfigFile(s), append(raw, '\n'), 0o644)
}

// customVariables returns what tools that take endpoints need. A proxy that the
// shell has anyway is left alone, but not asked for this machine.
func customVariables(s *server.Status) []variable {
	return append([]variable{
		{"ENTRANCE_CLOUD_CONFIG", cloudConfigFile(s)},
		{"AZURE_AUTHORITY_HOST", strings.TrimSuffix(s.Endpoints.Login, "/") + "/"}, // the Azure SDKs' credentials
		{"AZURE_CORE_INSTANCE_DISCOVERY", "false"},                                 // az 2.53 and later
		{"NO_PROXY", unproxied}, {"no_proxy", unproxied},
	}, trusting(s)...)
}
