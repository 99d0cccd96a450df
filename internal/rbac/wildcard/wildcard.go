// Package wildcard matches action strings against the patterns of role
// definitions and conditions.
//
// A star stands for any run of characters, slashes included, and may stand
// anywhere. Everything else stands for itself, without regard to ASCII case.
package wildcard

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Pattern is a compiled pattern. The zero value matches only the empty string.
type Pattern struct {
	text   string // lower case
	prefix string
	suffix string
	middle []string // what must occur, in order, between prefix and suffix
	wild   bool
}

// Compile compiles a pattern. Every string is a valid pattern.
func Compile(pattern string) Pattern {
	p := Pattern{text: Lower(pattern)}
	parts := strings.Split(p.text, "*")
	p.prefix = parts[0]
	if len(parts) == 1 {
		return p
	}
	p.wild = true
	p.suffix = parts[len(parts)-1]
	for _, m := range parts[1 : len(parts)-1] {
		if m != "" {
			p.middle = append(p.middle, m)
		}
	}
	return p
}

// String returns the pattern in lower case.
func (p Pattern) String() string { return p.text }

// Wild reports whether the pattern holds a star.
func (p Pattern) Wild() bool { return p.wild }

// Match reports whether the pattern matches s, which must be in lower case
// (see Lower).
func (p *Pattern) Match(s string) bool {
	if !p.wild {
		return s == p.text
	}
	if len(s) < len(p.prefix)+len(p.suffix) || !strings.HasPrefix(s, p.prefix) || !strings.HasSuffix(s, p.suffix) {
		return false
	}
	s = s[len(p.prefix) : len(s)-len(p.suffix)]
	for _, m := range p.middle {
		i := strings.Index(s, m)
		if i < 0 {
			return false
		}
		s = s[i+len(m):]
	}
	return true
}

// Lower returns s with its ASCII letters in lower case. Other letters keep
// their case, so that no look-alike (the Kelvin sign for k, say) folds into a
// name that somebody else owns. It does not allocate when nothing changes.
func Lower(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; 'A' <= c && c <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if 'A' <= b[i] && b[i] <= 'Z' {
					b[i] += 'a' - 'A'
				}
			}
			return string(b)
		}
	}
	return s
}

// Fold returns s with its letters in lower case, but for those outside ASCII
// whose lower case is within (the Kelvin sign's is k, that of the dotted I is
// i): they stay what they are. Names of resources are compared so, by the store
// and by scopes alike: where one took two names for one and the other did not, a
// second spelling would lead around what is written about the first. It does
// not allocate when nothing changes.
func Fold(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return strings.Map(FoldRune, s)
		}
	}
	return Lower(s)
}

// FoldRune is Fold for one rune.
func FoldRune(r rune) rune {
	if l := unicode.ToLower(r); r < utf8.RuneSelf || l >= utf8.RuneSelf {
		return l
	}
	return r
}
