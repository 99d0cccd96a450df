package cloud

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/tenantfile"
)

// reader gathers a world.
type reader struct {
	*Client
	ctx   context.Context
	world *tenantfile.World
	names map[string]tenantfile.Ref     // of principals and roles, by id
	seen  map[string]*tenantfile.Entity // by section and folded name
	// detailed reports whether the links and credentials of an object are
	// wanted: to apply a file only those of what it names are.
	detailed func(section, name string) bool
}

// Read reads what the cloud holds. With a file only the memberships and
// credentials of what it names are read; without one all are, for an export.
func Read(ctx context.Context, c *Client, f *tenantfile.File) (*tenantfile.World, error) {
	r := &reader{
		Client: c, ctx: ctx, names: map[string]tenantfile.Ref{}, seen: map[string]*tenantfile.Entity{},
		world: &tenantfile.World{SubscriptionID: c.Subscription, Issuers: map[string]string{}},
	}
	r.detailed = func(string, string) bool { return true }
	if f != nil {
		named := map[string]bool{}
		for _, section := range []string{tenantfile.Groups, tenantfile.Apps, tenantfile.Identities} {
			for _, e := range f.Entities(section) {
				named[section+"/"+strings.ToLower(e.Name())] = true
			}
		}
		r.detailed = func(section, name string) bool { return named[section+"/"+strings.ToLower(name)] }
	}
	for _, step := range []func() error{
		r.organization, r.users, r.groups, r.apps, r.subscription, r.resourceGroups, r.resources, r.clusterNames,
		r.identities, r.links, r.clusters, r.managementGroups, r.roles, r.assignments, r.directoryRoles(f),
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return r.world, nil
}

func (r *reader) note(format string, args ...any) {
	r.world.Notes = append(r.world.Notes, fmt.Sprintf(format, args...))
}

func (r *reader) organization() error {
	orgs, err := list[struct {
		ID              string
		VerifiedDomains []struct {
			Name      string
			IsDefault bool
		}
	}](r.ctx, r.Client, Graph, "/organization")
	if err != nil {
		return err
	}
	for _, o := range orgs {
		r.world.TenantID = o.ID
		for _, d := range o.VerifiedDomains {
			if d.IsDefault {
				r.world.Domain = d.Name
			}
		}
	}
	return nil
}

// document is a resource as it was received.
type document map[string]any

func (d document) text(path string) string {
	s, _ := d.get(path).(string)
	return s
}

// get returns what stands at a path such as properties.aadProfile.
func (d document) get(path string) any {
	var v any = map[string]any(d)
	for _, name := range strings.Split(path, ".") {
		m, _ := v.(map[string]any)
		v = m[name]
	}
	return v
}

func (d document) object(path string) document {
	m, _ := d.get(path).(map[string]any)
	return m
}

func (d document) list(path string) []any {
	l, _ := d.get(path).([]any)
	return l
}

func (d document) texts(path string) []string {
	out := []string{}
	for _, v := range d.list(path) {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// values copies what a document has under the given names.
func (d document) values(names ...string) map[string]any {
	out := map[string]any{}
	for _, name := range names {
		switch v := d[name].(type) {
		case string:
			if v != "" {
				out[name] = v
			}
		case bool:
			out[name] = v
		}
	}
	return out
}

// add adds an object. One whose name another has already cannot be told from
// it: both are ambiguous, and neither can be named.
func (r *reader) add(e *tenantfile.Entity, principal string) {
	ref := tenantfile.Ref{Kind: e.Kind.Name, Name: e.Name()}
	key := e.Kind.Section + "/" + strings.ToLower(ref.Name)
	if o := r.seen[key]; o != nil {
		if o.Unmanaged == "" {
			r.world.Ambiguous = append(r.world.Ambiguous, ref)
			r.note("every %s called %s: there is more than one", ref.Kind, ref.Name)
			o.Unmanaged = "its name is not unique"
			delete(r.names, o.Principal)
		}
		return
	}
	r.seen[key] = e
	e.Principal = principal
	r.world.Add(e)
	if principal != "" {
		r.names[principal] = ref
	}
}

var userFields = []string{"displayName", "givenName", "surname", "mail", "mailNickname", "jobTitle", "department", "accountEnabled"}

func (r *reader) users() error {
	docs, err := list[document](r.ctx, r.Client, Graph, "/users?$top=999&$select=id,userPrincipalName,"+strings.Join(userFields, ","))
	if err != nil {
		return err
	}
	for _, d := range docs {
		e := tenantfile.New(tenantfile.Users, d.values(append(userFields, "userPrincipalName")...))
		e.ID = d.text("id")
		r.add(e, e.ID)
	}
	return nil
}

func (r *reader) groups() error {
	docs, err := list[document](r.ctx, r.Client, Graph, "/groups?$top=999&$select=id,displayName,description,mailNickname,isAssignableToRole")
	if err != nil {
		return err
	}
	for _, d := range docs {
		e := tenantfile.New(tenantfile.Groups, d.values("displayName", "description", "mailNickname"))
		if d["isAssignableToRole"] == true {
			e.Values["isAssignableToRole"] = true
		}
		e.ID = d.text("id")
		r.add(e, e.ID)
	}
	return nil
}

// appIDMark stands in a file for the id that an application gets when it is
// made.
const appIDMark = "{appId}"

func (r *reader) apps() error {
	docs, err := list[document](r.ctx, r.Client, Graph, "/applications?$top=999")
	if err != nil {
		return err
	}
	clients, err := list[struct{ ID, AppID string }](r.ctx, r.Client, Graph, "/servicePrincipals?$top=999&$select=id,appId")
	if err != nil {
		return err
	}
	principals := map[string]string{}
	for _, p := range clients {
		principals[p.AppID] = p.ID
	}
	for _, d := range docs {
		e := tenantfile.New(tenantfile.Apps, d.values("displayName", "signInAudience", "isFallbackPublicClient"))
		e.ID, e.Document = d.text("id"), d
		app := d.text("appId")
		uris := d.texts("identifierUris")
		for i := range uris {
			uris[i] = strings.ReplaceAll(uris[i], app, appIDMark)
		}
		e.Values["identifierUris"] = uris
		redirects := &tenantfile.Entity{Values: map[string]any{}}
		for _, platform := range []string{"web", "spa", "publicClient"} {
			redirects.Values[platform] = d.texts(platform + ".redirectUris")
		}
		e.Values["redirectUris"] = redirects
		roles := []*tenantfile.Entity{}
		for _, v := range d.list("appRoles") {
			role := document(asObject(v))
			values := role.values("value", "displayName", "description", "isEnabled")
			values["allowedMemberTypes"] = role.texts("allowedMemberTypes")
			roles = append(roles, &tenantfile.Entity{ID: role.text("id"), Values: values})
		}
		e.Values["appRoles"] = roles
		e.Values["servicePrincipal"] = principals[app] != ""
		r.add(e, principals[app])
	}
	return nil
}

func asObject(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// links reads owners, members and the federated credentials of applications.
func (r *reader) links() error {
	for _, e := range r.world.Entities(tenantfile.Groups) {
		if e.Unmanaged != "" || !r.detailed(tenantfile.Groups, e.Name()) {
			continue
		}
		for _, name := range []string{"owners", "members"} {
			if err := r.linked(e, "/groups/"+e.ID+"/"+name, name); err != nil {
				return err
			}
		}
	}
	for _, e := range r.world.Entities(tenantfile.Apps) {
		if e.Unmanaged != "" || !r.detailed(tenantfile.Apps, e.Name()) {
			continue
		}
		if err := r.linked(e, "/applications/"+e.ID+"/owners", "owners"); err != nil {
			return err
		}
		docs, err := list[document](r.ctx, r.Client, Graph, "/applications/"+e.ID+"/federatedIdentityCredentials")
		if err != nil {
			return err
		}
		r.credentials(e, docs)
	}
	return nil
}

func (r *reader) linked(e *tenantfile.Entity, path, name string) error {
	objects, err := list[struct{ ID, DisplayName string }](r.ctx, r.Client, Graph, path+"?$top=999&$select=id,displayName")
	if err != nil {
		return err
	}
	refs := []tenantfile.Ref{}
	for _, o := range objects {
		ref, ok := r.names[o.ID]
		if !ok {
			r.note("%s of the %s %s: %s (%s)", strings.TrimSuffix(name, "s"), e.Kind.Name, e.Name(), o.DisplayName, o.ID)
			continue
		}
		refs = append(refs, ref)
	}
	e.Values[name] = refs
	return nil
}

// credentials sets federated credentials, which have the same form in both
// services.
func (r *reader) credentials(e *tenantfile.Entity, docs []document) {
	all := []*tenantfile.Entity{}
	for _, d := range docs {
		c := &tenantfile.Entity{Values: d.values("name", "issuer", "subject")}
		c.Values["audiences"] = d.texts("audiences")
		if !c.Has("subject") {
			r.note("federated credential %s of the %s %s: it matches an expression", c.Text("name"), e.Kind.Name, e.Name())
			continue
		}
		tenantfile.NormalCredential(c, r.world.Issuers)
		all = append(all, c)
	}
	e.Values["federatedCredentials"] = all
}

func (r *reader) subscription() error {
	var s struct{ DisplayName string }
	if err := r.call(r.ctx, ARM, http.MethodGet, r.at("", versionResources), nil, &s); err != nil {
		return err
	}
	r.world.SubscriptionName = s.DisplayName
	return nil
}

func (r *reader) managementGroups() error {
	groups, err := list[struct{ Name string }](r.ctx, r.Client, ARM, "/providers/Microsoft.Management/managementGroups?api-version="+versionManagements)
	if err != nil {
		return err
	}
	for _, g := range groups {
		r.world.ManagementGroups = append(r.world.ManagementGroups, g.Name)
	}
	slices.Sort(r.world.ManagementGroups)
	return nil
}
