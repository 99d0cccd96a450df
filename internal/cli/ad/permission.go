package ad

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/errs"
)

func newPermission(a *azure.App) *cobra.Command {
	return collection("permission", "Say which permissions an application asks for, and grant them",
		newPermissionAdd(a), newPermissionList(a), newPermissionDelete(a), newGrant(a), newGrants(a), newAdminConsent(a))
}

// access is a permission that an application asks for.
type access struct{ id, kind string }

// accesses reads permissions as az has them on the command line: id=Scope or
// id=Role.
func accesses(words []string) ([]access, error) {
	var out []access
	for _, w := range words {
		id, kind, ok := strings.Cut(w, "=")
		if !ok || kind != "Scope" && kind != "Role" {
			return nil, azure.Usagef("--api-permissions takes ID=Scope or ID=Role, not %q", w)
		}
		out = append(out, access{id, kind})
	}
	return out, nil
}

func newPermissionAdd(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "add", Short: "Ask for permissions of an API",
		Example: "  entrance ad app permission add --id APP --api 00000003-0000-0000-c000-000000000000 \\\n      --api-permissions e1fe6dd8-ba31-4d61-89e7-88639da4683d=Scope 7ab1d382-f21e-4acd-a863-ba3e13f7da61=Role",
	}
	id := appFlag(c)
	api := c.Flags().String("api", "", "application id of the API")
	words := azure.WordsFlag(c, "api-permissions", "permissions: ID=Scope or ID=Role, with spaces between")
	azure.Require(c, "api", "api-permissions")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		more, err := accesses(words.List)
		if err != nil {
			return nil, err
		}
		o, err := t.app(ctx, *id)
		if err != nil {
			return nil, err
		}
		wanted := list(o["requiredResourceAccess"])
		i := slices.IndexFunc(wanted, func(w graph.Object) bool { return w["resourceAppId"] == *api })
		if i < 0 {
			wanted = append(wanted, graph.Object{"resourceAppId": *api})
			i = len(wanted) - 1
		}
		there := list(wanted[i]["resourceAccess"])
		for _, m := range more {
			there = slices.DeleteFunc(there, func(e graph.Object) bool { return e["id"] == m.id })
			there = append(there, graph.Object{"id": m.id, "type": m.kind})
		}
		wanted[i]["resourceAccess"] = there
		t.session.Warnf("Invoking 'entrance ad app permission grant --id %s --api %s' or 'entrance ad app permission admin-consent --id %s' is needed to make the change effective.", *id, *api, *id)
		return nil, t.Patch(ctx, one("applications", graph.Text(o, "id")), graph.Object{"requiredResourceAccess": wanted})
	})
}

func newPermissionList(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list", Short: "List the permissions that an application asks for"}
	id := appFlag(c)
	return run(a, c, "[].{ResourceAppId:resourceAppId}", func(ctx context.Context, t tenant) (any, error) {
		o, err := t.app(ctx, *id)
		return list(o["requiredResourceAccess"]), err
	})
}

func newPermissionDelete(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "delete", Short: "Ask for permissions of an API no more"}
	id := appFlag(c)
	api := c.Flags().String("api", "", "application id of the API")
	words := azure.WordsFlag(c, "api-permissions", "ids of the permissions (default: all of the API)")
	azure.Require(c, "api")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		o, err := t.app(ctx, *id)
		if err != nil {
			return nil, err
		}
		var rest []graph.Object
		for _, w := range list(o["requiredResourceAccess"]) {
			if w["resourceAppId"] == *api {
				left := slices.DeleteFunc(list(w["resourceAccess"]), func(e graph.Object) bool {
					return len(words.List) == 0 || slices.Contains(words.List, graph.Text(e, "id"))
				})
				if len(left) == 0 {
					continue
				}
				w["resourceAccess"] = left
			}
			rest = append(rest, w)
		}
		return nil, t.Patch(ctx, one("applications", graph.Text(o, "id")), graph.Object{"requiredResourceAccess": append([]graph.Object{}, rest...)})
	})
}

// grant lets a client call an API for people: for all, or for one.
func (t tenant) grant(ctx context.Context, client, resource, person, scope string) (graph.Object, error) {
	kind := "AllPrincipals"
	if person != "" {
		kind = "Principal"
	}
	old, err := t.List(ctx, "/oauth2PermissionGrants", graph.Filter("clientId eq %s and consentType eq "+graph.Quote(kind), client))
	if err != nil {
		return nil, err
	}
	for _, g := range old {
		if g["resourceId"] == resource && (person == "" || g["principalId"] == person) {
			if err := t.Delete(ctx, one("oauth2PermissionGrants", graph.Text(g, "id"))); err != nil {
				return nil, err
			}
		}
	}
	body := graph.Object{"clientId": client, "consentType": kind, "principalId": nil, "resourceId": resource, "scope": scope}
	if person != "" {
		body["principalId"] = person
	}
	return t.Post(ctx, "/oauth2PermissionGrants", body)
}

func newGrant(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "grant", Short: "Grant an application delegated permissions of an API, in place of those that it has"}
	id := appFlag(c)
	f := c.Flags()
	api := f.String("api", "", "application id of the API")
	person := f.String("principal-id", "", "object id of the one user to grant it for")
	consent := f.String("consent-type", "", "AllPrincipals, or Principal with --principal-id")
	scope := azure.WordsFlag(c, "scope", "names of the permissions, with spaces between")
	azure.Require(c, "api", "scope")
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		if (*consent == "Principal") != (*person != "") && *consent != "" {
			return nil, azure.Usagef("--consent-type Principal and --principal-id go together")
		}
		client, err := t.sp(ctx, *id)
		if err != nil {
			return nil, err
		}
		resource, err := t.sp(ctx, *api)
		if err != nil {
			return nil, err
		}
		return t.grant(ctx, graph.Text(client, "id"), graph.Text(resource, "id"), *person, strings.Join(scope.List, " "))
	})
}

func newGrants(a *azure.App) *cobra.Command {
	c := &cobra.Command{Use: "list-grants", Short: "List the delegated permissions that are granted"}
	id := c.Flags().String("id", "", "only those of this application")
	filter := c.Flags().String("filter", "", "OData filter")
	return run(a, c, "[].{ClientId:clientId, ResourceId:resourceId, Scope:scope}", func(ctx context.Context, t tenant) (any, error) {
		var more []string
		if *id != "" {
			client, err := t.sp(ctx, *id)
			if err != nil {
				return nil, err
			}
			more = append(more, "clientId eq "+graph.Quote(graph.Text(client, "id")))
		}
		return t.List(ctx, "/oauth2PermissionGrants", (&listFlags{filter: *filter}).query(more...))
	})
}

func newAdminConsent(a *azure.App) *cobra.Command {
	c := &cobra.Command{
		Use: "admin-consent", Short: "Grant an application all that it asks for, for everybody",
		Long: "Grant an application all that it asks for, for everybody: its delegated permissions and its\napplication permissions. It is done over Microsoft Graph, step by step.",
	}
	id := appFlag(c)
	return run(a, c, "", func(ctx context.Context, t tenant) (any, error) {
		o, err := t.app(ctx, *id)
		if err != nil {
			return nil, err
		}
		client, err := t.sp(ctx, graph.Text(o, "appId"))
		if err != nil {
			return nil, err
		}
		for _, w := range list(o["requiredResourceAccess"]) {
			if err := t.consent(ctx, graph.Text(client, "id"), w); err != nil {
				return nil, err
			}
		}
		return nil, nil
	})
}

// consent grants what a client asks for of one API.
func (t tenant) consent(ctx context.Context, client string, wanted graph.Object) error {
	api, err := t.sp(ctx, graph.Text(wanted, "resourceAppId"))
	if err != nil {
		return err
	}
	resource := graph.Text(api, "id")
	held, err := t.List(ctx, one("servicePrincipals", client, "appRoleAssignments"), nil)
	if err != nil {
		return err
	}
	var scopes []string
	for _, e := range list(wanted["resourceAccess"]) {
		id := graph.Text(e, "id")
		if e["type"] == "Scope" {
			known := list(api["oauth2PermissionScopes"])
			i := slices.IndexFunc(known, func(s graph.Object) bool { return s["id"] == id })
			if i < 0 {
				return errs.New(errs.NotFound, "The API %s has no permission %s.", graph.Text(api, "appId"), id)
			}
			scopes = append(scopes, graph.Text(known[i], "value"))
			continue
		}
		if slices.ContainsFunc(held, func(h graph.Object) bool { return h["appRoleId"] == id && h["resourceId"] == resource }) {
			continue
		}
		if _, err := t.Post(ctx, one("servicePrincipals", client, "appRoleAssignments"), graph.Object{"principalId": client, "resourceId": resource, "appRoleId": id}); err != nil {
			return err
		}
	}
	if len(scopes) == 0 {
		return nil
	}
	_, err = t.grant(ctx, client, resource, "", strings.Join(scopes, " "))
	return err
}
