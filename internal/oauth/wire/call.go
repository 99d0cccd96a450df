// Package wire reads requests of the protocol, strictly, and writes its answers
// and errors.
package wire

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Call is one request under way.
type Call struct {
	W http.ResponseWriter
	R *http.Request

	Now  time.Time
	View *store.View
	Addr netip.Addr // of the connection
	V1   bool       // the form with resource instead of scope

	Trace, Correlation string

	// Authority is the first segment of the path: a tenant, common,
	// organizations, consumers or adfs. Tenant is nil unless it is a tenant.
	Authority string
	Tenant    *directory.Tenant

	Form url.Values
}

func fault(code aadsts.Code, args ...any) *aadsts.Error { return aadsts.New(code, args...) }

// New returns the call of a request and sets the headers of every answer.
func New(w http.ResponseWriter, r *http.Request, view *store.View, now time.Time, authority string, v1 bool) *Call {
	c := &Call{
		W: w, R: r, Now: now, View: view, V1: v1, Authority: authority, Trace: directory.NewGUID(), Correlation: directory.NewGUID(),
	}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		c.Addr = ap.Addr().Unmap()
	}
	if id, ok := directory.ParseGUID(r.Header.Get("client-request-id")); ok {
		c.Correlation = id
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("Expires", "-1")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	h.Set("x-ms-request-id", c.Trace)
	h.Set("x-ms-ests-server", "Entrance")
	if strings.EqualFold(r.Header.Get("return-client-request-id"), "true") {
		h.Set("client-request-id", c.Correlation)
	}
	return c
}

// maxForm is the longest form that is read. The longest real one carries an
// assertion with 200 groups.
const maxForm = 128 << 10

// ReadForm reads the query and the form strictly: no parameter twice, no query
// beside a form but for what clients put there. page is whether a browser comes
// here, with parameters of its own.
func (c *Call) ReadForm(page bool) error {
	var err error
	if c.Form, err = ParseForm(c.R.URL.RawQuery); err != nil {
		return err
	}
	if c.R.Method != http.MethodPost {
		return nil
	}
	kind, _, _ := strings.Cut(c.R.Header.Get("Content-Type"), ";")
	if c.R.ContentLength != 0 && !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return fault(9002313, "the body is not a form (application/x-www-form-urlencoded)")
	}
	body, err := readBody(c.W, c.R, maxForm)
	if err != nil {
		return err
	}
	posted, err := ParseForm(body)
	if err != nil {
		return err
	}
	for k, v := range posted {
		if old, twice := c.Form[k]; twice && old[0] != v[0] {
			return fault(9002313, "the parameter '"+k+"' is in the address and in the body")
		}
		c.Form[k] = v
	}
	// What proves somebody must not be in an address, where logs keep it.
	for _, k := range []string{"client_secret", "client_assertion", "assertion", "password", "code", "refresh_token", "device_code"} {
		if !page && c.R.URL.RawQuery != "" && posted.Get(k) == "" && c.Form.Get(k) != "" {
			return fault(9002313, "the parameter '"+k+"' belongs into the body")
		}
	}
	return nil
}

// maxParameters is more than any client sends.
const maxParameters = 64

// ParseForm parses application/x-www-form-urlencoded text, query or body. A
// parameter given twice, a broken escape and a semicolon are refused: two
// readers of such a text might read two different things.
func ParseForm(s string) (url.Values, error) {
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

// Need returns a parameter that must be there.
func (c *Call) Need(name string) (string, error) {
	v := c.Form.Get(name)
	if v == "" {
		return "", fault(900144, name)
	}
	return v, nil
}

// Authorities that stand for no tenant of their own.
const (
	Common        = "common"
	Organizations = "organizations"
	Consumers     = "consumers"
	ADFS          = "adfs"
)

// AnyTenant reports whether the authority stands for no tenant of its own.
func (c *Call) AnyTenant() bool {
	switch c.Authority {
	case Common, Organizations, Consumers, ADFS:
		return true
	}
	return false
}

// FindTenant finds the tenant that the path names: AADSTS90002 or AADSTS900023 if
// there is none.
func (c *Call) FindTenant() error {
	c.Authority = strings.ToLower(c.Authority)
	if c.AnyTenant() {
		return nil
	}
	if _, ok := directory.ParseGUID(c.Authority); !ok && !strings.Contains(c.Authority, ".") {
		return fault(900023, c.Authority)
	}
	t, err := state.FindTenant(c.View, c.Authority)
	if errs.Is(err, errs.NotFound) {
		return fault(90002, c.Authority)
	}
	c.Tenant = t
	return err
}

// Write answers with a JSON document.
func (c *Call) Write(log *slog.Logger, status int, doc any) {
	body, err := json.Marshal(doc)
	if err != nil {
		log.Error("encoding an answer", "trace", c.Trace, "error", err)
		http.Error(c.W, "internal error", http.StatusInternalServerError)
		return
	}
	c.W.Header().Set("Content-Type", "application/json; charset=utf-8")
	c.W.Header().Set("Content-Length", strconv.Itoa(len(body)))
	c.W.WriteHeader(status)
	if c.R.Method != http.MethodHead {
		c.W.Write(body)
	}
}

// Refuse answers a program with an error document. base is the public address.
func (c *Call) Refuse(log *slog.Logger, base string, e *aadsts.Error) {
	c.W.Header().Set("x-ms-clitelem", "1,"+strconv.Itoa(int(e.Code))+",0,,")
	if e.Status == http.StatusUnauthorized {
		if _, _, basic := c.R.BasicAuth(); basic {
			c.W.Header().Set("WWW-Authenticate", `Basic realm="`+base+`"`)
		}
	}
	c.Write(log, e.Status, e.Body(base, c.Trace, c.Correlation, c.Now))
}

// CORS answers a preflight and marks the answers that scripts of other sites
// may read. It reports whether the request is answered. methods are those of
// the endpoint.
func (c *Call) CORS(methods string) bool {
	origin := c.R.Header.Get("Origin")
	if origin == "" {
		return false
	}
	h := c.W.Header()
	// No cookie is ever looked at behind these endpoints, so any site may ask,
	// as with Entra.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "client-request-id, x-ms-request-id, x-ms-clitelem, Retry-After")
	if c.R.Method != http.MethodOptions {
		return false
	}
	h.Set("Access-Control-Allow-Methods", methods+", OPTIONS")
	h.Set("Access-Control-Max-Age", "3600")
	if asked := c.R.Header.Get("Access-Control-Request-Headers"); asked != "" {
		h.Set("Access-Control-Allow-Headers", "authorization, client-request-id, content-type, return-client-request-id, x-client-cpu, x-client-current-telemetry, x-client-last-telemetry, x-client-os, x-client-sku, x-client-ver, x-ms-lib-capability")
	}
	c.W.WriteHeader(http.StatusNoContent)
	return true
}

// readBody reads a body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) (string, error) {
	var b strings.Builder
	_, err := io.Copy(&b, http.MaxBytesReader(w, r.Body, limit))
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return "", fault(9002313, "the body is too long")
	}
	if err != nil {
		return "", fault(9002313, "the body could not be read").WithCause(err)
	}
	return b.String(), nil
}
