package tenantfile

import (
	"bytes"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

const header = `A tenant as a file. Apply it with: entrance apply -f FILE

Passwords and secrets are not in it. A user that does not exist yet gets the password that
passwordFrom names, or a generated one; an application gets its secrets from
'az ad app credential reset'. Nothing that this file does not name is deleted.`

// Marshal writes a world as a file: what a plan of that file on that world
// finds nothing to do for. What cannot be written is noted at its head.
func Marshal(w *World) ([]byte, error) {
	root := &yaml.Node{Kind: yaml.MappingNode}
	root.HeadComment = header
	if len(w.Notes) > 0 {
		root.HeadComment += "\n\nLeft out:\n  " + strings.Join(w.Notes, "\n  ")
	}
	put(root, "version", scalar(strconv.Itoa(Version), "!!int"))
	for _, k := range kinds {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		all := slices.Clone(w.Entities(k.Section))
		slices.SortStableFunc(all, func(a, b *Entity) int { return strings.Compare(a.key(), b.key()) })
		for _, e := range all {
			if e.Unmanaged == "" {
				list.Content = append(list.Content, object(e, k.Fields))
			}
		}
		if len(list.Content) > 0 {
			put(root, k.Section, list)
		}
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, err
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func put(m *yaml.Node, key string, value *yaml.Node) {
	m.Content = append(m.Content, scalar(key, "!!str"), value)
}

func scalar(value, tag string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
	if tag == "!!str" {
		n.SetString(value)
	}
	return n
}

func object(e *Entity, fields []Field) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields {
		if n := written(e.Values[f.Name], f); n != nil {
			put(m, f.Name, n)
		}
	}
	return m
}

// written writes a value, and nil where there is nothing to say.
func written(v any, f Field) *yaml.Node {
	list := &yaml.Node{Kind: yaml.SequenceNode}
	switch v := v.(type) {
	case string:
		if v != "" {
			return scalar(v, "!!str")
		}
	case bool:
		return scalar(strconv.FormatBool(v), "!!bool")
	case int:
		return scalar(strconv.Itoa(v), "!!int")
	case []string:
		for _, s := range v {
			list.Content = append(list.Content, scalar(s, "!!str"))
		}
	case map[string]string:
		if len(v) == 0 {
			return nil
		}
		m := &yaml.Node{Kind: yaml.MappingNode}
		for _, k := range slices.Sorted(maps.Keys(v)) {
			put(m, k, scalar(v[k], "!!str"))
		}
		return m
	case Ref:
		if v.Kind != "" {
			return reference(v, f)
		}
	case []Ref:
		refs := slices.Clone(v)
		slices.SortFunc(refs, func(a, b Ref) int { return strings.Compare(a.key(), b.key()) })
		for _, r := range refs {
			list.Content = append(list.Content, reference(r, f))
		}
	case *Entity:
		if v != nil {
			m := object(v, f.Fields)
			if len(m.Content) > 0 || f.Name == "aad" {
				return m
			}
		}
	case []*Entity:
		for _, e := range v {
			list.Content = append(list.Content, object(e, f.Fields))
		}
	}
	if len(list.Content) == 0 {
		return nil
	}
	return list
}

func reference(r Ref, f Field) *yaml.Node {
	if len(f.Kinds) == 1 {
		return scalar(r.Name, "!!str")
	}
	m := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	put(m, r.Kind, scalar(r.Name, "!!str"))
	if r.Namespace != "" {
		put(m, "namespace", scalar(r.Namespace, "!!str"))
	}
	return m
}
