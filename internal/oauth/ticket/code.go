package ticket

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// NewCode stores an authorization code and returns its text.
func (k *Tickets) NewCode(ctx context.Context, c *Code) (string, error) {
	text := "1." + Random(48)
	c.Hash, c.Expires = Hash(text), k.Clock.Now().Add(codeLife)
	err := k.Store.Update(ctx, func(tx *store.Tx) error { return codes.Create(tx, c) })
	return text, err
}

// PeekCode returns a code without redeeming it; nil if there is none.
func (k *Tickets) PeekCode(ctx context.Context, text string) (*Code, error) {
	c, err := codes.GetFresh(ctx, k.Store, Hash(text))
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	return c, err
}

// errReplay aborts a redemption of a code that was redeemed before.
var errReplay = errors.New("ticket: the code was redeemed before")

// TakeCode marks a code as redeemed, in one transaction: of many callers one
// gets it. For the others it ends what the first one got, since one of them has
// stolen it; they get AADSTS54005, and the code for the log.
func (k *Tickets) TakeCode(ctx context.Context, text string) (*Code, error) {
	key := Hash(text)
	var got Code
	err := k.Store.Update(ctx, func(tx *store.Tx) error {
		return codes.Modify(tx, key, func(c *Code) error {
			got = *c
			if c.Redeemed {
				return errReplay
			}
			c.Redeemed = true
			return nil
		})
	})
	switch {
	case errors.Is(err, errReplay):
		if err := k.Revoke(ctx, got.SignedIn.Grant); err != nil {
			return nil, err
		}
		return &got, fault(54005)
	case errs.Is(err, errs.NotFound):
		return nil, fault(70000, "the authorization code is not valid")
	case err != nil:
		return nil, err
	case !k.Clock.Now().Before(got.Expires):
		return nil, fault(70008)
	}
	return &got, nil
}

// CheckVerifier checks proof of possession of the code's challenge (RFC 7636).
// A verifier where no challenge was given is refused too: somebody took the
// challenge out of the authorization request (RFC 9700, section 2.1.1).
func (k *Code) CheckVerifier(verifier string) error {
	switch {
	case k.Challenge == "" && verifier == "":
		if k.SPA {
			return fault(9002325)
		}
		return nil
	case k.Challenge == "":
		return fault(501481)
	case verifier == "":
		return fault(900144, "code_verifier")
	case !ValidVerifier(verifier):
		return fault(501481)
	}
	got := verifier
	if k.Method != "plain" {
		sum := sha256.Sum256([]byte(verifier))
		got = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(k.Challenge)) != 1 {
		return fault(501481)
	}
	return nil
}

// ValidVerifier reports whether s has the form of a verifier or a challenge.
func ValidVerifier(s string) bool {
	if len(s) < 43 || len(s) > 128 {
		return false
	}
	for _, r := range s {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_', r == '~':
		default:
			return false
		}
	}
	return true
}
