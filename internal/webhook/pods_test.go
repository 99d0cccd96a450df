package webhook_test

import (
	"bytes"
	"net/http"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/webhook"
)

// pods answers a review with the cluster's key and what was asked.
type pods struct{}

func (pods) Serve(w http.ResponseWriter, _ *http.Request, c *state.Cluster, body []byte) {
	w.Write([]byte(c.Key + " " + string(body)))
}

func (w *world) change(fn func(*state.Cluster)) {
	w.t.Helper()
	w.update(func(tx *store.Tx) error {
		return state.Clusters.Modify(tx, key, func(c *state.Cluster) error { fn(c); return nil })
	})
}

// TestMutatePods: pods are changed in clusters with workload identity, whether
// they have Entra or not, and for the cluster's own API server alone.
func TestMutatePods(t *testing.T) {
	w := newWorld(t)
	path := "/clusters/" + key + "/mutate-pods"
	ask := func(want int, body string) {
		t.Helper()
		code, got := w.postRaw(w.client, path, []byte("review"))
		if code != want || body != "" && string(got) != body {
			t.Errorf("HTTP %d %q, want %d", code, got, want)
		}
	}
	ask(http.StatusNotFound, "")
	w.change(func(c *state.Cluster) { c.WorkloadIdentity = true })
	ask(http.StatusOK, key+" review")
	w.change(func(c *state.Cluster) { c.Entra = false })
	ask(http.StatusOK, key+" review")
	// Without Entra nobody's tokens and rights are asked about.
	for _, other := range []string{"authenticate", "authorize", "deny"} {
		if code, _ := w.postRaw(w.client, "/clusters/"+key+"/"+other, []byte("{}")); code != http.StatusNotFound {
			t.Errorf("%s: HTTP %d, want 404", other, code)
		}
	}
	for name, c := range map[string]*http.Client{
		"another cluster":      w.clientOf(w.authority, webhook.Organization, "c2"),
		"another organization": w.clientOf(w.authority, "kubernetes", key),
	} {
		if code, got := w.postRaw(c, path, []byte("review")); code != http.StatusForbidden || bytes.Contains(got, []byte("review")) {
			t.Errorf("%s: HTTP %d %q, want 403", name, code, got)
		}
	}
	if code, _ := w.postRaw(w.client, path, bytes.Repeat([]byte("x"), 8<<20+1)); code != http.StatusRequestEntityTooLarge {
		t.Errorf("a review of more than 8 MiB: HTTP %d", code)
	}
}

// TestOwnIdentity: a connected cluster's own identity reads service accounts and
// keys there, and nothing else; nobody else does by it.
func TestOwnIdentity(t *testing.T) {
	w := newWorld(t)
	resource := func(verb, group, resource, sub, name string) authorizationv1.SubjectAccessReviewSpec {
		return authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: "n", Verb: verb, Group: group, Resource: resource, Subresource: sub, Name: name}}
	}
	path := func(verb, path string) authorizationv1.SubjectAccessReviewSpec {
		return authorizationv1.SubjectAccessReviewSpec{NonResourceAttributes: &authorizationv1.NonResourceAttributes{Verb: verb, Path: path}}
	}
	ask := func(spec authorizationv1.SubjectAccessReviewSpec) bool {
		spec.User, spec.Extra = string(w.app.ID), map[string]authorizationv1.ExtraValue{"oid": {string(w.app.ID)}}
		return w.access("authorize", spec).Allowed
	}
	account, keys := resource("get", "", "serviceaccounts", "", "app"), path("get", "/openid/v1/jwks")
	w.change(func(c *state.Cluster) { c.WorkloadIdentity, c.Issuer = true, "https://issuer.example/" })
	if ask(account) || ask(keys) {
		t.Error("an identity that is not the cluster's reads its service accounts or keys")
	}
	w.change(func(c *state.Cluster) { c.Identity = w.app.ID })
	if !ask(account) || !ask(keys) {
		t.Error("the cluster's own identity cannot read its service accounts and keys")
	}
	for name, spec := range map[string]authorizationv1.SubjectAccessReviewSpec{
		"list": resource("list", "", "serviceaccounts", "", ""), "all names": resource("get", "", "serviceaccounts", "", ""),
		"token": resource("create", "", "serviceaccounts", "token", "app"), "get a token": resource("get", "", "serviceaccounts", "token", "app"),
		"another group": resource("get", "x.example", "serviceaccounts", "", "app"), "secrets": resource("get", "", "secrets", "", "app"),
		"impersonate": resource("impersonate", "", "serviceaccounts", "", "app"),
		"post":        path("post", "/openid/v1/jwks"), "below": path("get", "/openid/v1/jwks/x"), "metrics": path("get", "/metrics"),
	} {
		if ask(spec) {
			t.Errorf("%s is allowed", name)
		}
	}
	// Switched off, it reads nothing.
	w.change(func(c *state.Cluster) { c.WorkloadIdentity, c.Issuer = false, "" })
	if ask(account) || ask(keys) {
		t.Error("the identity still reads after workload identity was switched off")
	}
}
