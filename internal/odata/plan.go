package odata

import "time"

// Constraint is a condition that every match of a filter meets: the property
// equals one of Values, or starts with one of them (Prefix). Of a collection,
// one element does.
type Constraint struct {
	Property string // as the schema names it
	Prefix   bool
	Values   []string // in lower case
}

// Constraints returns the conditions on text properties that must hold for
// every match, in the order of the expression.
func (f *Filter) Constraints() []Constraint {
	if f == nil {
		return nil
	}
	if l, ok := f.root.(*logic); ok && l.op == "and" {
		return conjuncts(l, nil)
	}
	if c, ok := constraint(f.root); ok {
		return []Constraint{c}
	}
	return nil
}

func conjuncts(l *logic, into []Constraint) []Constraint {
	for _, t := range l.terms {
		if nested, ok := t.(*logic); ok && nested.op == "and" {
			into = conjuncts(nested, into)
		} else if c, ok := constraint(t); ok {
			into = append(into, c)
		}
	}
	return into
}

func constraint(n node) (Constraint, bool) {
	switch n := n.(type) {
	case *compare:
		if n.op == "eq" {
			return simple(n.left, n.right, false)
		}
	case *call:
		if n.fn == "startswith" {
			return simple(n.args[0], n.args[1], true)
		}
	case *in:
		var all Constraint
		for i, c := range n.list {
			one, ok := simple(n.left, c.right, false)
			if !ok {
				return Constraint{}, false
			}
			if i == 0 {
				all = one
			} else {
				all.Values = append(all.Values, one.Values...)
			}
		}
		return all, true
	case *logic:
		return alternatives(n)
	case *lambda:
		// any(x:x eq 'v') on a collection of text
		c, ok := n.body.(*compare)
		if !ok || n.all || c.op != "eq" || !n.path.typed {
			break
		}
		v, ok := c.left.(*path)
		if !ok || v.variable != n.slot || len(v.segments) != 0 {
			break
		}
		if l, ok := c.right.(*literal); ok {
			if s, ok := l.value.(string); ok {
				return Constraint{Property: n.path.prop.Name, Values: []string{fold(s)}}, true
			}
		}
	}
	return Constraint{}, false
}

// alternatives merges an or over one property.
func alternatives(n *logic) (Constraint, bool) {
	if n.op != "or" {
		return Constraint{}, false
	}
	var all Constraint
	for i, t := range n.terms {
		c, ok := constraint(t)
		switch {
		case !ok:
			return Constraint{}, false
		case i == 0:
			all = c
		case c.Property != all.Property || c.Prefix != all.Prefix:
			return Constraint{}, false
		default:
			all.Values = append(all.Values, c.Values...)
		}
	}
	return all, true
}

func simple(left, right node, prefix bool) (Constraint, bool) {
	if _, ok := left.(*literal); ok && !prefix {
		left, right = right, left
	}
	p, ok := left.(*path)
	if !ok || !p.typed || p.variable >= 0 || len(p.segments) != 1 {
		return Constraint{}, false
	}
	l, ok := right.(*literal)
	if !ok {
		return Constraint{}, false
	}
	s, ok := l.value.(string)
	if !ok {
		return Constraint{}, false
	}
	return Constraint{Property: p.prop.Name, Prefix: prefix, Values: []string{fold(s)}}, true
}

// Since returns the latest time that a date property of every match reaches:
// for "createdDateTime ge 2024-05-01 and ..." that day. Zero: any time.
func (f *Filter) Since(property string) time.Time {
	if f == nil {
		return time.Time{}
	}
	return since(f.root, property)
}

func since(n node, property string) (at time.Time) {
	switch n := n.(type) {
	case *logic:
		if n.op != "and" {
			break
		}
		for _, t := range n.terms {
			if s := since(t, property); s.After(at) {
				at = s
			}
		}
	case *compare:
		p, ok := n.left.(*path)
		l, isLiteral := n.right.(*literal)
		if ok && isLiteral && p.variable < 0 && len(p.segments) == 1 && p.segments[0] == property && (n.op == "ge" || n.op == "gt" || n.op == "eq") {
			at, _ = l.value.(time.Time)
		}
	}
	return at
}
