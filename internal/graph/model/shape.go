package model

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Below are the shapes of complex values on the wire, where every member is
// always present, unlike in the records.

type apiWire struct {
	MappedClaims  *bool                     `json:"acceptMappedClaims"`
	KnownClients  []directory.AppID         `json:"knownClientApplications"`
	TokenVersion  *int                      `json:"requestedAccessTokenVersion"`
	Scopes        []scopeWire               `json:"oauth2PermissionScopes"`
	PreAuthorized []directory.PreAuthorized `json:"preAuthorizedApplications"`
}

type scopeWire struct {
	AdminConsentAbout *string `json:"adminConsentDescription"`
	AdminConsentName  *string `json:"adminConsentDisplayName"`
	ID                string  `json:"id"`
	Enabled           *bool   `json:"isEnabled"`
	Type              string  `json:"type"`
	UserConsentAbout  *string `json:"userConsentDescription"`
	UserConsentName   *string `json:"userConsentDisplayName"`
	Value             *string `json:"value"`
	Origin            *string `json:"origin,omitempty"`
}

func apiJSON(a *directory.API) any {
	w := apiWire{a.MappedClaims, a.KnownClients, a.TokenVersion, scopesJSON(a.Scopes), a.PreAuthorized}
	if w.KnownClients == nil {
		w.KnownClients = []directory.AppID{}
	}
	if w.PreAuthorized == nil {
		w.PreAuthorized = []directory.PreAuthorized{}
	}
	return w
}

func scopesJSON(scopes []directory.Scope) []scopeWire {
	out := make([]scopeWire, 0, len(scopes))
	for _, s := range scopes {
		out = append(out, scopeWire{optional(s.AdminConsentAbout), optional(s.AdminConsentName), s.ID, &s.Enabled, s.Type, optional(s.UserConsentAbout), optional(s.UserConsentName), &s.Value, nil})
	}
	return out
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// unannotated returns raw without OData annotations at any depth: clients send
// back what they were shown.
func unannotated(raw json.RawMessage) (json.RawMessage, error) {
	if !strings.Contains(string(raw), "@odata.") {
		return raw, nil
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	var strip func(any)
	strip = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				if strings.Contains(name, "@odata.") {
					delete(v, name)
					continue
				}
				strip(inner)
			}
		case []any:
			for _, inner := range v {
				strip(inner)
			}
		}
	}
	strip(v)
	return json.Marshal(v)
}

// strict decodes raw into v and refuses members that v does not have,
// annotations aside.
func strict(raw json.RawMessage, v any, property string) error {
	raw, err := unannotated(raw)
	if err != nil {
		return err
	}
	dec := json.NewDecoder(strings.NewReader(string(raw)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
			return errs.New(errs.Invalid, "Invalid property %.100s in '%s'.", strings.ReplaceAll(name, `"`, "'"), property)
		}
		return err
	}
	return nil
}

func setAPI(a *directory.Application, raw json.RawMessage) error {
	if isNull(raw) {
		a.API = directory.API{}
		return nil
	}
	w := apiJSON(&a.API).(apiWire) // members that are not sent stay
	// A list that is sent replaces the one that is there.
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sent); err != nil {
		return err
	}
	for name := range sent {
		switch strings.ToLower(name) {
		case "oauth2permissionscopes":
			w.Scopes = nil
		case "preauthorizedapplications":
			w.PreAuthorized = nil
		case "knownclientapplications":
			w.KnownClients = nil
		}
	}
	if err := strict(raw, &w, "api"); err != nil {
		return err
	}
	if v := w.TokenVersion; v != nil && *v != 1 && *v != 2 {
		return errs.New(errs.Invalid, "Invalid value specified for property 'requestedAccessTokenVersion' of resource 'Application'.")
	}
	scopes, err := parseScopes(w.Scopes, a.API.Scopes)
	if err != nil {
		return err
	}
	for _, id := range w.KnownClients {
		if _, ok := directory.ParseGUID(string(id)); !ok {
			return errs.New(errs.Invalid, "Invalid value specified for property 'knownClientApplications' of resource 'Application'.")
		}
	}
	for i, p := range w.PreAuthorized {
		id, ok := directory.ParseGUID(string(p.AppID))
		if !ok {
			return errs.New(errs.Invalid, "Invalid value specified for property 'preAuthorizedApplications' of resource 'Application'.")
		}
		w.PreAuthorized[i].AppID = directory.AppID(id)
		for _, s := range p.Scopes {
			if !slices.ContainsFunc(scopes, func(x directory.Scope) bool { return x.ID == s }) {
				return errs.New(errs.Invalid, "Property PermissionId in preAuthorizedApplications has an invalid value: the permission '%.100s' does not exist.", s)
			}
		}
	}
	a.API = directory.API{TokenVersion: w.TokenVersion, Scopes: scopes, PreAuthorized: w.PreAuthorized, KnownClients: w.KnownClients, MappedClaims: w.MappedClaims}
	return nil
}

func parseScopes(in []scopeWire, before []directory.Scope) ([]directory.Scope, error) {
	var out []directory.Scope
	for _, s := range in {
		id, ok := directory.ParseGUID(s.ID)
		if !ok {
			return nil, errs.New(errs.Invalid, "Invalid value specified for property 'id' of resource 'PermissionScope'.")
		}
		if s.Type == "" {
			s.Type = "User"
		}
		v := directory.Scope{
			ID: id, Value: deref(s.Value), Type: s.Type, Enabled: s.Enabled == nil || *s.Enabled, AdminConsentName: deref(s.AdminConsentName), AdminConsentAbout: deref(s.AdminConsentAbout),
			UserConsentName: deref(s.UserConsentName), UserConsentAbout: deref(s.UserConsentAbout),
		}
		switch {
		case v.Type != "User" && v.Type != "Admin":
			return nil, errs.New(errs.Invalid, "Invalid value specified for property 'type' of resource 'PermissionScope'.")
		case v.Value == "" || len(v.Value) > 120 || strings.ContainsFunc(v.Value, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }):
			return nil, errs.New(errs.Invalid, "Invalid value specified for property 'value' of resource 'PermissionScope'.")
		}
		for _, o := range out {
			if o.ID == v.ID || o.Value == v.Value {
				return nil, errs.New(errs.Invalid, "Property value cannot be repeated: the permission scope '%s' occurs twice.", v.Value)
			}
		}
		out = append(out, v)
	}
	for _, b := range before {
		if b.Enabled && !slices.ContainsFunc(out, func(o directory.Scope) bool { return o.ID == b.ID }) {
			return nil, errs.New(errs.Invalid, "Property PermissionScope cannot be deleted unless it is disabled first.")
		}
	}
	return out, nil
}

type appRoleWire struct {
	MemberTypes []string `json:"allowedMemberTypes"`
	Description *string  `json:"description"`
	DisplayName *string  `json:"displayName"`
	ID          string   `json:"id"`
	Enabled     *bool    `json:"isEnabled"`
	Origin      *string  `json:"origin"`
	Value       *string  `json:"value"`
}

func appRolesJSON(roles []directory.AppRole) any {
	out := make([]appRoleWire, 0, len(roles))
	origin := "Application"
	for _, r := range roles {
		out = append(out, appRoleWire{r.MemberTypes, optional(r.Description), optional(r.DisplayName), r.ID, &r.Enabled, &origin, optional(r.Value)})
	}
	return out
}

func setAppRoles(a *directory.Application, raw json.RawMessage) error {
	var in []appRoleWire
	if err := strict(raw, &in, "appRoles"); err != nil {
		return err
	}
	var out []directory.AppRole
	for _, r := range in {
		id, ok := directory.ParseGUID(r.ID)
		if !ok || id == directory.DefaultAppRole {
			return errs.New(errs.Invalid, "Invalid value specified for property 'id' of resource 'AppRole'.")
		}
		v := directory.AppRole{ID: id, Value: deref(r.Value), DisplayName: deref(r.DisplayName), Description: deref(r.Description), MemberTypes: r.MemberTypes, Enabled: r.Enabled == nil || *r.Enabled}
		if len(v.MemberTypes) == 0 || slices.ContainsFunc(v.MemberTypes, func(m string) bool { return m != "User" && m != "Application" }) {
			return errs.New(errs.Invalid, "Invalid value specified for property 'allowedMemberTypes' of resource 'AppRole'.")
		}
		if len(v.Value) > 250 || strings.ContainsFunc(v.Value, func(c rune) bool { return c <= ' ' || c > '~' }) {
			return errs.New(errs.Invalid, "Invalid value specified for property 'value' of resource 'AppRole'.")
		}
		for _, o := range out {
			if o.ID == v.ID || v.Value != "" && o.Value == v.Value {
				return errs.New(errs.Invalid, "Property value cannot be repeated: the app role '%s' occurs twice.", v.Value)
			}
		}
		out = append(out, v)
	}
	for _, b := range a.AppRoles {
		if b.Enabled && !slices.ContainsFunc(out, func(o directory.AppRole) bool { return o.ID == b.ID }) {
			return errs.New(errs.Invalid, "Property AppRole cannot be deleted unless it is disabled first.")
		}
	}
	a.AppRoles = out
	return nil
}

type keyWire struct {
	CustomKeyIdentifier *string `json:"customKeyIdentifier"`
	DisplayName         *string `json:"displayName"`
	End                 any     `json:"endDateTime"`
	Key                 *string `json:"key"`
	KeyID               string  `json:"keyId"`
	Start               any     `json:"startDateTime"`
	Type                string  `json:"type"`
	Usage               string  `json:"usage"`
}

// keysJSON shows keys; the certificate itself only where with is set, as it is
// on single objects when it is selected.
func keysJSON(keys []directory.KeyCredential, with bool) any {
	out := make([]keyWire, 0, len(keys))
	for _, k := range keys {
		w := keyWire{nil, optional(k.DisplayName), Time(k.End), nil, k.KeyID, Time(k.Start), k.Type, k.Usage}
		if len(k.CustomKeyIdentifier) > 0 {
			// Graph shows the thumbprint in hexadecimal.
			w.CustomKeyIdentifier = optional(strings.ToUpper(hexOf(k.CustomKeyIdentifier)))
		}
		if with {
			w.Key = optional(base64.StdEncoding.EncodeToString(k.Key))
		}
		out = append(out, w)
	}
	return out
}

type passwordWire struct {
	CustomKeyIdentifier *string `json:"customKeyIdentifier"`
	DisplayName         *string `json:"displayName"`
	End                 any     `json:"endDateTime"`
	Hint                string  `json:"hint"`
	KeyID               string  `json:"keyId"`
	SecretText          *string `json:"secretText"`
	Start               any     `json:"startDateTime"`
}

func passwordsJSON(passwords []directory.Password) any {
	out := make([]passwordWire, 0, len(passwords))
	for _, p := range passwords {
		out = append(out, passwordWire{nil, optional(p.DisplayName), Time(p.End), p.Hint, p.KeyID, nil, Time(p.Start)})
	}
	return out
}

// setPasswords lets a client drop secrets from the list; new ones are made by
// the service alone.
func setPasswords(c *directory.Credentials, raw json.RawMessage) error {
	var in []passwordWire
	if err := strict(raw, &in, "passwordCredentials"); err != nil {
		return err
	}
	var out []directory.Password
	for _, w := range in {
		i := slices.IndexFunc(c.Passwords, func(p directory.Password) bool { return p.KeyID == strings.ToLower(w.KeyID) })
		if i < 0 || deref(w.SecretText) != "" {
			return errs.New(errs.Invalid, "New password credentials must be generated with service actions.")
		}
		out = append(out, c.Passwords[i])
	}
	c.Passwords = out
	return nil
}

type platformWire struct {
	RedirectURIs []string `json:"redirectUris"`
}

func platformJSON(p *directory.Platform) any {
	if p.RedirectURIs == nil {
		return platformWire{[]string{}}
	}
	return platformWire{p.RedirectURIs}
}

func setPlatform(p *directory.Platform, raw json.RawMessage, name string) error {
	w := platformWire{}
	if !isNull(raw) {
		if err := strict(raw, &w, name); err != nil {
			return err
		}
	}
	if err := checkRedirects(w.RedirectURIs, name); err != nil {
		return err
	}
	p.RedirectURIs = w.RedirectURIs
	return nil
}

// checkRedirects refuses addresses to which no answer may ever be sent.
func checkRedirects(uris []string, platform string) error {
	if len(uris) > 256 {
		return errs.New(errs.Invalid, "Too many redirect URIs: the limit is 256.")
	}
	for _, uri := range uris {
		u, err := url.Parse(uri)
		bad := err != nil || u.Scheme == "" || len(uri) > 256 || u.Fragment != "" || strings.HasSuffix(uri, "#") || u.User != nil || strings.ContainsAny(uri, "*\\ <>\"")
		if !bad {
			local := u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1" || u.Hostname() == "::1"
			switch u.Scheme {
			case "https":
				bad = u.Host == ""
			case "http":
				bad = !local
			case "javascript", "data", "file", "vbscript", "blob", "about":
				bad = true
			default:
				bad = platform != "publicClient"
			}
		}
		if bad {
			return errs.New(errs.Invalid, "Invalid value specified for property 'redirectUris' of resource 'Application': '%.100s' must be an absolute https address, http on localhost, or for public clients a scheme of its own, without a fragment or wildcard.", uri)
		}
	}
	return nil
}

type webWire struct {
	HomePageURL  *string           `json:"homePageUrl"`
	LogoutURL    *string           `json:"logoutUrl"`
	RedirectURIs []string          `json:"redirectUris"`
	Implicit     *implicitWire     `json:"implicitGrantSettings"`
	Settings     []json.RawMessage `json:"redirectUriSettings"`
}

type implicitWire struct {
	AccessToken *bool `json:"enableAccessTokenIssuance"`
	IDToken     *bool `json:"enableIdTokenIssuance"`
}

func webJSON(p *directory.WebPlatform) any {
	w := webWire{optional(p.HomePageURL), optional(p.LogoutURL), p.RedirectURIs, &implicitWire{&p.ImplicitAT, &p.ImplicitID}, []json.RawMessage{}}
	if w.RedirectURIs == nil {
		w.RedirectURIs = []string{}
	}
	for i, uri := range p.RedirectURIs {
		raw, err := json.Marshal(map[string]any{"uri": uri, "index": i})
		if err == nil {
			w.Settings = append(w.Settings, raw)
		}
	}
	return w
}

func setWeb(a *directory.Application, raw json.RawMessage) error {
	if isNull(raw) {
		a.Web = directory.WebPlatform{}
		return nil
	}
	w := webWire{HomePageURL: optional(a.Web.HomePageURL), LogoutURL: optional(a.Web.LogoutURL), RedirectURIs: a.Web.RedirectURIs}
	var sent map[string]json.RawMessage
	if err := json.Unmarshal(raw, &sent); err != nil {
		return err
	}
	for name := range sent {
		if strings.EqualFold(name, "redirectUris") {
			w.RedirectURIs = nil
		}
	}
	if err := strict(raw, &w, "web"); err != nil {
		return err
	}
	if err := checkRedirects(w.RedirectURIs, "web"); err != nil {
		return err
	}
	for _, s := range []string{deref(w.HomePageURL), deref(w.LogoutURL)} {
		if u, err := url.Parse(s); s != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "") {
			return errs.New(errs.Invalid, "Invalid value specified for a URL of resource 'Application': an absolute http or https address is expected.")
		}
	}
	a.Web.HomePageURL, a.Web.LogoutURL, a.Web.RedirectURIs = deref(w.HomePageURL), deref(w.LogoutURL), w.RedirectURIs
	if w.Implicit != nil {
		if w.Implicit.AccessToken != nil {
			a.Web.ImplicitAT = *w.Implicit.AccessToken
		}
		if w.Implicit.IDToken != nil {
			a.Web.ImplicitID = *w.Implicit.IDToken
		}
	}
	return nil
}

func requiredJSON(r []directory.Requirement) any {
	if r == nil {
		return []directory.Requirement{}
	}
	return r
}

func setRequired(a *directory.Application, raw json.RawMessage) error {
	var in []directory.Requirement
	if err := strict(raw, &in, "requiredResourceAccess"); err != nil {
		return err
	}
	n := 0
	for i, r := range in {
		id, ok := directory.ParseGUID(string(r.ResourceAppID))
		if !ok {
			return errs.New(errs.Invalid, "Invalid value specified for property 'resourceAppId' of resource 'RequiredResourceAccess'.")
		}
		in[i].ResourceAppID = directory.AppID(id)
		for j, access := range r.Access {
			id, ok := directory.ParseGUID(access.ID)
			if !ok || access.Type != "Scope" && access.Type != "Role" {
				return errs.New(errs.Invalid, "Invalid value specified for property 'resourceAccess' of resource 'RequiredResourceAccess'.")
			}
			in[i].Access[j].ID = id
			n++
		}
	}
	if n > 400 || len(in) > 50 {
		return errs.New(errs.Invalid, "The application requires too many permissions: at most 400 of at most 50 resources are allowed.")
	}
	a.Required = in
	return nil
}

func optionalJSON(o *directory.OptionalClaims) any {
	if o.IDToken == nil && o.AccessToken == nil && o.SAML2Token == nil {
		return nil
	}
	list := func(cs []directory.OptionalClaim) []directory.OptionalClaim {
		out := make([]directory.OptionalClaim, len(cs))
		copy(out, cs)
		return out
	}
	return map[string]any{"idToken": list(o.IDToken), "accessToken": list(o.AccessToken), "saml2Token": list(o.SAML2Token)}
}

func setOptional(a *directory.Application, raw json.RawMessage) error {
	var o directory.OptionalClaims
	if !isNull(raw) {
		if err := strict(raw, &o, "optionalClaims"); err != nil {
			return err
		}
	}
	a.Optional = o
	return nil
}
