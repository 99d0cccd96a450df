package ad

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
)

func newUser(a *azure.App) *cobra.Command {
	return collection("user", "Make, list, change and delete users",
		newUserCreate(a), newUserList(a), newUserShow(a), newUserUpdate(a), newUserDelete(a),
		memberGroups(a, "users", "id", "a user", func(_ context.Context, _ tenant, id string) (string, error) { return id, nil }))
}

// userFlag names a user.
func userFlag(c *cobra.Command) *string {
	id := c.Flags().String("id", "", "object id or user principal name")
	azure.Require(c, "id")
	return id
}

func newUserCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "create", Short: "Make a user", Example: "  entrance ad user create --display-name Ann --user-principal-name ann@contoso.test --password SECRET"}
	f := c.Flags()
	name, upn, password := f.String("display-name", "", "name to show"), f.String("user-principal-name", "", "user principal name, in a domain of the tenant"), f.String("password", "", "password")
	nick, immutable := f.String("mail-nickname", "", "mail nickname (default: what stands before the @)"), f.String("immutable-id", "", "immutable id, for users of federated domains")
	force := azure.TruthFlag(c, "force-change-password-next-sign-in", "whether the user must choose another password")
	azure.Require(c, "display-name", "user-principal-name", "password")
	return run(a, c, userTable, func(ctx context.Context, t tenant) (any, error) {
		body := graph.Object{"userPrincipalName": *upn, "displayName": *name, "mailNickname": *nick, "accountEnabled": true,
			"passwordProfile": graph.Object{"password": *password, "forceChangePasswordNextSignIn": force.Value != nil && *force.Value}}
		if *nick == "" {
			body["mailNickname"] = beforeAt(*upn)
		}
		if *immutable != "" {
			body["onPremisesImmutableId"] = *immutable
		}
		return t.Post(ctx, "/users", body)
	})
}

func beforeAt(s string) string {
	for i, r := range s {
		if r == '@' {
			return s[:i]
		}
	}
	return s
}

func newUserList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List users"}
	l := newListFlags(c)
	upn := c.Flags().String("upn", "", "only the one with this user principal name")
	return run(a, c, userTable, func(ctx context.Context, t tenant) (any, error) {
		var more []string
		if *upn != "" {
			more = append(more, "userPrincipalName eq "+graph.Quote(*upn))
		}
		return t.List(ctx, "/users", l.query(more...))
	})
}

func newUserShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a user"}
	id := userFlag(c)
	return run(a, c, userTable, func(ctx context.Context, t tenant) (any, error) { return t.Get(ctx, one("users", *id)) })
}

func newUserUpdate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "update", Short: "Change a user"}
	id := userFlag(c)
	f := c.Flags()
	name, nick, password := f.String("display-name", "", "name to show"), f.String("mail-nickname", "", "mail nickname"), f.String("password", "", "password")
	enabled := azure.TruthFlag(c, "account-enabled", "whether the user may sign in")
	force := azure.TruthFlag(c, "force-change-password-next-sign-in", "whether the user must choose another password")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		body := graph.Object{}
		if *name != "" {
			body["displayName"] = *name
		}
		if *nick != "" {
			body["mailNickname"] = *nick
		}
		if enabled.Value != nil {
			body["accountEnabled"] = *enabled.Value
		}
		profile := graph.Object{}
		if *password != "" {
			profile["password"] = *password
		}
		if force.Value != nil {
			profile["forceChangePasswordNextSignIn"] = *force.Value
		}
		if len(profile) > 0 {
			body["passwordProfile"] = profile
		}
		if len(body) == 0 {
			return nil, azure.Usagef("nothing to change (see '%s --help')", c.CommandPath())
		}
		return nil, t.Patch(ctx, one("users", *id), body)
	})
}

func newUserDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a user"}
	id := userFlag(c)
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) { return nil, t.Delete(ctx, one("users", *id)) })
}

func newSignedInUser(a *azure.App) *cobra.Command {
	show := run(a, &cobra.Command{Use: "show", Short: "Show who is signed in"}, userTable, func(ctx context.Context, t tenant) (any, error) {
		if err := t.person(); err != nil {
			return nil, err
		}
		return t.Get(ctx, "/me")
	})
	c := &cobra.Command{Use: "list-owned-objects", Short: "List what the signed-in user owns"}
	kind := c.Flags().StringP("type", "t", "", "application, group, servicePrincipal, ...")
	list := run(a, c, "[].{DisplayName:displayName, Id:id}", func(ctx context.Context, t tenant) (any, error) {
		return t.owned(ctx, *kind)
	})
	return collection("signed-in-user", "Ask about who is signed in", show, list)
}

// owned lists what the signed-in person owns, of one kind or of all.
func (t tenant) owned(ctx context.Context, kind string) (any, error) {
	if err := t.person(); err != nil {
		return nil, err
	}
	all, err := t.List(ctx, "/me/ownedObjects", nil)
	if kind == "" || err != nil {
		return all, err
	}
	fit := []graph.Object{}
	for _, o := range all {
		if graph.Text(o, "@odata.type") == "#microsoft.graph."+kind {
			fit = append(fit, o)
		}
	}
	return fit, nil
}

// person refuses what only makes sense when somebody has signed in.
func (t tenant) person() error {
	if t.session.Account.Kind == azure.Person {
		return nil
	}
	return azure.Usagef("no person is signed in, but the service principal %s. Sign in with 'entrance login'", t.session.Account.Name)
}
