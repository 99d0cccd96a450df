package login

import (
	"context"
	"errors"
	"fmt"

	"github.com/entrance-id/entrance/internal/tokencache"
)

// SignIn signs in once, as the options say, and returns all that it earned: the
// refresh token too, which Session keeps to itself. Nothing is cached; that is
// the business of the caller, who may need tokens for several resources.
func SignIn(ctx context.Context, o *Options, sys Surroundings) (tokencache.Entry, error) {
	s, err := newGrant(o, sys)
	if err != nil {
		return tokencache.Entry{}, err
	}
	return s.signIn(ctx)
}

// Redeem trades a refresh token of a public client for an access token for
// o.ServerID in o.TenantID (RFC 6749, section 6). Whoever has signed in to one
// resource of Entra may so be signed in to another. A refusal is a *ServerError.
func Redeem(ctx context.Context, o *Options, sys Surroundings, refreshToken string) (tokencache.Entry, error) {
	s, err := newGrant(o, sys)
	if err != nil {
		return tokencache.Entry{}, err
	}
	r, ok := s.method.(refresher)
	if !ok {
		return tokencache.Entry{}, fmt.Errorf("the login mode %q has no refresh tokens", o.Login)
	}
	resp, err := r.refresh(ctx, refreshToken)
	if err != nil {
		return tokencache.Entry{}, err
	}
	e, err := s.toEntry(resp)
	if e.RefreshToken == "" {
		e.RefreshToken = refreshToken
	}
	return e, err
}

// NeedsPerson reports whether err is a refusal that only a new sign-in can help.
func NeedsPerson(err error) bool {
	var se *ServerError
	return errors.As(err, &se) && se.needsPerson()
}

// newGrant is a session that keeps nothing.
func newGrant(o *Options, sys Surroundings) (*Session, error) {
	if o.PoPEnabled {
		return nil, errors.New("proof-of-possession tokens are bound to a session")
	}
	return NewSession(o, tokencache.Open("", tokencache.Options{Clock: sys.Clock, KeyStore: "none", Warn: func(string) {}}), sys)
}
