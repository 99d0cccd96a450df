package oauth

import (
	"net/http"
	"strconv"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/grant"
	"github.com/entrance-id/entrance/internal/oauth/wire"
)

// call is one request under way.
type call struct {
	*wire.Call
	e    endpoint
	rest string       // of the path, where an endpoint has one
	g    *grant.Grant // the attempt that the request makes, for the log

	device *conditionalaccess.Device // that the request has proven
	asked  bool                      // whether that is known: a proof works once

	back string // path by which a person who is shown an error goes back to the client
}

// attempt begins a grant, so that what goes wrong from here on is logged.
func (c *call) attempt(name string, step conditionalaccess.Step) *grant.Grant {
	c.g = &grant.Grant{Name: name, Step: step, Tenant: c.Tenant}
	return c.g
}

// fault returns the error of a code.
func fault(code aadsts.Code, args ...any) *aadsts.Error { return aadsts.New(code, args...) }

// fail answers with an error: as a page to a person, as a document to a program.
func (p *Provider) fail(c *call, err error) {
	e := aadsts.From(err)
	p.audit(c, c.g, e)
	p.record(c, e)
	if e.RetryAfter > 0 {
		c.W.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if c.e.page {
		text := e.Text
		if e.Status == http.StatusInternalServerError {
			text = "Something went wrong on our side."
		}
		p.cfg.SignIn.Fail(c.W, c.R, e.Status, int(e.Code), text, c.Trace, c.Correlation, c.Now, c.back)
		return
	}
	c.Refuse(p.log, p.base, e)
}

// record writes the log line of a refusal; the cause is there and nowhere else.
func (p *Provider) record(c *call, e *aadsts.Error) {
	if e.Status >= 500 {
		p.log.Error("token request failed", "trace", c.Trace, "correlation", c.Correlation, "path", c.R.URL.Path, "code", e.Code, "error", e.Err)
		return
	}
	p.log.Debug("token request refused", "trace", c.Trace, "correlation", c.Correlation, "path", c.R.URL.Path, "code", e.Code, "cause", e.Err)
}
