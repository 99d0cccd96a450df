// Package aadsts renders refusals as Microsoft Entra does: a number from a
// closed table, its OAuth error, the HTTP status and a text that a person can
// act on. It is the only place where these numbers are.
package aadsts

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// Error is a refusal with a code of the table.
type Error struct {
	Code Code
	// OAuth and Suberror are the table's, unless a flow needs others.
	OAuth, Suberror string
	Status          int
	Text            string
	// Claims is what the client must ask for next time, a JSON document.
	Claims string
	// RetryAfter, if not zero, tells a throttled client when to come back.
	RetryAfter time.Duration
	// Err is the cause, for the log alone.
	Err error
}

// maxQuoted bounds what is quoted back to whoever asked: an answer must not be
// a mirror for a megabyte.
const maxQuoted = 200

// New returns the error of a code. Text arguments that came from outside are
// shortened and freed of control characters.
func New(code Code, args ...any) *Error {
	r, ok := table[code]
	if !ok {
		return &Error{Code: 50000, OAuth: serverError, Status: http.StatusInternalServerError, Text: table[50000].text, Err: fmt.Errorf("code %d is not in the table", code)}
	}
	for i, a := range args {
		if s, ok := a.(fmt.Stringer); ok {
			a = s.String()
		}
		switch v := a.(type) {
		case int, int64:
		default:
			args[i] = clean(fmt.Sprint(v))
		}
	}
	text := r.text
	if strings.Contains(text, "%") {
		text = fmt.Sprintf(text, args...)
	}
	return &Error{Code: code, OAuth: r.oauth, Suberror: r.sub, Status: r.status, Text: text}
}

// Throttled returns the error of a request that came too soon.
func Throttled(wait time.Duration) *Error {
	e := New(90055)
	e.RetryAfter = wait
	return e
}

// From returns err as an *Error: itself if it is one, else the blandest code
// that fits its kind, with err kept for the log.
func From(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	code := Code(50000)
	switch errs.KindOf(err) {
	case errs.Unavailable, errs.Conflict:
		code = 90033
	case errs.Throttled:
		code = 90055
	}
	e := New(code)
	e.Err = err
	if code == 90055 {
		e.RetryAfter = 5 * time.Second
	}
	return e
}

// Error returns the text as it stands in error_description, without the ids.
func (e *Error) Error() string { return fmt.Sprintf("AADSTS%d: %s", e.Code, e.Text) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// WithClaims adds a claims challenge.
func (e *Error) WithClaims(claims string) *Error {
	e.Claims = claims
	return e
}

// WithCause adds the cause, for the log.
func (e *Error) WithCause(err error) *Error {
	e.Err = err
	return e
}

// Called returns e under another OAuth error, where a flow has a word of its own.
func (e *Error) Called(oauth string) *Error {
	e.OAuth = oauth
	return e
}

// Body is the error document of the token and device code endpoints.
type Body struct {
	Error         string `json:"error"`
	Description   string `json:"error_description"`
	Codes         []Code `json:"error_codes"`
	Timestamp     string `json:"timestamp"`
	TraceID       string `json:"trace_id"`
	CorrelationID string `json:"correlation_id"`
	URI           string `json:"error_uri,omitempty"`
	Suberror      string `json:"suberror,omitempty"`
	Claims        string `json:"claims,omitempty"`
}

// TimeFormat is how Entra writes times in error bodies.
const TimeFormat = "2006-01-02 15:04:05Z"

// Describe returns the text with the ids that find it in the log.
func (e *Error) Describe(trace, correlation string, now time.Time) string {
	return fmt.Sprintf("%s Trace ID: %s Correlation ID: %s Timestamp: %s", e.Error(), trace, correlation, now.UTC().Format(TimeFormat))
}

// Body returns the error document.
func (e *Error) Body(base, trace, correlation string, now time.Time) Body {
	return Body{
		Error: e.OAuth, Description: e.Describe(trace, correlation, now), Codes: []Code{e.Code},
		Timestamp: now.UTC().Format(TimeFormat), TraceID: trace, CorrelationID: correlation,
		URI: fmt.Sprintf("%s/error?code=%d", base, e.Code), Suberror: e.Suberror, Claims: e.Claims,
	}
}

func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if len(s) > maxQuoted {
		s = strings.ToValidUTF8(s[:maxQuoted], "") + "..."
	}
	return s
}
