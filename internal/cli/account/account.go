package account

import (
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armsubscriptions"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/cli/shape"
	"github.com/entrance-id/entrance/internal/errs"
)

// accountTable is what a table of subscriptions shows, as in az.
const accountTable output.Table = "[].{Name:name, CloudName:cloudName, SubscriptionId:id, TenantId:tenantId, State:state, IsDefault:isDefault}"

// user is who signed in.
type user struct {
	Name string     `json:"name"`
	Type azure.Kind `json:"type"`
}

// tenant is a tenant that manages a subscription too.
type tenant struct {
	TenantID string `json:"tenantId"`
}

// entry is a subscription as `az account list` prints it.
type entry struct {
	CloudName       string   `json:"cloudName,omitempty"`
	EnvironmentName string   `json:"environmentName,omitempty"`
	HomeTenantID    string   `json:"homeTenantId"`
	ID              string   `json:"id"`
	IsDefault       bool     `json:"isDefault"`
	ManagedBy       []tenant `json:"managedByTenants"`
	Name            string   `json:"name"`
	State           string   `json:"state"`
	TenantID        string   `json:"tenantId"`
	User            user     `json:"user"`
}

func newEntry(s azure.Subscription, a azure.Account) entry {
	e := entry{CloudName: a.Cloud.Name, HomeTenantID: s.HomeTenantID, ID: s.ID, IsDefault: s.Default, ManagedBy: []tenant{}, Name: s.Name, State: s.State, TenantID: s.TenantID, User: user{a.Name, a.Kind}}
	if e.HomeTenantID == "" {
		e.HomeTenantID = s.TenantID
	}
	for _, m := range s.ManagedBy {
		e.ManagedBy = append(e.ManagedBy, tenant{m})
	}
	return e
}

func listed(p *azure.Profile, s azure.Subscription) entry {
	a, _ := p.AccountOf(s)
	return newEntry(s, a)
}

// New is `entrance account`.
func New(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "account", Short: "Show who is signed in, and choose a subscription"}
	c.AddCommand(newShow(a), newList(a), newSet(a), newClear(a), newToken(a), newLocations(a))
	return c
}

func newShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "show",
		Short: "Show the subscription that is used, and who uses it",
		Long:  "Show the subscription that is used, and who uses it: without a sign-in, the service\nprincipal of the credentials file of the cloud that runs in the data directory.",
	}
	a.Run(c, accountTable, func(ctx context.Context, s *azure.Session) (any, error) {
		sub := s.Subscription
		if s.Local() {
			list, err := s.Subscriptions(ctx)
			if err != nil {
				return nil, err
			}
			for _, l := range list {
				if l.Default {
					sub = l
				}
			}
		}
		e := newEntry(sub, s.Account)
		e.EnvironmentName, e.CloudName = e.CloudName, "" // as az calls it here
		return e, nil
	})
	return c
}

func newList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the subscriptions of the signed-in accounts"}
	all := c.Flags().Bool("all", false, "those that are not enabled too")
	refresh := c.Flags().Bool("refresh", false, "ask the cloud instead of what the sign-in found")
	a.Run(c, accountTable, func(ctx context.Context, s *azure.Session) (any, error) {
		list := []entry{}
		if s.Local() {
			subs, err := s.Subscriptions(ctx)
			for _, sub := range subs {
				list = append(list, newEntry(sub, s.Account))
			}
			return list, err
		}
		p, err := azure.LoadProfile()
		if err != nil {
			return nil, err
		}
		if *refresh {
			if err := azure.Refresh(ctx, p, a.Err); err != nil {
				return nil, err
			}
		}
		for _, sub := range p.Subscriptions {
			if *all || sub.State == "Enabled" {
				list = append(list, listed(p, sub))
			}
		}
		return list, nil
	})
	return c
}

func newSet(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "set", Short: "Choose the subscription that is used unless a command names one", Aliases: []string{"set-subscription"}}
	name := c.Flags().StringP("subscription", "s", "", "name or id of the subscription")
	c.Flags().StringVarP(name, "name", "n", "", "name or id of the subscription")
	a.RunAlone(c, "", func(context.Context) (any, error) {
		if *name == "" {
			return nil, azure.Usagef("the following arguments are required: --subscription/-s (see '%s --help')", c.CommandPath())
		}
		p, err := azure.LoadProfile()
		if err != nil {
			return nil, err
		}
		if !p.Choose(*name) {
			return nil, errs.New(errs.Invalid, "The subscription of '%s' doesn't exist in the signed-in accounts. See them with 'entrance account list', or sign in with 'entrance login'.", *name)
		}
		return nil, p.Save()
	})
	a.Complete(c, "subscription", func(context.Context, *azure.Session) ([]string, error) {
		p, err := azure.LoadProfile()
		if err != nil {
			return nil, err
		}
		var names []string
		for _, s := range p.Subscriptions {
			names = append(names, s.ID+"\t"+s.Name)
		}
		return names, nil
	})
	return c
}

func newClear(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "clear", Short: "Forget all sign-ins"}
	a.RunAlone(c, "", func(context.Context) (any, error) {
		p, err := azure.LoadProfile()
		if err != nil {
			return nil, azure.Remove()
		}
		_, err = p.Forget(func(azure.Account) bool { return true }, a.Err)
		return nil, err
	})
	return c
}

func newToken(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use:     "get-access-token",
		Short:   "Print an access token, for other tools",
		Example: "  entrance account get-access-token --resource-type ms-graph --query accessToken -o tsv",
	}
	f := c.Flags()
	resource := f.String("resource", "", "resource that the token is for")
	scope := azure.WordsFlag(c, "scope", "scope that the token is for, in place of --resource")
	kind := f.String("resource-type", "", "arm or ms-graph, in place of --resource")
	tenant := f.StringP("tenant", "t", "", "tenant that issues the token")
	a.Run(c, "[].{ExpiresOn:expiresOn, Tenant:tenant, TokenType:tokenType}", func(ctx context.Context, s *azure.Session) (any, error) {
		given := 0
		for _, is := range []bool{*resource != "", len(scope.List) > 0, *kind != ""} {
			if is {
				given++
			}
		}
		if given > 1 || len(scope.List) > 1 {
			return nil, azure.Usagef("give one of --resource, --scope and --resource-type")
		}
		want := s.Cloud.Audience
		switch {
		case *resource != "":
			want = *resource
		case len(scope.List) == 1:
			want = scope.List[0]
		case *kind == "ms-graph":
			want = s.Cloud.GraphAudience
		case *kind != "" && *kind != "arm":
			return nil, azure.Usagef("--resource-type is arm or ms-graph, not %q", *kind)
		}
		if *tenant != "" {
			s = s.In(*tenant)
		}
		e, err := s.Token(ctx, want)
		if err != nil {
			return nil, err
		}
		out := map[string]any{
			"accessToken": e.AccessToken, "tokenType": "Bearer", "tenant": s.Account.TenantID,
			// az writes the local time here and seconds since 1970 beside it.
			"expiresOn": e.ExpiresOn.Local().Format("2006-01-02 15:04:05.000000"), "expires_on": e.ExpiresOn.Unix(),
		}
		if *tenant == "" {
			out["subscription"] = s.Subscription.ID
		}
		return out, nil
	})
	return c
}

func newLocations(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list-locations", Short: "List the regions of the subscription"}
	a.Run(c, "[].{DisplayName:displayName, Name:name, RegionalDisplayName:regionalDisplayName}", func(ctx context.Context, s *azure.Session) (any, error) {
		client, err := armsubscriptions.NewClient(s.Credential, s.Options())
		if err != nil {
			return nil, err
		}
		list, err := azure.Collect(ctx, client.NewListLocationsPager(s.Subscription.ID, nil), func(p armsubscriptions.ClientListLocationsResponse) []*armsubscriptions.Location { return p.Value })
		if err != nil {
			return nil, err
		}
		return shape.List(list, shape.Nested)
	})
	return c
}
