// Package ad has the command ad: users, groups, applications and service
// principals of the directory, over Microsoft Graph.
package ad

import (
	"context"
	"encoding/json"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/output"
	"github.com/entrance-id/entrance/internal/errs"
)

// Tables, as az has them.
const (
	userTable  output.Table = "[].{DisplayName:displayName, UserPrincipalName:userPrincipalName, Id:id}"
	groupTable output.Table = "[].{DisplayName:displayName, MailNickname:mailNickname, Id:id}"
	appTable   output.Table = "[].{DisplayName:displayName, AppId:appId, Id:id}"
)

// New is `entrance ad`.
func New(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "ad", Short: "Work with users, groups, applications and service principals of the directory"}
	c.AddCommand(newUser(a), newGroup(a), newApp(a), newSP(a), newSignedInUser(a))
	return c
}

// tenant is what the commands work on.
type tenant struct {
	*graph.Client
	session *azure.Session
}

// run makes c a command that works on the directory.
func run(a *azure.App, c *cobra.Command, table output.Table, do func(context.Context, tenant) (any, error)) *cobra.Command {
	a.Run(c, table, func(ctx context.Context, s *azure.Session) (any, error) {
		return do(ctx, tenant{graph.New(s), s})
	})
	return c
}

// collection makes a command that groups others.
func collection(use, short string, subs ...*cobra.Command) *cobra.Command {
	c := &cobra.Command{Use: use, Short: short}
	c.AddCommand(subs...)
	return c
}

// one is an address below an object.
func one(kind, id string, below ...string) string {
	p := "/" + kind + "/" + url.PathEscape(id)
	for _, b := range below {
		p += "/" + b
	}
	return p
}

// listFlags are the flags of the list commands.
type listFlags struct{ name, filter string }

func newListFlags(c *cobra.Command) *listFlags {
	l := &listFlags{}
	c.Flags().StringVar(&l.name, "display-name", "", "only those whose display name begins so")
	c.Flags().StringVar(&l.filter, "filter", "", "OData filter, such as \"displayname eq 'x'\"")
	return l
}

// query joins the conditions of the flags with others.
func (l *listFlags) query(more ...string) url.Values {
	if l.name != "" {
		more = append(more, "startswith(displayName,"+graph.Quote(l.name)+")")
	}
	if l.filter != "" {
		more = append(more, l.filter)
	}
	if len(more) == 0 {
		return nil
	}
	for i := range more {
		if len(more) > 1 {
			more[i] = "(" + more[i] + ")"
		}
	}
	return url.Values{"$filter": {strings.Join(more, " and ")}}
}

// app finds an application by its application id, object id or identifier URI.
func (t tenant) app(ctx context.Context, id string) (graph.Object, error) {
	if !graph.IsGUID(id) {
		return t.One(ctx, "/applications", graph.Filter("identifierUris/any(s:s eq %s)", id), "application", id)
	}
	list, err := t.List(ctx, "/applications", graph.Filter("appId eq %s", id))
	if err != nil || len(list) == 1 {
		if err != nil {
			return nil, err
		}
		return list[0], nil
	}
	return t.Get(ctx, one("applications", id))
}

// sp finds a service principal by one of its names or its object id.
func (t tenant) sp(ctx context.Context, id string) (graph.Object, error) {
	list, err := t.List(ctx, "/servicePrincipals", graph.Filter("servicePrincipalNames/any(c:c eq %s)", id))
	if err != nil {
		return nil, err
	}
	if len(list) == 1 {
		return list[0], nil
	}
	if !graph.IsGUID(id) {
		return nil, errs.New(errs.NotFound, "No service principal has the name '%s'. See them with 'entrance ad sp list --display-name ...'.", id)
	}
	return t.Get(ctx, one("servicePrincipals", id))
}

// group finds a group by its object id or display name.
func (t tenant) group(ctx context.Context, name string) (graph.Object, error) {
	if graph.IsGUID(name) {
		return t.Get(ctx, one("groups", name))
	}
	return t.One(ctx, "/groups", graph.Filter("displayName eq %s", name), "group", name)
}

// groupID is group for commands that need the id alone.
func (t tenant) groupID(ctx context.Context, name string) (string, error) {
	if graph.IsGUID(name) {
		return name, nil
	}
	g, err := t.group(ctx, name)
	return graph.Text(g, "id"), err
}

// document reads JSON that stands on the command line, or in a file behind @.
func document(flag, text string) (any, error) {
	if name, ok := strings.CutPrefix(text, "@"); ok {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "--%s", flag)
		}
		text = string(raw)
	} else if raw, err := os.ReadFile(text); err == nil { // az takes a file's name without @ too
		text = string(raw)
	}
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		return nil, azure.Usagef("--%s is not JSON: %v", flag, err)
	}
	return v, nil
}

// assign puts values of --set into a body: a.b=value, the value JSON or text.
func assign(body graph.Object, set []string) error {
	for _, word := range set {
		path, text, ok := strings.Cut(word, "=")
		if !ok || path == "" {
			return azure.Usagef("--set takes name=value, not %q", word)
		}
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			v = text
		}
		names := strings.Split(path, ".")
		at := body
		for _, n := range names[:len(names)-1] {
			inner, ok := at[n].(graph.Object)
			if !ok {
				inner = graph.Object{}
				at[n] = inner
			}
			at = inner
		}
		at[names[len(names)-1]] = v
	}
	return nil
}

// memberGroups makes the command that lists the groups that something is in.
func memberGroups(a *azure.App, kind, flag, short string, find func(context.Context, tenant, string) (string, error)) *cobra.Command {
	c := &cobra.Command{Use: "get-member-groups", Short: "List the ids of the groups that " + short + " is in, through other groups too"}
	id := c.Flags().StringP(flag, shorthand(flag), "", "the "+kind[:len(kind)-1])
	azure.Require(c, flag)
	security := azure.TruthFlag(c, "security-enabled-only", "only groups that give access")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		object, err := find(ctx, t, *id)
		if err != nil {
			return nil, err
		}
		answer, err := t.Post(ctx, one(kind, object, "getMemberGroups"), graph.Object{"securityEnabledOnly": security.Value != nil && *security.Value})
		return answer["value"], err
	})
}

func shorthand(flag string) string {
	if flag == "group" {
		return "g"
	}
	return ""
}
