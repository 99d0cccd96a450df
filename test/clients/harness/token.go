package harness

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Reply is an answer of the token or device code endpoint.
type Reply struct {
	Status int
	Header http.Header
	Body   string
	JSON   map[string]any
}

// Text returns a member that is a string.
func (r *Reply) Text(name string) string {
	s, _ := r.JSON[name].(string)
	return s
}

// Code returns the AADSTS code of an error, 0 if there is none.
func (r *Reply) Code() int {
	list, _ := r.JSON["error_codes"].([]any)
	if len(list) != 1 {
		return 0
	}
	n, _ := list[0].(float64)
	return int(n)
}

// Post posts a form given as pairs of name and value.
func (c *Cloud) Post(path string, pairs ...string) *Reply {
	c.T.Helper()
	return c.PostWith(nil, path, pairs...)
}

// PostWith is Post with further headers.
func (c *Cloud) PostWith(header http.Header, path string, pairs ...string) *Reply {
	c.T.Helper()
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" || strings.HasPrefix(pairs[i], "=") {
			v.Add(strings.TrimPrefix(pairs[i], "="), pairs[i+1])
		}
	}
	return c.Send("POST", path, v.Encode(), header)
}

// Send sends a request with a raw form.
func (c *Cloud) Send(method, path, body string, header http.Header) *Reply {
	c.T.Helper()
	req, err := http.NewRequest(method, c.URL+path, strings.NewReader(body))
	if err != nil {
		c.T.Fatal(err)
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for k, list := range header {
		for _, v := range list {
			req.Header.Add(k, v)
		}
	}
	resp, err := c.Client().Do(req)
	if err != nil {
		c.T.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.T.Fatal(err)
	}
	r := &Reply{Status: resp.StatusCode, Header: resp.Header, Body: string(raw)}
	_ = json.Unmarshal(raw, &r.JSON) // pages are not JSON
	return r
}

// Get gets a document.
func (c *Cloud) Get(path string) *Reply {
	c.T.Helper()
	return c.Send("GET", path, "", nil)
}

// Want fails the test unless the reply is a success.
func (r *Reply) Want(c *Cloud) *Reply {
	c.T.Helper()
	if r.Status != 200 {
		c.T.Fatalf("status %d: %s", r.Status, r.Body)
	}
	return r
}

// TokenPath returns the v2 token endpoint of the tenant.
func (c *Cloud) TokenPath() string { return "/" + string(c.Tenant.ID) + "/oauth2/v2.0/token" }

// V1TokenPath returns the v1 token endpoint of the tenant.
func (c *Cloud) V1TokenPath() string { return "/" + string(c.Tenant.ID) + "/oauth2/token" }
