package governance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph"
	"github.com/entrance-id/entrance/internal/graph/governance"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

const tenantID = directory.TenantID("11111111-1111-4111-8111-111111111111")

// world is a tenant with the whole of Graph before it. Tokens are user names.
type world struct {
	t       *testing.T
	store   *store.Store
	clock   *clock.Manual
	svc     *graph.Service
	log     *audit.Recorder
	ids     map[string]directory.ObjectID
	callers map[string]graph.Caller
}

type plain struct{}

func (plain) Hash(_ context.Context, pw string) (string, error) { return pw, nil }
func (plain) Verify(_ context.Context, hash, pw string) (bool, bool, error) {
	return hash == pw, false, nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	tables := slices.Concat(state.Tables(), []store.AnyTable{state.Authenticators}, policy.Tables(), privileged.Tables())
	tables = slices.CompactFunc(tables, func(a, b store.AnyTable) bool { return a == b })
	seen := map[store.AnyTable]bool{}
	tables = slices.DeleteFunc(tables, func(a store.AnyTable) bool { again := seen[a]; seen[a] = true; return again })
	w := &world{
		t: t, store: storetest.Open(t, tables...), clock: clock.NewManual(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
		ids: map[string]directory.ObjectID{}, callers: map[string]graph.Caller{},
	}
	w.update(func(tx *store.Tx) error {
		return state.CreateTenant(tx, &directory.Tenant{ID: tenantID, DisplayName: "Contoso", Created: w.clock.Now(), Domains: []directory.Domain{{Name: "contoso.example", Default: true, Initial: true}}})
	})
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	var err error
	if w.log, err = audit.OpenRecorder(t.TempDir(), audit.RecorderOptions{Options: audit.Options{Clock: w.clock, Logger: logger}}); err != nil {
		t.Fatal(err)
	}
	keeper := policy.New(w.store, w.clock, logger)
	t.Cleanup(func() {
		keeper.Close()
		if err := w.log.Close(); err != nil {
			t.Error(err)
		}
	})
	w.user("admin", directory.GlobalAdministrator)
	w.svc, err = graph.New(graph.Config{
		Store: w.store, Clock: w.clock, Logger: logger, BaseURL: "https://localhost:8443", Passwords: plain{}, Audit: governance.Audit(w.log),
		Authenticate: func(r *http.Request) (graph.Caller, error) {
			c, ok := w.callers[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
			if !ok {
				return c, errs.New(errs.Unauthenticated, "Access token is empty.")
			}
			return c, nil
		},
		Routes: governance.Routes(governance.Config{Privileged: privileged.New(w.store, w.clock, logger), WhatIf: keeper.WhatIf, Logs: w.log, Devices: policy.NewDevices(w.store, w.clock, "https://localhost:8443")}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) update(fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.store.Update(context.Background(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// user makes a user who is signed in with Azure CLI and multifactor
// authentication.
func (w *world) user(name string, roles ...string) string {
	w.t.Helper()
	u := &directory.User{Tenant: tenantID, ID: directory.ObjectID(directory.NewGUID()), UserPrincipalName: name + "@contoso.example", DisplayName: name, Enabled: true, Created: w.clock.Now(), PasswordHash: "x"}
	w.update(func(tx *store.Tx) error {
		for _, r := range roles {
			if err := state.RoleAssignments.Create(tx, &directory.RoleAssignment{Tenant: tenantID, ID: directory.NewGUID(), Role: r, Principal: u.ID, Scope: "/"}); err != nil {
				return err
			}
		}
		return state.CreateUser(tx, u)
	})
	w.ids[name] = u.ID
	w.callers[name] = graph.Caller{Tenant: tenantID, ID: u.ID, AppID: directory.AzureCLI, Scopes: []string{wire.AsUser}, Issued: w.clock.Now(), Methods: []string{"pwd", "mfa"}}
	return string(u.ID)
}

type answer struct {
	t       *testing.T
	request string
	status  int
	raw     []byte
	body    map[string]any
}

func (w *world) do(token, method, path string, body any) *answer {
	w.t.Helper()
	in := io.Reader(http.NoBody)
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			w.t.Fatal(err)
		}
		in = bytes.NewReader(raw)
	}
	r := httptest.NewRequest(method, "https://localhost:8443/v1.0/"+strings.ReplaceAll(path, " ", "%20"), in)
	r.Header.Set("Authorization", "Bearer "+token)
	rec := httptest.NewRecorder()
	w.svc.ServeHTTP(rec, r)
	a := &answer{t: w.t, request: method + " " + path + " as " + token, status: rec.Code, raw: rec.Body.Bytes()}
	_ = json.Unmarshal(a.raw, &a.body)
	return a
}

func (a *answer) want(status int) *answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.request, a.status, status, a.raw)
	}
	return a
}

func (a *answer) refused(status int, code, text string) *answer {
	a.t.Helper()
	a.want(status)
	e, _ := a.body["error"].(map[string]any)
	if m, _ := e["message"].(string); e["code"] != code || !strings.Contains(m, text) {
		a.t.Fatalf("%s: got %v: %q, want %s: %q", a.request, e["code"], m, code, text)
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

func (a *answer) values(name string) []string {
	a.t.Helper()
	list, ok := a.body["value"].([]any)
	if !ok {
		a.t.Fatalf("%s: no collection in %s", a.request, a.raw)
	}
	out := []string{}
	for _, v := range list {
		m, _ := v.(map[string]any)
		s, _ := m[name].(string)
		out = append(out, s)
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

func list(v ...any) []any { return v }
