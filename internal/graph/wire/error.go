package wire

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
)

// Error codes of Microsoft Graph.
const (
	CodeBadRequest         = "Request_BadRequest"
	CodeNotFound           = "Request_ResourceNotFound"
	CodeDenied             = "Authorization_RequestDenied"
	CodeSameKey            = "Request_MultipleObjectsWithSameKeyValue"
	CodeUnsupportedQuery   = "Request_UnsupportedQuery"
	CodeInvalidToken       = "InvalidAuthenticationToken"
	CodeIdentityNotFound   = "Authorization_IdentityNotFound"
	CodeNoSegment          = "BadRequest"
	CodeLimit              = "Directory_QuotaExceeded"
	CodeResultSize         = "Directory_ResultSizeLimitExceeded"
	CodeTooManyRequests    = "TooManyRequests"
	CodeConcurrency        = "Directory_ConcurrencyViolation"
	CodePreconditionFailed = "preconditionFailed"
	CodeInternal           = "Service_InternalServerError"
	CodeUnavailable        = "Directory_Unavailable"
)

// Error is an error as Microsoft Graph renders it.
type Error struct {
	Status  int
	Code    string
	Message string
	Err     error // for the log
}

// Error returns the code and the message.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fail returns an Error.
func Fail(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Bad returns the error of a request that breaks a rule.
func Bad(format string, args ...any) *Error {
	return Fail(http.StatusBadRequest, CodeBadRequest, format, args...)
}

// Denied returns the error of a caller who may not do what was asked.
func Denied() *Error {
	return Fail(http.StatusForbidden, CodeDenied, "Insufficient privileges to complete the operation.")
}

// Missing returns the error of an object that does not exist.
func Missing(id string) *Error {
	return Fail(http.StatusNotFound, CodeNotFound, "Resource '%s' does not exist or one of its queried reference-property objects are not present.", id)
}

// render chooses the Graph error for any error.
func render(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if e, ok := errors.AsType[*odata.Error](err); ok {
		code := CodeBadRequest
		if e.Option == "$filter" {
			code = "Request_BadRequest"
		}
		return &Error{http.StatusBadRequest, code, e.Message, nil}
	}
	if errors.Is(err, odata.ErrTooCostly) {
		return &Error{http.StatusBadRequest, CodeUnsupportedQuery, errs.Message(err), nil}
	}
	message := errs.Message(err)
	switch errs.KindOf(err) {
	case errs.Invalid:
		return &Error{http.StatusBadRequest, CodeBadRequest, message, err}
	case errs.NotFound:
		return &Error{http.StatusNotFound, CodeNotFound, message, err}
	case errs.Exists:
		return &Error{http.StatusBadRequest, CodeBadRequest, message, err}
	case errs.Conflict:
		return &Error{http.StatusConflict, CodeConcurrency, message, err}
	case errs.Unauthenticated:
		return &Error{http.StatusUnauthorized, CodeInvalidToken, message, err}
	case errs.Forbidden:
		return &Error{http.StatusForbidden, CodeDenied, message, err}
	case errs.Throttled:
		return &Error{http.StatusTooManyRequests, CodeTooManyRequests, message, err}
	case errs.Unavailable:
		return &Error{http.StatusServiceUnavailable, CodeUnavailable, message, err}
	}
	return &Error{http.StatusInternalServerError, CodeInternal, errs.Message(err), err}
}
