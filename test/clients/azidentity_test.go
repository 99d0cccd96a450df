package clients

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/test/clients/harness"
)

const (
	aks      = string(directory.AKSServer)
	aksScope = aks + "/.default"
)

// asPublicCloud is a transport to the cloud for every host, as behind the
// interception proxy: the clients keep their built-in addresses.
func asPublicCloud(c *harness.Cloud) *http.Client {
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, c.Server.Listener.Addr().String())
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, TLSClientConfig: &tls.Config{RootCAs: c.Certificates()}}}
}

// places are the ways in which a client reaches the cloud.
func places(c *harness.Cloud) map[string]azcore.ClientOptions {
	return map[string]azcore.ClientOptions{
		"own address":  {Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: c.URL}, Transport: asPublicCloud(c)},
		"public cloud": {Cloud: cloud.AzurePublic, Transport: asPublicCloud(c)},
	}
}

func get(t *testing.T, cred azcore.TokenCredential, scopes ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tok, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: scopes, EnableCAE: true})
	if err != nil {
		t.Fatal(err)
	}
	if time.Until(tok.ExpiresOn) < 10*time.Minute {
		t.Errorf("the token ends at %v", tok.ExpiresOn)
	}
	return tok.Token
}

func selfSigned(t testing.TB) (*x509.Certificate, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "ci"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func TestAzidentityApplications(t *testing.T) {
	c := harness.Start(t)
	cert, key := selfSigned(t)
	const issuer = "https://issuer.example"
	app, sp := c.AddApp("CI", func(a *directory.Application) {
		a.Credentials.Passwords = []directory.Password{c.Secret("ci-secret~with/odd+chars=")}
		a.Credentials.Keys = []directory.KeyCredential{{KeyID: "k", Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw, Start: cert.NotBefore, End: cert.NotAfter}}
		a.Credentials.Federated = []directory.FederatedCredential{{ID: "f", Name: "f", Issuer: issuer, Subject: "system:serviceaccount:ns:sa", Audiences: []string{"api://AzureADTokenExchange"}}}
	})
	c.Issuers.Keyed[issuer] = map[token.KeyID]token.PublicKey{"k1": {Key: &key.PublicKey}}
	federated := sign(t, key, map[string]any{"alg": "RS256", "kid": "k1"}, map[string]any{
		"iss": issuer, "sub": "system:serviceaccount:ns:sa", "aud": "api://AzureADTokenExchange", "iat": time.Now().Unix(), "nbf": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
	})
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(federated), 0o600); err != nil {
		t.Fatal(err)
	}
	for place, o := range places(c) {
		// Discovery of the instance is only skipped where the address is not
		// one that the library knows.
		off := place == "own address"
		for name, make := range map[string]func() (azcore.TokenCredential, error){
			"secret": func() (azcore.TokenCredential, error) {
				return azidentity.NewClientSecretCredential(string(c.Tenant.ID), string(app.AppID), "ci-secret~with/odd+chars=", &azidentity.ClientSecretCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: off})
			},
			"certificate": func() (azcore.TokenCredential, error) {
				return azidentity.NewClientCertificateCredential(string(c.Tenant.ID), string(app.AppID), []*x509.Certificate{cert}, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: off})
			},
			"certificate chain": func() (azcore.TokenCredential, error) {
				return azidentity.NewClientCertificateCredential(string(c.Tenant.ID), string(app.AppID), []*x509.Certificate{cert}, key, &azidentity.ClientCertificateCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: off, SendCertificateChain: true})
			},
			"assertion": func() (azcore.TokenCredential, error) {
				return azidentity.NewClientAssertionCredential(string(c.Tenant.ID), string(app.AppID), func(context.Context) (string, error) { return federated, nil }, &azidentity.ClientAssertionCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: off})
			},
			"workload identity": func() (azcore.TokenCredential, error) {
				return azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: off, ClientID: string(app.AppID), TenantID: string(c.Tenant.ID), TokenFilePath: file})
			},
		} {
			t.Run(place+"/"+name, func(t *testing.T) {
				completes(t, azidentityGo, name+", "+place)
				cred, err := make()
				if err != nil {
					t.Fatal(err)
				}
				claims := c.Verify(get(t, cred, aksScope), aks)
				if claims.Object != sp.ID {
					t.Errorf("token for %s", claims.Object)
				}
				// The same credential for another resource: the library keeps
				// and reuses what it can.
				c.Verify(get(t, cred, "https://management.azure.com/.default"), "https://management.azure.com")
			})
		}
	}
}

// signInWithCode does what the message of a device code says.
func signInWithCode(c *harness.Cloud, code string) {
	c.T.Helper()
	c.Browser().Get("/devicelogin").Submit(map[string]string{"otc": code}).SignIn("ann@contoso.example").On("device").Submit(map[string]string{"answer": "continue"}).On("done")
}

func TestAzidentityPeople(t *testing.T) {
	c := harness.Start(t)
	for place, o := range places(c) {
		off := place == "own address"
		t.Run(place+"/device code", func(t *testing.T) {
			completes(t, azidentityGo, "device code and refresh, "+place)
			cred, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
				ClientOptions: o, DisableInstanceDiscovery: off, TenantID: string(c.Tenant.ID), ClientID: string(directory.AKSClient),
				UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
					if !strings.Contains(m.Message, c.URL+"/devicelogin") {
						t.Errorf("message: %s", m.Message)
					}
					signInWithCode(c, m.UserCode)
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if claims := c.Verify(get(t, cred, aksScope), aks); claims.Object != c.User.ID || claims.Scope != "user.read" {
				t.Errorf("claims: %+v", claims)
			}
			// Silently, by the refresh token, for another resource.
			c.Verify(get(t, cred, "https://management.azure.com/.default"), "https://management.azure.com")
		})
		t.Run(place+"/password", func(t *testing.T) {
			completes(t, azidentityGo, "user name and password, "+place)
			//lint:ignore SA1019 people still use it, and so does kubelogin
			cred, err := azidentity.NewUsernamePasswordCredential(string(c.Tenant.ID), string(directory.AKSClient), "ann@contoso.example", harness.Password, &azidentity.UsernamePasswordCredentialOptions{ClientOptions: o, DisableInstanceDiscovery: off})
			if err != nil {
				t.Fatal(err)
			}
			c.Verify(get(t, cred, aksScope), aks)
		})
	}
}

// TestMSALInteractive signs in as MSAL does with a browser: PKCE, a loopback
// address with a free port, the answer as a form.
func TestMSALInteractive(t *testing.T) {
	c := harness.Start(t)
	for place, authority := range map[string]string{"own address": c.URL + "/" + string(c.Tenant.ID), "public cloud": "https://login.microsoftonline.com/organizations"} {
		t.Run(place, func(t *testing.T) {
			completes(t, msalGo, "authorization code with PKCE, refresh, claims challenge, "+place)
			client, err := public.New(string(directory.AzureCLI), public.WithAuthority(authority), public.WithHTTPClient(asPublicCloud(c)), public.WithInstanceDiscovery(!strings.HasPrefix(authority, c.URL)), public.WithClientCapabilities([]string{"cp1"}))
			if err != nil {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			defer cancel()
			r, err := client.AcquireTokenInteractive(ctx, []string{"https://graph.microsoft.com/.default"}, public.WithLoginHint("ann@contoso.example"), public.WithOpenURL(func(url string) error {
				wg.Go(func() {
					// The page of the public cloud's address, in the browser,
					// is served under the public base URL.
					b := c.Browser().Get(strings.Replace(url, "https://login.microsoftonline.com", c.URL, 1)).SignIn("ann@contoso.example")
					answer(t, b)
				})
				return nil
			}))
			wg.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if r.IDToken.PreferredUsername != "ann@contoso.example" || r.Account.HomeAccountID != string(c.User.ID)+"."+string(c.Tenant.ID) {
				t.Errorf("result: %+v", r)
			}
			accounts, err := client.Accounts(ctx)
			if err != nil || len(accounts) != 1 {
				t.Fatalf("accounts: %v, %v", accounts, err)
			}
			s, err := client.AcquireTokenSilent(ctx, []string{aksScope}, public.WithSilentAccount(accounts[0]))
			if err != nil {
				t.Fatal(err)
			}
			c.Verify(s.AccessToken, aks)
			// A claims challenge bypasses the cache and goes through.
			if _, err := client.AcquireTokenSilent(ctx, []string{aksScope}, public.WithSilentAccount(accounts[0]), public.WithClaims(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`)); err != nil {
				t.Errorf("with a claims challenge: %v", err)
			}
		})
	}
}

// answer delivers what a browser would: the query of a redirect, or the form of
// a page that sends itself.
func answer(t *testing.T, b *harness.Browser) {
	to, body := "", ""
	if b.Left != nil {
		to = b.Left.String()
	} else {
		f := b.On("post").Form()
		to, body = f.Action, f.Fields.Encode()
	}
	var resp *http.Response
	var err error
	if body != "" {
		resp, err = http.Post(to, "application/x-www-form-urlencoded", strings.NewReader(body))
	} else {
		resp, err = http.Get(to)
	}
	if err != nil {
		t.Error(err)
		return
	}
	resp.Body.Close()
}

// TestMSALConfidential redeems a code and acts on behalf of a person, with a
// certificate.
func TestMSALConfidential(t *testing.T) {
	completes(t, msalGo, "authorization code with a secret; on-behalf-of with a certificate")
	c := harness.Start(t)
	cert, key := selfSigned(t)
	api, apiSP := c.AddApp("Orders", func(a *directory.Application) {
		a.IdentifierURIs = []string{"api://orders"}
		a.API.Scopes = []directory.Scope{{ID: directory.NewGUID(), Value: "Read", Type: "User", Enabled: true, UserConsentName: "Read orders"}}
		a.Web.RedirectURIs = []string{"https://orders.example/cb"}
		a.Credentials.Keys = []directory.KeyCredential{{KeyID: "k", Type: "AsymmetricX509Cert", Usage: "Verify", Key: cert.Raw, Start: cert.NotBefore, End: cert.NotAfter}}
	})
	web, webSP := c.AddApp("Web", func(a *directory.Application) {
		a.Web.RedirectURIs = []string{"https://web.example/cb"}
		a.Credentials.Passwords = []directory.Password{c.Secret("web-secret")}
	})
	c.Update(func(tx *store.Tx) error {
		graph, err := state.FindServicePrincipal(tx, c.Tenant.ID, directory.Graph)
		if err != nil {
			return err
		}
		if err := state.Consent(tx, c.Tenant.ID, apiSP.ID, graph.ID, "", []string{"User.Read"}); err != nil {
			return err
		}
		return state.Consent(tx, c.Tenant.ID, webSP.ID, apiSP.ID, "", []string{"Read"})
	})
	authority := c.URL + "/" + string(c.Tenant.ID)
	secret, err := confidential.NewCredFromSecret("web-secret")
	if err != nil {
		t.Fatal(err)
	}
	client, err := confidential.New(authority, string(web.AppID), secret, confidential.WithHTTPClient(asPublicCloud(c)), confidential.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	url, err := client.AuthCodeURL(ctx, string(web.AppID), "https://web.example/cb", []string{"api://orders/Read"})
	if err != nil {
		t.Fatal(err)
	}
	code := c.Browser().Get(url).SignIn("ann@contoso.example").Answer().Get("code")
	r, err := client.AcquireTokenByAuthCode(ctx, code, "https://web.example/cb", []string{"api://orders/Read"})
	if err != nil {
		t.Fatal(err)
	}
	c.Verify(r.AccessToken, "api://orders")

	credential, err := confidential.NewCredFromCert([]*x509.Certificate{cert}, key)
	if err != nil {
		t.Fatal(err)
	}
	middle, err := confidential.New(authority, string(api.AppID), credential, confidential.WithHTTPClient(asPublicCloud(c)), confidential.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	o, err := middle.AcquireTokenOnBehalfOf(ctx, r.AccessToken, []string{"https://graph.microsoft.com/User.Read"})
	if err != nil {
		t.Fatal(err)
	}
	v := &token.Verifier{Keys: c.Trust, Audiences: []string{"https://graph.microsoft.com"}, Graph: true}
	claims, err := v.Verify(o.AccessToken, c.Clock.Now())
	if err != nil || claims.Object != c.User.ID || claims.Scope != "User.Read" || claims.ClientID() != api.AppID {
		t.Errorf("claims: %+v, %v", claims, err)
	}
	if _, err := azidentity.NewOnBehalfOfCredentialWithCertificate(string(c.Tenant.ID), string(api.AppID), r.AccessToken, []*x509.Certificate{cert}, key, nil); err != nil {
		t.Error(err)
	}
}

// TestAzidentityErrors shows that the library reads our refusals as Entra's.
func TestAzidentityErrors(t *testing.T) {
	completes(t, azidentityGo, "reads a refusal (AADSTS code and status)")
	c := harness.Start(t)
	app, _ := c.AddApp("CI", func(a *directory.Application) { a.Credentials.Passwords = []directory.Password{c.Secret("ci-secret")} })
	cred, err := azidentity.NewClientSecretCredential(string(c.Tenant.ID), string(app.AppID), "wrong", &azidentity.ClientSecretCredentialOptions{ClientOptions: places(c)["own address"], DisableInstanceDiscovery: true})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cred.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{aksScope}})
	if err == nil || !strings.Contains(err.Error(), "AADSTS7000215") || !strings.Contains(err.Error(), "401") {
		t.Errorf("error: %v", err)
	}
}

// sign makes a JWT.
func sign(t testing.TB, key *rsa.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	return signed(t, key, mustJSON(t, header), mustJSON(t, claims))
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := json.NewEncoder(&b).Encode(v); err != nil {
		t.Fatal(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
