package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Member is a name and a value of an Object.
type Member struct {
	Name  string
	Value any
}

// Object is a JSON object whose members keep their order.
type Object []Member

// Obj returns an Object of names and values in turn.
func Obj(pairs ...any) Object {
	o := make(Object, 0, len(pairs)/2)
	for i := 0; i+1 < len(pairs); i += 2 {
		o = append(o, Member{pairs[i].(string), pairs[i+1]})
	}
	return o
}

// With returns o with one more member.
func (o Object) With(name string, value any) Object { return append(o, Member{name, value}) }

// MarshalJSON writes the members in order.
func (o Object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := enc.Encode(m.Name); err != nil {
			return nil, err
		}
		b.Truncate(b.Len() - 1) // the newline that Encode adds
		b.WriteByte(':')
		if err := enc.Encode(m.Value); err != nil {
			return nil, fmt.Errorf("member %s: %w", m.Name, err)
		}
		b.Truncate(b.Len() - 1)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// maxDepth bounds the nesting of a body.
const maxDepth = 32

// Members is a decoded JSON object: its members' values, undecoded.
type Members map[string]json.RawMessage

// Get returns the member with the given name, in any case.
func (m Members) Get(name string) (json.RawMessage, bool) {
	if v, ok := m[name]; ok {
		return v, true
	}
	for k, v := range m {
		if strings.EqualFold(k, name) {
			return v, true
		}
	}
	return nil, false
}

// ParseBody decodes the JSON object of a request strictly: names that occur
// twice (in any case) at any depth, trailing data, invalid UTF-8 and deep
// nesting are refused, so that no two readers see different values.
func ParseBody(body []byte) (Members, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, Bad("A non-empty request body is required: the request needs a JSON object.")
	}
	if err := checkJSON(body); err != nil {
		return nil, Bad("Unable to read JSON request payload. Please ensure Content-Type header is set and payload is of valid JSON format. %s", err)
	}
	var m Members
	if err := json.Unmarshal(body, &m); err != nil || m == nil {
		return nil, Bad("Unable to read JSON request payload. A JSON object is expected.")
	}
	return m, nil
}

func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return errors.New("The text is not valid UTF-8.")
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := checkValue(dec, 0); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("There is data after the JSON value.")
	}
	return nil
}

func checkValue(dec *json.Decoder, depth int) error {
	if depth > maxDepth {
		return errors.New("The JSON is nested too deeply.")
	}
	t, err := dec.Token()
	if err != nil {
		return errors.New("The JSON is not well formed.")
	}
	d, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for dec.More() {
		if d == '{' {
			name, err := dec.Token()
			if err != nil {
				return errors.New("The JSON is not well formed.")
			}
			n, ok := name.(string)
			if !ok || seen[strings.ToLower(n)] {
				return fmt.Errorf("The member '%.100s' occurs twice.", n)
			}
			seen[strings.ToLower(n)] = true
		}
		if err := checkValue(dec, depth+1); err != nil {
			return err
		}
	}
	if _, err := dec.Token(); err != nil {
		return errors.New("The JSON is not well formed.")
	}
	return nil
}

// Fields decodes members into the given variables and refuses any other
// member, except annotations (names with an @). Those in required must be
// there.
func (m Members) Fields(into map[string]any, required ...string) error {
	for name, raw := range m {
		if strings.Contains(name, "@") {
			continue
		}
		var target any
		for n, v := range into {
			if strings.EqualFold(n, name) {
				target = v
			}
		}
		if target == nil {
			return Bad("Invalid property '%.100s'.", name)
		}
		if err := json.Unmarshal(raw, target); err != nil {
			return Bad("A value of an invalid type was specified for property '%.100s'.", name)
		}
	}
	for _, name := range required {
		if raw, ok := m.Get(name); !ok || string(raw) == "null" {
			return Bad("The required property '%s' is missing.", name)
		}
	}
	return nil
}
