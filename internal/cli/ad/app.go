package ad

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
)

func newApp(a *azure.App) *cobra.Command {
	return collection("app", "Make, list, change and delete applications",
		newAppCreate(a), newAppList(a), newAppShow(a), newAppUpdate(a), newAppDelete(a),
		newCredential(a, "applications"), newFederated(a), newPermission(a), newOwner(a, "applications", "application"))
}

// appFlag names an application.
func appFlag(c *cobra.Command) *string {
	id := c.Flags().String("id", "", "application id, object id or identifier URI")
	azure.Require(c, "id")
	return id
}

// appFlags are the properties that create and update take.
type appFlags struct {
	name, audience, home                             string
	uris, web, public                                *azure.Words
	fallback, idToken, accessToken                   *azure.Truth
	roles, resourceAccess, optionalClaims, reference string
}

func newAppFlags(c *cobra.Command) *appFlags {
	p := &appFlags{}
	f := c.Flags()
	f.StringVar(&p.name, "display-name", "", "name to show")
	f.StringVar(&p.audience, "sign-in-audience", "", "who may sign in: AzureADMyOrg, AzureADMultipleOrgs, ...")
	f.StringVar(&p.home, "web-home-page-url", "", "home page")
	p.uris = azure.WordsFlag(c, "identifier-uris", "URIs that identify the application, with spaces between")
	p.web = azure.WordsFlag(c, "web-redirect-uris", "redirect URIs of a web application")
	p.public = azure.WordsFlag(c, "public-client-redirect-uris", "redirect URIs of a public client")
	p.fallback = azure.TruthFlag(c, "is-fallback-public-client", "whether the application is a public client")
	p.idToken = azure.TruthFlag(c, "enable-id-token-issuance", "whether the implicit flow gives ID tokens")
	p.accessToken = azure.TruthFlag(c, "enable-access-token-issuance", "whether the implicit flow gives access tokens")
	f.StringVar(&p.roles, "app-roles", "", "roles of the application: JSON or @file")
	f.StringVar(&p.resourceAccess, "required-resource-accesses", "", "permissions that the application asks for: JSON or @file")
	f.StringVar(&p.optionalClaims, "optional-claims", "", "claims to add to tokens: JSON or @file")
	f.StringVar(&p.reference, "service-management-reference", "", "reference to a service of the company")
	return p
}

// body is what the flags change.
func (p *appFlags) body() (graph.Object, error) {
	body, web := graph.Object{}, graph.Object{}
	for name, v := range map[string]string{"displayName": p.name, "signInAudience": p.audience, "serviceManagementReference": p.reference} {
		if v != "" {
			body[name] = v
		}
	}
	if p.uris.Set {
		body["identifierUris"] = append([]string{}, p.uris.List...)
	}
	if p.web.Set {
		web["redirectUris"] = append([]string{}, p.web.List...)
	}
	if p.home != "" {
		web["homePageUrl"] = p.home
	}
	implicit := graph.Object{}
	if p.idToken.Value != nil {
		implicit["enableIdTokenIssuance"] = *p.idToken.Value
	}
	if p.accessToken.Value != nil {
		implicit["enableAccessTokenIssuance"] = *p.accessToken.Value
	}
	if len(implicit) > 0 {
		web["implicitGrantSettings"] = implicit
	}
	if len(web) > 0 {
		body["web"] = web
	}
	if p.public.Set {
		body["publicClient"] = graph.Object{"redirectUris": append([]string{}, p.public.List...)}
	}
	if p.fallback.Value != nil {
		body["isFallbackPublicClient"] = *p.fallback.Value
	}
	for _, d := range []struct{ flag, name, text string }{
		{"app-roles", "appRoles", p.roles}, {"required-resource-accesses", "requiredResourceAccess", p.resourceAccess}, {"optional-claims", "optionalClaims", p.optionalClaims},
	} {
		if d.text == "" {
			continue
		}
		v, err := document(d.flag, d.text)
		if err != nil {
			return nil, err
		}
		body[d.name] = v
	}
	return body, nil
}

// older takes what the flags of older versions of az say.
func (p *appFlags) older(native *azure.Truth, replies *azure.Words) {
	public := native.Value != nil && *native.Value
	if public {
		p.fallback.Value = native.Value
	}
	if !replies.Set {
		return
	}
	to := p.web
	if public {
		to = p.public
	}
	to.List, to.Set = append(to.List, replies.List...), true
}

func newAppCreate(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "create", Short: "Make an application",
		Long: "Make an application. One with the same name that is there already is changed instead, as az does.",
		Example: `  entrance ad app create --display-name web --identifier-uris api://web.contoso.test
  entrance ad app create --display-name desktop --is-fallback-public-client true --public-client-redirect-uris http://localhost`,
	}
	p := newAppFlags(c)
	native, replies := azure.TruthFlag(c, "native-app", ""), azure.WordsFlag(c, "reply-urls", "")
	azure.Hide(c, "native-app", "reply-urls") // as az called them until 2.37
	azure.Require(c, "display-name")
	return run(a, c, appTable, func(ctx context.Context, t tenant) (any, error) {
		p.older(native, replies)
		body, err := p.body()
		if err != nil {
			return nil, err
		}
		there, err := t.List(ctx, "/applications", graph.Filter("displayName eq %s", p.name))
		if err != nil {
			return nil, err
		}
		switch len(there) {
		case 0:
			return t.Post(ctx, "/applications", body)
		case 1:
			t.session.Warnf("Found an existing application: %s. It is changed.", graph.Text(there[0], "id"))
			if err := t.Patch(ctx, one("applications", graph.Text(there[0], "id")), body); err != nil {
				return nil, err
			}
			return t.Get(ctx, one("applications", graph.Text(there[0], "id")))
		}
		return nil, azure.Usagef("more than one application is called %q: change one with 'entrance ad app update --id ID'", p.name)
	})
}

func newAppUpdate(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "update", Short: "Change an application", Example: "  entrance ad app update --id APP --set groupMembershipClaims=All"}
	id := appFlag(c)
	p := newAppFlags(c)
	set := azure.WordsFlag(c, "set", "properties to set: name=value, name a path with dots, value JSON or text")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		body, err := p.body()
		if err == nil {
			err = assign(body, set.List)
		}
		if err != nil {
			return nil, err
		}
		if len(body) == 0 {
			return nil, azure.Usagef("nothing to change (see '%s --help')", c.CommandPath())
		}
		o, err := t.app(ctx, *id)
		if err != nil {
			return nil, err
		}
		return nil, t.Patch(ctx, one("applications", graph.Text(o, "id")), body)
	})
}

func newAppList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List applications"}
	l := newListFlags(c)
	f := c.Flags()
	appID, uri := f.String("app-id", "", "only the one with this application id"), f.String("identifier-uri", "", "only the one with this identifier URI")
	f.Bool("all", false, "list all; what happens anyway")
	mine := f.Bool("show-mine", false, "only those that the signed-in user owns")
	return run(a, c, appTable, func(ctx context.Context, t tenant) (any, error) {
		var more []string
		if *appID != "" {
			more = append(more, "appId eq "+graph.Quote(*appID))
		}
		if *uri != "" {
			more = append(more, "identifierUris/any(s:s eq "+graph.Quote(*uri)+")")
		}
		if *mine {
			return t.owned(ctx, "application")
		}
		return t.List(ctx, "/applications", l.query(more...))
	})
}

func newAppShow(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "show", Short: "Show an application"}
	id := appFlag(c)
	return run(a, c, appTable, func(ctx context.Context, t tenant) (any, error) { return t.app(ctx, *id) })
}

func newAppDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Delete an application"}
	id := appFlag(c)
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		o, err := t.app(ctx, *id)
		if err != nil {
			return nil, err
		}
		return nil, t.Delete(ctx, one("applications", graph.Text(o, "id")))
	})
}
