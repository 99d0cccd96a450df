package conditionalaccess

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// Method is an authentication method by its Graph name (authenticationMethodModes).
type Method string

// The authentication methods.
const (
	Password                    Method = "password"
	Voice                       Method = "voice"
	HardwareOath                Method = "hardwareOath"
	SoftwareOath                Method = "softwareOath"
	SMS                         Method = "sms"
	FIDO2                       Method = "fido2"
	WindowsHelloForBusiness     Method = "windowsHelloForBusiness"
	MicrosoftAuthenticatorPush  Method = "microsoftAuthenticatorPush"
	DeviceBasedPush             Method = "deviceBasedPush"
	TemporaryAccessPassOneTime  Method = "temporaryAccessPassOneTime"
	TemporaryAccessPassMultiUse Method = "temporaryAccessPassMultiUse"
	X509SingleFactor            Method = "x509CertificateSingleFactor"
	X509MultiFactor             Method = "x509CertificateMultiFactor"
	FederatedSingleFactor       Method = "federatedSingleFactor"
	FederatedMultiFactor        Method = "federatedMultiFactor"
)

var methods = []Method{Password, Voice, HardwareOath, SoftwareOath, SMS, FIDO2, WindowsHelloForBusiness, MicrosoftAuthenticatorPush, DeviceBasedPush, TemporaryAccessPassOneTime, TemporaryAccessPassMultiUse, X509SingleFactor, X509MultiFactor, FederatedSingleFactor, FederatedMultiFactor}

// Ids of the built-in authentication strengths.
const (
	StrengthMFA               = "00000000-0000-0000-0000-000000000002"
	StrengthPasswordlessMFA   = "00000000-0000-0000-0000-000000000003"
	StrengthPhishingResistant = "00000000-0000-0000-0000-000000000004"
)

// AuthenticationStrength is an authenticationStrengthPolicy: the document as it
// was received and its typed form. It is satisfied when every method of one of
// its combinations has been proven.
type AuthenticationStrength struct {
	raw json.RawMessage

	ID           string
	DisplayName  string
	Combinations [][]Method
}

// ParseAuthenticationStrength reads and validates an
// authenticationStrengthPolicy. The error is of kind errs.Invalid and names the
// property at fault.
func ParseAuthenticationStrength(raw []byte) (*AuthenticationStrength, error) {
	o, err := readDocument(raw)
	if err != nil {
		return nil, err
	}
	s := &AuthenticationStrength{raw: bytes.Clone(raw), ID: readID(o), DisplayName: readName(o)}
	o.enum("policyType", "builtIn", "custom")
	o.enum("requirementsSatisfied", "none", "mfa")
	for _, c := range o.strs("allowedCombinations") {
		combo, ok := parseCombination(c)
		if !ok {
			o.fail("allowedCombinations", "has the unknown value %q.", clip(c))
			break
		}
		s.Combinations = append(s.Combinations, combo)
	}
	if len(s.Combinations) == 0 {
		o.fail("allowedCombinations", "is required.")
	}
	o.refuse("combinationConfigurations")
	if *o.err != nil {
		return nil, *o.err
	}
	return s, nil
}

func parseCombination(s string) ([]Method, bool) {
	var out []Method
	for part := range strings.SplitSeq(s, ",") {
		m := Method(strings.TrimSpace(part))
		if !slices.Contains(methods, m) || slices.Contains(out, m) {
			return nil, false
		}
		out = append(out, m)
	}
	return out, true
}

// MarshalJSON returns the document as it was received.
func (s *AuthenticationStrength) MarshalJSON() ([]byte, error) { return slices.Clone(s.raw), nil }

// SatisfiedBy tells whether the methods cover one of the combinations.
func (s *AuthenticationStrength) SatisfiedBy(done []Authentication) bool {
	return slices.ContainsFunc(s.Combinations, func(combo []Method) bool {
		for _, m := range combo {
			if !slices.ContainsFunc(done, func(a Authentication) bool { return a.Method == m }) {
				return false
			}
		}
		return true
	})
}

// MFADone tells whether the methods amount to multifactor authentication. It
// does not look at their age.
func MFADone(done []Authentication) bool { return builtIn[0].SatisfiedBy(done) }

// BuiltInStrengths returns the three strengths that every tenant has.
func BuiltInStrengths() []*AuthenticationStrength { return slices.Clone(builtIn) }

var builtIn = makeBuiltIn()

func makeBuiltIn() []*AuthenticationStrength {
	resistant := []string{"windowsHelloForBusiness", "fido2", "x509CertificateMultiFactor"}
	passwordless := append(slices.Clone(resistant), "deviceBasedPush")
	mfa := append(slices.Clone(passwordless), "temporaryAccessPassOneTime", "temporaryAccessPassMultiUse",
		"password,microsoftAuthenticatorPush", "password,softwareOath", "password,hardwareOath", "password,sms", "password,voice",
		"federatedMultiFactor", "federatedSingleFactor,microsoftAuthenticatorPush", "federatedSingleFactor,softwareOath",
		"federatedSingleFactor,hardwareOath", "federatedSingleFactor,sms", "federatedSingleFactor,voice")
	var out []*AuthenticationStrength
	for _, s := range []struct {
		id, name, about string
		combos          []string
	}{
		{StrengthMFA, "Multifactor authentication", "Combinations of methods that satisfy strong authentication, such as a password + SMS", mfa},
		{StrengthPasswordlessMFA, "Passwordless MFA", "Passwordless methods that satisfy strong authentication, such as Passwordless sign-in with the Microsoft Authenticator", passwordless},
		{StrengthPhishingResistant, "Phishing-resistant MFA", "Phishing-resistant, Passwordless methods for the strongest authentication, such as a FIDO2 security key", resistant},
	} {
		raw, _ := json.Marshal(map[string]any{
			"id": s.id, "displayName": s.name, "description": s.about, "policyType": "builtIn", "requirementsSatisfied": "mfa",
			"createdDateTime": "2021-12-01T00:00:00Z", "modifiedDateTime": "2021-12-01T00:00:00Z", "allowedCombinations": s.combos,
		})
		p, err := ParseAuthenticationStrength(raw)
		if err != nil {
			panic("conditionalaccess: built-in strength: " + err.Error()) // a defect in the table above
		}
		out = append(out, p)
	}
	return out
}

// clockSkew is how far in the future an authentication may lie: replicas'
// clocks differ a little. Anything later did not happen.
const clockSkew = 5 * time.Minute

// everyTimeWindow is how old an authentication may be where one is asked for
// every time; without it the token right after the sign-in would ask again.
const everyTimeWindow = 5 * time.Minute

// window returns how old an authentication may be.
func (f *SignInFrequency) window() time.Duration {
	if f.EveryTime {
		return everyTimeWindow
	}
	return f.Every
}

// fresh tells whether something proven at t counts at now, given how old it may
// be. A window of 0 means any age.
func fresh(t, now time.Time, window time.Duration) bool {
	if t.IsZero() || t.After(now.Add(clockSkew)) {
		return false
	}
	return window == 0 || now.Sub(t) < window
}
