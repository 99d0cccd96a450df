package audit

import (
	"net/netip"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
)

// SignInEvent is one attempt to get a token or a code, as whoever answered it
// tells the recorder. It has no place for a password, a secret or a token.
type SignInEvent struct {
	ID            string // the trace id; empty: made by the recorder
	CorrelationID string
	Time          time.Time
	Tenant        directory.TenantID

	User        directory.ObjectID // empty: an application, or a user who does not exist
	UserName    string             // as it is, or as it was typed
	DisplayName string
	Guest       bool

	ServicePrincipal     directory.ObjectID // of an application that signs in as itself
	ServicePrincipalName string
	ManagedIdentity      bool

	Client       directory.AppID
	ClientName   string
	Resource     directory.AppID
	ResourceName string

	Address   netip.Addr
	Country   string // ISO 3166-1 alpha-2; empty: unknown
	UserAgent string

	Grant         string // grant type, or "authorize"
	ClientAppType conditionalaccess.ClientAppType
	Interactive   bool
	ClientAuth    string // none, secret, certificate, federated
	TokenID       string // uti of the access token
	Flow          conditionalaccess.AuthFlow
	Methods       []conditionalaccess.Authentication

	Device        *conditionalaccess.Device // proven; nil: none
	DeviceManaged bool

	Code    int    // AADSTS; 0 is success
	Reason  string // its text
	Details string // anything that helps beside it
	// Policies is how each Conditional Access policy came out, Status the
	// conditionalAccessStatus.
	Policies []conditionalaccess.PolicyResult
	Status   string
}

// SignIn is a record of the sign-in log: Microsoft Graph's signIn resource.
type SignIn struct {
	ID                      string                  `json:"id"`
	Created                 time.Time               `json:"createdDateTime"`
	UserDisplayName         string                  `json:"userDisplayName"`
	UserPrincipalName       string                  `json:"userPrincipalName"`
	UserID                  directory.ObjectID      `json:"userId"`
	UserType                string                  `json:"userType,omitempty"`
	AppID                   directory.AppID         `json:"appId"`
	AppDisplayName          string                  `json:"appDisplayName"`
	IPAddress               string                  `json:"ipAddress"`
	ClientAppUsed           string                  `json:"clientAppUsed"`
	UserAgent               string                  `json:"userAgent"`
	CorrelationID           string                  `json:"correlationId"`
	ConditionalAccess       string                  `json:"conditionalAccessStatus"`
	IsInteractive           bool                    `json:"isInteractive"`
	ResourceDisplayName     string                  `json:"resourceDisplayName"`
	ResourceID              directory.AppID         `json:"resourceId"`
	ResourceTenantID        directory.TenantID      `json:"resourceTenantId"`
	HomeTenantID            directory.TenantID      `json:"homeTenantId"`
	ServicePrincipalID      directory.ObjectID      `json:"servicePrincipalId"`
	ServicePrincipalName    string                  `json:"servicePrincipalName"`
	EventTypes              []string                `json:"signInEventTypes"`
	TokenIssuerType         string                  `json:"tokenIssuerType"`
	TokenID                 string                  `json:"uniqueTokenIdentifier"`
	IncomingTokenType       string                  `json:"incomingTokenType"`
	Protocol                string                  `json:"authenticationProtocol"`
	OriginalTransferMethod  string                  `json:"originalTransferMethod"`
	ClientCredentialType    string                  `json:"clientCredentialType"`
	Requirement             string                  `json:"authenticationRequirement"`
	RiskDetail              string                  `json:"riskDetail"`
	RiskLevelAggregated     string                  `json:"riskLevelAggregated"`
	RiskLevelDuringSignIn   string                  `json:"riskLevelDuringSignIn"`
	RiskState               string                  `json:"riskState"`
	RiskEventTypes          []string                `json:"riskEventTypes_v2"`
	Status                  SignInStatus            `json:"status"`
	Device                  DeviceDetail            `json:"deviceDetail"`
	Location                Location                `json:"location"`
	AppliedPolicies         []AppliedPolicy         `json:"appliedConditionalAccessPolicies"`
	AuthenticationDetails   []AuthenticationDetail  `json:"authenticationDetails"`
	AuthenticationProcesses []AuthenticationProcess `json:"authenticationProcessingDetails"`
}

// SignInStatus is how a sign-in ended.
type SignInStatus struct {
	ErrorCode         int     `json:"errorCode"`
	FailureReason     string  `json:"failureReason"`
	AdditionalDetails *string `json:"additionalDetails"`
}

// DeviceDetail is the device of a sign-in. All but the operating system and the
// browser, which the client claims, are proven.
type DeviceDetail struct {
	DeviceID        string `json:"deviceId"`
	DisplayName     string `json:"displayName"`
	OperatingSystem string `json:"operatingSystem"`
	Browser         string `json:"browser"`
	IsCompliant     bool   `json:"isCompliant"`
	IsManaged       bool   `json:"isManaged"`
	TrustType       string `json:"trustType"`
}

// Location is where an address is.
type Location struct {
	City            string         `json:"city"`
	State           string         `json:"state"`
	CountryOrRegion string         `json:"countryOrRegion"`
	Coordinates     map[string]any `json:"geoCoordinates"`
}

// AppliedPolicy is how one Conditional Access policy came out.
type AppliedPolicy struct {
	ID              string                      `json:"id"`
	DisplayName     string                      `json:"displayName"`
	GrantControls   []string                    `json:"enforcedGrantControls"`
	SessionControls []string                    `json:"enforcedSessionControls"`
	Result          conditionalaccess.Result    `json:"result"`
	NotSatisfied    conditionalaccess.Condition `json:"conditionsNotSatisfied"`
}

// AuthenticationDetail is one method that was checked.
type AuthenticationDetail struct {
	Time        time.Time `json:"authenticationStepDateTime"`
	Method      string    `json:"authenticationMethod"`
	Detail      string    `json:"authenticationMethodDetail"`
	Succeeded   bool      `json:"succeeded"`
	Result      string    `json:"authenticationStepResultDetail"`
	Requirement string    `json:"authenticationStepRequirement"`
}

// AuthenticationProcess is a name and a value of how a sign-in was done.
type AuthenticationProcess struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// methodNames are the words that the portal has for methods.
var methodNames = map[conditionalaccess.Method]string{
	conditionalaccess.Password: "Password", conditionalaccess.SoftwareOath: "OATH verification code", conditionalaccess.HardwareOath: "OATH hardware token",
	conditionalaccess.FIDO2: "Passkey (FIDO2)", conditionalaccess.WindowsHelloForBusiness: "Windows Hello for Business",
	conditionalaccess.X509SingleFactor: "X.509 Certificate", conditionalaccess.X509MultiFactor: "X.509 Certificate",
	conditionalaccess.FederatedSingleFactor: "Federated authentication", conditionalaccess.FederatedMultiFactor: "Federated authentication",
	conditionalaccess.MicrosoftAuthenticatorPush: "Mobile app notification", conditionalaccess.SMS: "Text message", conditionalaccess.Voice: "Phone call",
	conditionalaccess.TemporaryAccessPassOneTime: "Temporary Access Pass", conditionalaccess.TemporaryAccessPassMultiUse: "Temporary Access Pass",
	conditionalaccess.DeviceBasedPush: "Mobile app notification",
}

var clientApps = map[conditionalaccess.ClientAppType]string{
	conditionalaccess.Browser: "Browser", conditionalaccess.MobileAndDesktop: "Mobile Apps and Desktop clients",
	conditionalaccess.ExchangeActiveSync: "Exchange ActiveSync", conditionalaccess.OtherClients: "Other clients",
}

var credentials = map[string]string{
	"none": "none", "secret": "clientSecret", "certificate": "certificate", "federated": "federatedIdentityCredential",
}

// signIn makes the record of an event.
func signIn(e *SignInEvent, domain func(string) bool) *SignIn {
	s := &SignIn{
		ID: guid(e.ID), Created: e.Time.UTC(), UserID: guid(e.User), UserDisplayName: text(e.DisplayName, maxName),
		AppID: guid(e.Client), AppDisplayName: text(e.ClientName, maxName),
		ClientAppUsed: clientApps[e.ClientAppType], UserAgent: text(e.UserAgent, maxText), CorrelationID: guid(e.CorrelationID),
		ConditionalAccess: enum(e.Status), IsInteractive: e.Interactive,
		ResourceDisplayName: text(e.ResourceName, maxName), ResourceID: guid(e.Resource), ResourceTenantID: guid(e.Tenant), HomeTenantID: guid(e.Tenant),
		ServicePrincipalID: guid(e.ServicePrincipal), ServicePrincipalName: text(e.ServicePrincipalName, maxName),
		TokenIssuerType: "AzureAD", TokenID: tokenID(e.TokenID), IncomingTokenType: incoming(e.Grant), Protocol: protocol(e),
		OriginalTransferMethod: "none", ClientCredentialType: credentials[e.ClientAuth], Requirement: "singleFactorAuthentication",
		RiskDetail: "none", RiskLevelAggregated: "none", RiskLevelDuringSignIn: "none", RiskState: "none", RiskEventTypes: []string{},
		Status:   SignInStatus{ErrorCode: e.Code, FailureReason: text(e.Reason, maxText)},
		Location: Location{CountryOrRegion: country(e.Country)},
	}
	if s.ID == "" {
		s.ID = directory.NewGUID()
	}
	if e.Address.IsValid() {
		s.IPAddress = e.Address.WithZone("").Unmap().String() // a zone is free text
	}
	if s.UserID == "" {
		s.UserPrincipalName = typedName(e.UserName, domain)
	} else {
		s.UserPrincipalName = text(e.UserName, maxName)
		s.UserType = "member"
		if e.Guest {
			s.UserType = "guest"
		}
	}
	switch {
	case e.ManagedIdentity:
		s.EventTypes = []string{"managedIdentity"}
	case s.ServicePrincipalID != "":
		s.EventTypes = []string{"servicePrincipal"}
	case e.Interactive:
		s.EventTypes = []string{"interactiveUser"}
	default:
		s.EventTypes = []string{"nonInteractiveUser"}
	}
	if e.Flow != conditionalaccess.NoFlow {
		s.OriginalTransferMethod = string(enum(e.Flow))
	}
	if s.Status.ErrorCode == 0 && s.Status.FailureReason == "" {
		s.Status.FailureReason = "Other." // what the real log says of a success
	}
	if d := text(e.Details, maxText); d != "" {
		s.Status.AdditionalDetails = &d
	}
	s.Device.OperatingSystem, s.Device.Browser = agent(s.UserAgent)
	if d := e.Device; d != nil {
		s.Device.DeviceID, s.Device.DisplayName = guid(d.ID), text(d.Attributes.DisplayName, maxName)
		s.Device.IsCompliant, s.Device.IsManaged = d.Compliant, e.DeviceManaged
		s.Device.TrustType = trust(d.TrustType)
	}
	s.AppliedPolicies = make([]AppliedPolicy, 0, len(e.Policies))
	controls := func(in []string) []string { return list(in, enum[string]) }
	for i := range e.Policies {
		p := &e.Policies[i]
		s.AppliedPolicies = append(s.AppliedPolicies, AppliedPolicy{
			ID: guid(p.ID), DisplayName: text(p.DisplayName, maxName), Result: enum(p.Result), NotSatisfied: enum(p.NotSatisfied),
			GrantControls: controls(p.GrantControls), SessionControls: controls(p.SessionControls),
		})
	}
	s.AuthenticationDetails = make([]AuthenticationDetail, 0, len(e.Methods))
	for i, m := range e.Methods {
		step := AuthenticationDetail{Time: m.At.UTC(), Method: methodNames[m.Method], Succeeded: true, Result: "Method completed", Requirement: "Primary authentication"}
		if step.Method == "" {
			step.Method = string(enum(m.Method))
		}
		if i > 0 {
			step.Requirement = "Multifactor authentication"
		}
		s.AuthenticationDetails = append(s.AuthenticationDetails, step)
	}
	if conditionalaccess.MFADone(e.Methods) {
		s.Requirement = "multiFactorAuthentication"
	}
	s.AuthenticationProcesses = []AuthenticationProcess{{"Grant", enum(e.Grant)}}
	return s
}

// tokenID returns a uti, which is public: 16 bytes in base64url.
func tokenID(s string) string {
	if len(s) != 22 || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return ""
	}
	return s
}

func country(s string) string {
	if len(s) != 2 || s[0] < 'A' || s[0] > 'Z' || s[1] < 'A' || s[1] > 'Z' {
		return ""
	}
	return s
}

func incoming(grant string) string {
	switch {
	case grant == "refresh_token":
		return "refreshToken"
	case strings.HasSuffix(grant, "jwt-bearer"):
		return "none" // on-behalf-of carries an access token, for which the log has no word
	}
	return "none"
}

func protocol(e *SignInEvent) string {
	switch {
	case e.Flow == conditionalaccess.DeviceCodeFlow:
		return "deviceCode"
	case e.Grant == "password":
		return "ropc"
	}
	return "oAuth2"
}

func trust(t conditionalaccess.TrustType) string {
	switch t {
	case conditionalaccess.TrustAzureAD:
		return "Azure AD joined"
	case conditionalaccess.TrustServerAD:
		return "Hybrid Azure AD joined"
	case conditionalaccess.TrustWorkplace:
		return "Azure AD registered"
	}
	return ""
}

// agent returns what a user agent claims of the operating system and browser.
func agent(ua string) (system, browser string) {
	for _, x := range [][2]string{
		{"Windows Phone", "WindowsPhone"}, {"Android", "Android"}, {"iPhone", "Ios"}, {"iPad", "Ios"}, {"Windows", "Windows"},
		{"Macintosh", "MacOs"}, {"Darwin", "MacOs"}, {"darwin", "MacOs"}, {"windows", "Windows"}, {"Linux", "Linux"}, {"linux", "Linux"},
	} {
		if strings.Contains(ua, x[0]) {
			system = x[1]
			break
		}
	}
	// The order matters: each later one is also in the agents of earlier ones.
	for _, x := range [][2]string{{"Edg/", "Edge"}, {"OPR/", "Opera"}, {"Firefox/", "Firefox"}, {"HeadlessChrome/", "Chrome"}, {"Chrome/", "Chrome"}, {"Version/", "Safari"}} {
		_, rest, ok := strings.Cut(ua, x[0])
		if !ok {
			continue
		}
		version := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789."))]
		return system, strings.TrimSpace(x[1] + " " + version)
	}
	return system, ""
}
