package conditionalaccess

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Decision is the combined result.
type Decision uint8

const (
	// Blocked means that nothing that this sign-in can still do helps. It is
	// the zero value, so that a forgotten evaluation refuses.
	Blocked Decision = iota
	// Required means that the person can still do what is missing: on this page
	// if the step is interactive, else in a new sign-in.
	Required
	// Granted means that every policy that applies is satisfied.
	Granted
)

// String returns granted, required or blocked.
func (d Decision) String() string {
	return [...]string{"blocked", "required", "granted"}[min(d, Granted)]
}

// Result is the result of one policy by its Graph name
// (appliedConditionalAccessPolicyResult).
type Result string

// The results. Interrupted is for report-only: it would have asked the person
// for something that they can do.
const (
	Success               Result = "success"
	Failure               Result = "failure"
	NotApplied            Result = "notApplied"
	NotEnabled            Result = "notEnabled"
	ReportOnlySuccess     Result = "reportOnlySuccess"
	ReportOnlyFailure     Result = "reportOnlyFailure"
	ReportOnlyNotApplied  Result = "reportOnlyNotApplied"
	ReportOnlyInterrupted Result = "reportOnlyInterrupted"
)

// PolicyResult is how one policy came out. Its JSON form is Graph's
// appliedConditionalAccessPolicy. The slices of controls are shared with the
// Set and must not be changed.
type PolicyResult struct {
	ID              string    `json:"id"`
	DisplayName     string    `json:"displayName"`
	Result          Result    `json:"result"`
	GrantControls   []string  `json:"enforcedGrantControls"`
	SessionControls []string  `json:"enforcedSessionControls"`
	NotSatisfied    Condition `json:"conditionsNotSatisfied,omitempty"` // why it does not apply

	Missing []Clause         `json:"-"` // what it still asks for
	SignIn  bool             `json:"-"` // its sign-in frequency asks for a new sign-in
	Trace   []ConditionTrace `json:"-"` // WhatIf only
}

// Clause is one thing that is missing: any of its controls would do. Clauses
// add up.
type Clause struct {
	Policy     string // id
	PolicyName string
	Controls   []Control
	Strength   string  // id, if Controls has StrengthControl
	Ask        Control // what to ask the person for; empty: nothing that this sign-in can do helps
}

// SessionControls are the session controls of all policies that apply, merged:
// the shortest frequency, and never before always.
type SessionControls struct {
	// SignInWithin bounds the age of the sign-in; 0: no bound.
	SignInWithin time.Duration
	// SecondFactorWithin bounds the age of the second factor; 0: no bound.
	SecondFactorWithin time.Duration
	PersistentBrowser  PersistentBrowser
}

// Interaction says what a page has to ask for, if the decision is Required.
type Interaction struct {
	SignIn    bool     // first factor again
	MFA       bool     // any second factor
	Register  bool     // none is registered yet
	Strengths []string // ids of authentication strengths, each of which must be met
	Device    bool     // proof of a device
}

// Outcome is a decision with its reasons.
type Outcome struct {
	Decision    Decision
	Policies    []PolicyResult // all policies, in the Set's order
	Missing     []Clause       // of enforced policies
	Session     SessionControls
	Interaction Interaction
	// Refusal is set unless Granted. In an interactive step that is Required it
	// is what the log records for the interruption.
	Refusal *Refusal
	// AuthContexts are the authentication contexts that a token may carry
	// (acrs): those asked for, if Granted.
	AuthContexts []string
	Reasons      []string // for people
}

// Status returns the sign-in log's conditionalAccessStatus.
func (o *Outcome) Status() string {
	if o.Decision != Granted {
		return string(Failure)
	}
	if slices.ContainsFunc(o.Policies, func(p PolicyResult) bool { return p.Result == Success }) {
		return string(Success)
	}
	return string(NotApplied)
}

// Evaluate decides about one sign-in or token request. It is a pure function.
func Evaluate(s *Set, f *Facts, now time.Time) Outcome { return evaluate(s, f, now, false) }

// WhatIf is Evaluate with a trace of every condition of every policy.
func WhatIf(s *Set, f *Facts, now time.Time) Outcome { return evaluate(s, f, now, true) }

func evaluate(s *Set, f *Facts, now time.Time, trace bool) Outcome {
	x := newSubject(s, f)
	if !x.known {
		return Outcome{Refusal: x.refuse(CodeBlocked, nil), Reasons: []string{"It is not known who signs in."}}
	}
	o := Outcome{Policies: make([]PolicyResult, len(s.policies))}
	applied := make([]bool, len(s.policies))
	for i := range s.policies {
		c := &s.policies[i]
		r := &o.Policies[i]
		r.ID, r.DisplayName = c.ID, c.DisplayName
		r.GrantControls, r.SessionControls = c.grantNames, c.sessionNames
		if c.State == Disabled {
			r.Result = NotEnabled
			continue
		}
		applied[i], r.NotSatisfied, r.Trace = x.applies(c, trace)
		switch {
		case !applied[i] && c.State == ReportOnly:
			r.Result = ReportOnlyNotApplied
		case !applied[i]:
			r.Result = NotApplied
		case c.State == Enabled:
			o.Session.merge(&c.Session)
		}
	}
	// Grant controls come second, since a sign-in frequency anywhere decides
	// which methods are recent enough to count everywhere.
	for i := range s.policies {
		if applied[i] {
			x.judge(&o, i, now)
		}
	}
	o.conclude(x, now)
	return o
}

func (m *SessionControls) merge(s *Session) {
	if f := s.SignInFrequency; f != nil {
		m.SecondFactorWithin = shorter(m.SecondFactorWithin, f.window())
		if !f.SecondaryOnly {
			m.SignInWithin = shorter(m.SignInWithin, f.window())
		}
	}
	if s.PersistentBrowser != "" && m.PersistentBrowser != PersistentNever {
		m.PersistentBrowser = s.PersistentBrowser
	}
}

func shorter(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// judge fills in the result of a policy that applies.
func (x *subject) judge(o *Outcome, i int, now time.Time) {
	c, r := &x.set.policies[i], &o.Policies[i]
	session := o.Session
	if c.State == ReportOnly {
		session.merge(&c.Session)
	}
	var done []Authentication
	if len(c.clauses) > 0 {
		done = recent(x.Methods, now, session.SecondFactorWithin)
	}
	for _, controls := range c.clauses {
		if !slices.ContainsFunc(controls, func(k Control) bool { return x.satisfied(c, k, done) }) {
			r.Missing = append(r.Missing, x.clause(c, controls))
		}
	}
	if q := c.Session.SignInFrequency; q != nil && !q.SecondaryOnly {
		r.SignIn = !fresh(x.AuthTime, now, q.window())
	}
	met := len(r.Missing) == 0 && !r.SignIn
	hard := slices.ContainsFunc(r.Missing, func(m Clause) bool { return m.Ask == "" })
	switch {
	case c.State == ReportOnly && met:
		r.Result = ReportOnlySuccess
	case c.State == ReportOnly && hard:
		r.Result = ReportOnlyFailure
	case c.State == ReportOnly:
		r.Result = ReportOnlyInterrupted
	case met:
		r.Result = Success
	default:
		r.Result = Failure
		o.Missing = append(o.Missing, r.Missing...)
	}
}

// recent returns the methods that were proven within the window.
func recent(list []Authentication, now time.Time, window time.Duration) []Authentication {
	for i, a := range list {
		if !fresh(a.At, now, window) {
			out := slices.Clone(list[:i])
			for _, b := range list[i+1:] {
				if fresh(b.At, now, window) {
					out = append(out, b)
				}
			}
			return out
		}
	}
	return list
}

func (x *subject) satisfied(c *compiled, k Control, done []Authentication) bool {
	switch k {
	case MFA:
		return MFADone(done)
	case CompliantDevice:
		return x.device != nil && x.device.Compliant
	case DomainJoinedDevice:
		return x.device != nil && x.device.TrustType == TrustServerAD
	case StrengthControl:
		return c.strength != nil && c.strength.SatisfiedBy(done)
	}
	return false // block
}

func (x *subject) clause(c *compiled, controls []Control) Clause {
	m := Clause{Policy: c.ID, PolicyName: c.DisplayName, Controls: controls}
	if slices.Contains(controls, StrengthControl) {
		m.Strength = c.Grant.AuthenticationStrength
	}
	for _, k := range controls {
		askable := false
		switch k {
		case MFA:
			askable = x.User != nil
		case StrengthControl: // one that does not exist cannot be met by trying
			askable = x.User != nil && c.strength != nil
		case CompliantDevice, DomainJoinedDevice:
			// A second factor is something that everybody can do; a device only
			// comes first where nothing else would help.
			askable = m.Ask == "" && x.deviceAskable()
		}
		if askable && (m.Ask == "" || m.Ask == CompliantDevice || m.Ask == DomainJoinedDevice) {
			m.Ask = k
		}
	}
	return m
}

// deviceAskable tells whether the client can still be asked to prove a device.
func (x *subject) deviceAskable() bool {
	switch {
	case x.User == nil, x.device != nil, x.flow == DeviceCodeFlow, x.Platform == WindowsPhone:
		return false
	case x.Step.Interactive():
		return x.DeviceProofPossible
	}
	// A new sign-in can bring a device; a client that only has a password
	// cannot.
	return x.Step != StepPassword
}

// conclude combines the results of the policies.
func (o *Outcome) conclude(x *subject, now time.Time) {
	stale := false
	var policies []string
	for i := range o.Policies {
		r := &o.Policies[i]
		if r.Result == Failure {
			stale = stale || r.SignIn
			policies = append(policies, r.ID)
			if r.SignIn {
				o.Reasons = append(o.Reasons, fmt.Sprintf("Policy %q asks for a new sign-in: the last one is older than its sign-in frequency allows.", r.DisplayName))
			}
		}
	}
	for _, m := range o.Missing {
		o.Reasons = append(o.Reasons, x.reason(m))
	}
	hard := slices.IndexFunc(o.Missing, func(m Clause) bool { return m.Ask == "" })
	switch {
	case len(o.Missing) == 0 && !stale:
		o.Decision = Granted
		o.AuthContexts = slices.Clone(x.AuthContexts)
		return
	case hard >= 0:
		o.Refusal = x.refuse(x.hardCode(o.Missing), policies)
		return
	}
	o.Decision = Required
	ask := &o.Interaction
	ask.SignIn = stale
	code := Code(0)
	for _, m := range o.Missing {
		switch m.Ask {
		case MFA:
			ask.MFA = true
		case StrengthControl:
			if !slices.Contains(ask.Strengths, m.Strength) {
				ask.Strengths = append(ask.Strengths, m.Strength)
			}
		default:
			ask.Device = true
		}
	}
	strong := ask.MFA || len(ask.Strengths) > 0
	ask.Register = strong && !x.User.MFARegistered
	switch page := x.Step.Interactive(); {
	case stale && (x.Step == StepAuthorizeSilent || page):
		code = CodeFrequencySession
	case stale:
		code = CodeFrequencyRefresh
	case ask.Register && page:
		code = CodeEnrollMFA
	case ask.Register:
		code = CodeRegisterMFA
	case strong && page:
		code = CodeStrongAuth
	case strong:
		code = CodeMFARequired
	default:
		code = CodeDeviceAuth
	}
	o.Refusal = x.refuse(code, policies)
}

// hardCode chooses the code of a refusal that cannot be helped: a block before
// everything else, then the first device control.
func (x *subject) hardCode(missing []Clause) Code {
	first := -1
	for i, m := range missing {
		if m.Ask != "" {
			continue
		}
		device := slices.Contains(m.Controls, CompliantDevice) || slices.Contains(m.Controls, DomainJoinedDevice)
		if !device {
			return CodeBlocked // block, or a strength that does not exist
		}
		if first < 0 {
			first = i
		}
	}
	compliant := slices.Contains(missing[first].Controls, CompliantDevice)
	joined := slices.Contains(missing[first].Controls, DomainJoinedDevice)
	switch {
	case x.device != nil && compliant && joined:
		return CodeDeviceState
	case x.device != nil && compliant:
		return CodeNotCompliant
	case x.device != nil:
		return CodeNotJoined
	case x.Platform == WindowsPhone:
		return CodePlatform
	case joined, x.flow == DeviceCodeFlow:
		// The device code page says managed for both, as the real one does.
		return CodeNoManaged
	}
	return CodeNoCompliant
}

var controlWords = map[Control]string{
	MFA: "multifactor authentication", CompliantDevice: "a compliant device",
	DomainJoinedDevice: "a domain joined device", StrengthControl: "an authentication strength",
}

func (x *subject) reason(m Clause) string {
	if m.Controls[0] == Block {
		return fmt.Sprintf("Policy %q blocks access.", m.PolicyName)
	}
	words := make([]string, len(m.Controls))
	device := false
	for i, k := range m.Controls {
		words[i] = controlWords[k]
		device = device || k == CompliantDevice || k == DomainJoinedDevice
	}
	text := fmt.Sprintf("Policy %q asks for %s", m.PolicyName, strings.Join(words, " or "))
	switch {
	case device && x.flow == DeviceCodeFlow:
		text += "; a sign-in by device code cannot prove a device"
	case device && x.device == nil:
		text += "; no device was proven"
	case device:
		text += "; the device that was proven is not one"
	}
	return text + "."
}
