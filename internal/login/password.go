package login

import (
	"context"
	"strings"
)

// password sends a user name and password (ropc).
type password struct{ *entra }

func newPassword(e *entra) (method, error) {
	if e.o.Username == "" {
		return nil, errEmpty("username")
	}
	if e.o.Password == "" {
		return nil, errEmpty("password")
	}
	if e.o.PoPEnabled {
		if _, err := ParsePoPClaims(e.o.PoPClaims); err != nil {
			return nil, err
		}
	}
	return &password{e}, nil
}

func (p *password) name() string    { return popName(p.o, "UsernamePasswordCredential") }
func (p *password) account() string { return sameFold(p.o.Username) }

// secrets binds the cache to the password, so that a process that knows only
// the user name gets nothing.
func (p *password) secrets() ([][]byte, error) { return [][]byte{[]byte(p.o.Password)}, nil }

func (p *password) refresh(ctx context.Context, token string) (*tokenResponse, error) {
	return p.publicRefresh(ctx, token)
}

func (p *password) acquire(ctx context.Context) (*tokenResponse, error) {
	if _, err := p.client.resolve(ctx); err != nil {
		return nil, err
	}
	realm, err := p.client.realm(ctx, p.o.Username)
	if err != nil {
		return nil, err
	}
	if strings.EqualFold(realm.AccountType, "Federated") {
		return p.federated(ctx, realm)
	}
	f, err := p.form("password")
	if err != nil {
		return nil, err
	}
	f.Set("username", p.o.Username)
	f.Set("password", p.o.Password)
	return p.client.token(ctx, f, false)
}
