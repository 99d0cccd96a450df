package clients

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/pquerna/otp/totp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/test/clients/harness"
)

var secretOnPage = regexp.MustCompile(`<code id="secret">([A-Z2-7 ]+)</code>`)

// signInWithFactor does what the message of a device code says, for a person of
// whom a policy now demands a second factor, and who registers one.
func signInWithFactor(c *harness.Cloud, code string) {
	c.T.Helper()
	b := c.Browser().Get("/devicelogin").Submit(map[string]string{"otc": code}).SignIn("ann@contoso.example").On("enroll")
	m := secretOnPage.FindStringSubmatch(b.Body)
	if m == nil {
		c.T.Fatalf("no key on the page: %s", b.Text())
	}
	number, err := totp.GenerateCode(strings.ReplaceAll(m[1], " ", ""), c.Clock.Now())
	if err != nil {
		c.T.Fatal(err)
	}
	b.Submit(map[string]string{"code": number}).On("device").Submit(map[string]string{"answer": "continue"}).On("done")
}

// withMFA fails the test unless a token says that a second factor was shown.
func withMFA(t *testing.T, c *harness.Cloud, raw string) {
	t.Helper()
	if claims := c.Verify(raw, aks); !slices.Contains(claims.AMR, "mfa") || claims.Object != c.User.ID {
		t.Errorf("a token for %s with amr %v, want one for %s with mfa", claims.Object, claims.AMR, c.User.ID)
	}
}

// TestAzidentityChallenge: a policy starts to demand a second factor of somebody
// who has signed in. azidentity tells the program to ask the person, and goes on.
func TestAzidentityChallenge(t *testing.T) {
	completes(t, azidentityGo, "refused by a new policy, asks the person again, recovers with a second factor")
	c := harness.Start(t)
	prompt := signInWithCode
	cred, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		ClientOptions: places(c)["own address"], DisableInstanceDiscovery: true, TenantID: string(c.Tenant.ID), ClientID: string(directory.AKSClient),
		DisableAutomaticAuthentication: true,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			prompt(c, m.UserCode)
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	other := policy.TokenRequestOptions{Scopes: []string{"https://management.azure.com/.default"}}
	if _, err := cred.Authenticate(ctx, &other); err != nil {
		t.Fatal(err)
	}
	c.Policy.Set(t, forEverybody("mfa"))
	_, err = cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{aksScope}})
	var required *azidentity.AuthenticationRequiredError
	if !errors.As(err, &required) {
		t.Fatalf("silently, after the policy: %v, want AuthenticationRequiredError", err)
	}
	prompt = signInWithFactor
	if _, err := cred.Authenticate(ctx, &required.TokenRequestOptions); err != nil {
		t.Fatal(err)
	}
	tok, err := cred.GetToken(ctx, required.TokenRequestOptions)
	if err != nil {
		t.Fatal(err)
	}
	withMFA(t, c, tok.Token)
}

// TestNodeChallenge is the same with msal-node, which hands the claims challenge
// to the program.
func TestNodeChallenge(t *testing.T) {
	completes(t, msalNode, "refused by a new policy with a claims challenge, recovers with a second factor")
	dir := nodeSuite(t)
	c := harness.Start(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, harness.CertificatePEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	settings := mustJSON(t, map[string]any{
		"authority": c.URL + "/" + string(c.Tenant.ID), "host": c.URL, "tenant": c.Tenant.ID, "scope": aksScope, "other": "https://management.azure.com/.default",
		"public": directory.AKSClient, "daemon": map[string]any{},
	})
	prompts, prompt := 0, signInWithCode
	withMFA(t, c, nodeRun(t, c, dir, ca, settings, "msal-node claims challenge", person{
		code: func(code string) { prompts++; prompt(c, code) },
		signedIn: func() {
			c.Policy.Set(t, forEverybody("mfa"))
			prompt = signInWithFactor
		},
	}))
	if prompts != 2 {
		t.Errorf("the person was asked %d times, want 2", prompts)
	}
}

// TestAzChallenge: az says what to type, and that works.
func TestAzChallenge(t *testing.T) {
	completes(t, azureCLI, "refused by a new policy, says what to do, recovers with a second factor")
	w := newAzWorld(t)
	s := w.shell(t)
	s.run(nil, "login", "--allow-no-subscriptions", "--username", "ann@contoso.example", "--password", harness.Password, "--output", "none")
	w.Policy.Set(t, forEverybody("mfa"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// 50079: a second factor is demanded, and none is registered.
	cmd := exec.CommandContext(ctx, "az", "account", "get-access-token", "--resource", aks)
	cmd.Env = s.env
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err == nil || !strings.Contains(said.String(), "AADSTS50079") || !strings.Contains(said.String(), "az login --scope "+aks+"/.default") {
		t.Errorf("az after the policy: %v\n%s", err, said.String())
	}
	s.run(func(line string) {
		if m := userCode.FindStringSubmatch(line); m != nil {
			signInWithFactor(w.Cloud, m[1])
		}
	}, "login", "--use-device-code", "--allow-no-subscriptions", "--scope", aks+"/.default", "--output", "none")
	s.is(w.User.ID)
}
