// Package shape makes of what Microsoft's Go clients return what az prints: the
// properties of a resource beside its name, and az's spelling of their names.
//
// az gets its names from the Python clients, which turn enableRBAC into
// enable_rbac, and from there into enableRbac. The same rule is applied here,
// to names of properties only: keys that people choose, such as tags, stay.
package shape

import (
	"encoding/json"
	"regexp"
	"strings"
	"time"
	"unicode"
)

// chosen are properties whose keys people or other services choose.
var chosen = map[string]bool{
	"tags": true, "nodeLabels": true, "config": true, "addonProfiles": true, "identityProfile": true, "userAssignedIdentities": true, "addons": true,
}

// Resource returns what az prints of a resource: its properties are beside its
// name.
func Resource(v any) (map[string]any, error) {
	m, err := object(v)
	if err != nil {
		return nil, err
	}
	out := named(m).(map[string]any)
	if p, ok := out["properties"].(map[string]any); ok {
		delete(out, "properties")
		for k, v := range p {
			if _, there := out[k]; there && k == "type" {
				k = "typePropertiesType" // what the Python clients call the type inside
			} else if there {
				continue
			}
			out[k] = v
		}
	}
	groups(out)
	return out, nil
}

// Nested is Resource for the types whose properties az leaves where they are.
func Nested(v any) (map[string]any, error) {
	m, err := object(v)
	if err != nil {
		return nil, err
	}
	out := named(m).(map[string]any)
	groups(out)
	return out, nil
}

// List applies f to each element.
func List[T any](list []T, f func(any) (map[string]any, error)) ([]map[string]any, error) {
	out := make([]map[string]any, 0, len(list))
	for _, e := range list {
		m, err := f(e)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func object(v any) (map[string]any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	err = json.Unmarshal(raw, &m)
	return m, err
}

// named spells the names of all properties in v.
func named(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = named(v[i])
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if inner, ok := e.(map[string]any); ok && chosen[k] {
				for name := range inner {
					inner[name] = named(inner[name])
				}
				out[Name(k)] = inner
				continue
			}
			if text, ok := e.(string); ok && (strings.HasSuffix(k, "On") || strings.HasSuffix(k, "At")) {
				e = moment(text)
			}
			out[Name(k)] = named(e)
		}
		return out
	}
	return v
}

// Name spells the name of a property as az does: of letters that are large in a
// row only the first of each word stays so. In IDs it is I and Ds that are
// words, to az.
func Name(s string) string {
	var b strings.Builder
	r := []rune(s)
	for i, c := range r {
		if i > 0 && unicode.IsUpper(c) && unicode.IsUpper(r[i-1]) && (i+1 == len(r) || !unicode.IsLower(r[i+1])) {
			c = unicode.ToLower(c)
		}
		b.WriteRune(c)
	}
	return b.String()
}

// moment writes a time as Python does, and leaves everything else as it is.
func moment(text string) string {
	t, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil:
		return text
	case t.Nanosecond()/1000 == 0:
		return t.Format("2006-01-02T15:04:05-07:00")
	}
	return t.Format("2006-01-02T15:04:05.000000-07:00")
}

// inGroup finds the resource group in the id of a resource.
var inGroup = regexp.MustCompile(`(?i)^/subscriptions/[^/]+/resourceGroups/([^/]+)/providers/`)

// groups adds the name of the resource group to everything that has the id of a
// resource in one, as az does.
func groups(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			groups(e)
		}
	case map[string]any:
		if id, ok := v["id"].(string); ok && v["resourceGroup"] == nil {
			if m := inGroup.FindStringSubmatch(id); m != nil {
				v["resourceGroup"] = m[1]
			}
		}
		for _, e := range v {
			groups(e)
		}
	}
}
