package arm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

// Roles by which the tests give access.
const (
	owner       = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	contributor = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	reader      = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	rbacAdmin   = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
	clusterUser = "4abbcc35-e782-43d8-92c5-2d3f1bd2253f"
	aksReader   = "7f6c6a51-bcf8-42ba-9220-52d62157d7db"
	aksAdmin    = "b1ff04bb-8a4e-4dc4-8eb5-8693973ce19b"
)

const baseURL = "https://entrance.test"

// world is a tenant with a subscription behind an ARM service.
type world struct {
	t       testing.TB
	dir     string
	clock   *clock.Manual
	store   *store.Store
	keeper  *access.Keeper
	service *arm.Service
	fake    *fakeClusters
	cancel  context.CancelFunc
	ran     chan struct{}

	tenant directory.TenantID
	sub    string
	// People: olga owns the subscription, nina has nothing.
	olga, nina directory.ObjectID
	group      directory.ObjectID
	legacy     bool
	events     []*arm.Event
	mu         sync.Mutex
}

var tables = slices.Concat(state.Tables(), arm.Tables(), privileged.Tables())

func newWorld(t testing.TB, options ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, dir: t.TempDir(), clock: clock.NewManual(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)),
		fake: &fakeClusters{}, tenant: directory.TenantID(directory.NewGUID()), sub: directory.NewGUID(),
	}
	for _, o := range options {
		o(w)
	}
	w.open()
	w.update(func(tx *store.Tx) error {
		return state.CreateTenant(tx, &directory.Tenant{
			ID: w.tenant, DisplayName: "Contoso", Country: "US", Created: w.clock.Now(),
			Domains: []directory.Domain{{Name: "contoso.test", Default: true, Initial: true}},
		})
	})
	w.update(func(tx *store.Tx) error {
		return state.Subscriptions.Create(tx, &state.Subscription{ID: w.sub, Tenant: w.tenant, DisplayName: "Test", State: "Enabled"})
	})
	w.olga, w.nina, w.group = w.user("olga"), w.user("nina"), w.newGroup("admins")
	w.assign(w.olga, owner, "/subscriptions/"+w.sub)
	return w
}

// open opens the store and the service, as a process that starts does.
func (w *world) open() {
	w.t.Helper()
	var err error
	w.store = storetest.OpenDir(w.t, w.dir, tables...)
	if w.keeper, err = access.New(w.store, w.clock, storetest.Logger(w.t)); err != nil {
		w.t.Fatal(err)
	}
	w.service = arm.New(arm.Config{
		Store: w.store, Access: w.keeper, Clock: w.clock, Logger: storetest.Logger(w.t), BaseURL: baseURL,
		Authenticate: authenticate, Clusters: w.fake, KubernetesVersion: "1.36.3", LegacyIntegration: w.legacy, Audit: w,
		Privileged: privileged.New(w.store, w.clock, storetest.Logger(w.t)),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan struct{})
	w.cancel, w.ran = cancel, ran
	go func() { defer close(ran); w.service.Run(ctx) }()
	w.t.Cleanup(w.shut)
	// Until it runs it takes no operations.
	time.Sleep(10 * time.Millisecond)
}

func (w *world) shut() {
	w.cancel()
	<-w.ran
	w.keeper.Close()
}

// restart is a crash and a new start on the same directory.
func (w *world) restart() {
	w.t.Helper()
	w.shut()
	if err := w.store.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.open()
}

// Record implements arm.Audit.
func (w *world) Record(_ context.Context, e *arm.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, e)
	return nil
}

// authenticate takes tokens of the form tenant/object.
func authenticate(r *http.Request) (arm.Caller, error) {
	raw := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	raw, mfa := strings.CutSuffix(raw, "/mfa")
	tenant, id, ok := strings.Cut(raw, "/")
	if !ok {
		return arm.Caller{}, errs.New(errs.Unauthenticated, "The access token is invalid.")
	}
	return arm.Caller{Tenant: directory.TenantID(tenant), ID: directory.ObjectID(id), MFA: mfa}, nil
}

func (w *world) update(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) user(name string) directory.ObjectID {
	w.t.Helper()
	id := directory.ObjectID(directory.NewGUID())
	w.update(func(tx *store.Tx) error {
		return state.CreateUser(tx, &directory.User{Tenant: w.tenant, ID: id, UserPrincipalName: name + "@contoso.test", DisplayName: name, Enabled: true})
	})
	return id
}

func (w *world) newGroup(name string) directory.ObjectID {
	w.t.Helper()
	id := directory.ObjectID(directory.NewGUID())
	w.update(func(tx *store.Tx) error {
		return state.Groups.Create(tx, &directory.Group{Tenant: w.tenant, ID: id, DisplayName: name, SecurityEnabled: true})
	})
	return id
}

func (w *world) assign(who directory.ObjectID, role, scope string) string {
	w.t.Helper()
	name := directory.NewGUID()
	w.update(func(tx *store.Tx) error {
		return state.AccessAssignments.Create(tx, &state.AccessAssignment{
			Tenant: w.tenant, Name: name, Scope: scope, Role: role, Principal: who, PrincipalType: rbac.User,
			Created: w.clock.Now(), Updated: w.clock.Now(),
		})
	})
	return name
}

// answer is what a request got.
type answer struct {
	t      testing.TB
	status int
	header http.Header
	raw    []byte
	doc    map[string]any
}

// call sends a request for a caller. Path gets the api-version, unless it has a
// query.
func (w *world) call(who directory.ObjectID, method, path string, body any) *answer {
	w.t.Helper()
	return w.send(string(w.tenant)+"/"+string(who), method, path, body, nil)
}

func (w *world) send(token, method, path string, body any, header http.Header) *answer {
	w.t.Helper()
	var buf bytes.Buffer
	switch b := body.(type) {
	case nil:
	case string:
		buf.WriteString(b)
	default:
		if err := json.NewEncoder(&buf).Encode(b); err != nil {
			w.t.Fatal(err)
		}
	}
	path = strings.NewReplacer("SUB", w.sub, " ", "%20").Replace(path)
	if !strings.Contains(path, "?") {
		path += "?api-version=2025-03-01"
	} else if !strings.Contains(path, "api-version") {
		path += "&api-version=2025-03-01"
	}
	r := httptest.NewRequest(method, baseURL+path, &buf)
	for k, v := range header {
		r.Header[k] = v
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	w.service.ServeHTTP(rec, r)
	a := &answer{t: w.t, status: rec.Code, header: rec.Header(), raw: rec.Body.Bytes()}
	if len(a.raw) > 0 {
		// Lists of checkAccess are arrays; they stay raw.
		_ = json.Unmarshal(a.raw, &a.doc)
	}
	return a
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("status %d, want %d: %s", a.status, status, a.raw)
	}
	return a
}

// refused checks the status and code of an error, and returns its message.
func (a *answer) refused(status int, code string) string {
	a.t.Helper()
	a.want(status)
	if got := a.get("error.code"); got != code {
		a.t.Fatalf("code %v, want %s: %s", got, code, a.raw)
	}
	return a.text("error.message")
}

// get returns a member of the answer by its path; numbers are indexes.
func (a *answer) get(path string) any {
	var v any = a.doc
	for name := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[name]
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(at) {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

func (a *answer) text(path string) string {
	s, _ := a.get(path).(string)
	return s
}

func (a *answer) list() []any {
	l, _ := a.get("value").([]any)
	return l
}

// names returns a member of each element of a list.
func (a *answer) names(member string) []string {
	var out []string
	for _, v := range a.list() {
		m, _ := v.(map[string]any)
		s, _ := m[member].(string)
		out = append(out, s)
	}
	return out
}

// object is a JSON object.
type object = map[string]any

// finish follows an operation until it ends, and returns its last state.
func (w *world) finish(who directory.ObjectID, a *answer) *answer {
	w.t.Helper()
	at := a.header.Get("Azure-Asyncoperation")
	if at == "" {
		w.t.Fatalf("no Azure-AsyncOperation: %d %s", a.status, a.raw)
	}
	if a.header.Get("Retry-After") != "1" {
		w.t.Fatal("no Retry-After: az would sleep for 30 s")
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		s := w.call(who, "GET", strings.TrimPrefix(at, baseURL), nil).want(200)
		if s.text("status") != "InProgress" {
			return s
		}
		if s.header.Get("Retry-After") != "1" {
			w.t.Fatal("no Retry-After while in progress")
		}
	}
	w.t.Fatal("the operation does not end")
	return nil
}

// follow polls a Location until it gives a result.
func (w *world) follow(who directory.ObjectID, a *answer) *answer {
	w.t.Helper()
	at := a.header.Get("Location")
	if at == "" {
		w.t.Fatalf("no Location: %d %s", a.status, a.raw)
	}
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if s := w.call(who, "GET", strings.TrimPrefix(at, baseURL), nil); s.status != 202 {
			return s
		}
	}
	w.t.Fatal("the operation does not end")
	return nil
}

// newResourceGroup makes a group as az does.
func (w *world) newResourceGroup(name string) string {
	w.t.Helper()
	w.call(w.olga, "PUT", "/subscriptions/SUB/resourcegroups/"+name, object{"location": "eastus"}).want(201)
	return "/subscriptions/" + w.sub + "/resourceGroups/" + name
}

// clusterBody is what az sends for a new cluster.
func clusterBody(aad object) object {
	p := object{
		"kubernetesVersion": "", "dnsPrefix": "web-rg-abcdef", "enableRBAC": true, "disableLocalAccounts": false,
		"agentPoolProfiles": []object{{"name": "nodepool1", "count": 3, "vmSize": "Standard_DS2_v2", "mode": "System", "osType": "Linux"}},
		"addonProfiles":     object{}, "storageProfile": object{}, "futureProperty": object{"deep": []any{1, "two"}},
	}
	if aad != nil {
		p["aadProfile"] = aad
	}
	return object{"location": "eastus", "identity": object{"type": "SystemAssigned"}, "properties": p, "tags": object{"env": "dev"}}
}

// newCluster makes a cluster and waits for it.
func (w *world) newCluster(group, name string, body object) string {
	w.t.Helper()
	id := group + "/providers/Microsoft.ContainerService/managedClusters/" + name
	if s := w.finish(w.olga, w.call(w.olga, "PUT", id, body).want(201)); s.text("status") != "Succeeded" {
		w.t.Fatalf("creation: %s", s.raw)
	}
	return id
}

// fakeClusters is a cluster manager that remembers.
type fakeClusters struct {
	mu      sync.Mutex
	specs   map[string]arm.ClusterSpec
	applied []arm.ClusterSpec
	deleted []string
	stopped []string
	// fail is asked before a cluster is applied; hold, if not nil, is waited
	// for.
	fail func(arm.ClusterSpec) error
	hold chan struct{}
	held int // calls that wait for hold
}

// wait waits for hold, with mu locked.
func (f *fakeClusters) wait(ctx context.Context) error {
	hold := f.hold
	if hold == nil {
		return nil
	}
	f.held++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.held--
	}()
	select {
	case <-hold:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// waiting reports whether a call waits for hold.
func (f *fakeClusters) waiting() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.held > 0
}

func (f *fakeClusters) Apply(ctx context.Context, s arm.ClusterSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fail := f.fail
	if err := f.wait(ctx); err != nil {
		return err
	}
	if fail != nil {
		if err := fail(s); err != nil {
			return err
		}
	}
	if f.specs == nil {
		f.specs = map[string]arm.ClusterSpec{}
	}
	f.specs[s.Key] = s
	f.applied = append(f.applied, s)
	return nil
}

func (f *fakeClusters) set(hold chan struct{}, fail func(arm.ClusterSpec) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hold, f.fail = hold, fail
}

func (f *fakeClusters) Stop(_ context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopped = append(f.stopped, key)
	return nil
}

func (f *fakeClusters) Delete(ctx context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.wait(ctx); err != nil {
		return err
	}
	delete(f.specs, key)
	f.deleted = append(f.deleted, key)
	return nil
}

func (f *fakeClusters) running() []arm.ClusterSpec {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []arm.ClusterSpec
	for _, s := range f.specs {
		all = append(all, s)
	}
	return all
}

// last returns what the only cluster is now.
func (f *fakeClusters) last(t testing.TB) arm.ClusterSpec {
	t.Helper()
	all := f.running()
	if len(all) != 1 {
		t.Fatalf("%d clusters run, want 1", len(all))
	}
	return all[0]
}

func (f *fakeClusters) find(key string) (arm.ClusterSpec, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.specs[key]
	if !ok {
		return s, errs.New(errs.NotFound, "no cluster %s", key)
	}
	return s, nil
}

func (f *fakeClusters) UserKubeconfig(key, format string) ([]byte, error) {
	s, err := f.find(key)
	return fmt.Appendf(nil, "user %s %s", s.ID, format), err
}

func (f *fakeClusters) AdminKubeconfig(key string) ([]byte, error) {
	s, err := f.find(key)
	return fmt.Appendf(nil, "admin %s %d", s.ID, s.CertificateGeneration), err
}

var _ arm.ClusterManager = (*fakeClusters)(nil)
