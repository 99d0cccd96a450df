// Package cloud reads what a cloud holds as a tenantfile.World, and takes the
// steps of a plan, over Microsoft Graph and Azure Resource Manager as any
// client does.
package cloud

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// Service is one of the two services of a cloud.
type Service int

// The services.
const (
	Graph Service = iota
	ARM
)

// Client calls the services of one cloud about one subscription.
type Client struct {
	// GraphURL and ARMURL are the addresses of the services, without a final
	// slash.
	GraphURL, ARMURL string
	Subscription     string
	HTTP             *http.Client
	// Token returns an access token for a service.
	Token func(context.Context, Service) (string, error)
	// Poll is how long to wait between two looks at a long operation.
	Poll time.Duration
}

// Failure is an answer that is an error.
type Failure struct {
	Status        int
	Code, Message string
}

// Error returns the code and the message, as az prints them.
func (f *Failure) Error() string {
	if f.Code == "" {
		return fmt.Sprintf("HTTP %d", f.Status)
	}
	return "(" + f.Code + ") " + f.Message
}

// Unwrap gives the error its kind.
func (f *Failure) Unwrap() error {
	switch f.Status {
	case http.StatusNotFound:
		return errs.New(errs.NotFound, "%s", f.Error())
	case http.StatusForbidden:
		return errs.New(errs.Forbidden, "%s", f.Error())
	case http.StatusConflict, http.StatusPreconditionFailed:
		return errs.New(errs.Conflict, "%s", f.Error())
	}
	return errs.New(errs.Invalid, "%s", f.Error())
}

func status(err error, code int) bool {
	var f *Failure
	return errors.As(err, &f) && f.Status == code
}

func coded(err error, code string) bool {
	var f *Failure
	return errors.As(err, &f) && f.Code == code
}

// maxAnswer bounds one answer.
const maxAnswer = 64 << 20

// tries is how often a request is made that is answered with "not now".
const tries = 4

// call makes a request to a path, or to a whole address of the service, with an
// optional JSON body.
func (c *Client) call(ctx context.Context, s Service, method, path string, body, out any) error {
	_, err := c.send(ctx, s, method, path, body, out)
	return err
}

func (c *Client) send(ctx context.Context, s Service, method, path string, body, out any) (http.Header, error) {
	base := c.ARMURL
	if s == Graph {
		base = c.GraphURL + "/v1.0"
	}
	if !strings.HasPrefix(path, "https://") {
		path = base + path
	} else if !strings.HasPrefix(path, c.ARMURL+"/") && !strings.HasPrefix(path, c.GraphURL+"/") {
		// A link leads on within the service; a token goes nowhere else.
		return nil, errs.New(errs.Invalid, "The answer links to another host than the service's own.")
	}
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	for try := 1; ; try++ {
		header, wait, err := c.once(ctx, s, method, path, raw, out)
		if err == nil || wait == 0 || try == tries {
			return header, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// once makes one request. wait is how long to wait before another try, 0 for
// none.
func (c *Client) once(ctx context.Context, s Service, method, address string, raw []byte, out any) (http.Header, time.Duration, error) {
	token, err := c.Token(ctx, s)
	if err != nil {
		return nil, 0, err
	}
	var body io.Reader
	if raw != nil {
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if raw != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.HTTP.Do(req)
	if err != nil {
		return nil, 0, errs.Wrap(errs.Unavailable, err, "The cloud does not answer")
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, 0, errs.Wrap(errs.Unavailable, err, "The answer of the cloud broke off")
	}
	if res.StatusCode >= 300 {
		wait := time.Duration(0)
		if res.StatusCode == http.StatusTooManyRequests || res.StatusCode == http.StatusServiceUnavailable {
			wait = time.Second
			if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 {
				wait = min(time.Duration(n)*time.Second, time.Minute)
			}
		}
		return nil, wait, failure(res.StatusCode, answer)
	}
	if out == nil || len(answer) == 0 {
		return res.Header, 0, nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return nil, 0, errs.Wrap(errs.Invalid, err, "The answer of the cloud is not JSON")
	}
	return res.Header, 0, nil
}

// failure reads the error body that Graph and Resource Manager share; AKS sends
// some without the envelope.
func failure(status int, body []byte) error {
	type fault struct{ Code, Message string }
	var wrapped struct{ Error fault }
	if json.Unmarshal(body, &wrapped) == nil && wrapped.Error.Code != "" {
		return &Failure{status, wrapped.Error.Code, wrapped.Error.Message}
	}
	var bare fault
	if json.Unmarshal(body, &bare) == nil && bare.Code != "" {
		return &Failure{status, bare.Code, bare.Message}
	}
	return &Failure{Status: status}
}

// list reads every page of a list.
func list[T any](ctx context.Context, c *Client, s Service, path string) ([]T, error) {
	var all []T
	for path != "" {
		var page struct {
			Value []T
			// Graph's link and Resource Manager's.
			GraphNext string `json:"@odata.nextLink"`
			ARMNext   string `json:"nextLink"`
		}
		if err := c.call(ctx, s, http.MethodGet, path, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Value...)
		path = page.GraphNext + page.ARMNext
	}
	return all, nil
}

// The api-versions that are spoken with Resource Manager.
const (
	versionResources   = "2021-04-01"
	versionClusters    = "2025-03-01"
	versionIdentities  = "2023-01-31"
	versionRoles       = "2022-04-01"
	versionSchedules   = "2020-10-01"
	versionManagements = "2020-05-01"
)

// at returns the path of something in the subscription, with its api-version.
func (c *Client) at(path, version string) string {
	return "/subscriptions/" + c.Subscription + path + "?api-version=" + version
}

func segment(s string) string { return url.PathEscape(s) }

func groupPath(group string) string { return "/resourceGroups/" + segment(group) }

// resourcePath is the path, below the subscription, of a resource that is
// called group/name.
func resourcePath(full, typ string) string {
	group, name, _ := strings.Cut(full, "/")
	return groupPath(group) + "/providers/" + typ + "/" + segment(name)
}

const (
	clusterType  = "Microsoft.ContainerService/managedClusters"
	identityType = "Microsoft.ManagedIdentity/userAssignedIdentities"
)
