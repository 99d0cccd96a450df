// Package scope decides what a request asks for (a resource and permissions on
// it) and which of that the client may have.
package scope

import (
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
)

const dotDefault = ".default"

// maxScopes is more scopes than any resource has.
const maxScopes = 100

// Wanted is what a request asks for: a resource by name and permissions on it,
// and the scopes of OpenID Connect, which belong to none.
type Wanted struct {
	Name    string   // of the resource, as given; empty for the Graph by omission
	Values  []string // scopes on the resource, .default apart
	All     bool     // .default, or the resource parameter of v1
	OpenID  bool
	Profile bool
	Email   bool
	Offline bool
}

// Parse reads the v2 scope parameter. Everything must be about one
// resource: mixed is the code if it is not.
func Parse(scope string, mixed aadsts.Code) (*Wanted, error) {
	w := &Wanted{}
	fields := strings.Fields(scope)
	if len(fields) > maxScopes {
		return nil, aadsts.New(70011, "(too many)")
	}
	first := true
	for _, f := range fields {
		switch strings.ToLower(f) {
		case "openid":
			w.OpenID = true
			continue
		case "profile":
			w.Profile = true
			continue
		case "email":
			w.Email = true
			continue
		case "offline_access":
			w.Offline = true
			continue
		}
		if strings.ContainsFunc(f, func(r rune) bool { return r < '!' || r > '~' || r == '"' || r == '\\' }) {
			return nil, aadsts.New(70011, scope)
		}
		name, value := "", f
		if i := strings.LastIndexByte(f, '/'); i >= 0 {
			name, value = f[:i], f[i+1:]
		}
		if value == "" {
			return nil, aadsts.New(70011, scope)
		}
		if !first && !sameResource(name, w.Name) {
			return nil, aadsts.New(mixed, scope)
		}
		if first {
			w.Name = name
		}
		first = false
		if strings.EqualFold(value, dotDefault) {
			w.All = true
		} else if !slices.Contains(w.Values, value) {
			w.Values = append(w.Values, value)
		}
	}
	if w.All && len(w.Values) > 0 {
		return nil, aadsts.New(70011, scope)
	}
	return w, nil
}

// sameResource compares names of resources as FindResource does.
func sameResource(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
}

// Ask reads what a request at the token, device code or authorization endpoint
// asks for: resource on v1, scope on v2.
func Ask(c *wire.Call, mixed aadsts.Code) (*Wanted, error) {
	return AskFor(c, c.Form.Get("resource"), c.Form.Get("scope"), mixed)
}

func AskFor(c *wire.Call, resource, scope string, mixed aadsts.Code) (*Wanted, error) {
	if !c.V1 {
		if resource != "" {
			return nil, aadsts.New(901002)
		}
		return Parse(scope, mixed)
	}
	// v1: the resource parameter; scope is for openid alone, and newer
	// libraries put more into it, which is ignored as Entra does.
	w := &Wanted{Name: resource, All: true, OpenID: true, Profile: true, Offline: true}
	if len(resource) > 2048 || strings.ContainsFunc(resource, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, aadsts.New(50001, resource, c.Authority)
	}
	return w, nil
}

// OIDCOnly tells that no resource is named.
func (w *Wanted) OIDCOnly() bool { return !w.All && len(w.Values) == 0 }

// OIDC returns the scopes of OpenID Connect that were asked for.
func (w *Wanted) OIDC() (list []string) {
	for _, o := range []struct {
		on   bool
		name string
	}{{w.OpenID, "openid"}, {w.Profile, "profile"}, {w.Email, "email"}, {w.Offline, "offline_access"}} {
		if o.on {
			list = append(list, o.name)
		}
	}
	return list
}

// Target is a resource that has been found, and under which name.
type Target struct {
	*directory.ServicePrincipal
	Audience string
	// Prefixed is whether the token names the resource behind spn:.
	Prefixed bool
}

// Aud is the name of the resource in the token.
func (t *Target) Aud() string {
	if t.Prefixed {
		return "spn:" + t.Audience
	}
	return t.Audience
}

// FirstParty tells whether the resource is one of Microsoft's own.
func (t *Target) FirstParty() bool {
	_, ok := directory.FirstParty(t.AppID)
	return ok
}

// Aliases are further names of resources, folded and without a final slash.
type Aliases map[string]directory.AppID

// Resource finds the resource that a request names. No name means Microsoft
// Graph, as on v2; v1 clients that name none get the old directory service.
func (a Aliases) Resource(c *wire.Call, tenant *directory.Tenant, w *Wanted) (*Target, error) {
	name := w.Name
	if name == "" {
		name = string(directory.Graph)
		if c.V1 {
			name = string(directory.AADGraph)
		}
	}
	if app, ok := a[state.Fold(strings.TrimSuffix(name, "/"))]; ok {
		sp, err := state.FindServicePrincipal(c.View, tenant.ID, app)
		return checkTarget(sp, name, err)
	}
	sp, err := state.FindResource(c.View, tenant.ID, name)
	if errs.Is(err, errs.NotFound) {
		if other, ok := elsewhere(c, name); ok {
			return nil, aadsts.New(650052, other, tenant.DisplayName)
		}
		if c.V1 {
			return nil, aadsts.New(50001, name, tenant.ID)
		}
		return nil, aadsts.New(500011, name, tenant.ID)
	}
	t, err := checkTarget(sp, name, err)
	if err == nil && c.V1 {
		// The v1 endpoint names a resource that was asked for by its id behind
		// spn:, which is what clusters of the legacy client integration expect.
		// Microsoft's own APIs, which the clusters' servers are not, know
		// themselves by the bare id.
		_, isID := directory.ParseGUID(name)
		t.Prefixed = isID && (!t.FirstParty() || t.AppID == directory.AKSServer || t.AppID == directory.ArcServer)
	}
	return t, err
}

func checkTarget(sp *directory.ServicePrincipal, name string, err error) (*Target, error) {
	if err != nil {
		return nil, err
	}
	if !sp.Enabled {
		return nil, aadsts.New(500014, name)
	}
	return &Target{ServicePrincipal: sp, Audience: name}, nil
}

// elsewhere finds an application that exists, but not in this tenant.
func elsewhere(c *wire.Call, name string) (string, bool) {
	id, ok := directory.ParseGUID(name)
	if !ok {
		return "", false
	}
	app, err := state.FindApplication(c.View, directory.AppID(id))
	if err != nil || app.SignInAudience == "AzureADMyOrg" {
		return "", false
	}
	return string(app.AppID), true
}

// offered returns the enabled scopes of a resource.
func offered(r *Target) []string {
	var list []string
	for _, s := range r.Scopes {
		if s.Enabled {
			list = append(list, s.Value)
		}
	}
	return list
}

// Find finds an offered scope; case does not matter in requests.
func Find(r *Target, value string) *directory.Scope {
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
func consented(c *wire.Call, cl *clientauth.Client, r *Target, user directory.ObjectID) []string {
	if cl.FirstParty && r.FirstParty() {
		return offered(r)
	}
	var list []string
	if app, err := state.FindApplication(c.View, r.AppID); err == nil {
		for _, pre := range app.API.PreAuthorized {
			if pre.AppID != cl.ID {
				continue
			}
			for _, s := range r.Scopes {
				if s.Enabled && slices.Contains(pre.Scopes, s.ID) {
					list = append(list, s.Value)
				}
			}
		}
	}
	if cl.SP == nil {
		return list
	}
	for _, s := range state.Consented(c.View, r.Tenant, cl.SP.ID, r.ID, user) {
		// A scope that its resource no longer offers is no permission.
		if f := Find(r, s); f != nil && !slices.Contains(list, f.Value) {
			list = append(list, f.Value)
		}
	}
	return list
}

// Decide returns the scopes that a token for the user may carry and those
// that somebody would have to consent to first.
func Decide(c *wire.Call, cl *clientauth.Client, r *Target, w *Wanted, user directory.ObjectID) (granted []string, missing []*directory.Scope, err error) {
	have := consented(c, cl, r, user)
	if w.All {
		if len(have) > 0 || cl.FirstParty && r.FirstParty() {
			return have, nil, nil
		}
		// Static consent: what the client's registration lists.
		missing, err = required(cl, r)
		return nil, missing, err
	}
	values := w.Values
	if w.OIDCOnly() {
		values = w.OIDC() // are permissions of Graph too, and need consent
	}
	for _, v := range values {
		s := Find(r, v)
		if s == nil {
			return nil, nil, aadsts.New(650053, cl.Name, v, string(r.AppID))
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
func required(cl *clientauth.Client, r *Target) (list []*directory.Scope, err error) {
	if cl.App == nil {
		return nil, nil
	}
	for _, q := range cl.App.Required {
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
		return nil, aadsts.New(650057, string(cl.ID), r.Audience)
	}
	return list, nil
}

// Response returns the scope member of a token response: each scope with the
// resource's name before it, as it was asked for.
func (w *Wanted) Response(r *Target, granted []string) string {
	name := r.Audience
	if w.Name == "" {
		name = "" // what was asked without a name comes back without
	}
	var list []string
	for _, s := range granted {
		if name != "" {
			s = name + "/" + s // two slashes, if the name ends with one
		}
		list = append(list, s)
	}
	if w.All && name != "" {
		list = append(list, name+"/"+dotDefault)
	}
	if !w.OIDCOnly() && r.AppID == directory.Graph {
		for _, o := range w.OIDC() {
			if !slices.Contains(list, o) && o != "offline_access" {
				list = append(list, o)
			}
		}
	}
	return strings.Join(list, " ")
}
