package login

import (
	"bufio"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// browserLife is how long a person has to finish a sign-in in the browser: as
// long as a device code lives.
const browserLife = 15 * time.Minute

// interactive signs in with a browser and a listener on this machine.
type interactive struct {
	*entra
	redirect *url.URL
}

func newInteractive(e *entra) (method, error) {
	m := &interactive{entra: e, redirect: &url.URL{Scheme: "http", Host: "localhost"}}
	if e.o.PoPEnabled {
		if _, err := ParsePoPClaims(e.o.PoPClaims); err != nil {
			return nil, err
		}
	}
	if e.o.RedirectURL != "" {
		u, err := url.Parse(e.o.RedirectURL)
		if err != nil || u.Host == "" {
			return nil, fmt.Errorf("redirect URL %q is not a URL", e.o.RedirectURL)
		}
		if u.Scheme != "http" || !isLoopback(u.Hostname()) {
			return nil, fmt.Errorf("redirect URL %q cannot be listened on: it must be http://localhost or a loopback address", e.o.RedirectURL)
		}
		m.redirect = u
	}
	return m, nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func (m *interactive) name() string    { return popName(m.o, "InteractiveBrowserCredential") }
func (m *interactive) account() string { return sameFold(m.o.LoginHint) }
func (m *interactive) human() bool     { return true }

func (m *interactive) refresh(ctx context.Context, token string) (*tokenResponse, error) {
	return m.publicRefresh(ctx, token)
}

// callback is what the browser brought back.
type callback struct {
	code string
	err  error
}

func (m *interactive) acquire(ctx context.Context) (*tokenResponse, error) {
	ends, err := m.client.resolve(ctx)
	if err != nil {
		return nil, err
	}
	listeners, port, err := listen(m.redirect)
	if err != nil {
		return nil, err
	}
	redirect := *m.redirect
	redirect.Host = net.JoinHostPort(m.redirect.Hostname(), port)

	// When no browser opens by itself, the answer must be visible in the
	// address bar, so that a person on another machine can paste it here.
	open := m.sys.OpenBrowser
	if m.o.SkipOpenBrowser {
		open = nil
	}
	mode := "form_post"
	if open == nil {
		mode = "query"
	}
	state, verifier := randomText(32), randomText(32)
	challenge := sha256.Sum256([]byte(verifier))
	q := url.Values{
		"client_id": {m.o.ClientID}, "response_type": {"code"}, "redirect_uri": {redirect.String()},
		"scope": {m.scope()}, "state": {state}, "response_mode": {mode}, "prompt": {"select_account"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"},
		"client_info": {"1"},
	}
	if m.o.LoginHint != "" {
		q.Set("login_hint", m.o.LoginHint)
	}
	sep := "?"
	if strings.Contains(ends.Authorization, "?") {
		sep = "&"
	}
	where := ends.Authorization + sep + q.Encode()

	ctx, cancel := context.WithTimeout(ctx, browserLife)
	defer cancel()
	got := make(chan callback, 1)
	stop := m.serve(listeners, redirect, state, got)
	defer stop()
	m.show(ctx, where, open, state, got)

	var back callback
	select {
	case back = <-got:
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return nil, fmt.Errorf("nobody finished the sign-in in the browser within %s; try again", browserLife)
		}
		return nil, ctx.Err()
	}
	if back.err != nil {
		return nil, back.err
	}
	f, err := m.form("authorization_code")
	if err != nil {
		return nil, err
	}
	f.Set("code", back.code)
	f.Set("redirect_uri", redirect.String())
	f.Set("code_verifier", verifier)
	return m.client.token(ctx, f, true)
}

// show prints the address, always, and opens it where that works.
func (m *interactive) show(ctx context.Context, where string, open func(string) error, state string, got chan<- callback) {
	fmt.Fprintf(m.sys.Stderr, "To sign in, open this address in a web browser:\n\n    %s\n\n", where)
	if open != nil {
		if err := open(where); err == nil {
			return
		} else {
			m.sys.Logf(3, "opening the browser: %v", err)
		}
	}
	if m.sys.Stdin == nil {
		return
	}
	fmt.Fprintln(m.sys.Stderr, "If that browser runs on another machine, it ends on an address at localhost that it cannot open: paste that address here and press Enter.")
	go func() {
		scan := bufio.NewScanner(m.sys.Stdin)
		scan.Buffer(nil, 64<<10)
		for scan.Scan() && ctx.Err() == nil {
			line := strings.TrimSpace(scan.Text())
			if line == "" {
				continue
			}
			u, err := url.Parse(line)
			if err != nil || u.RawQuery == "" {
				fmt.Fprintln(m.sys.Stderr, "That is not the address; it starts with http://localhost and holds code=.")
				continue
			}
			back, ok := read(u.Query(), state)
			if !ok {
				fmt.Fprintln(m.sys.Stderr, "That address belongs to another sign-in.")
				continue
			}
			select {
			case got <- back:
			default:
			}
			return
		}
	}()
}

// read takes the answer out of a query or form. ok is false if it is not an
// answer to this sign-in.
func read(v url.Values, state string) (callback, bool) {
	if subtle.ConstantTimeCompare([]byte(v.Get("state")), []byte(state)) != 1 {
		return callback{}, false
	}
	if code := v.Get("error"); code != "" {
		if code == "access_denied" && v.Get("error_description") == "" {
			return callback{err: errors.New("the sign-in was declined in the browser")}, true
		}
		return callback{err: &ServerError{Status: http.StatusOK, Code: code, Description: v.Get("error_description"), Where: "the browser"}}, true
	}
	if v.Get("code") == "" {
		return callback{}, false
	}
	return callback{code: v.Get("code")}, true
}

// listen opens the loopback listeners for the redirect. "localhost" may mean
// either address family, so both are served where possible.
func listen(redirect *url.URL) ([]net.Listener, string, error) {
	hosts := []string{redirect.Hostname()}
	if hosts[0] == "localhost" {
		hosts = []string{"127.0.0.1", "::1"}
	}
	port := redirect.Port()
	if port == "" {
		port = "0"
	}
	var ls []net.Listener
	var first error
	for _, h := range hosts {
		l, err := net.Listen("tcp", net.JoinHostPort(h, port))
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		_, port, _ = net.SplitHostPort(l.Addr().String())
		ls = append(ls, l)
	}
	if len(ls) == 0 {
		return nil, "", fmt.Errorf("cannot listen for the browser's answer on %s: %w", redirect.Host, first)
	}
	return ls, port, nil
}

// serve answers the browser until stop is called.
func (m *interactive) serve(ls []net.Listener, redirect url.URL, state string, got chan<- callback) (stop func()) {
	path := redirect.Path
	if path == "" {
		path = "/"
	}
	var once sync.Once
	h := func(w http.ResponseWriter, r *http.Request) {
		head := w.Header()
		head.Set("Content-Type", "text/html; charset=utf-8")
		head.Set("Cache-Control", "no-store")
		head.Set("Referrer-Policy", "no-referrer")
		head.Set("X-Frame-Options", "DENY")
		head.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		// A page elsewhere may send the browser here under another name.
		if host, _, err := net.SplitHostPort(r.Host); err != nil || !isLoopback(strings.Trim(host, "[]")) {
			http.Error(w, "unexpected host", http.StatusBadRequest)
			return
		}
		if r.URL.Path != path {
			http.NotFound(w, r)
			return
		}
		var values url.Values
		switch r.Method {
		case http.MethodGet:
			values = r.URL.Query()
		case http.MethodPost:
			r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
			if err := r.ParseForm(); err != nil {
				http.Error(w, "bad form", http.StatusBadRequest)
				return
			}
			values = r.PostForm
		default:
			http.Error(w, "unexpected method", http.StatusMethodNotAllowed)
			return
		}
		back, ok := read(values, state)
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, page("Not this sign-in", "This answer does not belong to the sign-in that kubelogin waits for."))
			return
		}
		if back.err != nil {
			io.WriteString(w, page("Sign-in failed", back.err.Error()))
		} else {
			io.WriteString(w, page("Signed in", "You may close this page and return to the terminal."))
		}
		if f, ok := w.(http.Flusher); ok {
			f.Flush()
		}
		once.Do(func() {
			select {
			case got <- back:
			default:
			}
		})
	}
	srv := &http.Server{Handler: http.HandlerFunc(h), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 20 * time.Second}
	for _, l := range ls {
		go srv.Serve(l)
	}
	return func() {
		// Let the page reach the browser.
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			srv.Close()
		}
	}
}

func page(title, text string) string {
	return "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>" + html.EscapeString(title) +
		"</title><h1>" + html.EscapeString(title) + "</h1><p>" + html.EscapeString(text) + "</p></html>\n"
}
