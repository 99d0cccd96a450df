package signin

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func (s *Server) showPassword(v *view) error {
	if err := v.needFlow(state.AskSignIn); err != nil {
		return err
	}
	if v.flow.Name == "" {
		return v.goTo("/login")
	}
	v.show("password", http.StatusOK, map[string]any{"Title": "Enter password", "Name": v.flow.Name})
	return nil
}

// What people read when a password is refused. A name that does not exist and
// a wrong password read alike.
const (
	wrongText  = "Your account or password is incorrect. If you do not remember your password, ask your administrator to reset it."
	lockedText = "Your account is locked for a while, because a wrong password was given too often. Wait a few minutes, then try again."
	busyText   = "Too many people are signing in right now. Wait a few seconds, then try again."
)

// checkUser checks the typed password and returns the user, or what to tell
// the person.
func (s *Server) checkUser(v *view, pass string) (*directory.User, string, error) {
	name := v.flow.Name
	t, err := v.findTenant(name)
	if errs.Is(err, errs.NotFound) {
		return nil, errs.Message(err), nil
	}
	if err != nil {
		return nil, "", err
	}
	user, err := state.FindUser(v.db, t.ID, name)
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, "", err
	}
	if user != nil && !strings.EqualFold(user.UserPrincipalName, name) {
		user = nil
	}
	err = s.CheckPassword(v.r.Context(), t.ID, name, user, pass, v.addr)
	switch {
	case errs.Is(err, errs.Unauthenticated) && user == nil:
		v.failed(t.ID, nil, 50034, "The user account does not exist.")
		return nil, wrongText, nil
	case errs.Is(err, errs.Unauthenticated):
		v.failed(t.ID, user, 50126, "Error validating credentials due to invalid username or password.")
		return nil, wrongText, nil
	case errs.Is(err, errs.Throttled):
		v.failed(t.ID, user, 50053, "The account is locked.")
		return nil, lockedText, nil
	case errs.Is(err, errs.Unavailable):
		s.log.Warn("password not checked", "error", err)
		return nil, busyText, nil
	case err != nil:
		return nil, "", err
	case !user.Enabled:
		v.failed(t.ID, user, 50057, "The user account is disabled.")
		return nil, "Your account has been disabled. Ask your administrator.", nil
	}
	return user, "", nil
}

// failed writes the log's entry of a failed attempt.
func (v *view) failed(tenant directory.TenantID, user *directory.User, code int, reason string) {
	a := Attempt{Time: v.now, Correlation: v.flow.ID, Tenant: tenant, UserName: v.flow.Name, Client: v.flow.Ask.Client, Address: v.addr, UserAgent: v.r.UserAgent(), Code: code, Reason: reason}
	if user != nil {
		a.User, a.UserName = user.ID, user.UserPrincipalName
	}
	v.s.cfg.Audit(v.r.Context(), a)
}

func (s *Server) postPassword(v *view) error {
	if err := v.needFlow(state.AskSignIn); err != nil {
		return err
	}
	if v.flow.Name == "" {
		return v.goTo("/login")
	}
	again := func(text string) error {
		v.show("password", http.StatusOK, map[string]any{"Title": "Enter password", "Name": v.flow.Name, "Error": text, "Keep": v.form.Get("keep") != ""})
		return nil
	}
	pass := v.form.Get("password")
	if pass == "" {
		return again("Enter your password.")
	}
	user, text, err := s.checkUser(v, pass)
	if err != nil {
		return err
	}
	if text != "" {
		return again(text)
	}
	if user.MustChangePassword {
		v.failed(user.Tenant, user, 50055, "The password is expired.")
		return v.goTo("/login/change")
	}
	keep := v.form.Get("keep") != ""
	if err := v.signedIn(user.Tenant, user.ID, &keep, conditionalaccess.Password); err != nil {
		return err
	}
	return v.back(v.flow.Ask.Return)
}

func (s *Server) showChange(v *view) error {
	if err := v.needFlow(state.AskSignIn); err != nil {
		return err
	}
	if v.flow.Name == "" {
		return v.goTo("/login")
	}
	v.show("change", http.StatusOK, map[string]any{"Title": "Update your password", "Name": v.flow.Name})
	return nil
}

// postChange sets a new password. The old one is asked for again: nothing else
// proves here whose it is.
func (s *Server) postChange(v *view) error {
	if err := v.needFlow(state.AskSignIn); err != nil {
		return err
	}
	if v.flow.Name == "" {
		return v.goTo("/login")
	}
	again := func(text string) error {
		v.show("change", http.StatusOK, map[string]any{"Title": "Update your password", "Name": v.flow.Name, "Error": text})
		return nil
	}
	old, next := v.form.Get("password"), v.form.Get("new-password")
	if next != v.form.Get("confirm-password") {
		return again("The two new passwords are not the same.")
	}
	if next == old {
		return again("The new password is the old one. Choose another.")
	}
	local, _, _ := strings.Cut(v.flow.Name, "@")
	if err := password.Check(next, local); err != nil {
		return again(errs.Message(err))
	}
	user, text, err := s.checkUser(v, old)
	if err != nil {
		return err
	}
	if text != "" {
		return again(text)
	}
	if err := s.setPassword(v.r.Context(), user, next, v.now); errs.Is(err, errs.Throttled) {
		return again(busyText)
	} else if err != nil {
		return err
	}
	if err := v.signedIn(user.Tenant, user.ID, nil, conditionalaccess.Password); err != nil {
		return err
	}
	return v.back(v.flow.Ask.Return)
}

// setPassword replaces a password that its owner has just proven, and ends
// every session that began with the old one.
func (s *Server) setPassword(ctx context.Context, user *directory.User, next string, now time.Time) error {
	phc, err := s.cfg.Hasher.Hash(ctx, next)
	if err != nil {
		return err
	}
	return s.store.Update(ctx, func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(user.Tenant, user.ID), func(u *directory.User) error {
			if u.PasswordHash != user.PasswordHash {
				return errs.New(errs.Conflict, "The password was changed by somebody else.")
			}
			u.PasswordHash, u.PasswordChanged, u.MustChangePassword = phc, now, false
			u.SessionsValidFrom = now
			return nil
		})
	})
}
