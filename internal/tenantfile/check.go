package tenantfile

import (
	"net/url"
	"regexp"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// check finds what is wrong with the objects of a file by themselves.
func check(f *File, p *Problems) {
	for _, k := range kinds {
		seen := map[string]int{}
		for _, e := range f.Entities(k.Section) {
			if !keyed(e) {
				first := k.Fields[0]
				p.add(e.Line, "%s of the %s is missing", first.Name, k.Name)
				continue
			}
			if line, twice := seen[e.key()]; twice {
				p.add(e.Line, "%s occurs twice; the first is on line %d", describe(e), line)
				continue
			}
			seen[e.key()] = e.Line
			checkNested(e, k.Fields, describe(e), p)
			checkEntity(e, p)
		}
	}
}

// keyed reports whether all is given that makes the name of an object.
func keyed(e *Entity) bool {
	switch e.Kind.Section {
	case Identities, Clusters:
		return e.Has("name") && e.Has("resourceGroup")
	case RoleAssignments:
		return e.Has("principal") && e.Has("role") && e.Has("scope")
	case DirectoryRoles:
		return e.Has("principal") && e.Has("role")
	}
	return e.Has(e.Kind.Fields[0].Name)
}

// checkNested holds objects inside of others, and sets, to what every one of
// them needs.
func checkNested(e *Entity, fields []Field, what string, p *Problems) {
	for _, f := range fields {
		switch f.Type {
		case RefSet:
			seen := map[string]bool{}
			for _, r := range e.Refs(f.Name) {
				if seen[r.key()] {
					p.add(r.Line, "%s of %s names %s twice", f.Name, what, r)
				}
				seen[r.key()] = true
			}
		case Object:
			if o := e.Object(f.Name); o != nil {
				checkNested(o, f.Fields, f.Name+" of "+what, p)
			}
		case List:
			seen := map[string]bool{}
			for _, o := range e.List(f.Name) {
				for _, g := range f.Fields {
					if g.Required && !o.Has(g.Name) {
						p.add(o.Line, "%s is missing in an element of %s of %s", g.Name, f.Name, what)
					}
				}
				name := strings.ToLower(o.Text(f.Fields[0].Name))
				if name != "" && seen[name] {
					p.add(o.Line, "%s of %s has %q twice", f.Name, what, o.Text(f.Fields[0].Name))
				}
				seen[name] = true
				checkNested(o, f.Fields, f.Name+" of "+what, p)
			}
		}
	}
}

// Names that Azure Resource Manager takes. What a name of a resource may hold
// is said here once more because a mistake is to be found before anything is
// written.
var (
	groupName      = regexp.MustCompile(`^[-\w().]{0,89}[-\w()]$`)
	identityName   = regexp.MustCompile(`^[A-Za-z0-9][-\w]{2,127}$`)
	clusterName    = regexp.MustCompile(`^[A-Za-z0-9]([-\w]{0,61}[A-Za-z0-9])?$`)
	credentialName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`)
	serviceAccount = regexp.MustCompile(`^[a-z0-9][-a-z0-9]*/[a-z0-9][-.a-z0-9]*$`)
)

func checkEntity(e *Entity, p *Problems) {
	switch e.Kind.Section {
	case Users:
		name := e.Text("userPrincipalName")
		local, domain, full := strings.Cut(name, "@")
		if local == "" || full && domain == "" || strings.ContainsAny(name, " '\"#%&<>/\\") || strings.Count(name, "@") > 1 {
			p.add(e.at("userPrincipalName"), "%q is not a user principal name", name)
		}
		if from := e.Object("passwordFrom"); from != nil && from.Has("env") == from.Has("file") {
			p.add(from.Line, "passwordFrom of %s has either env or file", describe(e))
		}
	case ResourceGroups:
		named(e, groupName, "1 to 90 letters, digits, '-', '_', '.' and parentheses, and no '.' at the end", p)
	case Identities:
		named(e, identityName, "3 to 128 letters, digits, '-' and '_', the first a letter or digit", p)
		checkCredentials(e, p)
	case Apps:
		checkCredentials(e, p)
	case Clusters:
		named(e, clusterName, "1 to 63 letters, digits, '_' and '-', the first and the last a letter or digit", p)
		checkCluster(e, p)
	case RoleDefinitions:
		checkRole(e, p)
	case RoleAssignments:
		if text := e.Text("condition"); text != "" {
			if _, err := condition.Parse(text); err != nil {
				p.add(e.at("condition"), "%s", strings.TrimSpace(err.Error()))
			}
		}
	}
}

func named(e *Entity, pattern *regexp.Regexp, rule string, p *Problems) {
	if !pattern.MatchString(e.Text("name")) {
		p.add(e.at("name"), "%q is not a name of a %s: it has %s", e.Text("name"), e.Kind.Name, rule)
	}
}

func checkCredentials(e *Entity, p *Problems) {
	for _, c := range e.List("federatedCredentials") {
		what := "federated credential " + c.Text("name") + " of " + describe(e)
		if c.Has("name") && !credentialName.MatchString(c.Text("name")) {
			p.add(c.at("name"), "%q is not a name of a federated credential: it has 3 to 120 letters, digits, '-' and '_', the first a letter or digit", c.Text("name"))
		}
		if c.Has("issuer") == c.Has("cluster") {
			p.add(c.Line, "%s has either issuer or cluster", what)
		}
		if c.Has("subject") == c.Has("serviceAccount") {
			p.add(c.Line, "%s has either subject or serviceAccount", what)
		}
		if s := c.Text("issuer"); s != "" {
			if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
				p.add(c.at("issuer"), "the issuer of %s is not an address", what)
			}
		}
		if s := c.Text("serviceAccount"); s != "" && !serviceAccount.MatchString(s) {
			p.add(c.at("serviceAccount"), "serviceAccount of %s is namespace/name, not %q", what, s)
		}
		if c.Has("audiences") && len(c.Texts("audiences")) != 1 {
			p.add(c.at("audiences"), "%s has exactly one audience", what)
		}
	}
}

func checkCluster(e *Entity, p *Problems) {
	aad := e.Object("aad")
	if id := aad.Text("tenantID"); id != "" {
		if _, ok := directory.ParseGUID(id); !ok {
			p.add(aad.at("tenantID"), "tenantID of %s is not the id of a tenant", describe(e))
		}
	}
	for _, id := range aad.Texts("adminGroupObjectIDs") {
		if _, ok := directory.ParseGUID(id); !ok {
			p.add(aad.at("adminGroupObjectIDs"), "adminGroupObjectIDs of %s: %q is not an object id", describe(e), id)
		}
	}
	if aad.Has("adminGroupObjectIDs") && !aad.Has("tenantID") {
		p.add(aad.at("adminGroupObjectIDs"), "adminGroupObjectIDs of %s is for groups of another tenant, with tenantID; name groups of this one in adminGroups", describe(e))
	}
	if aad.Has("adminGroups") && aad.Has("tenantID") {
		p.add(aad.at("adminGroups"), "adminGroups of %s names groups of this tenant, but its tenantID is another one: use adminGroupObjectIDs", describe(e))
	}
	if n, ok := e.Values["nodeCount"].(int); ok && (n < 1 || n > 250) {
		p.add(e.at("nodeCount"), "nodeCount of %s is from 1 to 250", describe(e))
	}
	if e.Bool("workloadIdentity", false) && !e.Bool("oidcIssuer", true) {
		p.add(e.at("workloadIdentity"), "workloadIdentity of %s needs its oidcIssuer", describe(e))
	}
}

// checkRole holds a custom role to the engine's own rules, at a scope that
// stands for those that the file names.
func checkRole(e *Entity, p *Problems) {
	if e.Has("assignableScopes") && len(e.Refs("assignableScopes")) == 0 {
		p.add(e.at("assignableScopes"), "%s has no assignable scope", describe(e))
	}
	const someID = "00000000-0000-0000-0000-000000000001"
	if err := rbac.ValidateCustomRole(&rbac.RoleDefinition{
		ID: someID, Name: e.Text("name"), Description: e.Text("description"), AssignableScopes: []string{"/subscriptions/" + someID},
		Permissions: []rbac.Permission{{
			Actions: e.Texts("actions"), NotActions: e.Texts("notActions"), DataActions: e.Texts("dataActions"), NotDataActions: e.Texts("notDataActions"),
		}},
	}); err != nil {
		p.add(e.Line, "%s: %s", describe(e), errs.Message(err))
	}
}
