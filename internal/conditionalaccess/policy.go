package conditionalaccess

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/conditionalaccess/devicefilter"
	"github.com/entrance-id/entrance/internal/directory"
)

// State is the state of a policy.
type State string

// The states of a policy. A report-only policy is evaluated and logged and
// changes nothing.
const (
	Enabled    State = "enabled"
	Disabled   State = "disabled"
	ReportOnly State = "enabledForReportingButNotEnforced"
)

// Words that stand for more than one object in a policy's lists.
const (
	All                         = "All"
	None                        = "None"
	AllTrusted                  = "AllTrusted"
	GuestsOrExternalUsers       = "GuestsOrExternalUsers"
	ServicePrincipalsInMyTenant = "ServicePrincipalsInMyTenant"
)

// User actions that a policy may be about instead of an application.
const (
	RegisterSecurityInfo = "urn:user:registersecurityinfo"
	RegisterDevice       = "urn:user:registerdevice"
)

// Policy is a conditionalAccessPolicy: the document as it was received and its
// typed form. Its zero value is not useful; ParsePolicy makes one.
type Policy struct {
	raw json.RawMessage

	ID          string // empty until the document has one
	DisplayName string
	State       State
	Conditions  Conditions
	Grant       *Grant // nil: no grant controls
	Session     Session
}

// Conditions say which sign-ins a policy is about. All of them must match.
type Conditions struct {
	Users          Users
	Workloads      *Workloads // set: the policy is about workload identities and no user
	Applications   Applications
	ClientAppTypes []ClientAppType // empty: all
	Platforms      *IncludeExclude
	Locations      *IncludeExclude
	DeviceFilter   *DeviceFilter
	AuthFlows      []AuthFlow // empty: not a condition
}

// Users is the users condition. Exclusion wins.
type Users struct {
	IncludeUsers, ExcludeUsers   []string
	IncludeGroups, ExcludeGroups []string
	IncludeRoles, ExcludeRoles   []string
	IncludeGuests, ExcludeGuests *Guests
}

// Guests selects external users by kind and home tenant.
type Guests struct {
	Types   []GuestType
	Tenants []directory.TenantID // nil: any
}

// Workloads is the clientApplications condition: service principals.
type Workloads struct {
	Include, Exclude []string
}

// Applications is the applications condition: resources by application id, user
// actions or authentication contexts.
type Applications struct {
	Include, Exclude []string
	UserActions      []string
	AuthContexts     []string
}

// IncludeExclude is a condition with an included and an excluded list.
type IncludeExclude struct {
	Include, Exclude []string
}

// DeviceFilter puts devices in (Exclude false) or out of a policy's scope.
type DeviceFilter struct {
	Exclude bool
	Rule    *devicefilter.Filter
}

// Grant holds the grant controls.
type Grant struct {
	All                    bool // operator AND; otherwise OR
	Controls               []Control
	AuthenticationStrength string // id of an authentication strength, or empty
}

// Control is a grant control, by its Graph name.
type Control string

// The controls that can be evaluated. StrengthControl does not appear in
// builtInControls; it is how a required authentication strength is listed.
const (
	Block              Control = "block"
	MFA                Control = "mfa"
	CompliantDevice    Control = "compliantDevice"
	DomainJoinedDevice Control = "domainJoinedDevice"
	StrengthControl    Control = "authenticationStrength"
)

// Session holds the session controls.
type Session struct {
	SignInFrequency   *SignInFrequency
	PersistentBrowser PersistentBrowser
}

// SignInFrequency bounds the age of an authentication.
type SignInFrequency struct {
	EveryTime     bool
	Every         time.Duration // if not EveryTime
	SecondaryOnly bool          // only the age of the second factor counts
}

// PersistentBrowser says whether a browser session may outlive the browser.
type PersistentBrowser string

// The modes of PersistentBrowser; the zero value leaves the choice to the
// person.
const (
	PersistentUnset  PersistentBrowser = ""
	PersistentAlways PersistentBrowser = "always"
	PersistentNever  PersistentBrowser = "never"
)

// ParsePolicy reads and validates a conditionalAccessPolicy. The error is of
// kind errs.Invalid and names the property at fault.
func ParsePolicy(raw []byte) (*Policy, error) {
	o, err := readDocument(raw)
	if err != nil {
		return nil, err
	}
	p := &Policy{raw: bytes.Clone(raw)}
	p.ID = readID(o)
	p.DisplayName = readName(o)
	p.State = State(o.enum("state", string(Enabled), string(Disabled), string(ReportOnly)))
	if p.State == "" {
		o.fail("state", "is required.")
	}
	if c := o.child("conditions"); c != nil {
		readConditions(c, &p.Conditions)
	} else {
		o.fail("conditions", "is required.")
	}
	if g := o.child("grantControls"); g != nil {
		p.Grant = readGrant(g)
	}
	if s := o.child("sessionControls"); s != nil {
		p.Session = readSession(s)
	}
	if *o.err == nil {
		p.check(o)
	}
	if *o.err != nil {
		return nil, *o.err
	}
	return p, nil
}

// MarshalJSON returns the document as it was received.
func (p *Policy) MarshalJSON() ([]byte, error) { return slices.Clone(p.raw), nil }

func readID(o *object) string {
	id := o.str("id")
	if id == "" {
		return ""
	}
	g, ok := directory.ParseGUID(id)
	if !ok {
		o.fail("id", "must be a GUID.")
	}
	return g
}

func readName(o *object) string {
	name := o.str("displayName")
	switch {
	case strings.TrimSpace(name) == "":
		o.fail("displayName", "is required.")
	case len(name) > maxName:
		o.fail("displayName", "is longer than %d bytes.", maxName)
	}
	return name
}

func readConditions(o *object, c *Conditions) {
	if u := o.child("users"); u != nil {
		readUsers(u, &c.Users)
	}
	if w := o.child("clientApplications"); w != nil {
		in := w.words("includeServicePrincipals", true, ServicePrincipalsInMyTenant, None)
		ex := w.guids("excludeServicePrincipals")
		w.refuse("servicePrincipalFilter")
		w.closed()
		if len(in) > 0 && !onlyNone(in) {
			c.Workloads = &Workloads{Include: in, Exclude: ex}
		}
	}
	if a := o.child("applications"); a != nil {
		c.Applications = Applications{
			Include:      a.words("includeApplications", true, All, None),
			Exclude:      a.words("excludeApplications", true),
			UserActions:  a.words("includeUserActions", false, RegisterSecurityInfo, RegisterDevice),
			AuthContexts: readContexts(a),
		}
		a.refuse("applicationFilter")
		a.closed()
	}
	for _, t := range o.words("clientAppTypes", false, "all", string(Browser), string(MobileAndDesktop), string(ExchangeActiveSync), string(OtherClients)) {
		c.ClientAppTypes = append(c.ClientAppTypes, ClientAppType(t))
	}
	if v := o.raw("clientAppTypes"); v != nil && len(c.ClientAppTypes) == 0 {
		o.fail("clientAppTypes", "must not be empty; all stands for every client.")
	}
	if slices.Contains(c.ClientAppTypes, "all") {
		c.ClientAppTypes = nil
	}
	if p := o.child("platforms"); p != nil {
		c.Platforms = readInOut(p, "includePlatforms", "excludePlatforms", false, platformNames...)
	}
	if l := o.child("locations"); l != nil {
		c.Locations = readInOut(l, "includeLocations", "excludeLocations", true, All, AllTrusted)
	}
	if d := o.child("devices"); d != nil {
		if f := d.child("deviceFilter"); f != nil {
			c.DeviceFilter = readFilter(f)
		}
		d.refuse("includeDevices", "excludeDevices", "includeDeviceStates", "excludeDeviceStates")
		d.closed()
	}
	if f := o.child("authenticationFlows"); f != nil {
		for _, m := range f.flags("transferMethods", "none", string(DeviceCodeFlow), string(AuthenticationTransfer)) {
			if m != "none" {
				c.AuthFlows = append(c.AuthFlows, AuthFlow(m))
			}
		}
		f.closed()
	}
	o.refuse("signInRiskLevels", "userRiskLevels", "servicePrincipalRiskLevels", "insiderRiskLevels", "agentIdRiskLevels")
	o.closed()
}

func readUsers(o *object, u *Users) {
	u.IncludeUsers = o.words("includeUsers", true, All, None, GuestsOrExternalUsers)
	u.ExcludeUsers = o.words("excludeUsers", true, GuestsOrExternalUsers)
	u.IncludeGroups = o.guids("includeGroups")
	u.ExcludeGroups = o.guids("excludeGroups")
	u.IncludeRoles = o.guids("includeRoles")
	u.ExcludeRoles = o.guids("excludeRoles")
	u.IncludeGuests = readGuests(o.child("includeGuestsOrExternalUsers"))
	u.ExcludeGuests = readGuests(o.child("excludeGuestsOrExternalUsers"))
	o.closed()
}

func readGuests(o *object) *Guests {
	if o == nil {
		return nil
	}
	g := &Guests{}
	names := append([]string{"none"}, guestTypeNames...)
	for _, t := range o.flags("guestOrExternalUserTypes", names...) {
		if t != "none" {
			g.Types = append(g.Types, GuestType(t))
		}
	}
	if t := o.child("externalTenants"); t != nil {
		switch t.enum("membershipKind", "all", "enumerated") {
		case "enumerated":
			g.Tenants = []directory.TenantID{}
			for _, id := range t.guids("members") {
				g.Tenants = append(g.Tenants, directory.TenantID(id))
			}
			if len(g.Tenants) == 0 {
				t.fail("members", "is required where membershipKind is enumerated.")
			}
		case "all":
			t.refuse("members")
		default:
			t.fail("membershipKind", "is required.")
		}
		t.closed()
	}
	o.closed()
	if len(g.Types) == 0 {
		o.fail("guestOrExternalUserTypes", "is required.")
	}
	return g
}

func readContexts(o *object) []string {
	in := o.strs("includeAuthenticationContextClassReferences")
	for _, c := range in {
		if !validContext(c) {
			o.fail("includeAuthenticationContextClassReferences", "has the value %q; contexts are c1 to c99.", clip(c))
			return nil
		}
	}
	return in
}

// validContext tells whether s is an authentication context id, c1 to c99.
func validContext(s string) bool {
	if len(s) < 2 || len(s) > 3 || s[0] != 'c' || s[1] < '1' || s[1] > '9' {
		return false
	}
	return len(s) == 2 || s[2] >= '0' && s[2] <= '9'
}

func readInOut(o *object, in, out string, ids bool, known ...string) *IncludeExclude {
	c := &IncludeExclude{Include: o.words(in, ids, known...), Exclude: o.words(out, ids, known...)}
	o.closed()
	if len(c.Include) == 0 {
		if len(c.Exclude) > 0 {
			o.fail(in, "is required where %s is given.", out)
		}
		return nil
	}
	return c
}

func readFilter(o *object) *DeviceFilter {
	mode := o.enum("mode", "include", "exclude")
	rule := o.str("rule")
	o.closed()
	if mode == "" && rule == "" {
		return nil
	}
	if mode == "" {
		o.fail("mode", "is required.")
	}
	f, err := devicefilter.Parse(rule)
	if err != nil {
		o.fail("rule", "is not a valid rule: %s", err)
	}
	return &DeviceFilter{Exclude: mode == "exclude", Rule: f}
}

// unsupportedControls are real grant controls that cannot be evaluated here:
// they need broker attestation, a password change or a risk engine.
var unsupportedControls = []string{"approvedApplication", "compliantApplication", "passwordChange", "riskRemediation"}

func readGrant(o *object) *Grant {
	g := &Grant{}
	switch o.enum("operator", "AND", "OR") {
	case "AND":
		g.All = true
	case "":
		o.fail("operator", "is required.")
	}
	for _, s := range o.strs("builtInControls") {
		switch c := Control(s); c {
		case Block, MFA, CompliantDevice, DomainJoinedDevice:
			if !slices.Contains(g.Controls, c) {
				g.Controls = append(g.Controls, c)
			}
		default:
			if slices.Contains(unsupportedControls, s) {
				o.fail("builtInControls", "has the value %q, which cannot be evaluated here.", s)
			} else {
				o.fail("builtInControls", "has the unknown value %q.", clip(s))
			}
		}
	}
	if s := o.child("authenticationStrength"); s != nil {
		// A client that sends back what it read sends the whole strength; only
		// its id refers to one.
		if g.AuthenticationStrength = readID(s); g.AuthenticationStrength == "" {
			s.fail("id", "is required.")
		}
	}
	o.refuse("customAuthenticationFactors", "termsOfUse")
	o.closed()
	if len(g.Controls) == 0 && g.AuthenticationStrength == "" {
		return nil
	}
	return g
}

func readSession(o *object) Session {
	var s Session
	if f := o.child("signInFrequency"); f != nil {
		s.SignInFrequency = readFrequency(f)
	}
	if b := o.child("persistentBrowser"); b != nil {
		mode := PersistentBrowser(b.enum("mode", string(PersistentAlways), string(PersistentNever)))
		if b.boolean("isEnabled") {
			if s.PersistentBrowser = mode; mode == "" {
				b.fail("mode", "is required.")
			}
		}
		b.closed()
	}
	for _, m := range []string{"applicationEnforcedRestrictions", "cloudAppSecurity"} {
		// Switched off, they ask for nothing, and clients do send them so.
		if c := o.child(m); c != nil && c.boolean("isEnabled") {
			o.fail(m, "cannot be evaluated here, so a policy must not use it.")
		}
	}
	o.boolean("disableResilienceDefaults") // nothing here extends a session in an outage
	o.closed()
	return s
}

func readFrequency(o *object) *SignInFrequency {
	if !o.boolean("isEnabled") {
		return nil
	}
	f := &SignInFrequency{}
	f.SecondaryOnly = o.enum("authenticationType", "primaryAndSecondaryAuthentication", "secondaryAuthentication") == "secondaryAuthentication"
	f.EveryTime = o.enum("frequencyInterval", "timeBased", "everyTime") == "everyTime"
	unit, value := o.enum("type", "hours", "days"), o.integer("value")
	o.closed()
	if f.EveryTime {
		if unit != "" || value != 0 {
			o.fail("value", "must be absent where frequencyInterval is everyTime.")
		}
		return f
	}
	switch {
	case unit == "":
		o.fail("type", "is required.")
	case unit == "hours" && (value < 1 || value > 23):
		o.fail("value", "must be 1 to 23 hours.")
	case unit == "days" && (value < 1 || value > 365):
		o.fail("value", "must be 1 to 365 days.")
	case unit == "hours":
		f.Every = time.Duration(value) * time.Hour
	default:
		f.Every = time.Duration(value) * 24 * time.Hour
	}
	return f
}

// check holds the rules that concern more than one property.
func (p *Policy) check(o *object) {
	c, g := &p.Conditions, p.Grant
	u := &c.Users
	anyUser := len(u.IncludeUsers)+len(u.IncludeGroups)+len(u.IncludeRoles) > 0 || u.IncludeGuests != nil
	switch {
	case c.Workloads != nil && anyUser && !(onlyNone(u.IncludeUsers) && len(u.IncludeGroups)+len(u.IncludeRoles) == 0 && u.IncludeGuests == nil):
		o.fail("conditions.users", "must include None in a policy about workload identities.")
	case c.Workloads == nil && !anyUser:
		o.fail("conditions.users", "must include somebody; None stands for nobody.")
	}
	a := &c.Applications
	kinds := 0
	for _, n := range []int{len(a.Include), len(a.UserActions), len(a.AuthContexts)} {
		if n > 0 {
			kinds++
		}
	}
	if kinds != 1 {
		o.fail("conditions.applications", "must have exactly one of includeApplications, includeUserActions and includeAuthenticationContextClassReferences.")
	}
	for _, l := range []struct {
		member string
		list   []string
		alone  []string
	}{
		{"conditions.users.includeUsers", u.IncludeUsers, []string{All, None}},
		{"conditions.applications.includeApplications", a.Include, []string{All, None}},
	} {
		for _, w := range l.alone {
			if len(l.list) > 1 && slices.Contains(l.list, w) {
				o.fail(l.member, "must have no other entry beside %s.", w)
			}
		}
	}
	if g == nil && p.Session == (Session{}) {
		o.fail("grantControls", "or sessionControls must hold a control.")
	}
	if g != nil {
		p.checkGrant(o)
	}
	if c.Workloads != nil {
		if g == nil || !slices.Contains(g.Controls, Block) {
			o.fail("grantControls", "must be block in a policy about workload identities.")
		}
		if p.Session != (Session{}) {
			o.fail("sessionControls", "must be absent in a policy about workload identities.")
		}
	}
	if p.Session.PersistentBrowser != "" && !slices.Equal(a.Include, []string{All}) {
		o.fail("sessionControls.persistentBrowser", "needs a policy about all applications.")
	}
	if slices.Contains(a.UserActions, RegisterDevice) && (g == nil || !slices.Equal(g.Controls, []Control{MFA}) && g.AuthenticationStrength == "") {
		o.fail("grantControls", "must be mfa or an authentication strength for the user action %s.", RegisterDevice)
	}
}

func (p *Policy) checkGrant(o *object) {
	g := p.Grant
	if slices.Contains(g.Controls, Block) {
		if len(g.Controls) > 1 || g.AuthenticationStrength != "" {
			o.fail("grantControls.builtInControls", "must have no other control beside block.")
		}
		if p.Session != (Session{}) {
			o.fail("sessionControls", "must be absent where access is blocked.")
		}
	}
	if g.AuthenticationStrength != "" && slices.Contains(g.Controls, MFA) {
		o.fail("grantControls.authenticationStrength", "must not be joined with mfa.")
	}
}

func onlyNone(list []string) bool { return len(list) == 1 && list[0] == None }
