package conditionalaccess

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Bounds on documents: far above what the real service accepts in practice,
// far below what would hurt.
const (
	maxDocument = 256 << 10
	maxDepth    = 16
	maxStrings  = 2000
	maxName     = 256
)

// object reads the members of one JSON object by name and remembers which were
// read. The first error sticks and names the property by its path.
type object struct {
	path    string
	members map[string]json.RawMessage
	read    map[string]bool
	err     *error
}

// readDocument opens a document: one JSON object of bounded size and depth,
// without repeated members, since two parsers may disagree on which counts.
func readDocument(raw []byte) (*object, error) {
	if len(raw) > maxDocument {
		return nil, errs.New(errs.Invalid, "The document is larger than %d bytes.", maxDocument)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := checkValue(dec, 0); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errs.New(errs.Invalid, "The document is followed by more data.")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, errs.New(errs.Invalid, "The document is not a JSON object.")
	}
	return &object{members: members, read: map[string]bool{}, err: new(error)}, nil
}

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errs.New(errs.Invalid, "The document is nested deeper than %d levels.", maxDepth)
	}
	tok, err := dec.Token()
	if err != nil {
		return errs.New(errs.Invalid, "The document is not valid JSON.")
	}
	delim, ok := tok.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if delim == '{' {
			tok, err := dec.Token()
			if err != nil {
				return errs.New(errs.Invalid, "The document is not valid JSON.")
			}
			name, _ := tok.(string)
			if seen[name] {
				return errs.New(errs.Invalid, "Property %s appears twice.", clip(name))
			}
			seen[name] = true
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errs.New(errs.Invalid, "The document is not valid JSON.")
	}
	return nil
}

// clip shortens a client's text for an error message.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}

func (o *object) name(member string) string {
	if o.path == "" {
		return member
	}
	return o.path + "." + member
}

func (o *object) fail(member, format string, args ...any) {
	if *o.err == nil {
		*o.err = errs.New(errs.Invalid, "Property "+o.name(member)+" "+format, args...)
	}
}

// raw returns a member, or nil if it is absent or null.
func (o *object) raw(member string) json.RawMessage {
	o.read[member] = true
	v := o.members[member]
	if len(v) == 0 || string(v) == "null" {
		return nil
	}
	return v
}

func (o *object) str(member string) string {
	v := o.raw(member)
	if v == nil {
		return ""
	}
	var s string
	if json.Unmarshal(v, &s) != nil {
		o.fail(member, "must be a string.")
	}
	return s
}

func (o *object) boolean(member string) bool {
	v := o.raw(member)
	if v == nil {
		return false
	}
	var b bool
	if json.Unmarshal(v, &b) != nil {
		o.fail(member, "must be true or false.")
	}
	return b
}

func (o *object) integer(member string) int {
	v := o.raw(member)
	if v == nil {
		return 0
	}
	var n int
	if json.Unmarshal(v, &n) != nil {
		o.fail(member, "must be a whole number.")
	}
	return n
}

func (o *object) strs(member string) []string {
	v := o.raw(member)
	if v == nil {
		return nil
	}
	var list []any
	if json.Unmarshal(v, &list) != nil {
		o.fail(member, "must be a list of strings.")
		return nil
	}
	if len(list) > maxStrings {
		o.fail(member, "has more than %d entries.", maxStrings)
		return nil
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			o.fail(member, "must be a list of strings.")
			return nil
		}
		out = append(out, s)
	}
	return out
}

// enum reads a string that must be one of allowed, or absent.
func (o *object) enum(member string, allowed ...string) string {
	s := o.str(member)
	if s == "" && o.raw(member) == nil {
		return ""
	}
	for _, a := range allowed {
		if s == a {
			return s
		}
	}
	o.fail(member, "has the unknown value %q; known are %s.", clip(s), strings.Join(allowed, ", "))
	return ""
}

// words reads a list of well-known words and, if ids is true, GUIDs. GUIDs come
// back in lower case.
func (o *object) words(member string, ids bool, known ...string) []string {
	in := o.strs(member)
	out := make([]string, 0, len(in))
next:
	for _, s := range in {
		for _, k := range known {
			if s == k {
				out = append(out, s)
				continue next
			}
		}
		if ids {
			if g, ok := directory.ParseGUID(s); ok {
				out = append(out, g)
				continue
			}
			if len(known) == 0 {
				o.fail(member, "has the value %q, which is not an id.", clip(s))
			} else {
				o.fail(member, "has the value %q, which is neither an id nor one of %s.", clip(s), strings.Join(known, ", "))
			}
			return nil
		}
		o.fail(member, "has the unknown value %q; known are %s.", clip(s), strings.Join(known, ", "))
		return nil
	}
	return out
}

// guids reads a list of ids.
func (o *object) guids(member string) []string { return o.words(member, true) }

// flags reads Graph's multi-valued enumerations, which are one string with
// commas. A list of strings is accepted too, as some clients send one.
func (o *object) flags(member string, known ...string) []string {
	v := o.raw(member)
	if v == nil {
		return nil
	}
	var parts []string
	if v[0] == '[' {
		parts = o.strs(member)
	} else {
		s := o.str(member)
		if s == "" {
			return nil
		}
		parts = strings.Split(s, ",")
	}
	var out []string
next:
	for _, p := range parts {
		p = strings.TrimSpace(p)
		for _, k := range known {
			if p == k {
				out = append(out, p)
				continue next
			}
		}
		o.fail(member, "has the unknown value %q; known are %s.", clip(p), strings.Join(known, ", "))
		return nil
	}
	return out
}

// child opens a member that is an object, or returns nil if it is absent.
func (o *object) child(member string) *object {
	v := o.raw(member)
	if v == nil {
		return nil
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(v, &members) != nil || members == nil {
		o.fail(member, "must be an object.")
		return nil
	}
	return &object{path: o.name(member), members: members, read: map[string]bool{}, err: o.err}
}

// children opens a member that is a list of objects.
func (o *object) children(member string) []*object {
	v := o.raw(member)
	if v == nil {
		return nil
	}
	var list []map[string]json.RawMessage
	if json.Unmarshal(v, &list) != nil {
		o.fail(member, "must be a list of objects.")
		return nil
	}
	if len(list) > maxStrings {
		o.fail(member, "has more than %d entries.", maxStrings)
		return nil
	}
	out := make([]*object, 0, len(list))
	for _, m := range list {
		if m == nil {
			o.fail(member, "must be a list of objects.")
			return nil
		}
		out = append(out, &object{path: o.name(member), members: m, read: map[string]bool{}, err: o.err})
	}
	return out
}

// refuse fails if a member that cannot be evaluated carries a value.
func (o *object) refuse(members ...string) {
	for _, m := range members {
		o.read[m] = true
		if carriesValue(o.members[m]) {
			o.fail(m, "cannot be evaluated here, so a policy must not use it.")
		}
	}
}

// closed fails if a member was never read and carries a value. It guards the
// objects whose every member changes the decision; OData annotations do not.
func (o *object) closed() {
	unknown := ""
	for m, v := range o.members {
		if o.read[m] || strings.Contains(m, "@odata.") || !carriesValue(v) {
			continue
		}
		if unknown == "" || m < unknown {
			unknown = m // the same message each time, whatever the map's order
		}
	}
	if unknown != "" {
		o.fail(clip(unknown), "is not known, so what it asks for cannot be evaluated.")
	}
}

// carriesValue tells whether a member asks for something: absent, null, empty
// and false do not.
func carriesValue(v json.RawMessage) bool {
	if len(v) == 0 {
		return false
	}
	var x any
	if json.Unmarshal(v, &x) != nil {
		return true
	}
	switch x := x.(type) {
	case nil:
		return false
	case bool:
		return x
	case string:
		return x != ""
	case []any:
		return len(x) > 0
	case map[string]any:
		return len(x) > 0
	}
	return true
}
