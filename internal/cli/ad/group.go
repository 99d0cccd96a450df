package ad

import (
	"context"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
)

func newGroup(a *azure.App) *cobra.Command {
	return collection("group", "Make, list and delete groups, and say who is in them",
		newGroupCreate(a), newGroupList(a), newGroupShow(a), newGroupDelete(a), newMember(a), newOwner(a, "groups", "group"),
		memberGroups(a, "groups", "group", "a group", func(ctx context.Context, t tenant, name string) (string, error) { return t.groupID(ctx, name) }))
}

// groupFlag names a group, and lets the shell complete it.
func groupFlag(a *azure.App, c *cobra.Command) *string {
	g := c.Flags().StringP("group", "g", "", "object id or display name of the group")
	azure.Require(c, "group")
	a.Complete(c, "group", func(ctx context.Context, s *azure.Session) ([]string, error) {
		list, err := graph.New(s).List(ctx, "/groups", nil)
		var names []string
		for _, o := range list {
			names = append(names, graph.Text(o, "displayName")+"\t"+graph.Text(o, "id"))
		}
		return names, err
	})
	return g
}

func newGroupCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "create", Short: "Make a security group",
		Long:    "Make a security group. One with the same names that is there already is shown instead,\nunless --force asks for another.",
		Example: "  entrance ad group create --display-name aks-admins --mail-nickname aks-admins",
	}
	f := c.Flags()
	name, nick, about := f.String("display-name", "", "name to show"), f.String("mail-nickname", "", "mail nickname"), f.String("description", "", "what the group is for")
	force := azure.TruthFlag(c, "force", "make a group although one has the same names")
	azure.Require(c, "display-name", "mail-nickname")
	return run(a, c, groupTable, func(ctx context.Context, t tenant) (any, error) {
		if force.Value == nil || !*force.Value {
			there, err := t.List(ctx, "/groups", graph.Filter("displayName eq %s and mailNickname eq %s", *name, *nick))
			if err != nil {
				return nil, err
			}
			if len(there) > 0 {
				return there[0], nil
			}
		}
		body := graph.Object{"displayName": *name, "mailNickname": *nick, "mailEnabled": false, "securityEnabled": true}
		if *about != "" {
			body["description"] = *about
		}
		return t.Post(ctx, "/groups", body)
	})
}

func newGroupList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List groups", Example: "  entrance ad group list --filter \"displayname eq 'aks-admins'\" -o table"}
	l := newListFlags(c)
	return run(a, c, groupTable, func(ctx context.Context, t tenant) (any, error) { return t.List(ctx, "/groups", l.query()) })
}

func newGroupShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a group"}
	name := groupFlag(a, c)
	return run(a, c, groupTable, func(ctx context.Context, t tenant) (any, error) { return t.group(ctx, *name) })
}

func newGroupDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a group"}
	name := groupFlag(a, c)
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		id, err := t.groupID(ctx, *name)
		if err != nil {
			return nil, err
		}
		return nil, t.Delete(ctx, one("groups", id))
	})
}

func newMember(a *azure.App) *cobra.Command {
	// member makes a command that does something with a group and one member.
	member := func(use, short string, do func(ctx context.Context, t tenant, group, member string) (any, error)) *cobra.Command {
		c := &cobra.Command{Use: use, Short: short}
		name := groupFlag(a, c)
		id := c.Flags().String("member-id", "", "object id of the user, group or service principal")
		azure.Require(c, "member-id")
		return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
			group, err := t.groupID(ctx, *name)
			if err != nil {
				return nil, err
			}
			return do(ctx, t, group, *id)
		})
	}
	list := &cobra.Command{Use: "list", Short: "List the direct members of a group"}
	name := groupFlag(a, list)
	run(a, list, "[].{DisplayName:displayName, UserPrincipalName:userPrincipalName, Id:id}", func(ctx context.Context, t tenant) (any, error) {
		group, err := t.groupID(ctx, *name)
		if err != nil {
			return nil, err
		}
		return t.List(ctx, one("groups", group, "members"), nil)
	})
	return collection("member", "Say who is in a group", list,
		member("add", "Put somebody into a group", func(ctx context.Context, t tenant, group, member string) (any, error) {
			_, err := t.Post(ctx, one("groups", group, "members", "$ref"), t.Reference(member))
			return nil, err
		}),
		member("remove", "Take somebody out of a group", func(ctx context.Context, t tenant, group, member string) (any, error) {
			return nil, t.Delete(ctx, one("groups", group, "members", url.PathEscape(member), "$ref"))
		}),
		member("check", "Say whether somebody is in a group, through other groups too", func(ctx context.Context, t tenant, group, member string) (any, error) {
			answer, err := t.Post(ctx, one("directoryObjects", member, "checkMemberGroups"), graph.Object{"groupIds": []string{group}})
			if err != nil {
				return nil, err
			}
			found, _ := answer["value"].([]any)
			return graph.Object{"value": len(found) > 0}, nil
		}))
}

// newOwner makes the commands for the owners of groups or applications.
func newOwner(a *azure.App, kind, what string) *cobra.Command {
	owned := func(c *cobra.Command) func(context.Context, tenant) (string, error) {
		if kind == "groups" {
			name := groupFlag(a, c)
			return func(ctx context.Context, t tenant) (string, error) { return t.groupID(ctx, *name) }
		}
		id := appFlag(c)
		return func(ctx context.Context, t tenant) (string, error) {
			o, err := t.app(ctx, *id)
			return graph.Text(o, "id"), err
		}
	}
	list := &cobra.Command{Use: "list", Short: "List the owners of the " + what}
	of := owned(list)
	run(a, list, userTable, func(ctx context.Context, t tenant) (any, error) {
		id, err := of(ctx, t)
		if err != nil {
			return nil, err
		}
		return t.List(ctx, one(kind, id, "owners"), nil)
	})
	change := func(use, short string, do func(ctx context.Context, t tenant, id, owner string) error) *cobra.Command {
		c := &cobra.Command{Use: use, Short: short}
		of := owned(c)
		owner := c.Flags().String("owner-object-id", "", "object id of the owner")
		if kind == "groups" {
			c.Flags().StringVar(owner, "owner-id", "", "object id of the owner")
			c.Flags().Lookup("owner-object-id").Hidden = true
		}
		return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
			if *owner == "" {
				return nil, azure.Usagef("the owner's object id is required (see '%s --help')", c.CommandPath())
			}
			id, err := of(ctx, t)
			if err != nil {
				return nil, err
			}
			return nil, do(ctx, t, id, *owner)
		})
	}
	return collection("owner", "Say who owns the "+what, list,
		change("add", "Make somebody an owner", func(ctx context.Context, t tenant, id, owner string) error {
			_, err := t.Post(ctx, one(kind, id, "owners", "$ref"), t.Reference(owner))
			return err
		}),
		change("remove", "Make somebody an owner no more", func(ctx context.Context, t tenant, id, owner string) error {
			return t.Delete(ctx, one(kind, id, "owners", url.PathEscape(owner), "$ref"))
		}))
}
