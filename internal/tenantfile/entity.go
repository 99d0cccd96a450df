package tenantfile

import (
	"fmt"
	"slices"
	"strings"
)

// Entity is an object: of a file, or of a cloud.
type Entity struct {
	Kind   *Kind // nil inside of another object
	Line   int   // in the file, 0 in a cloud
	Values map[string]any
	lines  map[string]int // of the keys

	// ID, Principal and Document are a cloud's: the id of the object, that of
	// its service principal where it has one of its own, and the resource as it
	// was read.
	ID, Principal string
	Document      map[string]any
	// Unmanaged says why a file cannot describe the object, which is then left
	// out of exports and refused in files.
	Unmanaged string
}

// Ref names an object.
type Ref struct {
	Kind      string // such as "user"
	Name      string
	Namespace string // of a cluster
	Line      int
}

// String returns the reference for people.
func (r Ref) String() string {
	if r.Namespace != "" {
		return fmt.Sprintf("%s %s namespace %s", r.Kind, r.Name, r.Namespace)
	}
	return r.Kind + " " + r.Name
}

// key tells references apart.
func (r Ref) key() string {
	return r.Kind + "\x00" + strings.ToLower(r.Name) + "\x00" + r.Namespace
}

// Text returns a text, or "".
func (e *Entity) Text(name string) string { return get[string](e, name) }

// Ref returns a reference, or none.
func (e *Entity) Ref(name string) Ref { return get[Ref](e, name) }

// Refs returns a set of references.
func (e *Entity) Refs(name string) []Ref { return get[[]Ref](e, name) }

// Texts returns a set of texts.
func (e *Entity) Texts(name string) []string { return get[[]string](e, name) }

// Object returns an object, or nil.
func (e *Entity) Object(name string) *Entity { return get[*Entity](e, name) }

// List returns a list of objects.
func (e *Entity) List(name string) []*Entity { return get[[]*Entity](e, name) }

// Bool returns a truth value, otherwise where it is not given.
func (e *Entity) Bool(name string, otherwise bool) bool {
	if e.Has(name) {
		return get[bool](e, name)
	}
	return otherwise
}

// Has reports whether a key is given.
func (e *Entity) Has(name string) bool {
	if e == nil {
		return false
	}
	_, ok := e.Values[name]
	return ok
}

func get[T any](e *Entity, name string) (v T) {
	if e != nil {
		v, _ = e.Values[name].(T)
	}
	return v
}

// Name is what the object is called: a user principal name, a display name,
// group/name of a resource, or the sentence that is a role assignment.
func (e *Entity) Name() string {
	switch e.Kind.Section {
	case Users:
		return e.Text("userPrincipalName")
	case Groups, Apps:
		return e.Text("displayName")
	case Identities, Clusters:
		return e.Ref("resourceGroup").Name + "/" + e.Text("name")
	case RoleAssignments:
		return fmt.Sprintf("%s is %s at %s", e.Ref("principal"), e.Ref("role").Name, e.Ref("scope"))
	case DirectoryRoles:
		return fmt.Sprintf("%s is %s of the directory", e.Ref("principal"), e.Ref("role").Name)
	}
	return e.Text("name")
}

// key tells objects of one kind apart.
func (e *Entity) key() string {
	if e.Kind.Section == RoleAssignments || e.Kind.Section == DirectoryRoles {
		return e.Ref("principal").key() + "\x00" + e.Ref("role").key() + "\x00" + e.Ref("scope").key()
	}
	return strings.ToLower(e.Name())
}

// File is a tenant as a file, or as a cloud holds it.
type File struct {
	entities map[string][]*Entity
}

// Entities returns the objects of a section in the order of the file.
func (f *File) Entities(section string) []*Entity { return f.entities[section] }

// Add adds an object to the section of its kind.
func (f *File) Add(e *Entity) {
	if f.entities == nil {
		f.entities = map[string][]*Entity{}
	}
	f.entities[e.Kind.Section] = append(f.entities[e.Kind.Section], e)
}

// New returns an object of a section's kind. It panics if there is no such
// section.
func New(section string, values map[string]any) *Entity {
	k, ok := KindOf(section)
	if !ok {
		panic("tenantfile: no section " + section)
	}
	return &Entity{Kind: k, Values: values}
}

// Problem is something that is wrong with a file.
type Problem struct {
	Line int // 0 if it has no line
	Text string
}

// Problems are everything that is wrong with a file, in the order of its lines.
type Problems struct {
	File string
	List []Problem
}

// Error returns a line for each problem, as compilers write them.
func (p *Problems) Error() string {
	lines := make([]string, 0, len(p.List))
	for _, q := range p.List {
		if q.Line > 0 {
			lines = append(lines, fmt.Sprintf("%s:%d: %s", p.File, q.Line, q.Text))
		} else {
			lines = append(lines, fmt.Sprintf("%s: %s", p.File, q.Text))
		}
	}
	return strings.Join(lines, "\n")
}

func (p *Problems) add(line int, format string, args ...any) {
	p.List = append(p.List, Problem{line, fmt.Sprintf(format, args...)})
}

// err returns the problems as an error, and nil if there are none.
func (p *Problems) err() error {
	if len(p.List) == 0 {
		return nil
	}
	slices.SortStableFunc(p.List, func(a, b Problem) int { return a.Line - b.Line })
	return p
}
