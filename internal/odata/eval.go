package odata

import (
	"slices"
	"strings"
	"time"
)

// Budget is the number of evaluation steps that one request may still take.
type Budget struct{ Left int }

// Match reports whether o satisfies the filter. A nil filter matches all. It
// returns ErrTooCostly when the budget is used up.
func (f *Filter) Match(o Object, b *Budget) (bool, error) {
	if f == nil {
		return true, nil
	}
	e := env{object: o, budget: b}
	v := f.root.eval(&e)
	if b.Left < 0 {
		return false, ErrTooCostly
	}
	return v == true, nil
}

// env is one evaluation. Once its budget is below zero results have no
// meaning; every loop stops there.
type env struct {
	object Object
	budget *Budget
	vars   []any
}

func (e *env) spent() bool {
	e.budget.Left--
	return e.budget.Left < 0
}

type node interface {
	eval(*env) any
	// kind returns the type of the result, if it is known before evaluation.
	kind() (Type, bool)
	print(*strings.Builder)
}

type literal struct{ value any }

func (l *literal) eval(*env) any { return l.value }
func (l *literal) kind() (Type, bool) {
	switch l.value.(type) {
	case string:
		return String, true
	case bool:
		return Boolean, true
	case int64:
		return Int, true
	case time.Time:
		return DateTime, true
	}
	return 0, false
}
func (l *literal) print(b *strings.Builder) { printLiteral(b, l.value) }

// path is a property of the object, or of a lambda's variable.
type path struct {
	variable int // slot of the lambda variable it starts at, or -1
	segments []string
	prop     Property
	typed    bool // prop is what the path denotes
}

func (p *path) eval(e *env) any {
	if e.spent() {
		return nil
	}
	var v any = e.object
	if p.variable >= 0 {
		v = e.vars[p.variable]
	}
	for _, s := range p.segments {
		o, ok := v.(Object)
		if !ok {
			return nil
		}
		v = o.Property(s)
	}
	return v
}

func (p *path) kind() (Type, bool) { return p.prop.Type, p.typed && p.prop.Type != Complex }

func (p *path) print(b *strings.Builder) {
	if p.variable >= 0 {
		b.WriteString(variableName(p.variable))
		if len(p.segments) > 0 {
			b.WriteByte('/')
		}
	}
	b.WriteString(strings.Join(p.segments, "/"))
}

// variableName gives lambda variables one name each in the canonical spelling.
func variableName(slot int) string { return "_" + string(rune('a'+slot)) }

type not struct{ term node }

func (n *not) eval(e *env) any    { return n.term.eval(e) != true }
func (n *not) kind() (Type, bool) { return Boolean, true }
func (n *not) print(b *strings.Builder) {
	b.WriteString("not (")
	n.term.print(b)
	b.WriteByte(')')
}

type logic struct {
	op    string
	terms []node
}

func (l *logic) eval(e *env) any {
	for _, t := range l.terms {
		if e.budget.Left < 0 {
			return false
		}
		if (t.eval(e) == true) == (l.op == "or") {
			return l.op == "or"
		}
	}
	return l.op == "and"
}
func (l *logic) kind() (Type, bool) { return Boolean, true }
func (l *logic) print(b *strings.Builder) {
	for i, t := range l.terms {
		if i > 0 {
			b.WriteString(" " + l.op + " ")
		}
		if _, nested := t.(*logic); nested {
			b.WriteByte('(')
			t.print(b)
			b.WriteByte(')')
		} else {
			t.print(b)
		}
	}
}

type compare struct {
	op          string
	left, right node
}

func newCompare(op string, left, right node) *compare { return &compare{op, left, right} }

func (c *compare) eval(e *env) any {
	if e.spent() {
		return false
	}
	l, r := c.left.eval(e), c.right.eval(e)
	switch c.op {
	case "eq":
		return equal(l, r)
	case "ne":
		return !equal(l, r)
	}
	n, ok := order(l, r)
	if !ok {
		return false
	}
	switch c.op {
	case "gt":
		return n > 0
	case "ge":
		return n >= 0
	case "lt":
		return n < 0
	}
	return n <= 0
}
func (c *compare) kind() (Type, bool) { return Boolean, true }
func (c *compare) print(b *strings.Builder) {
	operand(b, c.left)
	b.WriteString(" " + c.op + " ")
	operand(b, c.right)
}

// operand prints n so that it binds as one.
func operand(b *strings.Builder, n node) {
	switch n.(type) {
	case *logic, *compare, *not, *in:
		b.WriteByte('(')
		n.print(b)
		b.WriteByte(')')
	default:
		n.print(b)
	}
}

func equal(a, b any) bool {
	if s, ok := a.(string); ok {
		t, ok := b.(string)
		return ok && equalFold(s, t)
	}
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	n, ok := order(a, b)
	if ok {
		return n == 0
	}
	x, ok1 := a.(bool)
	y, ok2 := b.(bool)
	return ok1 && ok2 && x == y
}

// equalFold compares as the directory's indexes do: in lower case.
func equalFold(a, b string) bool {
	if len(a) == len(b) {
		ascii, same := true, true
		for i := range len(a) {
			c, d := a[i], b[i]
			if c|d >= 0x80 {
				ascii = false
				break
			}
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			if d >= 'A' && d <= 'Z' {
				d += 'a' - 'A'
			}
			if c != d {
				same = false
				break
			}
		}
		if ascii && same {
			return true
		}
		if ascii && !same && isASCII(a) && isASCII(b) {
			return false
		}
	} else if isASCII(a) && isASCII(b) {
		return false
	}
	return fold(a) == fold(b)
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// order compares two values of the same kind; text without case.
func order(a, b any) (int, bool) {
	switch x := a.(type) {
	case string:
		if y, ok := b.(string); ok {
			return strings.Compare(fold(x), fold(y)), true
		}
	case time.Time:
		if y, ok := b.(time.Time); ok {
			return x.Compare(y), true
		}
	case int64, float64:
		f, _ := number(a)
		if g, ok := number(b); ok {
			switch {
			case f < g:
				return -1, true
			case f > g:
				return 1, true
			}
			return 0, true
		}
	}
	return 0, false
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

type in struct {
	left node
	list []*compare
}

func (n *in) eval(e *env) any {
	v := n.left.eval(e)
	for _, c := range n.list {
		if e.spent() {
			return false
		}
		if equal(v, c.right.eval(e)) {
			return true
		}
	}
	return false
}
func (n *in) kind() (Type, bool) { return Boolean, true }
func (n *in) print(b *strings.Builder) {
	operand(b, n.left)
	b.WriteString(" in (")
	for i, c := range n.list {
		if i > 0 {
			b.WriteByte(',')
		}
		c.right.print(b)
	}
	b.WriteByte(')')
}

type call struct {
	fn   string
	args []node
	low  string // the second argument in lower case, when it is a literal
}

func newCall(fn string, args []node) *call {
	c := &call{fn: fn, args: args}
	if len(args) == 2 {
		if l, ok := args[1].(*literal); ok {
			c.low = fold(l.value.(string))
		}
	}
	return c
}

func (c *call) eval(e *env) any {
	if e.spent() {
		return nil
	}
	s, ok := c.args[0].eval(e).(string)
	if !ok {
		if len(c.args) == 2 {
			return false
		}
		return nil
	}
	switch c.fn {
	case "tolower":
		return fold(s)
	case "toupper":
		return strings.ToUpper(s)
	case "length":
		return int64(len([]rune(s)))
	}
	t := c.low
	if _, isLiteral := c.args[1].(*literal); !isLiteral {
		v, ok := c.args[1].eval(e).(string)
		if !ok {
			return false
		}
		t = fold(v)
	}
	switch c.fn {
	case "startswith":
		return hasPrefixFold(s, t)
	case "endswith":
		return strings.HasSuffix(fold(s), t)
	}
	return strings.Contains(fold(s), t)
}

// hasPrefixFold reports whether s starts with low, which is in lower case.
func hasPrefixFold(s, low string) bool {
	for i := range min(len(s), len(low)) {
		c := s[i]
		if c >= 0x80 || low[i] >= 0x80 {
			return strings.HasPrefix(fold(s), low)
		}
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != low[i] {
			return false
		}
	}
	return len(s) >= len(low) || strings.HasPrefix(fold(s), low)
}

func (c *call) kind() (Type, bool) {
	switch c.fn {
	case "tolower", "toupper":
		return String, true
	case "length":
		return Int, true
	}
	return Boolean, true
}

func (c *call) print(b *strings.Builder) {
	b.WriteString(c.fn + "(")
	for i, a := range c.args {
		if i > 0 {
			b.WriteByte(',')
		}
		operand(b, a)
	}
	b.WriteByte(')')
}

// custom is a call of a function of the schema.
type custom struct {
	name string
	args []string
}

func (c *custom) eval(e *env) any {
	o, ok := e.object.(Caller)
	return !e.spent() && ok && o.Call(c.name, c.args)
}
func (c *custom) kind() (Type, bool) { return Boolean, true }
func (c *custom) print(b *strings.Builder) {
	b.WriteString(c.name + "(")
	for i, a := range c.args {
		if i > 0 {
			b.WriteByte(',')
		}
		printLiteral(b, a)
	}
	b.WriteByte(')')
}

// size is the number of elements of a collection.
type size struct{ path *path }

func (s *size) eval(e *env) any    { return int64(len(elements(s.path.eval(e)))) }
func (s *size) kind() (Type, bool) { return Int, true }
func (s *size) print(b *strings.Builder) {
	s.path.print(b)
	b.WriteString("/$count")
}

type lambda struct {
	path *path
	all  bool
	name string
	slot int
	body node // nil for any()
}

func elements(v any) []any {
	switch v := v.(type) {
	case []any:
		return v
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = s
		}
		return out
	}
	return nil
}

func (l *lambda) eval(e *env) any {
	list := elements(l.path.eval(e))
	if l.body == nil {
		return len(list) > 0
	}
	vars := e.vars
	defer func() { e.vars = vars }()
	for _, v := range list {
		if e.spent() {
			return false
		}
		e.vars = append(slices.Clip(vars[:l.slot]), normal(v))
		if (l.body.eval(e) == true) != l.all {
			return !l.all
		}
	}
	return l.all
}
func (l *lambda) kind() (Type, bool) { return Boolean, true }
func (l *lambda) print(b *strings.Builder) {
	l.path.print(b)
	if l.all {
		b.WriteString("/all(")
	} else {
		b.WriteString("/any(")
	}
	if l.body != nil {
		b.WriteString(variableName(l.slot) + ":")
		l.body.print(b)
	}
	b.WriteByte(')')
}
