package audit

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/directory"
)

// Redacted stands in a record for what could be a secret.
const Redacted = "[redacted]"

// Lengths of text in records.
const (
	maxName = 256
	maxText = 1024
)

// How a secret follows its name. An equals sign always joins the two.
const (
	equals = iota
	colon  // a colon does too
	space  // and so does a space
)

// named are words after which a secret follows.
var named = map[string]int{
	"password": colon, "passwd": colon, "pwd": colon, "secret": colon, "client_secret": colon, "clientsecret": colon,
	"bearer": space, "basic": space, "authorization": colon, "pop": equals, "cookie": colon, "set-cookie": colon,
	"refresh_token": colon, "access_token": colon, "id_token": colon, "assertion": colon, "client_assertion": colon,
	"code_verifier": colon, "private_key": colon, "apikey": colon, "api_key": colon, "samlresponse": colon,
	"token": equals, "code": equals, "device_code": equals, "user_code": equals, "otp": equals, "otc": equals, "pin": equals,
	"key": equals, "sig": equals, "signature": equals, "credential": equals, "session": equals, "login_hint_token": equals,
}

// words in the names of properties whose values are never recorded.
var sensitive = []string{"password", "secret", "key", "token", "credential"}

func isSensitive(property string) bool {
	p := strings.ToLower(property)
	return slices.ContainsFunc(sensitive, func(w string) bool { return strings.Contains(p, w) })
}

// text returns s fit for a record: valid, on one line, of bounded length, and
// without anything that looks like a secret. Callers do not hand secrets over;
// this is for what people and clients put where it does not belong.
func text(s string, most int) string {
	// Cut generously first: a hostile megabyte is not worth reading.
	if len(s) > 4*most {
		s = s[:4*most]
	}
	if strings.Contains(s, "-----BEGIN") {
		return Redacted
	}
	plain := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			plain = false
			break
		}
	}
	if !plain {
		s = strings.Map(func(r rune) rune {
			if r < ' ' || r == 0x7f || r == utf8.RuneError {
				return ' '
			}
			return r
		}, strings.ToValidUTF8(s, " "))
	}
	s = redact(s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

func isWord(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("_~-+/.%", c) >= 0
}

// redact replaces the words of s that are, or follow the name of, a secret.
func redact(s string) string {
	var b strings.Builder
	done := 0 // up to here s is in b
	last := struct {
		word string
		end  int
	}{}
	for i := 0; i < len(s); {
		if !isWord(s[i]) {
			i++
			continue
		}
		start := i
		for i < len(s) && isWord(s[i]) {
			i++
		}
		word := s[start:i]
		hide := isSecret(word)
		if n, ok := named[last.word]; ok && !hide {
			gap := s[last.end:start]
			_, isName := named[strings.ToLower(word)]
			plain := strings.Trim(word, "abcdefghijklmnopqrstuvwxyz.") == "" // "basic authentication"
			switch {
			case isName:
			case strings.ContainsRune(gap, '='):
				hide = true
			case n >= colon && strings.ContainsRune(gap, ':'):
				hide = strings.Trim(gap, ` :"'`) == ""
			case n >= space:
				hide = gap == " " && !plain
			}
		}
		if hide {
			if b.Len() == 0 {
				b.Grow(len(s))
			}
			// What was cut apart by a sign that words do not have belongs to it.
			for i < len(s) && s[i] > ' ' && s[i] != '&' && s[i] != '"' && s[i] != '\'' && s[i] != ')' && s[i] != ',' && s[i] != ';' {
				i++
			}
			b.WriteString(s[done:start])
			b.WriteString(Redacted)
			done = i
			last.word = ""
			continue
		}
		last.word, last.end = strings.ToLower(word), i
	}
	if done == 0 {
		return s
	}
	b.WriteString(s[done:])
	return b.String()
}

// isSecret tells whether a word looks made by a machine to be unguessable.
// Words that people and programs use in names, versions and ids do not.
func isSecret(w string) bool {
	if len(w) < 16 {
		return false
	}
	for part := range strings.SplitSeq(w, "/") {
		if isRandom(part) {
			return true
		}
	}
	return false
}

func isRandom(w string) bool {
	if len(w) < 16 {
		return false
	}
	if _, ok := directory.ParseGUID(w); ok {
		return false
	}
	if strings.HasPrefix(w, "eyJ") {
		return true // the start of a JSON object in base64: a token
	}
	var n, upper, lower, digit, turns, hex, base32 int
	var before byte
	longest, part := 0, 0
	for i := range len(w) {
		c := w[i]
		var class byte
		switch {
		case c >= 'a' && c <= 'z':
			class = 'a'
			lower++
		case c >= 'A' && c <= 'Z':
			class = 'A'
			upper++
		case c >= '0' && c <= '9':
			class = '0'
			digit++
		default:
			if c == '-' || c == '.' {
				part = 0
			}
			continue
		}
		n++
		part++
		longest = max(longest, part)
		if class == '0' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F' {
			hex++
		}
		if class == 'A' || c >= '2' && c <= '7' {
			base32++
		}
		if before != 0 && class != before {
			turns++
		}
		before = class
	}
	switch {
	case hex == n && longest >= 32 && digit < n:
		return true
	case base32 == n && longest >= 16 && digit > 1 && upper > 1:
		return true
	case upper > 0 && lower > 0 && digit > 0:
		return n >= 20 && turns*10 >= n*3 || longest >= 16 && turns*10 >= longest*4
	case upper > 0 && lower > 0 && n >= 24:
		return turns*10 >= n*4
	case digit > 0 && longest >= 24:
		return turns*10 >= n*3
	}
	return false
}

// guid returns s if it is a GUID, in lower case, else nothing: an id that is
// none has no place in a record.
func guid[T ~string](s T) T {
	g, ok := directory.ParseGUID(string(s))
	if !ok {
		return ""
	}
	return T(g)
}

// enum returns s if it is a short word of letters and digits, as the values of
// enumerations are, else nothing.
func enum[T ~string](s T) T {
	if len(s) > 48 || redact(string(s)) != string(s) {
		return ""
	}
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == ' ' || c == '_' || c == '-' || c == ':' || c == '.') {
			return ""
		}
	}
	return s
}

func list[T ~string](in []T, one func(T) T) []T {
	out := make([]T, 0, len(in))
	for _, s := range in {
		out = append(out, one(s))
	}
	return out
}

// typedName returns a user name that nobody has: people type their password
// into the wrong field. It must look like a name in a domain that known accepts.
func typedName(s string, known func(domain string) bool) string {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || !strings.Contains(domain, ".") || strings.ContainsAny(s, " \t") || known != nil && !known(strings.ToLower(domain)) {
		if s == "" {
			return ""
		}
		return "[not a user name]"
	}
	return text(s, maxName)
}
