package condition

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// Version is the only version of the language there is.
const Version = "2.0"

// Bounds of a condition: its length in bytes, how deep parentheses and
// negations nest, and how many values a set holds.
const (
	MaxLength = 8 << 10
	MaxDepth  = 50
	MaxValues = 500
)

// SyntaxError says what is wrong with a condition, and where. It unwraps to an
// error of kind errs.Invalid.
type SyntaxError struct {
	Offset       int // in bytes, from 0
	Line, Column int // from 1; columns count characters
	Message      string
}

// Error returns the position and the message.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("The condition is not valid at line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Unwrap gives the error its kind.
func (e *SyntaxError) Unwrap() error { return errs.New(errs.Invalid, "%s", e.Error()) }

// Condition is a condition that has been parsed and checked. It is immutable.
type Condition struct {
	text string
	root expr
}

// String returns the text of the condition as it was written.
func (c *Condition) String() string { return c.text }

// Eval evaluates the condition. It has no side effects and cannot fail.
func (c *Condition) Eval(ctx *Context) Result { return c.root.eval(ctx) }

// Check reports whether a role assignment may carry this condition. Both empty
// means no condition, which is fine.
func Check(version, text string) error {
	_, err := ParseVersion(version, text)
	return err
}

// ParseVersion parses a condition with the version that came with it. Both
// empty means no condition: it returns nil.
func ParseVersion(version, text string) (*Condition, error) {
	switch {
	case text == "" && (version == "" || version == Version):
		return nil, nil
	case version != Version:
		return nil, errs.New(errs.Invalid, "The condition version must be %q, not %q.", Version, version)
	}
	return Parse(text)
}

// Parse parses and checks a condition. The error is a *SyntaxError.
func Parse(text string) (c *Condition, err error) {
	p := &parser{text: text}
	if len(text) > MaxLength {
		return nil, p.fail(MaxLength, "it is longer than %d bytes", MaxLength)
	}
	if !utf8.ValidString(text) {
		return nil, p.fail(0, "it is not valid UTF-8")
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	root, err := p.expr(0)
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, p.fail(p.tok.pos, "unexpected %s", p.tok)
	}
	return &Condition{text: text, root: root}, nil
}

type tokenKind uint8

const (
	tokEnd    tokenKind = iota
	tokWord             // a name, a number, a GUID
	tokString           // '...'
	tokAttr             // @Source[name]
	tokPunct            // ( ) { } , : ! && ||
)

type token struct {
	kind   tokenKind
	text   string
	source string // of tokAttr
	pos    int
}

func (t token) String() string {
	switch t.kind {
	case tokEnd:
		return "end of the condition"
	case tokString:
		return "text '" + t.text + "'"
	case tokAttr:
		return t.source + "[" + t.text + "]"
	}
	return fmt.Sprintf("%q", t.text)
}

func (t token) is(punct string) bool { return t.kind == tokPunct && t.text == punct }

func (t token) word(w string) bool { return t.kind == tokWord && strings.EqualFold(t.text, w) }

type parser struct {
	text string
	pos  int
	tok  token
}

func (p *parser) fail(pos int, format string, args ...any) *SyntaxError {
	if pos > len(p.text) {
		pos = len(p.text)
	}
	before := p.text[:pos]
	line := 1 + strings.Count(before, "\n")
	col := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return &SyntaxError{Offset: pos, Line: line, Column: col, Message: fmt.Sprintf(format, args...)}
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '+'
}

// next reads the next token into p.tok.
func (p *parser) next() error {
	for p.pos < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.pos]) >= 0 {
		p.pos++
	}
	start := p.pos
	if start == len(p.text) {
		p.tok = token{kind: tokEnd, pos: start}
		return nil
	}
	switch c := p.text[start]; {
	case isWord(c):
		for p.pos < len(p.text) && isWord(p.text[p.pos]) {
			p.pos++
		}
		p.tok = token{kind: tokWord, text: p.text[start:p.pos], pos: start}
		return nil
	case c == '\'':
		return p.quoted(start)
	case c == '@':
		return p.attr(start)
	case strings.HasPrefix(p.text[start:], "&&"), strings.HasPrefix(p.text[start:], "||"):
		p.pos += 2
	case strings.IndexByte("(){},:!", c) >= 0:
		p.pos++
	default:
		r, _ := utf8.DecodeRuneInString(p.text[start:])
		return p.fail(start, "unexpected character %q", r)
	}
	p.tok = token{kind: tokPunct, text: p.text[start:p.pos], pos: start}
	return nil
}

// quoted reads a text in single quotes. A backslash before a quote takes away
// the quote's meaning; other backslashes are left for StringLike.
func (p *parser) quoted(start int) error {
	var b strings.Builder
	for i := start + 1; i < len(p.text); i++ {
		switch c := p.text[i]; {
		case c == '\'':
			p.pos = i + 1
			p.tok = token{kind: tokString, text: b.String(), pos: start}
			return nil
		case c == '\\' && i+1 < len(p.text) && p.text[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case c == '\\' && i+1 < len(p.text):
			b.WriteByte(c)
			i++
			b.WriteByte(p.text[i])
		default:
			b.WriteByte(c)
		}
	}
	return p.fail(start, "the text has no closing quote")
}

func (p *parser) attr(start int) error {
	i := start + 1
	for i < len(p.text) && isWord(p.text[i]) {
		i++
	}
	source := p.text[start:i]
	known := false
	for _, r := range Table {
		known = known || r.Kind == Source && strings.EqualFold(r.Name, source)
	}
	if !known {
		return p.fail(start, "%s is not a source of attributes", source)
	}
	if i == len(p.text) || p.text[i] != '[' {
		return p.fail(i, "expected [ after %s", source)
	}
	end := strings.IndexByte(p.text[i:], ']')
	if end < 0 {
		return p.fail(i, "the attribute has no closing bracket")
	}
	name := strings.TrimSpace(p.text[i+1 : i+end])
	if _, ok := attributeType(source, name); !ok {
		return p.fail(i+1, "%s has no attribute %q that conditions support", source, name)
	}
	p.pos = i + end + 1
	p.tok = token{kind: tokAttr, text: name, source: source, pos: start}
	return nil
}

// expr reads a chain joined by AND or by OR. A mix is refused: the reader of
// a condition must not have to know which binds tighter.
func (p *parser) expr(depth int) (expr, error) {
	x, err := p.unary(depth)
	if err != nil {
		return nil, err
	}
	list, join := []expr{x}, ""
	for {
		this := ""
		switch {
		case p.tok.is("&&"), p.tok.word("AND"):
			this = "AND"
		case p.tok.is("||"), p.tok.word("OR"):
			this = "OR"
		}
		switch {
		case this == "" && join == "":
			return x, nil
		case this == "" && join == "AND":
			return andExpr(list), nil
		case this == "":
			return orExpr(list), nil
		case join != "" && join != this:
			return nil, p.fail(p.tok.pos, "AND and OR are mixed without parentheses")
		}
		join = this
		if err := p.next(); err != nil {
			return nil, err
		}
		if x, err = p.unary(depth); err != nil {
			return nil, err
		}
		list = append(list, x)
	}
}

func (p *parser) unary(depth int) (expr, error) {
	if depth > MaxDepth {
		return nil, p.fail(p.tok.pos, "it nests deeper than %d", MaxDepth)
	}
	t := p.tok
	switch {
	case t.is("!"), t.word("NOT"):
		if err := p.next(); err != nil {
			return nil, err
		}
		x, err := p.unary(depth + 1)
		if err != nil {
			return nil, err
		}
		return notExpr{x}, nil
	case t.is("("):
		if err := p.next(); err != nil {
			return nil, err
		}
		x, err := p.expr(depth + 1)
		if err != nil {
			return nil, err
		}
		return x, p.expect(")")
	case t.kind == tokAttr:
		return p.comparison()
	case t.word("ActionMatches"), t.word("SubOperationMatches"):
		return p.matches(t.word("ActionMatches"))
	case t.word("Exists"), t.word("NotExists"):
		if err := p.next(); err != nil {
			return nil, err
		}
		if p.tok.kind != tokAttr {
			return nil, p.fail(p.tok.pos, "expected an attribute after %s", t.text)
		}
		return &existsExpr{attr: attrOf(p.tok), not: t.word("NotExists")}, p.next()
	case t.kind == tokWord:
		return nil, p.fail(t.pos, "%q is not a function that conditions support", t.text)
	}
	return nil, p.fail(t.pos, "expected an expression, found %s", t)
}

func (p *parser) expect(punct string) error {
	if !p.tok.is(punct) {
		return p.fail(p.tok.pos, "expected %s, found %s", punct, p.tok)
	}
	return p.next()
}

func (p *parser) matches(action bool) (expr, error) {
	if err := p.next(); err != nil {
		return nil, err
	}
	if err := p.expect("{"); err != nil {
		return nil, err
	}
	t := p.tok
	if t.kind != tokString || t.text == "" {
		return nil, p.fail(t.pos, "expected a text in quotes, found %s", t)
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	if err := p.expect("}"); err != nil {
		return nil, err
	}
	if action {
		return &actionExpr{wildcard.Compile(t.text)}, nil
	}
	if strings.Contains(t.text, "*") {
		return nil, p.fail(t.pos, "a suboperation has no wildcards")
	}
	return &subOpExpr{wildcard.Compile(t.text)}, nil
}

func attrOf(t token) attribute {
	return attribute{source: strings.ToLower(t.source), name: t.text, utcNow: strings.EqualFold(t.source, "@Environment") && strings.EqualFold(t.text, "UtcNow")}
}

// comparison reads: attribute [quantifier:]operator value.
func (p *parser) comparison() (expr, error) {
	left := p.tok
	if err := p.next(); err != nil {
		return nil, err
	}
	word := p.tok
	if word.kind != tokWord {
		return nil, p.fail(word.pos, "expected an operator, found %s", word)
	}
	if err := p.next(); err != nil {
		return nil, err
	}
	e := &compareExpr{left: attrOf(left)}
	if p.tok.is(":") {
		q, ok := quantifiers[strings.ToLower(word.text)]
		if !ok {
			return nil, p.fail(word.pos, "%q is not a quantifier that conditions support", word.text)
		}
		e.quant = q
		if err := p.next(); err != nil {
			return nil, err
		}
		if word = p.tok; word.kind != tokWord {
			return nil, p.fail(word.pos, "expected an operator, found %s", word)
		}
		if err := p.next(); err != nil {
			return nil, err
		}
	}
	o, ok := operators[strings.ToLower(word.text)]
	if !ok {
		return nil, p.fail(word.pos, "%q is not an operator that conditions support", word.text)
	}
	e.op = o
	if err := p.fits(left, o); err != nil {
		return nil, err
	}
	return e, p.rightSide(e)
}

// fits refuses a comparison that could never be read: a GUID as a number.
func (p *parser) fits(t token, o op) error {
	typ, _ := attributeType(t.source, t.text)
	// Everything but a date has a spelling, so strings compare with all.
	if typ == AnyType || typ == o.typ || o.typ == String && typ != DateTime {
		return nil
	}
	return p.fail(t.pos, "%s compares a %s, and %s is a %s", o.name, o.typ, t, typ)
}

func (p *parser) rightSide(e *compareExpr) error {
	t := p.tok
	switch {
	case t.kind == tokAttr:
		if err := p.fits(t, e.op); err != nil {
			return err
		}
		a := attrOf(t)
		e.right = &a
		return p.next()
	case t.is("{"):
		if !e.quant.set {
			return p.fail(t.pos, "a set needs a quantifier such as ForAnyOfAnyValues before the operator")
		}
		for {
			if err := p.next(); err != nil {
				return err
			}
			if err := p.literal(e); err != nil {
				return err
			}
			if len(e.literals) > MaxValues {
				return p.fail(t.pos, "the set has more than %d values", MaxValues)
			}
			if !p.tok.is(",") {
				return p.expect("}")
			}
		}
	case e.quant.set:
		return p.fail(t.pos, "expected a set in braces or an attribute, found %s", t)
	}
	return p.literal(e)
}

func (p *parser) literal(e *compareExpr) error {
	t := p.tok
	if t.kind != tokString && (t.kind != tokWord || e.op.typ == String) {
		if e.op.typ == String {
			return p.fail(t.pos, "expected a text in quotes, found %s", t)
		}
		return p.fail(t.pos, "expected a value, found %s", t)
	}
	v, ok := e.op.read(t.text, true)
	if !ok {
		return p.fail(t.pos, "%s is not a %s", t, e.op.typ)
	}
	e.literals = append(e.literals, v)
	return p.next()
}
