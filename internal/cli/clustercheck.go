package cli

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cluster"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/internal/webhook"
)

// probe asks an API server whether the bearer of a token may read an object that
// nothing else can know of, and Entrance which of its webhooks heard of it.
func probe(ctx context.Context, e *azure.App, dir, name string, client *http.Client, at, token string) error {
	var b [8]byte
	rand.Read(b[:])
	object := webhook.ProbePrefix + hex.EncodeToString(b[:])
	body := fmt.Sprintf(`{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{"resourceAttributes":{"namespace":"default","verb":"get","resource":"configmaps","name":%q}}}`, object)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, at+"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "The API server at %s cannot be reached", at)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	var review struct {
		Status struct {
			Allowed bool   `json:"allowed"`
			Reason  string `json:"reason"`
		} `json:"status"`
	}
	if res.StatusCode != http.StatusCreated || json.Unmarshal(raw, &review) != nil {
		return errs.New(errs.Unavailable, "The API server does not say what may be done (HTTP %d): it may wait for a webhook that it cannot reach. Look for 'webhook' in its log.", res.StatusCode)
	}
	asked, err := server.Probed(ctx, dir, server.ProbeQuery{Cluster: name, Name: object})
	if err != nil {
		return err
	}
	switch {
	case asked.Authorize:
		fmt.Fprintln(e.Out, "authorization   ok: the API server asks after its own RBAC")
	case review.Status.Allowed:
		fmt.Fprintf(e.Out, "authorization   not tried: the cluster's own RBAC allows it (%s)\n", review.Status.Reason)
	default:
		return errs.New(errs.Forbidden, "The API server does not ask Entrance what may be done: check --authorization-config, or --authorization-mode and --authorization-webhook-config-file.")
	}
	if !asked.Deny {
		fmt.Fprintln(e.Out, "deny first      not asked: what RBAC allows outlives an account by the time of a TokenReview (style flags)")
		return nil
	}
	fmt.Fprintln(e.Out, "deny first      ok: the API server asks before its own RBAC")
	return nil
}

func newRenew(e *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "renew --dir DIR",
		Short: "Renew the client certificate of a connected cluster, on the API server's machine",
		Long: `Renew the client certificate by which an API server proves itself, when its end is near: ask
for the new one with the old one, and replace the files that 'entrance cluster connect'
wrote. The API server reads them again by itself. The key never leaves the machine. A
timer runs this every day; it does nothing until the end is near.`,
		Args: cobra.NoArgs,
	}
	dir := c.Flags().String("dir", "", "directory of the files on this machine")
	before := c.Flags().Duration("before", 30*24*time.Hour, "renew when the certificate ends within this time")
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *dir == "" {
			return azure.Usagef("--dir is required")
		}
		r, err := cluster.Renew(c.Context(), *dir, time.Now(), *before)
		if err != nil {
			return err
		}
		until := r.Until.UTC().Format(time.RFC3339)
		if r.Renewed {
			fmt.Fprintf(e.Out, "Renewed: the certificate is good until %s.\n", until)
		} else {
			fmt.Fprintf(e.Out, "Nothing to do: the certificate is good until %s.\n", until)
		}
		return nil
	}
	return c
}
