package webhook_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

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
