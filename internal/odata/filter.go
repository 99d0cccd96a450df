package odata

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of a filter.
const (
	MaxFilterBytes = 16 << 10
	MaxFilterNodes = 512
	MaxFilterDepth = 24
)

// Filter is a checked $filter expression.
type Filter struct {
	root       node
	operators  []string
	properties []string
}

// Uses reports whether the expression has one of the given operators or
// functions: eq, ne, gt, ge, lt, le, in, and, or, not, any, all, startswith,
// endswith, contains, tolower, toupper, length, $count.
func (f *Filter) Uses(operators ...string) (string, bool) {
	for _, op := range f.operators {
		if slices.Contains(operators, op) {
			return op, true
		}
	}
	return "", false
}

// Properties returns the first segments of the property paths in the
// expression, as the schema names them.
func (f *Filter) Properties() []string { return f.properties }

// String returns the expression in one canonical spelling.
func (f *Filter) String() string {
	var b strings.Builder
	f.root.print(&b)
	return b.String()
}

// ParseFilter checks text against schema.
func ParseFilter(text string, schema *Schema) (*Filter, error) {
	if len(text) > MaxFilterBytes {
		return nil, &Error{"$filter", MaxFilterBytes, fmt.Sprintf("The $filter expression is longer than %d bytes.", MaxFilterBytes)}
	}
	p := &parser{lexer: lexer{option: "$filter", text: text}, schema: schema, filter: &Filter{}}
	if err := p.advance(); err != nil {
		return nil, err
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.fail(p.tok.pos, "Syntax error")
	}
	if err := p.wantBool(root, 0); err != nil {
		return nil, err
	}
	p.filter.root = root
	return p.filter, nil
}

type parser struct {
	lexer
	schema *Schema
	filter *Filter
	tok    token
	depth  int
	nodes  int
	vars   []string // lambda variables in scope
}

func (p *parser) advance() error {
	t, err := p.next()
	p.tok = t
	return err
}

// count bounds the expression: every node passes here.
func (p *parser) count(pos int) error {
	if p.nodes++; p.nodes > MaxFilterNodes {
		return p.fail(pos, "The node count limit of '%d' has been exceeded", MaxFilterNodes)
	}
	return nil
}

func (p *parser) use(operator string) {
	if !slices.Contains(p.filter.operators, operator) {
		p.filter.operators = append(p.filter.operators, operator)
	}
}

func (p *parser) isName(words ...string) string {
	if p.tok.kind == tokName {
		for _, w := range words {
			if strings.EqualFold(p.tok.text, w) {
				return w
			}
		}
	}
	return ""
}

func (p *parser) expect(punct string) error {
	if p.tok.kind != tokPunct || p.tok.text != punct {
		return p.fail(p.tok.pos, "'%s' expected", punct)
	}
	return p.advance()
}

func (p *parser) or() (node, error) {
	if p.depth++; p.depth > MaxFilterDepth {
		return nil, p.fail(p.tok.pos, "The recursion limit of '%d' has been exceeded", MaxFilterDepth)
	}
	defer func() { p.depth-- }()
	return p.chain("or", func() (node, error) { return p.chain("and", p.unary) })
}

func (p *parser) chain(op string, operand func() (node, error)) (node, error) {
	pos := p.tok.pos
	first, err := operand()
	if err != nil {
		return nil, err
	}
	terms := []node{first}
	for p.isName(op) != "" {
		if err := p.count(p.tok.pos); err != nil {
			return nil, err
		}
		p.use(op)
		if err := p.advance(); err != nil {
			return nil, err
		}
		if err := p.wantBool(terms[len(terms)-1], pos); err != nil {
			return nil, err
		}
		pos = p.tok.pos
		n, err := operand()
		if err != nil {
			return nil, err
		}
		terms = append(terms, n)
	}
	if len(terms) == 1 {
		return first, nil
	}
	if err := p.wantBool(terms[len(terms)-1], pos); err != nil {
		return nil, err
	}
	return &logic{op: op, terms: terms}, nil
}

func (p *parser) unary() (node, error) {
	if p.isName("not") == "" {
		return p.comparison()
	}
	pos := p.tok.pos
	if err := p.count(pos); err != nil {
		return nil, err
	}
	if p.depth++; p.depth > MaxFilterDepth {
		return nil, p.fail(pos, "The recursion limit of '%d' has been exceeded", MaxFilterDepth)
	}
	defer func() { p.depth-- }()
	p.use("not")
	if err := p.advance(); err != nil {
		return nil, err
	}
	n, err := p.unary()
	if err != nil {
		return nil, err
	}
	if err := p.wantBool(n, pos); err != nil {
		return nil, err
	}
	return &not{n}, nil
}

func (p *parser) comparison() (node, error) {
	pos := p.tok.pos
	left, err := p.primary()
	if err != nil {
		return nil, err
	}
	if p.isName("in") != "" {
		return p.in(left, pos)
	}
	op := p.isName("eq", "ne", "gt", "ge", "lt", "le")
	if op == "" {
		return left, nil
	}
	if err := p.count(p.tok.pos); err != nil {
		return nil, err
	}
	p.use(op)
	if err := p.advance(); err != nil {
		return nil, err
	}
	right, err := p.primary()
	if err != nil {
		return nil, err
	}
	if err := p.compatible(op, left, right, pos); err != nil {
		return nil, err
	}
	return newCompare(op, left, right), nil
}

func (p *parser) in(left node, pos int) (node, error) {
	p.use("in")
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.expect("("); err != nil {
		return nil, err
	}
	n := &in{left: left}
	for {
		if err := p.count(p.tok.pos); err != nil {
			return nil, err
		}
		if p.tok.kind != tokLiteral {
			return nil, p.fail(p.tok.pos, "A literal is expected in the list of 'in'")
		}
		l := &literal{p.tok.value}
		if err := p.compatible("eq", left, l, pos); err != nil {
			return nil, err
		}
		n.list = append(n.list, newCompare("eq", left, l))
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.tok.kind == tokPunct && p.tok.text == "," {
			if err := p.advance(); err != nil {
				return nil, err
			}
			continue
		}
		return n, p.expect(")")
	}
}

func (p *parser) primary() (node, error) {
	if err := p.count(p.tok.pos); err != nil {
		return nil, err
	}
	switch {
	case p.tok.kind == tokLiteral:
		l := &literal{p.tok.value}
		return l, p.advance()
	case p.tok.kind == tokPunct && p.tok.text == "(":
		if err := p.advance(); err != nil {
			return nil, err
		}
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		return n, p.expect(")")
	case p.tok.kind == tokName:
		name := p.tok
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.tok.kind == tokPunct && p.tok.text == "(" {
			return p.call(name)
		}
		return p.path(name)
	case p.tok.kind == tokEnd:
		return nil, p.fail(p.tok.pos, "Expression expected")
	}
	return nil, p.fail(p.tok.pos, "Syntax error")
}

// stringFunctions maps each function to its number of arguments.
var stringFunctions = map[string]int{"startswith": 2, "endswith": 2, "contains": 2, "tolower": 1, "toupper": 1, "length": 1}

func (p *parser) call(name token) (node, error) {
	if err := p.advance(); err != nil {
		return nil, err
	}
	if f, ok := p.schema.functions[fold(name.text)]; ok {
		return p.custom(f, name)
	}
	fn := fold(name.text)
	want, ok := stringFunctions[fn]
	if !ok {
		return nil, p.fail(name.pos, "An unknown function with name '%s' was found", name.text)
	}
	p.use(fn)
	var args []node
	for {
		pos := p.tok.pos
		if p.depth++; p.depth > MaxFilterDepth {
			return nil, p.fail(pos, "The recursion limit of '%d' has been exceeded", MaxFilterDepth)
		}
		a, err := p.primary()
		p.depth--
		if err != nil {
			return nil, err
		}
		if t, known := a.kind(); known && t != String || isNull(a) {
			return nil, p.fail(pos, "No function signature for the function with name '%s' matches the specified arguments", fn)
		}
		args = append(args, a)
		if p.tok.kind == tokPunct && p.tok.text == "," && len(args) < want {
			if err := p.advance(); err != nil {
				return nil, err
			}
			continue
		}
		break
	}
	if len(args) != want {
		return nil, p.fail(name.pos, "The function '%s' takes %d arguments", fn, want)
	}
	return newCall(fn, args), p.expect(")")
}

func (p *parser) custom(f Function, name token) (node, error) {
	n := &custom{name: f.Name}
	for i := range f.Args {
		if i > 0 {
			if err := p.expect(","); err != nil {
				return nil, err
			}
		}
		s, ok := p.tok.value.(string)
		if !ok || p.tok.kind != tokLiteral {
			return nil, p.fail(p.tok.pos, "The function '%s' takes %d strings", f.Name, f.Args)
		}
		n.args = append(n.args, s)
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	p.use(fold(f.Name))
	return n, p.expect(")")
}

// path reads what follows a first name: /segments, then perhaps /any(...),
// /all(...) or /$count.
func (p *parser) path(first token) (node, error) {
	n := &path{variable: -1}
	name := first.text
	if i := slices.Index(p.vars, name); i >= 0 {
		n.variable = i
	} else {
		prop, ok := p.schema.Lookup(name)
		if !ok {
			return nil, &Error{"$filter", first.pos, p.schema.missing(name)}
		}
		if prop.Type == Binary {
			return nil, p.fail(first.pos, "The property '%s' cannot be used in a filter", prop.Name)
		}
		n.segments, n.prop, n.typed = []string{prop.Name}, prop, true
		if !slices.Contains(p.filter.properties, prop.Name) {
			p.filter.properties = append(p.filter.properties, prop.Name)
		}
	}
	for p.tok.kind == tokPunct && p.tok.text == "/" {
		if err := p.advance(); err != nil {
			return nil, err
		}
		if p.tok.kind != tokName {
			return nil, p.fail(p.tok.pos, "A property name is expected")
		}
		if err := p.count(p.tok.pos); err != nil {
			return nil, err
		}
		seg := p.tok
		if err := p.advance(); err != nil {
			return nil, err
		}
		switch q := fold(seg.text); {
		case (q == "any" || q == "all") && p.tok.kind == tokPunct && p.tok.text == "(":
			if n.typed && !n.prop.Collection {
				return nil, p.fail(seg.pos, "Any/All may only be used following a collection")
			}
			return p.lambda(n, q, seg)
		case q == "$count":
			if n.typed && !n.prop.Collection {
				return nil, p.fail(seg.pos, "$count may only be used following a collection")
			}
			p.use("$count")
			return &size{n}, nil
		}
		if n.typed && (n.prop.Type != Complex || n.prop.Collection) {
			return nil, p.fail(seg.pos, "Could not find a property named '%s' on type '%s'", seg.text, n.prop.Type)
		}
		n.typed = false
		n.segments = append(n.segments, seg.text)
	}
	return n, nil
}

func (p *parser) lambda(n *path, q string, at token) (node, error) {
	p.use(q)
	if err := p.advance(); err != nil {
		return nil, err
	}
	l := &lambda{path: n, all: q == "all", slot: len(p.vars)}
	if p.tok.kind == tokPunct && p.tok.text == ")" && !l.all {
		return l, p.advance()
	}
	if p.tok.kind != tokName || slices.Contains(p.vars, p.tok.text) {
		return nil, p.fail(p.tok.pos, "A range variable is expected")
	}
	l.name = p.tok.text
	if err := p.advance(); err != nil {
		return nil, err
	}
	if err := p.expect(":"); err != nil {
		return nil, err
	}
	p.vars = append(p.vars, l.name)
	pos := p.tok.pos
	body, err := p.or()
	p.vars = p.vars[:len(p.vars)-1]
	if err != nil {
		return nil, err
	}
	if err := p.wantBool(body, pos); err != nil {
		return nil, err
	}
	l.body = body
	return l, p.expect(")")
}

func (p *parser) wantBool(n node, pos int) error {
	if t, known := n.kind(); known && t != Boolean || isNull(n) {
		return p.fail(pos, "The expression is not of type Edm.Boolean")
	}
	if pt, ok := n.(*path); ok && pt.typed && pt.prop.Collection {
		return p.fail(pos, "The expression is not of type Edm.Boolean")
	}
	return nil
}

// compatible checks the operands of a comparison as far as they are known.
func (p *parser) compatible(op string, left, right node, pos int) error {
	for _, n := range []node{left, right} {
		if pt, ok := n.(*path); ok && pt.typed {
			if pt.prop.Collection {
				return p.fail(pos, "A collection cannot be compared; use any or all on '%s'", pt.prop.Name)
			}
			if pt.prop.Type == Complex && !isNull(left) && !isNull(right) {
				return p.fail(pos, "The property '%s' cannot be compared", pt.prop.Name)
			}
		}
	}
	lt, lk := left.kind()
	rt, rk := right.kind()
	ordered := op != "eq" && op != "ne"
	if ordered && (isNull(left) || isNull(right) || lk && lt == Boolean || rk && rt == Boolean) || lk && rk && lt != rt {
		names := map[string]string{"eq": "Equal", "ne": "NotEqual", "gt": "GreaterThan", "ge": "GreaterThanOrEqual", "lt": "LessThan", "le": "LessThanOrEqual"}
		return p.fail(pos, "A binary operator with incompatible types was detected. Found operand types '%s' and '%s' for operator kind '%s'", lt, rt, names[op])
	}
	return nil
}

func isNull(n node) bool {
	l, ok := n.(*literal)
	return ok && l.value == nil
}

func printLiteral(b *strings.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.WriteString("null")
	case string:
		b.WriteString("'" + strings.ReplaceAll(v, "'", "''") + "'")
	case bool:
		b.WriteString(strconv.FormatBool(v))
	case int64:
		b.WriteString(strconv.FormatInt(v, 10))
	case time.Time:
		b.WriteString(v.Format(time.RFC3339Nano))
	}
}
