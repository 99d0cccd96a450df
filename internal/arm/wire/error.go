package wire

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/entrance-id/entrance/internal/errs"
)

// Error is an error as ARM shows it.
type Error struct {
	Status  int
	Code    string
	Message string
	Target  string
	Header  http.Header
	Err     error // the cause, for the log
}

// Error returns the code, the message and the cause.
func (e *Error) Error() string {
	s := e.Code + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fail returns an error with the given status and code.
func Fail(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Bad returns a 400 with the given code.
func Bad(code, format string, args ...any) *Error {
	return Fail(http.StatusBadRequest, code, format, args...)
}

// BadRequest returns a 400 with the code BadRequest.
func BadRequest(format string, args ...any) *Error { return Bad("BadRequest", format, args...) }

// On returns e with the target that ARM names.
func (e *Error) On(target string) *Error {
	e.Target = target
	return e
}

// ResourceNotFound is the answer for a resource that does not exist.
func ResourceNotFound(typ, name, group string) *Error {
	return Fail(http.StatusNotFound, "ResourceNotFound",
		"The Resource '%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", typ, name, group)
}

// ResourceGroupNotFound is the answer for a resource group that does not exist.
func ResourceGroupNotFound(name string) *Error {
	return Fail(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", name)
}

// kinds gives errors of package errs a status and a code.
var kinds = map[errs.Kind]struct {
	status int
	code   string
}{
	errs.Internal:        {http.StatusInternalServerError, "InternalServerError"},
	errs.Invalid:         {http.StatusBadRequest, "BadRequest"},
	errs.NotFound:        {http.StatusNotFound, "NotFound"},
	errs.Exists:          {http.StatusConflict, "Conflict"},
	errs.Conflict:        {http.StatusConflict, "Conflict"},
	errs.Unauthenticated: {http.StatusUnauthorized, "InvalidAuthenticationToken"},
	errs.Forbidden:       {http.StatusForbidden, "Forbidden"},
	errs.Throttled:       {http.StatusTooManyRequests, "TooManyRequests"},
	errs.Unavailable:     {http.StatusServiceUnavailable, "ServerTimeout"},
}

// render returns err as ARM shows it.
func render(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	k := kinds[errs.KindOf(err)]
	return &Error{Status: k.status, Code: k.code, Message: errs.Message(err), Err: err}
}

// CodeOf returns the code and message with which err is shown.
func CodeOf(err error) (code, message string) {
	e := render(err)
	return e.Code, e.Message
}
