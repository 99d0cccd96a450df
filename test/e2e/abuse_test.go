package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrance-id/entrance/entrancetest"
)

// rbacReader is the role Azure Kubernetes Service RBAC Reader.
const rbacReader = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"

// TestAbuse tries on a real cluster what must not get anybody in: abuse cases
// 11, 13, 31, 32 and 36.
func TestAbuse(t *testing.T) {
	cloud := entrancetest.Start(t)
	victim := cloud.AddUser(t, "victim")
	mallory := cloud.AddUser(t, "mallory")
	k := cloud.StartCluster(t, entrancetest.ClusterOptions{AzureRBAC: true, AdminGroups: []string{cloud.AddGroup(t, "admins", victim.ID).ID}})
	token := cloud.UserToken(t, mallory, cloud.AKSScope())

	t.Run("11 tokens for something else", func(t *testing.T) {
		if out, err := k.Kubectl(t, cloud.UserToken(t, victim, cloud.AKSScope()), "get", "nodes"); err != nil {
			t.Fatalf("the right token: %v\n%s", err, out)
		}
		res, err := cloud.Client.PostForm(cloud.URL+"/"+cloud.TenantID+"/oauth2/v2.0/token", url.Values{
			"grant_type": {"password"}, "client_id": {"04b07795-8ddb-461a-bbee-02f9e1bf7b46"}, "username": {victim.UserPrincipalName}, "password": {victim.Password},
			"scope": {"openid profile offline_access " + cloud.AKSScope()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct {
			ID      string `json:"id_token"`
			Refresh string `json:"refresh_token"`
		}
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.ID == "" || answer.Refresh == "" {
			t.Fatalf("sign-in: %v, id token %v, refresh token %v", err, answer.ID != "", answer.Refresh != "")
		}
		for name, wrong := range map[string]string{
			"ID token": answer.ID, "refresh token": answer.Refresh,
			"Graph": cloud.UserToken(t, victim, cloud.GraphScope()), "Resource Manager": cloud.UserToken(t, victim, cloud.ARMScope()),
		} {
			if out, err := k.Kubectl(t, wrong, "get", "nodes"); err == nil || !strings.Contains(out, "Unauthorized") {
				t.Errorf("%s: %v\n%s", name, err, out)
			}
		}
	})

	t.Run("13 names are no identity", func(t *testing.T) {
		cloud.Graph(t, http.MethodPatch, "/users/"+mallory.ID, map[string]any{"displayName": victim.UserPrincipalName, "mail": victim.UserPrincipalName}, nil)
		out, err := k.Kubectl(t, cloud.UserToken(t, mallory, cloud.AKSScope()), "auth", "whoami")
		if err != nil || !strings.Contains(out, mallory.ID) || strings.Contains(out, victim.UserPrincipalName) {
			t.Errorf("whoami: %v\n%s", err, out)
		}
		if out, err := k.Kubectl(t, cloud.UserToken(t, mallory, cloud.AKSScope()), "get", "nodes"); err == nil {
			t.Errorf("let in by another's mail and name:\n%s", out)
		}
		req, err := http.NewRequest(http.MethodPatch, cloud.URL+"/v1.0/users/"+mallory.ID, strings.NewReader(`{"userPrincipalName":"`+strings.ToUpper(victim.UserPrincipalName)+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+cloud.AdminToken(t, cloud.GraphScope()))
		req.Header.Set("Content-Type", "application/json")
		res, err := cloud.Client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode < 400 {
			t.Errorf("a user took the victim's name in upper case: HTTP %d", res.StatusCode)
		}
	})

	t.Run("31 webhooks answer the API server alone", func(t *testing.T) {
		hook := cloud.Status().Endpoints.Webhooks
		plain, err := http.Post("http://"+strings.TrimPrefix(hook, "https://")+"/clusters/x/authenticate", "application/json", strings.NewReader("{}"))
		if err == nil {
			plain.Body.Close()
			if plain.StatusCode != http.StatusBadRequest {
				t.Errorf("plain HTTP: %d", plain.StatusCode)
			}
		}
		roots := cloud.Client.Transport.(*http.Transport).TLSClientConfig.RootCAs
		for name, certificates := range map[string][]tls.Certificate{"no certificate": nil, "an authority of one's own": {selfSigned(t)}} {
			client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{
				RootCAs: roots,
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if len(certificates) == 0 {
						return &tls.Certificate{}, nil
					}
					return &certificates[0], nil
				},
			}}}
			res, err := client.Post(hook+"/clusters/x/authenticate", "application/json", strings.NewReader("{}"))
			if err == nil {
				body, _ := io.ReadAll(res.Body)
				res.Body.Close()
				t.Errorf("%s: answered with HTTP %d: %s", name, res.StatusCode, body)
			} else if !strings.Contains(err.Error(), "tls:") {
				t.Errorf("%s: %v, want a refused handshake", name, err)
			}
		}
	})

	t.Run("32 no reserved name comes from the directory", func(t *testing.T) {
		for _, name := range []string{"system:masters", "system:nodes"} {
			cloud.AddGroup(t, name, mallory.ID)
		}
		var who struct {
			Status struct {
				UserInfo struct {
					Username string
					Groups   []string
				}
			}
		}
		out, err := k.Kubectl(t, cloud.UserToken(t, mallory, cloud.AKSScope()), "auth", "whoami", "-o", "json")
		if err == nil {
			err = json.Unmarshal([]byte(out), &who)
		}
		if err != nil || len(who.Status.UserInfo.Groups) < 1 {
			t.Fatalf("whoami: %v\n%s", err, out)
		}
		for _, g := range who.Status.UserInfo.Groups {
			if strings.HasPrefix(g, "system:") && g != "system:authenticated" {
				t.Errorf("group %s came from the directory", g)
			}
		}
		if strings.HasPrefix(who.Status.UserInfo.Username, "system:") {
			t.Errorf("user %s", who.Status.UserInfo.Username)
		}
	})

	t.Run("36 an Azure role and its end", func(t *testing.T) {
		soon := func(what string, allowed bool) {
			t.Helper()
			for end := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
				out, err := k.Kubectl(t, token, "get", "configmaps", "-n", "default")
				if (err == nil) == allowed {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("%s: %v after 5 s\n%s", what, err, out)
				}
			}
		}
		soon("before", false)
		assignment := k.ID + "/namespaces/default/providers/Microsoft.Authorization/roleAssignments/7a0f1e0c-61e5-4b0c-9c5a-0f6f0a3f6d11?api-version=2022-04-01"
		cloud.ARM(t, http.MethodPut, assignment, map[string]any{"properties": map[string]any{
			"roleDefinitionId": "/subscriptions/" + cloud.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + rbacReader,
			"principalId":      mallory.ID, "principalType": "User",
		}}, nil)
		soon("assigned", true)
		if out, err := k.Kubectl(t, token, "get", "configmaps", "-n", "kube-system"); err == nil {
			t.Errorf("the role reaches another namespace:\n%s", out)
		}
		if out, err := k.Kubectl(t, token, "create", "configmap", "x", "-n", "default"); err == nil {
			t.Errorf("a reader wrote:\n%s", out)
		}
		cloud.ARM(t, http.MethodDelete, assignment, nil, nil)
		soon("removed", false)
		for range 10 { // and it does not come back
			if out, err := k.Kubectl(t, token, "get", "configmaps", "-n", "default"); err == nil {
				t.Fatalf("let in again after the role was removed:\n%s", out)
			}
		}
	})
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kube-apiserver", Organization: []string{"x"}},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestEntranceHangs stops the process without ending it (abuse case 35): nobody
// of the directory gets in, the cluster's own administrator does, and
// everything works again when the process goes on.
func TestEntranceHangs(t *testing.T) {
	c := newCloud(t, 24490)
	c.up()
	admin := c.kubeconfig("--admin")
	ada := c.bearer(c.kubeconfig(), c.person("ada", aksScope))
	if out, err := c.kubectl(ada, nil, "get", "nodes"); err != nil {
		t.Fatalf("before: %v\n%s", err, out)
	}
	c.must(syscall.Kill(c.status.PID, syscall.SIGSTOP))
	resume := func() { syscall.Kill(c.status.PID, syscall.SIGCONT) }
	defer resume()
	if out, err := c.kubectl(admin, nil, "get", "nodes", "--request-timeout=10s"); err != nil || !strings.Contains(out, "Ready") {
		t.Errorf("the certificate of the administrator: %v\n%s", err, out)
	}
	// The API server remembers an authorizer's answer for a second. Who she is,
	// it remembers for ten: those do not help her.
	time.Sleep(2 * time.Second)
	if out, err := c.kubectl(ada, nil, "get", "nodes", "--request-timeout=15s"); err == nil {
		t.Errorf("ada is let in while nobody can say who she is:\n%s", out)
	}
	resume()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := c.kubectl(ada, nil, "get", "nodes")
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("after: %v\n%s", err, out)
		}
	}
}
