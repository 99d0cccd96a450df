package signin

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
)

// Ask sends the browser to the pages with a question of the protocol.
func (s *Server) Ask(w http.ResponseWriter, r *http.Request, ask *state.Ask) {
	v := &view{s: s, w: w, r: r, now: s.clock.Now(), db: s.store.View()}
	v.flow = &flow{Ask: *ask, Tenant: ask.Tenant, Name: ask.Hint, Started: v.now, ID: directory.NewGUID()}
	if err := v.goTo("/login"); err != nil {
		s.log.Error("asking a person", "error", err)
		http.Error(w, "internal error", http.StatusInternalServerError)
	}
}

// plain returns a view for pages that answer no question.
func (s *Server) plain(w http.ResponseWriter, r *http.Request) *view {
	v := &view{s: s, w: w, r: r, now: s.clock.Now(), db: s.store.View()}
	v.readBrowser()
	return v
}

// Fail shows an error of the protocol that must not be sent to the client.
func (s *Server) Fail(w http.ResponseWriter, r *http.Request, status, code int, message, trace, correlation string, at time.Time, back string) {
	title := "Sorry, we could not sign you in"
	s.plain(w, r).show("error", status, map[string]any{
		"Title": title, "Text": message, "Code": "AADSTS" + strconv.Itoa(code), "Trace": trace, "Correlation": correlation,
		"At": at.UTC().Format("2006-01-02 15:04:05 UTC"), "Advice": advice(code), "Cancel": back,
	})
}

// advice says what the person can do about an error.
func advice(code int) string {
	switch code {
	case 50011, 700016, 900144, 900971, 9002313, 90002, 900023, 700054, 70005:
		return "The application that sent you here made a mistake. Tell its developer or your administrator, with the details below."
	case 50105:
		return "Ask your administrator to give you access to the application."
	case 90094, 65001:
		return "Ask your administrator to approve the application."
	case 53003, 53000, 53001, 530002, 530003, 50005, 50131:
		return "Your organization's policy does not allow this sign-in from here. Try from a device or a place that it allows, or ask your administrator."
	case 50057:
		return "Ask your administrator to enable your account."
	case 50020:
		return "Sign out, and sign in with an account of the organization that you want to use."
	case 70018, 70019:
		return "Start again in the application that showed you the code, and type the new one."
	case 90055, 90033:
		return "Wait a moment, then try again."
	}
	return "Go back to the application and try again. If it happens again, tell your administrator the details below."
}

// Post shows a page that sends fields to the client's address by itself, or
// with a button where there is no script.
func (s *Server) Post(w http.ResponseWriter, r *http.Request, action string, fields [][2]string) {
	forms := ""
	if u, err := url.Parse(action); err == nil {
		forms = u.Scheme + "://" + u.Host
	}
	s.plain(w, r).show("post", http.StatusOK, map[string]any{"Title": "Working...", "Action": action, "Fields": fields, "Forms": forms})
}

// Done shows that a sign-in for another device is complete, or refused.
func (s *Server) Done(w http.ResponseWriter, r *http.Request, clientName string, approved bool) {
	title := "You are signed in"
	if !approved {
		title = "The sign-in was refused"
	}
	s.plain(w, r).show("done", http.StatusOK, map[string]any{"Title": title, "Approved": approved, "App": clientName})
}

// SignOut ends the browser's session and goes on to next, which the protocol
// has checked. Without a known client it asks first: another site must not be
// able to sign somebody out.
func (s *Server) SignOut(w http.ResponseWriter, r *http.Request, next string) {
	session, err := s.Session(r)
	v := s.plain(w, r)
	if err != nil {
		s.log.Error("sign-out", "error", err)
		v.show("error", http.StatusServiceUnavailable, map[string]any{"Title": "We could not sign you out", "Text": "Try again in a moment."})
		return
	}
	if session != nil && next == "" {
		v.redirect("/login/signout")
		return
	}
	tell, err := s.endSession(w, r)
	if err != nil {
		s.log.Error("sign-out", "error", err)
		v.show("error", http.StatusServiceUnavailable, map[string]any{"Title": "We could not sign you out", "Text": "Try again in a moment."})
		return
	}
	if next == "" || len(tell) > 0 {
		v.signedOut(tell, next)
		return
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Location", next)
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) showSignOut(v *view) error {
	session, err := v.current()
	if err != nil {
		return err
	}
	if session == nil || len(session.Accounts) == 0 {
		v.signedOut(nil, "")
		return nil
	}
	v.show("signout", http.StatusOK, map[string]any{"Title": "Sign out", "Accounts": v.accounts(session, "")})
	return nil
}

func (s *Server) postSignOut(v *view) error {
	tell, err := s.endSession(v.w, v.r)
	if err != nil {
		return err
	}
	if len(tell) > 0 {
		v.signedOut(tell, "")
		return nil
	}
	v.redirect("/login/signout")
	return nil
}

// signedOut shows that nobody is signed in any more. Applications are told in
// frames of their own, since their cookies are needed; then the browser goes on
// to next, if there is one.
func (v *view) signedOut(tell []string, next string) {
	v.show("signedout", http.StatusOK, map[string]any{"Title": "You are signed out", "Tell": tell, "Next": next})
}

// account is an account as a page shows it.
type account struct {
	ID, Name, UPN string
}

func (v *view) accounts(session *state.Session, tenant directory.TenantID) []account {
	var list []account
	for _, a := range session.Accounts {
		if tenant != "" && a.Tenant != tenant {
			continue
		}
		if u, err := state.Users.Get(v.db, state.Key(a.Tenant, a.User)); err == nil {
			list = append(list, account{string(a.Tenant) + "/" + string(a.User), u.DisplayName, u.UserPrincipalName})
		}
	}
	return list
}

// start shows the page that the question begins with.
func (s *Server) start(v *view) error {
	if err := v.needFlow(); err != nil {
		return err
	}
	ask := &v.flow.Ask
	switch ask.Kind {
	case state.AskSignIn:
		return s.startSignIn(v)
	case state.AskFactor:
		return s.startFactor(v)
	case state.AskConsent:
		return s.showConsent(v)
	case state.AskDevice:
		return s.showDevice(v)
	}
	return expired
}

func (s *Server) startSignIn(v *view) error {
	ask := &v.flow.Ask
	session, err := v.current()
	if err != nil {
		return err
	}
	if session != nil && ask.Select && v.form.Get("other") == "" {
		if list := v.accounts(session, ask.Tenant); len(list) > 0 {
			v.show("pick", http.StatusOK, map[string]any{"Title": "Pick an account", "Accounts": list})
			return nil
		}
	}
	if v.flow.Name != "" && v.form.Get("other") == "" {
		if _, err := v.findTenant(v.flow.Name); err == nil {
			return v.goTo("/login/password")
		}
	}
	v.show("name", http.StatusOK, map[string]any{"Title": "Sign in", "Name": v.flow.Name})
	return nil
}

// findTenant finds the tenant in which a typed name signs in. NotFound.
func (v *view) findTenant(name string) (*directory.Tenant, error) {
	if v.flow.Ask.Tenant != "" {
		t, err := state.Tenants.Get(v.db, string(v.flow.Ask.Tenant))
		if err != nil {
			return nil, err
		}
		if _, domain, ok := strings.Cut(name, "@"); !ok || !t.HasDomain(domain) {
			return nil, errs.New(errs.NotFound, "This account does not belong to %s. Sign in with an account of that organization.", t.DisplayName)
		}
		return t, nil
	}
	t, err := state.TenantOfUser(v.db, name)
	if errs.Is(err, errs.NotFound) {
		return nil, errs.New(errs.NotFound, "We could not find an account with that name. Check it, and type all of it, such as ann@example.com.")
	}
	return t, err
}

func (s *Server) postName(v *view) error {
	if err := v.needFlow(state.AskSignIn); err != nil {
		return err
	}
	name := strings.TrimSpace(v.form.Get("username"))
	again := func(text string) error {
		v.show("name", http.StatusOK, map[string]any{"Title": "Sign in", "Name": name, "Error": text})
		return nil
	}
	if name == "" || len(name) > 256 {
		return again("Enter your user name, such as ann@example.com.")
	}
	t, err := v.findTenant(name)
	if errs.Is(err, errs.NotFound) {
		return again(errs.Message(err))
	}
	if err != nil {
		return err
	}
	v.flow.Name, v.flow.Tenant = name, t.ID
	return v.goTo("/login/password")
}

// postPick takes the account that was picked. One whose sign-in is too old for
// the question goes on to its password.
func (s *Server) postPick(v *view) error {
	if err := v.needFlow(state.AskSignIn); err != nil {
		return err
	}
	session, err := v.current()
	if err != nil {
		return err
	}
	tenant, user, _ := strings.Cut(v.form.Get("account"), "/")
	a := session.Find(directory.TenantID(tenant), directory.ObjectID(user))
	ask := &v.flow.Ask
	if a == nil || ask.Tenant != "" && a.Tenant != ask.Tenant {
		return v.goTo("/login")
	}
	if a.Since.Before(ask.Fresh) {
		u, err := state.Users.Get(v.db, state.Key(a.Tenant, a.User))
		if err != nil {
			return err
		}
		v.flow.Name, v.flow.Tenant, v.flow.Ask.Select = u.UserPrincipalName, a.Tenant, false
		return v.goTo("/login/password")
	}
	if err := v.pick(a.Tenant, a.User); err != nil {
		return err
	}
	return v.back(ask.Return)
}
