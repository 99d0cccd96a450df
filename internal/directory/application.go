package directory

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Application is an app registration: what its developer declares. The tenants
// in which it may be used hold a ServicePrincipal each.
type Application struct {
	Tenant         TenantID  `json:"tenantId"`
	ID             ObjectID  `json:"id"`
	AppID          AppID     `json:"appId"`
	DisplayName    string    `json:"displayName"`
	SignInAudience string    `json:"signInAudience"` // AzureADMyOrg, AzureADMultipleOrgs
	IdentifierURIs []string  `json:"identifierUris,omitempty"`
	Created        time.Time `json:"createdDateTime"`

	Web          WebPlatform    `json:"web"`
	SPA          Platform       `json:"spa"`
	PublicClient Platform       `json:"publicClient"`
	FallbackPub  *bool          `json:"isFallbackPublicClient,omitempty"`
	Credentials  Credentials    `json:"credentials"`
	API          API            `json:"api"`
	AppRoles     []AppRole      `json:"appRoles,omitempty"`
	Required     []Requirement  `json:"requiredResourceAccess,omitempty"`
	GroupClaims  string         `json:"groupMembershipClaims,omitempty"` // "", SecurityGroup, All, ...
	Optional     OptionalClaims `json:"optionalClaims,omitzero"`
	Properties   Properties     `json:"properties,omitempty"`
}

// Platform lists where answers may be sent for one kind of client.
type Platform struct {
	RedirectURIs []string `json:"redirectUris,omitempty"`
}

// WebPlatform is Platform for confidential web clients.
type WebPlatform struct {
	RedirectURIs []string `json:"redirectUris,omitempty"`
	LogoutURL    string   `json:"logoutUrl,omitempty"`
	HomePageURL  string   `json:"homePageUrl,omitempty"`
	ImplicitID   bool     `json:"enableIdTokenIssuance,omitempty"`
	ImplicitAT   bool     `json:"enableAccessTokenIssuance,omitempty"`
}

// API is what an application offers to others as a resource.
type API struct {
	// TokenVersion is requestedAccessTokenVersion: nil and 1 give v1.0 access
	// tokens, 2 gives v2.0, whatever endpoint the client used.
	TokenVersion  *int            `json:"requestedAccessTokenVersion,omitempty"`
	Scopes        []Scope         `json:"oauth2PermissionScopes,omitempty"`
	PreAuthorized []PreAuthorized `json:"preAuthorizedApplications,omitempty"`
	KnownClients  []AppID         `json:"knownClientApplications,omitempty"`
	MappedClaims  *bool           `json:"acceptMappedClaims,omitempty"`
}

// Scope is a delegated permission that a resource offers.
type Scope struct {
	ID                string `json:"id"`
	Value             string `json:"value"`
	Type              string `json:"type"` // User, or Admin: only an administrator may consent
	Enabled           bool   `json:"isEnabled"`
	AdminConsentName  string `json:"adminConsentDisplayName,omitempty"`
	AdminConsentAbout string `json:"adminConsentDescription,omitempty"`
	UserConsentName   string `json:"userConsentDisplayName,omitempty"`
	UserConsentAbout  string `json:"userConsentDescription,omitempty"`
}

// PreAuthorized names a client that needs no consent for some scopes.
type PreAuthorized struct {
	AppID  AppID    `json:"appId"`
	Scopes []string `json:"delegatedPermissionIds"`
}

// AppRole is a role that a resource defines: given to users and groups, or to
// applications as a permission.
type AppRole struct {
	ID          string   `json:"id"`
	Value       string   `json:"value"`
	DisplayName string   `json:"displayName"`
	Description string   `json:"description"`
	MemberTypes []string `json:"allowedMemberTypes"` // User, Application
	Enabled     bool     `json:"isEnabled"`
}

// Requirement is a resource and the permissions on it that an application
// declares in advance (static consent).
type Requirement struct {
	ResourceAppID AppID            `json:"resourceAppId"`
	Access        []ResourceAccess `json:"resourceAccess"`
}

// ResourceAccess names one scope ("Scope") or app role ("Role") by id.
type ResourceAccess struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// OptionalClaims lists claims that an application asks for beyond the usual.
type OptionalClaims struct {
	IDToken     []OptionalClaim `json:"idToken,omitempty"`
	AccessToken []OptionalClaim `json:"accessToken,omitempty"`
	SAML2Token  []OptionalClaim `json:"saml2Token,omitempty"`
}

// OptionalClaim is one such claim.
type OptionalClaim struct {
	Name       string   `json:"name"`
	Source     *string  `json:"source"`
	Essential  bool     `json:"essential"`
	Additional []string `json:"additionalProperties,omitempty"`
}

// ServicePrincipal is an application's identity in one tenant, or a managed
// identity.
type ServicePrincipal struct {
	Tenant             TenantID    `json:"tenantId"`
	ID                 ObjectID    `json:"id"`
	AppID              AppID       `json:"appId"`
	AppOwnerTenant     TenantID    `json:"appOwnerOrganizationId,omitempty"`
	DisplayName        string      `json:"displayName"`
	Type               string      `json:"servicePrincipalType"` // Application, ManagedIdentity, Legacy
	Enabled            bool        `json:"accountEnabled"`
	AssignmentRequired bool        `json:"appRoleAssignmentRequired,omitempty"`
	Names              []string    `json:"servicePrincipalNames"` // the app id and identifier URIs
	AlternativeNames   []string    `json:"alternativeNames,omitempty"`
	Credentials        Credentials `json:"credentials"`
	Created            time.Time   `json:"createdDateTime"`
	// AccessRevoked ends access tokens issued before it, as for users.
	AccessRevoked time.Time  `json:"accessRevokedDateTime,omitzero"`
	Properties    Properties `json:"properties,omitempty"`

	// A resource's own side, copied from its application when the service
	// principal is made or the application changes, so that a tenant's
	// permissions can be read from the tenant alone.
	AppRoles     []AppRole      `json:"appRoles,omitempty"`
	Scopes       []Scope        `json:"oauth2PermissionScopes,omitempty"`
	TokenVersion *int           `json:"tokenVersion,omitempty"`
	GroupClaims  string         `json:"groupMembershipClaims,omitempty"`
	Optional     OptionalClaims `json:"optionalClaims,omitzero"`
}

// Credentials are the proofs that an application may sign in with.
type Credentials struct {
	Passwords []Password            `json:"passwords,omitempty"`
	Keys      []KeyCredential       `json:"keys,omitempty"`
	Federated []FederatedCredential `json:"federated,omitempty"`
	// Removed is when one was last taken away. Access tokens that were obtained
	// with it are refused by clusters from then on.
	Removed time.Time `json:"removedDateTime,omitzero"`
}

// Has reports whether the credential with the id is among them.
func (c *Credentials) Has(id string) bool {
	return slices.Contains(c.ids(), id)
}

func (c *Credentials) ids() []string {
	var list []string
	for i := range c.Passwords {
		list = append(list, c.Passwords[i].KeyID)
	}
	for i := range c.Keys {
		list = append(list, c.Keys[i].KeyID)
	}
	for i := range c.Federated {
		list = append(list, c.Federated[i].ID)
	}
	return list
}

// Change calls change and notes the time if it has taken a credential away.
func (c *Credentials) Change(now time.Time, change func() error) error {
	before := c.ids()
	if err := change(); err != nil {
		return err
	}
	if slices.ContainsFunc(before, func(id string) bool { return !c.Has(id) }) {
		c.Removed = now
	}
	return nil
}

// Password is a client secret: generated here, of high entropy, and kept as
// its SHA-256 alone (design: a slow hash would only be a CPU bomb).
type Password struct {
	KeyID       string    `json:"keyId"`
	DisplayName string    `json:"displayName,omitempty"`
	Hint        string    `json:"hint"` // the first three characters
	SHA256      []byte    `json:"sha256"`
	Start       time.Time `json:"startDateTime"`
	End         time.Time `json:"endDateTime"`
}

// KeyCredential is a certificate whose private key the application holds.
type KeyCredential struct {
	KeyID               string    `json:"keyId"`
	DisplayName         string    `json:"displayName,omitempty"`
	Type                string    `json:"type"`  // AsymmetricX509Cert
	Usage               string    `json:"usage"` // Verify
	Key                 []byte    `json:"key"`   // DER of the certificate
	CustomKeyIdentifier []byte    `json:"customKeyIdentifier,omitempty"`
	Start               time.Time `json:"startDateTime"`
	End                 time.Time `json:"endDateTime"`
}

// FederatedCredential trusts tokens of another issuer in place of a secret.
// Issuer, subject and audience are compared exactly.
type FederatedCredential struct {
	ID          string          `json:"id"`
	Name        string          `json:"name"`
	Issuer      string          `json:"issuer"`
	Subject     string          `json:"subject,omitempty"`
	Audiences   []string        `json:"audiences"`
	Description string          `json:"description,omitempty"`
	Matching    json.RawMessage `json:"claimsMatchingExpression,omitempty"`
}

// MaxFederatedCredentials is how many federated credentials one application or
// user-assigned identity may have (Microsoft's documented limit).
const MaxFederatedCredentials = 20

// Certificate parses the credential's certificate.
func (k *KeyCredential) Certificate() (*x509.Certificate, error) {
	return x509.ParseCertificate(k.Key)
}

// MatchPassword returns the password credential whose secret is given, valid
// or not, and nil if there is none. Every credential is compared, in constant
// time each.
func (c *Credentials) MatchPassword(secret string) *Password {
	sum := sha256.Sum256([]byte(secret))
	var found *Password
	for i := range c.Passwords {
		if subtle.ConstantTimeCompare(sum[:], c.Passwords[i].SHA256) == 1 {
			found = &c.Passwords[i]
		}
	}
	return found
}

// Public reports whether the application may act as a public client: one that
// cannot keep a secret.
func (a *Application) Public() bool {
	if a.FallbackPub != nil {
		return *a.FallbackPub
	}
	return false
}

// HasName reports whether name is one of the service principal's names; URIs
// are compared without case and with or without a final slash.
func (p *ServicePrincipal) HasName(name string) bool {
	return slices.ContainsFunc(p.Names, func(n string) bool {
		return strings.EqualFold(strings.TrimSuffix(n, "/"), strings.TrimSuffix(name, "/"))
	})
}
