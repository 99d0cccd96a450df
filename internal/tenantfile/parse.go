package tenantfile

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// Version is the version of the format.
const Version = 1

// Bounds of a file: its size, and the length of one text. The longest text is
// a condition.
const (
	MaxSize = 4 << 20
	maxText = 16 << 10
)

// Parse reads a file. The error is a *Problems that holds everything that is
// wrong with the file by itself; what its names refer to is for MakePlan.
func Parse(name string, data []byte) (*File, error) {
	p := &parser{problems: &Problems{File: name}}
	f := p.file(data)
	if err := p.problems.err(); err != nil {
		return nil, err
	}
	return f, nil
}

type parser struct{ problems *Problems }

func (p *parser) fail(n *yaml.Node, format string, args ...any) {
	line := 0
	if n != nil {
		line = n.Line
	}
	p.problems.add(line, format, args...)
}

// syntax finds the line in the messages of the YAML library.
var syntax = regexp.MustCompile(`line (\d+)`)

func (p *parser) file(data []byte) *File {
	f := &File{entities: map[string][]*Entity{}}
	switch {
	case len(data) > MaxSize:
		p.fail(nil, "the file is larger than %d MiB", MaxSize>>20)
		return f
	case !utf8.Valid(data):
		p.fail(nil, "the file is not UTF-8")
		return f
	}
	dec := yaml.NewDecoder(strings.NewReader(string(data)))
	var doc, more yaml.Node
	if err := dec.Decode(&doc); err != nil {
		line := 0
		if m := syntax.FindStringSubmatch(err.Error()); m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		if strings.Contains(err.Error(), "EOF") {
			p.problems.add(0, "the file is empty")
		} else {
			p.problems.add(line, "this is not YAML: %s", strings.ReplaceAll(err.Error(), "\n", " "))
		}
		return f
	}
	if err := dec.Decode(&more); err == nil {
		p.fail(&more, "the file holds more than one document")
		return f
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		p.fail(&doc, "a tenant file is a mapping with the keys %s", strings.Join(sections(), ", "))
		return f
	}
	root := doc.Content[0]
	versioned := false
	p.mapping(root, "the file", func(key, value *yaml.Node) {
		if key.Value == "version" {
			versioned = true
			if value.Kind != yaml.ScalarNode || value.Value != strconv.Itoa(Version) {
				p.fail(value, "the version of the format is %d", Version)
			}
			return
		}
		k, ok := KindOf(key.Value)
		if !ok {
			p.fail(key, "unknown key %q in the file; it has version, %s", key.Value, strings.Join(sections(), ", "))
			return
		}
		if value.Kind != yaml.SequenceNode {
			p.fail(value, "%s is a list", key.Value)
			return
		}
		for _, item := range value.Content {
			if e := p.entity(item, k.Name, k.Fields); e != nil {
				e.Kind = k
				f.entities[k.Section] = append(f.entities[k.Section], e)
			}
		}
	})
	if !versioned {
		p.fail(root, "the key version is missing; write: version: %d", Version)
	}
	if len(p.problems.List) == 0 {
		check(f, p.problems)
	}
	return f
}

func sections() []string {
	list := make([]string, len(kinds))
	for i, k := range kinds {
		list[i] = k.Section
	}
	return list
}

// mapping calls each for every key of a mapping, and refuses what YAML allows
// and a tenant file has no use for.
func (p *parser) mapping(n *yaml.Node, what string, each func(key, value *yaml.Node)) bool {
	if n.Kind != yaml.MappingNode {
		p.fail(n, "%s is a mapping of keys to values", what)
		return false
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind != yaml.ScalarNode:
			p.fail(key, "a key of %s is not a text", what)
		case seen[key.Value] > 0:
			p.fail(key, "the key %q of %s occurs twice; the first is on line %d", key.Value, what, seen[key.Value])
		case value.Kind == yaml.AliasNode:
			p.fail(value, "aliases (*%.50s) are not allowed: write the value out", value.Value)
		case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
			p.fail(key, "%s of %s has no value; leave the key out to leave it as it is", key.Value, what)
		default:
			seen[key.Value] = key.Line
			each(key, value)
			continue
		}
	}
	return true
}

// entity reads an object with the given fields.
func (p *parser) entity(n *yaml.Node, what string, fields []Field) *Entity {
	e := &Entity{Line: n.Line, Values: map[string]any{}, lines: map[string]int{}}
	ok := p.mapping(n, what, func(key, value *yaml.Node) {
		f, known := field(fields, key.Value)
		if !known {
			p.fail(key, "unknown key %q in %s; it has %s", key.Value, what, fieldNames(fields))
			return
		}
		if v := p.value(value, f, what); v != nil {
			e.Values[f.Name], e.lines[f.Name] = v, key.Line
		}
	})
	if !ok {
		return nil
	}
	return e
}

func fieldNames(fields []Field) string {
	list := make([]string, len(fields))
	for i, f := range fields {
		list[i] = f.Name
	}
	return strings.Join(list, ", ")
}

// value reads the value of a key, nil if there is something wrong with it.
func (p *parser) value(n *yaml.Node, f *Field, what string) any {
	at := f.Name + " of " + what
	switch f.Type {
	case Text:
		if s, ok := p.text(n, at); ok && p.allowed(n, f, at, s) {
			return s
		}
	case Bool:
		if n.Kind == yaml.ScalarNode && n.Tag == "!!bool" {
			return strings.EqualFold(n.Value, "true")
		}
		p.fail(n, "%s is true or false", at)
	case Number:
		if i, err := strconv.Atoi(n.Value); n.Kind == yaml.ScalarNode && n.Tag == "!!int" && err == nil && i >= 0 {
			return i
		}
		p.fail(n, "%s is a number", at)
	case Texts:
		return p.texts(n, f, at)
	case TextMap:
		m := map[string]string{}
		p.mapping(n, at, func(key, value *yaml.Node) {
			if s, ok := p.text(value, key.Value+" of "+at); ok {
				m[key.Value] = s
			}
		})
		return m
	case RefOne:
		if r, ok := p.ref(n, f, at); ok {
			return r
		}
	case RefSet:
		refs := []Ref{}
		p.items(n, at, func(item *yaml.Node) {
			if r, ok := p.ref(item, f, "an element of "+at); ok {
				refs = append(refs, r)
			}
		})
		return refs
	case Object:
		if e := p.entity(n, at, f.Fields); e != nil {
			return e
		}
	case List:
		list := []*Entity{}
		p.items(n, at, func(item *yaml.Node) {
			if e := p.entity(item, "an element of "+at, f.Fields); e != nil {
				list = append(list, e)
			}
		})
		return list
	}
	return nil
}

func (p *parser) items(n *yaml.Node, at string, each func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		p.fail(n, "%s is a list", at)
		return
	}
	for _, item := range n.Content {
		if item.Kind == yaml.AliasNode {
			p.fail(item, "aliases (*%.50s) are not allowed: write the value out", item.Value)
			continue
		}
		each(item)
	}
}

func (p *parser) texts(n *yaml.Node, f *Field, at string) any {
	list := []string{}
	seen := map[string]bool{}
	p.items(n, at, func(item *yaml.Node) {
		s, ok := p.text(item, "an element of "+at)
		switch {
		case !ok || !p.allowed(item, f, at, s):
		case seen[s]:
			p.fail(item, "%s has %q twice", at, s)
		default:
			seen[s] = true
			list = append(list, s)
		}
	})
	return list
}

func (p *parser) allowed(n *yaml.Node, f *Field, at, s string) bool {
	if len(f.Values) == 0 {
		return true
	}
	for _, v := range f.Values {
		if v == s {
			return true
		}
	}
	p.fail(n, "%s is %s, not %q", at, strings.Join(f.Values, " or "), s)
	return false
}

func (p *parser) text(n *yaml.Node, at string) (string, bool) {
	switch {
	case n.Kind != yaml.ScalarNode:
		p.fail(n, "%s is a text", at)
	case n.Tag != "!!str":
		p.fail(n, "%s is a text; write it in quotes: %q", at, n.Value)
	case strings.TrimSpace(n.Value) == "":
		p.fail(n, "%s is empty", at)
	case len(n.Value) > maxText:
		p.fail(n, "%s is longer than %d characters", at, maxText)
	default:
		return n.Value, true
	}
	return "", false
}

// ref reads a reference: a name where only one kind can be meant, and else a
// mapping of the kind to the name.
func (p *parser) ref(n *yaml.Node, f *Field, at string) (Ref, bool) {
	if len(f.Kinds) == 1 {
		s, ok := p.text(n, at)
		return Ref{Kind: f.Kinds[0], Name: s, Line: n.Line}, ok
	}
	r := Ref{Line: n.Line}
	before := len(p.problems.List)
	if !p.mapping(n, at, func(key, value *yaml.Node) {
		s, ok := p.text(value, key.Value+" of "+at)
		known := false
		for _, k := range f.Kinds {
			known = known || k == key.Value
		}
		switch {
		case !ok:
		case key.Value == "namespace":
			r.Namespace = s
		case !known:
			p.fail(key, "unknown key %q in %s; it is one of %s", key.Value, at, strings.Join(f.Kinds, ", "))
		case r.Kind != "":
			p.fail(key, "%s names both a %s and a %s: it is one of them", at, r.Kind, key.Value)
		default:
			r.Kind, r.Name = key.Value, s
		}
	}) || len(p.problems.List) > before {
		return r, false
	}
	switch {
	case r.Kind == "":
		p.fail(n, "%s names nothing: it is one of %s", at, strings.Join(f.Kinds, ", "))
	case r.Namespace != "" && r.Kind != "cluster":
		p.fail(n, "%s: only a cluster has a namespace", at)
	default:
		return r, true
	}
	return r, false
}

// at is the line of a key, or that of the object.
func (e *Entity) at(name string) int {
	if l := e.lines[name]; l > 0 {
		return l
	}
	return e.Line
}

func describe(e *Entity) string { return fmt.Sprintf("%s %q", e.Kind.Name, e.Name()) }
