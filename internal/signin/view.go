package signin

import (
	"bytes"
	"embed"
	"encoding/json"
	"html/template"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

//go:embed pages/*.html
var pageFiles embed.FS

// pages holds one template for each page, all over one frame.
var pages = func() map[string]*template.Template {
	frame := template.Must(template.New("frame.html").Funcs(template.FuncMap{
		"initial": initial,
		"json": func(v any) (string, error) {
			b, err := json.Marshal(v)
			return string(b), err
		},
	}).ParseFS(pageFiles, "pages/frame.html"))
	entries, err := pageFiles.ReadDir("pages")
	if err != nil {
		panic(err)
	}
	m := map[string]*template.Template{}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), ".html")
		if name != "frame" {
			m[name] = template.Must(template.Must(frame.Clone()).ParseFS(pageFiles, "pages/"+e.Name()))
		}
	}
	return m
}()

func initial(name string) string {
	for _, r := range name {
		return strings.ToUpper(string(r))
	}
	return "?"
}

// view is one request for a page.
type view struct {
	s    *Server
	w    http.ResponseWriter
	r    *http.Request
	now  time.Time
	db   *store.View
	addr netip.Addr
	form url.Values

	browser string // the browser's own secret, for form tokens
	flow    *flow
	raw     string // the flow as it came
	session *state.Session
}

// flow is where a browser stands on the pages: the question, and what has been
// answered of it. It proves nothing about the person.
type flow struct {
	Ask     state.Ask          `json:"a"`
	Tenant  directory.TenantID `json:"t,omitempty"`
	Name    string             `json:"n,omitempty"` // typed or picked
	Started time.Time          `json:"s"`
	ID      string             `json:"i"` // correlates the log's entries
}

const (
	flowPurpose = "sign-in pages"
	flowLife    = time.Hour
	maxForm     = 64 << 10
)

// problem is an error that is shown on its own page.
type problem struct {
	status int
	title  string
	text   string
}

func (p *problem) Error() string { return p.title + ": " + p.text }

var expired = &problem{http.StatusBadRequest, "This page has expired", "Go back to the application that you want to use and sign in again."}

// serve runs one page.
func (s *Server) serve(w http.ResponseWriter, r *http.Request, page func(*Server, *view) error) {
	v := &view{s: s, w: w, r: r, now: s.clock.Now(), db: s.store.View()}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		v.addr = ap.Addr().Unmap()
	}
	v.readBrowser()
	err := v.readForm()
	if err == nil {
		err = page(s, v)
	}
	if err == nil {
		return
	}
	p, ok := err.(*problem)
	if !ok {
		p = &problem{http.StatusInternalServerError, "Something went wrong", "It is not your fault. Try again in a moment."}
		if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Conflict) {
			p.status = http.StatusServiceUnavailable
		}
		s.log.Error("sign-in page failed", "path", r.URL.Path, "error", err)
	}
	v.show("error", p.status, map[string]any{"Title": p.title, "Text": p.text})
}

// readForm reads the query, or the form of a POST after its token was checked.
func (v *view) readForm() error {
	var err error
	if v.form, err = url.ParseQuery(v.r.URL.RawQuery); err != nil {
		return &problem{http.StatusBadRequest, "The address is not valid", "Go back and try again."}
	}
	if v.r.Method == http.MethodPost {
		v.r.Body = http.MaxBytesReader(v.w, v.r.Body, maxForm)
		if err := v.r.ParseForm(); err != nil {
			return &problem{http.StatusBadRequest, "The form could not be read", "Go back and try again."}
		}
		v.form = v.r.PostForm
		if err := v.checkToken(); err != nil {
			return err
		}
	}
	for k, list := range v.form {
		if len(list) > 1 {
			return &problem{http.StatusBadRequest, "The form could not be read", "The field " + k + " is there twice."}
		}
	}
	v.raw = v.form.Get("ctx")
	if v.raw != "" {
		var f flow
		if v.s.cfg.Sealer.Open(flowPurpose, v.raw, &f) == nil && v.now.Sub(f.Started) < flowLife {
			v.flow = &f
		}
	}
	return nil
}

// needFlow returns an error unless the browser comes with a question.
func (v *view) needFlow(kinds ...state.AskKind) error {
	if v.flow == nil {
		return expired
	}
	for _, k := range kinds {
		if v.flow.Ask.Kind == k {
			return nil
		}
	}
	if len(kinds) > 0 {
		return expired
	}
	return nil
}

// ticket seals the flow as it is now.
func (v *view) ticket() (string, error) { return v.s.cfg.Sealer.Seal(flowPurpose, v.flow) }

// goTo sends the browser to another page of ours, with the flow.
func (v *view) goTo(path string) error {
	ctx, err := v.ticket()
	if err != nil {
		return err
	}
	v.redirect(path + "?" + url.Values{"ctx": {ctx}}.Encode())
	return nil
}

// redirect answers 303: whatever was posted is not sent on.
func (v *view) redirect(to string) {
	v.headers("")
	v.w.Header().Set("Location", to)
	v.w.WriteHeader(http.StatusSeeOther)
}

// local reports whether a path leads to this server and nowhere else.
func local(path string) bool {
	u, err := url.Parse(path)
	return err == nil && strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") && !strings.HasPrefix(path, `/\`) && u.Host == "" && u.Scheme == ""
}

// back sends the browser back to the protocol.
func (v *view) back(path string) error {
	if !local(path) {
		return errs.New(errs.Internal, "signin: the way back leads elsewhere")
	}
	v.redirect(path)
	return nil
}

// headers sets what every answer has. forms is an origin that forms may lead to
// besides this server, frames are addresses that the page shows in frames.
func (v *view) headers(forms string, frames ...string) {
	h := v.w.Header()
	h.Set("Cache-Control", "no-store, no-cache")
	h.Set("Pragma", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin-allow-popups")
	h.Set("Strict-Transport-Security", "max-age=31536000; includeSubDomains")
	action := "'self'"
	if forms == "" && v.flow != nil {
		forms = v.flow.Ask.Target
	}
	if safeOrigin(forms) {
		action += " " + forms
	}
	framed := ""
	for _, f := range frames {
		u, err := url.Parse(f)
		if err != nil {
			continue
		}
		if origin := u.Scheme + "://" + u.Host; safeOrigin(origin) && !strings.Contains(framed+" ", " "+origin+" ") {
			framed += " " + origin
		}
	}
	if framed != "" {
		framed = " frame-src" + framed + ";"
	}
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self';"+framed+" form-action "+action+"; base-uri 'none'; frame-ancestors 'none'")
}

// safeOrigin keeps what is not an origin out of a header.
func safeOrigin(s string) bool {
	return s != "" && !strings.ContainsAny(s, " ;,'\"\r\n\t")
}

// show renders a page. What every page needs is added to data.
func (v *view) show(name string, status int, data map[string]any) {
	if data == nil {
		data = map[string]any{}
	}
	data["Page"] = name
	data["CSRF"] = v.token()
	data["CanPasskey"] = v.s.passkey != nil
	data["Ctx"] = v.raw
	if v.flow != nil {
		if ctx, err := v.ticket(); err == nil {
			data["Ctx"] = ctx
		}
		data["App"] = v.flow.Ask.ClientName
		data["Cancel"] = v.flow.Ask.Cancel
	}
	if data["Title"] == nil {
		data["Title"] = "Sign in"
	}
	var b bytes.Buffer
	if err := pages[name].ExecuteTemplate(&b, "frame.html", data); err != nil {
		v.s.log.Error("rendering a page", "page", name, "error", err)
		http.Error(v.w, "internal error", http.StatusInternalServerError)
		return
	}
	forms, _ := data["Forms"].(string)
	frames, _ := data["Tell"].([]string)
	v.headers(forms, frames...)
	v.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.w.WriteHeader(status)
	v.w.Write(b.Bytes())
}
