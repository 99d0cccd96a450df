// Package matching reads and evaluates the claims matching expressions of
// flexible federated identity credentials: a subject with wildcards, and further
// claims, in place of one exact subject.
//
// # The language
//
// Version 1, as Microsoft documents it (Flexible federated identity credentials):
// terms joined by " and ", each a claim look-up, an operator and a comparand, with
// one space between them:
//
//	claims['sub'] matches 'repo:contoso/web:ref:refs/heads/*' and claims['repository_id'] eq '456789'
//
// eq compares exactly. In matches a star stands for any run of characters and a
// question mark for one; the pattern covers the whole value. Letter case counts. A
// single quote in a comparand is written twice.
//
// # Which claims
//
// Each platform has its issuers, and the claims and operators that may be used
// with them. Names can be given to somebody else, numbers cannot: where a platform
// has an immutable claim, an expression must use it.
package matching

import (
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/errs"
)

// Bounds of an expression and of the claims that it is met by, in bytes. They are
// ours: matching takes time in proportion to their product.
const (
	maxExpression = 2048
	maxClaim      = 2048
	maxTerms      = 8
)

// Expression is a claims matching expression that has been read.
type Expression struct {
	Value    string
	Language int // always 1
	terms    []term
}

type term struct {
	claim     string
	wild      bool // matches, not eq
	comparand string
}

// platform is an issuer of workload tokens whose claims are known.
type platform struct {
	name   string
	issues func(issuer string) bool
	// claims are those that may be used; the value tells whether with wildcards.
	claims map[string]bool
	// check refuses expressions that leave out what must be in them.
	check func(terms []term) error
}

var platforms = []platform{
	{
		name:   "GitHub",
		issues: func(s string) bool { return s == "https://token.actions.githubusercontent.com" },
		claims: map[string]bool{"sub": true, "job_workflow_ref": true, "repository_id": false, "repository_owner_id": false},
		check: func(terms []term) error {
			if !uses(terms, "repository_id") && !uses(terms, "repository_owner_id") {
				return errs.New(errs.Invalid, "An expression for GitHub must match the claim repository_id or repository_owner_id besides sub.")
			}
			return nil
		},
	},
	{
		name:   "GitLab",
		issues: gitLab,
		claims: map[string]bool{"sub": true, "project_id": false},
		check: func(terms []term) error {
			if !uses(terms, "project_id") && slices.ContainsFunc(terms, func(t term) bool { return t.claim == "sub" && t.mayBegin("project_path:") }) {
				return errs.New(errs.Invalid, "An expression for GitLab whose subject names a project path must match the claim project_id too.")
			}
			return nil
		},
	},
	{
		name:   "Terraform Cloud",
		issues: func(s string) bool { return s == "https://app.terraform.io" || s == "https://app.eu.terraform.io" },
		claims: map[string]bool{"sub": true},
		check:  func([]term) error { return nil },
	},
}

// gitLab reports whether an issuer is https://gitlab.com, or gitlab.NAME.com or
// gitlab.NAME.ca.
func gitLab(issuer string) bool {
	if issuer == "https://gitlab.com" {
		return true
	}
	name, ok := strings.CutPrefix(issuer, "https://gitlab.")
	if !ok {
		return false
	}
	label, end, ok := strings.Cut(name, ".")
	return ok && label != "" && (end == "com" || end == "ca") && !strings.ContainsFunc(label, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	})
}

func uses(terms []term, claim string) bool {
	return slices.ContainsFunc(terms, func(t term) bool { return t.claim == claim })
}

// mayBegin reports whether a value that the term accepts can begin with a text.
func (t *term) mayBegin(text string) bool {
	fixed := t.comparand
	if t.wild {
		if i := strings.IndexAny(fixed, "*?"); i >= 0 {
			if fixed = fixed[:i]; strings.HasPrefix(text, fixed) {
				return true
			}
		}
	}
	return strings.HasPrefix(fixed, text)
}

// Parse reads the claimsMatchingExpression of a credential that trusts an issuer:
// an object with value and languageVersion. Invalid, with a text that says where
// it is wrong.
func Parse(issuer string, raw json.RawMessage) (*Expression, error) {
	var in struct {
		Value    *string `json:"value"`
		Language *int    `json:"languageVersion"`
	}
	if err := json.Unmarshal(raw, &in); err != nil || in.Value == nil {
		return nil, errs.New(errs.Invalid, "A claimsMatchingExpression has the properties value, a text, and languageVersion, a number.")
	}
	if in.Language == nil || *in.Language != 1 {
		return nil, errs.New(errs.Invalid, "The languageVersion of a claimsMatchingExpression must be 1.")
	}
	i := slices.IndexFunc(platforms, func(p platform) bool { return p.issues(issuer) })
	if i < 0 {
		return nil, errs.New(errs.Invalid, "Claims matching expressions are supported with the issuers of GitHub, GitLab and Terraform Cloud alone; %q is none of them.", cut(issuer))
	}
	e := &Expression{Value: *in.Value, Language: 1}
	if err := e.read(&platforms[i]); err != nil {
		return nil, err
	}
	return e, nil
}

func cut(s string) string {
	if len(s) > 100 {
		return strings.ToValidUTF8(s[:100], "") + "..."
	}
	return s
}

func (e *Expression) read(p *platform) error {
	rest := e.Value
	bad := func(format string, args ...any) error {
		at := len(e.Value) - len(rest) + 1
		return errs.New(errs.Invalid, "The claims matching expression is wrong at character %d: "+format, append([]any{at}, args...)...)
	}
	if len(rest) > maxExpression || !utf8.ValidString(rest) {
		return errs.New(errs.Invalid, "The claims matching expression is longer than %d bytes, or not a text.", maxExpression)
	}
	for {
		var t term
		var ok bool
		if rest, ok = strings.CutPrefix(rest, "claims['"); !ok {
			return bad("a claim look-up, claims['NAME'], is expected.")
		}
		if t.claim, rest, ok = strings.Cut(rest, "'] "); !ok {
			return bad("the claim look-up does not end with '] and one space.")
		}
		wild, known := p.claims[t.claim]
		if !known {
			return bad("the claim %q cannot be used with %s.", cut(t.claim), p.name)
		}
		var operator string
		if operator, rest, ok = strings.Cut(rest, " '"); !ok {
			return bad("an operator and a comparand in single quotes are expected.")
		}
		switch operator {
		case "eq":
		case "matches":
			if t.wild = true; !wild {
				return bad("the claim %q can be compared with eq alone.", t.claim)
			}
		default:
			return bad("the operator %q is not known: it is eq or matches.", cut(operator))
		}
		if t.comparand, rest, ok = quoted(rest); !ok {
			return bad("the comparand does not end with a single quote.")
		}
		if t.comparand == "" {
			return bad("the comparand is empty.")
		}
		if e.terms = append(e.terms, t); len(e.terms) > maxTerms {
			return bad("there are more than %d comparisons.", maxTerms)
		}
		if rest == "" {
			break
		}
		if rest, ok = strings.CutPrefix(rest, " and "); !ok {
			return bad("the end, or \" and \", is expected.")
		}
	}
	if !uses(e.terms, "sub") {
		return errs.New(errs.Invalid, "The claims matching expression must match the claim sub.")
	}
	return p.check(e.terms)
}

// quoted reads up to the closing quote, in which a quote is written twice.
func quoted(s string) (text, rest string, ok bool) {
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '\'')
		if i < 0 {
			return "", "", false
		}
		b.WriteString(s[:i])
		if s = s[i+1:]; !strings.HasPrefix(s, "'") {
			return b.String(), s, true
		}
		b.WriteByte('\'')
		s = s[1:]
	}
}

// Match reports whether claims meet the expression, and if not the first claim
// that does not. Claim returns the value of a claim if it is a text.
func (e *Expression) Match(claim func(name string) (string, bool)) (failed string, ok bool) {
	for i := range e.terms {
		t := &e.terms[i]
		v, ok := claim(t.claim)
		if !ok || v == "" || len(v) > maxClaim || !utf8.ValidString(v) || !t.match(v) {
			return t.claim, false
		}
	}
	return "", len(e.terms) > 0
}

func (t *term) match(v string) bool {
	if !t.wild {
		return v == t.comparand
	}
	return match(t.comparand, v)
}

// match is the usual comparison with wildcards: at a mismatch the latest star
// takes one character more.
func match(pattern, v string) bool {
	p, s := []rune(pattern), []rune(v)
	i, j, star, mark := 0, 0, -1, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == s[j]):
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
