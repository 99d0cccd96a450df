package directory

import (
	"encoding/json"
	"strings"
	"time"
)

// Tenant is a Microsoft Entra tenant that Entrance hosts.
type Tenant struct {
	ID          TenantID  `json:"id"`
	DisplayName string    `json:"displayName"`
	Domains     []Domain  `json:"domains"` // at least the initial one
	Country     string    `json:"countryLetterCode,omitempty"`
	Created     time.Time `json:"createdDateTime"`

	// PasswordGrant allows the resource owner password grant. It is off unless
	// a tenant asks for it (RFC 9700, section 2.4).
	PasswordGrant bool `json:"passwordGrant,omitempty"`

	// UserConsent lets people consent to delegated permissions that do not
	// need an administrator. Off means that an administrator consents to all.
	UserConsent bool `json:"userConsent,omitempty"`

	Properties Properties `json:"properties,omitempty"`
}

// Domain is a DNS name whose users belong to a tenant.
type Domain struct {
	Name    string `json:"id"`
	Default bool   `json:"isDefault"`
	Initial bool   `json:"isInitial"` // the name that the tenant was made with
}

// DefaultDomain returns the domain that new users get.
func (t *Tenant) DefaultDomain() string {
	for _, d := range t.Domains {
		if d.Default {
			return d.Name
		}
	}
	if len(t.Domains) > 0 {
		return t.Domains[0].Name
	}
	return ""
}

// HasDomain reports whether name is one of the tenant's domains.
func (t *Tenant) HasDomain(name string) bool {
	for _, d := range t.Domains {
		if strings.EqualFold(d.Name, name) {
			return true
		}
	}
	return false
}

// Properties are members of a Graph object that Entrance keeps for its clients
// but does not act on: they come back as they were sent.
type Properties map[string]json.RawMessage
