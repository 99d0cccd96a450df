package pim

import (
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
)

// Error codes of Graph and ARM.
const (
	CodePolicyFailed     = "RoleAssignmentRequestPolicyValidationFailed"
	CodeExists           = "RoleAssignmentExists"
	CodePending          = "PendingRoleAssignmentRequest"
	CodeNotFound         = "RoleAssignmentDoesNotExist"
	CodeTooShort         = "ActiveDurationTooShort"
	CodeRequestNotFound  = "RoleAssignmentRequestNotFound"
	CodeNotPending       = "RoleAssignmentRequestNotPending"
	CodeInvalidPrincipal = "InvalidPrincipalType"
	CodeInvalidSchedule  = "InvalidScheduleInfo"
	CodeInvalidAction    = "InvalidRequestType"
	CodeAccessDenied     = "AccessDenied"
)

// Names of the policy rules that a request can fail.
const (
	RuleEligibility   = "EligibilityRule"
	RuleExpiration    = "ExpirationRule"
	RuleJustification = "JustificationRule"
	RuleTicketing     = "TicketingRule"
	RuleMFA           = "MfaRule"
)

// Error is a refused request with the service's code. It unwraps to an
// *errs.Error, so that errs.KindOf and errs.Message work on it.
type Error struct {
	Code  string
	Rules []string // failed rules, for CodePolicyFailed
	err   *errs.Error
}

// Error returns the message.
func (e *Error) Error() string { return e.err.Error() }

// Unwrap returns the *errs.Error.
func (e *Error) Unwrap() error { return e.err }

func fail(kind errs.Kind, code, format string, args ...any) *Error {
	return &Error{Code: code, err: errs.New(kind, format, args...)}
}

// policyFailed words the failure exactly as the services do, as scripts look
// for rule names in the message.
func policyFailed(rules []string) *Error {
	e := fail(errs.Invalid, CodePolicyFailed, `The following policy rules failed: ["%s"]`, strings.Join(rules, `","`))
	e.Rules = rules
	return e
}
