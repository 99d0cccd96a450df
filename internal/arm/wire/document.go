package wire

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"
)

// Document is a resource as its client sent it. Members that nobody here knows
// survive; numbers keep their digits.
type Document map[string]any

// maxDepth bounds how deep a document nests.
const maxDepth = 32

// ParseDocument reads one JSON object and nothing after it.
func ParseDocument(raw []byte) (Document, error) {
	bad := func(why string) error {
		return Bad("InvalidRequestContent", "The request content was invalid and could not be deserialized: '%s'.", why)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, bad("it is not JSON")
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, bad("there is more than one value")
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, bad("it is not an object")
	}
	if deep(m, maxDepth) {
		return nil, bad("it nests too deep")
	}
	return m, nil
}

func deep(v any, left int) bool {
	if left == 0 {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		for _, e := range v {
			if deep(e, left-1) {
				return true
			}
		}
	case []any:
		for _, e := range v {
			if deep(e, left-1) {
				return true
			}
		}
	}
	return false
}

// JSON returns the document's text.
func (d Document) JSON() json.RawMessage {
	raw, err := json.Marshal(map[string]any(d))
	if err != nil {
		panic(err) // it was made from JSON
	}
	return raw
}

// Get returns the value at a path of members such as "properties.fqdn", and
// whether it is there and not null.
func (d Document) Get(path string) (any, bool) {
	var v any = map[string]any(d)
	for name := range strings.SplitSeq(path, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[name]; !ok || v == nil {
			return nil, false
		}
	}
	return v, true
}

// Text returns the string at a path, or "".
func (d Document) Text(path string) string {
	v, _ := d.Get(path)
	s, _ := v.(string)
	return s
}

// Bool returns the boolean at a path, or false.
func (d Document) Bool(path string) bool {
	v, _ := d.Get(path)
	b, _ := v.(bool)
	return b
}

// Int returns the whole number at a path, or 0.
func (d Document) Int(path string) int {
	v, _ := d.Get(path)
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return int(i)
}

// Object returns the object at a path, or nil.
func (d Document) Object(path string) Document {
	v, _ := d.Get(path)
	m, _ := v.(map[string]any)
	return m
}

// List returns the array at a path, or nil.
func (d Document) List(path string) []any {
	v, _ := d.Get(path)
	l, _ := v.([]any)
	return l
}

// Set puts a value at a path, and makes the objects on the way.
func (d Document) Set(path string, value any) {
	m := map[string]any(d)
	names := strings.Split(path, ".")
	for _, name := range names[:len(names)-1] {
		next, ok := m[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[name] = next
		}
		m = next
	}
	switch v := value.(type) {
	case Document:
		value = map[string]any(v)
	case []string:
		list := make([]any, len(v))
		for i := range v {
			list[i] = v[i]
		}
		value = list
	}
	m[names[len(names)-1]] = value
}

// Delete removes the member at a path.
func (d Document) Delete(path string) {
	m := d
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		m, path = d.Object(path[:i]), path[i+1:]
	}
	delete(m, path)
}

// Clone returns a copy that shares nothing with d.
func (d Document) Clone() Document {
	c, _ := clone(map[string]any(d)).(map[string]any)
	return c
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = clone(e)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, e := range v {
			l[i] = clone(e)
		}
		return l
	}
	return v
}

// Tags reads the tags of a document: names and texts, within ARM's limits.
func (d Document) Tags() (map[string]string, error) {
	v, ok := d["tags"]
	if !ok || v == nil {
		return nil, nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, Bad("InvalidRequestContent", "The tags are not an object.")
	}
	if len(m) > 50 {
		return nil, Bad("InvalidTagCount", "The number of tags is %d: a resource can have at most 50 tags.", len(m))
	}
	tags := make(map[string]string, len(m))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		s, ok := m[k].(string)
		if !ok && m[k] != nil {
			return nil, Bad("InvalidTagValue", "The value of the tag '%.100s' is not a text.", k)
		}
		if k == "" || len(k) > 512 || strings.ContainsAny(k, `<>%&\?/`) {
			return nil, Bad("InvalidTagNameCharacters", "The tag name '%.100s' is not valid: it has 1 to 512 characters, and none of <, >, %%, &, \\, ?, /.", k)
		}
		if len(s) > 256 {
			return nil, Bad("InvalidTagValueLength", "The value of the tag '%.100s' is longer than 256 characters.", k)
		}
		tags[k] = s
	}
	return tags, nil
}
