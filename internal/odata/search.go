package odata

import (
	"fmt"
	"strings"
	"unicode"
)

// Search is a checked $search expression: clauses in double quotes, joined by
// AND, OR and NOT.
type Search struct {
	any []searchAll
}

type searchAll []searchTerm

type searchTerm struct {
	property string
	tokens   []string
	not      bool
}

// ParseSearch checks text against schema. Each clause names the property that
// it searches: "displayName:word".
func ParseSearch(text string, schema *Schema) (*Search, error) {
	s := &Search{any: []searchAll{nil}}
	negate, operand := false, true // operand: a clause is expected
	for i := 0; i < len(text); {
		switch rest := text[i:]; {
		case rest[0] == ' ':
			i++
		case strings.HasPrefix(rest, "AND ") && !operand:
			operand, i = true, i+4
		case strings.HasPrefix(rest, "OR ") && !operand:
			s.any = append(s.any, nil)
			operand, i = true, i+3
		case strings.HasPrefix(rest, "NOT ") && operand && !negate:
			negate, i = true, i+4
		case rest[0] == '"':
			clause, n, ok := quotedClause(rest)
			if !ok {
				return nil, syntaxError("$search", text, i, "There is an unterminated string literal")
			}
			term, err := parseClause(clause, schema, text, i)
			if err != nil {
				return nil, err
			}
			term.not = negate
			last := len(s.any) - 1
			s.any[last] = append(s.any[last], term)
			if negate, operand = false, false; len(s.any[last])+len(s.any) > 32 {
				return nil, syntaxError("$search", text, i, "The search has too many clauses")
			}
			i += n
		default:
			return nil, syntaxError("$search", text, i, "Syntax error: character %q is not valid", rest[0])
		}
	}
	if operand || negate {
		return nil, syntaxError("$search", text, len(text), "Expression expected")
	}
	return s, nil
}

// quotedClause returns the content of the double-quoted string that s starts
// with, and its length in s.
func quotedClause(s string) (string, int, bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '"':
			return b.String(), i + 1, true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", 0, false
}

func parseClause(clause string, schema *Schema, text string, pos int) (searchTerm, error) {
	name, value, ok := strings.Cut(clause, ":")
	if !ok {
		return searchTerm{}, syntaxError("$search", text, pos, "The clause must name a property, as in \"displayName:value\"")
	}
	p, ok := schema.Lookup(name)
	if !ok || p.Type != String {
		return searchTerm{}, &Error{"$search", pos, fmt.Sprintf("The property '%s' of type '%s' cannot be searched.", clip(name), schema.Name)}
	}
	t := searchTerm{property: p.Name, tokens: words(value)}
	if len(t.tokens) == 0 || len(t.tokens) > 16 {
		return searchTerm{}, syntaxError("$search", text, pos, "The clause has nothing to search for")
	}
	return t, nil
}

// Match reports whether o is found. A nil search finds all.
func (s *Search) Match(o Object, b *Budget) (bool, error) {
	if s == nil {
		return true, nil
	}
	for _, all := range s.any {
		ok := true
		for _, t := range all {
			if b.Left -= 4; b.Left < 0 {
				return false, ErrTooCostly
			}
			if t.match(o.Property(t.property)) == t.not {
				ok = false
				break
			}
		}
		if ok {
			return true, nil
		}
	}
	return false, nil
}

func (t *searchTerm) match(v any) bool {
	for _, e := range append(elements(v), v) {
		s, ok := e.(string)
		if !ok {
			continue
		}
		have := words(s)
		found := true
		for _, want := range t.tokens {
			found = found && startsOne(have, want)
		}
		if found {
			return true
		}
	}
	return false
}

func startsOne(have []string, want string) bool {
	for _, h := range have {
		if strings.HasPrefix(h, want) {
			return true
		}
	}
	return false
}

// words splits text as the directory's search does: at everything that is not
// a letter or digit, between letters and digits, and where a lower-case letter
// meets an upper-case one.
func words(s string) []string {
	var out []string
	var cur []rune
	flush := func() {
		if len(cur) > 0 {
			out = append(out, strings.ToLower(string(cur)))
			cur = cur[:0]
		}
	}
	var last rune
	for _, r := range s {
		switch {
		case !unicode.IsLetter(r) && !unicode.IsDigit(r):
			flush()
			last = r
			continue
		case unicode.IsDigit(r) != unicode.IsDigit(last) || unicode.IsLower(last) && unicode.IsUpper(r):
			flush()
		}
		cur = append(cur, r)
		last = r
	}
	flush()
	return out
}
