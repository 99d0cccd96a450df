package ticket

import (
	"context"
	"crypto/rand"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// userAlphabet has no vowels, so that codes spell nothing, and no characters
// that look alike: 9 of them are 2^40 codes, of which few are alive at a time
// and each address may type ten wrong ones a minute.
const userAlphabet = "BCDFGHJKLMNPQRSTVWXZ23456789"

const userCodeLength = 9

func newUserCode() string {
	var b [userCodeLength]byte
	for i := range b {
		for {
			var x [1]byte
			rand.Read(x[:])
			// 28 * 9 = 252: what is above would make some letters likelier.
			if x[0] < 252 {
				b[i] = userAlphabet[x[0]%28]
				break
			}
		}
	}
	return string(b[:])
}

// NormalizeUserCode returns a typed user code as it is kept, and whether it can
// be one at all.
func NormalizeUserCode(s string) (string, bool) {
	var b strings.Builder
	for _, r := range strings.ToUpper(s) {
		switch {
		case r == ' ' || r == '-':
		case r < 0x80 && strings.ContainsRune(userAlphabet, r):
			b.WriteRune(r)
		default:
			return "", false
		}
	}
	return b.String(), b.Len() == userCodeLength
}

// NewDevice stores a sign-in that waits, with a user code of its own, and
// returns the device code.
func (k *Tickets) NewDevice(ctx context.Context, d *Device) (secret string, err error) {
	secret = "1." + Random(64)
	d.Hash, d.Started = Hash(secret), k.Clock.Now()
	d.Expires = d.Started.Add(DeviceLife)
	for range 3 {
		d.UserCode = newUserCode()
		err = k.Store.Update(ctx, func(tx *store.Tx) error {
			if err := userCodes.Create(tx, &userCode{d.UserCode, d.Hash}); err != nil {
				return err
			}
			return devices.Create(tx, d)
		})
		if !errs.Is(err, errs.Exists) {
			break
		}
	}
	return secret, err
}

// Device returns the sign-in with the given hash of a device code. NotFound.
func (k *Tickets) Device(ctx context.Context, hash string) (*Device, error) {
	return devices.GetFresh(ctx, k.Store, hash)
}

// TakeDevice removes the sign-in and returns it: of many callers one gets it.
// NotFound.
func (k *Tickets) TakeDevice(ctx context.Context, hash string) (*Device, error) {
	return devices.Take(ctx, k.Store, hash)
}

// FindDevice returns the sign-in that waits under a user code as
// NormalizeUserCode returns it. NotFound, also if it was answered or has
// expired.
func (k *Tickets) FindDevice(ctx context.Context, code string) (*Device, error) {
	u, err := userCodes.GetFresh(ctx, k.Store, code)
	if err != nil {
		return nil, err
	}
	d, err := devices.GetFresh(ctx, k.Store, u.Device)
	if err != nil {
		return nil, err
	}
	if d.Denied || d.SignedIn != nil || !k.Clock.Now().Before(d.Expires) {
		return nil, errs.New(errs.NotFound, "answered or expired")
	}
	return d, nil
}

// AnswerDevice writes a person's answer, once: who approves twice, or after a
// denial, is told that the code is gone (AADSTS70018). No sign-in is a denial.
func (k *Tickets) AnswerDevice(ctx context.Context, d *Device, who *SignIn) error {
	err := k.Store.Update(ctx, func(tx *store.Tx) error {
		err := devices.Modify(tx, d.Hash, func(d *Device) error {
			if d.Denied || d.SignedIn != nil {
				return errs.New(errs.NotFound, "answered already")
			}
			d.SignedIn, d.Denied = who, who == nil
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := userCodes.Get(tx, d.UserCode); errs.Is(err, errs.NotFound) {
			return nil
		} else if err != nil {
			return err
		}
		return userCodes.Delete(tx, d.UserCode)
	})
	if errs.Is(err, errs.NotFound) {
		return fault(70018)
	}
	return err
}
