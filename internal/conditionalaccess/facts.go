package conditionalaccess

import (
	"net/netip"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess/devicefilter"
	"github.com/entrance-id/entrance/internal/directory"
)

// Facts is what is known about one sign-in or token request. Zero values mean
// unknown or absent and never help the caller.
type Facts struct {
	Tenant   directory.TenantID
	User     *User     // exactly one of User and Workload is set
	Workload *Workload // a service principal acting for itself

	ClientApp     directory.AppID
	Resources     []directory.AppID // the applications that tokens are asked for
	ResourceName  string            // for messages; an id will do
	UserAction    string            // set instead of Resources while doing a user action
	ClientAppType ClientAppType

	Device   *Device    // proven by its key in this session; nil: none
	Platform Platform   // as claimed by the client: spoofable
	Address  netip.Addr // of the connection
	Country  string     // ISO 3166-1 alpha-2 in upper case; empty: unknown

	Flow    AuthFlow         // stays with what descends from it, refresh tokens included
	Methods []Authentication // what this session has proven, with times
	// AuthTime is when the person last signed in (the first factor).
	AuthTime time.Time

	AuthContexts []string // authentication contexts asked for (claims parameter, acrs)
	Policies     []string // policies named by a claims challenge (capolids)

	Step Step
	V1   bool // the v1 form of the endpoint
	// DeviceProofPossible tells that this step can still ask the client to prove
	// a device, so that a missing one is a question and not yet an answer.
	DeviceProofPossible bool
}

// User is a person who signs in.
type User struct {
	ID            directory.ObjectID
	Groups        []directory.ObjectID // transitive
	Roles         []directory.ObjectID // template ids of active directory roles
	Guest         GuestType            // empty: a member of this tenant
	HomeTenant    directory.TenantID   // of a guest
	MFARegistered bool                 // has a second factor to be asked for
}

// Workload is a service principal that signs in as itself.
type Workload struct {
	ID    directory.ObjectID
	AppID directory.AppID
	// ManagedIdentity and Foreign put it out of reach of every policy, as in
	// Entra: policies are about this tenant's own applications.
	ManagedIdentity bool
	Foreign         bool // the application belongs to another tenant
}

// Device is a device whose key has been proven in this session; its attributes
// are the directory's.
type Device = devicefilter.Device

// DeviceAttributes are the properties of a device that only filters look at.
type DeviceAttributes = devicefilter.Attributes

// TrustType says how a device is joined.
type TrustType = devicefilter.TrustType

// The trust types. Only ServerAD, a hybrid join, satisfies domainJoinedDevice.
const (
	TrustAzureAD   = devicefilter.AzureAD
	TrustServerAD  = devicefilter.ServerAD
	TrustWorkplace = devicefilter.Workplace
)

// Platform is a device platform by its Graph name.
type Platform string

// The platforms.
const (
	PlatformUnknown Platform = ""
	Android         Platform = "android"
	IOS             Platform = "iOS"
	Windows         Platform = "windows"
	WindowsPhone    Platform = "windowsPhone"
	MacOS           Platform = "macOS"
	Linux           Platform = "linux"
)

var platformNames = []string{"all", "android", "iOS", "windows", "windowsPhone", "macOS", "linux"}

// ClientAppType is the kind of client software by its Graph name.
type ClientAppType string

// The client app types. OtherClients are those that cannot be challenged.
const (
	Browser            ClientAppType = "browser"
	MobileAndDesktop   ClientAppType = "mobileAppsAndDesktopClients"
	ExchangeActiveSync ClientAppType = "exchangeActiveSync"
	OtherClients       ClientAppType = "other"
)

// AuthFlow is an authentication flow that a policy may single out.
type AuthFlow string

// The authentication flows.
const (
	NoFlow                 AuthFlow = ""
	DeviceCodeFlow         AuthFlow = "deviceCodeFlow"
	AuthenticationTransfer AuthFlow = "authenticationTransfer"
)

// GuestType is a kind of external user by its Graph name.
type GuestType string

// The guest types.
const (
	Member                 GuestType = ""
	InternalGuest          GuestType = "internalGuest"
	B2BCollaborationGuest  GuestType = "b2bCollaborationGuest"
	B2BCollaborationMember GuestType = "b2bCollaborationMember"
	B2BDirectConnectUser   GuestType = "b2bDirectConnectUser"
	OtherExternalUser      GuestType = "otherExternalUser"
	ServiceProvider        GuestType = "serviceProvider"
)

var guestTypeNames = []string{"internalGuest", "b2bCollaborationGuest", "b2bCollaborationMember", "b2bDirectConnectUser", "otherExternalUser", "serviceProvider"}

// Authentication is one method that was really checked, and when.
type Authentication struct {
	Method Method
	At     time.Time
}

// Step is the place in the protocol that is about to issue something.
type Step string

// The steps. Interactive ones can show a page.
const (
	StepAuthorize         Step = "authorize"         // the sign-in page, any response type
	StepAuthorizeSilent   Step = "authorizeSilent"   // authorize with prompt=none
	StepDeviceSignIn      Step = "deviceSignIn"      // the page where the user code was typed
	StepDeviceCode        Step = "deviceCode"        // the device's poll
	StepAuthorizationCode Step = "authorizationCode" // redemption
	StepRefreshToken      Step = "refreshToken"
	StepPassword          Step = "password"
	StepOnBehalfOf        Step = "onBehalfOf"
	StepClientCredentials Step = "clientCredentials" // secret or certificate
	StepFederated         Step = "federated"         // federated credential
	StepManagedIdentity   Step = "managedIdentity"
)

// Steps lists every step, for tests that must walk all issuing paths.
var Steps = []Step{StepAuthorize, StepAuthorizeSilent, StepDeviceSignIn, StepDeviceCode, StepAuthorizationCode, StepRefreshToken, StepPassword, StepOnBehalfOf, StepClientCredentials, StepFederated, StepManagedIdentity}

// Interactive tells whether a person looks at a page in this step.
func (s Step) Interactive() bool { return s == StepAuthorize || s == StepDeviceSignIn }
