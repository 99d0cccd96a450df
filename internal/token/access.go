package token

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop/jws"
)

// Limits of the groups claim. With more groups there is none, but a note where
// to ask.
const (
	MaxGroups         = 200
	MaxImplicitGroups = 6 // in a URL's fragment
)

// NewUTI returns a random unique token id.
func NewUTI() string {
	var b [16]byte
	rand.Read(b[:])
	return jws.Encode(b[:])
}

// AccessLifetime returns how long an access token lives when no policy says so:
// 60 to 90 minutes, spread by the token's id so that clients do not all come
// back at once.
func AccessLifetime(uti string) time.Duration {
	sum := sha256.Sum256([]byte(uti))
	return time.Hour + time.Duration(binary.BigEndian.Uint16(sum[:])%1801)*time.Second
}

// PairwiseSubject returns the sub of a user at one application.
func PairwiseSubject(secret []byte, user directory.ObjectID, app directory.AppID) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(user))
	mac.Write([]byte{0})
	mac.Write([]byte(app))
	return jws.Encode(mac.Sum(nil))
}

// HalfHash returns at_hash or c_hash of a token or code: the left half of its
// SHA-256.
func HalfHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return jws.Encode(sum[:16])
}

// AccessToken returns the claims of an access token. It fails only if the facts
// contradict one another, which is a defect of the caller.
func AccessToken(f Facts) (*Claims, error) {
	version := f.Resource.Version
	if version == "" {
		version = V1
	}
	if err := f.check(version); err != nil {
		return nil, err
	}
	if f.User != nil && len(f.Scopes) == 0 {
		return nil, errs.New(errs.Internal, "access token for a user without scopes")
	}
	if f.App != nil && len(f.Scopes) > 0 {
		return nil, errs.New(errs.Internal, "access token for an application with delegated scopes")
	}
	life := f.Lifetime
	if life == 0 {
		life = AccessLifetime(f.UTI)
	}
	if life < 0 || life+Slack > MaxLifetime {
		return nil, errs.New(errs.Internal, "access token with a life of %v", life)
	}
	c := f.common(version, life)
	c.Audience = f.Resource.Audience
	opt := optional{list: f.Resource.Optional}
	if version == V2 {
		c.Audience = string(f.Resource.AppID)
		c.AZP, c.AZPACR = f.Client.AppID, string(f.Client.Auth)
	} else {
		if opt.has("aud", "use_guid") || c.Audience == "" {
			c.Audience = string(f.Resource.AppID)
		}
		c.AppID, c.AppIDACR = f.Client.AppID, string(f.Client.Auth)
	}
	c.Scope = strings.Join(f.Scopes, " ")
	c.Roles = slices.Clone(f.Roles)
	c.ACRS = slices.Clone(f.Auth.Contexts)
	c.Capabilities = slices.Clone(f.Client.Capabilities)
	if f.Cnf != nil {
		cnf := *f.Cnf
		c.Cnf = &cnf
	}
	if f.Resource.FirstParty {
		c.TenantCreated = unix(f.Tenant.Created)
	}
	f.groups(c, f.Resource.GroupClaims)
	if f.User != nil {
		f.accessUser(c, version)
	} else {
		c.Subject = string(f.App.ID)
		c.Object = f.App.ID
		c.ManagedIdentity = f.App.ManagedIdentity
		c.AzureResource = f.App.AzureResource
		if version == V1 {
			c.IDP = c.Issuer
		}
		if f.Resource.FirstParty || opt.has("idtyp", "") {
			c.IDTyp = "app"
		}
	}
	f.optional(c, opt)
	return c, nil
}

func (f *Facts) accessUser(c *Claims, version Version) {
	u := f.User
	c.Subject = PairwiseSubject(f.Tenant.Pairwise, u.ID, f.Resource.AppID)
	c.userBase(f)
	if version == V1 {
		c.v1User(f)
		return
	}
	// Version 2.0 tokens name a person only with the profile scope.
	if f.Profile || f.Resource.FirstParty {
		c.Name, c.Preferred = u.DisplayName, u.signInName()
	}
}

// IDToken returns the claims of an ID token of version f.IDVersion (empty is
// V2). The scopes profile and email decide what it shows.
func IDToken(f Facts) (*Claims, error) {
	version := f.IDVersion
	if version == "" {
		version = V2
	}
	if err := f.check(version); err != nil {
		return nil, err
	}
	if f.User == nil {
		return nil, errs.New(errs.Internal, "ID token without a user")
	}
	life := f.Lifetime
	if life == 0 {
		life = time.Hour
	}
	u := f.User
	c := f.common(version, life)
	c.Audience = string(f.Client.AppID)
	c.Subject = PairwiseSubject(f.Tenant.Pairwise, u.ID, f.Client.AppID)
	c.userBase(&f)
	c.Nonce, c.AtHash, c.CHash = f.Nonce, f.AtHash, f.CHash
	c.Roles = slices.Clone(f.Roles)
	c.PUID = u.PUID
	f.groups(c, f.Client.GroupClaims)
	opt := optional{list: f.Client.Optional}
	if version == V1 {
		c.v1User(&f)
	} else {
		c.ACRS = slices.Clone(f.Auth.Contexts)
		if f.Profile {
			c.Name, c.Preferred = u.DisplayName, u.signInName()
		}
		if f.Email {
			c.Email = u.Mail
		}
	}
	if u.Guest && c.Email == "" {
		c.Email = u.Mail
	}
	if f.Auth.Session != "" {
		c.Session = f.Auth.Session
	}
	f.optional(c, opt)
	c.IDTyp = "" // exists in access tokens alone
	return c, nil
}

func (f *Facts) check(version Version) error {
	switch {
	case (f.User == nil) == (f.App == nil):
		return errs.New(errs.Internal, "token facts need a user or an application")
	case f.Tenant.ID == "" || f.Client.AppID == "" || f.UTI == "":
		return errs.New(errs.Internal, "token facts without tenant, client or token id")
	case f.User != nil && f.User.ID == "" || f.App != nil && f.App.ID == "":
		return errs.New(errs.Internal, "token facts whose subject has no object id")
	case version == V2 && f.Tenant.Issuers.V2 == "":
		return errs.New(errs.Internal, "token facts without a v2.0 issuer")
	case version != V1 && version != V2:
		return errs.New(errs.Internal, "no token version %q", version)
	case f.Client.Auth != ClientPublic && f.Client.Auth != ClientSecret && f.Client.Auth != ClientAssertion:
		return errs.New(errs.Internal, "no client authentication %q", f.Client.Auth)
	}
	return nil
}

func (f *Facts) common(version Version, life time.Duration) *Claims {
	start := f.Now.Add(-Slack).Unix()
	c := &Claims{
		Issuer: f.Tenant.Issuers.Name(version, f.Tenant.ID), Tenant: f.Tenant.ID, Version: version,
		IssuedAt: start, NotBefore: start, Expires: f.Now.Add(life).Unix(),
		UTI: f.UTI,
	}
	c.AIO, c.RH = f.opaque()
	return c
}

// credentialMark begins the aio of an application's token that says which
// credential it was obtained with.
const credentialMark = 0x14

// opaque returns aio and rh. Clients may not look into them; they only have to
// be there and to differ. The aio of an application's token ends in the id of
// its credential, for Claims.Credential.
func (f *Facts) opaque() (aio, rh string) {
	sum := sha256.Sum256([]byte("aio " + f.UTI))
	aio = stdBase64(append([]byte{0x13}, sum[:]...))
	if id, err := hex.DecodeString(strings.ReplaceAll(f.Client.Credential, "-", "")); err == nil && len(id) == 16 && f.App != nil {
		aio = stdBase64(slices.Concat([]byte{credentialMark}, sum[:16], id))
	}
	var ids []byte
	for _, id := range []string{string(f.Tenant.ID), string(f.Resource.AppID)} {
		b, _ := hex.DecodeString(strings.ReplaceAll(id, "-", ""))
		ids = append(ids, b...)
	}
	return aio, "1." + jws.Encode(append([]byte{0x01}, ids...)) + "."
}

// userBase sets what each token of a user has.
func (c *Claims) userBase(f *Facts) {
	c.Object = f.User.ID
	if f.User.Guest {
		c.IDP = f.User.IdentityIssuer
	}
	c.DeviceID = f.Auth.DeviceID
}

// v1User sets the names and addresses that v1.0 tokens always have.
func (c *Claims) v1User(f *Facts) {
	u := f.User
	c.ACR = f.Auth.ACR
	if c.ACR == "" {
		c.ACR = "1"
	}
	c.AMR = slices.Clone(f.Auth.AMR)
	c.Name, c.FamilyName, c.GivenName = u.DisplayName, u.Surname, u.GivenName
	if f.Auth.IP.IsValid() {
		c.IPAddr = f.Auth.IP.String()
	}
	c.OnPremSID, c.PUID = u.OnPremSID, u.PUID
	c.UniqueName = u.signInName()
	if !u.Guest {
		c.UPN = u.UPN
		c.passwordState(f)
	} else {
		c.Email = u.Mail
		if u.IdentityIssuer == "live.com" && u.Mail != "" {
			c.UniqueName = "live.com#" + u.Mail
		}
	}
	if f.Auth.InCorp {
		c.InCorp = "true"
	}
}

// passwordState says when the password ends, if it does.
func (c *Claims) passwordState(f *Facts) {
	u := f.User
	if u.PasswordExpires.IsZero() {
		return
	}
	left := max(0, int64(u.PasswordExpires.Sub(f.Now)/time.Second))
	c.PasswordExpires = strconv.FormatInt(left, 10)
	c.PasswordURL = u.PasswordURL
}

// signInName is how a user is shown: the principal name, for guests the address
// that they know themselves by.
func (u *User) signInName() string {
	if u.Guest && u.Mail != "" {
		return u.Mail
	}
	return u.UPN
}

// groups sets groups and wids as the application's setting says.
func (f *Facts) groups(c *Claims, setting string) {
	var security, all, assigned, roles bool
	for s := range strings.SplitSeq(setting, ",") {
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "securitygroup":
			security = true
		case "all":
			security, all, roles = true, true, true
		case "applicationgroup":
			assigned = true
		case "directoryrole":
			roles = true
		}
	}
	if roles && (f.User != nil || len(f.WIDs) > 0) {
		c.WIDs = slices.Clone(f.WIDs)
		if f.User != nil && !f.User.Guest && !slices.Contains(c.WIDs, directory.OrdinaryUser) {
			c.WIDs = append(c.WIDs, directory.OrdinaryUser)
		}
	}
	var ids []string
	for _, g := range f.Groups {
		if all || security && g.Security || assigned && g.Assigned {
			ids = append(ids, string(g.ID))
		}
	}
	switch {
	case len(ids) == 0:
	case f.Implicit && len(ids) > MaxImplicitGroups:
		c.HasGroups = true
	case len(ids) > MaxGroups:
		kind, id := "servicePrincipals", directory.ObjectID("")
		if f.User != nil {
			kind, id = "users", f.User.ID
		} else {
			id = f.App.ID
		}
		c.ClaimNames = map[string]string{"groups": "src1"}
		// The address names a service that is gone, as Entra's tokens do:
		// clients look whether it is there and ask Microsoft Graph.
		c.ClaimSources = map[string]Endpoint{"src1": {
			"https://graph.windows.net/" + string(f.Tenant.ID) + "/" + kind + "/" + string(id) + "/getMemberObjects",
		}}
	default:
		slices.Sort(ids)
		c.Groups = ids
	}
}

// optional is an application's list of optional claims.
type optional struct{ list []directory.OptionalClaim }

// has reports whether the claim is asked for, with the additional property if
// that is not empty.
func (o optional) has(name, additional string) bool {
	for _, c := range o.list {
		if c.Name == name && (c.Source == nil || *c.Source == "") {
			return additional == "" || slices.Contains(c.Additional, additional)
		}
	}
	return false
}

// optional sets what the application asked for beyond the usual.
func (f *Facts) optional(c *Claims, o optional) {
	for _, claim := range o.list {
		if claim.Source != nil && *claim.Source != "" {
			continue // directory extensions are not claims of ours
		}
		f.optionalTenant(c, claim.Name)
		if f.User != nil {
			f.optionalUser(c, claim)
		}
	}
}

func (f *Facts) optionalTenant(c *Claims, name string) {
	switch name {
	case "tenant_ctry":
		c.TenantCountry = f.Tenant.Country
	case "tenant_region_scope":
		c.TenantRegion = f.Tenant.Region
	case "xms_tpl":
		c.TenantLanguage = f.Tenant.Language
	case "fwd":
		c.Forwarded = f.Auth.Forwarded
	case "xms_cc":
		c.Capabilities = slices.Clone(f.Client.Capabilities)
	case "ipaddr":
		if f.Auth.IP.IsValid() {
			c.IPAddr = f.Auth.IP.String()
		}
	}
}

func (f *Facts) optionalUser(c *Claims, claim directory.OptionalClaim) {
	u := f.User
	switch claim.Name {
	case "idtyp":
		if slices.Contains(claim.Additional, "include_user_token") {
			c.IDTyp = "user"
		}
	case "acct":
		guest := 0
		if u.Guest {
			guest = 1
		}
		c.ACCT = &guest
	case "auth_time":
		c.AuthTime = unix(f.Auth.Time)
	case "ctry":
		c.Country = u.Country
	case "email":
		c.Email = u.Mail
	case "family_name":
		c.FamilyName = u.Surname
	case "given_name":
		c.GivenName = u.GivenName
	case "in_corp":
		if f.Auth.InCorp {
			c.InCorp = "true"
		}
	case "login_hint":
		// Opaque to clients; says whom to sign in without the name itself.
		c.LoginHint = "O." + jws.Encode([]byte(string(u.ID)+"."+string(f.Tenant.ID)))
	case "nickname":
		c.Nickname = u.MailNickname
	case "onprem_sid":
		c.OnPremSID = u.OnPremSID
	case "preferred_username":
		c.Preferred = u.signInName()
	case "pwd_exp", "pwd_url":
		c.passwordState(f)
	case "sid":
		c.Session = f.Auth.Session
	case "upn":
		f.optionalUPN(c, claim.Additional)
	case "verified_primary_email":
		if u.Mail != "" && u.MailVerified {
			c.PrimaryEmail = []string{u.Mail}
		}
	case "verified_secondary_email":
		c.SecondaryEmail = slices.Clone(u.OtherMails)
	case "xms_edov":
		verified := u.MailVerified
		c.EmailVerified = &verified
	case "xms_pl":
		c.UserLanguage = u.Language
	}
}

// optionalUPN shows guests only where the application says in which form.
func (f *Facts) optionalUPN(c *Claims, additional []string) {
	u := f.User
	switch {
	case !u.Guest, slices.Contains(additional, "include_externally_authenticated_upn"):
		c.UPN = u.UPN
	case slices.Contains(additional, "include_externally_authenticated_upn_without_hash"):
		c.UPN = strings.ReplaceAll(u.UPN, "#", "_")
	}
}

func unix(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}
