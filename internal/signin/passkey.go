package signin

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// newPasskey returns nil where passkeys cannot be used: browsers tie them to a
// name, never to an address.
func newPasskey(base *url.URL) (*webauthn.WebAuthn, error) {
	if _, err := netip.ParseAddr(base.Hostname()); err == nil {
		return nil, nil
	}
	return webauthn.New(&webauthn.Config{
		RPID: base.Hostname(), RPDisplayName: "Entrance", RPOrigins: []string{base.Scheme + "://" + base.Host},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, UserVerification: protocol.VerificationRequired,
		},
	})
}

// ceremony is a challenge that is waiting for its answer, which works once and
// from the browser that got it.
type ceremony struct {
	ID      string               `json:"id"`
	Browser string               `json:"browser"`
	User    string               `json:"user,omitempty"` // tenant/user; empty: whoever has a passkey
	Data    webauthn.SessionData `json:"data"`
	Expires time.Time            `json:"expires"`
}

const ceremonyLife = 5 * time.Minute

var ceremonies = store.NewTable("signinceremonies", store.Options[ceremony]{
	Key: func(c *ceremony) string { return c.ID }, Direct: true, Sealed: true,
	TTL: func(*ceremony) time.Duration { return ceremonyLife },
})

// passkeyUser is a user as the WebAuthn library sees one.
type passkeyUser struct {
	user        *directory.User
	credentials []webauthn.Credential
}

// WebAuthnID is the user handle: tenant and object id, 32 bytes that say nothing
// to anybody else and never change.
func (u *passkeyUser) WebAuthnID() []byte { return handle(u.user.Tenant, u.user.ID) }

// WebAuthnName is the user principal name.
func (u *passkeyUser) WebAuthnName() string { return u.user.UserPrincipalName }

// WebAuthnDisplayName is the display name.
func (u *passkeyUser) WebAuthnDisplayName() string { return u.user.DisplayName }

// WebAuthnCredentials are the registered passkeys.
func (u *passkeyUser) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

func handle(tenant directory.TenantID, user directory.ObjectID) []byte {
	return []byte(strings.ReplaceAll(string(tenant)+string(user), "-", ""))
}

// fromHandle is the inverse of handle.
func fromHandle(b []byte) (directory.TenantID, directory.ObjectID, bool) {
	guid := func(s string) (string, bool) {
		return directory.ParseGUID(s[0:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:32])
	}
	if len(b) != 64 {
		return "", "", false
	}
	t, ok1 := guid(string(b[:32]))
	u, ok2 := guid(string(b[32:]))
	return directory.TenantID(t), directory.ObjectID(u), ok1 && ok2
}

func (v *view) passkeyUser(u *directory.User) (*passkeyUser, error) {
	p := &passkeyUser{user: u}
	for _, a := range v.authenticators(u, state.Passkey) {
		var c webauthn.Credential
		if err := json.Unmarshal(a.Credential, &c); err != nil {
			return nil, errs.New(errs.Internal, "a stored passkey of %s cannot be read", u.ID)
		}
		p.credentials = append(p.credentials, c)
	}
	return p, nil
}

func (v *view) newCeremony(user string, data *webauthn.SessionData) (string, error) {
	id := random()
	c := &ceremony{ID: hash(id), Browser: hash(v.browser), User: user, Data: *data, Expires: v.now.Add(ceremonyLife)}
	return id, v.s.store.Update(v.r.Context(), func(tx *store.Tx) error { return ceremonies.Create(tx, c) })
}

// takeCeremony takes the challenge that a form answers. NotFound.
func (v *view) takeCeremony() (*ceremony, error) {
	c, err := ceremonies.Take(v.r.Context(), v.s.store, hash(v.form.Get("ceremony")))
	if err != nil {
		return nil, err
	}
	if c.Browser != hash(v.browser) || !v.now.Before(c.Expires) {
		return nil, errs.New(errs.NotFound, "the challenge is another browser's, or too old")
	}
	return c, nil
}

var noPasskeys = &problem{http.StatusNotFound, "Passkeys cannot be used here", "This server is reached by an address and not by a name, and browsers tie passkeys to names."}

const passkeyFailed = "The passkey did not work. Try again, or sign in another way."

// showPasskey asks for a passkey: as the second factor of a person who is signed
// in, or instead of a password, of whoever has one.
func (s *Server) showPasskey(v *view) error { return s.renderPasskey(v, "") }

func (s *Server) renderPasskey(v *view, text string) error {
	if s.passkey == nil {
		return noPasskeys
	}
	if err := v.needFlow(state.AskSignIn, state.AskFactor); err != nil {
		return err
	}
	var options *protocol.CredentialAssertion
	var data *webauthn.SessionData
	var err error
	user, name := "", ""
	if v.flow.Ask.Kind == state.AskFactor {
		u, _, perr := v.person()
		if perr != nil {
			return perr
		}
		p, perr := v.passkeyUser(u)
		if perr != nil {
			return perr
		}
		if len(p.credentials) == 0 {
			return v.goTo("/login")
		}
		user, name = state.Key(u.Tenant, u.ID), u.UserPrincipalName
		options, data, err = s.passkey.BeginLogin(p, webauthn.WithUserVerification(protocol.VerificationRequired))
	} else {
		options, data, err = s.passkey.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	}
	if err != nil {
		return errs.Wrap(errs.Internal, err, "passkey challenge")
	}
	id, err := v.newCeremony(user, data)
	if err != nil {
		return err
	}
	v.show("passkey", http.StatusOK, map[string]any{
		"Title": "Use your passkey", "Name": name, "Error": text, "Options": options, "Ceremony": id,
		"Factor": v.flow.Ask.Kind == state.AskFactor,
	})
	return nil
}

func (s *Server) postPasskey(v *view) error {
	if s.passkey == nil {
		return noPasskeys
	}
	if err := v.needFlow(state.AskSignIn, state.AskFactor); err != nil {
		return err
	}
	c, err := v.takeCeremony()
	if errs.Is(err, errs.NotFound) {
		return s.renderPasskey(v, passkeyFailed)
	}
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes([]byte(v.form.Get("response")))
	if err != nil {
		return s.renderPasskey(v, passkeyFailed)
	}
	u, credential, err := s.checkPasskey(v, c, parsed)
	if err != nil {
		if u != nil {
			v.failed(u.Tenant, u, 135010, "The passkey was not accepted.")
		}
		s.log.Debug("passkey refused", "error", err)
		return s.renderPasskey(v, passkeyFailed)
	}
	if credential.Authenticator.CloneWarning {
		v.failed(u.Tenant, u, 135010, "The passkey's counter went back: it may have been copied.")
		return s.renderPasskey(v, passkeyFailed)
	}
	if !u.Enabled {
		v.failed(u.Tenant, u, 50057, "The user account is disabled.")
		return s.renderPasskey(v, "Your account has been disabled. Ask your administrator.")
	}
	if v.flow.Ask.Tenant != "" && u.Tenant != v.flow.Ask.Tenant {
		return s.renderPasskey(v, "That passkey belongs to an account of another organization.")
	}
	if err := s.countPasskey(v, u, credential); err != nil {
		return err
	}
	if err := v.signedIn(u.Tenant, u.ID, nil, conditionalaccess.FIDO2); err != nil {
		return err
	}
	return v.back(v.flow.Ask.Return)
}

// checkPasskey verifies the answer and finds whose it is.
func (s *Server) checkPasskey(v *view, c *ceremony, parsed *protocol.ParsedCredentialAssertionData) (*directory.User, *webauthn.Credential, error) {
	if c.User != "" {
		u, _, err := v.person()
		if err != nil {
			return nil, nil, err
		}
		if c.User != state.Key(u.Tenant, u.ID) {
			return u, nil, errs.New(errs.Unauthenticated, "the challenge is another person's")
		}
		p, err := v.passkeyUser(u)
		if err != nil {
			return nil, nil, err
		}
		credential, err := s.passkey.ValidateLogin(p, c.Data, parsed)
		return u, credential, err
	}
	var found *directory.User
	credential, err := s.passkey.ValidateDiscoverableLogin(func(_, userHandle []byte) (webauthn.User, error) {
		tenant, id, ok := fromHandle(userHandle)
		if !ok {
			return nil, errs.New(errs.NotFound, "unknown user handle")
		}
		u, err := state.Users.Get(v.db, state.Key(tenant, id))
		if err != nil {
			return nil, err
		}
		found = u
		return v.passkeyUser(u)
	}, c.Data, parsed)
	return found, credential, err
}

// countPasskey keeps the authenticator's counter, by which a copy shows.
func (s *Server) countPasskey(v *view, u *directory.User, credential *webauthn.Credential) error {
	raw, err := json.Marshal(credential)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "passkey")
	}
	id := base64.RawURLEncoding.EncodeToString(credential.ID)
	for _, a := range v.authenticators(u, state.Passkey) {
		if a.CredentialID != id {
			continue
		}
		return s.store.Update(v.r.Context(), func(tx *store.Tx) error {
			return state.Authenticators.Modify(tx, string(a.Tenant)+"/"+string(a.User)+"/"+a.ID, func(a *state.Authenticator) error {
				a.Credential = raw
				return nil
			})
		})
	}
	return nil
}

func (s *Server) showNewPasskey(v *view) error { return s.renderNewPasskey(v, "") }

func (s *Server) renderNewPasskey(v *view, text string) error {
	if s.passkey == nil {
		return noPasskeys
	}
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
	p, err := v.passkeyUser(u)
	if err != nil {
		return err
	}
	options, data, err := s.passkey.BeginRegistration(p, webauthn.WithExclusions(webauthn.Credentials(p.credentials).CredentialDescriptors()))
	if err != nil {
		return errs.Wrap(errs.Internal, err, "passkey registration")
	}
	id, err := v.newCeremony(state.Key(u.Tenant, u.ID), data)
	if err != nil {
		return err
	}
	v.show("newpasskey", http.StatusOK, map[string]any{
		"Title": "Create a passkey", "Name": u.UserPrincipalName, "Error": text, "Options": options, "Ceremony": id, "Only": v.phishingResistant(),
	})
	return nil
}

func (s *Server) postNewPasskey(v *view) error {
	if s.passkey == nil {
		return noPasskeys
	}
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
	c, err := v.takeCeremony()
	if errs.Is(err, errs.NotFound) || err == nil && c.User != state.Key(u.Tenant, u.ID) {
		return s.renderNewPasskey(v, "The passkey could not be created. Try again.")
	}
	if err != nil {
		return err
	}
	p, err := v.passkeyUser(u)
	if err != nil {
		return err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes([]byte(v.form.Get("response")))
	if err != nil {
		return s.renderNewPasskey(v, "The passkey could not be created. Try again.")
	}
	credential, err := s.passkey.CreateCredential(p, c.Data, parsed)
	if err != nil {
		s.log.Debug("passkey refused", "error", err)
		return s.renderNewPasskey(v, "The passkey could not be created. Try again.")
	}
	raw, err := json.Marshal(credential)
	if err != nil {
		return errs.Wrap(errs.Internal, err, "passkey")
	}
	err = s.store.Update(v.r.Context(), func(tx *store.Tx) error {
		return state.Authenticators.Create(tx, &state.Authenticator{
			Tenant: u.Tenant, User: u.ID, ID: directory.NewGUID(), Kind: state.Passkey, Name: "Passkey", Created: v.now,
			Credential: raw, CredentialID: base64.RawURLEncoding.EncodeToString(credential.ID),
		})
	})
	if errs.Is(err, errs.Exists) {
		return s.renderNewPasskey(v, "That passkey is registered already.")
	}
	if err != nil {
		return err
	}
	if err := v.signedIn(u.Tenant, u.ID, nil, conditionalaccess.FIDO2); err != nil {
		return err
	}
	return v.back(v.flow.Ask.Return)
}
