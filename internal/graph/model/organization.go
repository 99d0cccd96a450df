package model

import (
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/odata"
)

// Organization is a tenant.
var Organization = newKind(Kind{Name: "organization", Label: "Company", Set: "organization"}, join(
	read("id", odata.String, func(t *directory.Tenant) any { return string(t.ID) }),
	deletedAt(),
	keptList("businessPhones", odata.String), kept("city", odata.String), kept("country", odata.String),
	text("countryLetterCode", 2, func(t *directory.Tenant) *string { return &t.Country }),
	when("createdDateTime", func(t *directory.Tenant) time.Time { return t.Created }),
	constant("defaultUsageLocation", odata.String, nil),
	text("displayName", 256, func(t *directory.Tenant) *string { return &t.DisplayName }),
	keptList("marketingNotificationEmails", odata.String),
	nulls(odata.DateTime, "onPremisesLastSyncDateTime"), nulls(odata.Boolean, "onPremisesSyncEnabled"),
	kept("postalCode", odata.String), kept("preferredLanguage", odata.String),
	keptList("securityComplianceNotificationMails", odata.String), keptList("securityComplianceNotificationPhones", odata.String),
	kept("state", odata.String), kept("street", odata.String),
	keptList("technicalNotificationMails", odata.String),
	constant("tenantType", odata.String, "AAD"),
	empties(odata.Complex, "assignedPlans", "provisionedPlans"),
	kept("privacyProfile", odata.Complex),
	read("verifiedDomains", odata.Complex, func(t *directory.Tenant) any {
		out := []any{}
		for _, d := range t.Domains {
			out = append(out, map[string]any{"capabilities": "Email, OfficeCommunicationsOnline", "isDefault": d.Default, "isInitial": d.Initial, "name": d.Name, "type": "Managed"})
		}
		return out
	}).list(),
))

// Organizations returns t as a resource.
func Organizations(at *At, t *directory.Tenant) *Object {
	return &Object{Kind: Organization, ID: string(t.ID), Rec: t, Extra: t.Properties, At: at}
}

// Domain is a DNS name of a tenant.
var Domain = newKind(Kind{Name: "domain", Label: "Domain", Set: "domains"}, join(
	constant("authenticationType", odata.String, "Managed"),
	constant("availabilityStatus", odata.String, nil),
	read("id", odata.String, func(d *directory.Domain) any { return d.Name }),
	constant("isAdminManaged", odata.Boolean, true),
	read("isDefault", odata.Boolean, func(d *directory.Domain) any { return d.Default }),
	read("isInitial", odata.Boolean, func(d *directory.Domain) any { return d.Initial }),
	constant("isRoot", odata.Boolean, true), constant("isVerified", odata.Boolean, true),
	constant("supportedServices", odata.String, []string{}).list(),
	nulls(odata.Int, "passwordValidityPeriodInDays", "passwordNotificationWindowInDays"),
	constant("state", odata.Complex, nil),
))

// Domains returns d as a resource.
func Domains(at *At, d *directory.Domain) *Object {
	return &Object{Kind: Domain, ID: d.Name, Rec: d, At: at}
}
