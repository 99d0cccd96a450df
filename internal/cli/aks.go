package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

func newAKS(e *env) *cobra.Command {
	c := &cobra.Command{Use: "aks", Short: "Work with managed clusters"}
	c.AddCommand(newGetCredentials(e))
	return c
}

func newGetCredentials(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "get-credentials",
		Short: "Write the kubeconfig of a cluster",
		Long: `Fetch the kubeconfig of a cluster from Azure Resource Manager and write it to a file.
The call is made as the service principal of the credentials file, which the owner of
the data directory can read. An existing file is only replaced with --overwrite-existing.`,
	}
	dir := dataDir(c)
	group := c.Flags().StringP("resource-group", "g", "", "resource group of the cluster")
	name := c.Flags().StringP("name", "n", "", "name of the cluster")
	file := c.Flags().StringP("file", "f", "", "file to write; - for standard output (default $KUBECONFIG or ~/.kube/config)")
	admin := c.Flags().BoolP("admin", "a", false, "the cluster's local administrator instead of a user who signs in")
	format := c.Flags().String("format", "", "exec or azure")
	overwrite := c.Flags().Bool("overwrite-existing", false, "replace the file if it exists")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *group == "" || *name == "" {
			return usageError{fmt.Errorf("--resource-group and --name are required")}
		}
		s, err := server.ReadStatus(c.Context(), *dir)
		if err != nil {
			return err
		}
		arm, err := newARM(c.Context(), s)
		if err != nil {
			return err
		}
		call, query := "listClusterUserCredential", url.Values{"api-version": {"2025-03-01"}}
		if *admin {
			call = "listClusterAdminCredential"
		}
		if *format != "" {
			query.Set("format", *format)
		}
		path := fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ContainerService/managedClusters/%s/%s",
			s.SubscriptionID, url.PathEscape(*group), url.PathEscape(*name), call)
		var answer struct {
			Kubeconfigs []struct{ Value string } `json:"kubeconfigs"`
		}
		if err := arm.post(c.Context(), path+"?"+query.Encode(), &answer); err != nil {
			return err
		}
		if len(answer.Kubeconfigs) == 0 {
			return errs.New(errs.NotFound, "No Kubernetes credentials found.")
		}
		config, err := base64.StdEncoding.DecodeString(answer.Kubeconfigs[0].Value)
		if err != nil {
			return errs.Wrap(errs.Internal, err, "The answer is not a kubeconfig")
		}
		return writeKubeconfig(e, *file, *name, config, *overwrite)
	}
	return c
}

func writeKubeconfig(e *env, file, name string, config []byte, overwrite bool) error {
	if file == "-" {
		_, err := e.out.Write(config)
		return err
	}
	if file == "" {
		file = filepath.SplitList(os.Getenv("KUBECONFIG") + string(filepath.ListSeparator))[0]
	}
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		file = filepath.Join(home, ".kube", "config")
	}
	if _, err := os.Stat(file); err == nil && !overwrite {
		return errs.New(errs.Exists, "%s exists. Write to another file with --file, or replace it with --overwrite-existing.", file)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	if err := server.WriteFile(file, config, 0o600); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "Wrote %q as current context to %s\n", name, file)
	return nil
}

// armClient calls Resource Manager as the service principal of the credentials
// file.
type armClient struct {
	base  string
	token string
	http  *http.Client
	sp    server.ServicePrincipal
}

func newARM(ctx context.Context, s *server.Status) (*armClient, error) {
	raw, err := os.ReadFile(s.CredentialsFile)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The credentials file cannot be read")
	}
	var credentials server.Credentials
	if err := json.Unmarshal(raw, &credentials); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The credentials file %s is broken", s.CredentialsFile)
	}
	ca, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "The authority's certificate cannot be read")
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	c := &armClient{base: s.Endpoints.ARM, http: &http.Client{
		Timeout: 30 * time.Second,
		// The proxy in the environment is for other tools: this one knows where
		// to go.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}},
	}}
	c.sp = credentials.ServicePrincipal
	c.token, err = c.tokenFor(ctx, s, "https://management.azure.com/.default")
	return c, err
}

// tokenFor signs in for a scope.
func (c *armClient) tokenFor(ctx context.Context, s *server.Status, scope string) (string, error) {
	form := url.Values{
		"grant_type": {"client_credentials"}, "client_id": {string(c.sp.ClientID)}, "client_secret": {c.sp.ClientSecret},
		"scope": {scope},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.Endpoints.Login+"/"+string(c.sp.TenantID)+"/oauth2/v2.0/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	err = c.do(req, &answer)
	return answer.AccessToken, err
}

func (c *armClient) post(ctx context.Context, path string, answer any) error {
	return c.call(ctx, http.MethodPost, path, nil, answer)
}

// call makes a request with an optional JSON body.
func (c *armClient) call(ctx context.Context, method, path string, body, answer any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	return c.do(req, answer)
}

func (c *armClient) do(req *http.Request, answer any) error {
	res, err := c.http.Do(req)
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "Entrance does not answer")
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var failure struct {
			Error   json.RawMessage `json:"error"`
			Details string          `json:"error_description"`
		}
		var arm struct{ Code, Message string }
		text := res.Status
		if json.Unmarshal(body, &failure) == nil {
			if failure.Details != "" {
				text = failure.Details
			} else if json.Unmarshal(failure.Error, &arm) == nil && arm.Code != "" {
				text = "(" + arm.Code + ") " + arm.Message
			}
		}
		kind := errs.Invalid
		if res.StatusCode == http.StatusNotFound {
			kind = errs.NotFound
		}
		return errs.New(kind, "%s", text)
	}
	return json.Unmarshal(body, answer)
}
