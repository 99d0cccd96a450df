package devicefilter

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Bounds on a device filter rule. The length is the real service's.
const (
	maxRule      = 3072
	maxRuleDepth = 32
	maxRuleTerms = 128
	maxRuleList  = 256
)

// Filter is a compiled device filter rule.
//
// -not binds tighter than -and, -and tighter than -or; hyphens before the three
// are optional, operators and properties are matched without regard to case,
// and so are values. A property without a value, and every property of a sign-in
// without a device, is null: positive operators do not match it and negative
// ones do.
type Filter struct {
	rule string
	root filterNode
}

// String returns the rule as it was written.
func (f *Filter) String() string { return f.rule }

// Match tells whether the rule holds for a device; nil stands for a sign-in
// without one.
func (f *Filter) Match(d *Device) bool { return f.root.match(d) }

// Error says what is wrong with a rule, and where.
type Error struct {
	Offset int // in bytes from the start of the rule
	Text   string
}

// Error returns the text with the position, counted from 1.
func (e *Error) Error() string { return fmt.Sprintf("%s at position %d", e.Text, e.Offset+1) }

type filterNode interface{ match(*Device) bool }

type notNode struct{ x filterNode }

func (n notNode) match(d *Device) bool { return !n.x.match(d) }

type andNode []filterNode

func (n andNode) match(d *Device) bool {
	for _, x := range n {
		if !x.match(d) {
			return false
		}
	}
	return true
}

type orNode []filterNode

func (n orNode) match(d *Device) bool {
	for _, x := range n {
		if x.match(d) {
			return true
		}
	}
	return false
}

// termNode is one comparison. Its values are in lower case.
type termNode struct {
	get    func(*Device) []string // no elements: null
	test   func(have, want string) bool
	values []string
	null   bool // compare with null instead of values
	negate bool
}

func (n termNode) match(d *Device) bool {
	var have []string
	if d != nil {
		have = n.get(d)
	}
	hit := n.null && len(have) == 0
	for _, h := range have {
		h = strings.ToLower(h)
		for _, v := range n.values {
			if n.test(h, v) {
				hit = true
			}
		}
	}
	return hit != n.negate
}

type propertyKind uint8

const (
	stringProperty propertyKind = iota
	boolProperty
	listProperty
)

type filterProperty struct {
	kind propertyKind
	get  func(*Device) []string
}

func stringOf(get func(*Device) string) filterProperty {
	return filterProperty{stringProperty, func(d *Device) []string {
		if s := get(d); s != "" {
			return []string{s}
		}
		return nil
	}}
}

var filterProperties = func() map[string]filterProperty {
	m := map[string]filterProperty{
		"deviceid":               stringOf(func(d *Device) string { return d.ID }),
		"displayname":            stringOf(func(d *Device) string { return d.Attributes.DisplayName }),
		"deviceownership":        stringOf(func(d *Device) string { return d.Attributes.DeviceOwnership }),
		"enrollmentprofilename":  stringOf(func(d *Device) string { return d.Attributes.EnrollmentProfileName }),
		"manufacturer":           stringOf(func(d *Device) string { return d.Attributes.Manufacturer }),
		"mdmappid":               stringOf(func(d *Device) string { return d.Attributes.MdmAppID }),
		"model":                  stringOf(func(d *Device) string { return d.Attributes.Model }),
		"operatingsystem":        stringOf(func(d *Device) string { return d.Attributes.OperatingSystem }),
		"operatingsystemversion": stringOf(func(d *Device) string { return d.Attributes.OperatingSystemVersion }),
		"profiletype":            stringOf(func(d *Device) string { return d.Attributes.ProfileType }),
		"trusttype":              stringOf(func(d *Device) string { return string(d.TrustType) }),
		"physicalids":            {listProperty, func(d *Device) []string { return d.Attributes.PhysicalIDs }},
		"systemlabels":           {listProperty, func(d *Device) []string { return d.Attributes.SystemLabels }},
		"iscompliant": {boolProperty, func(d *Device) []string {
			if d.Compliant {
				return []string{"true"}
			}
			return []string{"false"}
		}},
	}
	m["devicephysicalids"] = m["physicalids"]
	for i := range 15 {
		m[fmt.Sprintf("extensionattribute%d", i+1)] = stringOf(func(d *Device) string { return d.Attributes.ExtensionAttributes[i] })
	}
	return m
}()

type filterOperator struct {
	negate, list bool
	test         func(have, want string) bool
}

var filterOperators = func() map[string]filterOperator {
	equal := func(have, want string) bool { return have == want }
	m := map[string]filterOperator{}
	add := func(name, negated string, op filterOperator) {
		m[name] = op
		op.negate = true
		m[negated] = op
	}
	add("eq", "ne", filterOperator{test: equal})
	add("in", "notin", filterOperator{test: equal, list: true})
	add("startswith", "notstartswith", filterOperator{test: strings.HasPrefix})
	add("endswith", "notendswith", filterOperator{test: strings.HasSuffix})
	add("contains", "notcontains", filterOperator{test: strings.Contains})
	return m
}()

// Parse compiles a rule. The error is a *Error.
func Parse(rule string) (*Filter, error) {
	if len(rule) > maxRule {
		return nil, &Error{maxRule, fmt.Sprintf("the rule is longer than %d bytes", maxRule)}
	}
	if !utf8.ValidString(rule) {
		return nil, &Error{0, "the rule is not valid UTF-8"}
	}
	p := &filterParser{rule: rule}
	p.next()
	root := p.or(0)
	if p.err == nil && p.tok != tokenEnd {
		p.fail("unexpected %s", p.describe())
	}
	if p.err != nil {
		return nil, p.err
	}
	return &Filter{rule: rule, root: root}, nil
}

type token uint8

const (
	tokenEnd    token = iota
	tokenWord         // property, operator or literal; text in lower case, hyphen removed
	tokenString       // text as written
	tokenPunct        // one of ( ) [ ] ,
)

type filterParser struct {
	rule  string
	pos   int // after the current token
	start int // of the current token
	tok   token
	text  string
	dash  bool // the word began with a hyphen
	terms int
	err   *Error
}

func (p *filterParser) fail(format string, args ...any) {
	if p.err == nil {
		p.err = &Error{p.start, fmt.Sprintf(format, args...)}
	}
	p.tok = tokenEnd
	p.pos = len(p.rule)
}

func (p *filterParser) describe() string {
	switch p.tok {
	case tokenEnd:
		return "end of the rule"
	case tokenString:
		return "string"
	}
	return fmt.Sprintf("%q", clip(p.text))
}

func isWordByte(c byte) bool {
	return c == '.' || c == '_' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// next reads a token. After an error there are only end tokens.
func (p *filterParser) next() {
	if p.err != nil {
		return
	}
	for p.pos < len(p.rule) && strings.IndexByte(" \t\r\n", p.rule[p.pos]) >= 0 {
		p.pos++
	}
	p.start, p.text, p.dash = p.pos, "", false
	if p.pos == len(p.rule) {
		p.tok = tokenEnd
		return
	}
	switch c := p.rule[p.pos]; {
	case strings.IndexByte("()[],", c) >= 0:
		p.tok, p.text = tokenPunct, string(c)
		p.pos++
	case c == '"' || c == '\'':
		p.quoted(c)
	case c == '-' || isWordByte(c):
		if c == '-' {
			p.dash = true
			p.pos++
		}
		from := p.pos
		for p.pos < len(p.rule) && isWordByte(p.rule[p.pos]) {
			p.pos++
		}
		if p.pos == from {
			p.fail("a hyphen without an operator")
			return
		}
		p.tok, p.text = tokenWord, strings.ToLower(p.rule[from:p.pos])
	default:
		p.fail("unexpected character")
	}
}

// quoted reads a string; a backtick takes the next character as it is.
func (p *filterParser) quoted(quote byte) {
	var b strings.Builder
	for i := p.pos + 1; i < len(p.rule); i++ {
		switch c := p.rule[i]; {
		case c == quote:
			p.tok, p.text, p.pos = tokenString, b.String(), i+1
			return
		case c == '`' && i+1 < len(p.rule):
			i++
			b.WriteByte(p.rule[i])
		default:
			b.WriteByte(c)
		}
	}
	p.fail("a string that does not end")
}

func (p *filterParser) isWord(w string) bool  { return p.tok == tokenWord && p.text == w }
func (p *filterParser) isPunct(c string) bool { return p.tok == tokenPunct && p.text == c }

func (p *filterParser) or(depth int) filterNode {
	x := p.and(depth)
	if !p.isWord("or") {
		return x
	}
	n := orNode{x}
	for p.isWord("or") {
		p.next()
		n = append(n, p.and(depth))
	}
	return n
}

func (p *filterParser) and(depth int) filterNode {
	x := p.unary(depth)
	if !p.isWord("and") {
		return x
	}
	n := andNode{x}
	for p.isWord("and") {
		p.next()
		n = append(n, p.unary(depth))
	}
	return n
}

func (p *filterParser) unary(depth int) filterNode {
	if depth > maxRuleDepth {
		p.fail("the rule is nested deeper than %d levels", maxRuleDepth)
		return nil
	}
	switch {
	case p.isWord("not"):
		p.next()
		return notNode{p.unary(depth + 1)}
	case p.isPunct("("):
		p.next()
		x := p.or(depth + 1)
		if !p.isPunct(")") {
			p.fail("expected ) instead of %s", p.describe())
			return nil
		}
		p.next()
		return x
	}
	return p.term()
}

func (p *filterParser) term() filterNode {
	if p.terms++; p.terms > maxRuleTerms {
		p.fail("the rule has more than %d comparisons", maxRuleTerms)
		return nil
	}
	name, ok := strings.CutPrefix(p.text, "device.")
	if p.tok != tokenWord || p.dash || !ok {
		p.fail("expected a property such as device.isCompliant instead of %s", p.describe())
		return nil
	}
	prop, ok := filterProperties[name]
	if !ok {
		p.fail("unknown property %q", clip(p.text))
		return nil
	}
	p.next()
	op, ok := filterOperators[p.text]
	if p.tok != tokenWord || !p.dash || !ok {
		p.fail("expected an operator such as -eq instead of %s", p.describe())
		return nil
	}
	opName := p.text
	switch equality := opName == "eq" || opName == "ne"; {
	case prop.kind == boolProperty && !equality:
		p.fail("operator -%s does not fit a property that is True or False", opName)
		return nil
	case prop.kind == listProperty && opName != "contains" && opName != "notcontains":
		p.fail("operator -%s does not fit a list; -contains does", opName)
		return nil
	}
	p.next()
	n := termNode{get: prop.get, test: op.test, negate: op.negate}
	if op.list {
		p.list(&n)
	} else {
		p.value(&n, prop.kind, opName)
	}
	if p.err != nil {
		return nil
	}
	return n
}

func (p *filterParser) value(n *termNode, kind propertyKind, op string) {
	equality := op == "eq" || op == "ne"
	switch {
	case p.isWord("null") && !p.dash && equality:
		n.null = true
	case kind == boolProperty:
		v := strings.ToLower(p.text)
		if (p.tok != tokenWord || p.dash) && p.tok != tokenString || v != "true" && v != "false" {
			p.fail("expected True or False instead of %s", p.describe())
			return
		}
		n.values = []string{v}
	case p.tok == tokenString:
		if p.text == "" && !equality {
			// Every string contains the empty one; the author meant something else.
			p.fail("an empty string with -%s", op)
			return
		}
		n.values = []string{strings.ToLower(p.text)}
	default:
		p.fail("expected a string in quotes instead of %s", p.describe())
		return
	}
	p.next()
}

func (p *filterParser) list(n *termNode) {
	if !p.isPunct("[") {
		p.fail("expected a list such as [\"a\", \"b\"] instead of %s", p.describe())
		return
	}
	for {
		p.next()
		if p.tok != tokenString {
			p.fail("expected a string in quotes instead of %s", p.describe())
			return
		}
		if n.values = append(n.values, strings.ToLower(p.text)); len(n.values) > maxRuleList {
			p.fail("the list has more than %d entries", maxRuleList)
			return
		}
		p.next()
		if p.isPunct("]") {
			p.next()
			return
		}
		if !p.isPunct(",") {
			p.fail("expected , or ] instead of %s", p.describe())
			return
		}
	}
}

// clip shortens a rule's text for an error message.
func clip(s string) string {
	if len(s) > 64 {
		return strings.ToValidUTF8(s[:64], "") + "…"
	}
	return s
}
