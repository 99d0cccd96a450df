package wildcard_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"*", "", true},
		{"*", "a/b", true},
		{"", "", true},
		{"", "a", false},
		{"A/b", "a/b", true},
		{"a/*", "a/", true},
		{"a/*", "a", false},
		{"a/*", "a/b/c", true},
		{"*/read", "a/b/read", true},
		{"*/read", "read", false},
		{"a/*/c/*/e", "a/b/c/d/e", true},
		{"a/*/c/*/e", "a/c/e", false},
		{"a*a", "a", false},
		{"a*a", "aa", true},
		{"a**b", "ab", true},
		{"*b*b", "ab", false},
		{"*b*b", "bb", true},
	} {
		p := wildcard.Compile(tc.pattern)
		if got := p.Match(tc.s); got != tc.want {
			t.Errorf("%q matches %q: %v, want %v", tc.pattern, tc.s, got, tc.want)
		}
	}
}

func TestLowerFoldsOnlyASCII(t *testing.T) {
	if got := wildcard.Lower("Ab\u212A"); got != "ab\u212A" {
		t.Errorf("Lower = %q", got)
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a/*/c*", "a/b/c/d")
	f.Add("*aa*a", "aaaa")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		if len(pattern) > 100 || len(s) > 100 {
			return
		}
		pattern, s = wildcard.Lower(pattern), wildcard.Lower(s)
		want := regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(strings.ToValidUTF8(pattern, "?")), `\*`, `.*`) + `$`).MatchString(strings.ToValidUTF8(s, "?"))
		p := wildcard.Compile(strings.ToValidUTF8(pattern, "?"))
		if got := p.Match(strings.ToValidUTF8(s, "?")); got != want {
			t.Errorf("%q matches %q: %v, want %v", pattern, s, got, want)
		}
	})
}

func TestFold(t *testing.T) {
	for in, want := range map[string]string{
		"Kit": "kit", "\u212Ait": "\u212Ait", "\u0130": "\u0130", "\u017f": "\u017f", "\u00c4rger-K": "\u00e4rger-k", "": "",
	} {
		if got := wildcard.Fold(in); got != want {
			t.Errorf("Fold(%q) = %q, want %q", in, got, want)
		}
	}
}
