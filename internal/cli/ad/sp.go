package ad

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/cli/role"
	"github.com/entrance-id/entrance/internal/directory"
)

func newSP(a *azure.App) *cobra.Command {
	return collection("sp", "Make, list and delete service principals",
		newSPCreate(a), newForRBAC(a), newSPList(a), newSPShow(a), newSPUpdate(a), newSPDelete(a), newCredential(a, "servicePrincipals"))
}

func newSPCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "create", Short: "Make the service principal of an application"}
	id := c.Flags().String("id", "", "application id, object id or identifier URI of the application")
	azure.Require(c, "id")
	return run(a, c, appTable, func(ctx context.Context, t tenant) (any, error) {
		appID := *id
		o, err := t.app(ctx, *id)
		switch {
		case err == nil:
			appID = graph.Text(o, "appId")
		case !azure.IsNotFound(err) || !graph.IsGUID(*id): // an application of another tenant is known by its id alone
			return nil, err
		}
		return t.Post(ctx, "/servicePrincipals", graph.Object{"appId": appID, "accountEnabled": true})
	})
}

func newSPList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List service principals: without a filter the first 100, or --all"}
	l := newListFlags(c)
	f := c.Flags()
	spn := f.String("spn", "", "only the one with this name or application id")
	all, mine := f.Bool("all", false, "list all, which may take long"), f.Bool("show-mine", false, "only those that the signed-in user owns")
	return run(a, c, appTable, func(ctx context.Context, t tenant) (any, error) {
		if *mine {
			return t.owned(ctx, "servicePrincipal")
		}
		var more []string
		if *spn != "" {
			more = append(more, "servicePrincipalNames/any(c:c eq "+graph.Quote(*spn)+")")
		}
		query := l.query(more...)
		if query == nil && !*all {
			// az shows a page as well, and says so.
			t.session.Warnf("The result is not complete. You can still use '--all' to get all of them, or filter them with '--display-name', '--spn' or '--filter'.")
			return t.First(ctx, "/servicePrincipals?$top=100")
		}
		return t.List(ctx, "/servicePrincipals", query)
	})
}

// spFlag names a service principal.
func spFlag(c *cobra.Command) *string {
	id := c.Flags().String("id", "", "application id, another of its names, or object id")
	azure.Require(c, "id")
	return id
}

func newSPShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show a service principal"}
	id := spFlag(c)
	return run(a, c, appTable, func(ctx context.Context, t tenant) (any, error) { return t.sp(ctx, *id) })
}

func newSPUpdate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "update", Short: "Change a service principal", Example: "  entrance ad sp update --id APP --set accountEnabled=false"}
	id := spFlag(c)
	set := azure.WordsFlag(c, "set", "properties to set: name=value, name a path with dots, value JSON or text")
	azure.Require(c, "set")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		body := graph.Object{}
		if err := assign(body, set.List); err != nil {
			return nil, err
		}
		o, err := t.sp(ctx, *id)
		if err != nil {
			return nil, err
		}
		return nil, t.Patch(ctx, one("servicePrincipals", graph.Text(o, "id")), body)
	})
}

func newSPDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete a service principal"}
	id := spFlag(c)
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		o, err := t.sp(ctx, *id)
		if err != nil {
			return nil, err
		}
		return nil, t.Delete(ctx, one("servicePrincipals", graph.Text(o, "id")))
	})
}

func newForRBAC(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "create-for-rbac", Short: "Make an application with a service principal, a credential and, if asked for, a role",
		Long:    "Make an application with a service principal, a credential and, if asked for, a role. One with\nthe same name that is there already gets a new credential instead.",
		Example: "  entrance ad sp create-for-rbac --name ci --role Contributor --scopes /subscriptions/SUBSCRIPTION/resourceGroups/web",
	}
	f := c.Flags()
	name := f.StringP("name", "n", "", "name to show (default: azure-cli- and the time)")
	f.StringVar(name, "display-name", "", "name to show")
	f.Lookup("display-name").Hidden = true
	roleName := f.String("role", "", "role to assign; it needs --scopes")
	scopes := azure.WordsFlag(c, "scopes", "resource ids at which the role holds, with spaces between")
	cert, create := f.String("cert", "", "certificate to register, without its key: PEM, base64 or @file"), f.Bool("create-cert", false, "make a certificate, and keep it with its key in a file of the home directory")
	life := newLifetime(c)
	return run(a, c, "[].{DisplayName:displayName, AppId:appId, Tenant:tenant}", func(ctx context.Context, t tenant) (any, error) {
		if (*roleName == "") != (len(scopes.List) == 0) {
			return nil, azure.Usagef("--role and --scopes go together")
		}
		for _, s := range scopes.List {
			if !strings.HasPrefix(s, "/") {
				return nil, azure.Usagef("--scopes are resource ids, which begin with a slash, not %q", s)
			}
		}
		if *name == "" {
			*name = "azure-cli-" + time.Now().UTC().Format("2006-01-02-15-04-05")
		}
		app, err := t.named(ctx, *name)
		if err != nil {
			return nil, err
		}
		appID := graph.Text(app, "appId")
		out := graph.Object{"appId": appID, "displayName": *name, "password": nil, "tenant": t.session.Account.TenantID}
		k := credential{path: one("applications", graph.Text(app, "id")), object: app, name: "rbac", life: life}
		if *cert != "" || *create {
			k.name = ""
			file, err := k.certificate(ctx, t, *cert, *create)
			if err != nil {
				return nil, err
			}
			if file != "" {
				out["fileWithCertAndPrivateKey"] = file
			}
		} else if out["password"], err = k.password(ctx, t); err != nil {
			return nil, err
		}
		principal, err := t.principal(ctx, appID)
		if err != nil {
			return nil, err
		}
		for _, s := range scopes.List {
			t.session.Warnf("Creating '%s' role assignment under scope '%s'", *roleName, s)
			p := armauthorization.RoleAssignmentProperties{PrincipalID: &principal, PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal)}
			if _, err := role.Assign(ctx, t.session, p, directory.NewGUID(), *roleName, strings.TrimRight(s, "/")); err != nil {
				return nil, fmt.Errorf("the service principal %s is made, the role is not assigned: %w", appID, azure.Explain(err))
			}
		}
		t.session.Warnf("%s", protect)
		return out, nil
	})
}

// named returns the application with a name, made if need be.
func (t tenant) named(ctx context.Context, name string) (graph.Object, error) {
	there, err := t.List(ctx, "/applications", graph.Filter("displayName eq %s", name))
	switch {
	case err != nil:
		return nil, err
	case len(there) > 1:
		return nil, azure.Usagef("more than one application is called %q: choose another --name", name)
	case len(there) == 1:
		t.session.Warnf("Found an existing application: %s. Its credential is replaced.", graph.Text(there[0], "id"))
		return there[0], nil
	}
	return t.Post(ctx, "/applications", graph.Object{"displayName": name})
}

// principal returns the id of an application's service principal, made if need
// be.
func (t tenant) principal(ctx context.Context, appID string) (string, error) {
	list, err := t.List(ctx, "/servicePrincipals", graph.Filter("appId eq %s", appID))
	if err != nil {
		return "", err
	}
	if len(list) > 0 {
		return graph.Text(list[0], "id"), nil
	}
	sp, err := t.Post(ctx, "/servicePrincipals", graph.Object{"appId": appID, "accountEnabled": true})
	return graph.Text(sp, "id"), err
}
