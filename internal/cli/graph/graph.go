// Package graph is a client of Microsoft Graph for the command line.
//
// It is made of azcore's request pipeline: retries, tokens and errors are those
// of Microsoft's clients. msgraph-sdk-go is left out because the model of all of
// Graph that it brings is many times as large as this program, and because az
// prints what Graph answers as it comes, which a model would change.
package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/version"
)

// Object is an object of the directory as Graph wrote it.
type Object = map[string]any

// maxAnswer bounds one answer.
const maxAnswer = 64 << 20

// Client calls Microsoft Graph.
type Client struct {
	base     string // with the version
	host     string
	pipeline runtime.Pipeline
}

// New returns a client that works as a session does.
func New(s *azure.Session) *Client {
	o := s.Options().ClientOptions
	token := runtime.NewBearerTokenPolicy(s.Credential, []string{s.Cloud.GraphAudience + "/.default"}, nil)
	return &Client{base: s.Cloud.Graph + "/v1.0", host: s.Cloud.Graph, pipeline: runtime.NewPipeline("entrance", version.String(), runtime.PipelineOptions{PerRetry: []policy.Policy{token}}, &o)}
}

// Filter is a query with a filter.
func Filter(format string, values ...string) url.Values {
	quoted := make([]any, len(values))
	for i, v := range values {
		quoted[i] = Quote(v)
	}
	return url.Values{"$filter": {fmt.Sprintf(format, quoted...)}}
}

// Quote writes a string literal of a filter (OData 4.01, part 2, 5.1.1.6.1).
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// Get reads an object.
func (c *Client) Get(ctx context.Context, path string) (Object, error) {
	var out Object
	err := c.do(ctx, http.MethodGet, c.base+path, nil, &out)
	return out, err
}

// Post sends a body and returns the answer, which is nil where there is none.
func (c *Client) Post(ctx context.Context, path string, body any) (Object, error) {
	var out Object
	err := c.do(ctx, http.MethodPost, c.base+path, body, &out)
	return out, err
}

// Patch changes an object.
func (c *Client) Patch(ctx context.Context, path string, body any) error {
	return c.do(ctx, http.MethodPatch, c.base+path, body, nil)
}

// Delete deletes an object.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodDelete, c.base+path, nil, nil)
}

// List reads a whole collection, page by page.
func (c *Client) List(ctx context.Context, path string, query url.Values) ([]Object, error) {
	address := c.base + path
	if len(query) > 0 {
		// Graph wants %20, not +, and $ as it is.
		address += "?" + strings.NewReplacer("+", "%20", "%24", "$").Replace(query.Encode())
	}
	list := []Object{}
	for address != "" {
		var page struct {
			Value []Object `json:"value"`
			Next  string   `json:"@odata.nextLink"`
		}
		if err := c.do(ctx, http.MethodGet, address, nil, &page); err != nil {
			return nil, err
		}
		list = append(list, page.Value...)
		// The token goes to Graph only, wherever an answer points.
		if page.Next != "" && !strings.HasPrefix(page.Next, c.host+"/") {
			return nil, errs.New(errs.Internal, "Microsoft Graph names a next page on another host.")
		}
		address = page.Next
	}
	return list, nil
}

// First reads the first page of a collection.
func (c *Client) First(ctx context.Context, path string) ([]Object, error) {
	page := struct {
		Value []Object `json:"value"`
	}{Value: []Object{}}
	err := c.do(ctx, http.MethodGet, c.base+path, nil, &page)
	return page.Value, err
}

// One returns the only object of a collection that a query finds. what and name
// say what is missing otherwise.
func (c *Client) One(ctx context.Context, path string, query url.Values, what, name string) (Object, error) {
	list, err := c.List(ctx, path, query)
	if err != nil {
		return nil, err
	}
	switch len(list) {
	case 1:
		return list[0], nil
	case 0:
		return nil, errs.New(errs.NotFound, "No %s is called '%s'.", what, name)
	}
	return nil, errs.New(errs.Invalid, "More than one %s is called '%s'. Name it by its object id.", what, name)
}

// Reference is the body that names an object for a $ref collection.
func (c *Client) Reference(id string) Object {
	return Object{"@odata.id": c.base + "/directoryObjects/" + url.PathEscape(id)}
}

// do sends a request and decodes the answer into out, unless it is nil.
func (c *Client) do(ctx context.Context, method, address string, body, out any) error {
	req, err := runtime.NewRequest(ctx, method, address)
	if err != nil {
		return err
	}
	req.Raw().Header.Set("Accept", "application/json")
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			return err
		}
		if err := req.SetBody(streaming.NopCloser(bytes.NewReader(raw)), "application/json"); err != nil {
			return err
		}
	}
	resp, err := c.pipeline.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
		return runtime.NewResponseError(resp)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return err
	}
	if len(raw) > maxAnswer {
		return errs.New(errs.Internal, "The answer of Microsoft Graph is larger than %d MiB.", maxAnswer>>20)
	}
	if out == nil || len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	return json.Unmarshal(raw, out)
}

// Text returns a text property.
func Text(o Object, name string) string {
	s, _ := o[name].(string)
	return s
}

// IsGUID reports whether a name is an object id.
func IsGUID(s string) bool {
	_, ok := directory.ParseGUID(s)
	return ok
}

// check that the session's credential is what azcore wants.
var _ azcore.TokenCredential = (*azure.Credential)(nil)
