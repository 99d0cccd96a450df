package pim

import (
	"context"
	"net/http"
	"net/url"
	"strings"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/cli/graph"
	"github.com/entrance-id/entrance/internal/rbac"
)

// authorization begins the path of what hangs on a scope.
const authorization = "/providers/Microsoft.Authorization/"

// API versions: schedules, and approvals, which have no stable one and no client
// in Microsoft's modules.
const (
	schedulesVersion = "2020-10-01"
	approvalsVersion = "2021-01-01-preview"
)

// resourceManager calls Azure Resource Manager about schedules.
type resourceManager struct{ s *azure.Session }

func newResourceManager(s *azure.Session) *resourceManager { return &resourceManager{s} }

func (r *resourceManager) put(ctx context.Context, path string, body any) (graph.Object, error) {
	var out graph.Object
	return out, r.do(ctx, http.MethodPut, path, schedulesVersion, nil, body, &out)
}

// list reads a collection, page by page.
func (r *resourceManager) list(ctx context.Context, path, version, filter string) ([]graph.Object, error) {
	var list []graph.Object
	query := url.Values{}
	if filter != "" {
		query.Set("$filter", filter)
	}
	for next := path; next != ""; {
		var page struct {
			Value []graph.Object `json:"value"`
			Next  string         `json:"nextLink"`
		}
		if err := r.do(ctx, http.MethodGet, next, version, query, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Value...)
		u, err := url.Parse(page.Next)
		if err != nil || page.Next == "" {
			return list, err
		}
		// The token goes to this Resource Manager only, wherever an answer points.
		next, query = u.Path, u.Query()
		query.Del("api-version")
	}
	return list, nil
}

func (r *resourceManager) do(ctx context.Context, method, path, apiVersion string, query url.Values, body, out any) error {
	q := url.Values{"api-version": {apiVersion}}
	for k, v := range query {
		q[k] = v
	}
	return r.s.Call(ctx, method, path, q, body, out)
}

// roleName is the name of a built-in role, or the id of another.
func roleName(id string) string {
	guid := id[strings.LastIndexByte(id, '/')+1:]
	for _, r := range rbac.BuiltInRoles() {
		if strings.EqualFold(r.ID, guid) {
			return r.Name
		}
	}
	return guid
}
