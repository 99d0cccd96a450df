package wire

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

// maxBatch is Microsoft Graph's limit on the requests of a batch.
const maxBatch = 20

type batchRequest struct {
	ID        string            `json:"id"`
	Method    string            `json:"method"`
	URL       string            `json:"url"`
	Headers   map[string]string `json:"headers"`
	Body      json.RawMessage   `json:"body"`
	DependsOn []string          `json:"dependsOn"`
}

// batch runs the requests of a $batch in order, all as the caller of the batch:
// an Authorization header inside is refused, as it would mix callers.
func (s *Server) batch(c *Call) (*Response, error) {
	members, err := ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var requests []batchRequest
	if err := members.Fields(map[string]any{"requests": &requests}, "requests"); err != nil {
		return nil, err
	}
	if len(requests) == 0 || len(requests) > maxBatch {
		return nil, Fail(http.StatusBadRequest, CodeNoSegment, "Invalid batch payload format: number of batch request steps must be between 1 and %d.", maxBatch)
	}
	status := map[string]int{}
	for i, r := range requests {
		_, twice := status[r.ID]
		switch {
		case r.ID == "" || len(r.ID) > 200 || twice:
			return nil, Fail(http.StatusBadRequest, CodeNoSegment, "Invalid batch payload format: every request needs an id of its own.")
		case !slices.Contains([]string{"GET", "POST", "PATCH", "PUT", "DELETE"}, strings.ToUpper(r.Method)):
			return nil, Fail(http.StatusBadRequest, CodeNoSegment, "Invalid batch payload format: the method of request '%s' is missing or not supported.", r.ID)
		case r.URL == "" || len(r.URL) > 16<<10:
			return nil, Fail(http.StatusBadRequest, CodeNoSegment, "Invalid batch payload format: the url of request '%s' is missing or too long.", r.ID)
		}
		for name := range r.Headers {
			if strings.EqualFold(name, "Authorization") {
				return nil, Fail(http.StatusBadRequest, CodeNoSegment, "Invalid batch payload format: request '%s' has an Authorization header; all requests of a batch run as the caller of the batch.", r.ID)
			}
		}
		// Only earlier requests can be depended on, so there are no circles.
		for _, d := range r.DependsOn {
			if !slices.ContainsFunc(requests[:i], func(e batchRequest) bool { return e.ID == d }) {
				return nil, Fail(http.StatusBadRequest, CodeNoSegment, "Invalid batch payload format: request '%s' depends on '%.100s', which does not come before it.", r.ID, d)
			}
		}
		status[r.ID] = 0
	}
	var responses []Object
	for _, r := range requests {
		resp := s.step(c, &r, status)
		status[r.ID] = resp.Status
		headers := map[string]string{"Cache-Control": "no-cache"}
		for k := range resp.Header {
			headers[k] = resp.Header.Get(k)
		}
		o := Object{{"id", r.ID}, {"status", resp.Status}}
		body := resp.Body
		if resp.Text != "" {
			headers["Content-Type"] = "text/plain"
			body = resp.Text
		} else if body != nil {
			headers["Content-Type"] = contentType
		}
		o = append(o, Member{"headers", headers})
		if body != nil {
			o = append(o, Member{"body", body})
		}
		responses = append(responses, o)
	}
	return OK(Object{{"responses", responses}}), nil
}

// step runs one request of a batch.
func (s *Server) step(c *Call, r *batchRequest, status map[string]int) *Response {
	sub := &Call{
		Context: c.Context, Method: strings.ToUpper(r.Method), Header: http.Header{}, Version: c.Version, Root: c.Root,
		RemoteAddr: c.RemoteAddr, RequestID: c.RequestID, CorrelationID: c.CorrelationID,
	}
	sub.Caller = c.Caller
	for _, d := range r.DependsOn {
		if status[d] >= 400 {
			return s.failure(sub, Fail(http.StatusFailedDependency, "FailedDependency", "The request failed because the request '%s' on which it depends failed.", d))
		}
	}
	for k, v := range r.Headers {
		sub.Header.Set(k, v)
	}
	sub.Path, sub.Query, _ = strings.Cut(strings.TrimLeft(r.URL, "/"), "?")
	if len(r.Body) > 0 && string(r.Body) != "null" {
		sub.Body = r.Body
	}
	if strings.EqualFold(strings.Trim(sub.Path, "/"), "$batch") {
		return s.failure(sub, Fail(http.StatusBadRequest, CodeNoSegment, "A batch cannot hold a batch."))
	}
	resp, err := s.dispatch(sub)
	if err != nil {
		return s.failure(sub, err)
	}
	return resp
}
