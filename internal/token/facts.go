package token

import (
	"net/netip"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// Facts are all that the claims of a token depend on. The caller gathers them;
// AccessToken and IDToken decide. Exactly one of User and App is set.
type Facts struct {
	Now      time.Time
	Lifetime time.Duration // zero: AccessLifetime(UTI), or an hour for ID tokens
	UTI      string        // unique token id, see NewUTI

	Tenant   Tenant
	Resource Resource // what an access token is for; not used for ID tokens
	Client   Client   // what a token is issued to
	User     *User
	App      *App // the service principal, for tokens without a user
	Auth     Auth

	Scopes    []string // delegated, without the resource's prefix; no openid, profile, email, offline_access
	Profile   bool     // the profile scope was granted
	Email     bool     // the email scope was granted
	Roles     []string // values of app roles
	WIDs      []string // directory role template ids, if the subject has any
	Groups    []Group  // all transitive memberships, in any order
	Cnf       *Confirmation
	Implicit  bool   // the token travels in a URL's fragment
	Nonce     string // ID tokens
	AtHash    string // ID tokens, see HalfHash
	CHash     string // ID tokens, see HalfHash
	IDVersion Version
}

// Issuers are the base addresses from which issuer names are made.
type Issuers struct {
	// V1 is followed by the tenant's id and a slash. Empty: DefaultV1Issuer,
	// which is what Entra writes whatever host was asked.
	V1 string
	// V2 is the provider's public base URL without a final slash.
	V2 string
}

// DefaultV1Issuer is the base of Entra's v1.0 issuer names.
const DefaultV1Issuer = "https://sts.windows.net/"

// Name returns the issuer of a tenant's tokens.
func (i Issuers) Name(v Version, tenant directory.TenantID) string {
	if v == V2 {
		return i.V2 + "/" + string(tenant) + "/v2.0"
	}
	base := i.V1
	if base == "" {
		base = DefaultV1Issuer
	}
	return base + string(tenant) + "/"
}

// Tenant is the tenant that issues.
type Tenant struct {
	ID      directory.TenantID
	Issuers Issuers
	// Pairwise is the tenant's secret from which subjects are made, so that two
	// resources cannot compare them and nobody can compute one.
	Pairwise []byte
	Created  time.Time
	Country  string // two letters
	Region   string // NA, EU, AS, ...
	Language string // preferred language
}

// Resource is the application that an access token is for.
type Resource struct {
	AppID directory.AppID
	// Audience is the name under which the token was asked for, exactly: the
	// aud of a v1.0 token.
	Audience string
	Version  Version // accepted token version; empty is V1
	// GroupClaims is the groupMembershipClaims setting: None, SecurityGroup,
	// ApplicationGroup, DirectoryRole, All, or several with commas.
	GroupClaims string
	Optional    []directory.OptionalClaim // of the access token
	// FirstParty resources always learn whether a token is an application's.
	FirstParty bool
}

// Client is the application that a token is issued to.
type Client struct {
	AppID       directory.AppID
	DisplayName string
	Auth        ClientAuth
	// Credential is the id of the secret, certificate or federated credential
	// that the client proved itself with; empty where it has none.
	Credential string
	// Capabilities are the xms_cc values that the client declared.
	Capabilities []string
	GroupClaims  string                    // for ID tokens, as Resource.GroupClaims
	Optional     []directory.OptionalClaim // of the ID token
}

// ClientAuth is how a client proved itself.
type ClientAuth string

// The values of appidacr and azpacr.
const (
	ClientPublic    ClientAuth = "0"
	ClientSecret    ClientAuth = "1"
	ClientAssertion ClientAuth = "2" // certificate or federated token
)

// User is the user that a token speaks for.
type User struct {
	ID              directory.ObjectID
	UPN             string
	DisplayName     string
	GivenName       string
	Surname         string
	Mail            string
	MailVerified    bool
	MailNickname    string
	OtherMails      []string
	PUID            string
	OnPremSID       string
	Country         string
	Language        string
	Guest           bool
	IdentityIssuer  string // idp of a guest: the home tenant's issuer, or live.com
	PasswordExpires time.Time
	PasswordURL     string
}

// App is the service principal or managed identity that a token speaks for.
type App struct {
	ID              directory.ObjectID
	ManagedIdentity string // ARM id of the managed identity
	AzureResource   string // ARM id of the resource that it is assigned to
}

// Auth says how the user signed in.
type Auth struct {
	Time      time.Time
	AMR       []string // pwd, rsa, otp, fed, wia, mfa, ngcmfa, ...
	ACR       string   // "0" or "1"; empty is "1"
	Contexts  []string // authentication contexts that were met (c1 to c99)
	DeviceID  directory.ObjectID
	IP        netip.Addr
	Forwarded string // address that the client's proxy gave
	InCorp    bool   // from a trusted named location
	Session   string // sid
}

// Group is a group that the subject is in, directly or not.
type Group struct {
	ID directory.ObjectID
	// Security is whether the group is security-enabled.
	Security bool
	// Assigned is whether the group itself is assigned to the application and
	// the subject is in it directly.
	Assigned bool
}
