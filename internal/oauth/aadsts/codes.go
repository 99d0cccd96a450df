package aadsts

import "net/http"

// Code is the number in AADSTSnnnnn.
type Code int

// row is one line of the closed table: what a code looks like on the wire. Text
// is a format; its verbs are filled by New.
type row struct {
	oauth  string
	status int
	sub    string
	text   string
}

const (
	bad    = http.StatusBadRequest
	unauth = http.StatusUnauthorized

	invalidRequest     = "invalid_request"
	invalidClient      = "invalid_client"
	invalidGrant       = "invalid_grant"
	invalidScope       = "invalid_scope"
	invalidResource    = "invalid_resource"
	unauthorizedClient = "unauthorized_client"
	accessDenied       = "access_denied"
	loginRequired      = "login_required"
	serverError        = "server_error"
)

// table is every code that the protocol itself answers with. The codes of
// Conditional Access come with the policy's decision, text and OAuth error
// included, because both depend on the step.
var table = map[Code]row{
	28000: {invalidScope, bad, "", "Provided value for the input parameter scope is not valid because it contains more than one resource. Scope %s is not valid."},
	28002: {invalidRequest, bad, "", "Provided value for the input parameter scope '%s' is not valid when requesting an access token. Please specify a valid scope."},
	28003: {invalidRequest, bad, "", "Provided value for the input parameter scope cannot be empty when requesting an access token using the provided authorization code. Please specify a valid scope."},

	50000: {serverError, http.StatusInternalServerError, "", "There was an error issuing a token. The server's log has the details under the trace id."},
	50001: {invalidResource, bad, "", "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant."},
	50011: {invalidClient, bad, "", "The redirect URI '%s' specified in the request does not match the redirect URIs configured for the application '%s'. Make sure the redirect URI sent in the request matches one added to your application."},
	50012: {invalidClient, unauth, "", "Authentication failed: %s"},
	50013: {invalidGrant, bad, "", "Assertion failed signature validation or is not meant for this application. [Reason - %s]"},
	50020: {invalidGrant, bad, "", "User account '%s' from identity provider '%s' does not exist in tenant '%s' and cannot access the application '%s' in that tenant. The account needs to be added as an external user in the tenant first."},
	50027: {invalidClient, unauth, "", "JWT token is invalid or malformed: %s"},
	50034: {invalidGrant, bad, "", "The user account %s does not exist in the %s directory. To sign into this application, the account must be added to the directory."},
	50049: {"invalid_instance", bad, "", "Unknown or invalid instance: %s"},
	50053: {invalidGrant, bad, "", "The account is locked, you've tried to sign in too many times with an incorrect user ID or password."},
	50055: {invalidGrant, bad, "user_password_expired", "The password is expired. Sign in in a browser to choose a new one."},
	50056: {invalidGrant, bad, "", "Invalid or null password: password does not exist in the directory for this user."},
	50057: {invalidGrant, bad, "", "The user account is disabled."},
	50058: {loginRequired, bad, "", "A silent sign-in request was sent but no user is signed in. The cookies used to represent the user's session were not sent in the request."},
	50059: {invalidRequest, bad, "", "No tenant-identifying information found in either the request or implied by any provided credentials."},
	50097: {invalidGrant, unauth, "basic_action", "Device authentication is required."},
	50105: {invalidGrant, bad, "message_only", "Your administrator has configured the application %s ('%s') to block users unless they are specifically granted ('assigned') access to the application. The signed in user '%s' is blocked because they are not a direct member of a group with access, nor had access directly assigned by an administrator."},
	50126: {invalidGrant, bad, "", "Error validating credentials due to invalid username or password."},
	50173: {invalidGrant, bad, "bad_token", "The provided grant has expired due to it being revoked, a fresh auth token is needed. The user might have changed or reset their password. The grant was issued on '%s' and the TokensValidFrom date (before which tokens are not valid) for this user is '%s'."},
	50194: {invalidRequest, bad, "", "Application '%s' (%s) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such apps. Use a tenant-specific endpoint or configure the application to be multi-tenant."},
	50196: {invalidGrant, bad, "", "The server terminated an operation because it encountered a client request loop. Please contact your app vendor."},

	500011: {invalidResource, bad, "", "The resource principal named %s was not found in the tenant named %s. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You might have sent your authentication request to the wrong tenant."},
	500014: {invalidResource, bad, "", "The service principal for resource '%s' is disabled. This indicate that a subscription within the tenant has lapsed, or that the administrator for this tenant has disabled the application, preventing tokens from being issued for it."},
	500112: {invalidGrant, bad, "", "The reply address '%s' does not match the reply address '%s' provided when requesting Authorization code."},
	500133: {invalidGrant, bad, "", "Assertion is not within its valid time range. Ensure that the access token is not expired before using it for user assertion, or request a new token."},
	501481: {invalidGrant, bad, "", "The Code_Verifier does not match the code_challenge supplied in the authorization request."},
	501491: {invalidRequest, bad, "", "Invalid size or form of the Code_Challenge parameter."},
	501661: {invalidRequest, bad, "", "Request to External OIDC endpoint failed: %s"},

	53003: {invalidGrant, bad, "message_only", "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance."},

	54005: {invalidGrant, bad, "", "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an existing refresh token."},

	65001:  {invalidGrant, bad, "consent_required", "The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource."},
	65004:  {accessDenied, bad, "", "User declined to consent to access the app."},
	650052: {invalidResource, bad, "", "The app is trying to access a service '%s' that your organization '%s' lacks a service principal for. Contact your IT Admin to review the configuration of your service subscriptions or consent to the application in order to create the required service principal."},
	650056: {invalidClient, bad, "", "Misconfigured application. The application '%s' (%s) asks for consent to the permissions of its registration, and its registration lists none."},
	650057: {invalidResource, bad, "", "Invalid resource. The client has requested access to a resource which is not listed in the requested permissions in the client's application registration. Client app ID: %s. Resource value from request: %s."},
	650053: {invalidClient, bad, "", "The application '%s' asked for scope '%s' that doesn't exist on the resource '%s'. Contact the app vendor."},

	70000: {invalidGrant, bad, "", "Provided grant is invalid or malformed: %s"},
	70003: {"unsupported_grant_type", bad, "", "The app requested an unsupported grant type '%s'."},
	70005: {"unsupported_response_type", bad, "", "The app requested an unsupported response type '%s'."},
	70007: {invalidRequest, bad, "", "'%s' is not a supported value of 'response_mode' for the response type '%s'."},
	70008: {invalidGrant, bad, "", "The provided authorization code or refresh token has expired due to inactivity. Send a new interactive authorization request for this user and resource."},
	70011: {invalidScope, bad, "", "The provided request must include a 'scope' input parameter. The provided value for the input parameter 'scope' is not valid. The scope %s is not valid."},
	70016: {"authorization_pending", bad, "", "OAuth 2.0 device flow error. Authorization is pending. Continue polling."},
	70018: {"bad_verification_code", bad, "", "Invalid verification code due to User typing in wrong user code for device code flow. Authorization is not approved."},
	70019: {"expired_token", bad, "", "Verification code expired."},
	70020: {"expired_token", bad, "", "The provided value for the input parameter 'device_code' is not valid. This device code has expired."},
	70025: {invalidClient, unauth, "", "The client '%s'(%s) has no configured federated identity credentials."},

	700016:  {unauthorizedClient, bad, "", "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant."},
	700021:  {invalidClient, unauth, "", "Client assertion application identifier doesn't match 'client_id' parameter."},
	700022:  {invalidRequest, bad, "", "The provided value for the input parameter scope is not valid because it contains more than one resource."},
	700023:  {invalidClient, unauth, "", "Client assertion audience claim does not match Realm issuer. Review the documentation at https://learn.microsoft.com/entra/identity-platform/certificate-credentials."},
	700024:  {invalidClient, unauth, "", "Client assertion is not within its valid time range. Current time: %s, expiry time of assertion %s."},
	700025:  {invalidClient, unauth, "", "Client is public so neither 'client_assertion' nor 'client_secret' should be presented."},
	700027:  {invalidClient, unauth, "", "The certificate with identifier used to sign the client assertion is not registered on application, or the signature failed. [Reason - %s]"},
	700030:  {invalidClient, unauth, "", "Invalid certificate - subject name in certificate is not authorized. SubjectNames/SubjectAlternativeNames (up to 10) in token certificate are: %s."},
	700051:  {"unsupported_response_type", bad, "", "response_type 'token' is not enabled for the application."},
	700054:  {"unsupported_response_type", bad, "", "response_type 'id_token' is not enabled for the application."},
	700082:  {invalidGrant, bad, "bad_token", "The refresh token has expired due to inactivity. The token was issued on %s and was inactive for %s."},
	700084:  {invalidGrant, bad, "bad_token", "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited lifetime of 1.00:00:00, which cannot be extended. It is now expired and a new sign in request must be sent by the SPA to the sign in page. The token was issued on %s."},
	700211:  {invalidRequest, bad, "", "No matching federated identity record found for presented assertion issuer '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"},
	700212:  {invalidRequest, bad, "", "No matching federated identity record found for presented assertion audience '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"},
	700213:  {invalidRequest, bad, "", "No matching federated identity record found for presented assertion subject '%s'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"},
	700222:  {invalidRequest, bad, "", "AAD-issued tokens may not be used for federated identity flows."},
	700229:  {invalidClient, unauth, "", "Only app tokens can be used as Federated Identity Credentials for AAD issuer."},
	7002137: {invalidRequest, bad, "", "No matching federated identity record found for presented assertion %s '%s'. The claims matching expression of the federated identity credential is not met. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identities-flexible-federated-identity-credentials"},
	7002138: {invalidRequest, bad, "", "No matching federated identity record found for presented assertion %s '%s'. The %s matches with case-insensitive comparison, but not with case-sensitive comparison. Check your federated identity credential Subject, Audience and Issuer against the presented assertion. https://learn.microsoft.com/entra/workload-id/workload-identity-federation"},

	7000112: {unauthorizedClient, bad, "", "Application '%s'(%s) is disabled."},
	7000113: {invalidGrant, bad, "", "Application '%s' is not authorized to make application on-behalf-of calls: the assertion is an app-only token."},
	7000114: {unauthorizedClient, bad, "", "Application '%s' is not allowed to make on-behalf-of calls."},
	7000215: {invalidClient, unauth, "", "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'."},
	7000218: {invalidClient, unauth, "", "The request body must contain the following parameter: 'client_assertion' or 'client_secret'."},
	7000222: {invalidClient, unauth, "", "The provided client secret keys for app '%s' are expired. Visit the app registration to create new keys, or consider using certificate credentials for added security."},
	1002012: {invalidScope, bad, "", "The provided value for scope %s is not valid. Client credential flows must have a scope value with /.default suffixed to the resource identifier (application ID URI)."},
	1000502: {invalidClient, unauth, "", "The provided certificate is not within its specified validity window. Certificate thumbprint: %s."},

	90002:   {invalidRequest, bad, "", "Tenant '%s' not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud. Check with your subscription administrator, this may happen if there are no active subscriptions for the tenant."},
	90009:   {invalidRequest, bad, "", "Application '%s'(%s) is requesting a token for itself. This scenario is supported only if resource is specified using the GUID based App Identifier."},
	90014:   {invalidRequest, bad, "", "The required field '%s' is missing from the credential. Ensure that you have all the necessary parameters for the login request."},
	90033:   {"temporarily_unavailable", http.StatusServiceUnavailable, "", "A transient error has occurred. Please try again."},
	90055:   {"temporarily_unavailable", http.StatusTooManyRequests, "", "The server is busy processing too many requests. Please try again after some time."},
	90061:   {invalidRequest, bad, "", "Request to External OIDC endpoint failed: %s"},
	90094:   {accessDenied, bad, "", "The grant requires administrator permission. Ask an administrator of the tenant to consent to the application '%s'."},
	900023:  {invalidRequest, bad, "", "Specified tenant identifier '%s' is neither a valid DNS name, nor a valid external domain."},
	900144:  {invalidRequest, bad, "", "The request body must contain the following parameter: '%s'."},
	900561:  {invalidRequest, http.StatusMethodNotAllowed, "", "The endpoint only accepts %s requests. Received a %s request."},
	900971:  {invalidRequest, bad, "", "No reply address provided."},
	901002:  {invalidRequest, bad, "", "The 'resource' request parameter is not supported."},
	9001023: {invalidRequest, bad, "", "The grant type is not supported over the /common or /consumers endpoints. Please use the /organizations or tenant-specific endpoint."},
	9002313: {invalidRequest, bad, "", "Invalid request. Request is malformed or invalid: %s"},
	9002325: {invalidRequest, bad, "", "Proof Key for Code Exchange is required for cross-origin authorization code redemption."},
	9002326: {invalidRequest, bad, "", "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type. Request origin: '%s'."},
	9002327: {invalidRequest, bad, "", "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via cross-origin requests."},
}

// Codes returns every code of the table, in no particular order.
func Codes() []Code {
	list := make([]Code, 0, len(table))
	for c := range table {
		list = append(list, c)
	}
	return list
}
