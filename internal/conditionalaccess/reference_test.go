package conditionalaccess_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// The reference evaluator answers from the JSON document by the plainest code
// that could be right. It shares nothing with the package but the facts.

type doc map[string]any

func (d doc) at(path string) any {
	var v any = map[string]any(d)
	for p := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func (d doc) list(path string) []string {
	var out []string
	switch v := d.at(path).(type) {
	case []any:
		for _, x := range v {
			out = append(out, x.(string))
		}
	case string:
		out = strings.Split(v, ",")
	}
	return out
}

func has[T ~string](list []T, x string) bool {
	for _, y := range list {
		if string(y) == x {
			return true
		}
	}
	return false
}

func refWho(d doc, f *ca.Facts, side string) bool {
	u := f.User
	for _, x := range d.list("conditions.users." + side + "Users") {
		if x == "All" || x == string(u.ID) || x == "GuestsOrExternalUsers" && u.Guest != "" {
			return true
		}
	}
	for _, x := range d.list("conditions.users." + side + "Groups") {
		if has(u.Groups, x) {
			return true
		}
	}
	for _, x := range d.list("conditions.users." + side + "Roles") {
		if has(u.Roles, x) {
			return true
		}
	}
	base := "conditions.users." + side + "GuestsOrExternalUsers"
	if d.at(base) == nil || u.Guest == "" || !has(d.list(base+".guestOrExternalUserTypes"), string(u.Guest)) {
		return false
	}
	return d.at(base+".externalTenants.membershipKind") != "enumerated" || has(d.list(base+".externalTenants.members"), string(u.HomeTenant))
}

func refPlace(f *ca.Facts, list []string, unknown bool) bool {
	for _, id := range list {
		office := f.Address.IsValid() && netip.MustParsePrefix("192.0.2.0/24").Contains(f.Address)
		switch {
		case id == "All":
			return true
		case !f.Address.IsValid():
			if unknown {
				return true
			}
		case id == "AllTrusted", id == locOffice:
			if office {
				return true
			}
		case id == locCountry:
			if f.Country == "KP" || f.Country == "" {
				return true
			}
		default: // gone
			if unknown {
				return true
			}
		}
	}
	return false
}

func refApplies(d doc, f *ca.Facts) bool {
	if d.at("conditions.clientApplications") != nil {
		if f.Workload == nil || f.Workload.ManagedIdentity || f.Workload.Foreign {
			return false
		}
		if has(d.list("conditions.clientApplications.excludeServicePrincipals"), string(f.Workload.ID)) {
			return false
		}
		in := d.list("conditions.clientApplications.includeServicePrincipals")
		if !has(in, "ServicePrincipalsInMyTenant") && !has(in, string(f.Workload.ID)) {
			return false
		}
	} else if f.User == nil || refWho(d, f, "exclude") || !refWho(d, f, "include") {
		return false
	}
	inApps, exApps := d.list("conditions.applications.includeApplications"), d.list("conditions.applications.excludeApplications")
	actions, contexts := d.list("conditions.applications.includeUserActions"), d.list("conditions.applications.includeAuthenticationContextClassReferences")
	app := false
	for _, r := range f.Resources {
		if (has(inApps, "All") || has(inApps, string(r))) && !has(exApps, string(r)) {
			app = true
		}
	}
	if len(f.Resources) == 0 && has(inApps, "All") {
		app = true
	}
	if len(inApps) > 0 && !has(inApps, "None") && has(f.Policies, d["id"].(string)) {
		app = true
	}
	if f.UserAction != "" {
		app = has(actions, f.UserAction)
	}
	for _, c := range f.AuthContexts {
		if has(contexts, c) {
			app = true
		}
	}
	if !app {
		return false
	}
	if types := d.list("conditions.clientAppTypes"); !has(types, "all") && !has(types, string(f.ClientAppType)) {
		return false
	}
	if d.at("conditions.platforms") != nil {
		in, ex := d.list("conditions.platforms.includePlatforms"), d.list("conditions.platforms.excludePlatforms")
		if has(ex, "all") || f.Platform != "" && has(ex, string(f.Platform)) {
			return false
		}
		if !has(in, "all") && (f.Platform == "" || !has(in, string(f.Platform))) {
			return false
		}
	}
	if d.at("conditions.locations") != nil {
		if refPlace(f, d.list("conditions.locations.excludeLocations"), false) || !refPlace(f, d.list("conditions.locations.includeLocations"), true) {
			return false
		}
	}
	if rule, ok := d.at("conditions.devices.deviceFilter.rule").(string); ok {
		hit := refFilters[rule](refDevice(f))
		if hit == (d.at("conditions.devices.deviceFilter.mode") == "exclude") {
			return false
		}
	}
	if flows := d.list("conditions.authenticationFlows.transferMethods"); len(flows) > 0 && !has(flows, string(refFlow(f))) {
		return false
	}
	return true
}

func refFlow(f *ca.Facts) ca.AuthFlow {
	if f.Step == ca.StepDeviceSignIn || f.Step == ca.StepDeviceCode {
		return ca.DeviceCodeFlow
	}
	return f.Flow
}

func refDevice(f *ca.Facts) *ca.Device {
	if refFlow(f) == ca.DeviceCodeFlow {
		return nil
	}
	return f.Device
}

var refFilters = map[string]func(*ca.Device) bool{
	`device.isCompliant -eq True`:                                 func(d *ca.Device) bool { return d != nil && d.Compliant },
	`device.trustType -ne "ServerAD"`:                             func(d *ca.Device) bool { return d == nil || d.TrustType != "ServerAD" },
	`-not (device.isCompliant -eq True) -or device.model -eq "B"`: func(d *ca.Device) bool { return d == nil || !d.Compliant || d.Attributes.Model == "B" },
}

// refWindow returns the seconds of a policy's frequency, or a very long time.
func refWindow(d doc, secondary bool) float64 {
	const forever = 1e18
	if d.at("sessionControls.signInFrequency") == nil {
		return forever
	}
	if d.at("sessionControls.signInFrequency.authenticationType") == "secondaryAuthentication" && !secondary {
		return forever
	}
	if d.at("sessionControls.signInFrequency.frequencyInterval") == "everyTime" {
		return 300
	}
	return d.at("sessionControls.signInFrequency.value").(float64) * 3600
}

func refMFA(has func(string) bool) bool {
	return has("fido2") || has("password") && has("softwareOath")
}

type refOutcome struct {
	decision, results, missing string
	code                       int
}

func reference(policies []doc, f *ca.Facts) refOutcome {
	var o refOutcome
	window := 1e18
	for _, d := range policies {
		if d["state"] == "enabled" && refApplies(d, f) {
			window = min(window, refWindow(d, true))
		}
	}
	var codes []int
	device := refDevice(f)
	page := f.Step == ca.StepAuthorize || f.Step == ca.StepDeviceSignIn
	blocked, stale, open := false, false, false
	for _, d := range policies {
		prefix := ""
		if d["state"] == "enabledForReportingButNotEnforced" {
			prefix = "reportOnly"
		}
		word := func(w string) string {
			if prefix == "" {
				return w
			}
			return prefix + strings.ToUpper(w[:1]) + w[1:]
		}
		if d["state"] == "disabled" {
			o.results += " notEnabled"
			continue
		}
		if !refApplies(d, f) {
			o.results += " " + word("notApplied")
			continue
		}
		mine := window
		if prefix != "" {
			mine = min(window, refWindow(d, true))
		}
		recent := func(m string) bool {
			for _, a := range f.Methods {
				age := noon.Sub(a.At).Seconds()
				if string(a.Method) == m && age >= -300 && age < mine {
					return true
				}
			}
			return false
		}
		ok := func(control string) bool {
			switch control {
			case "mfa":
				return refMFA(recent)
			case "compliantDevice":
				return device != nil && device.Compliant
			case "domainJoinedDevice":
				return device != nil && device.TrustType == "ServerAD"
			case "strength":
				return recent("fido2")
			}
			return false
		}
		// ask returns what can still be asked for: 2 a factor, 1 a device, 0 nothing.
		ask := func(control string) int {
			switch {
			case f.User == nil || control == "block":
				return 0
			case control == "mfa" || control == "strength":
				return 2
			case device != nil || refFlow(f) == ca.DeviceCodeFlow || f.Platform == "windowsPhone" || f.Step == ca.StepPassword:
				return 0
			case page && !f.DeviceProofPossible:
				return 0
			}
			return 1
		}
		controls := d.list("grantControls.builtInControls")
		if d.at("grantControls.authenticationStrength") != nil {
			controls = append(controls, "strength")
		}
		groups := [][]string{controls}
		if d.at("grantControls.operator") == "AND" {
			groups = nil
			for _, c := range controls {
				groups = append(groups, []string{c})
			}
		}
		failed, hopeless := false, false
		for _, g := range groups {
			satisfied, best := len(g) == 0, 0
			for _, c := range g {
				satisfied = satisfied || ok(c)
				best = max(best, ask(c))
			}
			if satisfied {
				continue
			}
			failed = true
			if best == 0 {
				hopeless = true
			}
			if prefix != "" {
				continue
			}
			o.missing += fmt.Sprintf(" %s%v", d["id"].(string)[34:], g)
			joined := strings.Join(g, " ")
			compliant, domain := strings.Contains(joined, "compliant"), strings.Contains(joined, "domain")
			switch {
			case best == 2 && page && f.User.MFARegistered:
				codes = append(codes, 50074)
			case best == 2 && page:
				codes = append(codes, 50072)
			case best == 2 && f.User.MFARegistered:
				codes = append(codes, 50076)
			case best == 2:
				codes = append(codes, 50079)
			case best == 1:
				codes = append(codes, 50097)
			case !compliant && !domain:
				codes = append(codes, 53003)
			case device != nil && compliant && domain:
				codes = append(codes, 50131)
			case device != nil && compliant:
				codes = append(codes, 53000)
			case device != nil:
				codes = append(codes, 53001)
			case f.Platform == "windowsPhone":
				codes = append(codes, 50005)
			case domain || refFlow(f) == ca.DeviceCodeFlow:
				codes = append(codes, 530003)
			default:
				codes = append(codes, 530002)
			}
		}
		again := false
		if w := refWindow(d, false); w < 1e18 {
			age := noon.Sub(f.AuthTime).Seconds()
			again = f.AuthTime.IsZero() || age < -300 || age >= w
		}
		switch {
		case !failed && !again:
			o.results += " " + word("success")
		case prefix != "" && !hopeless:
			o.results += " reportOnlyInterrupted"
		default:
			o.results += " " + word("failure")
		}
		if prefix == "" {
			blocked, stale, open = blocked || hopeless, stale || again, open || failed
		}
	}
	if stale {
		codes = append(codes, map[bool]int{true: 70044, false: 70043}[page || f.Step == ca.StepAuthorizeSilent])
	}
	// The first code of the most serious class that there is.
	for _, class := range []string{"53003", "50131 53000 53001 50005 530002 530003", "70043 70044", "50072 50079 50074 50076", "50097"} {
		for _, c := range codes {
			if o.code == 0 && has(strings.Fields(class), fmt.Sprint(c)) {
				o.code = c
			}
		}
	}
	switch {
	case blocked:
		o.decision = "blocked"
	case stale || open:
		o.decision = "required"
	default:
		o.decision = "granted"
	}
	return o
}

func TestAgainstReference(t *testing.T) {
	g := gen{rand.New(rand.NewPCG(8, 26))}
	decisions, codes := map[string]int{}, map[int]int{}
	for range 6000 {
		var docs []map[string]any
		var refs []doc
		for n := range 1 + g.IntN(6) {
			d := g.policy(n + 1)
			docs, refs = append(docs, d), append(refs, doc(d))
		}
		s := compile(t, docs)
		for range 8 {
			f := g.facts()
			want := reference(refs, &f)
			o := ca.Evaluate(s, &f, noon)
			got := refOutcome{decision: o.Decision.String()}
			if o.Refusal != nil {
				got.code = int(o.Refusal.Code)
			}
			for _, p := range o.Policies {
				got.results += " " + string(p.Result)
			}
			for _, m := range o.Missing {
				words := make([]string, len(m.Controls))
				for i, c := range m.Controls {
					if words[i] = string(c); c == ca.StrengthControl {
						words[i] = "strength"
					}
				}
				got.missing += fmt.Sprintf(" %s%v", m.Policy[34:], words)
			}
			decisions[got.decision]++
			codes[got.code]++
			if got != want {
				raw, _ := json.MarshalIndent(docs, "", " ")
				facts, _ := json.MarshalIndent(f, "", " ")
				t.Fatalf("got  %+v\nwant %+v\npolicies %s\nfacts %s", got, want, raw, facts)
			}
		}
	}
	// A generator that hardly ever reaches an answer proves nothing about it.
	for _, d := range []string{"granted", "required", "blocked"} {
		if decisions[d] < 2000 {
			t.Errorf("only %d decisions were %s", decisions[d], d)
		}
	}
	for _, c := range []int{50005, 50072, 50074, 50076, 50079, 50097, 50131, 53000, 53001, 53003, 530002, 530003, 70043, 70044} {
		if codes[c] < 15 {
			t.Errorf("only %d decisions had the code %d", codes[c], c)
		}
	}
}

// TestZeroFactsRefuse holds the line for a caller that forgets to fill in who
// signs in.
func TestZeroFactsRefuse(t *testing.T) {
	s := compile(t, nil)
	for _, f := range []ca.Facts{{}, {User: &ca.User{}, Workload: &ca.Workload{}}} {
		if o := ca.Evaluate(s, &f, noon); o.Decision != ca.Blocked || o.Refusal == nil {
			t.Errorf("decision %v", o.Decision)
		}
	}
	var o ca.Outcome
	if o.Decision != ca.Blocked {
		t.Error("the zero outcome grants")
	}
}

func TestUnknownClientTypeCounts(t *testing.T) {
	s := compile(t, []map[string]any{{"id": guid(0, 1), "displayName": "p", "state": "enabled",
		"conditions":    map[string]any{"users": map[string]any{"includeUsers": []any{"All"}}, "applications": map[string]any{"includeApplications": []any{"All"}}, "clientAppTypes": []any{"browser"}},
		"grantControls": map[string]any{"operator": "OR", "builtInControls": []any{"block"}}}})
	if o := ca.Evaluate(s, &ca.Facts{User: &ca.User{}}, noon); o.Decision != ca.Blocked {
		t.Error("a client of unknown kind left the policy's scope")
	}
}

func BenchmarkEvaluate(b *testing.B) {
	for _, n := range []int{10, 500} {
		b.Run(fmt.Sprintf("policies=%d", n), func(b *testing.B) {
			g := gen{rand.New(rand.NewPCG(1, 2))}
			var docs []map[string]any
			for i := range n {
				docs = append(docs, g.policy(i+1))
			}
			s := compile(b, docs)
			f := g.facts()
			for f.User == nil {
				f = g.facts()
			}
			for i := range 200 {
				f.User.Groups = append(f.User.Groups, directory.ObjectID(guid(9, i)))
			}
			b.ReportAllocs()
			for b.Loop() {
				ca.Evaluate(s, &f, noon)
			}
		})
	}
}
