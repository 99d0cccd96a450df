package token

import (
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

// parseClaims reads the payload of an access or ID token. Claims that it knows
// must have their type; unknown ones are ignored, since Entra adds some from
// time to time.
func parseClaims(payload jws.Value) (*Claims, error) {
	c := new(Claims)
	var bad string
	var seen struct{ aud, iss, iat, nbf, exp, oid, sub bool }
	payload.Members(func(name string, v jws.Value) bool {
		ok := true
		switch name {
		case "aud":
			c.Audience, ok = v.Str()
			seen.aud = c.Audience != ""
		case "iss":
			c.Issuer, ok = v.Str()
			seen.iss = c.Issuer != ""
		case "iat":
			c.IssuedAt, ok = date(v)
			seen.iat = true
		case "nbf":
			c.NotBefore, ok = date(v)
			seen.nbf = true
		case "exp":
			c.Expires, ok = date(v)
			seen.exp = true
		case "auth_time":
			c.AuthTime, ok = date(v)
		case "sub":
			c.Subject, ok = v.Str()
			seen.sub = c.Subject != ""
		case "oid":
			var s string
			s, ok = v.Str()
			ok = ok && isGUID(s)
			c.Object = directory.ObjectID(s)
			seen.oid = true
		case "tid":
			var s string
			s, ok = v.Str()
			c.Tenant = directory.TenantID(s)
		case "ver":
			var s string
			s, ok = v.Str()
			c.Version = Version(s)
		case "appid":
			var s string
			s, ok = v.Str()
			c.AppID = directory.AppID(s)
		case "azp":
			var s string
			s, ok = v.Str()
			c.AZP = directory.AppID(s)
		case "deviceid":
			var s string
			s, ok = v.Str()
			c.DeviceID = directory.ObjectID(s)
		case "cnf":
			c.Cnf, ok = parseCnf(v)
		case "hasgroups":
			c.HasGroups, ok = v.Bool()
		case "xms_edov":
			// Entra writes a boolean, a number or a string here.
			if b, is := v.Bool(); is {
				c.EmailVerified = &b
			}
		case "acct":
			var n int64
			n, ok = v.Int()
			m := int(n)
			c.ACCT = &m
		case "xms_tcdt":
			// A number in tokens of Entra, but nothing depends on it.
			c.TenantCreated, _ = date(v)
		case "_claim_names":
			c.ClaimNames, ok = parseClaimNames(v)
		case "_claim_sources":
			c.ClaimSources, ok = parseClaimSources(v)
		default:
			if p := c.text(name); p != nil {
				*p, ok = v.Str()
			} else if p := c.list(name); p != nil {
				*p, ok = v.Strings()
			}
		}
		if !ok {
			bad = name // one of the names above, not a stranger's text
		}
		return ok
	})
	switch {
	case bad != "":
		return nil, refuse(ClassClaims, "claim "+bad+" is not of its type")
	case !seen.iss || !seen.aud || !seen.sub || !seen.oid:
		return nil, refuse(ClassClaims, "iss, aud, sub or oid is missing")
	case !seen.exp || !seen.nbf || !seen.iat:
		return nil, refuse(ClassClaims, "exp, nbf or iat is missing")
	}
	return c, nil
}

// text returns where the text claim of this name goes.
func (c *Claims) text(name string) *string {
	switch name {
	case "acr":
		return &c.ACR
	case "aio":
		return &c.AIO
	case "app_displayname":
		return &c.AppDisplayName
	case "appidacr":
		return &c.AppIDACR
	case "azpacr":
		return &c.AZPACR
	case "at_hash":
		return &c.AtHash
	case "c_hash":
		return &c.CHash
	case "ctry":
		return &c.Country
	case "email":
		return &c.Email
	case "family_name":
		return &c.FamilyName
	case "fwd":
		return &c.Forwarded
	case "given_name":
		return &c.GivenName
	case "idp":
		return &c.IDP
	case "idtyp":
		return &c.IDTyp
	case "in_corp":
		return &c.InCorp
	case "ipaddr":
		return &c.IPAddr
	case "login_hint":
		return &c.LoginHint
	case "name":
		return &c.Name
	case "nickname":
		return &c.Nickname
	case "nonce":
		return &c.Nonce
	case "onprem_sid":
		return &c.OnPremSID
	case "preferred_username":
		return &c.Preferred
	case "puid":
		return &c.PUID
	case "pwd_exp":
		return &c.PasswordExpires
	case "pwd_url":
		return &c.PasswordURL
	case "rh":
		return &c.RH
	case "scp":
		return &c.Scope
	case "sid":
		return &c.Session
	case "tenant_ctry":
		return &c.TenantCountry
	case "tenant_region_scope":
		return &c.TenantRegion
	case "unique_name":
		return &c.UniqueName
	case "upn":
		return &c.UPN
	case "uti":
		return &c.UTI
	case "vnet":
		return &c.VNet
	case "xms_az_rid":
		return &c.AzureResource
	case "xms_mirid":
		return &c.ManagedIdentity
	case "xms_pl":
		return &c.UserLanguage
	case "xms_tpl":
		return &c.TenantLanguage
	case "ztdid":
		return &c.ZTDID
	}
	return nil
}

// list returns where the claim of this name, a list of texts, goes.
func (c *Claims) list(name string) *[]string {
	switch name {
	case "acrs":
		return &c.ACRS
	case "amr":
		return &c.AMR
	case "groups":
		return &c.Groups
	case "roles":
		return &c.Roles
	case "verified_primary_email":
		return &c.PrimaryEmail
	case "verified_secondary_email":
		return &c.SecondaryEmail
	case "wids":
		return &c.WIDs
	case "xms_cc":
		return &c.Capabilities
	}
	return nil
}

// parseCnf reads a binding. One that it does not understand is an error, not a
// token without binding.
func parseCnf(v jws.Value) (*Confirmation, bool) {
	if v.Kind() != jws.Object {
		return nil, false
	}
	c := new(Confirmation)
	kid, ok := v.Get("kid").Str()
	if !ok || kid == "" || len(kid) > maxKid {
		return nil, false
	}
	c.KeyID = kid
	if ksl := v.Get("xms_ksl"); ksl.Kind() != jws.Missing {
		if c.Location, ok = ksl.Str(); !ok {
			return nil, false
		}
	}
	return c, true
}

func parseClaimNames(v jws.Value) (map[string]string, bool) {
	ok := v.Kind() == jws.Object
	names := make(map[string]string)
	v.Members(func(name string, m jws.Value) bool {
		names[name], ok = m.Str()
		return ok
	})
	return names, ok
}

func parseClaimSources(v jws.Value) (map[string]Endpoint, bool) {
	ok := v.Kind() == jws.Object
	sources := make(map[string]Endpoint)
	v.Members(func(name string, m jws.Value) bool {
		// Only whether there is an address counts; it is never followed.
		address, _ := m.Get("endpoint").Str()
		sources[name] = Endpoint{address}
		ok = m.Kind() == jws.Object
		return ok
	})
	return sources, ok
}
