package conditionalaccess_test

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/errs"
)

// edit returns a valid policy with one part replaced.
func edit(old, with string) string {
	const policy = `{"id":"00000000-0000-4000-8000-000000000001","displayName":"p","state":"enabled",` +
		`"conditions":{"users":{"includeUsers":["All"]},"applications":{"includeApplications":["All"]},"clientAppTypes":["all"]},` +
		`"grantControls":{"operator":"OR","builtInControls":["mfa"]},"sessionControls":null}`
	if old == "" {
		return policy
	}
	if !strings.Contains(policy, old) {
		panic(old)
	}
	return strings.Replace(policy, old, with, 1)
}

func TestParsePolicyRefuses(t *testing.T) {
	grant := `{"operator":"OR","builtInControls":["mfa"]}`
	for _, tc := range []struct{ name, doc, want string }{
		{"not JSON", `{`, "not valid JSON"},
		{"an array", `[]`, "not a JSON object"},
		{"more data", edit("", "") + `{}`, "followed by more data"},
		{"repeated member", edit(`"state"`, `"state":"disabled","state"`), "state appears twice"},
		{"repeated nested member", edit(`"operator"`, `"operator":"AND","operator"`), "operator appears twice"},
		{"too deep", edit(`"state"`, `"x":`+strings.Repeat("[", 40)+strings.Repeat("]", 40)+`,"state"`), "nested deeper"},
		{"too large", edit(`"p"`, `"`+strings.Repeat("x", 300<<10)+`"`), "larger than"},
		{"bad id", edit(`00000000-0000-4000-8000-000000000001`, `{x}`), "id must be a GUID"},
		{"no name", edit(`"p"`, `" "`), "displayName is required"},
		{"long name", edit(`"p"`, `"`+strings.Repeat("x", 300)+`"`), "displayName is longer"},
		{"no state", edit(`"enabled"`, `null`), "state is required"},
		{"unknown state", edit(`"enabled"`, `"on"`), `state has the unknown value "on"`},
		{"state of another type", edit(`"enabled"`, `true`), "state must be a string"},
		{"state in upper case", edit(`"enabled"`, `"Enabled"`), `state has the unknown value`},
		{"no conditions", edit(`"conditions"`, `"condition"`), "conditions is required"},
		{"unknown condition", edit(`"clientAppTypes"`, `"moonPhase":["full"],"clientAppTypes"`), "conditions.moonPhase is not known"},
		{"sign-in risk", edit(`"clientAppTypes"`, `"signInRiskLevels":["high"],"clientAppTypes"`), "conditions.signInRiskLevels cannot be evaluated"},
		{"user risk", edit(`"clientAppTypes"`, `"userRiskLevels":["high"],"clientAppTypes"`), "conditions.userRiskLevels cannot be evaluated"},
		{"nobody", edit(`"includeUsers":["All"]`, `"excludeUsers":[]`), "conditions.users must include"},
		{"unknown word for users", edit(`"includeUsers":["All"]`, `"includeUsers":["Everybody"]`), "conditions.users.includeUsers has the value \"Everybody\""},
		{"user names are not ids", edit(`"includeUsers":["All"]`, `"includeUsers":["ann@example.com"]`), "conditions.users.includeUsers"},
		{"all and one", edit(`"includeUsers":["All"]`, `"includeUsers":["All","None"]`), "no other entry beside"},
		{"exclude all", edit(`"includeUsers":["All"]`, `"includeUsers":["All"],"excludeUsers":["All"]`), "conditions.users.excludeUsers"},
		{"unknown member of users", edit(`"includeUsers":["All"]`, `"includeUsers":["All"],"excludePlanets":["Mars"]`), "conditions.users.excludePlanets is not known"},
		{"guests of no type", edit(`"includeUsers":["All"]`, `"includeGuestsOrExternalUsers":{"guestOrExternalUserTypes":"none"}`), "guestOrExternalUserTypes is required"},
		{"unknown guest type", edit(`"includeUsers":["All"]`, `"includeGuestsOrExternalUsers":{"guestOrExternalUserTypes":"martian"}`), "guestOrExternalUserTypes has the unknown value"},
		{"enumerated tenants without any", edit(`"includeUsers":["All"]`, `"includeGuestsOrExternalUsers":{"guestOrExternalUserTypes":"internalGuest","externalTenants":{"membershipKind":"enumerated","members":[]}}`), "externalTenants.members is required"},
		{"suite of applications", edit(`["All"]},"client`, `["Office365"]},"client`), "conditions.applications.includeApplications"},
		{"no application", edit(`"includeApplications":["All"]`, `"excludeApplications":[]`), "conditions.applications must have exactly one"},
		{"application and action", edit(`"includeApplications":["All"]`, `"includeApplications":["All"],"includeUserActions":["urn:user:registerdevice"]`), "conditions.applications must have exactly one"},
		{"unknown action", edit(`"includeApplications":["All"]`, `"includeUserActions":["urn:user:dance"]`), "includeUserActions has the unknown value"},
		{"context c0", edit(`"includeApplications":["All"]`, `"includeAuthenticationContextClassReferences":["c0"]`), "contexts are c1 to c99"},
		{"context c100", edit(`"includeApplications":["All"]`, `"includeAuthenticationContextClassReferences":["c100"]`), "contexts are c1 to c99"},
		{"application filter", edit(`"includeApplications":["All"]`, `"includeApplications":["All"],"applicationFilter":{"mode":"include","rule":"x"}`), "applicationFilter cannot be evaluated"},
		{"no client type", edit(`["all"]`, `[]`), "clientAppTypes must not be empty"},
		{"unknown client type", edit(`["all"]`, `["telnet"]`), "conditions.clientAppTypes has the unknown value"},
		{"unknown platform", edit(`"clientAppTypes"`, `"platforms":{"includePlatforms":["beos"]},"clientAppTypes"`), "conditions.platforms.includePlatforms has the unknown value"},
		{"platforms only excluded", edit(`"clientAppTypes"`, `"platforms":{"excludePlatforms":["iOS"]},"clientAppTypes"`), "conditions.platforms.includePlatforms is required"},
		{"unknown location word", edit(`"clientAppTypes"`, `"locations":{"includeLocations":["Moon"]},"clientAppTypes"`), "conditions.locations.includeLocations"},
		{"device states", edit(`"clientAppTypes"`, `"devices":{"includeDevices":["All"]},"clientAppTypes"`), "conditions.devices.includeDevices cannot be evaluated"},
		{"filter without mode", edit(`"clientAppTypes"`, `"devices":{"deviceFilter":{"rule":"device.isCompliant -eq True"}},"clientAppTypes"`), "deviceFilter.mode is required"},
		{"bad filter", edit(`"clientAppTypes"`, `"devices":{"deviceFilter":{"mode":"include","rule":"device.isCompliant -eq"}},"clientAppTypes"`), "deviceFilter.rule is not a valid rule: expected True or False instead of end of the rule at position 23"},
		{"unknown flow", edit(`"clientAppTypes"`, `"authenticationFlows":{"transferMethods":"pigeon"},"clientAppTypes"`), "transferMethods has the unknown value"},
		{"no control", edit(grant, `null`), "grantControls or sessionControls"},
		{"empty controls", edit(grant, `{"operator":"OR","builtInControls":[]}`), "grantControls or sessionControls"},
		{"no operator", edit(`"operator":"OR",`, ``), "grantControls.operator is required"},
		{"unknown operator", edit(`"OR"`, `"XOR"`), "grantControls.operator has the unknown value"},
		{"unknown control", edit(`["mfa"]`, `["dance"]`), `grantControls.builtInControls has the unknown value "dance"`},
		{"control beyond us", edit(`["mfa"]`, `["approvedApplication"]`), "cannot be evaluated"},
		{"control beyond us beside one", edit(`["mfa"]`, `["mfa","passwordChange"]`), "cannot be evaluated"},
		{"terms of use", edit(`["mfa"]`, `["mfa"],"termsOfUse":["x"]`), "grantControls.termsOfUse cannot be evaluated"},
		{"custom factor", edit(`["mfa"]`, `["mfa"],"customAuthenticationFactors":["x"]`), "customAuthenticationFactors cannot be evaluated"},
		{"unknown grant member", edit(`["mfa"]`, `["mfa"],"moodRing":{"color":"blue"}`), "grantControls.moodRing is not known"},
		{"block and mfa", edit(`["mfa"]`, `["block","mfa"]`), "no other control beside block"},
		{"mfa and strength", edit(`["mfa"]`, `["mfa"],"authenticationStrength":{"id":"00000000-0000-0000-0000-000000000002"}`), "must not be joined with mfa"},
		{"strength without id", edit(`["mfa"]`, `[],"authenticationStrength":{"displayName":"x"}`), "authenticationStrength.id is required"},
		{"block with session", edit(`["mfa"]},"sessionControls":null`, `["block"]},"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"hours","value":1}}`), "sessionControls must be absent"},
		{"frequency of 24 hours", edit(`"sessionControls":null`, `"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"hours","value":24}}`), "signInFrequency.value must be 1 to 23"},
		{"frequency of 0 days", edit(`"sessionControls":null`, `"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"days","value":0}}`), "signInFrequency.value must be 1 to 365"},
		{"frequency of a year and a day", edit(`"sessionControls":null`, `"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"days","value":366}}`), "signInFrequency.value must be 1 to 365"},
		{"frequency without unit", edit(`"sessionControls":null`, `"sessionControls":{"signInFrequency":{"isEnabled":true,"value":1}}`), "signInFrequency.type is required"},
		{"every time with a value", edit(`"sessionControls":null`, `"sessionControls":{"signInFrequency":{"isEnabled":true,"frequencyInterval":"everyTime","type":"hours","value":1}}`), "must be absent where frequencyInterval"},
		{"broken frequency", edit(`"sessionControls":null`, `"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"hours","value":1.5}}`), "signInFrequency.value must be a whole number"},
		{"app enforced restrictions", edit(`"sessionControls":null`, `"sessionControls":{"applicationEnforcedRestrictions":{"isEnabled":true}}`), "applicationEnforcedRestrictions cannot be evaluated"},
		{"cloud app security", edit(`"sessionControls":null`, `"sessionControls":{"cloudAppSecurity":{"isEnabled":true,"cloudAppSecurityType":"blockDownloads"}}`), "cloudAppSecurity cannot be evaluated"},
		{"persistence for one application", edit(`["All"]},"clientAppTypes":["all"]},"grantControls":`+grant+`,"sessionControls":null`, `["6dae42f8-4368-4678-94ff-3960e28e3630"]},"clientAppTypes":["all"]},"grantControls":null,"sessionControls":{"persistentBrowser":{"isEnabled":true,"mode":"never"}}`), "persistentBrowser needs a policy about all applications"},
		{"mfa for workloads", edit(`"users":{"includeUsers":["All"]}`, `"clientApplications":{"includeServicePrincipals":["ServicePrincipalsInMyTenant"]}`), "must be block in a policy about workload identities"},
		{"users and workloads", edit(`"clientAppTypes"`, `"clientApplications":{"includeServicePrincipals":["ServicePrincipalsInMyTenant"]},"clientAppTypes"`), "conditions.users must include None"},
		{"workload filter", edit(`"clientAppTypes"`, `"clientApplications":{"includeServicePrincipals":["ServicePrincipalsInMyTenant"],"servicePrincipalFilter":{"mode":"include","rule":"x"}},"clientAppTypes"`), "servicePrincipalFilter cannot be evaluated"},
		{"device for registering one", edit(`"includeApplications":["All"]},"clientAppTypes":["all"]},"grantControls":`+grant, `"includeUserActions":["urn:user:registerdevice"]},"clientAppTypes":["all"]},"grantControls":{"operator":"OR","builtInControls":["compliantDevice"]}`), "grantControls must be mfa"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ca.ParsePolicy([]byte(tc.doc))
			if err == nil {
				t.Fatal("accepted")
			}
			if !errs.Is(err, errs.Invalid) || !strings.Contains(errs.Message(err), tc.want) {
				t.Errorf("error (%v) %q does not say %q", errs.KindOf(err), err, tc.want)
			}
		})
	}
}

// TestRoundTrip keeps the promise that a document comes back as it was sent.
func TestRoundTrip(t *testing.T) {
	doc := edit(`"state"`, `"description":"kept","@odata.etag":"W/\"1\"","future":{"a":[1.0,2]},"state"`)
	p, err := ca.ParsePolicy([]byte(doc))
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if string(out) != doc {
		t.Errorf("document came back as %s", out)
	}
	// The caller's buffer is not the policy's.
	raw := []byte(doc)
	q, err := ca.ParsePolicy(raw)
	if err != nil {
		t.Fatal(err)
	}
	copy(raw, bytes.Repeat([]byte("x"), len(raw)))
	if out, _ := q.MarshalJSON(); string(out) != doc {
		t.Error("the document changed with the caller's buffer")
	}
}

func TestNamedLocationRefuses(t *testing.T) {
	for _, tc := range []struct{ name, doc, want string }{
		{"no type", `{"displayName":"x"}`, "@odata.type is required"},
		{"unknown type", `{"displayName":"x","@odata.type":"#microsoft.graph.planet"}`, "@odata.type has the unknown value"},
		{"no range", `{"displayName":"x","@odata.type":"#microsoft.graph.ipNamedLocation","ipRanges":[]}`, "ipRanges is required"},
		{"not a range", `{"displayName":"x","@odata.type":"#microsoft.graph.ipNamedLocation","ipRanges":[{"cidrAddress":"192.0.2.1"}]}`, "cidrAddress"},
		{"everything", `{"displayName":"x","@odata.type":"#microsoft.graph.ipNamedLocation","ipRanges":[{"cidrAddress":"0.0.0.0/0"}]}`, "/8 or smaller"},
		{"mapped", `{"displayName":"x","@odata.type":"#microsoft.graph.ipNamedLocation","ipRanges":[{"cidrAddress":"::ffff:192.0.2.0/120"}]}`, "cidrAddress"},
		{"type of the other family", `{"displayName":"x","@odata.type":"#microsoft.graph.ipNamedLocation","ipRanges":[{"@odata.type":"#microsoft.graph.iPv6CidrRange","cidrAddress":"192.0.2.0/24"}]}`, "is not of the type"},
		{"country name", `{"displayName":"x","@odata.type":"#microsoft.graph.countryNamedLocation","countriesAndRegions":["Norway"]}`, "two-letter"},
		{"GPS", `{"displayName":"x","@odata.type":"#microsoft.graph.countryNamedLocation","countriesAndRegions":["NO"],"countryLookupMethod":"authenticatorAppGps"}`, "countryLookupMethod"},
		{"trusted country", `{"displayName":"x","@odata.type":"#microsoft.graph.countryNamedLocation","countriesAndRegions":["NO"],"isTrusted":true}`, "isTrusted"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ca.ParseNamedLocation([]byte(tc.doc))
			if !errs.Is(err, errs.Invalid) || !strings.Contains(errs.Message(err), tc.want) {
				t.Errorf("error %v does not say %q", err, tc.want)
			}
		})
	}
}

// TestContains compares the search among merged ranges with asking each range.
func TestContains(t *testing.T) {
	cidrs := []string{"192.0.2.0/24", "192.0.2.64/26", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "2001:db8:7::/48", "198.51.100.7/32", "192.0.3.0/24"}
	var parts []string
	var prefixes []netip.Prefix
	for _, c := range cidrs {
		parts = append(parts, `{"cidrAddress":"`+c+`"}`)
		prefixes = append(prefixes, netip.MustParsePrefix(c))
	}
	l, err := ca.ParseNamedLocation([]byte(`{"displayName":"x","@odata.type":"#microsoft.graph.ipNamedLocation","ipRanges":[` + strings.Join(parts, ",") + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range []string{"192.0.1.255", "192.0.2.0", "192.0.2.64", "192.0.2.255", "192.0.3.255", "192.0.4.0", "9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0",
		"198.51.100.6", "198.51.100.7", "198.51.100.8", "2001:db7:ffff::", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::", "::", "0.0.0.0", "255.255.255.255", "::a00:1"} {
		addr := netip.MustParseAddr(a)
		want := false
		for _, p := range prefixes {
			want = want || p.Contains(addr)
		}
		if got := l.Contains(addr, ""); got != want {
			t.Errorf("Contains(%s) = %v, want %v", a, got, want)
		}
	}
	if !l.Contains(netip.MustParseAddr("::ffff:10.2.3.4"), "") {
		t.Error("an IPv4 address written as IPv6 is outside")
	}
	if !l.Contains(netip.MustParseAddr("2001:db8::1%eth0"), "") {
		t.Error("an address with a zone is outside")
	}
}

func TestReferences(t *testing.T) {
	p, err := ca.ParsePolicy([]byte(edit(`"clientAppTypes"`, `"locations":{"includeLocations":["All"],"excludeLocations":["55555555-0000-4000-8000-000000000001"]},"clientAppTypes"`)))
	if err != nil {
		t.Fatal(err)
	}
	err = ca.CheckReferences(p, nil, nil)
	if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "excludeLocations names the location 55555555") {
		t.Errorf("error %v", err)
	}
	l, err := ca.ParseNamedLocation([]byte(`{"id":"55555555-0000-4000-8000-000000000001","displayName":"x","@odata.type":"#microsoft.graph.ipNamedLocation","ipRanges":[{"cidrAddress":"192.0.2.0/24"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.CheckReferences(p, []*ca.NamedLocation{l}, nil); err != nil {
		t.Error(err)
	}
	if !p.Names(l.ID) || p.Names("55555555-0000-4000-8000-000000000002") {
		t.Error("Names is wrong")
	}
	s, err := ca.Compile([]*ca.Policy{p}, nil, nil)
	if err != nil || len(s.Unresolved()) != 1 {
		t.Errorf("Compile without the location: %v, %q", err, s.Unresolved())
	}
	if _, err := ca.Compile([]*ca.Policy{p, p}, []*ca.NamedLocation{l}, nil); err == nil {
		t.Error("two policies with one id compiled")
	}
	q, err := ca.ParsePolicy([]byte(edit(`["mfa"]`, `[],"authenticationStrength":{"id":"66666666-0000-4000-8000-000000000001"}`)))
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.CheckReferences(q, nil, nil); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "authenticationStrength.id") {
		t.Errorf("error %v", err)
	}
}

func TestParseClaims(t *testing.T) {
	r, err := ca.ParseClaims(ca.Challenge([]string{"a", "b"}, []string{"c2", "c1"}))
	if err != nil || strings.Join(r.Policies, " ") != "a b" || strings.Join(r.AuthContexts, " ") != "c1 c2" {
		t.Errorf("a challenge came back as %+v, %v", r, err)
	}
	r, err = ca.ParseClaims(`{"access_token":{"xms_cc":{"values":["cp1"]},"nbf":{"essential":true,"value":"1"}},"id_token":{"acrs":{"value":"c3"}},"userinfo":null}`)
	if err != nil || strings.Join(r.Capabilities, " ") != "cp1" || strings.Join(r.AuthContexts, " ") != "c3" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{`[]`, `{"access_token":{"acrs":{"value":"c0"}}}`, `{"access_token":{"acrs":{"values":[1]}}}`, `{"access_token":1}`, `{"a":1,"a":2}`, `{"a":"` + strings.Repeat("x", 9000) + `"}`} {
		if r, err := ca.ParseClaims(bad); !errs.Is(err, errs.Invalid) {
			t.Errorf("ParseClaims(%.40s) = %+v, %v", bad, r, err)
		}
	}
}

func FuzzParsePolicy(f *testing.F) {
	f.Add([]byte(edit("", "")))
	f.Add([]byte(edit(`"clientAppTypes"`, `"devices":{"deviceFilter":{"mode":"include","rule":"device.isCompliant -eq True"}},"clientAppTypes"`)))
	f.Add([]byte(edit(`"sessionControls":null`, `"sessionControls":{"signInFrequency":{"isEnabled":true,"type":"hours","value":2}}`)))
	f.Add([]byte(`{"conditions":{"users":{"includeGuestsOrExternalUsers":{"guestOrExternalUserTypes":"none","externalTenants":null}}}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := ca.ParsePolicy(raw)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("error of kind %v", errs.KindOf(err))
			}
			return
		}
		out, _ := p.MarshalJSON()
		if !bytes.Equal(out, raw) {
			t.Fatal("the document changed")
		}
		if p.ID == "" {
			return
		}
		s, err := ca.Compile([]*ca.Policy{p}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		ca.WhatIf(s, &ca.Facts{User: &ca.User{}}, noon)
	})
}
