package server

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
)

// TestDiscoveryOfAnAPIThatIsDown: what an aggregated API serves is not known
// while it is down. It is not forgotten for that: whoever may do "everything"
// must be allowed something in its group as well.
func TestDiscoveryOfAnAPIThatIsDown(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/api":
			fmt.Fprint(w, `{"kind":"APIVersions","versions":["v1"]}`)
		case "/apis":
			fmt.Fprint(w, `{"kind":"APIGroupList","apiVersion":"v1","groups":[{"name":"down.example.com","versions":[{"groupVersion":"down.example.com/v1","version":"v1"}],"preferredVersion":{"groupVersion":"down.example.com/v1","version":"v1"}}]}`)
		case "/api/v1":
			fmt.Fprint(w, `{"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","namespaced":true,"kind":"Pod","verbs":["get"]},{"name":"pods/log","namespaced":true,"kind":"Pod","verbs":["get"]}]}`)
		default:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(api.Close)
	list, err := (&resources{config: func(*state.Cluster) (*rest.Config, error) { return &rest.Config{Host: api.URL}, nil }}).ask(&state.Cluster{Key: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []k8s.Resource{{Resource: "pods", Namespaced: true}, {Group: "down.example.com", Resource: "unlisted", Namespaced: true}}
	if !slices.Equal(list.All(), want) {
		t.Errorf("%+v, want %+v", list.All(), want)
	}
}
