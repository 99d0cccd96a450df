package tenantfile

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Plan is what makes a cloud agree with a file.
type Plan struct {
	Items []*Item // in the order of the file's sections; only what changes
	// Unchanged is how many objects of the file are as they should be.
	Unchanged int
}

// Item is what is to become of one object.
type Item struct {
	Want *Entity // resolved: every reference is written in full
	Have *Entity // nil for an object that does not exist
	// Changes are what differs. For a new object they are all that it is to be.
	Changes []Change
	fields  map[string]bool // of the object that change
}

// Change is a difference.
type Change struct {
	Field string `json:"field"` // such as members, or redirectUris.web
	Op    string `json:"op"`    // set, add or remove
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
}

// Create reports whether the object is to be made.
func (i *Item) Create() bool { return i.Have == nil }

// Differs reports whether a key of the object is to be set.
func (i *Item) Differs(name string) bool { return i.fields[name] }

// Step is a part of a plan that is taken as a whole.
type Step struct {
	Item  *Item
	Phase int
}

// Links and Credentials report which part of an object a step is about; the
// other steps are about the object itself.
func (s Step) Links() bool { return s.Phase == phaseLinks }

// Credentials reports whether a step is about federated credentials.
func (s Step) Credentials() bool { return s.Phase == phaseCredentials }

// String says what the step does.
func (s Step) String() string {
	what := kindWords(s.Item.Want.Kind.Name) + " " + s.Item.Want.Name()
	switch {
	case s.Links():
		return "set the members and owners of " + what
	case s.Credentials():
		return "set the federated credentials of " + what
	case s.Item.Create():
		return "create " + what
	}
	return "change " + what
}

// Steps returns the steps in the order in which they are to be taken.
func (p *Plan) Steps() []Step {
	var list []Step
	for _, o := range order {
		for _, i := range p.Items {
			if i.Want.Kind.Section != o.section {
				continue
			}
			touched := o.phase == phaseObject && i.Create()
			for _, f := range i.Want.Kind.Fields {
				touched = touched || f.Phase == o.phase && i.Differs(f.Name)
			}
			if touched {
				list = append(list, Step{i, o.phase})
			}
		}
	}
	return list
}

// MakePlan compares a file with a world. The error is a *Problems with
// everything that stands in the way: references to what is not there, names
// that are not unique, changes of what cannot be changed.
func MakePlan(name string, f *File, w *World) (*Plan, error) {
	m := &planner{problems: &Problems{File: name}, names: newNames(w, f), world: w}
	plan := &Plan{}
	for _, k := range kinds {
		have := map[string]*Entity{}
		for _, e := range w.Entities(k.Section) {
			have[e.key()] = e
		}
		seen := map[string]int{}
		for _, e := range f.Entities(k.Section) {
			want := m.resolved(e, k.Fields)
			want.Kind = k
			if line, twice := seen[want.key()]; twice {
				m.problems.add(e.Line, "%s occurs twice; the first is on line %d", describe(want), line)
				continue
			}
			seen[want.key()] = e.Line
			i := m.compare(want, have[want.key()])
			if i.Create() || len(i.Changes) > 0 {
				plan.Items = append(plan.Items, i)
			} else {
				plan.Unchanged++
			}
		}
	}
	if err := m.problems.err(); err != nil {
		return nil, err
	}
	return plan, nil
}

type planner struct {
	problems *Problems
	names    *names
	world    *World
}

// resolved returns a copy of an object in which every reference and name is
// written in full.
func (m *planner) resolved(e *Entity, fields []Field) *Entity {
	c := *e
	c.Values = maps.Clone(e.Values)
	for _, f := range fields {
		switch v := e.Values[f.Name].(type) {
		case string:
			if f.Name == "userPrincipalName" {
				c.Values[f.Name] = m.names.fullName(v)
			}
		case Ref:
			c.Values[f.Name] = m.ref(v)
		case []Ref:
			list := make([]Ref, len(v))
			for i, r := range v {
				list[i] = m.ref(r)
			}
			c.Values[f.Name] = list
		case *Entity:
			c.Values[f.Name] = m.resolved(v, f.Fields)
		case []*Entity:
			list := make([]*Entity, len(v))
			for i, o := range v {
				list[i] = m.resolved(o, f.Fields)
				if f.Name == "federatedCredentials" {
					m.credential(list[i])
				}
			}
			c.Values[f.Name] = list
		}
	}
	return &c
}

func (m *planner) ref(r Ref) Ref {
	full, problem := m.names.resolve(r)
	if problem != "" {
		m.problems.add(r.Line, "%s", problem)
	}
	return full
}

// credential writes a federated credential in one way: the cluster where the
// issuer is a cluster's, the service account where the subject is one, and the
// audience that everybody means.
func (m *planner) credential(c *Entity) {
	NormalCredential(c, m.world.Issuers)
	if r := c.Ref("cluster"); m.names.mute[strings.ToLower(r.Name)] {
		m.problems.add(c.at("cluster"), "the cluster %s has no issuer: set oidcIssuer: true", r.Name)
	}
}

// DefaultAudience is the audience of federated credentials that name none.
const DefaultAudience = "api://AzureADTokenExchange"

// NormalCredential writes a federated credential in the way in which plans and
// exports compare it. issuers are those of World.
func NormalCredential(c *Entity, issuers map[string]string) {
	if s := c.Text("issuer"); s != "" {
		for cluster, issuer := range issuers {
			if strings.TrimSuffix(issuer, "/") == strings.TrimSuffix(s, "/") {
				delete(c.Values, "issuer")
				c.Values["cluster"] = Ref{Kind: "cluster", Name: cluster, Line: c.Line}
			}
		}
	}
	if rest, ok := strings.CutPrefix(c.Text("subject"), "system:serviceaccount:"); ok && strings.Count(rest, ":") == 1 {
		account := strings.Replace(rest, ":", "/", 1)
		if serviceAccount.MatchString(account) {
			delete(c.Values, "subject")
			c.Values["serviceAccount"] = account
		}
	}
	if !c.Has("audiences") {
		c.Values["audiences"] = []string{DefaultAudience}
	}
}

// compare makes the item of an object.
func (m *planner) compare(want, have *Entity) *Item {
	i := &Item{Want: want, Have: have, fields: map[string]bool{}}
	if have != nil && have.Unmanaged != "" {
		m.problems.add(want.Line, "%s cannot be managed by a file: %s", describe(want), have.Unmanaged)
		return i
	}
	m.rules(want, have)
	for _, f := range want.Kind.Fields {
		if have == nil && f.Required && !want.Has(f.Name) {
			m.problems.add(want.Line, "%s is new and has no %s", describe(want), f.Name)
		}
		if !want.Has(f.Name) || f.OnCreate && have != nil || slices.Contains(keyFields[want.Kind.Section], f.Name) {
			continue
		}
		found := m.differences(f, want, have, f.Name)
		if len(found) == 0 {
			continue
		}
		if f.Fixed && have != nil {
			m.problems.add(want.at(f.Name), "%s of %s cannot be changed: it is %s", f.Name, describe(want), orNone(show(have.Values[f.Name])))
		}
		i.fields[f.Name] = true
		i.Changes = append(i.Changes, found...)
	}
	return i
}

// keyFields are the keys that make the name of an object.
var keyFields = map[string][]string{
	Users: {"userPrincipalName"}, Groups: {"displayName"}, Apps: {"displayName"}, ResourceGroups: {"name"},
	Identities: {"name", "resourceGroup"}, Clusters: {"name", "resourceGroup"}, RoleDefinitions: {"name"},
	RoleAssignments: {"principal", "role", "scope"}, DirectoryRoles: {"principal", "role"},
}

func orNone(s string) string {
	if s == "" {
		return "not set"
	}
	return s
}

// rules are those that need both sides.
func (m *planner) rules(want, have *Entity) {
	switch want.Kind.Section {
	case Groups:
		if want.Bool("isAssignableToRole", have.Bool("isAssignableToRole", false)) {
			for _, r := range want.Refs("members") {
				if r.Kind == "group" {
					m.problems.add(r.Line, "%s is assignable to roles: no group can be a member of it", describe(want))
				}
			}
		}
	case Apps:
		if have.Bool("servicePrincipal", false) && want.Has("servicePrincipal") && !want.Bool("servicePrincipal", true) {
			m.problems.add(want.at("servicePrincipal"), "%s has a service principal; it is not taken away by a file", describe(want))
		}
	case Clusters:
		if have.Bool("oidcIssuer", false) && !want.Bool("oidcIssuer", true) {
			m.problems.add(want.at("oidcIssuer"), "oidcIssuer of %s cannot be switched off", describe(want))
		}
		if id := want.Object("aad").Text("tenantID"); id != "" && strings.EqualFold(id, m.world.TenantID) {
			m.problems.add(want.Object("aad").at("tenantID"), "tenantID of %s is this tenant: leave it out", describe(want))
		}
		if want.Bool("disableLocalAccounts", false) && !want.Has("aad") && !have.Has("aad") {
			m.problems.add(want.at("disableLocalAccounts"), "disableLocalAccounts of %s needs aad", describe(want))
		}
	case DirectoryRoles:
		if r := want.Ref("principal"); r.Kind == "group" && !m.names.roleGroups[strings.ToLower(r.Name)] {
			m.problems.add(r.Line, "the group %s cannot be given a role of the directory: it was not made with isAssignableToRole: true", r.Name)
		}
	case RoleDefinitions:
		if have == nil && m.builtIn(want.Text("name")) {
			m.problems.add(want.Line, "%s is a built-in role: give yours another name", describe(want))
		}
	}
}

func (m *planner) builtIn(role string) bool {
	return slices.ContainsFunc(m.world.Roles, func(r string) bool { return strings.EqualFold(r, role) })
}

// differences compares one key.
func (m *planner) differences(f Field, want, have *Entity, path string) (list []Change) {
	set := func(from, to string) {
		if from != to {
			list = append(list, Change{Field: path, Op: "set", From: from, To: to})
		}
	}
	switch f.Type {
	case Text, Bool, Number:
		from, to := "", show(want.Values[f.Name])
		if have != nil {
			from = show(have.Values[f.Name])
		}
		switch {
		case f.Type == Bool && from == "" && have != nil && to == "false", f.Fold && strings.EqualFold(sameLocation(f, from), sameLocation(f, to)):
		default:
			set(from, to)
		}
	case RefOne:
		var from Ref
		if have != nil {
			from = have.Ref(f.Name)
		}
		if to := want.Ref(f.Name); from.key() != to.key() {
			set(refText(from), refText(to))
		}
	case Texts:
		list = sets(path, have.Texts(f.Name), want.Texts(f.Name), func(s string) string { return s }, func(s string) string { return s })
	case RefSet:
		list = sets(path, have.Refs(f.Name), want.Refs(f.Name), Ref.key, Ref.String)
	case TextMap:
		from, to := get[map[string]string](have, f.Name), get[map[string]string](want, f.Name)
		pairs := func(m map[string]string) []string {
			out := make([]string, 0, len(m))
			for _, k := range slices.Sorted(maps.Keys(m)) {
				out = append(out, k+"="+m[k])
			}
			return out
		}
		list = sets(path, pairs(from), pairs(to), func(s string) string { return s }, func(s string) string { return s })
	case Object:
		inner := want.Object(f.Name)
		for _, g := range f.Fields {
			if inner.Has(g.Name) {
				list = append(list, m.differences(g, inner, orEmpty(have.Object(f.Name), have), path+"."+g.Name)...)
			}
		}
		if have != nil && !have.Has(f.Name) && len(list) == 0 {
			set("", "enabled")
		}
	case List:
		list = m.lists(f, want.List(f.Name), have.List(f.Name), path)
	}
	return list
}

// orEmpty returns an object that has nothing where an object of the cloud lacks
// it, so that false is no change there; nil stays nil for a new object.
func orEmpty(inner, outer *Entity) *Entity {
	if inner == nil && outer != nil {
		return &Entity{}
	}
	return inner
}

func refText(r Ref) string {
	if r.Kind == "" {
		return ""
	}
	return r.String()
}

// sameLocation writes a region as Azure Resource Manager compares it.
func sameLocation(f Field, s string) string {
	if f.Name != "location" {
		return s
	}
	return strings.ToLower(strings.ReplaceAll(s, " ", ""))
}

// sets compares two sets.
func sets[T any](path string, have, want []T, key, text func(T) string) (list []Change) {
	in := func(all []T, one T) bool {
		return slices.ContainsFunc(all, func(o T) bool { return key(o) == key(one) })
	}
	for _, w := range want {
		if !in(have, w) {
			list = append(list, Change{Field: path, Op: "add", To: text(w)})
		}
	}
	for _, h := range have {
		if !in(want, h) {
			list = append(list, Change{Field: path, Op: "remove", From: text(h)})
		}
	}
	return list
}

// lists compares two lists of objects, which are told apart by their first key.
func (m *planner) lists(f Field, want, have []*Entity, path string) (list []Change) {
	key := f.Fields[0].Name
	find := func(all []*Entity, name string) *Entity {
		for _, e := range all {
			if strings.EqualFold(e.Text(key), name) {
				return e
			}
		}
		return nil
	}
	for _, w := range want {
		name := w.Text(key)
		h := find(have, name)
		if h == nil {
			list = append(list, Change{Field: path, Op: "add", To: name})
			continue
		}
		for _, g := range f.Fields[1:] {
			if w.Has(g.Name) || f.Name == "federatedCredentials" && h.Has(g.Name) {
				list = append(list, m.differences(g, w, h, path+"."+name+"."+g.Name)...)
			}
		}
	}
	for _, h := range have {
		if find(want, h.Text(key)) == nil {
			list = append(list, Change{Field: path, Op: "remove", From: h.Text(key)})
		}
	}
	return list
}

// show writes a value for people.
func show(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case int:
		return strconv.Itoa(v)
	case Ref:
		return refText(v)
	}
	return ""
}
