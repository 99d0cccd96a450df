package identity

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/msi/armmsi"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/shape"
)

const federatedTable output.Table = "[].{Name:name, Issuer:issuer, Subject:subject, ResourceGroup:resourceGroup}"

// exchange is the audience of tokens that are exchanged.
const exchange = "api://AzureADTokenExchange"

func newFederated(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "federated-credential", Short: "Say which tokens of other issuers a managed identity trusts"}
	c.AddCommand(newPut(a, "create", "Trust a token of another issuer"), newPut(a, "update", "Change which token is trusted"),
		newFederatedShow(a), newFederatedList(a), newFederatedDelete(a))
	return c
}

func credentials(s *azure.Session) (*armmsi.FederatedIdentityCredentialsClient, error) {
	return armmsi.NewFederatedIdentityCredentialsClient(s.Subscription.ID, s.Credential, s.Options())
}

// federated are the flags that name a credential of an identity.
type federated struct{ group, identity, name *string }

func newFederatedFlags(a *azure.App, c *cobra.Command, one bool) federated {
	f := federated{group: a.GroupFlag(c), identity: c.Flags().String("identity-name", "", "name of the managed identity")}
	azure.Require(c, "identity-name")
	a.Complete(c, "identity-name", func(ctx context.Context, s *azure.Session) ([]string, error) {
		list, err := all(ctx, s, *f.group)
		var names []string
		for _, i := range list {
			names = append(names, *i.Name)
		}
		return names, err
	})
	if one {
		f.name = c.Flags().StringP("name", "n", "", "name of the federated credential")
		azure.Require(c, "name")
	}
	return f
}

func newPut(a *azure.App, use, short string) *cobra.Command {
	c := &cobra.Command{
		Use: use, Short: short,
		Example: "  entrance identity federated-credential " + use + " -n app --identity-name app -g web --issuer $ISSUER \\\n      --subject system:serviceaccount:default:app",
	}
	f := newFederatedFlags(a, c, true)
	issuer, subject := c.Flags().String("issuer", "", "the issuer's URL, exactly as its tokens write it"), c.Flags().String("subject", "", "subject of the tokens, such as system:serviceaccount:NAMESPACE:NAME")
	audiences := azure.WordsFlag(c, "audiences", "audience of the tokens (default: "+exchange+")")
	azure.Require(c, "issuer", "subject")
	a.Run(c, federatedTable, func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := credentials(s)
		if err != nil {
			return nil, err
		}
		p := &armmsi.FederatedIdentityCredentialProperties{Issuer: issuer, Subject: subject}
		if len(audiences.List) == 0 {
			audiences.List = []string{exchange}
		}
		for _, e := range audiences.List {
			p.Audiences = append(p.Audiences, &e)
		}
		made, err := client.CreateOrUpdate(ctx, *f.group, *f.identity, *f.name, armmsi.FederatedIdentityCredential{Properties: p}, nil)
		if err != nil {
			return nil, err
		}
		return shape.Resource(made.FederatedIdentityCredential)
	})
	return c
}

func newFederatedShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a federated credential"}
	f := newFederatedFlags(a, c, true)
	a.Run(c, federatedTable, func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := credentials(s)
		if err != nil {
			return nil, err
		}
		one, err := client.Get(ctx, *f.group, *f.identity, *f.name, nil)
		if err != nil {
			return nil, err
		}
		return shape.Resource(one.FederatedIdentityCredential)
	})
	return c
}

func newFederatedList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the federated credentials of a managed identity"}
	f := newFederatedFlags(a, c, false)
	a.Run(c, federatedTable, func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := credentials(s)
		if err != nil {
			return nil, err
		}
		list, err := azure.Collect(ctx, client.NewListPager(*f.group, *f.identity, nil), func(p armmsi.FederatedIdentityCredentialsClientListResponse) []*armmsi.FederatedIdentityCredential {
			return p.Value
		})
		if err != nil {
			return nil, err
		}
		return shape.List(list, shape.Resource)
	})
	return c
}

func newFederatedDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a federated credential"}
	f := newFederatedFlags(a, c, true)
	yes := c.Flags().BoolP("yes", "y", false, "do not ask")
	a.Run(c, "", func(ctx context.Context, s *azure.Session) (any, error) {
		if err := a.Confirm(*yes, "Are you sure you want to delete the federated credential %s?", *f.name); err != nil {
			return nil, err
		}
		client, err := credentials(s)
		if err != nil {
			return nil, err
		}
		_, err = client.Delete(ctx, *f.group, *f.identity, *f.name, nil)
		return nil, err
	})
	return c
}
