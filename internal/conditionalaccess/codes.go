package conditionalaccess

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
)

// Code is an AADSTS error code.
type Code int

// The codes that a decision can end with.
const (
	CodePlatform         Code = 50005  // a device is required on a platform that cannot have one
	CodeEnrollMFA        Code = 50072  // interactive: a second factor must be registered
	CodeStrongAuth       Code = 50074  // interactive: multifactor authentication is asked for
	CodeMFARequired      Code = 50076  // multifactor authentication needed, and no page to ask on
	CodeRegisterMFA      Code = 50079  // the same, and none is registered
	CodeDeviceAuth       Code = 50097  // a device must be proven, and the client can be asked
	CodeDeviceState      Code = 50131  // the device is in none of the states of which one is required
	CodeNotCompliant     Code = 53000  // the device is not compliant
	CodeNotJoined        Code = 53001  // the device is not domain joined
	CodeBlocked          Code = 53003  // blocked
	CodeNoCompliant      Code = 530002 // no device, a compliant one required
	CodeNoManaged        Code = 530003 // no device, a managed one required
	CodeFrequencyRefresh Code = 70043  // refresh token too old for the sign-in frequency
	CodeFrequencySession Code = 70044  // session too old for the sign-in frequency
)

// CodeInfo is how a code looks on the wire. The OAuth error value depends on
// where it is sent; ErrorFor chooses.
type CodeInfo struct {
	Code      Code
	Text      string // %s is the name of the resource
	Token     string // token endpoint, v2
	Bound     string // token endpoint, v1 and on-behalf-of
	Authorize string // redirect from a page that ended in refusal
	Silent    string // redirect with prompt=none
	Suberror  string // v2 token endpoint only
	Status    int    // HTTP status at the token endpoint
	Challenge bool   // sent with a claims challenge
}

const (
	invalidGrant = "invalid_grant"
	interaction  = "interaction_required"
	accessDenied = "access_denied"
)

// codeTable follows the error table of the protocol notes; where they give two
// error values, invalid_grant with a suberror goes to v2 refresh and password
// and interaction_required to v1 and on-behalf-of.
var codeTable = func() map[Code]CodeInfo {
	moved := "Due to a configuration change made by your administrator, or because you moved to a new location, you must "
	m := map[Code]CodeInfo{}
	for _, c := range []CodeInfo{
		{CodePlatform, "The device platform is not supported by the Conditional Access policy for '%s'.", invalidGrant, interaction, accessDenied, interaction, "message_only", 400, false},
		{CodeEnrollMFA, moved + "enroll in multi-factor authentication to access '%s'.", invalidGrant, interaction, interaction, interaction, "basic_action", 400, true},
		{CodeStrongAuth, "Strong Authentication is required.", invalidGrant, interaction, interaction, interaction, "basic_action", 400, true},
		{CodeMFARequired, moved + "use multi-factor authentication to access '%s'.", invalidGrant, interaction, interaction, interaction, "basic_action", 400, true},
		{CodeRegisterMFA, moved + "enroll in multi-factor authentication to access '%s'.", invalidGrant, interaction, interaction, interaction, "basic_action", 400, true},
		{CodeDeviceAuth, "Device authentication is required.", invalidGrant, invalidGrant, interaction, interaction, "", 401, true},
		{CodeDeviceState, "Device is not in required device state: compliant or domain joined. Access to '%s' needs one of them.", invalidGrant, interaction, accessDenied, interaction, "additional_action", 400, false},
		{CodeNotCompliant, "Device is not in required device state: compliant. Conditional Access policy requires a compliant device, and the device is not compliant.", invalidGrant, interaction, accessDenied, interaction, "additional_action", 400, false},
		{CodeNotJoined, "Device is not in required device state: domain_joined. Conditional Access policy requires a domain joined device, and the device is not domain joined.", invalidGrant, interaction, accessDenied, interaction, "additional_action", 400, false},
		{CodeBlocked, "Access has been blocked by Conditional Access policies. The access policy does not allow token issuance.", invalidGrant, interaction, accessDenied, interaction, "message_only", 400, false},
		{CodeNoCompliant, "Your device is required to be compliant to access this resource.", invalidGrant, interaction, accessDenied, interaction, "additional_action", 400, false},
		{CodeNoManaged, "Your device is required to be managed to access this resource.", invalidGrant, interaction, accessDenied, interaction, "additional_action", 400, false},
		{CodeFrequencyRefresh, "The refresh token has expired or is invalid due to sign-in frequency checks by Conditional Access.", invalidGrant, invalidGrant, interaction, "login_required", "token_expired", 400, false},
		{CodeFrequencySession, "The session has expired or is invalid due to sign-in frequency checks by Conditional Access.", invalidGrant, invalidGrant, interaction, "login_required", "token_expired", 400, false},
	} {
		m[c.Code] = c
	}
	return m
}()

// Info returns the wire form of a code and whether the code is one of ours.
func (c Code) Info() (CodeInfo, bool) {
	i, ok := codeTable[c]
	return i, ok
}

// ErrorFor returns the OAuth error value for a step. Service principals get the
// token endpoint's value in both versions, as there is nobody to interact with.
func (i CodeInfo) ErrorFor(step Step, v1 bool) string {
	switch step {
	case StepAuthorize, StepDeviceSignIn:
		return i.Authorize
	case StepAuthorizeSilent:
		return i.Silent
	case StepClientCredentials, StepFederated, StepManagedIdentity:
		return i.Token
	case StepOnBehalfOf:
		return i.Bound
	}
	if v1 {
		return i.Bound
	}
	return i.Token
}

// Refusal is what the client is told. Description does not have the AADSTS
// prefix and the trace lines, which are the renderer's.
type Refusal struct {
	Code        Code
	Error       string // OAuth error value
	Suberror    string // empty: none
	Status      int    // HTTP status at the token endpoint
	Description string
	Claims      string // claims challenge, JSON; empty: none
}

func (x *subject) refuse(code Code, policies []string) *Refusal {
	info := codeTable[code]
	r := &Refusal{Code: code, Error: info.ErrorFor(x.Step, x.V1), Status: info.Status, Description: info.Text}
	if strings.Contains(info.Text, "%s") {
		name := x.ResourceName
		if name == "" && len(x.Resources) > 0 {
			name = string(x.Resources[0])
		}
		r.Description = fmt.Sprintf(info.Text, name)
	}
	switch x.Step {
	case StepAuthorize, StepDeviceSignIn, StepAuthorizeSilent: // redirects carry no suberror
	default:
		if r.Error == invalidGrant {
			r.Suberror = info.Suberror
		}
	}
	if info.Challenge && x.User != nil && !x.Step.Interactive() {
		r.Claims = Challenge(policies, x.AuthContexts)
	}
	return r
}

type claimValue struct {
	Essential bool     `json:"essential,omitempty"`
	Value     string   `json:"value,omitempty"`
	Values    []string `json:"values,omitempty"`
}

// Challenge returns the claims challenge that a client sends back with its next
// authorize request: the policies still to be met and the authentication
// contexts that were asked for.
func Challenge(policies, contexts []string) string {
	token := map[string]claimValue{}
	if len(policies) > 0 {
		token["capolids"] = claimValue{Essential: true, Values: policies}
	}
	switch len(contexts) {
	case 0:
	case 1:
		token["acrs"] = claimValue{Essential: true, Value: contexts[0]}
	default:
		token["acrs"] = claimValue{Essential: true, Values: contexts}
	}
	out, _ := json.Marshal(map[string]any{"access_token": token}) // maps are written in order of their keys
	return string(out)
}

// ClaimsRequest is what a claims parameter asks of a decision.
type ClaimsRequest struct {
	AuthContexts []string // acrs
	Policies     []string // capolids
	Capabilities []string // xms_cc, such as cp1
}

const maxClaims = 8 << 10

// ParseClaims reads the claims parameter of an authorize or token request.
// Requests for other claims are not its business and are left alone. The error
// is of kind errs.Invalid.
func ParseClaims(parameter string) (ClaimsRequest, error) {
	var r ClaimsRequest
	if parameter == "" {
		return r, nil
	}
	if len(parameter) > maxClaims {
		return r, errs.New(errs.Invalid, "The claims parameter is longer than %d bytes.", maxClaims)
	}
	o, err := readDocument([]byte(parameter))
	if err != nil {
		return r, errs.New(errs.Invalid, "The claims parameter is not valid. %s", errs.Message(err))
	}
	for _, part := range []string{"access_token", "id_token"} {
		t := o.child(part)
		if t == nil {
			continue
		}
		r.AuthContexts = append(r.AuthContexts, requested(t, "acrs")...)
		r.Policies = append(r.Policies, requested(t, "capolids")...)
		r.Capabilities = append(r.Capabilities, requested(t, "xms_cc")...)
	}
	if *o.err != nil {
		return ClaimsRequest{}, errs.New(errs.Invalid, "The claims parameter is not valid. %s", errs.Message(*o.err))
	}
	for _, c := range r.AuthContexts {
		if !validContext(c) {
			return ClaimsRequest{}, errs.New(errs.Invalid, "The claims parameter asks for the unknown authentication context %q.", clip(c))
		}
	}
	slices.Sort(r.AuthContexts)
	r.AuthContexts = slices.Compact(r.AuthContexts)
	return r, nil
}

func requested(o *object, claim string) []string {
	c := o.child(claim)
	if c == nil {
		return nil
	}
	out := c.strs("values")
	if v := c.str("value"); v != "" {
		out = append(out, v)
	}
	return out
}
