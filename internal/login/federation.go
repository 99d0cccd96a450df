package login

import (
	"context"
	"errors"
)

// federated signs in where the password is checked by the user's own
// organisation.
func (p *password) federated(ctx context.Context, realm *userRealm) (*tokenResponse, error) {
	return nil, errors.New("the user's password is checked by a federated provider")
}
