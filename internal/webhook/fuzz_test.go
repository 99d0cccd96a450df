package webhook_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/webhook"
)

// fuzzed is newWorld for a fuzz target. The embedded etcd works beside the
// target in the same process, so inputs look new that are not. By default the
// fuzzer would spend up to a minute on each of them, trying to make it smaller,
// and hardly ever get to the next.
func fuzzed(f *testing.F) *world {
	if err := flag.Set("test.fuzzminimizetime", "20x"); err != nil {
		f.Fatal(err)
	}
	return newWorld(f)
}

// direct asks the service without a network between, as the API server.
func (w *world) direct(endpoint string, body []byte) (int, []byte) {
	r := httptest.NewRequest(http.MethodPost, "/clusters/"+key+"/"+endpoint, bytes.NewReader(body))
	r.TLS = &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{{Subject: pkix.Name{Organization: []string{webhook.Organization}, CommonName: key}}}}}
	rec := httptest.NewRecorder()
	w.server.Config.Handler.ServeHTTP(rec, r)
	return rec.Code, rec.Body.Bytes()
}

// FuzzSubjectAccessReview: whatever the body is, nobody is allowed anything, unless
// the fuzzer were to guess an administrator's object id.
func FuzzSubjectAccessReview(f *testing.F) {
	w := fuzzed(f)
	for _, spec := range []authorizationv1.SubjectAccessReviewSpec{as(w.dev), as(w.dev, w.admins), as(w.outside)} {
		spec.ResourceAttributes = &authorizationv1.ResourceAttributes{Verb: "list", Resource: "nodes"}
		b, err := json.Marshal(map[string]any{"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","spec":{"user":"system:admin","nonResourceAttributes":{"path":"/","verb":"get"}}}`))
	f.Add([]byte(`{"apiVersion":"authorization.k8s.io/v1","kind":"SubjectAccessReview","status":{"allowed":true},"spec":{"user":"u","extra":{"oid":[]},"resourceAttributes":{}}}`))
	f.Add([]byte(`{"kind":"SubjectAccessReview"`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, endpoint := range []string{"authorize", "deny"} {
			code, out := w.direct(endpoint, body)
			switch code {
			case http.StatusOK:
				var got authorizationv1.SubjectAccessReview
				if err := json.Unmarshal(out, &got); err != nil {
					t.Fatalf("%s answers %q: %v", endpoint, out, err)
				}
				if got.Status.Allowed {
					t.Errorf("%s allows %q", endpoint, body)
				}
			case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
			default:
				t.Errorf("%s: HTTP %d for %q", endpoint, code, body)
			}
		}
	})
}

// FuzzTokenReview: whatever the body is, nobody is let in, for none holds a
// token that we signed.
func FuzzTokenReview(f *testing.F) {
	w := fuzzed(f)
	for _, token := range []string{"", "a.b.c", "eyJhbGciOiJub25lIn0.e30."} {
		f.Add(fmt.Appendf(nil, `{"apiVersion":"authentication.k8s.io/v1","kind":"TokenReview","spec":{"token":%q}}`, token))
	}
	f.Add([]byte(`{"apiVersion":"authentication.k8s.io/v1beta1","kind":"TokenReview","status":{"authenticated":true,"user":{"username":"system:admin"}}}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, body []byte) {
		code, out := w.direct("authenticate", body)
		switch code {
		case http.StatusOK:
			var got authenticationv1.TokenReview
			if err := json.Unmarshal(out, &got); err != nil {
				t.Fatalf("answers %q: %v", out, err)
			}
			if got.Status.Authenticated || got.Status.User.Username != "" {
				t.Errorf("%+v is let in by %q", got.Status.User, body)
			}
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		default:
			t.Errorf("HTTP %d for %q", code, body)
		}
	})
}

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
