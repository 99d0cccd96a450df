package azure

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/login"
)

// Explain turns what a client or a sign-in returned into an error for a person:
// the service's code and text, as az prints them, and what to do next.
func Explain(err error) error {
	var response *azcore.ResponseError
	var signIn *login.ServerError
	var dial *net.OpError
	switch {
	case errors.As(err, &signIn):
		return errs.New(errs.Unauthenticated, "%s%s", signIn.Error(), hint(signInHint(signIn)))
	case errors.As(err, &response):
		code, text := body(response)
		if text == "" {
			text = http.StatusText(response.StatusCode)
		}
		if code != "" {
			text = "(" + code + ") " + text
		}
		return errs.New(kindOf(response.StatusCode), "%s%s", clean(text), hint(responseHint(response.StatusCode, code)))
	case errors.As(err, &dial) && dial.Op == "dial":
		return errs.Wrap(errs.Unavailable, err, "The cloud does not answer. See whether it runs with 'entrance status', or sign in to another with 'entrance login'")
	}
	return err
}

// hint is what to do next, on a line of its own.
func hint(s string) string {
	if s == "" {
		return ""
	}
	return "\n" + s
}

func kindOf(status int) errs.Kind {
	switch status {
	case http.StatusNotFound:
		return errs.NotFound
	case http.StatusUnauthorized:
		return errs.Unauthenticated
	case http.StatusForbidden:
		return errs.Forbidden
	case http.StatusConflict, http.StatusPreconditionFailed:
		return errs.Conflict
	case http.StatusTooManyRequests:
		return errs.Throttled
	}
	if status >= 500 {
		return errs.Unavailable
	}
	return errs.Invalid
}

// body reads the code and text of a refusal. Resource Manager and Graph nest
// them in "error"; some of AKS's answers do not.
func body(e *azcore.ResponseError) (code, text string) {
	code = e.ErrorCode
	if e.RawResponse == nil || e.RawResponse.Body == nil {
		return code, ""
	}
	raw, err := runtime.Payload(e.RawResponse) // which can be read again
	if err != nil {
		return code, ""
	}
	type fault struct{ Code, Message string }
	var doc struct {
		fault
		Error fault
	}
	if json.Unmarshal(raw, &doc) != nil {
		return code, ""
	}
	if doc.Error.Code == "" {
		doc.Error = doc.fault
	}
	if doc.Error.Code != "" {
		code = doc.Error.Code
	}
	return code, doc.Error.Message
}

// ErrorCode returns the service's code of an error, or "".
func ErrorCode(err error) string {
	var response *azcore.ResponseError
	if !errors.As(err, &response) {
		return ""
	}
	code, _ := body(response)
	return code
}

// IsNotFound reports whether a service says that something does not exist.
func IsNotFound(err error) bool {
	var response *azcore.ResponseError
	return errors.As(err, &response) && response.StatusCode == http.StatusNotFound || errs.Is(err, errs.NotFound)
}

// responseHint says what to do about a refusal of Resource Manager or Graph.
func responseHint(status int, code string) string {
	switch strings.ToLower(code) {
	case "authorizationfailed", "linkedauthorizationfailed":
		return "Ask an owner of the scope for a role that has the action: entrance role assignment create --assignee WHO --role ROLE --scope SCOPE. A new role assignment works at once."
	case "authorization_requestdenied":
		return "The signed-in account needs a directory role or a Graph permission for this. See who it is with 'entrance account show'."
	case "resourcegroupnotfound":
		return "See the resource groups with 'entrance group list', or make one with 'entrance group create'."
	case "subscriptionnotfound", "invalidsubscriptionid":
		return "See the subscriptions with 'entrance account list --refresh'."
	case "roleassignmentexists":
		return "See it with 'entrance role assignment list'."
	case "roledefinitiondoesnotexist":
		return "See the roles with 'entrance role definition list'."
	case "invalidauthenticationtoken", "expiredauthenticationtoken", "invalidauthenticationtokentenant":
		return "Sign in again: entrance login"
	case "operationnotallowed", "anotheroperationinprogress":
		return "Another operation is under way: wait for it with 'entrance aks wait --updated', then try again."
	}
	if status == http.StatusUnauthorized {
		return "Sign in again: entrance login"
	}
	return ""
}

// signInHint says what to do about a refusal of a sign-in.
func signInHint(e *login.ServerError) string {
	for _, code := range codes(e) {
		switch code {
		case 50126, 50034, 50056:
			return "Check the user name and the password."
		case 50057:
			return "An administrator can enable the account: entrance ad user update --id WHO --account-enabled true"
		case 50076, 50079, 50074, 50072:
			return "A second factor is needed, which a password alone cannot give: entrance login --use-device-code"
		case 53000, 53001, 53002, 53003, 530031:
			return "A Conditional Access policy refuses this sign-in: 'entrance logs signins' names it."
		case 700016, 90002, 900023, 50059:
			return "Check the application id and --tenant."
		case 7000215, 7000222, 7000216:
			return "Make a new secret with 'entrance ad app credential reset --id APP' or 'entrance ad sp credential reset --id APP'."
		case 700213, 70021, 700211, 700212, 70025:
			return "Compare issuer, subject and audience with 'entrance ad app federated-credential list --id APP'."
		case 700027:
			return "Register the certificate with 'entrance ad app credential reset --id APP --cert @FILE --append'."
		case 65001, 65004:
			return "An administrator can consent: entrance ad app permission admin-consent --id APP"
		case 50173, 700082, 70043, 700084, 50132, 50133, 50089:
			return "The sign-in has ended. Sign in again: entrance login"
		}
	}
	switch e.Code {
	case "invalid_grant", "interaction_required", "login_required":
		return "Sign in again: entrance login"
	}
	return ""
}

// codes are the AADSTS numbers of a refusal: its list, or the one that its text
// begins with.
func codes(e *login.ServerError) []int {
	if len(e.Codes) > 0 {
		return e.Codes
	}
	if rest, ok := strings.CutPrefix(e.Description, "AADSTS"); ok {
		end := strings.IndexFunc(rest, func(r rune) bool { return !unicode.IsDigit(r) })
		if n, err := strconv.Atoi(rest[:max(end, 0)]); err == nil {
			return []int{n}
		}
	}
	return nil
}

// clean keeps what a service says from steering the terminal.
func clean(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\r', r == '\t':
			return ' '
		case unicode.IsControl(r), unicode.In(r, unicode.Cf):
			return -1
		}
		return r
	}, s))
}
