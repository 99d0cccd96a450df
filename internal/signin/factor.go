package signin

import (
	"bytes"
	"encoding/base64"
	"html/template"
	"image/png"
	"net/http"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// person returns the user that a question about somebody signed in is about.
// It must be this browser's own session that is signed in as that user.
func (v *view) person() (*directory.User, *state.SignedIn, error) {
	session, err := v.current()
	if err != nil {
		return nil, nil, err
	}
	ask := &v.flow.Ask
	a := session.Find(ask.Tenant, ask.User)
	if a == nil {
		return nil, nil, expired
	}
	u, err := state.Users.Get(v.db, state.Key(ask.Tenant, ask.User))
	if errs.Is(err, errs.NotFound) {
		return nil, nil, expired
	}
	return u, a, err
}

// recentFirst is how long ago the first factor may have been checked when a
// second one is registered: an unattended session must not get one.
const recentFirst = 15 * time.Minute

func (v *view) authenticators(u *directory.User, kind state.AuthenticatorKind) (list []*state.Authenticator) {
	for a := range state.Authenticators.Where(v.db, "user", state.Key(u.Tenant, u.ID)) {
		if a.Kind == kind {
			list = append(list, a)
		}
	}
	return list
}

// phishingResistant tells that only a passkey will do.
func (v *view) phishingResistant() bool {
	for _, id := range v.flow.Ask.Strengths {
		if id == conditionalaccess.StrengthPhishingResistant || id == conditionalaccess.StrengthPasswordlessMFA {
			return true
		}
	}
	return false
}

// startFactor shows the challenge that fits what the person has registered, or
// the registration.
func (s *Server) startFactor(v *view) error {
	u, _, err := v.person()
	if err != nil {
		return err
	}
	numbers, keys := v.authenticators(u, state.TOTP), v.authenticators(u, state.Passkey)
	switch {
	case v.phishingResistant() && len(keys) > 0:
		return v.goTo("/login/passkey")
	case v.phishingResistant():
		return v.goTo("/login/passkey/new")
	case len(numbers) > 0:
		return v.goTo("/login/code")
	case len(keys) > 0:
		return v.goTo("/login/passkey")
	}
	return v.goTo("/login/enroll")
}

func (s *Server) showCode(v *view) error {
	if err := v.needFlow(state.AskFactor); err != nil {
		return err
	}
	u, _, err := v.person()
	if err != nil {
		return err
	}
	v.show("code", http.StatusOK, map[string]any{"Title": "Enter code", "Name": u.UserPrincipalName, "Passkeys": len(v.authenticators(u, state.Passkey)) > 0})
	return nil
}

// postCode checks a number of an authenticator application. Each number works
// once, and wrong ones are counted like wrong passwords.
func (s *Server) postCode(v *view) error {
	if err := v.needFlow(state.AskFactor); err != nil {
		return err
	}
	u, _, err := v.person()
	if err != nil {
		return err
	}
	again := func(text string) error {
		v.show("code", http.StatusOK, map[string]any{"Title": "Enter code", "Name": u.UserPrincipalName, "Error": text, "Passkeys": len(v.authenticators(u, state.Passkey)) > 0})
		return nil
	}
	number := strings.ReplaceAll(v.form.Get("code"), " ", "")
	if number == "" {
		return again("Enter the number that your authenticator application shows.")
	}
	ok, err := s.guess(v.r.Context(), "code/"+string(u.Tenant)+"/"+string(u.ID), v.addr, func() (bool, error) {
		for _, a := range v.authenticators(u, state.TOTP) {
			if ok, err := s.useNumber(v, a, number); ok || err != nil {
				return ok, err
			}
		}
		return false, nil
	})
	switch {
	case errs.Is(err, errs.Throttled):
		v.failed(u.Tenant, u, 50053, "The account is locked.")
		return again("Too many wrong numbers were typed. Wait a few minutes, then try again.")
	case err != nil:
		return err
	case !ok:
		v.failed(u.Tenant, u, 500121, "Authentication failed during strong authentication request.")
		return again("That number is not right. Type the one that your application shows now; each works once.")
	}
	if err := v.signedIn(u.Tenant, u.ID, nil, conditionalaccess.SoftwareOath); err != nil {
		return err
	}
	return v.back(v.flow.Ask.Return)
}

var otpOptions = totp.ValidateOpts{Period: 30, Skew: 0, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}

// matchStep returns the time step whose number was given: this one, the last or
// the next, since clocks differ.
func matchStep(secret, number string, now time.Time) (int64, bool) {
	found, step := false, int64(0)
	for _, d := range []int64{-1, 0, 1} {
		at := now.Add(time.Duration(d) * 30 * time.Second)
		// Constant time inside; all three are always looked at.
		if ok, err := totp.ValidateCustom(number, secret, at.UTC(), otpOptions); err == nil && ok {
			found, step = true, at.Unix()/30
		}
	}
	return step, found
}

// useNumber checks a number and marks its time step as used, in one
// transaction: of two who give the same number one is refused.
func (s *Server) useNumber(v *view, a *state.Authenticator, number string) (bool, error) {
	step, ok := matchStep(a.Secret, number, v.now)
	if !ok {
		return false, nil
	}
	used := false
	err := s.store.Update(v.r.Context(), func(tx *store.Tx) error {
		used = false
		return state.Authenticators.Modify(tx, string(a.Tenant)+"/"+string(a.User)+"/"+a.ID, func(a *state.Authenticator) error {
			if step <= a.Step {
				used = true
				return nil
			}
			a.Step = step
			return nil
		})
	})
	if errs.Is(err, errs.NotFound) {
		return false, nil
	}
	return err == nil && !used, err
}

const enrollPurpose = "authenticator registration"

// enrolment is a secret that has been shown and not yet confirmed.
type enrolment struct {
	Tenant directory.TenantID `json:"t"`
	User   directory.ObjectID `json:"u"`
	Secret string             `json:"k"`
	At     time.Time          `json:"a"`
}

// mayRegister returns what to tell the person if they may not register a second
// factor now: it takes a recent first factor, and, if there is a second one
// already, that one too.
func (v *view) mayRegister(u *directory.User, a *state.SignedIn) error {
	if state.HasFactor(v.db, u.Tenant, u.ID) && !conditionalaccess.MFADone(a.Methods) {
		return &problem{http.StatusForbidden, "You have a second factor already", "Sign in with it first, then you can add another."}
	}
	if v.now.Sub(a.Since) > recentFirst {
		// The password again, and then back to this question.
		return errAgain
	}
	return nil
}

var errAgain = errs.New(errs.Unauthenticated, "The sign-in is too old to register a second factor with.")

// again asks for the first factor once more and comes back to the same
// question.
func (v *view) again(u *directory.User) error {
	ctx, err := v.ticket()
	if err != nil {
		return err
	}
	next := *v.flow
	next.Ask = state.Ask{
		Kind: state.AskSignIn, Return: "/login?ctx=" + ctx, Cancel: v.flow.Ask.Cancel, Tenant: u.Tenant, Target: v.flow.Ask.Target,
		Client: v.flow.Ask.Client, ClientName: v.flow.Ask.ClientName, Hint: u.UserPrincipalName, Fresh: v.now,
	}
	next.Name = u.UserPrincipalName
	v.flow = &next
	return v.goTo("/login/password")
}

func (s *Server) showEnroll(v *view) error {
	if err := v.needFlow(state.AskFactor); err != nil {
		return err
	}
	u, a, err := v.person()
	if err != nil {
		return err
	}
	if err := v.mayRegister(u, a); err == errAgain {
		return v.again(u)
	} else if err != nil {
		return err
	}
	key, err := totp.Generate(totp.GenerateOpts{Issuer: s.issuerName(v, u), AccountName: u.UserPrincipalName, Period: 30, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
	if err != nil {
		return errs.Wrap(errs.Internal, err, "making a secret")
	}
	return s.renderEnroll(v, u, key.Secret(), "")
}

func (s *Server) issuerName(v *view, u *directory.User) string {
	if t, err := state.Tenants.Get(v.db, string(u.Tenant)); err == nil && t.DisplayName != "" {
		return strings.ReplaceAll(t.DisplayName, ":", " ")
	}
	return "Entrance"
}

func (s *Server) renderEnroll(v *view, u *directory.User, secret, text string) error {
	key, err := otp.NewKeyFromURL("otpauth://totp/" + template.URLQueryEscaper(s.issuerName(v, u)) + ":" + template.URLQueryEscaper(u.UserPrincipalName) + "?secret=" + secret + "&issuer=" + template.URLQueryEscaper(s.issuerName(v, u)))
	if err != nil {
		return errs.Wrap(errs.Internal, err, "making a QR code")
	}
	img, err := key.Image(220, 220)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "making a QR code")
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return errs.Wrap(errs.Internal, err, "making a QR code")
	}
	sealed, err := s.cfg.Sealer.Seal(enrollPurpose, enrolment{u.Tenant, u.ID, secret, v.now})
	if err != nil {
		return err
	}
	v.show("enroll", http.StatusOK, map[string]any{
		"Title": "Keep your account secure", "Name": u.UserPrincipalName, "Error": text, "Secret": spaced(secret), "Enrolment": sealed,
		"QR": template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(b.Bytes())),
	})
	return nil
}

// spaced groups a secret so that it can be typed.
func spaced(s string) string {
	var parts []string
	for len(s) > 4 {
		parts, s = append(parts, s[:4]), s[4:]
	}
	return strings.Join(append(parts, s), " ")
}

// postEnroll registers an authenticator application, once it has shown a right
// number.
func (s *Server) postEnroll(v *view) error {
	if err := v.needFlow(state.AskFactor); err != nil {
		return err
	}
	u, a, err := v.person()
	if err != nil {
		return err
	}
	if err := v.mayRegister(u, a); err == errAgain {
		return v.again(u)
	} else if err != nil {
		return err
	}
	var e enrolment
	if s.cfg.Sealer.Open(enrollPurpose, v.form.Get("enrolment"), &e) != nil || e.Tenant != u.Tenant || e.User != u.ID || v.now.Sub(e.At) > recentFirst {
		return v.goTo("/login/enroll")
	}
	step, ok := matchStep(e.Secret, strings.ReplaceAll(v.form.Get("code"), " ", ""), v.now)
	if !ok {
		return s.renderEnroll(v, u, e.Secret, "That number is not right. Type the one that your application shows now.")
	}
	err = s.store.Update(v.r.Context(), func(tx *store.Tx) error {
		return state.Authenticators.Create(tx, &state.Authenticator{
			Tenant: u.Tenant, User: u.ID, ID: directory.NewGUID(), Kind: state.TOTP, Name: "Authenticator app", Created: v.now, Secret: e.Secret, Step: step,
		})
	})
	if err != nil {
		return err
	}
	if err := v.signedIn(u.Tenant, u.ID, nil, conditionalaccess.SoftwareOath); err != nil {
		return err
	}
	return v.back(v.flow.Ask.Return)
}
