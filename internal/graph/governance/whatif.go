package governance

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/state"
)

// whatIf answers identity/conditionalAccess/evaluate: which policies would apply
// to a sign-in that is only described, and why.
func (s *service) whatIf(c *wire.Call) (*wire.Response, error) {
	f, onlyApplied, err := invented(c)
	if err != nil {
		return nil, err
	}
	o := s.WhatIf(c.Context, f)
	value := []wire.Object{}
	for _, p := range o.Policies {
		applies := p.Result != conditionalaccess.NotApplied && p.Result != conditionalaccess.ReportOnlyNotApplied && p.Result != conditionalaccess.NotEnabled
		if onlyApplied && !applies {
			continue
		}
		m := wire.Obj("@odata.type", "#microsoft.graph.whatIfAnalysisResult")
		doc, err := policy.Policies.Get(c.View, string(c.Tenant)+"/"+p.ID)
		if err == nil {
			raw, err := doc.Shown()
			if err != nil {
				return nil, err
			}
			shown, err := ordered(raw)
			if err != nil {
				return nil, err
			}
			m = append(m, shown...)
		} else {
			m = append(m, wire.Obj("id", p.ID, "displayName", p.DisplayName)...)
		}
		reason := "notSet"
		if !applies {
			reason = string(p.NotSatisfied)
			if p.Result == conditionalaccess.NotEnabled {
				reason = "policyNotEnabled"
			}
		}
		// result and conditions say more than Microsoft Graph does.
		m = m.With("policyApplies", applies).With("analysisReasons", reason).With("result", p.Result).With("conditionsTrace", p.Trace)
		value = append(value, m)
	}
	return wire.OK(wire.Obj("@odata.context", c.Root+"/$metadata#Collection(microsoft.graph.whatIfAnalysisResult)",
		"decision", o.Decision.String(), "reasons", o.Reasons, "value", value)), nil
}

// invented reads the description of a sign-in.
func invented(c *wire.Call) (*conditionalaccess.Facts, bool, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, false, err
	}
	var identity, context, conditions wire.Members
	var onlyApplied bool
	if err := body.Fields(map[string]any{
		"signInIdentity": &identity, "signInContext": &context, "signInConditions": &conditions, "appliedPoliciesOnly": &onlyApplied,
	}, "signInIdentity", "signInContext"); err != nil {
		return nil, false, err
	}
	f := &conditionalaccess.Facts{Tenant: c.Tenant, ClientAppType: conditionalaccess.Browser, Step: conditionalaccess.StepAuthorize, AuthTime: c.Now}
	if err := who(c, f, identity); err != nil {
		return nil, false, err
	}
	var apps []string
	var action, authContext string
	if err := context.Fields(map[string]any{"includeApplications": &apps, "userAction": &action, "authenticationContext": &authContext}); err != nil {
		return nil, false, err
	}
	switch {
	case action != "":
		f.UserAction = action
	case authContext != "":
		f.AuthContexts = []string{authContext}
	case len(apps) == 0 || len(apps) > 100:
		return nil, false, wire.Bad("signInContext must name one to 100 applications, a user action or an authentication context.")
	}
	for _, a := range apps {
		id, ok := directory.ParseGUID(a)
		if !ok {
			return nil, false, wire.Bad("Invalid application id '%.100s'.", a)
		}
		f.Resources = append(f.Resources, directory.AppID(id))
	}
	return f, onlyApplied, circumstances(f, conditions)
}

func who(c *wire.Call, f *conditionalaccess.Facts, identity wire.Members) error {
	var user, client, kind string
	if raw, ok := identity.Get("@odata.type"); ok && json.Unmarshal(raw, &kind) != nil {
		return wire.Bad("signInIdentity needs an @odata.type.")
	}
	if err := identity.Fields(map[string]any{"userId": &user, "servicePrincipalId": &client, "externalTenantId": new(string), "externalUserType": new(string)}); err != nil {
		return err
	}
	switch {
	case user != "" && client == "":
		u, err := state.FindUser(c.View, c.Tenant, user)
		if err != nil {
			return wire.Missing(user)
		}
		f.User = &conditionalaccess.User{ID: u.ID}
	case client != "" && user == "":
		id, ok := directory.ParseGUID(client)
		if !ok {
			return wire.Bad("Invalid object identifier '%.100s'.", client)
		}
		p, err := state.ServicePrincipals.Get(c.View, c.StateKey(directory.ObjectID(id)))
		if err != nil {
			return wire.Missing(client)
		}
		f.Workload = &conditionalaccess.Workload{ID: p.ID, AppID: p.AppID, ManagedIdentity: p.Type == "ManagedIdentity", Foreign: p.AppOwnerTenant != c.Tenant}
		f.Step = conditionalaccess.StepClientCredentials
	default:
		return wire.Fail(http.StatusBadRequest, wire.CodeBadRequest, "signInIdentity must name a user or a service principal.")
	}
	return nil
}

// circumstances reads signInConditions.
func circumstances(f *conditionalaccess.Facts, m wire.Members) error {
	if m == nil {
		return nil
	}
	var platform, client, address, country string
	var flow, device wire.Members
	var ignored json.RawMessage // risk: nothing here computes one
	if err := m.Fields(map[string]any{
		"devicePlatform": &platform, "clientAppType": &client, "ipAddress": &address, "country": &country, "authenticationFlow": &flow, "deviceInfo": &device,
		"signInRiskLevel": &ignored, "userRiskLevel": &ignored, "servicePrincipalRiskLevel": &ignored, "insiderRiskLevel": &ignored,
	}); err != nil {
		return err
	}
	if platform != "" {
		known := []conditionalaccess.Platform{conditionalaccess.Android, conditionalaccess.IOS, conditionalaccess.Windows, conditionalaccess.WindowsPhone, conditionalaccess.MacOS, conditionalaccess.Linux}
		i := slices.IndexFunc(known, func(p conditionalaccess.Platform) bool { return strings.EqualFold(string(p), platform) })
		if i < 0 {
			return wire.Bad("Invalid value specified for property 'devicePlatform'.")
		}
		f.Platform = known[i]
	}
	if client != "" {
		known := []conditionalaccess.ClientAppType{conditionalaccess.Browser, conditionalaccess.MobileAndDesktop, conditionalaccess.ExchangeActiveSync, conditionalaccess.OtherClients}
		i := slices.IndexFunc(known, func(t conditionalaccess.ClientAppType) bool { return strings.EqualFold(string(t), client) })
		if i < 0 {
			return wire.Bad("Invalid value specified for property 'clientAppType'.")
		}
		f.ClientAppType = known[i]
	}
	if address != "" {
		a, err := netip.ParseAddr(address)
		if err != nil {
			return wire.Bad("Invalid value specified for property 'ipAddress'.")
		}
		f.Address = a
	}
	if country != "" {
		if len(country) != 2 {
			return wire.Bad("Invalid value specified for property 'country'.")
		}
		f.Country = strings.ToUpper(country)
	}
	if flow != nil {
		var method string
		if err := flow.Fields(map[string]any{"transferMethod": &method}); err != nil {
			return err
		}
		switch method {
		case "", "none":
		case string(conditionalaccess.DeviceCodeFlow), string(conditionalaccess.AuthenticationTransfer):
			f.Flow = conditionalaccess.AuthFlow(method)
		default:
			return wire.Bad("Invalid value specified for property 'transferMethod'.")
		}
	}
	if device == nil {
		return nil
	}
	d := &conditionalaccess.Device{}
	var trust string
	var rest json.RawMessage
	if err := device.Fields(map[string]any{
		"deviceId": &d.ID, "isCompliant": &d.Compliant, "trustType": &trust, "displayName": &d.Attributes.DisplayName, "deviceOwnership": &d.Attributes.DeviceOwnership,
		"enrollmentProfileName": &d.Attributes.EnrollmentProfileName, "manufacturer": &d.Attributes.Manufacturer, "mdmAppId": &d.Attributes.MdmAppID,
		"model": &d.Attributes.Model, "operatingSystem": &d.Attributes.OperatingSystem, "operatingSystemVersion": &d.Attributes.OperatingSystemVersion,
		"physicalIds": &d.Attributes.PhysicalIDs, "profileType": &d.Attributes.ProfileType, "systemLabels": &d.Attributes.SystemLabels, "extensionAttribute1": &rest,
	}); err != nil {
		return err
	}
	d.TrustType = conditionalaccess.TrustType(trust)
	f.Device = d
	return nil
}
