package directory

import "slices"

// Application ids that are the same in every tenant (Microsoft's published
// first-party applications, and reference values of AKS and Arc).
const (
	AKSServer       AppID = "6dae42f8-4368-4678-94ff-3960e28e3630" // Azure Kubernetes Service AAD Server
	AKSClient       AppID = "80faf920-1908-4b52-b5ef-a8e7bedfc67a" // Azure Kubernetes Service AAD Client
	ArcServer       AppID = "6256c85f-0aad-4d50-b960-e6e9b21efe35" // Azure Arc-enabled Kubernetes, server
	ArcClient       AppID = "3f4439ff-e698-4d6d-84fe-09c9d574f06b" // Azure Arc-enabled Kubernetes, client
	AzureCLI        AppID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	AzurePowerShell AppID = "1950a258-227b-4e31-a9cf-717495945fc2"
	Graph           AppID = "00000003-0000-0000-c000-000000000000" // Microsoft Graph
	AADGraph        AppID = "00000002-0000-0000-c000-000000000000" // Windows Azure Active Directory
	ARM             AppID = "797f4846-ba00-4fd7-ba43-dac1f8f63013" // Azure Resource Manager
	ADIbizaUX       AppID = "74658136-14ec-4630-ad9b-26e160ff0fc6" // the portal's API that az asks for admin consent
)

// MicrosoftTenant owns the first-party applications.
const MicrosoftTenant TenantID = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"

// FirstParty returns the first-party application with the given id.
func FirstParty(id AppID) (*Application, bool) {
	i := slices.IndexFunc(firstParty, func(a *Application) bool { return a.AppID == id })
	if i < 0 {
		return nil, false
	}
	return firstParty[i], true
}

// FirstPartyApplications returns all first-party applications. They are shared
// and must not be changed. Every tenant has a service principal for each.
func FirstPartyApplications() []*Application { return firstParty }

// Names returns the names by which tokens for the application may be asked
// for: its client id and its identifier URIs.
func (a *Application) Names() []string {
	return append([]string{string(a.AppID)}, a.IdentifierURIs...)
}

var (
	yes       = true
	localhost = Platform{RedirectURIs: []string{"http://localhost", "https://login.microsoftonline.com/common/oauth2/nativeclient", "urn:ietf:wg:oauth:2.0:oob"}}
	// The tokens of the two server applications say which security groups their
	// bearer is in, as in Entra: clusters that are asked by somebody without this
	// directory know them from there.
	firstParty = []*Application{
		{
			AppID: AKSServer, DisplayName: "Azure Kubernetes Service AAD Server", GroupClaims: "SecurityGroup",
			API: API{Scopes: []Scope{userScope("34a47c2f-cd0d-47b4-a93c-2c41130c671c", "user.read", "Access Azure Kubernetes Service as you")}},
		},
		{AppID: AKSClient, DisplayName: "Azure Kubernetes Service AAD Client", FallbackPub: &yes, PublicClient: localhost},
		{
			AppID: ArcServer, DisplayName: "Azure Arc-enabled Kubernetes AAD Server", GroupClaims: "SecurityGroup",
			API: API{Scopes: []Scope{userScope("c7b9a0a5-8b1c-4bd5-9d05-0b0c8f8e9d7e", "user.read", "Access Azure Arc-enabled Kubernetes as you")}},
		},
		{AppID: ArcClient, DisplayName: "Azure Arc-enabled Kubernetes AAD Client", FallbackPub: &yes, PublicClient: localhost},
		{AppID: AzureCLI, DisplayName: "Microsoft Azure CLI", FallbackPub: &yes, PublicClient: localhost},
		{AppID: AzurePowerShell, DisplayName: "Microsoft Azure PowerShell", FallbackPub: &yes, PublicClient: localhost},
		{
			AppID: ARM, DisplayName: "Windows Azure Service Management API",
			IdentifierURIs: []string{
				"https://management.azure.com/", "https://management.core.windows.net/",
			},
			API: API{Scopes: []Scope{userScope("41094075-9dad-400e-a0bd-54e686782033", "user_impersonation", "Access Azure Resource Manager as you")}},
		},
		{
			AppID: AADGraph, DisplayName: "Windows Azure Active Directory",
			IdentifierURIs: []string{"https://graph.windows.net/"},
			API:            API{Scopes: []Scope{userScope("311a71cc-e848-46a1-bdf8-97ff7156d8e6", "User.Read", "Sign in and read your profile")}},
		},
		{
			AppID: ADIbizaUX, DisplayName: "ADIbizaUX",
			API: API{Scopes: []Scope{userScope("b9f3a6a4-2a1c-4d0e-9b7f-6c5d4e3f2a10", "user_impersonation", "Access the directory's administration as you")}},
		},
		{
			AppID: Graph, DisplayName: "Microsoft Graph",
			IdentifierURIs: []string{"https://graph.microsoft.com/"},
			API:            API{Scopes: graphScopes},
			AppRoles:       graphRoles,
		},
	}
)

func init() {
	for _, a := range firstParty {
		a.Tenant = MicrosoftTenant
		a.ID = ObjectID(a.AppID) // never shown: a first-party registration is not in any hosted tenant
		a.SignInAudience = "AzureADMultipleOrgs"
	}
}

func userScope(id, value, about string) Scope {
	return Scope{ID: id, Value: value, Type: "User", Enabled: true, AdminConsentName: about, AdminConsentAbout: about, UserConsentName: about, UserConsentAbout: about}
}
