package jws

import (
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth bounds how deep objects and arrays may nest. Real tokens need four.
const MaxDepth = 8

// Kind is the type of a JSON value.
type Kind uint8

// The kinds of Value. The zero Value is Missing.
const (
	Missing Kind = iota
	Null
	Bool
	Number
	String
	Array
	Object
)

// node is one value of a parsed document, laid out in document order: an array
// is followed by its items, an object by a String node for each name and then
// the value of that name.
type node struct {
	text string // String: unescaped; Number: as written; Bool: true or false
	size int32  // this node and all below it
	kind Kind
}

// Value is a value in a parsed document. It stays valid as long as it is used
// and cannot be changed.
type Value struct{ nodes []node }

// Kind returns the value's kind, Missing for the zero Value.
func (v Value) Kind() Kind {
	if len(v.nodes) == 0 {
		return Missing
	}
	return v.nodes[0].kind
}

// Str returns a string, and whether the value is one.
func (v Value) Str() (string, bool) {
	if v.Kind() != String {
		return "", false
	}
	return v.nodes[0].text, true
}

// Bool returns a boolean, and whether the value is one.
func (v Value) Bool() (value, ok bool) {
	if v.Kind() != Bool {
		return false, false
	}
	return v.nodes[0].text == "true", true
}

// Int returns a number that is written as an integer without exponent and
// whose size is below 10^15, and whether the value is such a number. Every such
// number has one spelling and the same value in all parsers.
func (v Value) Int() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	return ParseInt(v.nodes[0].text)
}

// ParseInt reads an integer as Value.Int does.
func ParseInt(s string) (int64, bool) {
	digits := strings.TrimPrefix(s, "-")
	negative := len(digits) < len(s)
	if digits == "" || len(digits) > 15 || digits[0] == '0' && (negative || len(digits) > 1) {
		return 0, false
	}
	var n int64
	for i := 0; i < len(digits); i++ {
		c := digits[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}

// Strings returns the items of an array of strings, and whether the value is
// one. An empty array is.
func (v Value) Strings() ([]string, bool) {
	if v.Kind() != Array {
		return nil, false
	}
	list := make([]string, 0, len(v.nodes)-1)
	for _, n := range v.nodes[1:] {
		// An item that is not a string is seen here, since only its nodes
		// could follow it.
		if n.kind != String {
			return nil, false
		}
		list = append(list, n.text)
	}
	return list, true
}

// Items calls f for each item of an array until f returns false.
func (v Value) Items(f func(Value) bool) {
	if v.Kind() != Array {
		return
	}
	for i := 1; i < len(v.nodes); {
		end := i + int(v.nodes[i].size)
		if !f(Value{v.nodes[i:end]}) {
			return
		}
		i = end
	}
}

// Members calls f for each member of an object, in order, until f returns
// false.
func (v Value) Members(f func(name string, value Value) bool) {
	if v.Kind() != Object {
		return
	}
	for i := 1; i < len(v.nodes); {
		name := v.nodes[i].text
		end := i + 1 + int(v.nodes[i+1].size)
		if !f(name, Value{v.nodes[i+1 : end]}) {
			return
		}
		i = end
	}
}

// Get returns the member of an object with exactly this name (case counts), or
// a Missing value.
func (v Value) Get(name string) Value {
	var found Value
	v.Members(func(n string, m Value) bool {
		if n == name {
			found = m
			return false
		}
		return true
	})
	return found
}

// ParseObject parses text, which must be one JSON object and nothing else.
func ParseObject(text string) (Value, error) {
	p := parser{text: text, nodes: make([]node, 0, 8+len(text)/16)}
	p.space()
	if p.pos >= len(text) || text[p.pos] != '{' {
		return Value{}, p.fail("not an object")
	}
	if err := p.value(1); err != nil {
		return Value{}, err
	}
	p.space()
	if p.pos != len(text) {
		return Value{}, p.fail("data after the object")
	}
	return Value{p.nodes}, nil
}

type parser struct {
	text  string
	pos   int
	nodes []node
}

// fail never quotes the text: it may be a credential.
func (p *parser) fail(what string) error {
	return fmt.Errorf("%w: %s at byte %d", ErrJSON, what, p.pos)
}

func (p *parser) space() {
	for p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// next skips white space and takes the byte c if it stands there.
func (p *parser) next(c byte) bool {
	p.space()
	if p.pos < len(p.text) && p.text[p.pos] == c {
		p.pos++
		return true
	}
	return false
}

func (p *parser) add(kind Kind, text string) {
	p.nodes = append(p.nodes, node{kind: kind, text: text, size: 1})
}

func (p *parser) value(depth int) error {
	if depth > MaxDepth {
		return p.fail("nested too deep")
	}
	p.space()
	if p.pos >= len(p.text) {
		return p.fail("unexpected end")
	}
	switch c := p.text[p.pos]; {
	case c == '"':
		return p.string()
	case c == '{':
		p.pos++
		return p.object(depth)
	case c == '[':
		p.pos++
		return p.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		return p.number()
	}
	for _, w := range [...]struct {
		word string
		kind Kind
	}{{"true", Bool}, {"false", Bool}, {"null", Null}} {
		if strings.HasPrefix(p.text[p.pos:], w.word) {
			p.pos += len(w.word)
			p.add(w.kind, w.word)
			return nil
		}
	}
	return p.fail("not a value")
}

func (p *parser) array(depth int) error {
	start := len(p.nodes)
	p.add(Array, "")
	if !p.next(']') {
		for {
			if err := p.value(depth + 1); err != nil {
				return err
			}
			if p.next(']') {
				break
			}
			if !p.next(',') {
				return p.fail("array is broken")
			}
		}
	}
	p.nodes[start].size = int32(len(p.nodes) - start)
	return nil
}

// manyMembers is where a scan of the earlier names gives way to a map.
const manyMembers = 48

func (p *parser) object(depth int) error {
	start := len(p.nodes)
	p.add(Object, "")
	var names map[string]struct{}
	if !p.next('}') {
		for count := 0; ; count++ {
			p.space()
			if p.pos >= len(p.text) || p.text[p.pos] != '"' {
				return p.fail("object is broken")
			}
			at := len(p.nodes)
			if err := p.string(); err != nil {
				return err
			}
			name := p.nodes[at].text
			if count == manyMembers {
				names = make(map[string]struct{}, 2*manyMembers)
				for i := start + 1; i < at; i += 1 + int(p.nodes[i+1].size) {
					names[p.nodes[i].text] = struct{}{}
				}
			}
			if names == nil {
				for i := start + 1; i < at; i += 1 + int(p.nodes[i+1].size) {
					if p.nodes[i].text == name {
						return p.fail("member is there twice")
					}
				}
			} else {
				if _, twice := names[name]; twice {
					return p.fail("member is there twice")
				}
				names[name] = struct{}{}
			}
			if !p.next(':') {
				return p.fail("object is broken")
			}
			if err := p.value(depth + 1); err != nil {
				return err
			}
			if p.next('}') {
				break
			}
			if !p.next(',') {
				return p.fail("object is broken")
			}
		}
	}
	p.nodes[start].size = int32(len(p.nodes) - start)
	return nil
}

func (p *parser) number() error {
	start := p.pos
	digits := func() bool {
		from := p.pos
		for p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9' {
			p.pos++
		}
		return p.pos > from
	}
	take := func(set string) bool {
		if p.pos < len(p.text) && strings.IndexByte(set, p.text[p.pos]) >= 0 {
			p.pos++
			return true
		}
		return false
	}
	take("-")
	if !take("0") && !digits() {
		return p.fail("number is broken")
	}
	if take(".") && !digits() {
		return p.fail("number is broken")
	}
	if take("eE") {
		take("+-")
		if !digits() {
			return p.fail("number is broken")
		}
	}
	p.add(Number, p.text[start:p.pos])
	return nil
}

// string reads a string whose opening quote stands at p.pos.
func (p *parser) string() error {
	p.pos++
	start := p.pos
	for p.pos < len(p.text) {
		switch c := p.text[p.pos]; {
		case c == '"':
			p.add(String, p.text[start:p.pos])
			p.pos++
			return nil
		case c == '\\':
			return p.escaped(start)
		case c < 0x20:
			return p.fail("control byte in a string")
		case c < utf8.RuneSelf:
			p.pos++
		default:
			if err := p.rune(); err != nil {
				return err
			}
		}
	}
	return p.fail("string does not end")
}

func (p *parser) rune() error {
	r, n := utf8.DecodeRuneInString(p.text[p.pos:])
	if r == utf8.RuneError && n == 1 {
		return p.fail("not UTF-8")
	}
	p.pos += n
	return nil
}

// escaped goes on with a string in which the first backslash stands at p.pos.
func (p *parser) escaped(start int) error {
	b := append(make([]byte, 0, p.pos-start+64), p.text[start:p.pos]...)
	for p.pos < len(p.text) {
		c := p.text[p.pos]
		switch {
		case c == '"':
			p.add(String, string(b))
			p.pos++
			return nil
		case c < 0x20:
			return p.fail("control byte in a string")
		case c >= utf8.RuneSelf:
			from := p.pos
			if err := p.rune(); err != nil {
				return err
			}
			b = append(b, p.text[from:p.pos]...)
			continue
		case c != '\\':
			b = append(b, c)
			p.pos++
			continue
		}
		p.pos++
		if p.pos >= len(p.text) {
			break
		}
		c = p.text[p.pos]
		p.pos++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := p.hex4()
			if ok && utf16.IsSurrogate(r) {
				// A half pair has no UTF-8 form; parsers replace it in
				// different ways, so two names could become one.
				ok = strings.HasPrefix(p.text[p.pos:], `\u`)
				if ok {
					p.pos += 2
					var low rune
					if low, ok = p.hex4(); ok {
						r = utf16.DecodeRune(r, low)
						ok = r != utf8.RuneError
					}
				}
			}
			if !ok {
				return p.fail("escape is broken")
			}
			b = utf8.AppendRune(b, r)
		default:
			return p.fail("escape is broken")
		}
	}
	return p.fail("string does not end")
}

func (p *parser) hex4() (rune, bool) {
	if len(p.text)-p.pos < 4 {
		return 0, false
	}
	var r rune
	for _, c := range []byte(p.text[p.pos : p.pos+4]) {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	p.pos += 4
	return r, true
}
