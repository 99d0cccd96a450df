package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// Each way of taking access away is tried on so many people or applications, and
// so many at a time.
const (
	revokedEach = 25
	atATime     = 5
)

// victim is somebody whose access is taken away.
type victim struct {
	id, name, password, token string
	application, key          string // of an application: its object id, and that of the secret
}

// measureRevocation takes the access of 100 people and 25 applications away, on a
// real cluster on which Kubernetes' own bindings would go on allowing them, and
// measures how long until the API server refuses the token that it knows. It also
// measures what asking the denying webhook costs a request.
func measureRevocation(ctx context.Context, r *run) error {
	home, err := os.MkdirTemp("", "entrance-bench-")
	if err != nil {
		return err
	}
	c := &cloud{run: r, home: home}
	if _, err := c.up(ctx); err != nil {
		return errors.Join(err, c.close())
	}
	return errors.Join(c.measureRevocation(ctx), c.close())
}

func (c *cloud) measureRevocation(ctx context.Context) error {
	graph, err := c.appToken("https://graph.microsoft.com/.default")
	if err != nil {
		return err
	}
	base := c.status.Endpoints.Graph + "/v1.0"
	var temporary struct {
		ID string `json:"id"`
	}
	if err := c.call(ctx, http.MethodPost, base+"/groups", graph, map[string]any{"displayName": "temporary", "mailNickname": "temporary", "mailEnabled": false, "securityEnabled": true}, &temporary); err != nil {
		return err
	}
	assign := func(v *victim, action string) error {
		return c.call(ctx, http.MethodPost, base+"/identityGovernance/privilegedAccess/group/assignmentScheduleRequests", graph, map[string]any{
			"action": action, "accessId": "member", "groupId": temporary.ID, "principalId": v.id, "justification": "bench",
			"scheduleInfo": map[string]any{"expiration": map[string]any{"type": "afterDuration", "duration": "PT1H"}},
		}, nil)
	}
	patch := func(v *victim, body map[string]any) error {
		return c.call(ctx, http.MethodPatch, base+"/users/"+v.id, graph, body, nil)
	}
	ways := []struct {
		name   string
		do     func(*victim) error
		kind   string // how the victim is bound: user, group, or application
		people []*victim
	}{
		{name: "user-disabled", kind: "user", do: func(v *victim) error { return patch(v, map[string]any{"accountEnabled": false}) }},
		{name: "password-reset", kind: "user", do: func(v *victim) error {
			return patch(v, map[string]any{"passwordProfile": map[string]any{"password": "New-" + directory.NewGUID(), "forceChangePasswordNextSignIn": false}})
		}},
		{name: "sessions-revoked", kind: "user", do: func(v *victim) error {
			return c.call(ctx, http.MethodPost, base+"/users/"+v.id+"/revokeSignInSessions", graph, nil, nil)
		}},
		{name: "activation-ended", kind: "group", do: func(v *victim) error { return assign(v, "adminRemove") }},
		{name: "secret-deleted", kind: "application", do: func(v *victim) error {
			return c.call(ctx, http.MethodPost, base+"/applications/"+v.application+"/removePassword", graph, map[string]any{"keyId": v.key}, nil)
		}},
	}
	bound := []string{"--group=" + temporary.ID, "--serviceaccount=default:default"}
	for i := range ways {
		for n := range revokedEach {
			v, err := c.newVictim(ctx, graph, fmt.Sprintf("bench%d-%d", i, n), ways[i].kind == "application")
			if err != nil {
				return err
			}
			ways[i].people = append(ways[i].people, v)
			if ways[i].kind == "group" {
				err = assign(v, "adminAssign")
			} else {
				bound = append(bound, "--user="+v.name)
			}
			if err != nil {
				return err
			}
		}
	}
	kubeconfig := filepath.Join(c.home, "admin.kubeconfig")
	if _, err := c.entrance(ctx, "aks", "get-credentials", "--admin", "--data-dir", c.data(), "-g", "sample", "-n", "sample", "--file", kubeconfig); err != nil {
		return err
	}
	if _, err := c.kubectl(ctx, kubeconfig, append([]string{"create", "clusterrolebinding", "bench", "--clusterrole=view"}, bound...)...); err != nil {
		return err
	}
	sample, err := c.api(ctx, "sample")
	if err != nil {
		return err
	}
	if err := c.measureDeny(ctx, sample, kubeconfig, ways[0].people[0].token); err != nil {
		return err
	}
	for _, way := range ways {
		took, err := sample.refusals(ctx, way.people, way.do)
		if err != nil {
			return fmt.Errorf("%s: %w", way.name, err)
		}
		c.run.add("revocation/"+way.name+"-median", median(took), "s")
		c.run.add("revocation/"+way.name+"-worst", slices.Max(took), "s")
	}
	return nil
}

// newVictim makes a person or an application, and signs it in.
func (c *cloud) newVictim(ctx context.Context, graph, name string, application bool) (*victim, error) {
	base := c.status.Endpoints.Graph + "/v1.0"
	v := &victim{password: "Bench-" + directory.NewGUID()}
	scope := string(directory.AKSServer) + "/.default"
	var made struct {
		ID    string `json:"id"`
		AppID string `json:"appId"`
	}
	if !application {
		_, domain, _ := strings.Cut(c.people.Administrator.UserPrincipalName, "@")
		v.name = name + "@" + domain
		if err := c.call(ctx, http.MethodPost, base+"/users", graph, map[string]any{
			"userPrincipalName": v.name, "displayName": name, "mailNickname": name, "accountEnabled": true,
			"passwordProfile": map[string]any{"password": v.password, "forceChangePasswordNextSignIn": false},
		}, &made); err != nil {
			return nil, err
		}
		v.id = made.ID
		var err error
		v.token, err = c.grant(url.Values{"grant_type": {"password"}, "client_id": {azureCLI}, "username": {v.name}, "password": {v.password}, "scope": {scope}}, "access_token")
		return v, err
	}
	if err := c.call(ctx, http.MethodPost, base+"/applications", graph, map[string]any{"displayName": name}, &made); err != nil {
		return nil, err
	}
	v.application = made.ID
	var secret struct {
		Text string `json:"secretText"`
		Key  string `json:"keyId"`
	}
	if err := c.call(ctx, http.MethodPost, base+"/applications/"+made.ID+"/addPassword", graph, map[string]any{}, &secret); err != nil {
		return nil, err
	}
	client := made.AppID
	if err := c.call(ctx, http.MethodPost, base+"/servicePrincipals", graph, map[string]any{"appId": client}, &made); err != nil {
		return nil, err
	}
	v.id, v.name, v.key = made.ID, made.ID, secret.Key
	var err error
	v.token, err = c.grant(url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "client_secret": {secret.Text}, "scope": {scope}}, "access_token")
	return v, err
}

// refusals takes access away from each and returns the times, in seconds, from
// when the change was sent until the API server refused.
func (a *api) refusals(ctx context.Context, people []*victim, do func(*victim) error) ([]float64, error) {
	took := make([]float64, len(people))
	failed := make([]error, len(people))
	var wg sync.WaitGroup
	turn := make(chan struct{}, atATime)
	for i, v := range people {
		wg.Add(1)
		turn <- struct{}{}
		go func() {
			defer func() { <-turn; wg.Done() }()
			d, err := a.refused(ctx, v.token, "/api/v1/namespaces/default/pods", func() error { return do(v) })
			took[i], failed[i] = d.Seconds(), err
		}()
	}
	wg.Wait()
	return took, errors.Join(failed...)
}

// refused is until for a refusal of either kind.
func (a *api) refused(ctx context.Context, token, path string, change func() error) (time.Duration, error) {
	if code, err := a.get(ctx, token, path); err != nil || code != http.StatusOK {
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
		if code == http.StatusForbidden || code == http.StatusUnauthorized {
			return time.Since(start), nil
		}
		if time.Since(start) > 30*time.Second {
			return 0, fmt.Errorf("still HTTP %d after 30 s", code)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// measureDeny measures requests that the API server has no answer for in its
// memory, of a user, about whom it asks the denying webhook first, and of a
// service account with the same binding, about which it does not.
func (c *cloud) measureDeny(ctx context.Context, a *api, kubeconfig, user string) error {
	account, err := c.kubectl(ctx, kubeconfig, "create", "token", "default")
	if err != nil {
		return err
	}
	tokens := []string{user, strings.TrimSpace(string(account))}
	took := make([][]float64, len(tokens))
	for i := range 300 {
		for j, token := range tokens {
			start := time.Now()
			code, err := a.get(ctx, token, fmt.Sprintf("/api/v1/namespaces/bench-%d/pods", i))
			if err == nil && code != http.StatusOK {
				err = fmt.Errorf("HTTP %d", code)
			}
			if err != nil {
				return err
			}
			if i >= 20 { // warm by then
				took[j] = append(took[j], float64(time.Since(start).Microseconds())/1000)
			}
		}
	}
	c.run.against("revocation/request-with-deny-first", median(took[0]), "ms", median(took[1]))
	c.run.add("revocation/deny-first-cost", median(took[0])-median(took[1]), "ms")
	return nil
}

func (c *cloud) kubectl(ctx context.Context, kubeconfig string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(c.run.bin, "kubectl"), append([]string{"--kubeconfig", kubeconfig}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("kubectl %s: %s", args[0], exit.Stderr)
	}
	return out, err
}
