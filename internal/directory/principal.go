package directory

import "time"

// Type is the kind of a directory object.
type Type string

const (
	TypeUser             Type = "user"
	TypeGroup            Type = "group"
	TypeApplication      Type = "application"
	TypeServicePrincipal Type = "servicePrincipal"
	TypeDevice           Type = "device"
)

// User is a person's account in one tenant. Who a user is, is (Tenant, ID):
// every name can change.
type User struct {
	Tenant            TenantID  `json:"tenantId"`
	ID                ObjectID  `json:"id"`
	UserPrincipalName string    `json:"userPrincipalName"` // as typed; compared without case
	DisplayName       string    `json:"displayName"`
	MailNickname      string    `json:"mailNickname,omitempty"`
	Mail              string    `json:"mail,omitempty"`
	GivenName         string    `json:"givenName,omitempty"`
	Surname           string    `json:"surname,omitempty"`
	Enabled           bool      `json:"accountEnabled"`
	Guest             bool      `json:"guest,omitempty"` // userType Guest
	Created           time.Time `json:"createdDateTime"`

	// PasswordHash is an argon2id hash in PHC form, or empty for a user who has
	// no password.
	PasswordHash string `json:"passwordHash,omitempty"`
	// PasswordChanged is when the password was last set.
	PasswordChanged time.Time `json:"lastPasswordChangeDateTime,omitzero"`
	// MustChangePassword refuses sign-in until a new password is set
	// (passwordProfile.forceChangePasswordNextSignIn).
	MustChangePassword bool `json:"forceChangePasswordNextSignIn,omitempty"`

	// SessionsValidFrom ends every session and refresh token issued before it
	// (signInSessionsValidFromDateTime): a password reset, an administrator's
	// revocation and a disabled account move it.
	SessionsValidFrom time.Time `json:"signInSessionsValidFromDateTime,omitzero"`
	// AccessRevoked additionally ends access tokens issued before it: the
	// cluster's webhooks refuse them at once.
	AccessRevoked time.Time `json:"accessRevokedDateTime,omitzero"`

	Properties Properties `json:"properties,omitempty"`
}

// Group is a set of principals.
type Group struct {
	Tenant             TenantID   `json:"tenantId"`
	ID                 ObjectID   `json:"id"`
	DisplayName        string     `json:"displayName"`
	MailNickname       string     `json:"mailNickname"`
	Description        string     `json:"description,omitempty"`
	SecurityEnabled    bool       `json:"securityEnabled"`
	MailEnabled        bool       `json:"mailEnabled"`
	GroupTypes         []string   `json:"groupTypes,omitempty"`
	IsAssignableToRole bool       `json:"isAssignableToRole,omitempty"`
	Created            time.Time  `json:"createdDateTime"`
	Properties         Properties `json:"properties,omitempty"`
}

// LinkKind says how one object belongs to another.
type LinkKind string

const (
	Member LinkKind = "member" // To is a member of the group From
	Owner  LinkKind = "owner"  // To owns From (a group, application or service principal)
)

// Link is a relation between two objects of one tenant.
type Link struct {
	Tenant TenantID `json:"tenantId"`
	Kind   LinkKind `json:"kind"`
	From   ObjectID `json:"from"`
	To     ObjectID `json:"to"`
	ToType Type     `json:"toType"`
	// Until ends the link by itself, when it stands for an activation in
	// Privileged Identity Management; zero means that it does not end.
	Until time.Time `json:"until,omitzero"`
}

// Device is a computer or phone registered in a tenant. It is proven by a key
// that it holds, never by what a request says about itself.
type Device struct {
	Tenant      TenantID  `json:"tenantId"`
	ID          ObjectID  `json:"id"`       // object id
	DeviceID    string    `json:"deviceId"` // the id that goes into tokens
	DisplayName string    `json:"displayName"`
	Enabled     bool      `json:"accountEnabled"`
	OS          string    `json:"operatingSystem,omitempty"`
	OSVersion   string    `json:"operatingSystemVersion,omitempty"`
	TrustType   string    `json:"trustType,omitempty"` // AzureAd, ServerAd, Workplace
	Managed     bool      `json:"isManaged,omitempty"`
	Compliant   bool      `json:"isCompliant,omitempty"`
	Created     time.Time `json:"createdDateTime"`
	// KeyThumbprint is the base64url SHA-256 thumbprint of the device's key.
	KeyThumbprint string     `json:"keyThumbprint,omitempty"`
	Properties    Properties `json:"properties,omitempty"`
}
