package cloud

import (
	"context"
	"net/http"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/tenantfile"
)

// Writer takes the steps of a plan.
type Writer struct {
	*Client
	world *tenantfile.World
	// Passwords are those of the users that are to be made, by user principal
	// name in lower case.
	Passwords map[string]string

	ids        map[string]string // of objects, by reference
	principals map[string]string // of what can hold a role, by reference
	roles      map[string]string // ids of roles, by name
}

// NewWriter returns a Writer for a plan that was made for world.
func NewWriter(c *Client, world *tenantfile.World) *Writer {
	w := &Writer{
		Client: c, world: world, Passwords: map[string]string{}, ids: map[string]string{}, principals: map[string]string{}, roles: map[string]string{},
	}
	for _, section := range []string{tenantfile.Users, tenantfile.Groups, tenantfile.Apps, tenantfile.Identities} {
		for _, e := range world.Entities(section) {
			w.know(e, e.ID, e.Principal)
		}
	}
	return w
}

func reference(kind, name string) string { return kind + "/" + strings.ToLower(name) }

func (w *Writer) know(e *tenantfile.Entity, id, principal string) {
	w.ids[reference(e.Kind.Name, e.Name())] = id
	if principal != "" {
		w.principals[reference(e.Kind.Name, e.Name())] = principal
	}
}

// Take takes one step. It may be called again after an error.
func (w *Writer) Take(ctx context.Context, s tenantfile.Step) error {
	i := s.Item
	switch {
	case s.Links():
		return w.links(ctx, i)
	case s.Credentials() && i.Want.Kind.Section == tenantfile.Apps:
		return w.appCredentials(ctx, i)
	case s.Credentials():
		return w.identityCredentials(ctx, i)
	}
	switch i.Want.Kind.Section {
	case tenantfile.Users:
		return w.user(ctx, i)
	case tenantfile.Groups:
		return w.group(ctx, i)
	case tenantfile.Apps:
		return w.app(ctx, i)
	case tenantfile.ResourceGroups:
		return w.resourceGroup(ctx, i)
	case tenantfile.Identities:
		return w.identity(ctx, i)
	case tenantfile.Clusters:
		return w.cluster(ctx, i)
	case tenantfile.RoleDefinitions:
		return w.role(ctx, i)
	case tenantfile.DirectoryRoles:
		return w.directoryRole(ctx, i)
	}
	return w.assignment(ctx, i)
}

// set copies what is to be set into the body of a request.
func set(i *tenantfile.Item, body map[string]any, names ...string) map[string]any {
	for _, name := range names {
		if i.Differs(name) {
			body[name] = i.Want.Values[name]
		}
	}
	return body
}

// made is what Graph answers to a POST.
type made struct{ ID, AppID string }

// nickname makes a mail nickname of a display name: it may hold less.
func nickname(name string) string {
	name = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, name)
	return name[:min(len(name), 64)]
}

func (w *Writer) user(ctx context.Context, i *tenantfile.Item) error {
	if !i.Create() {
		return w.call(ctx, Graph, http.MethodPatch, "/users/"+i.Have.ID, set(i, map[string]any{}, userFields...), nil)
	}
	name := i.Want.Name()
	local, _, _ := strings.Cut(name, "@")
	body := set(i, map[string]any{
		"userPrincipalName": name, "displayName": local, "mailNickname": nickname(local), "accountEnabled": true,
		"passwordProfile": map[string]any{"password": w.Passwords[strings.ToLower(name)], "forceChangePasswordNextSignIn": false},
	}, userFields...)
	var m made
	if err := w.call(ctx, Graph, http.MethodPost, "/users", body, &m); err != nil {
		return err
	}
	w.know(i.Want, m.ID, m.ID)
	return nil
}

func (w *Writer) group(ctx context.Context, i *tenantfile.Item) error {
	fields := []string{"description", "mailNickname", "isAssignableToRole"}
	if !i.Create() {
		return w.call(ctx, Graph, http.MethodPatch, "/groups/"+i.Have.ID, set(i, map[string]any{}, fields...), nil)
	}
	name := i.Want.Name()
	var m made
	if err := w.call(ctx, Graph, http.MethodPost, "/groups", set(i, map[string]any{
		"displayName": name, "mailNickname": nickname(name), "mailEnabled": false, "securityEnabled": true,
	}, fields...), &m); err != nil {
		return err
	}
	w.know(i.Want, m.ID, m.ID)
	return nil
}

func (w *Writer) app(ctx context.Context, i *tenantfile.Item) error {
	body := set(i, map[string]any{}, "signInAudience", "isFallbackPublicClient")
	if i.Differs("redirectUris") {
		for _, platform := range []string{"web", "spa", "publicClient"} {
			if r := i.Want.Object("redirectUris"); r.Has(platform) {
				body[platform] = map[string]any{"redirectUris": r.Texts(platform)}
			}
		}
	}
	m := made{}
	if i.Create() {
		body["displayName"] = i.Want.Name()
		if err := w.call(ctx, Graph, http.MethodPost, "/applications", body, &m); err != nil {
			return err
		}
		if err := w.dropOwner(ctx, m.ID); err != nil {
			return err
		}
	} else {
		m = made{i.Have.ID, document(i.Have.Document).text("appId")}
		if err := w.patchApp(ctx, m.ID, body); err != nil {
			return err
		}
	}
	w.know(i.Want, m.ID, "")
	if i.Differs("identifierUris") {
		uris := []string{}
		for _, u := range i.Want.Texts("identifierUris") {
			uris = append(uris, strings.ReplaceAll(u, appIDMark, m.AppID))
		}
		if err := w.patchApp(ctx, m.ID, map[string]any{"identifierUris": uris}); err != nil {
			return err
		}
	}
	if i.Differs("appRoles") {
		if err := w.appRoles(ctx, i, m.ID); err != nil {
			return err
		}
	}
	if principal := principalOf(i.Have); principal != "" {
		w.know(i.Want, m.ID, principal)
		return nil
	}
	if !i.Want.Bool("servicePrincipal", i.Create()) {
		return nil
	}
	var sp made
	if err := w.call(ctx, Graph, http.MethodPost, "/servicePrincipals", map[string]any{"appId": m.AppID}, &sp); err != nil {
		return err
	}
	w.know(i.Want, m.ID, sp.ID)
	return nil
}

func principalOf(e *tenantfile.Entity) string {
	if e == nil {
		return ""
	}
	return e.Principal
}

func (w *Writer) patchApp(ctx context.Context, id string, body map[string]any) error {
	if len(body) == 0 {
		return nil
	}
	return w.call(ctx, Graph, http.MethodPatch, "/applications/"+id, body, nil)
}

// dropOwner takes out the owner that Graph gives every new application, the
// caller: the owners are those of the file.
func (w *Writer) dropOwner(ctx context.Context, id string) error {
	owners, err := list[made](ctx, w.Client, Graph, "/applications/"+id+"/owners?$select=id")
	if err != nil {
		return err
	}
	for _, o := range owners {
		if err := w.call(ctx, Graph, http.MethodDelete, "/applications/"+id+"/owners/"+o.ID+"/$ref", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

// appRoles sets the roles of an application. A role keeps its id, and one that
// goes is disabled first, as Graph demands.
func (w *Writer) appRoles(ctx context.Context, i *tenantfile.Item, id string) error {
	ids := map[string]string{}
	have := []*tenantfile.Entity{}
	if i.Have != nil {
		have = i.Have.List("appRoles")
	}
	for _, r := range have {
		ids[r.Text("value")] = r.ID
	}
	roles, leaving := []map[string]any{}, []map[string]any{}
	for _, r := range i.Want.List("appRoles") {
		role := map[string]any{
			"id": ids[r.Text("value")], "value": r.Text("value"), "displayName": r.Text("displayName"), "description": r.Text("description"),
			"allowedMemberTypes": r.Texts("allowedMemberTypes"), "isEnabled": r.Bool("isEnabled", true),
		}
		if role["id"] == "" {
			role["id"] = directory.NewGUID()
		}
		delete(ids, r.Text("value"))
		roles = append(roles, role)
	}
	for _, r := range have {
		if _, left := ids[r.Text("value")]; left {
			leaving = append(leaving, map[string]any{
				"id": r.ID, "value": r.Text("value"), "displayName": r.Text("displayName"), "description": r.Text("description"),
				"allowedMemberTypes": r.Texts("allowedMemberTypes"), "isEnabled": false,
			})
		}
	}
	if len(leaving) > 0 {
		if err := w.patchApp(ctx, id, map[string]any{"appRoles": append(leaving, roles...)}); err != nil {
			return err
		}
	}
	return w.patchApp(ctx, id, map[string]any{"appRoles": roles})
}

// links sets owners and members: who is missing comes in first, and then who is
// not wanted goes.
func (w *Writer) links(ctx context.Context, i *tenantfile.Item) error {
	set := "/groups/"
	if i.Want.Kind.Section == tenantfile.Apps {
		set = "/applications/"
	}
	id := w.ids[reference(i.Want.Kind.Name, i.Want.Name())]
	for _, name := range []string{"owners", "members"} {
		if !i.Differs(name) {
			continue
		}
		want, have := map[string]bool{}, map[string]bool{}
		if i.Have != nil {
			for _, r := range i.Have.Refs(name) {
				have[w.principals[reference(r.Kind, r.Name)]] = true
			}
		}
		for _, r := range i.Want.Refs(name) {
			p := w.principals[reference(r.Kind, r.Name)]
			if p == "" {
				return errs.New(errs.NotFound, "The %s has no id yet.", r)
			}
			want[p] = true
			if have[p] {
				continue
			}
			body := map[string]string{"@odata.id": w.GraphURL + "/v1.0/directoryObjects/" + p}
			if err := w.call(ctx, Graph, http.MethodPost, set+id+"/"+name+"/$ref", body, nil); err != nil {
				return err
			}
		}
		for p := range have {
			if want[p] {
				continue
			}
			if err := w.call(ctx, Graph, http.MethodDelete, set+id+"/"+name+"/"+p+"/$ref", nil, nil); err != nil && !status(err, http.StatusNotFound) {
				return err
			}
		}
	}
	return nil
}

// credentialBody writes a federated credential as both services take it.
func (w *Writer) credentialBody(ctx context.Context, c *tenantfile.Entity) (map[string]any, error) {
	issuer, subject := c.Text("issuer"), c.Text("subject")
	if r := c.Ref("cluster"); r.Kind != "" {
		var d document
		if err := w.call(ctx, ARM, http.MethodGet, w.at(resourcePath(r.Name, clusterType), versionClusters), nil, &d); err != nil {
			return nil, err
		}
		if issuer = d.text("properties.oidcIssuerProfile.issuerURL"); issuer == "" {
			return nil, errs.New(errs.Invalid, "The cluster %s has no issuer: set oidcIssuer: true.", r.Name)
		}
	}
	if account := c.Text("serviceAccount"); account != "" {
		namespace, name, _ := strings.Cut(account, "/")
		subject = "system:serviceaccount:" + namespace + ":" + name
	}
	audiences := c.Texts("audiences")
	if len(audiences) == 0 {
		audiences = []string{tenantfile.DefaultAudience}
	}
	return map[string]any{"issuer": issuer, "subject": subject, "audiences": audiences}, nil
}

// credentials removes what is not wanted and sets what is; put sets one.
func (w *Writer) credentials(ctx context.Context, i *tenantfile.Item, remove func(name string) error, put func(name string, body map[string]any, exists bool) error) error {
	wanted := map[string]bool{}
	for _, c := range i.Want.List("federatedCredentials") {
		wanted[strings.ToLower(c.Text("name"))] = true
	}
	exists := map[string]bool{}
	if i.Have != nil {
		for _, c := range i.Have.List("federatedCredentials") {
			name := strings.ToLower(c.Text("name"))
			exists[name] = true
			if !wanted[name] {
				if err := remove(c.Text("name")); err != nil && !status(err, http.StatusNotFound) {
					return err
				}
			}
		}
	}
	for _, c := range i.Want.List("federatedCredentials") {
		body, err := w.credentialBody(ctx, c)
		if err != nil {
			return err
		}
		if err := put(c.Text("name"), body, exists[strings.ToLower(c.Text("name"))]); err != nil {
			return err
		}
	}
	return nil
}

func (w *Writer) appCredentials(ctx context.Context, i *tenantfile.Item) error {
	path := "/applications/" + w.ids[reference("app", i.Want.Name())] + "/federatedIdentityCredentials"
	return w.credentials(ctx, i,
		func(name string) error {
			return w.call(ctx, Graph, http.MethodDelete, path+"/"+segment(name), nil, nil)
		},
		func(name string, body map[string]any, exists bool) error {
			if exists {
				return w.call(ctx, Graph, http.MethodPatch, path+"/"+segment(name), body, nil)
			}
			body["name"] = name
			return w.call(ctx, Graph, http.MethodPost, path, body, nil)
		})
}

func (w *Writer) identityCredentials(ctx context.Context, i *tenantfile.Item) error {
	path := resourcePath(i.Want.Name(), identityType) + "/federatedIdentityCredentials/"
	return w.credentials(ctx, i,
		func(name string) error {
			return w.call(ctx, ARM, http.MethodDelete, w.at(path+segment(name), versionIdentities), nil, nil)
		},
		func(name string, body map[string]any, _ bool) error {
			return w.call(ctx, ARM, http.MethodPut, w.at(path+segment(name), versionIdentities), map[string]any{"properties": body}, nil)
		})
}
