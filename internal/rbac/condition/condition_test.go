package condition_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/condition"
)

// tableContext is the context that the comment on condition.Table describes.
func tableContext() *condition.Context {
	csa := func(name string, values ...string) condition.Attribute {
		return condition.Attribute{Name: "Microsoft.Directory/CustomSecurityAttributes/Id:" + name, Values: values}
	}
	at := func(name string, values ...string) condition.Attribute {
		return condition.Attribute{Name: name, Values: values}
	}
	return &condition.Context{
		Action:       "microsoft.containerservice/managedclusters/customresources/read",
		SubOperation: "Blob.List",
		Request: condition.Attributes{
			at("Microsoft.Authorization/roleAssignments:RoleDefinitionId", "/providers/Microsoft.Authorization/roleDefinitions/B24988AC-6180-42a0-ab88-20f7382dd24c"),
			at("Microsoft.Authorization/roleAssignments:PrincipalId", "11111111-1111-1111-1111-111111111111"),
			at("Microsoft.Authorization/roleAssignments:PrincipalType", "User"),
		},
		Resource: condition.Attributes{
			at("Microsoft.ContainerService/managedClusters/customResources:group", "stable.example.com"),
			at("Microsoft.ContainerService/managedClusters/customResources:kind", "crontabs"),
			at("Microsoft.ContainerService/managedClusters/resources:subresource", "pods/log"),
			at("Microsoft.Authorization/roleAssignments:RoleDefinitionId", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"),
			at("Microsoft.Authorization/roleAssignments:PrincipalType", "User"),
		},
		Principal: condition.Attributes{
			csa("Team_Name", "Red"), csa("Team_Level", "7"), csa("Team_Lead", "true"), csa("Team_Projects", "apollo", "gemini"),
			csa("Team_Start", "2026-01-01"), csa("Team_Address", "10.1.2.3"), csa("Team_Odd", "high"), csa("Team_Net", "10.1.2.0/24"),
		},
		Environment: condition.Attributes{at("isPrivateLink", "false")},
		Now:         time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC),
	}
}

// TestTable runs the allow and the refuse case of every row.
func TestTable(t *testing.T) {
	ctx := tableContext()
	for _, r := range condition.Table {
		t.Run(string(r.Kind)+" "+r.Name, func(t *testing.T) {
			if name := strings.TrimSuffix(r.Name, "*]"); !strings.Contains(r.Allow, name) && r.Kind != condition.AttributeName && r.Kind != condition.Logic {
				t.Errorf("the allow case does not use %s", r.Name)
			}
			for _, tc := range []struct {
				text string
				want condition.Result
			}{{r.Allow, condition.True}, {r.Refuse, condition.False}} {
				c, err := condition.Parse(tc.text)
				if err != nil {
					t.Fatalf("%s: %v", tc.text, err)
				}
				if got := c.Eval(ctx); got != tc.want {
					t.Errorf("%s: %v, want %v", tc.text, got, tc.want)
				}
			}
		})
	}
}

const (
	kind  = "@Resource[Microsoft.ContainerService/managedClusters/customResources:kind]"
	level = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Level]"
	odd   = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Odd]"
	none  = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_None]"
	net   = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Net]"
	sets  = "@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Projects]"
)

func TestEval(t *testing.T) {
	for _, tc := range []struct {
		text string
		want condition.Result
	}{
		// missing
		{none + " StringEquals 'x'", condition.False},
		{none + " StringNotEquals 'x'", condition.True},
		{none + " ForAllOfAnyValues:StringEquals {'x'}", condition.False},
		{none + " ForAllOfAllValues:StringNotEquals {'x'}", condition.True},
		{kind + " StringEquals " + none, condition.False},
		// unreadable: no negation opens it
		{odd + " NumericEquals 1", condition.Unknown},
		{odd + " NumericNotEquals 1", condition.Unknown},
		{"!(" + odd + " NumericEquals 1)", condition.Unknown},
		{"(" + odd + " NumericEquals 1) OR " + level + " NumericEquals 7", condition.True},
		{"(" + odd + " NumericEquals 1) AND " + level + " NumericEquals 8", condition.False},
		{"(" + odd + " NumericEquals 1) AND " + level + " NumericEquals 7", condition.Unknown},
		{sets + " StringEquals 'apollo'", condition.Unknown}, // a set where one value is compared
		// attribute on the right
		{sets + " ForAnyOfAnyValues:StringEquals " + kind, condition.False},
		{kind + " ForAllOfAllValues:StringLike " + kind, condition.True},
		// words in any case, both spellings, any white space
		{"not(\n" + kind + "\tstringequals 'x' )\r\nand (exists " + kind + " || NOTEXISTS " + kind + ")", condition.True},
		{"actionmatches{'*/CUSTOMRESOURCES/read'}", condition.True},
		// StringLike escapes
		{kind + ` StringLike 'c*'`, condition.True},
		{kind + ` StringLike 'c\*'`, condition.False},
		{kind + ` StringNotEquals 'it\'s'`, condition.True},
		{kind + " StringLike '*a*b*a*'", condition.False},
		// a range is in a range only as a whole
		{net + " IpMatch '10.1.0.0/16'", condition.True},
		{net + " IpMatch '10.1.2.0/28'", condition.False},
		{net + " IpMatch '2001:db8::/32'", condition.False},
		// look-alikes stay different
		{"@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Name] StringEqualsIgnoreCase 'red'", condition.True},
		{odd + " StringEqualsIgnoreCase 'HIGH'", condition.True},
		{odd + " StringEqualsIgnoreCase 'h\u0130gh'", condition.False}, // I with a dot
		{"!(!(!(" + kind + " StringEquals 'x')))", condition.True},
	} {
		c, err := condition.Parse(tc.text)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if got := c.Eval(tableContext()); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.text, got, tc.want)
		}
		if c.String() != tc.text {
			t.Errorf("String() = %q", c)
		}
	}
}

// TestQuantifiers compares the cross products with their definition.
func TestQuantifiers(t *testing.T) {
	universe := []string{"a", "b", "c"}
	var subsets [][]string
	for m := 1; m < 8; m++ {
		var s []string
		for i, v := range universe {
			if m>>i&1 == 1 {
				s = append(s, v)
			}
		}
		subsets = append(subsets, s)
	}
	any := func(list []string, f func(string) bool) bool {
		for _, v := range list {
			if f(v) {
				return true
			}
		}
		return false
	}
	all := func(list []string, f func(string) bool) bool {
		return !any(list, func(s string) bool { return !f(s) })
	}
	over := map[string]func([]string, func(string) bool) bool{"Any": any, "All": all}
	for _, l := range subsets {
		for _, r := range subsets {
			for lq, left := range over {
				for rq, right := range over {
					for op, cmp := range map[string]func(a, b string) bool{
						"StringEquals":    func(a, b string) bool { return a == b },
						"StringNotEquals": func(a, b string) bool { return a != b },
					} {
						c, err := condition.Parse(none + " For" + lq + "Of" + rq + "Values:" + op + " {'" + strings.Join(r, "','") + "'}")
						if err != nil {
							t.Fatal(err)
						}
						ctx := &condition.Context{Principal: condition.Attributes{{Name: "microsoft.directory/customsecurityattributes/id:team_none", Values: l}}}
						want := left(l, func(a string) bool { return right(r, func(b string) bool { return cmp(a, b) }) })
						if got := c.Eval(ctx) == condition.True; got != want {
							t.Errorf("%v %s: %v, want %v", l, c, got, want)
						}
					}
				}
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct {
		text         string
		line, column int
		message      string
	}{
		{"", 1, 1, "expected an expression"},
		{kind + " StringEquals 'a' AND\n  " + kind + " StringEquals 'b' OR " + kind + " StringEquals 'c'", 2, 95, "mixed"},
		{kind + " StringEqual 'a'", 1, 76, `"StringEqual" is not an operator`},
		{kind + " ForSomeOfAnyValues:StringEquals {'a'}", 1, 76, "not a quantifier"},
		{kind + " ForAnyOfAnyValues:StringEquals 'a'", 1, 107, "expected a set"},
		{kind + " StringEquals {'a'}", 1, 89, "needs a quantifier"},
		{kind + " StringEquals a", 1, 89, "in quotes"},
		{kind + " StringEquals 'a", 1, 89, "no closing quote"},
		{kind + " NumericEquals 1", 1, 1, "is a string"},
		{level + " NumericEquals seven", 1, 86, "is not a number"},
		{level + " NumericEquals NaN", 1, 86, "is not a number"},
		{level + " BoolEquals yes", 1, 83, "is not a boolean"},
		{"@Environment[UtcNow] DateTimeLessThan 'tomorrow'", 1, 39, "is not a date"},
		{"@Environment[UtcNow] StringEquals 'x'", 1, 1, "is a date"},
		{"@Request[Microsoft.Authorization/roleAssignments:PrincipalId] GuidEquals 'x'", 1, 74, "is not a GUID"},
		{"@Device[x] StringEquals 'a'", 1, 1, "not a source"},
		{"@Resource[Microsoft.Storage/x:y] StringEquals 'a'", 1, 11, "no attribute"},
		{"@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:] StringEquals 'a'", 1, 12, "no attribute"},
		{"@Resource", 1, 10, "expected ["},
		{"@Resource[x", 1, 10, "no closing bracket"},
		{"ActionMatches{a}", 1, 15, "in quotes"},
		{"SubOperationMatches{'a*'}", 1, 21, "no wildcards"},
		{"Always", 1, 1, "not a function"},
		{"(Exists " + kind, 1, 83, "expected )"},
		{"Exists " + kind + ")", 1, 82, "unexpected"},
		{"Exists 'a'", 1, 8, "expected an attribute"},
		{"Exists " + kind + " AND", 1, 86, "expected an expression"},
		{"Exists " + kind + " ; drop", 1, 83, "unexpected character"},
		{strings.Repeat("!", 60) + "Exists " + kind, 1, 52, "nests deeper"},
		{strings.Repeat("(", 60) + "Exists " + kind, 1, 52, "nests deeper"},
		{strings.Repeat(" ", condition.MaxLength+1), 1, condition.MaxLength + 1, "longer"},
		{"Exists \xff", 1, 1, "UTF-8"},
	} {
		_, err := condition.Parse(tc.text)
		var se *condition.SyntaxError
		if !errors.As(err, &se) {
			t.Errorf("%.80q: error %v", tc.text, err)
			continue
		}
		if se.Line != tc.line || se.Column != tc.column || !strings.Contains(se.Message, tc.message) {
			t.Errorf("%.80q: %v, want line %d, column %d, %q", tc.text, se, tc.line, tc.column, tc.message)
		}
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%.80q: kind %v", tc.text, errs.KindOf(err))
		}
	}
	if err := condition.Check("1.0", "Exists "+kind); err == nil {
		t.Error("version 1.0 was accepted")
	}
	if err := condition.Check("", "Exists "+kind); err == nil {
		t.Error("a condition without a version was accepted")
	}
	if err := condition.Check("", ""); err != nil {
		t.Error(err)
	}
}

func TestMarkdownHasEveryRow(t *testing.T) {
	md := condition.Markdown()
	if n := strings.Count(md, "\n"); n != len(condition.Table)+2 {
		t.Errorf("%d lines for %d rows", n, len(condition.Table))
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range condition.Table {
		f.Add(r.Allow)
		f.Add(r.Refuse)
	}
	f.Add("((!(ActionMatches{'a'} AND NOT SubOperationMatches{'b'})) OR (" + kind + " StringEquals 'x'))")
	ctx := tableContext()
	f.Fuzz(func(t *testing.T, text string) {
		c, err := condition.Parse(text)
		if err != nil {
			var se *condition.SyntaxError
			if !errors.As(err, &se) || se.Offset < 0 || se.Offset > len(text) {
				t.Fatalf("error %v", err)
			}
			return
		}
		got := c.Eval(ctx)
		// The negation of what parses parses, unless it nests too deep, and is
		// the opposite; Unknown has none.
		n, err := condition.Parse("!(" + text + ")")
		if err != nil {
			if len(text)+3 > condition.MaxLength || strings.Contains(err.Error(), "nests deeper") {
				return
			}
			t.Fatal(err)
		}
		want := map[condition.Result]condition.Result{condition.True: condition.False, condition.False: condition.True, condition.Unknown: condition.Unknown}[got]
		if neg := n.Eval(ctx); neg != want {
			t.Errorf("%s: %v, and its negation %v", text, got, neg)
		}
	})
}

func BenchmarkEval(b *testing.B) {
	c, err := condition.Parse("((!(ActionMatches{'Microsoft.ContainerService/managedClusters/customresources/read'})) OR (" + kind + " StringEquals 'crontabs'))")
	if err != nil {
		b.Fatal(err)
	}
	ctx := tableContext()
	b.ReportAllocs()
	for b.Loop() {
		c.Eval(ctx)
	}
}
