package odata

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/errs"
)

var person = NewSchema("microsoft.graph.user", []Property{
	{Name: "id"}, {Name: "displayName"}, {Name: "mail"}, {Name: "userPrincipalName"},
	{Name: "accountEnabled", Type: Boolean},
	{Name: "age", Type: Int},
	{Name: "createdDateTime", Type: DateTime},
	{Name: "proxyAddresses", Collection: true},
	{Name: "api", Type: Complex},
	{Name: "keys", Type: Complex, Collection: true},
	{Name: "photo", Type: Binary},
}, Function{"atScope", 0}, Function{"assignedTo", 1})

type ann struct{ Map }

func (ann) Call(fn string, args []string) bool {
	return fn == "atScope" || fn == "assignedTo" && args[0] == "me"
}

var subject = ann{Map{
	"id": "3fa85f64-5717-4562-b3fc-2c963f66afa6", "displayName": "Ann O'Hara", "userPrincipalName": "Ann@Contoso.com",
	"accountEnabled": true, "age": int64(40), "createdDateTime": time.Date(2024, 5, 1, 10, 30, 0, 0, time.UTC),
	"proxyAddresses": []string{"smtp:ann@contoso.com", "SMTP:a@b.c"},
	"api":            map[string]any{"version": int64(2), "scopes": []any{map[string]any{"value": "read"}}},
	"keys":           []any{map[string]any{"keyId": "k1", "days": 5.0}, map[string]any{"keyId": "k2", "days": 9.0}},
}}

func TestFilter(t *testing.T) {
	for text, want := range map[string]bool{
		"displayName eq 'ann o''hara'":                         true,
		"DISPLAYNAME eq 'Ann'":                                 false,
		"displayName ne 'Ann'":                                 true,
		"mail eq null":                                         true,
		"mail ne null":                                         false,
		"null eq mail":                                         true,
		"startswith(displayName,'ANN')":                        true,
		"startsWith(displayName, 'ann o''hara and more')":      false,
		"startswith(mail,'a')":                                 false,
		"endswith(userPrincipalName,'@contoso.com')":           true,
		"contains(displayName,'o''h')":                         true,
		"tolower(displayName) eq 'ANN O''HARA'":                true,
		"length(displayName) eq 10":                            true,
		"accountEnabled":                                       true,
		"not accountEnabled":                                   false,
		"accountEnabled eq false or age gt 39":                 true,
		"accountEnabled eq false and age gt 39 or age le 40":   true,
		"accountEnabled eq false and (age gt 39 or age le 40)": false,
		"not (age lt 40) and not startswith(displayName,'B')":  true,
		"age ge 41":                                                           false,
		"age in (1,40)":                                                       true,
		"displayName in ('x','ANN O''HARA')":                                  true,
		"displayName in ('x')":                                                false,
		"createdDateTime ge 2024-05-01T10:30:00Z":                             true,
		"createdDateTime gt 2024-05-01T12:30:00+02:00":                        false,
		"createdDateTime lt 2024-05-02":                                       true,
		"id eq 3FA85F64-5717-4562-b3fc-2c963f66afa6":                          true,
		"proxyAddresses/any(x:x eq 'smtp:a@b.c')":                             true,
		"proxyAddresses/any(p:startswith(p,'smtp:ann'))":                      true,
		"proxyAddresses/all(p:contains(p,'smtp'))":                            true,
		"proxyAddresses/all(p:contains(p,'ann'))":                             false,
		"proxyAddresses/any()":                                                true,
		"proxyAddresses/$count eq 2":                                          true,
		"keys/any(k:k/keyId eq 'k2' and k/days gt 8)":                         true,
		"keys/any(k:k/keyId eq 'k1' and k/days gt 8)":                         false,
		"keys/any(k:proxyAddresses/any(p:p eq k/keyId))":                      false,
		"api/version eq 2":                                                    true,
		"api/scopes/any(s:s/value eq 'READ')":                                 true,
		"api/none/any(s:s/value eq 'READ')":                                   false,
		"atScope()":                                                           true,
		"atScope() and assignedTo('you')":                                     false,
		"assignedTo('me')":                                                    true,
		"(accountEnabled eq true)":                                            true,
		"'a' eq 'A'":                                                          true,
		"startswith(displayName,tolower(displayName))":                        true,
		"displayname EQ 'x' OR NOT (age EQ 3)":                                true,
		"displayName eq 'x' or displayName eq 'y' or displayName ge 'ann o'":  true,
		"userPrincipalName eq 'ann@contoso.com' and accountEnabled eq true  ": true,
	} {
		f, err := ParseFilter(text, person)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got, err := f.Match(subject, &Budget{1000})
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
		again, err := ParseFilter(f.String(), person)
		if err != nil {
			t.Errorf("%s: printed as %s, which fails: %v", text, f, err)
			continue
		}
		if got, _ := again.Match(subject, &Budget{1000}); got != want {
			t.Errorf("%s: printed as %s, which gives %v", text, f, got)
		}
	}
}

func TestFilterRefused(t *testing.T) {
	for _, tt := range []struct {
		text, message string
		offset        int
	}{
		{"", "Expression expected", 0},
		{"name eq 'x'", "Could not find a property named 'name' on type 'microsoft.graph.user'.", 0},
		{"displayName eq 'x", "unterminated string literal", 15},
		{"displayName eq", "Expression expected", 14},
		{"displayName 'x'", "Syntax error", 12},
		{"displayName eq 'a' 'b'", "Syntax error", 19},
		{"displayName eq 5", "Found operand types 'Edm.String' and 'Edm.Int64' for operator kind 'Equal'", 0},
		{"age eq '5'", "incompatible types", 0},
		{"accountEnabled gt true", "incompatible types", 0},
		{"mail gt null", "incompatible types", 0},
		{"createdDateTime eq 2024-13-01", "Unrecognized", 19},
		{"displayName", "not of type Edm.Boolean", 0},
		{"null", "not of type Edm.Boolean", 0},
		{"displayName and accountEnabled", "not of type Edm.Boolean", 0},
		{"proxyAddresses", "not of type Edm.Boolean", 0},
		{"proxyAddresses eq 'x'", "A collection cannot be compared", 0},
		{"api eq 'x'", "cannot be compared", 0},
		{"photo eq null", "cannot be used in a filter", 0},
		{"displayName/any(x:x eq 'a')", "Any/All may only be used following a collection", 12},
		{"displayName/length eq 1", "Could not find a property named 'length'", 12},
		{"proxyAddresses/any(x:y eq 'a')", "Could not find a property named 'y'", 21},
		{"proxyAddresses/all()", "range variable is expected", 19},
		{"proxyAddresses/any(x:proxyAddresses/any(x:x eq 'a'))", "range variable is expected", 40},
		{"startswith(displayName)", "takes 2 arguments", 0},
		{"startswith(displayName,'a','b')", "')' expected", 26},
		{"startswith(age,'a')", "No function signature", 11},
		{"startswith(displayName,null)", "No function signature", 23},
		{"geo(displayName)", "An unknown function with name 'geo' was found", 0},
		{"assignedTo(displayName)", "takes 1 strings", 11},
		{"displayName in ()", "A literal is expected", 16},
		{"displayName in ('a' 'b')", "')' expected", 20},
		{"(displayName eq 'a'", "')' expected", 19},
		{"displayName eq 'a' ; drop", "character ';' is not valid", 19},
		{"display-name eq 'a'", "is not a property name", 0},
	} {
		_, err := ParseFilter(tt.text, person)
		if err == nil {
			t.Errorf("%q was accepted", tt.text)
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || !errs.Is(err, errs.Invalid) {
			t.Errorf("%q: %T is not an invalid *Error", tt.text, err)
			continue
		}
		if !strings.Contains(e.Message, tt.message) || e.Offset != tt.offset {
			t.Errorf("%q: got offset %d, %q; want %d, %q", tt.text, e.Offset, e.Message, tt.offset, tt.message)
		}
		if errs.Message(err) != e.Message {
			t.Errorf("%q: the client would see %q", tt.text, errs.Message(err))
		}
	}
}

// TestFilterBombs holds the bounds that keep a small request from being
// expensive (abuse case 38).
func TestFilterBombs(t *testing.T) {
	for name, text := range map[string]string{
		"parentheses": strings.Repeat("(", 10000) + "accountEnabled" + strings.Repeat(")", 10000)[:1000],
		"not":         strings.Repeat("not ", 100) + "accountEnabled",
		"functions":   strings.Repeat("tolower(", 100) + "displayName" + strings.Repeat(")", 100) + " eq 'a'",
		"or":          "age eq 1" + strings.Repeat(" or age eq 1", 400),
		"in":          "age in (1" + strings.Repeat(",1", 4000) + ")",
		"bytes":       "displayName eq '" + strings.Repeat("a", MaxFilterBytes) + "'",
		"path":        "api" + strings.Repeat("/a", 2000) + " eq 1",
	} {
		if _, err := ParseFilter(text, person); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Nested lambdas multiply; the budget stops them.
	list := make([]any, 300)
	for i := range list {
		list[i] = fmt.Sprint(i)
	}
	f, err := ParseFilter("keys/any(a:keys/any(b:keys/any(c:c eq 'z' and b eq 'z' and a eq 'z')))", person)
	if err != nil {
		t.Fatal(err)
	}
	b := &Budget{100_000}
	if _, err := f.Match(Map{"keys": list}, b); !errors.Is(err, ErrTooCostly) {
		t.Errorf("got %v with %d steps left", err, b.Left)
	}
	if b.Left < -1000 {
		t.Errorf("ran %d steps past the budget", -b.Left)
	}
}

func TestConstraints(t *testing.T) {
	for text, want := range map[string][]Constraint{
		"displayName eq 'A'":                       {{Property: "displayName", Values: []string{"a"}}},
		"'A' eq displayName":                       {{Property: "displayName", Values: []string{"a"}}},
		"startswith(displayName,'A')":              {{Property: "displayName", Prefix: true, Values: []string{"a"}}},
		"startswith('abc',displayName)":            nil,
		"displayName eq 'A' or displayName eq 'B'": {{Property: "displayName", Values: []string{"a", "b"}}},
		"displayName eq 'A' or mail eq 'B'":        nil,
		"not (displayName eq 'A')":                 nil,
		"displayName in ('A','B') and (accountEnabled and mail eq 'm')": {
			{Property: "displayName", Values: []string{"a", "b"}}, {Property: "mail", Values: []string{"m"}},
		},
		"proxyAddresses/any(x:x eq 'A')":                                {{Property: "proxyAddresses", Values: []string{"a"}}},
		"proxyAddresses/all(x:x eq 'A')":                                nil,
		"keys/any(k:k/keyId eq 'A')":                                    nil,
		"proxyAddresses/any(x:displayName eq 'A')":                      nil,
		"displayName eq 'A' or startswith(displayName,'B')":             nil,
		"displayName eq null":                                           nil,
		"startswith(displayName,'A') or startswith(displayName,'B')":    {{Property: "displayName", Prefix: true, Values: []string{"a", "b"}}},
		"(displayName eq 'A' and accountEnabled) or displayName eq 'B'": nil,
	} {
		f, err := ParseFilter(text, person)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if d := cmp.Diff(want, f.Constraints()); d != "" {
			t.Errorf("%s (-want +got):\n%s", text, d)
		}
	}
}

func TestQuery(t *testing.T) {
	q, err := ParseQuery("$filter=startswith(displayName,'A%26B')&%24select=ID,displayname,api/version&$orderby=displayName%20desc,age&$top=5&$skiptoken=abc&$count=true&x=y&$expand=members($select=id,displayName;$top=3),owners&$search=%22displayName:ann%22&$format=json", person)
	if err != nil {
		t.Fatal(err)
	}
	if got := q.Filter.String(); got != "startswith(displayName,'A&B')" {
		t.Errorf("filter %s", got)
	}
	q.Filter, q.Search = nil, nil
	want := &Query{
		Select: []string{"id", "displayName", "api"}, OrderBy: []Order{{"displayName", true}, {"age", false}}, Top: 5, SkipToken: "abc", Count: true,
		Expand: []Expand{{Name: "members", Select: []string{"id", "displayName"}, Top: 3}, {Name: "owners", Top: -1}},
	}
	if d := cmp.Diff(want, q); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	q, err = ParseQuery("$expand=policy($expand=rules($select=id);$select=id),principal", person)
	if err != nil {
		t.Fatal(err)
	}
	nested := []Expand{{Name: "policy", Top: -1, Select: []string{"id"}, Expand: []Expand{{Name: "rules", Top: -1, Select: []string{"id"}}}}, {Name: "principal", Top: -1}}
	if d := cmp.Diff(nested, q.Expand); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, bad := range []string{
		"$expand=a($expand=b($expand=c($expand=d)))", "$expand=a($expand=b", "$expand=a)", "$expand=a(x)",
		"$select=nothing", "$select=id,,mail", "$select=", "$orderby=nothing", "$orderby=id up", "$orderby=api", "$orderby=",
		"$top=-1", "$top=x", "$top=99999999999", "$skip=-2", "$count=1", "$count=yes", "$apply=groupby", "$filter=a&$filter=b",
		"$top=1&top=2", "$expand=", "$expand=a(", "$expand=a($levels=max)", "$expand=a($select=id)b", "$search=displayName:x", "$format=xml",
		"%zz=1", "$top=%zz", "$select=" + strings.Repeat("id,", 3000) + "id",
	} {
		if _, err := ParseQuery(bad, person); !errs.Is(err, errs.Invalid) {
			t.Errorf("%.40s: got %v", bad, err)
		}
	}
}

func TestCompare(t *testing.T) {
	keys := []Order{{"age", true}, {"displayName", false}}
	for _, tt := range []struct {
		a, b Map
		want int
	}{
		{Map{"age": int64(2)}, Map{"age": int64(1)}, -1},
		{Map{"displayName": "b"}, Map{"displayName": "A"}, 1},
		{Map{}, Map{"displayName": "A"}, -1},
		{Map{"displayName": "a"}, Map{"displayName": "A"}, 0},
	} {
		if got := Compare(tt.a, tt.b, keys); got != tt.want {
			t.Errorf("%v against %v: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	on, off := Map{"accountEnabled": true}, Map{"accountEnabled": false}
	if Compare(off, on, []Order{{"accountEnabled", false}}) != -1 || Compare(on, off, []Order{{"accountEnabled", false}}) != 1 {
		t.Error("false sorts before true")
	}
}

func TestSearch(t *testing.T) {
	o := Map{"displayName": "AKS-AdminGroup2 north", "mail": "ann@contoso.com"}
	for text, want := range map[string]bool{
		`"displayName:admin"`:                                     true,
		`"displayName:dmin"`:                                      false,
		`"displayName:group nor"`:                                 true,
		`"displayName:2"`:                                         true,
		`"mail:ann@con"`:                                          true,
		`"displayName:x" OR "mail:ann"`:                           true,
		`"displayName:x" AND "mail:ann"`:                          false,
		`"displayName:aks" AND NOT "mail:bob"`:                    true,
		`NOT "displayName:aks"`:                                   false,
		`"displayName:x" "mail:ann"`:                              false,
		`"displayName:aks" AND "mail:bob" OR "displayName:north"`: true,
	} {
		s, err := ParseSearch(text, person)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got, err := s.Match(o, &Budget{100}); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{``, `displayName:x`, `"displayName:x`, `"x"`, `"nothing:x"`, `"displayName:"`, `"age:4"`, `"displayName:x" AND`, `AND "displayName:x"`, `NOT`, `"displayName:a" XOR "mail:b"`,
		strings.Repeat(`"mail:a" OR `, 100) + `"mail:a"`} {
		if _, err := ParseSearch(bad, person); !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

// FuzzFilter holds that parsing never panics, that an accepted filter has one
// canonical spelling with the same meaning, and that evaluation ends.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{
		"displayName eq 'a' and not (age gt 3 or mail in ('a','b'))", "keys/any(k:k/keyId eq 'x')", "proxyAddresses/$count ge 1",
		"startswith(tolower(displayName),'a')", "atScope() or assignedTo('x')", "createdDateTime ge 2024-05-01T10:30:00Z", "api/a/b/all(x:x)", "((((", "'''", "-9223372036854775808 eq age",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseFilter(text, person)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		b, err := ParseFilter(a.String(), person)
		if err != nil {
			t.Fatalf("%q printed as %q: %v", text, a, err)
		}
		if a.String() != b.String() {
			t.Fatalf("%q and %q", a, b)
		}
		x, errX := a.Match(subject, &Budget{10000})
		y, errY := b.Match(subject, &Budget{10000})
		if errX == nil && errY == nil && x != y {
			t.Fatalf("%q gives %v, %q gives %v", text, x, b, y)
		}
		a.Constraints()
	})
}

func BenchmarkFilterMatch(b *testing.B) {
	f, err := ParseFilter("startswith(displayName,'zoe') or userPrincipalName eq 'ann@contoso.com'", person)
	if err != nil {
		b.Fatal(err)
	}
	budget := &Budget{1 << 62}
	for b.Loop() {
		if ok, err := f.Match(subject, budget); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkParseFilter(b *testing.B) {
	for b.Loop() {
		if _, err := ParseFilter("displayName eq 'N' and mailNickname eq 'N' or startswith(displayName,'x')", benchSchema); err != nil {
			b.Fatal(err)
		}
	}
}

var benchSchema = NewSchema("t", []Property{{Name: "displayName"}, {Name: "mailNickname"}})

func TestSince(t *testing.T) {
	day := time.Date(2024, 5, 1, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"createdDateTime ge 2024-05-01": day,
		"accountEnabled and createdDateTime gt 2024-05-01 and createdDateTime ge 2024-04-01": day,
		"createdDateTime le 2024-05-01":                   {},
		"not (createdDateTime ge 2024-05-01)":             {},
		"createdDateTime ge 2024-05-01 or accountEnabled": {},
		"keys/any(k:k/createdDateTime ge 2024-05-01)":     {},
	} {
		f, err := ParseFilter(text, person)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.Since("createdDateTime"); !got.Equal(want) {
			t.Errorf("%s: %v", text, got)
		}
	}
}
