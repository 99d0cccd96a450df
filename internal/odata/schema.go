package odata

import (
	"fmt"
	"strings"
)

// Type is the primitive type of a property.
type Type uint8

const (
	String   Type = iota // a GUID is a String too
	Boolean              //
	Int                  // Edm.Int32 or Edm.Int64
	DateTime             // Edm.DateTimeOffset
	Complex              // an open object: its members are not checked
	Binary               // base64; can be selected, not compared
)

// String returns the type's name in OData.
func (t Type) String() string {
	return [...]string{"Edm.String", "Edm.Boolean", "Edm.Int64", "Edm.DateTimeOffset", "Edm.ComplexType", "Edm.Binary"}[t]
}

// Property is a property of a type.
type Property struct {
	Name       string
	Type       Type
	Collection bool
}

// Function is a boolean function that a service adds to $filter, such as
// atScope() and assignedTo('id') of Azure role assignments. Objects that are
// filtered by it implement [Caller].
type Function struct {
	Name string
	Args int // how many string literals it takes
}

// Schema describes the objects that a query is about. It is made once and may
// be shared.
type Schema struct {
	Name       string // microsoft.graph.user
	properties map[string]Property
	functions  map[string]Function
}

// NewSchema returns a schema with the given properties. Two that differ only
// in case are a mistake of the program, and it panics.
func NewSchema(name string, properties []Property, functions ...Function) *Schema {
	s := &Schema{Name: name, properties: map[string]Property{}, functions: map[string]Function{}}
	for _, p := range properties {
		if _, ok := s.properties[fold(p.Name)]; ok {
			panic("odata: " + name + " has two properties named " + p.Name)
		}
		s.properties[fold(p.Name)] = p
	}
	for _, f := range functions {
		s.functions[fold(f.Name)] = f
	}
	return s
}

// Lookup returns the property with the given name, in any case.
func (s *Schema) Lookup(name string) (Property, bool) {
	p, ok := s.properties[fold(name)]
	return p, ok
}

func (s *Schema) missing(name string) string {
	return fmt.Sprintf("Could not find a property named '%s' on type '%s'.", name, s.Name)
}

// fold is strings.ToLower, cheap for what is lower case already.
func fold(s string) string { return strings.ToLower(s) }

// Object is what a filter is evaluated over.
type Object interface {
	// Property returns the value of a property by the name that it has in the
	// schema: nil, bool, int64, float64, string, time.Time, an Object, or a
	// []string or []any of these.
	Property(name string) any
}

// Caller is an Object that knows the functions of its schema.
type Caller interface {
	Object
	Call(function string, args []string) bool
}

// Map is an Object made from decoded JSON. Names are found without case.
type Map map[string]any

// Property returns the member with the given name.
func (m Map) Property(name string) any {
	if v, ok := m[name]; ok {
		return normal(v)
	}
	for k, v := range m {
		if strings.EqualFold(k, name) {
			return normal(v)
		}
	}
	return nil
}

func normal(v any) any {
	switch v := v.(type) {
	case map[string]any:
		return Map(v)
	case int:
		return int64(v)
	}
	return v
}
