package condition

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// value is a string together with what it reads as in the family of the
// operator that it stands beside.
type value struct {
	s    string
	n    float64
	t    time.Time
	b    bool
	net  netip.Prefix
	like []likeToken
}

// op is an operator, split into its family, the comparison, and negation.
type op struct {
	name     string // as in the table
	typ      Type
	negative bool
	fold     bool
	compare  comparison // of the positive form
}

type comparison uint8

const (
	equals comparison = iota + 1
	lessThan
	lessThanEquals
	greaterThan
	greaterThanEquals
	startsWith
	matchesLike
	inRange
)

// newOp makes an operator from its row: everything but the comparison itself
// can be read from the name.
func newOp(low string, r Row) op {
	o := op{name: r.Name, typ: r.Type}
	rest := low
	for _, family := range []string{"string", "numeric", "bool", "datetime", "guid", "ip"} {
		if s, ok := strings.CutPrefix(rest, family); ok {
			rest = s
			break
		}
	}
	rest, o.negative = strings.CutPrefix(rest, "not")
	rest, o.fold = strings.CutSuffix(rest, "ignorecase")
	o.compare = comparisons[rest]
	if o.compare == 0 {
		panic("condition: the table has an operator without a comparison: " + r.Name)
	}
	return o
}

var comparisons = map[string]comparison{
	"equals": equals, "lessthan": lessThan, "lessthanequals": lessThanEquals, "greaterthan": greaterThan,
	"greaterthanequals": greaterThanEquals, "startswith": startsWith, "like": matchesLike, "match": inRange,
}

// holds compares two values by the positive form of the operator. It is a
// switch and not a table of functions so that the values stay on the stack.
func (o *op) holds(l, r *value) bool {
	switch o.compare {
	case equals:
		return o.order(l, r) == 0
	case lessThan:
		return o.order(l, r) < 0
	case lessThanEquals:
		return o.order(l, r) <= 0
	case greaterThan:
		return o.order(l, r) > 0
	case greaterThanEquals:
		return o.order(l, r) >= 0
	case startsWith:
		return strings.HasPrefix(l.s, r.s)
	case matchesLike:
		return matchLike(r.like, l.s)
	case inRange:
		return r.net.Contains(l.net.Addr()) && r.net.Bits() <= l.net.Bits()
	}
	return false
}

// order compares two values of the operator's family.
func (o *op) order(l, r *value) int {
	switch o.typ {
	case Number:
		switch {
		case l.n < r.n:
			return -1
		case l.n > r.n:
			return 1
		}
		return 0
	case DateTime:
		return l.t.Compare(r.t)
	case Bool:
		if l.b == r.b {
			return 0
		}
		return 1
	}
	return strings.Compare(l.s, r.s)
}

// read reads s as a value of the operator's family. For the right-hand side
// (pattern true) a StringLike pattern is compiled.
func (o *op) read(s string, pattern bool) (value, bool) {
	v := value{s: s}
	switch o.typ {
	case String:
		if o.fold {
			v.s = strings.Map(wildcard.FoldRune, s)
		}
		if pattern && o.compare == matchesLike {
			v.like = compileLike(v.s)
		}
		return v, true
	case Number:
		n, err := strconv.ParseFloat(s, 64)
		v.n = n
		// NaN compares with nothing; Inf, hex floats and underscores are no
		// numbers of the language.
		return v, err == nil && !strings.ContainsAny(s, "nNxXpP_")
	case Bool:
		switch {
		case strings.EqualFold(s, "true"):
			v.b = true
			return v, true
		case strings.EqualFold(s, "false"):
			return v, true
		}
		return v, false
	case DateTime:
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02"} {
			if t, err := time.Parse(layout, s); err == nil {
				v.t = t
				return v, true
			}
		}
		return v, false
	case GUID:
		// A role definition is often named by its id, of which the last
		// segment is the GUID.
		g, ok := directory.ParseGUID(s[strings.LastIndexByte(s, '/')+1:])
		v.s = g
		return v, ok
	case IP:
		if p, err := netip.ParsePrefix(s); err == nil {
			v.net = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()).Masked()
			return v, p.Addr().Is4() || !p.Addr().Is4In6()
		}
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return v, false
		}
		a = a.Unmap()
		v.net = netip.PrefixFrom(a, a.BitLen())
		return v, true
	}
	return v, false
}

// likeToken is an element of a StringLike pattern: a literal rune, any one
// rune, or any run of runes.
type likeToken struct {
	r    rune
	kind byte // 0 literal, '?' or '*'
}

func compileLike(pattern string) []likeToken {
	var out []likeToken
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			out, escaped = append(out, likeToken{r: r}), false
		case r == '\\':
			escaped = true
		case r == '*':
			if n := len(out); n == 0 || out[n-1].kind != '*' {
				out = append(out, likeToken{kind: '*'})
			}
		case r == '?':
			out = append(out, likeToken{kind: '?'})
		default:
			out = append(out, likeToken{r: r})
		}
	}
	if escaped { // a backslash at the end stands for itself
		out = append(out, likeToken{r: '\\'})
	}
	return out
}

// matchLike matches without recursion: on a mismatch it goes back to the last
// star only, which is enough and keeps the cost at pattern times text.
func matchLike(pattern []likeToken, s string) bool {
	text := []rune(s)
	p, i, star, mark := 0, 0, -1, 0
	for i < len(text) {
		switch {
		case p < len(pattern) && pattern[p].kind == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p].kind == '?' || pattern[p].kind == 0 && pattern[p].r == text[i]):
			p, i = p+1, i+1
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p].kind == '*' {
		p++
	}
	return p == len(pattern)
}
