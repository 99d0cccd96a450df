package signin

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Limits say how often somebody may guess. The zero value is Entra's default.
type Limits struct {
	Threshold int           // failures before an account is locked; 0: 10
	Lockout   time.Duration // the first time; doubles with each failure after. 0: a minute
}

func (l *Limits) defaults() {
	if l.Threshold <= 0 {
		l.Threshold = 10
	}
	if l.Lockout <= 0 {
		l.Lockout = time.Minute
	}
}

const (
	maxLockout  = 2 * time.Hour
	lockoutLife = 24 * time.Hour
	maxFamiliar = 10
)

// lockout counts failures of one account: apart for addresses that it has
// signed in from before, and for all others together.
type lockout struct {
	Key      string   `json:"key"`
	Familiar []string `json:"familiar,omitempty"` // hashes of addresses, latest last
	Known    counter  `json:"known,omitzero"`
	Unknown  counter  `json:"unknown,omitzero"`
}

type counter struct {
	Failures int       `json:"failures,omitempty"`
	Until    time.Time `json:"until,omitzero"`
}

var lockouts = store.NewTable("signinlockouts", store.Options[lockout]{
	Key: func(l *lockout) string { return l.Key }, Direct: true, Sealed: true,
	TTL: func(l *lockout) time.Duration {
		if len(l.Familiar) > 0 {
			return 30 * 24 * time.Hour
		}
		return lockoutLife
	},
})

func (l *lockout) counter(from string) *counter {
	if slices.Contains(l.Familiar, from) {
		return &l.Known
	}
	return &l.Unknown
}

// familiar is what an address is remembered by: its network for IPv6.
func familiar(a netip.Addr) string {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return hash(p.String())[:16]
		}
	}
	return hash(a.String())[:16]
}

var errLocked = errs.New(errs.Throttled, "The account is locked for a while because of too many wrong attempts.")

// guess runs check for an account, counting the attempt as a failure before it
// runs: attempts at the same time cannot be more than one after another. check
// returns whether it was right.
func (s *Server) guess(ctx context.Context, account string, from netip.Addr, check func() (bool, error)) (bool, error) {
	key, at := hash(account), familiar(from)
	leave, err := s.gate.enter(ctx, key+" "+at)
	if err != nil {
		return false, err
	}
	defer leave()
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		l, err := lockouts.Get(tx, key)
		if errs.Is(err, errs.NotFound) {
			l = &lockout{Key: key}
		} else if err != nil {
			return err
		}
		next := *l
		c := next.counter(at)
		now := s.clock.Now()
		if now.Before(c.Until) {
			return errLocked
		}
		c.Failures++
		if over := c.Failures - s.cfg.Limits.Threshold; over >= 0 {
			c.Until = now.Add(min(maxLockout, s.cfg.Limits.Lockout<<min(over, 10)))
		}
		return lockouts.Put(tx, &next)
	})
	if err != nil {
		return false, err
	}
	ok, err := check()
	if err != nil || !ok {
		if err != nil {
			// Not checked, so not wrong: the attempt does not count.
			_ = s.forgive(ctx, key, at, false)
		}
		return false, err
	}
	return true, s.forgive(ctx, key, at, true)
}

// forgive takes the attempt back; after a right one, all of them.
func (s *Server) forgive(ctx context.Context, key, at string, right bool) error {
	return s.store.Update(ctx, func(tx *store.Tx) error {
		err := lockouts.Modify(tx, key, func(l *lockout) error {
			c := l.counter(at)
			if !right {
				c.Failures = max(0, c.Failures-1)
				if c.Failures < s.cfg.Limits.Threshold {
					c.Until = time.Time{}
				}
				return nil
			}
			*c = counter{}
			l.Familiar = append(slices.DeleteFunc(l.Familiar, func(f string) bool { return f == at }), at)
			if len(l.Familiar) > maxFamiliar {
				l.Familiar = l.Familiar[1:]
			}
			return nil
		})
		if errs.Is(err, errs.NotFound) {
			return nil
		}
		return err
	})
}

// CheckPassword returns nil if the password is the user's. user is nil for a
// name that does not exist, which is counted and takes as long as any other.
// Unauthenticated for a wrong password, Throttled while the account is locked,
// Unavailable when too many passwords are being checked.
func (s *Server) CheckPassword(ctx context.Context, tenant directory.TenantID, name string, user *directory.User, password string, from netip.Addr) error {
	phc := ""
	if user != nil {
		phc, name = user.PasswordHash, user.UserPrincipalName
	}
	stale := false
	ok, err := s.guess(ctx, "password/"+string(tenant)+"/"+state.Fold(name), from, func() (ok bool, err error) {
		ok, stale, err = s.cfg.Hasher.Verify(ctx, phc, password)
		if errs.Is(err, errs.Throttled) {
			// Busy, which is not the same as locked.
			err = errs.Wrap(errs.Unavailable, err, "%s", errs.Message(err))
		}
		return ok, err
	})
	if err != nil {
		return err
	}
	if !ok {
		return errs.New(errs.Unauthenticated, "The password is wrong.")
	}
	if stale {
		s.rehash(ctx, user, password)
	}
	return nil
}

// rehash replaces a hash that was made with other costs than today's. That it
// fails changes nothing: there is another sign-in.
func (s *Server) rehash(ctx context.Context, user *directory.User, password string) {
	phc, err := s.cfg.Hasher.Hash(ctx, password)
	if err != nil {
		return
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		return state.Users.Modify(tx, state.Key(user.Tenant, user.ID), func(u *directory.User) error {
			if u.PasswordHash == user.PasswordHash {
				u.PasswordHash = phc
			}
			return nil
		})
	})
	if err != nil {
		s.log.Warn("renewing a password hash", "user", user.ID, "error", err)
	}
}
