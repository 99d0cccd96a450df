package webhook_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
	"github.com/entrance-id/entrance/internal/webhook"
)

// TestBoundedStaleness: a view of whose freshness there is no recent proof
// answers nothing, neither yes nor no; the API server's failure policy decides.
func TestBoundedStaleness(t *testing.T) {
	w := newWorld(t)
	for _, tc := range []struct {
		maxAge time.Duration
		want   int
	}{{time.Nanosecond, http.StatusServiceUnavailable}, {time.Minute, http.StatusBadRequest}, {0, http.StatusBadRequest}} {
		w.server.Config.Handler = webhook.New(webhook.Config{Store: w.store, Clock: clock.Func(time.Now), Logger: slog.New(slog.DiscardHandler), MaxAge: tc.maxAge})
		for _, endpoint := range []string{"authenticate", "authorize", "deny"} {
			if code, out := w.postRaw(w.client, "/clusters/"+key+"/"+endpoint, []byte("{}")); code != tc.want {
				t.Errorf("%s at a limit of %v: HTTP %d %s, want %d", endpoint, tc.maxAge, code, out, tc.want)
			}
		}
	}
}

// TestNamesInAnyCase: a user principal name is one name however it is written,
// for yes and for no.
func TestNamesInAnyCase(t *testing.T) {
	w := newWorld(t)
	spec := as(w.admin)
	spec.User = "ADA@Contoso.Test"
	if got := w.access("authorize", spec); !got.Allowed {
		t.Errorf("authorize: %+v", got)
	}
	spec = as(w.dev, w.admins)
	spec.User = "DEV@Contoso.Test"
	if got := w.access("deny", spec); !got.Denied {
		t.Errorf("deny, with a group that is not theirs: %+v", got)
	}
	// Letters that Unicode folds into those of ASCII are others.
	for _, name := range []string{"ada@conto\u017fo.test", "ADA@CONTO\u017fO.TEST", "ada@contoso.test ", "ada@contoso.test\x00", string(w.admin.ID)} {
		spec = as(w.admin)
		spec.User = name
		if got := w.access("authorize", spec); got.Allowed || got.Denied {
			t.Errorf("authorize %q: %+v, want no opinion", name, got)
		}
	}
}

// TestRenamed: the API server may hold a review with the name that the user had.
// It opens nothing, and hides nothing from the denying webhook.
func TestRenamed(t *testing.T) {
	w := newWorld(t)
	old := as(w.admin, w.admins, w.nested)
	change := func(f func(*directory.User)) {
		t.Helper()
		w.update(func(tx *store.Tx) error {
			return state.Users.Modify(tx, state.Key(w.tenant, w.admin.ID), func(u *directory.User) error { f(u); return nil })
		})
	}
	change(func(u *directory.User) { u.UserPrincipalName = "left-ada@contoso.test" })
	if got := w.access("deny", old); got.Denied {
		t.Errorf("deny, renamed: %+v", got)
	}
	if got := w.access("authorize", old); got.Allowed {
		t.Errorf("authorize, renamed: %+v", got)
	}
	w.update(func(tx *store.Tx) error { return state.Unlink(tx, directory.Member, w.tenant, w.admins, w.nested) })
	if got := w.access("deny", old); !got.Denied || !strings.Contains(got.Reason, string(w.admins)) {
		t.Errorf("deny, renamed and out of the group: %+v", got)
	}
	change(func(u *directory.User) { u.Enabled = false })
	if got := w.access("deny", as(w.admin)); !got.Denied || !strings.Contains(got.Reason, "disabled") {
		t.Errorf("deny, renamed and disabled: %+v", got)
	}
	// Whoever impersonates a name of Kubernetes' own is not our business.
	spec := as(w.admin, w.admins)
	spec.User = "system:serviceaccount:default:robot"
	if got := w.access("deny", spec); got.Denied {
		t.Errorf("deny, as a service account: %+v", got)
	}
}

// TestSystemUsersAreToldSo: names that Kubernetes keeps for itself are turned
// away for that, before anything is looked up.
func TestSystemUsersAreToldSo(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"system:serviceaccount:a:b", "SYSTEM:admin"} {
		spec := as(w.admin)
		spec.User = name
		if got := w.access("authorize", spec); got.Allowed || got.Denied || got.Reason != "Azure does not have opinion for this user." {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestNobodyIsOneOfTheClustersOwn is abuse case 32: a name that Kubernetes keeps
// for itself is refused even if it has found its way into the directory.
func TestNobodyIsOneOfTheClustersOwn(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"system:kube-scheduler", "SYSTEM:admin@contoso.test"} {
		u := *w.dev
		u.ID, u.UserPrincipalName = directory.ObjectID(directory.NewGUID()), name
		w.update(func(tx *store.Tx) error { return state.Users.Create(tx, &u) }) // past every check
		if got := w.review(w.mint(&u, nil, nil)); got.Authenticated || got.User.Username != "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// TestRevokedForAnAPIServerThatVerifiesTokensItself: it is not told of a
// revocation by a TokenReview, so the token's own time counts, for as long as
// the token does.
func TestRevokedForAnAPIServerThatVerifiesTokensItself(t *testing.T) {
	w := newWorld(t)
	revoked := w.clock.Now()
	w.update(func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(w.tenant, w.dev.ID), func(u *directory.User) error { u.AccessRevoked = revoked; return nil })
	})
	w.clock.Advance(time.Hour)
	for _, tc := range []struct {
		extra map[string]authorizationv1.ExtraValue
		deny  bool
	}{
		{map[string]authorizationv1.ExtraValue{state.ExtraOID: {string(w.dev.ID)}}, false},
		{map[string]authorizationv1.ExtraValue{state.ExtraObject: {string(w.dev.ID)}}, true},
		{map[string]authorizationv1.ExtraValue{state.ExtraObject: {string(w.dev.ID)}, state.ExtraIssued: {"soon"}}, true},
		{map[string]authorizationv1.ExtraValue{state.ExtraObject: {string(w.dev.ID)}, state.ExtraIssued: {}}, true},
		{map[string]authorizationv1.ExtraValue{state.ExtraOID: {string(w.dev.ID)}, state.ExtraIssued: {"0"}}, true},
		{map[string]authorizationv1.ExtraValue{state.ExtraObject: {string(w.dev.ID)}, state.ExtraIssued: {fmt.Sprint(revoked.Add(-token.Slack).Unix() - 1)}}, true},
		{map[string]authorizationv1.ExtraValue{state.ExtraObject: {string(w.dev.ID)}, state.ExtraIssued: {fmt.Sprint(revoked.Add(-token.Slack).Unix())}}, false},
	} {
		spec := as(w.dev)
		spec.Extra = tc.extra
		if got := w.access("deny", spec); got.Denied != tc.deny || tc.deny && !strings.Contains(got.Reason, "revoked") {
			t.Errorf("%v: %+v, want denied %v", tc.extra, got, tc.deny)
		}
	}
	// Two object ids are none, under whatever keys they come.
	spec := as(w.admin)
	spec.Extra[state.ExtraObject] = authorizationv1.ExtraValue{string(w.admin.ID)}
	if got := w.access("authorize", spec); got.Allowed {
		t.Errorf("with two object ids: %+v", got)
	}
}

// TestCertificatesAreRenewed: for the cluster that asks, and for no other.
func TestCertificatesAreRenewed(t *testing.T) {
	w := newWorld(t)
	var asked string
	w.server.Config.Handler = webhook.New(webhook.Config{Store: w.store, Clock: w.clock, Logger: slog.New(slog.DiscardHandler), Renew: func(key string, csr []byte) ([]byte, error) {
		asked = key
		if string(csr) != "a request" {
			return nil, errs.New(errs.Invalid, "That is no request.")
		}
		return []byte("a chain"), nil
	}})
	if code, out := w.postRaw(w.client, "/clusters/"+key+"/certificate", []byte("a request")); code != http.StatusOK || string(out) != "a chain" || asked != key {
		t.Errorf("HTTP %d %s for %q", code, out, asked)
	}
	asked = ""
	if code, out := w.postRaw(w.client, "/clusters/"+key+"/certificate", []byte("x")); code != http.StatusBadRequest {
		t.Errorf("something else: HTTP %d %s", code, out)
	}
	asked = ""
	if code, _ := w.postRaw(w.client, "/clusters/c2/certificate", []byte("a request")); code != http.StatusForbidden || asked != "" {
		t.Errorf("another cluster's: HTTP %d, asked %q", code, asked)
	}
	if code, _ := w.postRaw(w.client, "/clusters/"+key+"/certificate", bytes.Repeat([]byte("a"), 1<<20)); code != http.StatusRequestEntityTooLarge || asked != "" {
		t.Errorf("1 MiB: HTTP %d", code)
	}
}

func TestProbes(t *testing.T) {
	w := newWorld(t)
	s := webhook.New(webhook.Config{Store: w.store, Clock: w.clock, Logger: slog.New(slog.DiscardHandler)})
	w.server.Config.Handler = s
	const name = webhook.ProbePrefix + "1"
	spec := as(w.dev)
	spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Verb: "get", Resource: "configmaps", Name: name}
	for _, want := range [][2]bool{{false, false}, {true, false}, {true, true}} {
		if deny, authorize := s.Probed(key, name); deny != want[0] || authorize != want[1] {
			t.Errorf("%v %v, want %v", deny, authorize, want)
		}
		w.access(map[bool]string{false: "deny", true: "authorize"}[want[0]], spec)
	}
	if deny, authorize := s.Probed("c2", name); deny || authorize {
		t.Error("another cluster was asked")
	}
	if deny, authorize := s.Probed(key, webhook.ProbePrefix+"2"); deny || authorize {
		t.Error("another probe came")
	}
}
