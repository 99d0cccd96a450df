package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const (
	tenantID = directory.TenantID("11111111-1111-4111-8111-111111111111")
	otherID  = directory.TenantID("22222222-2222-4222-8222-222222222222")
	domain   = "contoso.example"
)

// world is a tenant behind a Service, and callers in it.
type world struct {
	t      testing.TB
	store  *store.Store
	clock  *clock.Manual
	svc    *Service
	events *events
	// callers by bearer token
	callers map[string]Caller
	admin   directory.ObjectID
	host    string // the name under which requests come, if not localhost
}

type events struct {
	mu  sync.Mutex
	all []*Event
}

func (e *events) Record(_ context.Context, ev *Event) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, ev)
	return nil
}

// plain is a hasher that costs nothing.
type plain struct{}

func (plain) Hash(_ context.Context, pw string) (string, error) { return "plain:" + pw, nil }
func (plain) Verify(_ context.Context, hash, pw string) (bool, bool, error) {
	return hash == "plain:"+pw, false, nil
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{
		t: t, store: storetest.Open(t, state.Tables()...), clock: clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
		events: &events{}, callers: map[string]Caller{},
	}
	w.update(func(tx *store.Tx) error {
		for id, d := range map[directory.TenantID]string{tenantID: domain, otherID: "fabrikam.example"} {
			if err := state.CreateTenant(tx, &directory.Tenant{
				ID: id, DisplayName: "Contoso", Created: w.clock.Now(), Domains: []directory.Domain{{Name: d, Default: true, Initial: true}},
			}); err != nil {
				return err
			}
		}
		return nil
	})
	w.admin = w.addUser("admin")
	w.role(w.admin, directory.GlobalAdministrator)
	w.signIn("admin", w.admin, wire.AsUser)
	svc, err := New(Config{
		Store: w.store, Clock: w.clock, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), BaseURL: "https://localhost:8443",
		Hosts: []string{"graph.microsoft.com"}, Authenticate: w.authenticate, Passwords: plain{}, Audit: w.events,
	})
	if err != nil {
		t.Fatal(err)
	}
	w.svc = svc
	return w
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) authenticate(r *http.Request) (Caller, error) {
	c, ok := w.callers[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	if !ok {
		return Caller{}, errs.New(errs.Unauthenticated, "Access token is empty.")
	}
	return c, nil
}

// addUser makes a member of the tenant with the name.
func (w *world) addUser(name string) directory.ObjectID {
	w.t.Helper()
	u := &directory.User{
		Tenant: tenantID, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: name + "@" + domain, DisplayName: name, MailNickname: name,
		Enabled: true, Created: w.clock.Now(), PasswordHash: "plain:Old-Secret-" + name + "1",
	}
	w.update(func(tx *store.Tx) error { return state.CreateUser(tx, u) })
	return u.ID
}

func (w *world) role(id directory.ObjectID, template string) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		return state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenantID, ID: directory.NewGUID(), Role: template, Principal: id, Scope: "/"})
	})
}

// signIn lets a bearer token stand for a user with delegated permissions.
func (w *world) signIn(token string, id directory.ObjectID, scopes ...string) {
	w.callers[token] = Caller{Tenant: tenantID, ID: id, AppID: directory.AzureCLI, Scopes: scopes, Issued: w.clock.Now()}
}

// client makes an application with application permissions that is signed in
// by itself.
func (w *world) client(name string, roles ...string) *directory.ServicePrincipal {
	w.t.Helper()
	app := &directory.Application{Tenant: tenantID, ID: directory.ObjectID(directory.NewGUID()), AppID: directory.AppID(directory.NewGUID()), DisplayName: name, SignInAudience: "AzureADMyOrg", Created: w.clock.Now()}
	p := state.NewServicePrincipal(tenantID, app, w.clock.Now())
	w.update(func(tx *store.Tx) error {
		if err := state.Applications.Create(tx, app); err != nil {
			return err
		}
		return state.ServicePrincipals.Create(tx, p)
	})
	w.callers[name] = Caller{Tenant: tenantID, ID: p.ID, AppID: app.AppID, AppOnly: true, Roles: roles, Issued: w.clock.Now()}
	return p
}

// answer is a response with its decoded body.
type answer struct {
	t       testing.TB
	request string
	status  int
	header  http.Header
	raw     []byte
	body    map[string]any
}

func (w *world) do(token, method, path string, body any, headers ...string) *answer {
	w.t.Helper()
	var in io.Reader = http.NoBody
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	if !strings.HasPrefix(path, "/") {
		path = "/v1.0/" + path
	}
	r := httptest.NewRequest(method, "https://localhost:8443"+strings.ReplaceAll(path, " ", "%20"), in)
	if w.host != "" {
		r.Host = w.host
	}
	r.Header.Set("Authorization", "Bearer "+token)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	rec := httptest.NewRecorder()
	w.svc.ServeHTTP(rec, r)
	a := &answer{t: w.t, request: method + " " + path + " as " + token, status: rec.Code, header: rec.Header(), raw: rec.Body.Bytes()}
	_ = json.Unmarshal(a.raw, &a.body) // text and empty bodies have no map
	return a
}

// want fails the test unless the status is as given.
func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.request, a.status, status, a.raw)
	}
	return a
}

// refused fails the test unless the error is as given.
func (a *answer) refused(status int, code, text string) *answer {
	a.t.Helper()
	a.want(status)
	e, _ := a.body["error"].(map[string]any)
	message, _ := e["message"].(string)
	if e["code"] != code || !strings.Contains(message, text) {
		a.t.Fatalf("%s: got %v: %q, want %s: %q", a.request, e["code"], message, code, text)
	}
	inner, _ := e["innerError"].(map[string]any)
	if inner["request-id"] == nil || inner["client-request-id"] == nil || inner["date"] == nil {
		a.t.Fatalf("%s: innerError is %v", a.request, inner)
	}
	return a
}

func (a *answer) str(name string) string {
	a.t.Helper()
	s, ok := a.body[name].(string)
	if !ok {
		a.t.Fatalf("%s: %s is %v in %s", a.request, name, a.body[name], a.raw)
	}
	return s
}

// values returns a member of each element of the collection.
func (a *answer) values(name string) []string {
	a.t.Helper()
	list, ok := a.body["value"].([]any)
	if !ok {
		a.t.Fatalf("%s: no collection in %s", a.request, a.raw)
	}
	out := []string{}
	for _, v := range list {
		if s, ok := v.(string); ok && name == "" {
			out = append(out, s)
		} else if m, ok := v.(map[string]any); ok {
			s, _ := m[name].(string)
			out = append(out, s)
		}
	}
	return out
}

func obj(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i].(string)] = pairs[i+1]
	}
	return m
}

func (w *world) newGroup(token, name string) string {
	w.t.Helper()
	return w.do(token, "POST", "groups", obj("displayName", name, "mailNickname", strings.ReplaceAll(name, " ", ""), "mailEnabled", false, "securityEnabled", true)).want(201).str("id")
}

func (w *world) newApp(token, name string) *answer {
	w.t.Helper()
	return w.do(token, "POST", "applications", obj("displayName", name)).want(201)
}

func ref(id string) map[string]any {
	return obj("@odata.id", "https://graph.microsoft.com/v1.0/directoryObjects/"+id)
}

// member makes a user without roles who is signed in with Azure CLI's
// permission.
func (w *world) member(name string) directory.ObjectID {
	w.t.Helper()
	id := w.addUser(name)
	w.signIn(name, id, wire.AsUser)
	return id
}

func (e *events) last() *Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.all) == 0 {
		return &Event{}
	}
	return e.all[len(e.all)-1]
}

// doHost reads a path under another host name.
func (w *world) doHost(host, token, path string) *answer {
	w.t.Helper()
	w.host = host
	defer func() { w.host = "" }()
	return w.do(token, "GET", path, nil).want(200)
}
