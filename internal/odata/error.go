package odata

import (
	"fmt"

	"github.com/entrance-id/entrance/internal/errs"
)

// Error is a fault in a query option. Its kind is errs.Invalid.
type Error struct {
	Option  string // $filter, $select, ...
	Offset  int    // where in the option's text, in bytes from 0
	Message string
}

// Error returns the message, which names the option and the position itself.
func (e *Error) Error() string { return e.Message }

// Unwrap gives the error its kind and a message that a client may see.
func (e *Error) Unwrap() error { return errs.New(errs.Invalid, "%s", e.Message) }

func syntaxError(option, text string, offset int, format string, args ...any) error {
	if len(text) > 200 {
		text = text[:200] + "..."
	}
	return &Error{option, offset, fmt.Sprintf("Invalid %s clause: %s at position %d in '%s'.", optionName(option), fmt.Sprintf(format, args...), offset, text)}
}

func optionName(option string) string {
	if option == "$filter" {
		return "filter"
	}
	return option
}

// ErrTooCostly is returned by an evaluation that has used up its budget.
var ErrTooCostly error = errs.New(errs.Invalid, "The query is too complex to be evaluated over this collection. Narrow it with 'eq' or 'startswith' on an indexed property.")
