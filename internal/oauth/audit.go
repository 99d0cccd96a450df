package oauth

import (
	"context"
	"net/netip"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
)

// Audit is the sign-in log. SignIn is called once for each attempt, before the
// answer is sent, and must not block for long.
type Audit interface {
	SignIn(ctx context.Context, e *SignInEvent)
}

// SignInEvent is one attempt to get a token or a code.
type SignInEvent struct {
	ID          string // trace id
	Correlation string
	Time        time.Time
	Tenant      directory.TenantID

	User             directory.ObjectID // empty for an application
	UserName         string             // as it is, or as it was typed if it does not exist
	ServicePrincipal directory.ObjectID // for an application
	Client           directory.AppID
	ClientName       string
	Resource         directory.AppID
	ResourceName     string

	Address     netip.Addr
	UserAgent   string
	Grant       string // grant type, or "authorize"
	V1          bool
	Interactive bool
	ClientAuth  string // none, secret, certificate, federated
	TokenID     string // uti of the access token
	Flow        conditionalaccess.AuthFlow
	Methods     []conditionalaccess.Authentication

	ClientAppType conditionalaccess.ClientAppType
	// Device is the one whose key was proven; nil: none.
	Device *conditionalaccess.Device

	Code   int    // AADSTS; 0 is success
	Reason string // its text
	// Policies is how each Conditional Access policy came out.
	Policies []conditionalaccess.PolicyResult
	Status   string // conditionalAccessStatus
}

type noAudit struct{}

func (noAudit) SignIn(context.Context, *SignInEvent) {}
