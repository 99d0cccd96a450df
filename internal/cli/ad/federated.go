package ad

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/output"
)

const federatedTable output.Table = "[].{Name:name, Issuer:issuer, Subject:subject, Id:id}"

// newFederated makes the commands for the tokens of other issuers that an
// application trusts.
func newFederated(a *azure.App) *cobra.Command {
	// command makes one that works below the application's address.
	command := func(use, short string, named bool, table output.Table, do func(ctx context.Context, t tenant, path, parameters string) (any, error)) *cobra.Command {
		c := &cobra.Command{Use: use, Short: short}
		id := appFlag(c)
		name, parameters := "", ""
		if named {
			c.Flags().StringVar(&name, "federated-credential-id", "", "id or name of the federated credential")
			azure.Require(c, "federated-credential-id")
		}
		if use == "create" || use == "update" {
			c.Flags().StringVar(&parameters, "parameters", "", "name, issuer, subject, audiences and description: JSON or @file")
			azure.Require(c, "parameters")
		}
		return run(a, c, table, func(ctx context.Context, t tenant) (any, error) {
			o, err := t.app(ctx, *id)
			if err != nil {
				return nil, err
			}
			path := one("applications", graph.Text(o, "id"), "federatedIdentityCredentials")
			if named {
				path += "/" + url.PathEscape(name)
			}
			return do(ctx, t, path, parameters)
		})
	}
	create := command("create", "Trust a token of another issuer", false, federatedTable, func(ctx context.Context, t tenant, path, parameters string) (any, error) {
		body, err := document("parameters", parameters)
		if err != nil {
			return nil, err
		}
		return t.Post(ctx, path, body)
	})
	create.Example = `  entrance ad app federated-credential create --id APP --parameters '{"name": "ci", "issuer": "https://token.actions.githubusercontent.com",
      "subject": "repo:org/repo:ref:refs/heads/main", "audiences": ["api://AzureADTokenExchange"]}'`
	return collection("federated-credential", "Say which tokens of other issuers an application trusts", create,
		command("list", "List the tokens of other issuers that are trusted", false, federatedTable, func(ctx context.Context, t tenant, path, _ string) (any, error) {
			return t.List(ctx, path, nil)
		}),
		command("show", "Show a trusted token", true, federatedTable, func(ctx context.Context, t tenant, path, _ string) (any, error) {
			return t.Get(ctx, path)
		}),
		command("update", "Change which token is trusted", true, "", func(ctx context.Context, t tenant, path, parameters string) (any, error) {
			body, err := document("parameters", parameters)
			if err != nil {
				return nil, err
			}
			return nil, t.Patch(ctx, path, body)
		}),
		command("delete", "Trust a token no more", true, "", func(ctx context.Context, t tenant, path, _ string) (any, error) {
			return nil, t.Delete(ctx, path)
		}))
}
