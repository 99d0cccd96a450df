package conditionalaccess_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
)

const (
	locOffice  = "55555555-0000-4000-8000-000000000001"
	locCountry = "55555555-0000-4000-8000-000000000002"
	locGone    = "55555555-0000-4000-8000-0000000000ff"
)

func guid(kind, n int) string { return fmt.Sprintf("%08d-0000-4000-8000-%012d", kind, n) }

type gen struct{ *rand.Rand }

func (g gen) one(of ...string) string { return of[g.IntN(len(of))] }

// some returns a random, possibly empty, part of a list.
func (g gen) some(of ...string) []any {
	out := []any{}
	for _, x := range of {
		if g.IntN(3) == 0 {
			out = append(out, x)
		}
	}
	return out
}

func (g gen) least(of ...string) []any {
	if s := g.some(of...); len(s) > 0 {
		return s
	}
	return []any{g.one(of...)}
}

func (g gen) policy(n int) map[string]any {
	users := map[string]any{
		"excludeUsers": g.some(guid(7, 1)), "excludeGroups": g.some(guid(3, 3)), "excludeRoles": g.some(guid(6, 2)),
	}
	switch g.IntN(5) {
	case 0:
		users["includeUsers"] = g.least(guid(7, 1), guid(7, 2), "GuestsOrExternalUsers")
	case 1:
		users["includeGroups"] = g.least(guid(3, 1), guid(3, 2))
	case 2:
		users["includeRoles"] = g.least(guid(6, 1))
		users["includeGuestsOrExternalUsers"] = map[string]any{"guestOrExternalUserTypes": "internalGuest,b2bCollaborationGuest"}
	default:
		users["includeUsers"] = []any{"All"}
		if g.IntN(4) == 0 {
			users["excludeGuestsOrExternalUsers"] = map[string]any{"guestOrExternalUserTypes": "b2bCollaborationGuest",
				"externalTenants": map[string]any{"membershipKind": "enumerated", "members": []any{guid(4, 1)}}}
		}
	}
	apps := map[string]any{}
	switch g.IntN(8) {
	case 0:
		apps["includeUserActions"] = []any{"urn:user:registersecurityinfo"}
	case 1:
		apps["includeAuthenticationContextClassReferences"] = g.least("c1", "c2")
	case 2, 3:
		apps["includeApplications"] = g.least(guid(2, 1), guid(2, 2))
	default:
		apps["includeApplications"] = []any{"All"}
		apps["excludeApplications"] = g.some(guid(2, 2))
	}
	cond := map[string]any{"users": users, "applications": apps, "clientAppTypes": []any{"all"}}
	if g.IntN(4) == 0 {
		cond["clientAppTypes"] = g.least("browser", "mobileAppsAndDesktopClients", "other")
	}
	if g.IntN(5) == 0 {
		cond["platforms"] = map[string]any{"includePlatforms": g.least("all", "windows", "linux"), "excludePlatforms": g.some("windows", "iOS")}
	}
	if g.IntN(3) == 0 {
		cond["locations"] = map[string]any{"includeLocations": g.least("All", "AllTrusted", locOffice, locCountry, locGone), "excludeLocations": g.some("AllTrusted", locCountry, locGone)}
	}
	if g.IntN(4) == 0 {
		var rules []string
		for r := range refFilters {
			rules = append(rules, r)
		}
		cond["devices"] = map[string]any{"deviceFilter": map[string]any{"mode": g.one("include", "exclude"), "rule": rules[g.IntN(len(rules))]}}
	}
	if g.IntN(6) == 0 {
		cond["authenticationFlows"] = map[string]any{"transferMethods": g.one("deviceCodeFlow", "deviceCodeFlow,authenticationTransfer")}
	}
	p := map[string]any{"id": guid(0, n), "displayName": fmt.Sprint("policy ", n), "conditions": cond,
		"state": g.one("enabled", "enabled", "enabled", "disabled", "enabledForReportingButNotEnforced")}
	if g.IntN(8) == 0 {
		delete(cond, "users")
		cond["applications"] = map[string]any{"includeApplications": []any{"All"}}
		cond["clientApplications"] = map[string]any{"includeServicePrincipals": g.least("ServicePrincipalsInMyTenant", guid(8, 1)), "excludeServicePrincipals": g.some(guid(8, 2))}
		p["grantControls"] = map[string]any{"operator": "OR", "builtInControls": []any{"block"}}
		return p
	}
	grant := map[string]any{"operator": g.one("AND", "OR")}
	switch g.IntN(8) {
	case 0:
		grant["builtInControls"] = []any{"block"}
		p["grantControls"] = grant
		return p
	case 1:
		grant["builtInControls"] = g.some("compliantDevice", "domainJoinedDevice")
		grant["authenticationStrength"] = map[string]any{"id": ca.StrengthPhishingResistant}
	case 2:
		grant = nil
	default:
		grant["builtInControls"] = g.least("mfa", "compliantDevice", "domainJoinedDevice")
	}
	if grant != nil {
		p["grantControls"] = grant
	}
	if grant == nil || g.IntN(3) == 0 {
		f := map[string]any{"isEnabled": true, "authenticationType": g.one("primaryAndSecondaryAuthentication", "secondaryAuthentication")}
		if g.IntN(3) == 0 {
			f["frequencyInterval"] = "everyTime"
		} else {
			f["type"], f["value"] = "hours", float64(1+g.IntN(6))
		}
		p["sessionControls"] = map[string]any{"signInFrequency": f}
	}
	return p
}

func (g gen) facts() ca.Facts {
	f := ca.Facts{
		Step: ca.Steps[g.IntN(len(ca.Steps))], V1: g.IntN(2) == 0, DeviceProofPossible: g.IntN(2) == 0,
		ClientAppType: ca.ClientAppType(g.one("browser", "mobileAppsAndDesktopClients", "other")),
		Platform:      ca.Platform(g.one("", "windows", "linux", "iOS", "windowsPhone")),
		Flow:          ca.AuthFlow(g.one("", "", "", "deviceCodeFlow", "authenticationTransfer")),
		Country:       g.one("", "NL", "KP"),
	}
	if a := g.one("", "192.0.2.9", "203.0.113.5", "2001:db8::1"); a != "" {
		f.Address = netip.MustParseAddr(a)
	}
	if g.IntN(5) == 0 {
		f.Workload = &ca.Workload{ID: directory.ObjectID(guid(8, 1+g.IntN(3))), ManagedIdentity: g.IntN(5) == 0, Foreign: g.IntN(5) == 0}
	} else {
		f.User = &ca.User{ID: directory.ObjectID(guid(7, 1+g.IntN(3))), MFARegistered: g.IntN(2) == 0, HomeTenant: directory.TenantID(guid(4, 1+g.IntN(2))),
			Guest: ca.GuestType(g.one("", "", "internalGuest", "b2bCollaborationGuest"))}
		for i := 1; i <= 3; i++ {
			if g.IntN(2) == 0 {
				f.User.Groups = append(f.User.Groups, directory.ObjectID(guid(3, i)))
			}
			if g.IntN(4) == 0 {
				f.User.Roles = append(f.User.Roles, directory.ObjectID(guid(6, i)))
			}
		}
	}
	switch g.IntN(6) {
	case 0:
		f.UserAction = "urn:user:registersecurityinfo"
	case 1:
	default:
		for i := 1; i <= 3; i++ {
			if g.IntN(2) == 0 {
				f.Resources = append(f.Resources, directory.AppID(guid(2, i)))
			}
		}
	}
	if g.IntN(4) == 0 {
		f.AuthContexts = []string{g.one("c1", "c2", "c3")}
	}
	if g.IntN(4) == 0 {
		f.Policies = []string{guid(0, 1)}
	}
	if g.IntN(2) == 0 {
		f.Device = &ca.Device{ID: "d", Compliant: g.IntN(2) == 0, TrustType: ca.TrustType(g.one("AzureAD", "ServerAD", "Workplace"))}
		f.Device.Attributes.Model = g.one("", "A", "B")
	}
	ages := []time.Duration{-time.Hour, -4 * time.Minute, 0, time.Minute, 5 * time.Minute, time.Hour, 3 * time.Hour, 9 * time.Hour}
	age := func() time.Time { return noon.Add(-ages[g.IntN(len(ages))]) }
	f.AuthTime = age()
	for _, m := range []ca.Method{ca.Password, ca.SoftwareOath, ca.FIDO2} {
		if g.IntN(3) == 0 {
			f.Methods = append(f.Methods, ca.Authentication{Method: m, At: age()})
		}
	}
	return f
}

func testLocations(t testing.TB) []*ca.NamedLocation {
	var out []*ca.NamedLocation
	for _, raw := range []string{
		`{"id":"` + locOffice + `","displayName":"office","@odata.type":"#microsoft.graph.ipNamedLocation","isTrusted":true,"ipRanges":[{"cidrAddress":"192.0.2.0/24"}]}`,
		`{"id":"` + locCountry + `","displayName":"country","@odata.type":"#microsoft.graph.countryNamedLocation","countriesAndRegions":["KP"],"includeUnknownCountriesAndRegions":true}`,
	} {
		l, err := ca.ParseNamedLocation([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, l)
	}
	return out
}

func compile(t testing.TB, docs []map[string]any) *ca.Set {
	var policies []*ca.Policy
	for _, d := range docs {
		raw, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		p, err := ca.ParsePolicy(raw)
		if err != nil {
			t.Fatalf("%v in %s", err, raw)
		}
		policies = append(policies, p)
	}
	s, err := ca.Compile(policies, testLocations(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
