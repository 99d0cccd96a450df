package errs_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/errs"
)

func TestKindOf(t *testing.T) {
	cause := errors.New("disk on fire")
	for _, tc := range []struct {
		name string
		err  error
		want errs.Kind
	}{
		{"plain", cause, errs.Internal},
		{"direct", errs.New(errs.NotFound, "no such user %q", "ann"), errs.NotFound},
		{"wrapped", fmt.Errorf("reading: %w", errs.New(errs.Exists, "taken")), errs.Exists},
		{"outermost wins", errs.Wrap(errs.Unavailable, errs.New(errs.NotFound, "x"), "y"), errs.Unavailable},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := errs.KindOf(tc.err); got != tc.want {
				t.Errorf("KindOf(%v) = %v, want %v", tc.err, got, tc.want)
			}
		})
	}
	if errs.Is(nil, errs.Internal) {
		t.Error("a nil error has a kind")
	}
}

func TestMessageHidesCauses(t *testing.T) {
	secret := errors.New("dial 10.0.0.7: password=hunter2")
	for _, err := range []error{secret, errs.Wrap(errs.Internal, secret, "detail"), errs.Wrap(errs.Unavailable, secret, "The store is not ready.")} {
		if m := errs.Message(err); strings.Contains(m, "hunter2") {
			t.Errorf("Message(%v) = %q shows the cause", err, m)
		}
	}
	if got, want := errs.Message(errs.New(errs.Invalid, "Name is empty.")), "Name is empty."; got != want {
		t.Errorf("Message = %q, want %q", got, want)
	}
}
