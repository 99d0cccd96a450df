package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/entrance-id/entrance/internal/directory"
)

// measureCluster starts a cloud with a cluster, makes a second one with Azure
// RBAC in it, and measures how long a change in the directory or of a role
// takes until the API server answers otherwise, with the same token.
func measureCluster(ctx context.Context, r *run) error {
	home, err := os.MkdirTemp("", "entrance-bench-")
	if err != nil {
		return err
	}
	c := &cloud{run: r, home: home}
	first, err := c.up(ctx)
	if err != nil {
		return errors.Join(err, c.close())
	}
	r.add("cluster/first", first.Seconds(), "s")
	return errors.Join(c.measureCluster(ctx), c.close())
}

func (c *cloud) measureCluster(ctx context.Context) error {
	arm, err := c.appToken("https://management.azure.com/.default")
	if err != nil {
		return err
	}
	graph, err := c.appToken("https://graph.microsoft.com/.default")
	if err != nil {
		return err
	}
	scope := c.status.Endpoints.ARM + "/subscriptions/" + c.status.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.ContainerService/managedClusters/second"
	const version = "?api-version=2024-09-01"
	start := time.Now()
	if err := c.call(ctx, http.MethodPut, scope+version, arm, map[string]any{
		"location": "westeurope", "identity": map[string]any{"type": "SystemAssigned"},
		"properties": map[string]any{
			"dnsPrefix": "second", "aadProfile": map[string]any{"managed": true, "enableAzureRBAC": true},
			"agentPoolProfiles": []any{map[string]any{"name": "nodepool1", "count": 1, "vmSize": "Standard_DS2_v2", "mode": "System"}},
		},
	}, nil); err != nil {
		return err
	}
	for state := ""; state != "Succeeded"; time.Sleep(20 * time.Millisecond) {
		var doc struct {
			Properties struct {
				State string `json:"provisioningState"`
			} `json:"properties"`
		}
		if err := c.call(ctx, http.MethodGet, scope+version, arm, nil, &doc); err != nil {
			return err
		}
		if state = doc.Properties.State; state == "Failed" || time.Since(start) > 2*time.Minute {
			return fmt.Errorf("the second cluster is in state %q after %v", state, time.Since(start))
		}
	}
	c.run.add("cluster/second", time.Since(start).Seconds(), "s")

	var groups struct {
		Value []struct {
			ID string `json:"id"`
		} `json:"value"`
	}
	base := c.status.Endpoints.Graph + "/v1.0"
	if err := c.call(ctx, http.MethodGet, base+"/groups?$filter=displayName%20eq%20'aks-admins'", graph, nil, &groups); err != nil {
		return err
	}
	if len(groups.Value) != 1 {
		return fmt.Errorf("%d groups are called aks-admins", len(groups.Value))
	}
	sample, err := c.api(ctx, "sample")
	if err != nil {
		return err
	}
	second, err := c.api(ctx, "second")
	if err != nil {
		return err
	}
	sp := c.people.ServicePrincipal
	token, err := c.appToken(string(directory.AKSServer) + "/.default")
	if err != nil {
		return err
	}
	members := base + "/groups/" + groups.Value[0].ID + "/members/"
	name := ""
	changes := []struct {
		name string
		api  *api
		path string
		want int
		do   func() error
	}{
		{"admin-group-added-to-allowed", sample, "/api/v1/nodes", http.StatusOK, func() error {
			return c.call(ctx, http.MethodPost, members+"$ref", graph, map[string]string{"@odata.id": base + "/directoryObjects/" + string(sp.ObjectID)}, nil)
		}},
		{"admin-group-removed-to-refused", sample, "/api/v1/nodes", http.StatusForbidden, func() error {
			return c.call(ctx, http.MethodDelete, members+string(sp.ObjectID)+"/$ref", graph, nil, nil)
		}},
		{"role-assigned-to-allowed", second, "/api/v1/namespaces/default/pods", http.StatusOK, func() error {
			name = directory.NewGUID()
			return c.assign(ctx, arm, scope, rbacReader, string(sp.ObjectID), name)
		}},
		{"role-unassigned-to-refused", second, "/api/v1/namespaces/default/pods", http.StatusForbidden, func() error {
			return c.call(ctx, http.MethodDelete, scope+"/providers/Microsoft.Authorization/roleAssignments/"+name+"?api-version=2022-04-01", arm, nil, nil)
		}},
	}
	took := make([][]float64, len(changes))
	for range 5 {
		for i, x := range changes {
			d, err := x.api.until(ctx, token, x.path, x.want, x.do)
			if err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
			took[i] = append(took[i], d.Seconds())
		}
	}
	for i, x := range changes {
		c.run.add("cluster/"+x.name, median(took[i]), "s")
	}
	return nil
}

// api is a cluster's API server.
type api struct {
	http *http.Client
	base string
}

// api reaches a cluster as its kubeconfig says.
func (c *cloud) api(ctx context.Context, name string) (*api, error) {
	file := filepath.Join(c.home, name+".kubeconfig")
	if _, err := c.entrance(ctx, "aks", "get-credentials", "--data-dir", c.data(), "-g", "sample", "-n", name, "--file", file); err != nil {
		return nil, err
	}
	config, err := clientcmd.LoadFromFile(file)
	if err != nil {
		return nil, err
	}
	for _, k := range config.Clusters {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(k.CertificateAuthorityData)
		return &api{&http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}, k.Server}, nil
	}
	return nil, fmt.Errorf("the kubeconfig of %s has no cluster", name)
}

// until makes a change and asks the API server every 10 ms what kubectl would
// ask, until the answer is as wanted. The time runs from when the change was
// sent.
func (a *api) until(ctx context.Context, token, path string, want int, change func() error) (time.Duration, error) {
	// The token is in use already, as it is after a user's first command.
	if code, err := a.get(ctx, token, path); err != nil || code == want {
		return 0, errors.Join(err, fmt.Errorf("before the change the answer is HTTP %d", code))
	}
	start := time.Now()
	if err := change(); err != nil {
		return 0, err
	}
	for {
		code, err := a.get(ctx, token, path)
		if err != nil {
			return 0, err
		}
		if code == want {
			return time.Since(start), nil
		}
		if time.Since(start) > 30*time.Second {
			return 0, fmt.Errorf("still HTTP %d after 30 s", code)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (a *api) get(ctx context.Context, token, path string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+path, nil)
	if err != nil {
		return 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := a.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err == nil && !json.Valid(raw) {
		err = fmt.Errorf("HTTP %d and no JSON", res.StatusCode)
	}
	return res.StatusCode, err
}
