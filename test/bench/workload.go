package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/entrance-id/entrance/internal/directory"
)

// admissionsPerSecond is how many pods are created in a second while admission is
// measured: more than a busy cluster has, and far less than the API server bears.
const admissionsPerSecond = 50

// measureWorkload starts a cloud with a cluster, and measures the exchange of a
// real service account token beside the two RSA operations that it cannot do
// without, and how long a real API server takes to create a pod that is changed on
// admission, beside one that is not.
func measureWorkload(ctx context.Context, r *run) error {
	c, err := newCloud(ctx, r)
	if err != nil {
		return err
	}
	return errors.Join(c.measureWorkload(ctx), c.close())
}

func (c *cloud) measureWorkload(ctx context.Context) error {
	issuer, err := c.enableWorkload(ctx)
	if err != nil {
		return err
	}
	arm, err := c.appToken("https://management.azure.com/.default")
	if err != nil {
		return err
	}
	identity := c.status.Endpoints.ARM + "/subscriptions/" + c.status.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ManagedIdentity/userAssignedIdentities/bench"
	var made struct{ Properties struct{ ClientID string } }
	if err := c.call(ctx, http.MethodPut, identity+"?api-version=2023-01-31", arm, map[string]string{"location": "centralus"}, &made); err != nil {
		return err
	}
	if err := c.call(ctx, http.MethodPut, identity+"/federatedIdentityCredentials/bench?api-version=2023-01-31", arm, map[string]any{
		"properties": map[string]any{"issuer": issuer, "subject": "system:serviceaccount:default:app", "audiences": []string{"api://AzureADTokenExchange"}},
	}, nil); err != nil {
		return err
	}
	k, err := c.admin(ctx)
	if err != nil {
		return err
	}
	if _, err := k.post(ctx, "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"app","annotations":{"azure.workload.identity/client-id":"`+made.Properties.ClientID+`"}}}`); err != nil {
		return err
	}
	raw, err := k.post(ctx, "/api/v1/namespaces/default/serviceaccounts/app/token", `{"spec":{"audiences":["api://AzureADTokenExchange"]}}`)
	if err != nil {
		return err
	}
	var request struct{ Status struct{ Token string } }
	if err := json.Unmarshal(raw, &request); err != nil {
		return err
	}
	exchange := &shot{client: c.client(nil), url: c.tokenURL(), status: http.StatusOK, contain: "access_token",
		header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, bodies: [][]byte{[]byte(url.Values{
			"grant_type": {"client_credentials"}, "client_id": {made.Properties.ClientID}, "scope": {string(directory.AKSServer) + "/.default"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, "client_assertion": {request.Status.Token},
		}.Encode())}}
	pair, err := rawVerifyAndSign()
	if err != nil {
		return err
	}
	got, err := turns(ctx, pair, func() (float64, error) { return exchange.rate(ctx) })
	if err != nil {
		return err
	}
	c.run.add("workloadidentity/raw-verify-and-sign-rate", got[0], "1/s")
	c.run.against("workloadidentity/exchange-rate", got[1], "1/s", got[0])
	took, err := exchange.latencies(ctx, got[1]/2, 2*time.Second)
	if err != nil {
		return err
	}
	c.run.add("workloadidentity/exchange-p50-half-load", quantile(took, 0.5), "ms")
	c.run.add("workloadidentity/exchange-p99-half-load", quantile(took, 0.99), "ms")
	return c.measureAdmission(ctx, k)
}

// measureAdmission measures the creation of pods, as a dry run: everything but the
// write to etcd.
func (c *cloud) measureAdmission(ctx context.Context, k *api) error {
	pod := func(label, contain string) *shot {
		return &shot{client: k.http, url: k.base + "/api/v1/namespaces/default/pods?dryRun=All", status: http.StatusCreated, contain: contain,
			header: http.Header{"Content-Type": {"application/json"}},
			bodies: [][]byte{[]byte(`{"metadata":{"generateName":"p-","labels":{"azure.workload.identity/use":"` + label + `"}},"spec":{"serviceAccountName":"app","containers":[{"name":"a","image":"a"},{"name":"b","image":"b"}]}}`)}}
	}
	changed, plain := pod("true", "AZURE_FEDERATED_TOKEN_FILE"), pod("false", `"kind":"Pod"`)
	for range 50 { // connections, caches
		for _, s := range []*shot{changed, plain} {
			if err := s.fire(ctx, 0); err != nil {
				return err
			}
		}
	}
	var with, without []float64
	for range rounds {
		for _, m := range []struct {
			shot *shot
			into *[]float64
		}{{changed, &with}, {plain, &without}} {
			took, err := m.shot.latencies(ctx, admissionsPerSecond, 2*time.Second)
			if err != nil {
				return err
			}
			*m.into = append(*m.into, took...)
		}
	}
	for _, q := range []struct {
		name string
		q    float64
	}{{"p50", 0.5}, {"p99", 0.99}} {
		c.run.against("workloadidentity/admission-"+q.name, quantile(with, q.q), "ms", quantile(without, q.q))
	}
	return nil
}

// enableWorkload switches the issuer and workload identity of the sample's cluster
// on, and returns the issuer.
func (c *cloud) enableWorkload(ctx context.Context) (string, error) {
	token, err := c.appToken("https://management.azure.com/.default")
	if err != nil {
		return "", err
	}
	id := c.status.Endpoints.ARM + "/subscriptions/" + c.status.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/sample?api-version=2025-03-01"
	var doc map[string]any
	if err := c.call(ctx, http.MethodGet, id, token, nil, &doc); err != nil {
		return "", err
	}
	properties, _ := doc["properties"].(map[string]any)
	if properties == nil {
		return "", fmt.Errorf("the cluster has no properties")
	}
	properties["oidcIssuerProfile"] = map[string]any{"enabled": true}
	properties["securityProfile"] = map[string]any{"workloadIdentity": map[string]any{"enabled": true}}
	if err := c.call(ctx, http.MethodPut, id, token, doc, nil); err != nil {
		return "", err
	}
	for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		var now struct {
			Properties struct {
				ProvisioningState string
				OIDCIssuerProfile struct{ IssuerURL string }
			}
		}
		if err := c.call(ctx, http.MethodGet, id, token, nil, &now); err != nil {
			return "", err
		}
		switch state := now.Properties.ProvisioningState; {
		case state == "Succeeded":
			return now.Properties.OIDCIssuerProfile.IssuerURL, nil
		case state == "Failed" || time.Since(start) > 2*time.Minute:
			return "", fmt.Errorf("the cluster is in state %q after %v", state, time.Since(start))
		}
	}
}

// admin reaches the sample's cluster with every right on it.
func (c *cloud) admin(ctx context.Context) (*api, error) {
	file := filepath.Join(c.home, "admin.kubeconfig")
	if _, err := c.entrance(ctx, "aks", "get-credentials", "--data-dir", c.data(), "-g", "sample", "-n", "sample", "--admin", "--file", file); err != nil {
		return nil, err
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return nil, err
	}
	for _, k := range config.Clusters {
		for _, u := range config.AuthInfos {
			certificate, err := tls.X509KeyPair(u.ClientCertificateData, u.ClientKeyData)
			if err != nil {
				return nil, err
			}
			pool := x509.NewCertPool()
			pool.AppendCertsFromPEM(k.CertificateAuthorityData)
			return &api{&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
				TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{certificate}}, ForceAttemptHTTP2: true,
			}}, k.Server}, nil
		}
	}
	return nil, fmt.Errorf("the administrator's kubeconfig has no cluster or no user")
}

func (a *api) post(ctx context.Context, path, body string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: HTTP %d: %.300s", path, res.StatusCode, raw)
	}
	return raw, err
}

// rawVerifyAndSign returns how many pairs of an RS256 verification and a signature
// this machine makes in a second on all its cores with nothing around them: what
// an exchange cannot do without.
func rawVerifyAndSign() (func() (float64, error), error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte("a token"))
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		return nil, err
	}
	return func() (float64, error) {
		return parallel(runtime.GOMAXPROCS(0), roundTime, func(int) error {
			if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
				return err
			}
			_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
			return err
		})
	}, nil
}
