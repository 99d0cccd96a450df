package signin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// Cookies. __Host- keeps other hosts and plain HTTP from setting them.
const (
	sessionCookie = "__Host-EntranceSession"
	browserCookie = "__Host-EntranceBrowser"
)

func random() string {
	var b [32]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	c := &http.Cookie{Name: name, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode}
	switch {
	case value == "":
		c.MaxAge = -1
	case age > 0:
		c.MaxAge = int(age / time.Second)
	}
	http.SetCookie(w, c)
}

// readBrowser reads the cookie that form tokens are bound to, or sets one.
func (v *view) readBrowser() {
	if c, err := v.r.Cookie(browserCookie); err == nil && len(c.Value) == 43 {
		v.browser = c.Value
		return
	}
	v.browser = random()
	setCookie(v.w, browserCookie, v.browser, 0)
}

const (
	tokenPurpose = "form token"
	tokenLife    = 12 * time.Hour
)

// formToken makes a form this browser's own.
type formToken struct {
	Browser string    `json:"b"` // hash of the cookie
	Session string    `json:"s"` // hash of the session's cookie, if there is one
	At      time.Time `json:"t"`
}

func (v *view) sessionHash() string {
	if c, err := v.r.Cookie(sessionCookie); err == nil {
		return hash(c.Value)
	}
	return ""
}

func (v *view) token() string {
	s, err := v.s.cfg.Sealer.Seal(tokenPurpose, formToken{hash(v.browser), v.sessionHash(), v.now})
	if err != nil {
		v.s.log.Error("sealing a form token", "error", err)
		return ""
	}
	return s
}

// checkToken refuses a form that this browser did not get from us.
func (v *view) checkToken() error {
	refused := &problem{http.StatusForbidden, "This form cannot be sent from here", "Go back, reload the page and try again. Cookies must be allowed."}
	if site := v.r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return refused
	}
	if origin := v.r.Header.Get("Origin"); origin != "" && origin != "null" && origin != v.s.base.Scheme+"://"+v.s.base.Host && origin != "https://"+v.r.Host {
		return refused
	}
	var t formToken
	if v.s.cfg.Sealer.Open(tokenPurpose, v.form.Get("csrf"), &t) != nil || v.now.Sub(t.At) > tokenLife {
		return refused
	}
	if subtle.ConstantTimeCompare([]byte(t.Browser), []byte(hash(v.browser))) != 1 {
		return refused
	}
	if t.Session != "" && t.Session != v.sessionHash() {
		return refused
	}
	return nil
}

// Session returns what the browser is signed in to, or nil. Accounts that may
// not be used any more are left out.
func (s *Server) Session(r *http.Request) (*state.Session, error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil || len(c.Value) != 43 {
		return nil, nil
	}
	session, err := state.Sessions.GetFresh(r.Context(), s.store, hash(c.Value))
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !s.clock.Now().Before(session.Expires) {
		return nil, nil
	}
	view := s.store.View()
	session.Accounts = slices.DeleteFunc(session.Accounts, func(a state.SignedIn) bool {
		u, err := state.Users.Get(view, state.Key(a.Tenant, a.User))
		return err != nil || !a.Valid(u)
	})
	return session, nil
}

// current returns the browser's session, read once.
func (v *view) current() (*state.Session, error) {
	if v.session != nil {
		return v.session, nil
	}
	var err error
	v.session, err = v.s.Session(v.r)
	return v.session, err
}

// maxAccounts bounds a session.
const maxAccounts = 10

// signedIn notes what a person has just proven. The session gets a new name, so
// that one that somebody planted before is worth nothing; the old one ends.
func (v *view) signedIn(tenant directory.TenantID, user directory.ObjectID, keep *bool, methods ...conditionalaccess.Method) error {
	old, err := v.current()
	if err != nil {
		return err
	}
	next := &state.Session{Public: directory.NewGUID()}
	if old != nil {
		*next = *old
		next.Accounts = slices.Clone(old.Accounts)
	}
	if keep != nil {
		next.Persistent = *keep
	}
	cookie := random()
	next.ID = hash(cookie)
	age := state.BrowserSession
	if next.Persistent {
		age = state.PersistentSession
	}
	next.Expires = v.now.Add(age)
	i := slices.IndexFunc(next.Accounts, func(a state.SignedIn) bool { return a.Tenant == tenant && a.User == user })
	if i < 0 {
		if len(next.Accounts) >= maxAccounts {
			next.Accounts = next.Accounts[1:]
		}
		next.Accounts = append(next.Accounts, state.SignedIn{Tenant: tenant, User: user})
		i = len(next.Accounts) - 1
	}
	a := &next.Accounts[i]
	a.Methods = slices.Clone(a.Methods)
	a.Chosen = v.now
	for _, m := range methods {
		if m == conditionalaccess.Password || m == conditionalaccess.FIDO2 {
			a.Since = v.now
		}
		a.Methods = slices.DeleteFunc(a.Methods, func(b conditionalaccess.Authentication) bool { return b.Method == m })
		a.Methods = append(a.Methods, conditionalaccess.Authentication{Method: m, At: v.now})
	}
	err = v.s.store.Update(v.r.Context(), func(tx *store.Tx) error {
		if old != nil {
			if err := state.Sessions.Delete(tx, old.ID); err != nil && !errs.Is(err, errs.NotFound) {
				return err
			}
		}
		return state.Sessions.Create(tx, next)
	})
	if err != nil {
		return err
	}
	v.session = next
	if !next.Persistent {
		age = 0
	}
	setCookie(v.w, sessionCookie, cookie, age)
	return nil
}

// pick notes that the person has chosen an account.
func (v *view) pick(tenant directory.TenantID, user directory.ObjectID) error {
	session, err := v.current()
	if err != nil || session == nil {
		return err
	}
	return v.s.store.Update(v.r.Context(), func(tx *store.Tx) error {
		return state.Sessions.Modify(tx, session.ID, func(s *state.Session) error {
			if a := s.Find(tenant, user); a != nil {
				a.Chosen = v.now
			}
			return nil
		})
	})
}

// maxEntered bounds how many applications a sign-out tells.
const maxEntered = 50

// Entered notes that an application was signed in to with the browser's session,
// so that it is told of the session's end. Only those with an address for that
// are worth a note.
func (s *Server) Entered(r *http.Request, tenant directory.TenantID, client directory.AppID) error {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil
	}
	e := state.Entered{Client: client, Tenant: tenant}
	id := hash(c.Value)
	session, err := state.Sessions.GetFresh(r.Context(), s.store, id)
	if errs.Is(err, errs.NotFound) || err == nil && slices.Contains(session.Entered, e) {
		return nil
	}
	if err != nil {
		return err
	}
	err = s.store.Update(r.Context(), func(tx *store.Tx) error {
		return state.Sessions.Modify(tx, id, func(s *state.Session) error {
			if !slices.Contains(s.Entered, e) && len(s.Entered) < maxEntered {
				s.Entered = append(s.Entered, e)
			}
			return nil
		})
	})
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// endSession ends the browser's session everywhere. It returns the addresses at
// which applications want to be told, each with who ended what.
func (s *Server) endSession(w http.ResponseWriter, r *http.Request) (tell []string, err error) {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, nil
	}
	setCookie(w, sessionCookie, "", 0)
	session, err := state.Sessions.Take(r.Context(), s.store, hash(c.Value))
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	view := s.store.View()
	for _, e := range session.Entered {
		app, err := state.FindApplication(view, e.Client)
		if err != nil {
			continue // deleted since
		}
		// OpenID Connect Front-Channel Logout 1.0, section 2: iss and sid join the
		// query that the address has.
		u, err := url.Parse(app.Web.LogoutURL)
		if err != nil || u.Host == "" {
			continue
		}
		q := u.Query()
		q.Set("iss", s.cfg.Names.Name(token.V2, e.Tenant))
		q.Set("sid", session.Public)
		u.RawQuery = q.Encode()
		tell = append(tell, u.String())
	}
	return tell, nil
}
