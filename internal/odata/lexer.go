package odata

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokLiteral
	tokPunct // one of ( ) , / :
)

type token struct {
	kind  tokenKind
	text  string // a name or the punctuation, as written
	value any    // of a literal
	pos   int
}

type lexer struct {
	option, text string
	pos          int
}

func (l *lexer) fail(pos int, format string, args ...any) error {
	return syntaxError(l.option, l.text, pos, format, args...)
}

// next returns the next token.
func (l *lexer) next() (token, error) {
	for l.pos < len(l.text) && (l.text[l.pos] == ' ' || l.text[l.pos] == '\t') {
		l.pos++
	}
	start := l.pos
	if start == len(l.text) {
		return token{kind: tokEnd, pos: start}, nil
	}
	switch c := l.text[start]; {
	case strings.IndexByte("(),/:", c) >= 0:
		l.pos++
		return token{kind: tokPunct, text: l.text[start:l.pos], pos: start}, nil
	case c == '\'':
		return l.quoted(start)
	case isWord(c) || c == '-' || c == '$':
		return l.word(start)
	}
	r, _ := utf8.DecodeRuneInString(l.text[start:])
	return token{}, l.fail(start, "Syntax error: character %q is not valid", r)
}

// quoted reads a string literal, in which a quote is written twice.
func (l *lexer) quoted(start int) (token, error) {
	var b strings.Builder
	for i := start + 1; i < len(l.text); i++ {
		if l.text[i] != '\'' {
			b.WriteByte(l.text[i])
			continue
		}
		if i+1 < len(l.text) && l.text[i+1] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		l.pos = i + 1
		return token{kind: tokLiteral, text: l.text[start:l.pos], value: b.String(), pos: start}, nil
	}
	return token{}, l.fail(start, "There is an unterminated string literal")
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '@' || c >= utf8.RuneSelf
}

// word reads a name, number, date, GUID or keyword: all are runs of the same
// characters, told apart by their form.
func (l *lexer) word(start int) (token, error) {
	i := start
	for i < len(l.text) {
		c := l.text[i]
		// A colon belongs to a time of day only: 2024-01-01T10:30:00Z, +01:00.
		inTime := c == ':' && i-start >= 13 && i-start <= 30 && l.text[start] >= '0' && l.text[start] <= '9'
		if !isWord(c) && c != '-' && c != '.' && c != '$' && c != '+' && !inTime {
			break
		}
		i++
	}
	l.pos = i
	w := l.text[start:i]
	t := token{kind: tokLiteral, text: w, pos: start}
	switch strings.ToLower(w) {
	case "true":
		t.value = true
		return t, nil
	case "false":
		t.value = false
		return t, nil
	case "null":
		return t, nil
	}
	if isGUID(w) {
		t.value = strings.ToLower(w)
		return t, nil
	}
	if c := w[0]; c >= '0' && c <= '9' || c == '-' {
		if n, err := strconv.ParseInt(w, 10, 64); err == nil {
			t.value = n
			return t, nil
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02"} {
			if at, err := time.Parse(layout, strings.ToUpper(w)); err == nil {
				t.value = at.UTC()
				return t, nil
			}
		}
		return token{}, l.fail(start, "Unrecognized '%s' literal '%s'", "Edm.DateTimeOffset", w)
	}
	if strings.IndexByte(w, '.') >= 0 && !strings.HasPrefix(strings.ToLower(w), "microsoft.graph.") || strings.IndexByte(w, '+') >= 0 || strings.IndexByte(w, '-') >= 0 {
		return token{}, l.fail(start, "Syntax error: '%s' is not a property name", w)
	}
	if !utf8.ValidString(w) {
		return token{}, l.fail(start, "Syntax error: the text is not valid UTF-8")
	}
	t.kind = tokName
	return t, nil
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return false
			}
		}
	}
	return true
}
