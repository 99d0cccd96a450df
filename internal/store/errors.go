package store

import (
	"context"
	"errors"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"

	"github.com/entrance-id/entrance/internal/errs"
)

// TakenError is the cause of the errs.Exists that a violated claim gives.
type TakenError struct {
	Table  string
	Claim  string // as Options.Claims returned it
	Holder string // the key of the record that has it
}

// Error names the holder.
func (e *TakenError) Error() string { return "held by " + e.Table + "/" + e.Holder }

func taken(t *table, claim, holder string) error {
	return errs.Wrap(errs.Exists, &TakenError{Table: t.name, Claim: claim, Holder: holder},
		"%s: %q is already taken", t.name, claim)
}

// fromEtcd gives an error of the client a kind.
func fromEtcd(err error, doing string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return errs.Wrap(errs.Unavailable, err, "%s: the request was cancelled", doing)
	case errors.Is(err, rpctypes.ErrNoSpace):
		return errs.Wrap(errs.Unavailable, err, "The store is full: it takes no writes until etcd has been given more space.")
	case errors.Is(err, rpctypes.ErrTooManyOps):
		return errs.Wrap(errs.Invalid, err, "The change touches too many records for one transaction (for an external etcd, raise --max-txn-ops).")
	case errors.Is(err, rpctypes.ErrRequestTooLarge), strings.Contains(err.Error(), "message larger than max"):
		return errs.Wrap(errs.Invalid, err, "The change is too large to be stored.")
	case errors.Is(err, rpctypes.ErrTooManyRequests):
		return errs.Wrap(errs.Throttled, err, "The store is busy.")
	case errors.Is(err, rpctypes.ErrPermissionDenied), errors.Is(err, rpctypes.ErrAuthFailed), errors.Is(err, rpctypes.ErrUserEmpty):
		return errs.Wrap(errs.Unavailable, err, "etcd refuses this program's credentials.")
	}
	return errs.Wrap(errs.Unavailable, err, "%s: the store does not answer", doing)
}
