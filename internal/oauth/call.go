package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// call is one request under way.
type call struct {
	w http.ResponseWriter
	r *http.Request
	e endpoint

	now  time.Time
	view *store.View
	addr netip.Addr // of the connection
	v1   bool

	trace, correlation string

	// authority is the first segment of the path: a tenant, common,
	// organizations, consumers or adfs. tenant is nil unless it is a tenant.
	authority string
	tenant    *directory.Tenant
	rest      string

	form url.Values
	g    *grant // the attempt that the request makes, for the log

	device *conditionalaccess.Device // that the request has proven
	asked  bool                      // whether that is known: a proof works once
}

func (p *Provider) newCall(w http.ResponseWriter, r *http.Request, segment string, e endpoint, rest string) *call {
	c := &call{
		w: w, r: r, e: e, now: p.clock.Now(), view: p.store.View(), v1: e.v1,
		authority: segment, rest: rest, trace: directory.NewGUID(), correlation: directory.NewGUID(),
	}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.addr = ap.Addr().Unmap()
	}
	if id, ok := directory.ParseGUID(r.Header.Get("client-request-id")); ok {
		c.correlation = id
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("x-ms-request-id", c.trace)
	h.Set("x-ms-ests-server", "Entrance")
	if strings.EqualFold(r.Header.Get("return-client-request-id"), "true") {
		h.Set("client-request-id", c.correlation)
	}
	return c
}

// maxForm is the longest form that is read. The longest real one carries an
// assertion with 200 groups.
const maxForm = 128 << 10

// readForm reads the query and the form strictly: no parameter twice, no query
// beside a form but for what clients put there.
func (p *Provider) readForm(c *call) error {
	var err error
	if c.form, err = parseForm(c.r.URL.RawQuery); err != nil {
		return err
	}
	if c.r.Method != http.MethodPost {
		return nil
	}
	kind, _, _ := strings.Cut(c.r.Header.Get("Content-Type"), ";")
	if c.r.ContentLength != 0 && !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return fault(9002313, "the body is not a form (application/x-www-form-urlencoded)")
	}
	body, err := readBody(c.w, c.r, maxForm)
	if err != nil {
		return err
	}
	posted, err := parseForm(body)
	if err != nil {
		return err
	}
	for k, v := range posted {
		if old, twice := c.form[k]; twice && old[0] != v[0] {
			return fault(9002313, "the parameter '"+k+"' is in the address and in the body")
		}
		c.form[k] = v
	}
	// What proves somebody must not be in an address, where logs keep it.
	for _, k := range []string{"client_secret", "client_assertion", "assertion", "password", "code", "refresh_token", "device_code"} {
		if !c.e.page && c.r.URL.RawQuery != "" && posted.Get(k) == "" && c.form.Get(k) != "" {
			return fault(9002313, "the parameter '"+k+"' belongs into the body")
		}
	}
	return nil
}

// maxParameters is more than any client sends.
const maxParameters = 64

// parseForm parses application/x-www-form-urlencoded text, query or body. A
// parameter given twice, a broken escape and a semicolon are refused: two
// readers of such a text might read two different things.
func parseForm(s string) (url.Values, error) {
	if strings.Count(s, "&") >= maxParameters {
		return nil, fault(9002313, "too many parameters")
	}
	form, err := url.ParseQuery(s)
	if err != nil {
		return nil, fault(9002313, "the parameters are not well-formed")
	}
	for k, v := range form {
		if len(v) != 1 {
			return nil, fault(9002313, "the parameter '"+k+"' is given more than once")
		}
		if strings.ContainsRune(v[0], 0) || strings.ContainsRune(k, 0) {
			return nil, fault(9002313, "a parameter holds a zero byte")
		}
	}
	return form, nil
}

// need returns a parameter that must be there.
func (c *call) need(name string) (string, error) {
	v := c.form.Get(name)
	if v == "" {
		return "", fault(900144, name)
	}
	return v, nil
}

// Authorities that stand for no tenant of their own.
const (
	common        = "common"
	organizations = "organizations"
	consumers     = "consumers"
	adfs          = "adfs"
)

func (c *call) anyTenant() bool {
	switch c.authority {
	case common, organizations, consumers, adfs:
		return true
	}
	return false
}

func (p *Provider) findTenant(c *call) error {
	c.authority = strings.ToLower(c.authority)
	if c.anyTenant() {
		return nil
	}
	if _, ok := directory.ParseGUID(c.authority); !ok && !strings.Contains(c.authority, ".") {
		return fault(900023, c.authority)
	}
	t, err := state.FindTenant(c.view, c.authority)
	if errs.Is(err, errs.NotFound) {
		return fault(90002, c.authority)
	}
	c.tenant = t
	return err
}

// fault returns the error of a code.
func fault(code aadsts.Code, args ...any) *aadsts.Error { return aadsts.New(code, args...) }

func throttled(wait time.Duration) *aadsts.Error {
	e := fault(90055)
	e.RetryAfter = wait
	return e
}

// fail answers with an error: as a page to a person, as a document to a program.
func (p *Provider) fail(c *call, err error) {
	e := aadsts.From(err)
	p.audit(c, c.g, e)
	p.record(c, e)
	if e.RetryAfter > 0 {
		c.w.Header().Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	if c.e.page {
		text := e.Text
		if e.Status == http.StatusInternalServerError {
			text = "Something went wrong on our side."
		}
		p.cfg.SignIn.Fail(c.w, c.r, e.Status, int(e.Code), text, c.trace, c.correlation, c.now)
		return
	}
	c.w.Header().Set("x-ms-clitelem", "1,"+strconv.Itoa(int(e.Code))+",0,,")
	if e.Status == http.StatusUnauthorized {
		if _, _, basic := c.r.BasicAuth(); basic {
			c.w.Header().Set("WWW-Authenticate", `Basic realm="`+p.base+`"`)
		}
	}
	p.write(c, e.Status, e.Body(p.base, c.trace, c.correlation, c.now))
}

// record writes the log line of a refusal; the cause is there and nowhere else.
func (p *Provider) record(c *call, e *aadsts.Error) {
	if e.Status >= 500 {
		p.log.Error("token request failed", "trace", c.trace, "correlation", c.correlation, "path", c.r.URL.Path, "code", e.Code, "error", e.Err)
		return
	}
	p.log.Debug("token request refused", "trace", c.trace, "correlation", c.correlation, "path", c.r.URL.Path, "code", e.Code, "cause", e.Err)
}

func (p *Provider) write(c *call, status int, doc any) {
	body, err := json.Marshal(doc)
	if err != nil {
		p.log.Error("encoding an answer", "trace", c.trace, "error", err)
		http.Error(c.w, "internal error", http.StatusInternalServerError)
		return
	}
	c.w.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.w.WriteHeader(status)
	if c.r.Method != http.MethodHead {
		c.w.Write(body)
	}
}

// readBody reads a body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (string, error) {
	var b strings.Builder
	_, err := copyLimited(&b, http.MaxBytesReader(w, r.Body, limit))
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return "", fault(9002313, "the body is too long")
	}
	if err != nil {
		return "", fault(9002313, "the body could not be read").WithCause(err)
	}
	return b.String(), nil
}
