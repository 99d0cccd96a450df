package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/server"
)

func seconds(list []time.Duration) float64 {
	var s []float64
	for _, d := range list {
		s = append(s, d.Seconds())
	}
	return median(s)
}

// measureServer starts a cloud without a cluster again and again: in an empty
// directory, and in one that has it.
func measureServer(ctx context.Context, r *run) error {
	var cold, warm []time.Duration
	var memory []float64
	for range 5 {
		if err := func() error {
			home, err := os.MkdirTemp("", "entrance-bench-")
			if err != nil {
				return err
			}
			c := &cloud{run: r, home: home}
			first, err := c.up(ctx, "--no-cluster")
			if err != nil {
				return errors.Join(err, c.close())
			}
			if err := c.down(ctx); err != nil {
				return errors.Join(err, c.close())
			}
			second, err := c.up(ctx, "--no-cluster")
			if err != nil {
				return errors.Join(err, c.close())
			}
			m, err := c.memory()
			cold, warm, memory = append(cold, first), append(warm, second), append(memory, m)
			return errors.Join(err, c.close())
		}(); err != nil {
			return err
		}
	}
	r.add("server/start-cold", seconds(cold), "s")
	r.add("server/start-warm", seconds(warm), "s")
	r.add("server/memory", median(memory), "MiB")
	return nil
}

// measureOAuth measures the token endpoint over HTTP beside the signature that
// each token needs.
func measureOAuth(ctx context.Context, r *run) error {
	c, err := newCloud(ctx, r, "--no-cluster")
	if err != nil {
		return err
	}
	return errors.Join(c.measureOAuth(ctx), c.close())
}

func (c *cloud) measureOAuth(ctx context.Context) error {
	sign, _, err := rawRSA()
	if err != nil {
		return err
	}
	sp, dev := c.people.ServicePrincipal, c.person("dev")
	form := func(v url.Values, contain string) *shot {
		return &shot{client: c.client(nil), url: c.tokenURL(), status: http.StatusOK, contain: contain,
			header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, bodies: [][]byte{[]byte(v.Encode())}}
	}
	credentials := form(url.Values{"grant_type": {"client_credentials"}, "client_id": {string(sp.ClientID)}, "client_secret": {sp.ClientSecret},
		"scope": {string(directory.AKSServer) + "/.default"}}, "access_token")
	renewals, err := c.renewals(dev, 400)
	if err != nil {
		return err
	}
	renew := form(nil, "access_token")
	renew.bodies = renewals
	none := &shot{client: c.client(nil), url: c.status.Endpoints.Login + "/none", status: http.StatusNotFound, bodies: [][]byte{credentials.bodies[0]}, header: credentials.header}
	got, err := turns(ctx, sign, func() (float64, error) { return credentials.rate(ctx) },
		func() (float64, error) { return renew.rate(ctx) }, func() (float64, error) { return none.rate(ctx) })
	if err != nil {
		return err
	}
	c.run.add("oauth/raw-rs256-sign-rate", got[0], "1/s")
	c.run.add("oauth/no-op-rate", got[3], "1/s")
	c.run.against("oauth/client-credentials-rate", got[1], "1/s", got[0])
	c.run.against("oauth/refresh-rate", got[2], "1/s", got[0])
	write, err := logWrite(ctx)
	if err != nil {
		return err
	}
	// Beside the processor time of a whole token.
	c.run.add("oauth/sign-in-log-write-rate", 1/write.Seconds(), "1/s")
	c.run.against("oauth/sign-in-log-write", write.Seconds()*1e6, "µs", float64(runtime.NumCPU())/got[1]*1e6)
	for _, x := range []struct {
		name string
		shot *shot
		rate float64
	}{{"client-credentials", credentials, got[1]}, {"refresh", renew, got[2]}} {
		took, err := x.shot.latencies(ctx, x.rate/2, 2*time.Second)
		if err != nil {
			return err
		}
		c.run.add("oauth/"+x.name+"-p50-half-load", quantile(took, 0.5), "ms")
		c.run.add("oauth/"+x.name+"-p99-half-load", quantile(took, 0.99), "ms")
	}
	return nil
}

// renewals returns that many requests to refresh, each with a refresh token of
// its own: one token that is used a thousand times in a minute is refused as a
// client that loops.
func (c *cloud) renewals(who server.Account, n int) ([][]byte, error) {
	scope := "openid offline_access " + string(directory.AKSServer) + "/.default"
	token, err := c.grant(url.Values{"grant_type": {"password"}, "client_id": {azureCLI}, "username": {who.UserPrincipalName},
		"password": {who.Password}, "scope": {scope}}, "refresh_token")
	var list [][]byte
	for range n {
		if err != nil {
			return nil, err
		}
		form := url.Values{"grant_type": {"refresh_token"}, "client_id": {azureCLI}, "refresh_token": {token}, "scope": {scope}}
		list = append(list, []byte(form.Encode()))
		token, err = c.grant(form, "refresh_token")
	}
	return list, err
}

// azureCLI is the public client that az is.
const azureCLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// measureWebhook measures the webhooks as an API server sees them: mutual TLS,
// one connection, beside an address on the same listener at which nothing is
// done, and beside the one RS256 verification that a TokenReview needs.
func measureWebhook(ctx context.Context, r *run) error {
	c, err := newCloud(ctx, r, "--no-cluster")
	if err != nil {
		return err
	}
	return errors.Join(c.measureWebhook(ctx), c.close())
}

func (c *cloud) measureWebhook(ctx context.Context) error {
	arm, err := c.appToken("https://management.azure.com/.default")
	if err != nil {
		return err
	}
	group := c.status.Endpoints.ARM + "/subscriptions/" + c.status.SubscriptionID + "/resourceGroups/bench"
	if err := c.call(ctx, http.MethodPut, group+"?api-version=2021-04-01", arm, map[string]any{"location": "westeurope"}, nil); err != nil {
		return err
	}
	files := filepath.Join(c.home, "files")
	if _, err := c.entrance(ctx, "cluster", "connect", "bench", "-g", "bench", "--enable-azure-rbac", "--output-dir", files, "--data-dir", c.data()); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(files, "webhook-client.crt"), filepath.Join(files, "webhook-client.key"))
	if err != nil {
		return err
	}
	key := pair.Leaf.Subject.CommonName
	dev := c.person("dev")
	scope := group + "/providers/Microsoft.Kubernetes/connectedClusters/bench"
	if err := c.assign(ctx, arm, scope, arcViewer, string(dev.ObjectID), directory.NewGUID()); err != nil {
		return err
	}
	var reviews [][]byte
	for range 50 {
		token, err := c.appToken(string(directory.AKSServer) + "/.default")
		if err != nil {
			return err
		}
		b, err := json.Marshal(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": map[string]any{"token": token}})
		if err != nil {
			return err
		}
		reviews = append(reviews, b)
	}
	access := func(verb string) []byte {
		b, err := json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{
			"user": dev.UserPrincipalName, "groups": []string{"system:authenticated"}, "extra": map[string][]string{"oid": {string(dev.ObjectID)}},
			"resourceAttributes": map[string]string{"namespace": "prod", "verb": verb, "version": "v1", "resource": "pods"},
		}})
		if err != nil {
			panic(err) // strings alone
		}
		return b
	}
	client := c.client(&pair)
	post := func(path, contain string, status int, bodies ...[]byte) *shot {
		return &shot{client: client, url: c.status.Endpoints.Webhooks + path, status: status, contain: contain,
			header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}, bodies: bodies}
	}
	base := "/clusters/" + key
	none := post("/none", "", http.StatusNotFound, access("get"))
	noneToken := post("/none", "", http.StatusNotFound, reviews...)
	token := post(base+"/authenticate", `"authenticated":true`, http.StatusOK, reviews...)
	allow := post(base+"/authorize", `"allowed":true`, http.StatusOK, access("get"))
	refuse := post(base+"/authorize", `"allowed":false`, http.StatusOK, access("delete"))
	deny := post(base+"/deny", `"allowed":false`, http.StatusOK, access("get"))

	_, verify, err := rawRSA()
	if err != nil {
		return err
	}
	// The processor time of the server alone tells what the load's own share
	// of the machine hides.
	spent := map[*shot][]float64{}
	rate := func(s *shot) func() (float64, error) {
		return func() (float64, error) {
			before, err := c.cpu()
			if err != nil {
				return 0, err
			}
			start := time.Now()
			n, err := s.rate(ctx)
			if err != nil {
				return 0, err
			}
			after, err := c.cpu()
			spent[s] = append(spent[s], float64((after-before).Microseconds())/(n*time.Since(start).Seconds()))
			return n, err
		}
	}
	got, err := turns(ctx, rate(noneToken), rate(token), verify, rate(none), rate(allow), rate(refuse), rate(deny))
	if err != nil {
		return err
	}
	c.run.add("webhook/no-op-rate-token", got[0], "1/s")
	c.run.add("webhook/no-op-rate", got[3], "1/s")
	c.run.add("webhook/raw-rs256-verify-rate", got[2], "1/s")
	c.run.against("webhook/token-review-rate", got[1], "1/s", got[0])
	c.run.against("webhook/token-review-rate-of-raw-verify", got[1], "1/s", got[2])
	c.run.against("webhook/access-review-rate", got[4], "1/s", got[3])
	c.run.against("webhook/access-review-refused-rate", got[5], "1/s", got[3])
	c.run.against("webhook/deny-review-rate", got[6], "1/s", got[3])
	c.run.add("webhook/no-op-cpu", median(spent[none]), "µs")
	c.run.against("webhook/token-review-cpu", median(spent[token]), "µs", median(spent[noneToken]))
	c.run.against("webhook/access-review-cpu", median(spent[allow]), "µs", median(spent[none]))
	c.run.against("webhook/deny-review-cpu", median(spent[deny]), "µs", median(spent[none]))
	for _, x := range []struct {
		name string
		shot *shot
		rate float64
	}{{"token-review", token, got[1]}, {"access-review", allow, got[4]}} {
		took, err := x.shot.latencies(ctx, x.rate/2, 2*time.Second)
		if err != nil {
			return err
		}
		c.run.add("webhook/"+x.name+"-p50-half-load", quantile(took, 0.5), "ms")
		c.run.add("webhook/"+x.name+"-p99-half-load", quantile(took, 0.99), "ms")
	}
	return nil
}

// Roles: "Azure Arc Kubernetes Viewer" and "Azure Kubernetes Service RBAC Reader".
const (
	arcViewer  = "63f0a09d-1495-4db4-a681-037d84835eb4"
	rbacReader = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"
)

// assign makes a role assignment at the scope with the given address.
func (c *cloud) assign(ctx context.Context, token, scope, role, principal, name string) error {
	return c.call(ctx, http.MethodPut, scope+"/providers/Microsoft.Authorization/roleAssignments/"+name+"?api-version=2022-04-01", token, map[string]any{
		"properties": map[string]any{
			"roleDefinitionId": "/subscriptions/" + c.status.SubscriptionID + "/providers/Microsoft.Authorization/roleDefinitions/" + role,
			"principalId":      principal,
		},
	}, nil)
}
