package tenantfile

import "slices"

// Type is what kind of value a key takes.
type Type int

// The types of values, with the Go type that holds each.
const (
	Text    Type = iota // string
	Bool                // bool
	Number              // int
	Texts               // []string: a set
	TextMap             // map[string]string
	RefOne              // Ref
	RefSet              // []Ref: a set
	Object              // *Entity
	List                // []*Entity, told apart by the first of Fields
)

// Field is a key of an object.
type Field struct {
	Name     string
	Type     Type
	Required bool     // for an object that does not exist yet
	Fixed    bool     // it cannot be changed once the object exists
	OnCreate bool     // it counts only when the object is made
	Fold     bool     // compared without case
	Values   []string // the only texts that are allowed
	Kinds    []string // what a Ref may name; one kind alone is written as a plain text
	Fields   []Field  // of an Object and of the elements of a List
	// Phase is after which other steps the value can be set; see order.
	Phase int
}

// Phases of fields: with the object itself, or once others exist.
const (
	phaseObject = iota
	phaseCredentials
	phaseLinks
)

// Kind is a kind of object.
type Kind struct {
	Section string // the key of the file that lists them
	Name    string // what one is called, and the key of a Ref to it
	Fields  []Field
}

// Kinds of objects, as sections of the file and in the order in which it is
// written.
const (
	Users           = "users"
	Groups          = "groups"
	Apps            = "apps"
	ResourceGroups  = "resourceGroups"
	Identities      = "identities"
	Clusters        = "clusters"
	RoleDefinitions = "roleDefinitions"
	RoleAssignments = "roleAssignments"
	DirectoryRoles  = "directoryRoleAssignments"
)

var (
	principals = []string{"user", "group", "app", "identity"}
	scopes     = []string{"cluster", "resourceGroup", "identity", "resource", "subscription", "managementGroup"}
)

var credentialFields = []Field{
	{Name: "name", Required: true},
	{Name: "issuer"},
	{Name: "cluster", Type: RefOne, Kinds: []string{"cluster"}},
	{Name: "subject"},
	{Name: "serviceAccount"},
	{Name: "audiences", Type: Texts},
}

var kinds = []*Kind{
	{Section: Users, Name: "user", Fields: []Field{
		{Name: "userPrincipalName", Required: true, Fold: true},
		{Name: "displayName"},
		{Name: "givenName"},
		{Name: "surname"},
		{Name: "mail"},
		{Name: "mailNickname"},
		{Name: "jobTitle"},
		{Name: "department"},
		{Name: "accountEnabled", Type: Bool},
		{Name: "passwordFrom", Type: Object, OnCreate: true, Fields: []Field{{Name: "env"}, {Name: "file"}}},
	}},
	{Section: Groups, Name: "group", Fields: []Field{
		{Name: "displayName", Required: true, Fold: true},
		{Name: "description"},
		{Name: "mailNickname"},
		{Name: "isAssignableToRole", Type: Bool, Fixed: true},
		{Name: "owners", Type: RefSet, Kinds: []string{"user", "app"}, Phase: phaseLinks},
		{Name: "members", Type: RefSet, Kinds: principals, Phase: phaseLinks},
	}},
	{Section: Apps, Name: "app", Fields: []Field{
		{Name: "displayName", Required: true, Fold: true},
		{Name: "signInAudience", Values: []string{"AzureADMyOrg", "AzureADMultipleOrgs"}},
		{Name: "identifierUris", Type: Texts},
		{Name: "isFallbackPublicClient", Type: Bool},
		{Name: "redirectUris", Type: Object, Fields: []Field{
			{Name: "web", Type: Texts}, {Name: "spa", Type: Texts}, {Name: "publicClient", Type: Texts},
		}},
		{Name: "appRoles", Type: List, Fields: []Field{
			{Name: "value", Required: true},
			{Name: "displayName", Required: true},
			{Name: "description", Required: true},
			{Name: "allowedMemberTypes", Type: Texts, Required: true, Values: []string{"User", "Application"}},
			{Name: "isEnabled", Type: Bool},
		}},
		{Name: "servicePrincipal", Type: Bool},
		{Name: "federatedCredentials", Type: List, Fields: credentialFields, Phase: phaseCredentials},
		{Name: "owners", Type: RefSet, Kinds: []string{"user", "app"}, Phase: phaseLinks},
	}},
	{Section: ResourceGroups, Name: "resourceGroup", Fields: []Field{
		{Name: "name", Required: true, Fold: true},
		{Name: "location", Required: true, Fixed: true, Fold: true},
		{Name: "tags", Type: TextMap},
	}},
	{Section: Identities, Name: "identity", Fields: []Field{
		{Name: "name", Required: true, Fold: true},
		{Name: "resourceGroup", Type: RefOne, Kinds: []string{"resourceGroup"}, Required: true},
		{Name: "location", Fixed: true, Fold: true},
		{Name: "tags", Type: TextMap},
		{Name: "federatedCredentials", Type: List, Fields: credentialFields, Phase: phaseCredentials},
	}},
	{Section: Clusters, Name: "cluster", Fields: []Field{
		{Name: "name", Required: true, Fold: true},
		{Name: "resourceGroup", Type: RefOne, Kinds: []string{"resourceGroup"}, Required: true},
		{Name: "location", Fixed: true, Fold: true},
		{Name: "nodeCount", Type: Number},
		{Name: "identity", Type: RefOne, Kinds: []string{"identity"}},
		{Name: "aad", Type: Object, Fields: []Field{
			{Name: "adminGroups", Type: RefSet, Kinds: []string{"group"}},
			{Name: "adminGroupObjectIDs", Type: Texts},
			{Name: "azureRBAC", Type: Bool},
			{Name: "tenantID", Fold: true},
		}},
		{Name: "disableLocalAccounts", Type: Bool},
		{Name: "oidcIssuer", Type: Bool},
		{Name: "workloadIdentity", Type: Bool},
		{Name: "tags", Type: TextMap},
	}},
	{Section: RoleDefinitions, Name: "role", Fields: []Field{
		{Name: "name", Required: true, Fold: true},
		{Name: "description"},
		{Name: "assignableScopes", Type: RefSet, Kinds: scopes, Required: true},
		{Name: "actions", Type: Texts},
		{Name: "notActions", Type: Texts},
		{Name: "dataActions", Type: Texts},
		{Name: "notDataActions", Type: Texts},
	}},
	{Section: RoleAssignments, Name: "roleAssignment", Fields: []Field{
		{Name: "principal", Type: RefOne, Kinds: principals, Required: true},
		{Name: "role", Type: RefOne, Kinds: []string{"role"}, Required: true},
		{Name: "scope", Type: RefOne, Kinds: scopes, Required: true},
		{Name: "condition"},
		{Name: "description"},
	}},
	{Section: DirectoryRoles, Name: "directoryRoleAssignment", Fields: []Field{
		{Name: "principal", Type: RefOne, Kinds: []string{"user", "group", "app"}, Required: true},
		{Name: "role", Type: RefOne, Kinds: []string{"directoryRole"}, Required: true},
	}},
}

// order is the order in which steps are taken: what others need comes first.
var order = []struct {
	section string
	phase   int
}{
	{Users, phaseObject}, {Groups, phaseObject}, {Apps, phaseObject},
	{ResourceGroups, phaseObject}, {Identities, phaseObject}, {Clusters, phaseObject},
	{Apps, phaseCredentials}, {Identities, phaseCredentials},
	{Apps, phaseLinks}, {Groups, phaseLinks},
	{RoleDefinitions, phaseObject}, {RoleAssignments, phaseObject}, {DirectoryRoles, phaseObject},
}

// KindOf returns the kind of a section, and false if there is none.
func KindOf(section string) (*Kind, bool) {
	i := slices.IndexFunc(kinds, func(k *Kind) bool { return k.Section == section })
	if i < 0 {
		return nil, false
	}
	return kinds[i], true
}

func field(fields []Field, name string) (*Field, bool) {
	i := slices.IndexFunc(fields, func(f Field) bool { return f.Name == name })
	if i < 0 {
		return nil, false
	}
	return &fields[i], true
}
