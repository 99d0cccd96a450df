// Package errs holds the one error type that crosses package borders inside
// Entrance.
//
// # One type inside, one rendering per surface
//
// A package says what went wrong with a Kind from a closed list and with a
// message that a person can act on. It never says how that looks on the wire:
// AADSTS codes, ARM and Graph error bodies and Kubernetes statuses are chosen
// at the edge, in the package that renders the surface. An error that is not
// an *Error reads as Internal: its text goes to the log, never to a client.
package errs

import (
	"errors"
	"fmt"
)

// Kind classifies an error. The list is closed and may only grow at its end.
type Kind uint8

const (
	Internal        Kind = iota // a defect or a broken dependency; the text is not for clients
	Invalid                     // the request is malformed or breaks a rule; repeating it will not help
	NotFound                    // the named thing does not exist
	Exists                      // something with that name or unique property exists already
	Conflict                    // the thing changed since it was read, or is busy
	Unauthenticated             // no proof, or a bad proof, of who is asking
	Forbidden                   // who is asking is known and may not do this
	Throttled                   // too many requests; try again later
	Unavailable                 // a dependency is not ready; the same request may work later
)

var kindNames = [...]string{
	Internal:        "internal",
	Invalid:         "invalid",
	NotFound:        "not found",
	Exists:          "exists",
	Conflict:        "conflict",
	Unauthenticated: "unauthenticated",
	Forbidden:       "forbidden",
	Throttled:       "throttled",
	Unavailable:     "unavailable",
}

// String returns the name of the kind, for logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is an error with a kind. Message is meant for the person who made the
// request; Err is the cause, for the log only.
type Error struct {
	Kind    Kind
	Message string
	Err     error
}

// Error returns the message followed by the cause, if there is one.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	if e.Message == "" {
		return e.Err.Error()
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of the given kind whose message is made from format and
// args as in fmt.Sprintf.
func New(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...)}
}

// Wrap is New with a cause that is kept for the log.
func Wrap(k Kind, err error, format string, args ...any) *Error {
	return &Error{Kind: k, Message: fmt.Sprintf(format, args...), Err: err}
}

// KindOf returns the kind of the first *Error in err's chain, or Internal.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}

// Is reports whether err is of kind k. A nil error is of no kind.
func Is(err error, k Kind) bool { return err != nil && KindOf(err) == k }

// Message returns the text of err that a client may see: the message of the
// first *Error in its chain, or a bland sentence for anything else.
func Message(err error) string {
	if e, ok := errors.AsType[*Error](err); ok && e.Kind != Internal && e.Message != "" {
		return e.Message
	}
	return "An internal error occurred. The server's log has the details."
}
