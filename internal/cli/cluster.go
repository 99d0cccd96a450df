package cli

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
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/login"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/internal/state"
)

func newCluster(e *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "cluster", Short: "Connect clusters that somebody else runs"}
	c.AddCommand(newConnect(e), newCheck(e), newRenew(e), newTrustIssuer(e), newDistrustIssuer(e), newIssuers(e))
	return c
}

func newConnect(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "connect NAME",
		Short: "Make a cluster's API server ask Entrance: its resource, its client certificate and its files",
		Long: `Make the resource of a cluster that runs elsewhere, issue the client certificate by which
its API server proves itself, write the files that it needs, and print the exact changes
for its distribution. Called again it issues another certificate and changes nothing else
unless asked to.

A certificate lives for 90 days. Two of the files are systemd units with which it renews
itself, by 'entrance cluster renew'. Whoever takes the certificate and its key can ask the
webhooks, and go on renewing: then delete the resource and connect the cluster anew.

Styles: webhooks (all that Entrance can do), flags (for API servers before 1.32), structured
(an AuthenticationConfiguration: the API server verifies tokens by itself).`,
		Example: `  entrance cluster connect edge -g factory --server https://10.0.0.5:6443 --for kubeadm --output-dir ./edge
  entrance cluster connect edge -g factory --output-dir ./edge --style structured`,
		Args: exactName,
	}
	dir := e.DataDirFlag(c)
	group := c.Flags().StringP("resource-group", "g", "", "resource group, which exists")
	location := c.Flags().StringP("location", "l", "centralus", "region to note in the resource")
	address := c.Flags().String("server", "", "address of the API server, for kubeconfigs")
	ca := c.Flags().String("certificate-authority", "", "file with the API server's authority, for kubeconfigs")
	admins := c.Flags().StringSlice("aad-admin-group-object-ids", nil, "groups that may do everything")
	azureRBAC := c.Flags().Bool("enable-azure-rbac", false, "let Azure RBAC decide beside Kubernetes RBAC")
	issuer := c.Flags().Bool("enable-oidc-issuer", false, "serve an issuer for the cluster's service accounts, with the keys that its API server has")
	workload := c.Flags().Bool("enable-workload-identity", false, "have pods changed on admission, so that they sign in without a secret")
	distribution := c.Flags().String("for", "flags", "flags, kubeadm, k3s or kind")
	style := c.Flags().String("style", "webhooks", "webhooks, flags or structured")
	remote := c.Flags().String("remote-dir", "/etc/kubernetes/entrance", "where the files will be on the API server's machine")
	webhooks := c.Flags().String("webhook-address", "", "address at which the API server reaches the webhooks (default: this machine's listener)")
	out := c.Flags().String("output-dir", "", "directory to write the files to")
	c.RunE = func(c *cobra.Command, args []string) error {
		if *group == "" || *out == "" {
			return azure.Usagef("--resource-group and --output-dir are required")
		}
		s, err := azure.OpenInstance(c.Context(), *dir, e.Err)
		if err != nil {
			return err
		}
		id := fmt.Sprintf("%s/resourceGroups/%s/providers/Microsoft.Kubernetes/connectedClusters/%s", s.Scope(), url.PathEscape(*group), url.PathEscape(args[0]))
		set := func(name string) bool { return c.Flags().Changed(name) }
		if err := putConnected(c.Context(), s, id, func(doc map[string]any) error {
			doc["location"] = *location
			properties := member(doc, "properties")
			aad := member(properties, "aadProfile")
			if set("aad-admin-group-object-ids") {
				aad["adminGroupObjectIDs"] = *admins
			}
			if set("enable-azure-rbac") {
				aad["enableAzureRBAC"] = *azureRBAC
			}
			if set("enable-oidc-issuer") {
				member(properties, "oidcIssuerProfile")["enabled"] = *issuer
			}
			if set("enable-workload-identity") {
				member(member(properties, "securityProfile"), "workloadIdentity")["enabled"] = *workload
			}
			reach := member(properties, "entrance")
			if *address != "" {
				reach["server"] = *address
			}
			if *ca != "" {
				pem, err := os.ReadFile(*ca)
				if err != nil {
					return errs.Wrap(errs.Invalid, err, "The authority's file cannot be read")
				}
				reach["certificateAuthorityData"] = pem // encoding/json writes base64
			}
			return nil
		}); err != nil {
			return err
		}
		answer, err := server.Connect(c.Context(), *dir, server.ConnectQuery{Cluster: id, Dir: *remote, Distribution: *distribution, Style: *style, Webhooks: strings.TrimSuffix(*webhooks, "/")})
		if err != nil {
			return err
		}
		if err := os.MkdirAll(*out, 0o700); err != nil {
			return err
		}
		for name, content := range answer.Files {
			if err := server.WriteFile(filepath.Join(*out, name), content, 0o600); err != nil {
				return err
			}
		}
		fmt.Fprintf(e.Out, "Connected %s.\nWrote %d files to %s.\n\n%s", id, len(answer.Files), *out, answer.Instructions)
		if set("enable-workload-identity") && !*workload {
			fmt.Fprint(e.Out, "\nPods are not changed any more. Remove the webhook, or labelled pods are refused:\n\n  kubectl delete mutatingwebhookconfiguration azure-wi-webhook-mutating-webhook-configuration\n")
		}
		return nil
	}
	return c
}

// exactName demands one argument, the name of a cluster.
var exactName = oneArgument("the name of one cluster")

// member returns the object in doc under name, which it makes if need be.
func member(doc map[string]any, name string) map[string]any {
	m, ok := doc[name].(map[string]any)
	if !ok {
		m = map[string]any{}
		doc[name] = m
	}
	return m
}

// connectedVersion is the api-version for connected clusters.
const connectedVersion = "2024-01-01"

func apiVersion(v string) url.Values { return url.Values{"api-version": {v}} }

// putConnected creates or changes the resource of a connected cluster; what the
// change does not touch stays.
func putConnected(ctx context.Context, s *azure.Session, id string, change func(map[string]any) error) error {
	doc := map[string]any{}
	if err := s.Call(ctx, http.MethodGet, id, apiVersion(connectedVersion), nil, &doc); err != nil && !azure.IsNotFound(err) {
		return azure.Explain(err)
	}
	if err := change(doc); err != nil {
		return err
	}
	return azure.Explain(s.Call(ctx, http.MethodPut, id, apiVersion(connectedVersion), doc, nil))
}

func newCheck(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "check NAME",
		Short: "Prove from outside that a cluster's API server asks Entrance",
		Long: `Prove from outside that a cluster's API server asks Entrance: sign in as the sample's
service principal, ask the API server who that is, and compare; then show it a token that
Entrance refuses. Only Entrance can know the answer that is expected. Last, ask what may
be done with something that has a random name, and look whether the webhooks were asked
about it, before and after the cluster's own RBAC.`,
		Args: exactName,
	}
	dir := e.DataDirFlag(c)
	address := c.Flags().String("server", "", "address of the API server (default: as in the cluster's kubeconfig)")
	ca := c.Flags().String("certificate-authority", "", "file with the API server's authority")
	c.RunE = func(c *cobra.Command, args []string) error {
		s, err := azure.OpenInstance(c.Context(), *dir, e.Err)
		if err != nil {
			return err
		}
		at, pool, err := reach(c.Context(), s, args[0], *address, *ca)
		if err != nil {
			return azure.Explain(err)
		}
		entry, err := s.Token(c.Context(), string(directory.AKSServer))
		if err != nil {
			return azure.Explain(err)
		}
		token := entry.AccessToken
		claims, _ := login.ReadClaims(token)
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
		user, code, err := whoami(c.Context(), client, at, token)
		if err != nil {
			return errs.Wrap(errs.Unavailable, err, "The API server at %s cannot be reached", at)
		}
		switch {
		case code == http.StatusUnauthorized:
			return errs.New(errs.Unauthenticated, "The API server refuses a good token: it does not ask Entrance, or asks in vain. Look for 'webhook' in its log; check --authentication-token-webhook-config-file or --authentication-config.")
		case code >= 300:
			return errs.New(errs.Unavailable, "The API server answered HTTP %d.", code)
		case claims.ObjectID == "" || user.Username != claims.ObjectID || !slices.Contains(slices.Concat(user.Extra[state.ExtraOID], user.Extra[state.ExtraObject]), claims.ObjectID):
			return errs.New(errs.Forbidden, "The API server takes the token for %q: something else than Entrance vouches for it.", user.Username)
		}
		fmt.Fprintf(e.Out, "authentication  ok: the API server knows %s, and its oid\n", user.Username)
		// One flipped bit: only a check of the signature refuses it.
		bad := token[:len(token)-10] + flip(token[len(token)-10:])
		if _, code, err = whoami(c.Context(), client, at, bad); err != nil {
			return err
		}
		if code != http.StatusUnauthorized {
			return errs.New(errs.Forbidden, "The API server lets a forged token in (HTTP %d). Take it off the network.", code)
		}
		fmt.Fprintln(e.Out, "forged token    ok: refused")
		return probe(c.Context(), e, *dir, args[0], client, at, token)
	}
	return c
}

func flip(s string) string {
	if s[0] == 'A' {
		return "B" + s[1:]
	}
	return "A" + s[1:]
}

// reach returns how to reach a cluster's API server: as the flags say, or else
// as the cluster's own kubeconfig says.
func reach(ctx context.Context, s *azure.Session, name, address, ca string) (string, *x509.CertPool, error) {
	var pem []byte
	if address == "" {
		var err error
		if address, pem, err = endpoint(ctx, s, name); err != nil {
			return "", nil, err
		}
	}
	if ca != "" {
		var err error
		if pem, err = os.ReadFile(ca); err != nil {
			return "", nil, errs.Wrap(errs.Invalid, err, "The authority's file cannot be read")
		}
	}
	if len(pem) == 0 {
		return strings.TrimSuffix(address, "/"), nil, nil // whom the machine trusts
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return "", nil, errs.New(errs.Invalid, "The authority of the API server holds no certificate.")
	}
	return strings.TrimSuffix(address, "/"), pool, nil
}

// endpoint returns the address and the authority, in PEM, that the kubeconfig of
// the cluster with a name or resource id has.
func endpoint(ctx context.Context, s *azure.Session, name string) (string, []byte, error) {
	status, err := server.ReadStatus(ctx, s.Cloud.DataDir)
	if err != nil {
		return "", nil, err
	}
	var found []string
	for _, k := range status.Clusters {
		if strings.EqualFold(k.ID, name) || strings.EqualFold(k.Name, name) {
			found = append(found, k.ID)
		}
	}
	switch {
	case len(found) == 0:
		return "", nil, errs.New(errs.NotFound, "There is no cluster %q.", name)
	case len(found) > 1:
		return "", nil, errs.New(errs.Invalid, "Several clusters are called %q: name one by its resource id.", name)
	}
	v := "2025-03-01"
	if strings.Contains(strings.ToLower(found[0]), "/microsoft.kubernetes/") {
		v = connectedVersion
	}
	var answer struct{ Kubeconfigs []struct{ Value []byte } }
	if err := s.Call(ctx, http.MethodPost, found[0]+"/listClusterUserCredential", apiVersion(v), nil, &answer); err != nil {
		return "", nil, err
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if len(answer.Kubeconfigs) != 1 || yaml.Unmarshal(answer.Kubeconfigs[0].Value, &config) != nil || len(config.Clusters) != 1 {
		return "", nil, errs.New(errs.Internal, "The kubeconfig of %s cannot be read.", found[0])
	}
	return config.Clusters[0].Cluster.Server, config.Clusters[0].Cluster.CA, nil
}

type userInfo struct {
	Username string              `json:"username"`
	Extra    map[string][]string `json:"extra"`
}

// whoami asks an API server whom it takes a token's bearer for.
func whoami(ctx context.Context, client *http.Client, at, token string) (userInfo, int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/apis/authentication.k8s.io/v1/selfsubjectreviews",
		strings.NewReader(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`))
	if err != nil {
		return userInfo{}, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return userInfo{}, 0, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return userInfo{}, 0, err
	}
	var review struct {
		Status struct {
			UserInfo userInfo `json:"userInfo"`
		} `json:"status"`
	}
	if res.StatusCode < 300 {
		err = json.Unmarshal(body, &review)
	}
	return review.Status.UserInfo, res.StatusCode, err
}
