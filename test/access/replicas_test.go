package access_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/server"
	"github.com/entrance-id/entrance/test/tools"
)

// replica is a server process on an etcd that it shares.
type replica struct {
	t         *testing.T
	bin, dir  string
	base      int
	endpoints string
	process   *exec.Cmd
	webhooks  string
	health    string
}

func newReplica(t *testing.T, bin, endpoints string) *replica {
	t.Helper()
	r := &replica{t: t, bin: bin, dir: t.TempDir(), base: portBase(t), endpoints: endpoints}
	if err := os.Chmod(r.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.webhooks, r.health = fmt.Sprintf("https://localhost:%d", r.base+4), fmt.Sprintf("http://127.0.0.1:%d", r.base+5)
	t.Cleanup(func() {
		if r.process != nil {
			r.kill()
		}
	})
	return r
}

// portBase returns a base whose ports are free.
func portBase(t *testing.T) int {
	t.Helper()
	for range 100 {
		base := freePort(t) - 3
		free := true
		for p := base + 3; p <= base+7; p++ {
			ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
			if err != nil {
				free = false
				break
			}
			ln.Close()
		}
		if free {
			return base
		}
	}
	t.Fatal("there are no five free ports in a row")
	return 0
}

// start starts the process and waits until it is ready.
func (r *replica) start() {
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(r.bin, "entrance"), "up", "--no-cluster", "--data-dir", r.dir, "--port-base", fmt.Sprint(r.base), "--etcd-endpoints", r.endpoints)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		r.t.Error(err)
		return
	}
	r.process = cmd
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if code, _ := r.probe("/readyz"); code == http.StatusOK {
			return
		}
		if time.Now().After(end) {
			out, _ := os.ReadFile(filepath.Join(r.dir, "log"))
			r.t.Errorf("a replica is not ready: %s", out[max(0, len(out)-2000):])
			return
		}
	}
}

// kill ends the process as a power cut would.
func (r *replica) kill() {
	r.process.Process.Kill()
	r.process.Wait()
	r.process = nil
}

// probe asks the listener for health. The code is 0 where nobody answers.
func (r *replica) probe(path string) (int, string) {
	client := &http.Client{Timeout: 2 * time.Second}
	res, err := client.Get(r.health + path)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

// pair is two replicas on one etcd, with a connected cluster that both answer
// for.
type pair struct {
	t             *testing.T
	etcd          *exec.Cmd
	first, second *replica
	people        server.Credentials
	status        server.Status
	http          *http.Client // of an administrator
	apiserver     *http.Client // with the cluster's certificate
	cluster, key  string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t}
	bin := tools.Bin(t)
	client := fmt.Sprintf("http://127.0.0.1:%d", freePort(t))
	p.etcd = exec.Command(filepath.Join(bin, "entrance-kube"), "etcd", "--data-dir="+filepath.Join(t.TempDir(), "etcd"), "--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls=http://127.0.0.1:0", "--initial-advertise-peer-urls=http://127.0.0.1:0", "--initial-cluster=default=http://127.0.0.1:0", "--unsafe-no-fsync", "--log-level=error")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(p.etcd.Start())
	t.Cleanup(func() {
		p.etcd.Process.Signal(syscall.SIGCONT)
		p.etcd.Process.Kill()
		p.etcd.Wait()
	})
	p.first, p.second = newReplica(t, bin, client), newReplica(t, bin, client)
	p.first.start()
	if t.Failed() {
		t.FailNow()
	}
	// Replicas share the key that the store is sealed with.
	seal, err := os.ReadFile(server.Paths{Dir: p.first.dir}.SealKey())
	must(err)
	must(os.WriteFile(server.Paths{Dir: p.second.dir}.SealKey(), seal, 0o600))
	p.second.start()
	if t.Failed() {
		t.FailNow()
	}

	st, err := server.ReadStatus(t.Context(), p.first.dir)
	must(err)
	p.status = *st
	raw, err := os.ReadFile(st.CredentialsFile)
	must(err)
	must(json.Unmarshal(raw, &p.people))
	ca, err := os.ReadFile(st.CAFile)
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	p.http = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, MaxIdleConnsPerHost: 32}}
	p.cluster = "/subscriptions/" + st.SubscriptionID + "/resourceGroups/sample/providers/Microsoft.Kubernetes/connectedClusters/pair"
	p.must("PUT", st.Endpoints.ARM+p.cluster[:strings.Index(p.cluster, "/providers/")]+"?api-version=2021-04-01", p.token("https://management.azure.com/.default"), map[string]any{"location": "centralus"}, nil)
	files := t.TempDir()
	out, err := exec.Command(filepath.Join(bin, "entrance"), "cluster", "connect", "pair", "-g", "sample", "--enable-azure-rbac", "--output-dir", files, "--data-dir", p.first.dir).CombinedOutput()
	if err != nil {
		t.Fatalf("connect: %v\n%s", err, out)
	}
	leaf, err := tls.LoadX509KeyPair(filepath.Join(files, "webhook-client.crt"), filepath.Join(files, "webhook-client.key"))
	must(err)
	p.key = leaf.Leaf.Subject.CommonName
	p.apiserver = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{leaf}}, MaxIdleConnsPerHost: 32}}
	return p
}

func (p *pair) token(scope string) string {
	p.t.Helper()
	sp := p.people.ServicePrincipal
	res, err := p.http.PostForm(p.status.Endpoints.Login+"/"+string(p.status.TenantID)+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {string(sp.ClientID)}, "client_secret": {sp.ClientSecret}, "scope": {scope},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		p.t.Fatalf("sign-in: HTTP %d (%v)", res.StatusCode, err)
	}
	return answer.Token
}

// call calls the first replica, and again for as long as that is away. A status
// among fine is as good as 2xx: a call that was cut short may have been done.
func (p *pair) call(method, address, token string, body, out any, fine ...int) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		req, err := http.NewRequest(method, address, bytes.NewReader(b))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		req.Header.Set("Content-Type", "application/json")
		res, err := p.http.Do(req)
		var raw []byte
		if err == nil {
			raw, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		switch {
		case err != nil && time.Now().Before(end):
			continue
		case err != nil:
			return err
		case res.StatusCode < 300:
			if out != nil {
				return json.Unmarshal(raw, out)
			}
			return nil
		}
		for _, code := range fine {
			if res.StatusCode == code {
				return nil
			}
		}
		if res.StatusCode >= 500 && time.Now().Before(end) {
			continue
		}
		return fmt.Errorf("%s %s: HTTP %d %s", method, address, res.StatusCode, raw)
	}
}

func (p *pair) must(method, address, token string, body, out any) {
	p.t.Helper()
	if err := p.call(method, address, token, body, out); err != nil {
		p.t.Fatal(err)
	}
}

// errAway means that a replica did not answer.
var errAway = errors.New("away")

// allowed asks a replica's webhook whether somebody may list pods in a namespace.
func (p *pair) allowed(r *replica, m *member) (bool, error) {
	res, err := p.apiserver.Post(r.webhooks+"/clusters/"+p.key+"/authorize", "application/json", bytes.NewReader(m.review))
	if err != nil {
		return false, errAway
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return false, errAway
	}
	var answer authorizationv1.SubjectAccessReview
	if err := json.Unmarshal(raw, &answer); err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

// member is a user of a group of their own, and a namespace that the group is
// given and loses again.
type member struct {
	id, group  string
	assignment string // address of the role assignment
	review     []byte
}

func (p *pair) newMember(i int, graph string) *member {
	p.t.Helper()
	base := p.status.Endpoints.Graph + "/v1.0"
	upn := fmt.Sprintf("member-%d@contoso.test", i)
	var made struct{ ID string }
	p.must("POST", base+"/users", graph, map[string]any{
		"userPrincipalName": upn, "displayName": upn, "mailNickname": fmt.Sprintf("member-%d", i), "accountEnabled": true,
		"passwordProfile": map[string]any{"password": "Test-" + directory.NewGUID(), "forceChangePasswordNextSignIn": false},
	}, &made)
	m := &member{id: made.ID}
	p.must("POST", base+"/groups", graph, map[string]any{"displayName": fmt.Sprintf("group-%d", i), "mailNickname": fmt.Sprintf("group-%d", i), "mailEnabled": false, "securityEnabled": true}, &made)
	m.group = made.ID
	namespace := fmt.Sprintf("ns-%d", i)
	m.assignment = p.status.Endpoints.ARM + p.cluster + "/namespaces/" + namespace + "/providers/Microsoft.Authorization/roleAssignments/"
	var err error
	m.review, err = json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": authorizationv1.SubjectAccessReviewSpec{
		User: upn, Groups: []string{"system:authenticated"}, Extra: map[string]authorizationv1.ExtraValue{"oid": {m.id}},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Version: "v1", Resource: "pods", Namespace: namespace},
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.join(m, graph); err != nil {
		p.t.Fatal(err)
	}
	return m
}

func (p *pair) join(m *member, graph string) error {
	base := p.status.Endpoints.Graph + "/v1.0"
	return p.call("POST", base+"/groups/"+m.group+"/members/$ref", graph, map[string]string{"@odata.id": base + "/directoryObjects/" + m.id}, nil, http.StatusBadRequest)
}

func (p *pair) leave(m *member, graph string) error {
	return p.call("DELETE", p.status.Endpoints.Graph+"/v1.0/groups/"+m.group+"/members/"+m.id+"/$ref", graph, nil, nil, http.StatusNotFound)
}

func (p *pair) grant(m *member, arm, name string) error {
	return p.call("PUT", m.assignment+name+"?api-version=2022-04-01", arm, map[string]any{"properties": map[string]any{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/" + builtIn("Azure Arc Kubernetes Viewer"), "principalId": m.group, "principalType": "Group",
	}}, nil, http.StatusConflict)
}

func (p *pair) revoke(m *member, arm, name string) error {
	return p.call("DELETE", m.assignment+name+"?api-version=2022-04-01", arm, nil, nil, http.StatusNotFound)
}

// TestReplicas runs two server processes on one etcd.
func TestReplicas(t *testing.T) {
	p := newPair(t)
	t.Run("new enemy", func(t *testing.T) { newEnemy(t, p) })
	t.Run("etcd hangs", func(t *testing.T) { etcdHangs(t, p) })
}

// newEnemy is abuse case 36: it takes a member out of a group and then gives the
// group a role, a thousand times, while both replicas decide and one of them
// dies five times. At no revision is the member in the group and the role given,
// so an allow could only come from the old membership joined to the new grant.
func newEnemy(t *testing.T, p *pair) {
	const rounds, workers, restarts = 1000, 8, 5
	graph, arm := p.token("https://graph.microsoft.com/.default"), p.token("https://management.azure.com/.default")
	members := make([]*member, workers)
	for i := range members {
		members[i] = p.newMember(i, graph)
	}
	both := []*replica{p.first, p.second}
	quit := make(chan struct{})
	var deciders sync.WaitGroup
	asked, wrong := make([]atomic.Int64, len(both)), make([]atomic.Int64, len(both))
	for i, r := range both {
		for range 2 {
			deciders.Go(func() {
				for n := 0; ; n++ {
					select {
					case <-quit:
						return
					default:
					}
					yes, err := p.allowed(r, members[n%workers])
					switch {
					case err == nil:
						asked[i].Add(1)
					case errors.Is(err, errAway):
						time.Sleep(5 * time.Millisecond)
					default:
						t.Error(err)
						return
					}
					if yes {
						wrong[i].Add(1)
					}
				}
			})
		}
	}
	var done atomic.Int64
	var players sync.WaitGroup
	failed := make(chan error, workers)
	for w, m := range members {
		players.Go(func() {
			for n := range rounds / workers {
				name := fmt.Sprintf("00000000-0000-4000-8000-%04x%08x", w, n)
				for _, step := range []func() error{
					func() error { return p.leave(m, graph) }, func() error { return p.grant(m, arm, name) },
					func() error { return p.revoke(m, arm, name) }, func() error { return p.join(m, graph) },
				} {
					if err := step(); err != nil {
						failed <- err
						return
					}
				}
				done.Add(1)
			}
		})
	}
	over := make(chan struct{})
	go func() { players.Wait(); close(over) }()
	for n := range restarts {
		for done.Load() < int64((n+1)*rounds/(restarts+1)) {
			select {
			case <-over:
			case <-time.After(2 * time.Millisecond):
				continue
			}
			break
		}
		r := both[(n+1)%2] // the second, which only follows, and the first, which writes
		r.kill()
		r.start()
	}
	<-over
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	close(quit)
	deciders.Wait()
	for i := range both {
		if n := wrong[i].Load(); n != 0 {
			t.Errorf("replica %d allowed %d times from an old membership and a new grant", i+1, n)
		}
		if n := asked[i].Load(); n < rounds {
			t.Errorf("replica %d decided %d times in %d rounds: too little to see anything", i+1, n, rounds)
		}
	}
	t.Logf("%d rounds, %d restarts; %d decisions by the one replica, %d by the other", done.Load(), restarts, asked[0].Load(), asked[1].Load())
	// What was never allowed must not be so because nothing ever is.
	for _, m := range members {
		if err := p.grant(m, arm, "00000000-0000-4000-8000-ffffffffffff"); err != nil {
			t.Fatal(err)
		}
		for i, r := range both {
			yes := false
			for end := time.Now().Add(10 * time.Second); !yes && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				var err error
				if yes, err = p.allowed(r, m); err != nil && !errors.Is(err, errAway) {
					t.Fatal(err)
				}
			}
			if !yes {
				t.Errorf("replica %d refuses a member", i+1)
			}
		}
		if err := p.revoke(m, arm, "00000000-0000-4000-8000-ffffffffffff"); err != nil {
			t.Fatal(err)
		}
	}
}

// etcdHangs is abuse case 35: when etcd does not answer, a replica cannot know
// whether its view is still everything. After the bound it answers nothing, its
// readiness is false, it lives on, and it comes back by itself.
func etcdHangs(t *testing.T, p *pair) {
	m := &member{review: []byte(`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"x","resourceAttributes":{"verb":"get","resource":"pods"}}}`)}
	both := []*replica{p.first, p.second}
	until := func(what string, ok func(r *replica) (string, bool)) {
		t.Helper()
		for i, r := range both {
			for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
				seen, good := ok(r)
				if good {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("replica %d: %s: %s", i+1, what, seen)
				}
			}
		}
	}
	ready := func(r *replica) (string, bool) {
		code, body := r.probe("/readyz")
		_, err := p.allowed(r, m)
		_, metrics := r.probe("/metrics")
		return body, code == http.StatusOK && err == nil && strings.Contains(metrics, "entrance_store_ready 1") && age(metrics) < 3
	}
	until("ready before", ready)
	if err := p.etcd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until("not ready while etcd hangs", func(r *replica) (string, bool) {
		code, body := r.probe("/readyz")
		_, metrics := r.probe("/metrics")
		return body, code == http.StatusServiceUnavailable && strings.Contains(body, `"storeReady":false`) && strings.Contains(metrics, "entrance_store_ready 0") && age(metrics) >= 5
	})
	for i, r := range both {
		if _, err := p.allowed(r, m); !errors.Is(err, errAway) {
			t.Errorf("replica %d answers a review from a view that is too old (%v)", i+1, err)
		}
		if code, _ := r.probe("/livez"); code != http.StatusOK {
			t.Errorf("replica %d: /livez says %d", i+1, code)
		}
	}
	if err := p.etcd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until("ready again", ready)
}

// age is the age of the snapshot among metrics, in seconds; 0 where there is none.
func age(metrics string) float64 {
	for line := range strings.Lines(metrics) {
		var v float64
		if _, err := fmt.Sscanf(line, "entrance_access_snapshot_age_seconds %g", &v); err == nil {
			return v
		}
	}
	return 0
}
