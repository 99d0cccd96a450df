package condition

import (
	"fmt"
	"strings"
)

// Kind says what a row of the table describes.
type Kind string

const (
	Operator      Kind = "operator"   // compares an attribute with a value
	Function      Kind = "function"   // tests the action, or whether an attribute is there
	Quantifier    Kind = "quantifier" // goes before an operator and a colon, and compares sets
	Logic         Kind = "logic"      // joins expressions
	Source        Kind = "source"     // where an attribute comes from
	AttributeName Kind = "attribute"  // an attribute of a source
)

// Type is what an operator compares.
type Type string

const (
	String   Type = "string"
	Number   Type = "number"
	Bool     Type = "boolean"
	DateTime Type = "date and time"
	GUID     Type = "GUID"
	IP       Type = "IP address"
	AnyType  Type = "any" // custom security attributes, whose type the directory holds
)

// Row is one supported element of the language. Allow and Refuse are a
// condition that holds and one that does not, both in the context that the
// package's tests build; they double as examples in the documentation.
type Row struct {
	Kind    Kind
	Name    string
	Type    Type
	Meaning string
	Allow   string
	Refuse  string
}

const (
	group   = "@Resource[Microsoft.ContainerService/managedClusters/customResources:group]"
	kind    = "@Resource[Microsoft.ContainerService/managedClusters/customResources:kind]"
	subres  = "@Resource[Microsoft.ContainerService/managedClusters/resources:subresource]"
	csa     = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:"
	rdID    = "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]"
	guidA   = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	guidB   = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	someDay = "'2026-11-25T12:00:00Z'"
)

// Table is everything that the language has here. In the tests' context the
// group is "stable.example.com", the kind "crontabs", the subresource
// "pods/log"; the principal's attributes are Team_Name "Red", Team_Level 7,
// Team_Lead true, Team_Projects "apollo" and "gemini", Team_Start
// 2026-01-01, Team_Address 10.1.2.3; the requested role is Contributor
// (b24988ac-...), and it is noon of 25 November 2026, UTC.
var Table = []Row{
	{Logic, "AND", "", "both hold; also &&; binds no tighter than OR, so a mix needs parentheses", group + " StringEquals 'stable.example.com' AND " + kind + " StringEquals 'crontabs'", group + " StringEquals 'stable.example.com' && " + kind + " StringEquals 'x'"},
	{Logic, "OR", "", "one holds; also ||", group + " StringEquals 'x' OR " + kind + " StringEquals 'crontabs'", group + " StringEquals 'x' || " + kind + " StringEquals 'y'"},
	{Logic, "NOT", "", "does not hold; also !", "NOT (" + group + " StringEquals 'x')", "!(" + group + " StringEquals 'stable.example.com')"},

	{Function, "ActionMatches", "", "the action matches the pattern, in which * stands for any run of characters", "ActionMatches{'Microsoft.ContainerService/managedClusters/customresources/*'}", "ActionMatches{'Microsoft.ContainerService/managedClusters/customresources/write'}"},
	{Function, "SubOperationMatches", "", "the suboperation of the action is this one", "SubOperationMatches{'Blob.List'}", "SubOperationMatches{'Blob.Read'}"},
	{Function, "Exists", "", "the attribute has a value", "Exists " + kind, "Exists @Resource[Microsoft.Authorization/roleAssignments:PrincipalId]"},
	{Function, "NotExists", "", "the attribute has no value", "NotExists @Resource[Microsoft.Authorization/roleAssignments:PrincipalId]", "NotExists " + kind},

	{Operator, "StringEquals", String, "equal, case counts", kind + " StringEquals 'crontabs'", kind + " StringEquals 'CronTabs'"},
	{Operator, "StringNotEquals", String, "not StringEquals", kind + " StringNotEquals 'CronTabs'", kind + " StringNotEquals 'crontabs'"},
	{Operator, "StringEqualsIgnoreCase", String, "equal but for case", kind + " StringEqualsIgnoreCase 'CronTabs'", kind + " StringEqualsIgnoreCase 'CronTab'"},
	{Operator, "StringNotEqualsIgnoreCase", String, "not StringEqualsIgnoreCase", kind + " StringNotEqualsIgnoreCase 'CronTab'", kind + " StringNotEqualsIgnoreCase 'CronTabs'"},
	{Operator, "StringStartsWith", String, "begins with the value", kind + " StringStartsWith 'cron'", kind + " StringStartsWith 'Cron'"},
	{Operator, "StringNotStartsWith", String, "not StringStartsWith", kind + " StringNotStartsWith 'Cron'", kind + " StringNotStartsWith 'cron'"},
	{Operator, "StringStartsWithIgnoreCase", String, "begins with the value but for case", kind + " StringStartsWithIgnoreCase 'CRON'", kind + " StringStartsWithIgnoreCase 'ron'"},
	{Operator, "StringNotStartsWithIgnoreCase", String, "not StringStartsWithIgnoreCase", kind + " StringNotStartsWithIgnoreCase 'ron'", kind + " StringNotStartsWithIgnoreCase 'CRON'"},
	{Operator, "StringLike", String, "matches the pattern: * is any run of characters, ? is one, a backslash takes away their meaning", kind + " StringLike 'cr?n*'", kind + " StringLike 'cr\\?n*'"},
	{Operator, "StringNotLike", String, "not StringLike", kind + " StringNotLike 'Cr?n*'", kind + " StringNotLike 'cr?n*'"},
	{Operator, "StringLikeIgnoreCase", String, "StringLike but for case", kind + " StringLikeIgnoreCase '*TABS'", kind + " StringLikeIgnoreCase '*TAB'"},
	{Operator, "StringNotLikeIgnoreCase", String, "not StringLikeIgnoreCase", kind + " StringNotLikeIgnoreCase '*TAB'", kind + " StringNotLikeIgnoreCase '*TABS'"},

	{Operator, "NumericEquals", Number, "equal", csa + "Team_Level] NumericEquals 7.0", csa + "Team_Level] NumericEquals 8"},
	{Operator, "NumericNotEquals", Number, "not NumericEquals", csa + "Team_Level] NumericNotEquals 8", csa + "Team_Level] NumericNotEquals '7'"},
	{Operator, "NumericLessThan", Number, "less", csa + "Team_Level] NumericLessThan 8", csa + "Team_Level] NumericLessThan 7"},
	{Operator, "NumericLessThanEquals", Number, "less or equal", csa + "Team_Level] NumericLessThanEquals 7", csa + "Team_Level] NumericLessThanEquals 6"},
	{Operator, "NumericGreaterThan", Number, "greater", csa + "Team_Level] NumericGreaterThan -1", csa + "Team_Level] NumericGreaterThan 7"},
	{Operator, "NumericGreaterThanEquals", Number, "greater or equal", csa + "Team_Level] NumericGreaterThanEquals 7", csa + "Team_Level] NumericGreaterThanEquals 7.5"},

	{Operator, "BoolEquals", Bool, "equal", csa + "Team_Lead] BoolEquals true", csa + "Team_Lead] BoolEquals false"},
	{Operator, "BoolNotEquals", Bool, "not BoolEquals", csa + "Team_Lead] BoolNotEquals false", csa + "Team_Lead] BoolNotEquals true"},

	{Operator, "DateTimeEquals", DateTime, "the same instant", "@Environment[UtcNow] DateTimeEquals '2026-11-25T13:00:00+01:00'", "@Environment[UtcNow] DateTimeEquals '2026-11-25T13:00:00Z'"},
	{Operator, "DateTimeNotEquals", DateTime, "not DateTimeEquals", "@Environment[UtcNow] DateTimeNotEquals '2026-11-25T13:00:00Z'", "@Environment[UtcNow] DateTimeNotEquals " + someDay},
	{Operator, "DateTimeLessThan", DateTime, "earlier", csa + "Team_Start] DateTimeLessThan " + someDay, "@Environment[UtcNow] DateTimeLessThan " + someDay},
	{Operator, "DateTimeLessThanEquals", DateTime, "earlier or the same", "@Environment[UtcNow] DateTimeLessThanEquals " + someDay, "@Environment[UtcNow] DateTimeLessThanEquals '2026-11-25T11:59:59.9Z'"},
	{Operator, "DateTimeGreaterThan", DateTime, "later", "@Environment[UtcNow] DateTimeGreaterThan '2026-11-25'", "@Environment[UtcNow] DateTimeGreaterThan " + someDay},
	{Operator, "DateTimeGreaterThanEquals", DateTime, "later or the same", "@Environment[UtcNow] DateTimeGreaterThanEquals " + someDay, "@Environment[UtcNow] DateTimeGreaterThanEquals '2026-11-26'"},

	{Operator, "GuidEquals", GUID, "the same GUID", rdID + " GuidEquals " + guidA, rdID + " GuidEquals '" + guidB + "'"},
	{Operator, "GuidNotEquals", GUID, "not GuidEquals", rdID + " GuidNotEquals '" + guidB + "'", rdID + " GuidNotEquals " + guidA},

	{Operator, "IpMatch", IP, "the address, or the range in CIDR form, holds the attribute's address", csa + "Team_Address] IpMatch '10.1.0.0/16'", csa + "Team_Address] IpMatch '10.1.2.4'"},
	{Operator, "IpNotMatch", IP, "not IpMatch", csa + "Team_Address] IpNotMatch '10.2.0.0/16'", csa + "Team_Address] IpNotMatch '10.1.2.3'"},

	{Quantifier, "ForAnyOfAnyValues", "", "some value on the left compares true with some value on the right", csa + "Team_Projects] ForAnyOfAnyValues:StringEquals {'gemini', 'mercury'}", csa + "Team_Projects] ForAnyOfAnyValues:StringEquals {'mercury', 'vostok'}"},
	{Quantifier, "ForAllOfAnyValues", "", "each value on the left compares true with some value on the right", csa + "Team_Projects] ForAllOfAnyValues:StringEquals {'gemini', 'apollo', 'mercury'}", csa + "Team_Projects] ForAllOfAnyValues:StringEquals {'gemini', 'mercury'}"},
	{Quantifier, "ForAnyOfAllValues", "", "some value on the left compares true with each value on the right", csa + "Team_Projects] ForAnyOfAllValues:StringLike {'a*', '*o'}", csa + "Team_Projects] ForAnyOfAllValues:StringLike {'a*', '*i'}"},
	{Quantifier, "ForAllOfAllValues", "", "each value on the left compares true with each value on the right", csa + "Team_Projects] ForAllOfAllValues:StringNotEquals {'mercury', 'vostok'}", csa + "Team_Projects] ForAllOfAllValues:StringNotEquals {'mercury', 'gemini'}"},

	{Source, "@Request", "", "what the request would write", rdID + " GuidEquals " + guidA, rdID + " GuidEquals " + guidB},
	{Source, "@Resource", "", "what the request acts on", kind + " StringEquals 'crontabs'", kind + " StringEquals 'x'"},
	{Source, "@Principal", "", "custom security attributes of who asks", csa + "Team_Name] StringEquals 'Red'", csa + "Team_Name] StringEquals 'Blue'"},
	{Source, "@Environment", "", "the surroundings of the request", "Exists @Environment[UtcNow]", "NotExists @Environment[UtcNow]"},

	{AttributeName, "@Resource[Microsoft.ContainerService/managedClusters/customResources:group]", String, "API group of a custom resource", group + " StringLike '*.example.com'", group + " StringLike '*.example.org'"},
	{AttributeName, "@Resource[Microsoft.ContainerService/managedClusters/customResources:kind]", String, "plural name of a custom resource", kind + " StringEquals 'crontabs'", kind + " StringEquals 'CronTab'"},
	{AttributeName, "@Resource[Microsoft.ContainerService/managedClusters/resources:subresource]", String, "resource and subresource, on clusters that check subresources", subres + " StringEquals 'pods/log'", subres + " StringEquals 'pods/exec'"},
	{AttributeName, "@Request[Microsoft.Authorization/roleAssignments:RoleDefinitionId]", GUID, "role of an assignment to be written", rdID + " ForAnyOfAnyValues:GuidEquals {" + guidB + ", " + guidA + "}", rdID + " ForAnyOfAnyValues:GuidEquals {" + guidB + "}"},
	{AttributeName, "@Request[Microsoft.Authorization/roleAssignments:PrincipalId]", GUID, "principal of an assignment to be written", "@Request[Microsoft.Authorization/roleAssignments:PrincipalId] GuidEquals 11111111-1111-1111-1111-111111111111", "@Request[Microsoft.Authorization/roleAssignments:PrincipalId] GuidEquals " + guidA},
	{AttributeName, "@Request[Microsoft.Authorization/roleAssignments:PrincipalType]", String, "type of that principal", "@Request[Microsoft.Authorization/roleAssignments:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'user', 'Group'}", "@Request[Microsoft.Authorization/roleAssignments:PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {'ServicePrincipal'}"},
	{AttributeName, "@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId]", GUID, "role of the assignment to be deleted", "@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] GuidEquals " + guidB, "@Resource[Microsoft.Authorization/roleAssignments:RoleDefinitionId] GuidEquals " + guidA},
	{AttributeName, "@Resource[Microsoft.Authorization/roleAssignments:PrincipalId]", GUID, "principal of the assignment to be deleted", "@Resource[Microsoft.Authorization/roleAssignments:PrincipalId] GuidNotEquals " + guidA, "@Resource[Microsoft.Authorization/roleAssignments:PrincipalId] GuidEquals " + guidA},
	{AttributeName, "@Resource[Microsoft.Authorization/roleAssignments:PrincipalType]", String, "type of that principal", "@Resource[Microsoft.Authorization/roleAssignments:PrincipalType] StringEquals 'User'", "@Resource[Microsoft.Authorization/roleAssignments:PrincipalType] StringEquals 'Group'"},
	{AttributeName, "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:*]", AnyType, "custom security attribute, named set_attribute", csa + "Team_Level] StringEquals '7'", csa + "Team_Other] StringEquals '7'"},
	{AttributeName, "@Environment[UtcNow]", DateTime, "when the request is decided", "@Environment[UtcNow] DateTimeGreaterThan '2026-11-25T11:00:00Z'", "@Environment[UtcNow] DateTimeLessThan '2026-11-25T11:00:00Z'"},
	{AttributeName, "@Environment[isPrivateLink]", Bool, "whether the request came over a private link", "@Environment[isPrivateLink] BoolEquals false", "@Environment[isPrivateLink] BoolEquals true"},
	{AttributeName, "@Environment[Microsoft.Network/privateEndpoints]", String, "id of the private endpoint", "@Environment[Microsoft.Network/privateEndpoints] StringNotEquals 'x'", "@Environment[Microsoft.Network/privateEndpoints] StringEquals 'x'"},
	{AttributeName, "@Environment[Microsoft.Network/virtualNetworks/subnets]", String, "id of the subnet", "@Environment[Microsoft.Network/virtualNetworks/subnets] StringNotEquals 'x'", "@Environment[Microsoft.Network/virtualNetworks/subnets] StringEquals 'x'"},
}

// Markdown renders the table for the documentation.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| kind | name | compares | meaning | holds | does not hold |\n|---|---|---|---|---|---|\n")
	esc := strings.NewReplacer("|", `\|`)
	for _, r := range Table {
		fmt.Fprintf(&b, "| %s | `%s` | %s | %s | `%s` | `%s` |\n", r.Kind, r.Name, r.Type, r.Meaning, esc.Replace(r.Allow), esc.Replace(r.Refuse))
	}
	return b.String()
}

// The parser looks rows up by their names in lower case.
var (
	operators   = map[string]op{}
	quantifiers = map[string]quantifier{}
	attributes  = map[string]Type{} // "@source[name]"
	prefixes    []Row               // attributes whose name ends with a star
)

func init() {
	for _, r := range Table {
		low := strings.ToLower(r.Name)
		switch r.Kind {
		case Operator:
			operators[low] = newOp(low, r)
		case Quantifier:
			quantifiers[low] = quantifier{set: true, leftAll: strings.HasPrefix(low, "forall"), rightAll: strings.Contains(low, "ofall")}
		case AttributeName:
			if strings.HasSuffix(low, "*]") {
				prefixes = append(prefixes, r)
			} else {
				attributes[low] = r.Type
			}
		}
	}
}

// attributeType returns the type of an attribute that the table holds.
func attributeType(source, name string) (Type, bool) {
	key := strings.ToLower(source + "[" + name + "]")
	if t, ok := attributes[key]; ok {
		return t, true
	}
	for _, p := range prefixes {
		prefix := strings.ToLower(strings.TrimSuffix(p.Name, "*]"))
		if strings.HasPrefix(key, prefix) && len(key) > len(prefix)+1 {
			return p.Type, true
		}
	}
	return "", false
}
