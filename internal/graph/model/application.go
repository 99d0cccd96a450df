package model

import (
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/state"
)

// Application is an app registration.
var Application = newKind(Kind{
	Name: "application", Label: "Application", Set: "applications",
}, join(
	read("id", odata.String, func(a *directory.Application) any { return string(a.ID) }),
	deletedAt(),
	read("appId", odata.String, func(a *directory.Application) any { return string(a.AppID) }),
	kept("applicationTemplateId", odata.String), constant("disabledByMicrosoftStatus", odata.String, nil),
	when("createdDateTime", func(a *directory.Application) time.Time { return a.Created }),
	text("displayName", 120, func(a *directory.Application) *string { return &a.DisplayName }),
	kept("description", odata.String),
	text("groupMembershipClaims", 64, func(a *directory.Application) *string { return &a.GroupClaims }),
	identifierURIs(),
	kept("isDeviceOnlyAuthSupported", odata.Boolean),
	fallbackPublic(),
	kept("nativeAuthenticationApisEnabled", odata.String),
	kept("notes", odata.String),
	publisherDomain(),
	kept("serviceManagementReference", odata.String),
	signInAudience(),
	keptList("tags", odata.String), kept("tokenEncryptionKeyId", odata.String), kept("uniqueName", odata.String),
	kept("samlMetadataUrl", odata.String), kept("defaultRedirectUri", odata.String),
	constant("certification", odata.Complex, nil),
	keptListOf("addIns"),
	complexValue("api", func(a *directory.Application) any { return apiJSON(&a.API) }, setAPI),
	complexValue("appRoles", func(a *directory.Application) any { return appRolesJSON(a.AppRoles) }, setAppRoles).list(),
	kept("info", odata.Complex),
	complexValue("keyCredentials", func(a *directory.Application) any { return keysJSON(a.Credentials.Keys, false) }, func(a *directory.Application, raw json.RawMessage) error {
		return setKeys(&a.Credentials, raw)
	}).list(),
	kept("parentalControlSettings", odata.Complex),
	complexValue("passwordCredentials", func(a *directory.Application) any { return passwordsJSON(a.Credentials.Passwords) }, func(a *directory.Application, raw json.RawMessage) error {
		return setPasswords(&a.Credentials, raw)
	}).list(),
	complexValue("publicClient", func(a *directory.Application) any { return platformJSON(&a.PublicClient) }, func(a *directory.Application, raw json.RawMessage) error {
		return setPlatform(&a.PublicClient, raw, "publicClient")
	}),
	complexValue("requiredResourceAccess", func(a *directory.Application) any { return requiredJSON(a.Required) }, setRequired).list(),
	kept("verifiedPublisher", odata.Complex),
	complexValue("web", func(a *directory.Application) any { return webJSON(&a.Web) }, setWeb),
	complexValue("spa", func(a *directory.Application) any { return platformJSON(&a.SPA) }, func(a *directory.Application, raw json.RawMessage) error {
		return setPlatform(&a.SPA, raw, "spa")
	}),
	complexValue("optionalClaims", func(a *directory.Application) any { return optionalJSON(&a.Optional) }, setOptional),
	kept("servicePrincipalLockConfiguration", odata.Complex), kept("requestSignatureVerification", odata.Complex),
))

// ServicePrincipal is an application's identity in a tenant.
var ServicePrincipal = newKind(Kind{
	Name: "servicePrincipal", Label: "ServicePrincipal", Set: "servicePrincipals",
}, join(
	read("id", odata.String, func(p *directory.ServicePrincipal) any { return string(p.ID) }),
	deletedAt(),
	flag("accountEnabled", func(p *directory.ServicePrincipal) *bool { return &p.Enabled }),
	texts("alternativeNames", 100, func(p *directory.ServicePrincipal) *[]string { return &p.AlternativeNames }),
	read("appDisplayName", odata.String, func(p *directory.ServicePrincipal) any { return p.DisplayName }),
	kept("appDescription", odata.String),
	read("appId", odata.String, func(p *directory.ServicePrincipal) any { return string(p.AppID) }),
	kept("applicationTemplateId", odata.String),
	read("appOwnerOrganizationId", odata.String, func(p *directory.ServicePrincipal) any { return orNil(string(p.AppOwnerTenant)) }),
	flag("appRoleAssignmentRequired", func(p *directory.ServicePrincipal) *bool { return &p.AssignmentRequired }),
	when("createdDateTime", func(p *directory.ServicePrincipal) time.Time { return p.Created }),
	kept("description", odata.String), constant("disabledByMicrosoftStatus", odata.String, nil),
	text("displayName", 256, func(p *directory.ServicePrincipal) *string { return &p.DisplayName }),
	kept("homepage", odata.String), kept("loginUrl", odata.String), kept("logoutUrl", odata.String), kept("notes", odata.String),
	keptList("notificationEmailAddresses", odata.String),
	kept("preferredSingleSignOnMode", odata.String), kept("preferredTokenSigningKeyThumbprint", odata.String),
	keptList("replyUrls", odata.String),
	texts("servicePrincipalNames", 100, func(p *directory.ServicePrincipal) *[]string { return &p.Names }),
	read("servicePrincipalType", odata.String, func(p *directory.ServicePrincipal) any { return p.Type }),
	clientAudience(),
	keptList("tags", odata.String), kept("tokenEncryptionKeyId", odata.String), kept("samlSingleSignOnSettings", odata.Complex),
	keptListOf("addIns"),
	read("appRoles", odata.Complex, func(p *directory.ServicePrincipal) any { return appRolesJSON(p.AppRoles) }).list(),
	kept("info", odata.Complex),
	complexValue("keyCredentials", func(p *directory.ServicePrincipal) any { return keysJSON(p.Credentials.Keys, false) }, func(p *directory.ServicePrincipal, raw json.RawMessage) error {
		return setKeys(&p.Credentials, raw)
	}).list(),
	read("oauth2PermissionScopes", odata.Complex, func(p *directory.ServicePrincipal) any { return scopesJSON(p.Scopes) }).list(),
	complexValue("passwordCredentials", func(p *directory.ServicePrincipal) any { return passwordsJSON(p.Credentials.Passwords) }, func(p *directory.ServicePrincipal, raw json.RawMessage) error {
		return setPasswords(&p.Credentials, raw)
	}).list(),
	empties(odata.Complex, "resourceSpecificApplicationPermissions"),
	kept("verifiedPublisher", odata.Complex), kept("customSecurityAttributes", odata.Complex).hide(),
))

// Applications returns a as a resource.
func Applications(at *At, a *directory.Application) *Object {
	return &Object{Kind: Application, ID: string(a.ID), Rec: a, Extra: a.Properties, At: at}
}

// ServicePrincipals returns p as a resource.
func ServicePrincipals(at *At, p *directory.ServicePrincipal) *Object {
	return &Object{Kind: ServicePrincipal, ID: string(p.ID), Rec: p, Extra: p.Properties, At: at}
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func keptListOf(name string) property {
	p := kept(name, odata.Complex).list()
	p.empty = []any{}
	return p
}

func complexValue[T any](name string, get func(*T) any, set func(*T, json.RawMessage) error) property {
	p := read(name, odata.Complex, get)
	p.set = func(rec any, raw json.RawMessage) error { return set(rec.(*T), raw) }
	return p
}

func fallbackPublic() property {
	p := read("isFallbackPublicClient", odata.Boolean, func(a *directory.Application) any {
		if a.FallbackPub == nil {
			return nil
		}
		return *a.FallbackPub
	})
	p.set = func(rec any, raw json.RawMessage) error {
		var b *bool
		if err := json.Unmarshal(raw, &b); err != nil {
			return err
		}
		rec.(*directory.Application).FallbackPub = b
		return nil
	}
	return p
}

func publisherDomain() property {
	return kept("publisherDomain", odata.String)
}

func signInAudience() property {
	p := text("signInAudience", 40, func(a *directory.Application) *string { return &a.SignInAudience })
	set := p.set
	p.set = func(rec any, raw json.RawMessage) error {
		if err := set(rec, raw); err != nil {
			return err
		}
		switch a := rec.(*directory.Application); a.SignInAudience {
		case "AzureADMyOrg", "AzureADMultipleOrgs":
			return nil
		case "AzureADandPersonalMicrosoftAccount", "PersonalMicrosoftAccount":
			return errs.New(errs.Invalid, "Invalid value specified for property 'signInAudience' of resource 'Application': personal Microsoft accounts do not exist here.")
		}
		return errs.New(errs.Invalid, "Invalid value specified for property 'signInAudience' of resource 'Application'.")
	}
	return p
}

func identifierURIs() property {
	p := texts("identifierUris", 50, func(a *directory.Application) *[]string { return &a.IdentifierURIs })
	set := p.set
	p.set = func(rec any, raw json.RawMessage) error {
		if err := set(rec, raw); err != nil {
			return err
		}
		for _, uri := range rec.(*directory.Application).IdentifierURIs {
			u, err := url.Parse(uri)
			if err != nil || u.Scheme == "" || u.Fragment != "" || u.User != nil || len(uri) > 255 || strings.ContainsAny(uri, " *?") {
				return errs.New(errs.Invalid, "Invalid value specified for property 'identifierUris' of resource 'Application'.")
			}
		}
		return nil
	}
	return p
}

// clientAudience is the sign-in audience of a service principal's application.
func clientAudience() property {
	return property{Property: odata.Property{Name: "signInAudience"}, get: func(o *Object) any {
		if a, err := state.FindApplication(o.At.Reader, o.Rec.(*directory.ServicePrincipal).AppID); err == nil {
			return orNil(a.SignInAudience)
		}
		return nil
	}}
}
