package doctor

import (
	"errors"
	"regexp"

	"github.com/entrance-id/entrance/internal/login"
)

// advice is what to do about refusals that people meet most, by AADSTS code.
var advice = map[string]string{
	"50020":   "the account is not in the cluster's tenant: ask to be invited as a guest, or sign in with another account",
	"50034":   "there is no such account in the tenant: check the user name and --tenant-id",
	"50053":   "the account is locked after too many attempts: wait, or have it unlocked",
	"50055":   "the password has expired: change it, then try again",
	"50056":   "the account has no password here: use devicecode or interactive",
	"50057":   "the account is disabled",
	"50076":   "a second factor is needed: use interactive or devicecode instead of ropc",
	"50079":   "a second factor must be registered: sign in once with a browser",
	"50105":   "the user is not assigned to the application",
	"50126":   "wrong user name or password",
	"50158":   "a further condition must be met in a browser: use interactive",
	"50173":   "the sign-in was revoked: sign in again",
	"53000":   "Conditional Access wants a compliant device: use interactive on such a device",
	"53001":   "Conditional Access wants a joined device: use interactive on such a device",
	"53003":   "Conditional Access blocks this sign-in. Many tenants block device code: try `kubelogin convert-kubeconfig -l interactive` or azurecli",
	"530003":  "Conditional Access wants a managed device: use interactive on such a device",
	"65001":   "nobody has consented to this application: an administrator must",
	"70011":   "the server id is not one that this tenant knows: check --server-id",
	"70043":   "the sign-in is too old for the tenant's policy: sign in again",
	"700016":  "there is no such client application in the tenant: check --client-id and --tenant-id",
	"700024":  "the assertion is expired or from the future: check the clock, and that the token file is renewed",
	"700025":  "the client is a public one and takes no secret: use devicecode or interactive",
	"700027":  "the certificate is not one of the application's: upload it, or use another",
	"700213":  "no federated credential of the application matches the token's issuer and subject",
	"70021":   "no federated credential of the application matches the token's issuer and subject",
	"700211":  "no federated credential of the application has the token's issuer",
	"700212":  "no federated credential of the application has the token's audience",
	"7000112": "the application is disabled in this tenant",
	"7000215": "wrong client secret. The value is needed, not the secret's id",
	"7000218": "the client needs a secret, or must be set to allow public client flows",
	"7000222": "the client secret has expired: make a new one",
	"90002":   "there is no such tenant: check --tenant-id and AZURE_TENANT_ID",
	"500011":  "the server id is not one that this tenant knows: check --server-id",
	"500113":  "the redirect URL is not one of the application's: check --redirect-url",
	"50011":   "the redirect URL is not one of the application's: check --redirect-url",
}

var aadsts = regexp.MustCompile(`AADSTS(\d+)`)

// Advice says what to do about a refusal, or nothing.
func Advice(err error) string {
	var se *login.ServerError
	if !errors.As(err, &se) {
		return ""
	}
	if m := aadsts.FindStringSubmatch(se.Description); m != nil {
		return advice[m[1]]
	}
	return ""
}
