package ticket

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

const (
	refreshPurpose = "refresh token"
	refreshPrefix  = "1."
)

// Refresh is what a refresh token holds. It is bound to the client and the
// person, and to no resource: it may be redeemed for others.
type Refresh struct {
	Client directory.AppID `json:"c"`
	Who    SignIn          `json:"w"`
	Issued time.Time       `json:"i"`
	// SPA is when a single-page application's token ends, whatever is done.
	SPA time.Time `json:"spa,omitzero"`
	// Resource and Scope are what was asked for at first: a client that asks
	// for nothing gets that again.
	Resource string `json:"r,omitempty"`
	Scope    string `json:"s,omitempty"`
}

// SealRefresh returns the text of a refresh token.
func (k *Tickets) SealRefresh(t *Refresh) (string, error) {
	s, err := k.Sealer.Seal(refreshPurpose, t)
	return refreshPrefix + s, err
}

// OpenRefresh returns what a refresh token holds: AADSTS70000 if it is none.
func (k *Tickets) OpenRefresh(raw string) (*Refresh, error) {
	var t Refresh
	text, ok := strings.CutPrefix(raw, refreshPrefix)
	if !ok || k.Sealer.Open(refreshPurpose, text, &t) != nil {
		return nil, fault(70000, "the refresh token is not valid")
	}
	return &t, nil
}
