package oauth

import (
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
)

const dotDefault = ".default"

// maxScopes is more scopes than any resource has.
const maxScopes = 100

// wanted is what a request asks for: a resource by name and permissions on it,
// and the scopes of OpenID Connect, which belong to none.
type wanted struct {
	name    string   // of the resource, as given; empty for the Graph by omission
	values  []string // scopes on the resource, .default apart
	dotAll  bool     // .default, or the resource parameter of v1
	openid  bool
	profile bool
	email   bool
	offline bool
}

// parseScope reads the v2 scope parameter. Everything must be about one
// resource: mixed is the code if it is not.
func parseScope(scope string, mixed aadsts.Code) (*wanted, error) {
	w := &wanted{}
	fields := strings.Fields(scope)
	if len(fields) > maxScopes {
		return nil, fault(70011, "(too many)")
	}
	first := true
	for _, f := range fields {
		switch strings.ToLower(f) {
		case "openid":
			w.openid = true
			continue
		case "profile":
			w.profile = true
			continue
		case "email":
			w.email = true
			continue
		case "offline_access":
			w.offline = true
			continue
		}
		if strings.ContainsFunc(f, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }) {
			return nil, fault(70011, scope)
		}
		name, value := "", f
		if i := strings.LastIndexByte(f, '/'); i >= 0 {
			name, value = f[:i], f[i+1:]
		}
		if value == "" {
			return nil, fault(70011, scope)
		}
		if !first && !sameResource(name, w.name) {
			return nil, fault(mixed, scope)
		}
		if first {
			w.name = name
		}
		first = false
		if strings.EqualFold(value, dotDefault) {
			w.dotAll = true
		} else if !slices.Contains(w.values, value) {
			w.values = append(w.values, value)
		}
	}
	if w.dotAll && len(w.values) > 0 {
		return nil, fault(70011, scope)
	}
	return w, nil
}

// sameResource compares names of resources as FindResource does.
func sameResource(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
}

// ask reads what a request at the token, device code or authorization endpoint
// asks for: resource on v1, scope on v2.
func (c *call) ask(mixed aadsts.Code) (*wanted, error) {
	return c.askFor(c.form.Get("resource"), c.form.Get("scope"), mixed)
}

func (c *call) askFor(resource, scope string, mixed aadsts.Code) (*wanted, error) {
	if !c.v1 {
		if resource != "" {
			return nil, fault(901002)
		}
		return parseScope(scope, mixed)
	}
	// v1: the resource parameter; scope is for openid alone, and newer
	// libraries put more into it, which is ignored as Entra does.
	w := &wanted{name: resource, dotAll: true, openid: true, profile: true, offline: true}
	if len(resource) > 2048 || strings.ContainsFunc(resource, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, fault(50001, resource, c.authority)
	}
	return w, nil
}

// oidcOnly tells that no resource is named.
func (w *wanted) oidcOnly() bool { return !w.dotAll && len(w.values) == 0 }

// oidc returns the scopes of OpenID Connect that were asked for.
func (w *wanted) oidc() (list []string) {
	for _, o := range []struct {
		on   bool
		name string
	}{{w.openid, "openid"}, {w.profile, "profile"}, {w.email, "email"}, {w.offline, "offline_access"}} {
		if o.on {
			list = append(list, o.name)
		}
	}
	return list
}

// target is a resource that has been found, and under which name.
type target struct {
	*directory.ServicePrincipal
	audience string
	// prefixed is whether the token names the resource behind spn:.
	prefixed bool
}

// aud is the name of the resource in the token.
func (t *target) aud() string {
	if t.prefixed {
		return "spn:" + t.audience
	}
	return t.audience
}

func (t *target) firstParty() bool {
	_, ok := directory.FirstParty(t.AppID)
	return ok
}

// resource finds the resource that a request names. No name means Microsoft
// Graph, as on v2; v1 clients that name none get the old directory service.
func (p *Provider) resource(c *call, tenant *directory.Tenant, w *wanted) (*target, error) {
	name := w.name
	if name == "" {
		name = string(directory.Graph)
		if c.v1 {
			name = string(directory.AADGraph)
		}
	}
	if app, ok := p.cfg.Aliases[state.Fold(strings.TrimSuffix(name, "/"))]; ok {
		sp, err := state.FindServicePrincipal(c.view, tenant.ID, app)
		return p.checkTarget(sp, name, err)
	}
	sp, err := state.FindResource(c.view, tenant.ID, name)
	if errs.Is(err, errs.NotFound) {
		if other, ok := p.elsewhere(c, name); ok {
			return nil, fault(650052, other, tenant.DisplayName)
		}
		if c.v1 {
			return nil, fault(50001, name, tenant.ID)
		}
		return nil, fault(500011, name, tenant.ID)
	}
	t, err := p.checkTarget(sp, name, err)
	if err == nil && c.v1 {
		// The v1 endpoint names a resource that was asked for by its id behind
		// spn:, which is what clusters of the legacy client integration expect.
		// Microsoft's own APIs, which the clusters' servers are not, know
		// themselves by the bare id.
		_, isID := directory.ParseGUID(name)
		t.prefixed = isID && (!t.firstParty() || t.AppID == directory.AKSServer || t.AppID == directory.ArcServer)
	}
	return t, err
}

func (p *Provider) checkTarget(sp *directory.ServicePrincipal, name string, err error) (*target, error) {
	if err != nil {
		return nil, err
	}
	if !sp.Enabled {
		return nil, fault(500014, name)
	}
	return &target{ServicePrincipal: sp, audience: name}, nil
}

// elsewhere finds an application that exists, but not in this tenant.
func (p *Provider) elsewhere(c *call, name string) (string, bool) {
	id, ok := directory.ParseGUID(name)
	if !ok {
		return "", false
	}
	app, err := state.FindApplication(c.view, directory.AppID(id))
	if err != nil || app.SignInAudience == "AzureADMyOrg" {
		return "", false
	}
	return string(app.AppID), true
}

// offered returns the enabled scopes of a resource.
func offered(r *target) []string {
	var list []string
	for _, s := range r.Scopes {
		if s.Enabled {
			list = append(list, s.Value)
		}
	}
	return list
}

// findScope finds an offered scope; case does not matter in requests.
func findScope(r *target, value string) *directory.Scope {
	for i := range r.Scopes {
		if r.Scopes[i].Enabled && strings.EqualFold(r.Scopes[i].Value, value) {
			return &r.Scopes[i]
		}
	}
	return nil
}

// consented returns the scopes of resource that the client has for the user
// without asking anybody: first-party clients have all of a first-party
// resource, preauthorized clients what the resource's developer says, and
// others what was consented to.
func (p *Provider) consented(c *call, cl *client, r *target, user directory.ObjectID) []string {
	if cl.firstParty && r.firstParty() {
		return offered(r)
	}
	var list []string
	if app, err := state.FindApplication(c.view, r.AppID); err == nil {
		for _, pre := range app.API.PreAuthorized {
			if pre.AppID != cl.id {
				continue
			}
			for _, s := range r.Scopes {
				if s.Enabled && slices.Contains(pre.Scopes, s.ID) {
					list = append(list, s.Value)
				}
			}
		}
	}
	if cl.sp == nil {
		return list
	}
	for _, s := range state.Consented(c.view, r.Tenant, cl.sp.ID, r.ID, user) {
		// A scope that its resource no longer offers is no permission.
		if f := findScope(r, s); f != nil && !slices.Contains(list, f.Value) {
			list = append(list, f.Value)
		}
	}
	return list
}

// decideScopes returns the scopes that a token for the user may carry and those
// that somebody would have to consent to first.
func (p *Provider) decideScopes(c *call, cl *client, r *target, w *wanted, user directory.ObjectID) (granted []string, missing []*directory.Scope, err error) {
	have := p.consented(c, cl, r, user)
	if w.dotAll {
		if len(have) > 0 || cl.firstParty && r.firstParty() {
			return have, nil, nil
		}
		// Static consent: what the client's registration lists.
		missing, err = p.required(cl, r)
		return nil, missing, err
	}
	values := w.values
	if w.oidcOnly() {
		values = w.oidc() // are permissions of Graph too, and need consent
	}
	for _, v := range values {
		s := findScope(r, v)
		if s == nil {
			return nil, nil, fault(650053, cl.name, v, string(r.AppID))
		}
		if slices.Contains(have, s.Value) {
			granted = append(granted, s.Value)
		} else {
			missing = append(missing, s)
		}
	}
	return granted, missing, nil
}

// required returns the delegated permissions on r that the client's
// registration declares.
func (p *Provider) required(cl *client, r *target) (list []*directory.Scope, err error) {
	if cl.app == nil {
		return nil, nil
	}
	for _, q := range cl.app.Required {
		if q.ResourceAppID != r.AppID {
			continue
		}
		for _, a := range q.Access {
			for i := range r.Scopes {
				if a.Type == "Scope" && r.Scopes[i].ID == a.ID && r.Scopes[i].Enabled {
					list = append(list, &r.Scopes[i])
				}
			}
		}
	}
	if len(list) == 0 {
		return nil, fault(650057, string(cl.id), r.audience)
	}
	return list, nil
}

// response returns the scope member of a token response: each scope with the
// resource's name before it, as it was asked for.
func (w *wanted) response(r *target, granted []string) string {
	name := r.audience
	if w.name == "" {
		name = "" // what was asked without a name comes back without
	}
	var list []string
	for _, s := range granted {
		if name != "" {
			s = name + "/" + s // two slashes, if the name ends with one
		}
		list = append(list, s)
	}
	if w.dotAll && name != "" {
		list = append(list, name+"/"+dotDefault)
	}
	if !w.oidcOnly() && r.AppID == directory.Graph {
		for _, o := range w.oidc() {
			if !slices.Contains(list, o) && o != "offline_access" {
				list = append(list, o)
			}
		}
	}
	return strings.Join(list, " ")
}
