package output

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

func TestPrint(t *testing.T) {
	one := map[string]any{"name": "web", "id": "/x", "count": 1000000, "on": true, "off": nil,
		"aad": map[string]any{"managed": true, "groups": []string{"a", "b"}}}
	two := map[string]any{"name": "db<1>", "id": "/y", "count": 2}
	list := []any{one, two}
	for _, c := range []struct {
		name, output, query string
		v                   any
		table               Table
		want                string
	}{
		{"json is sorted and not escaped", "json", "", two, "", "{\n  \"count\": 2,\n  \"id\": \"/y\",\n  \"name\": \"db<1>\"\n}\n"},
		{"json of a query", "json", "aad.groups", one, "", "[\n  \"a\",\n  \"b\"\n]\n"},
		{"nothing found prints nothing", "json", "aad.none", one, "", ""},
		{"none", "none", "", one, "", ""},
		{"tsv of a word", "tsv", "name", one, "", "web\n"},
		{"tsv of a truth", "tsv", "on", one, "", "True\n"},
		{"tsv of a list", "tsv", "[].name", list, "", "web\ndb<1>\n"},
		{"tsv keeps the query's order", "tsv", "[].{z:name, a:count}", list, "", "web\t1000000\ndb<1>\t2\n"},
		{"tsv keeps the order behind a filter and a pipe", "tsv", "[?count==`2`].{z:name, a:count} | [0]", list, "", "db<1>\t2\n"},
		{"tsv counts lists", "tsv", "aad", one, "", "2\tTrue\n"},
		{"table leaves ids out", "table", "", two, "", "Count  Name\n-----  -----\n2      db<1>\n"},
		{"table of a query", "table", "[].{Zone:name, Ident:id}", list, "", "Zone   Ident\n-----  -----\nweb    /x\ndb<1>  /y\n"},
		{"a designed table", "table", "", list, "[].{Name:name, Count:count}", "Name   Count\n-----  -------\nweb    1000000\ndb<1>  2\n"},
		{"a designed table of one thing", "table", "", two, "[].{Name:name}", "Name\n-----\ndb<1>\n"},
		{"table of words", "table", "[].name", list, "", "Result\n------\nweb\ndb<1>\n"},
		{"empty table", "table", "", []any{}, "[].{Name:name}", ""},
		{"yaml writes whole numbers", "yaml", "count", one, "", "1000000\n"},
		{"yaml", "yaml", "aad", one, "", "groups:\n- a\n- b\nmanaged: true\n"},
		{"control characters do not reach the terminal", "tsv", "", "a\x1b[2Jb", "", "a[2Jb\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := New(c.output, c.query)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if err := f.Print(&b, c.v, c.table); err != nil {
				t.Fatal(err)
			}
			if b.String() != c.want {
				t.Errorf("got\n%q\nwant\n%q", b.String(), c.want)
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ output, query, want string }{
		{"xml", "", `--output is json, jsonc, none, table, tsv or yaml, not "xml"`},
		{"json", "a.", "is not a JMESPath expression"},
		{"json", "[?", "is not a JMESPath expression"},
	} {
		if _, err := New(c.output, c.query); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c, err, c.want)
		}
	}
}

// TestBounds holds that a query that would make more than the machine has is
// refused before it runs, and that one that people write is not.
func TestBounds(t *testing.T) {
	var list []any
	for i := range 2000 {
		list = append(list, map[string]any{"name": strings.Repeat("x", 20), "id": i, "tags": map[string]any{"a": "b"}, "rules": []any{"r", "s"}})
	}
	double := strings.Repeat("[@, @] | ", 100) + "@"
	for _, q := range []string{
		double, strings.Repeat("[@, @][] | ", 60) + "@", strings.Repeat("{a: @, b: @} | ", 60) + "@",
		"pad_left('x', `1e12`, 'y')", "pad_left('x', sum([*].id), 'y')", "[*].[$, $] | [*].[$, $] | [*].[$, $]",
		"let $a = [@, @] in let $b = [$a, $a] in " + strings.Repeat("let $b = [$b, $b] in ", 40) + "$b",
		"join(to_string(@), [*].name) | join(@, [@, @, @]) | join(@, [@, @])", "map(&" + strings.Repeat("[@, @] | ", 40) + "@, @)",
		"[?length(" + double + ") > `0`]", strings.Repeat("a", maxQuery+1),
	} {
		f, err := New("tsv", q)
		if err == nil {
			err = f.Print(&bytes.Buffer{}, list, "")
		}
		if err == nil {
			t.Errorf("%.60s: not refused", q)
		}
	}
	for _, q := range []string{
		"[].{Name: name, Id: id, Tags: tags, All: @} | [?Id > `5`] | sort_by(@, &Id) | reverse(@)", "length(@)", "join(',', [].name)",
		"[?contains(name, 'x')].name | [0]", "[].[name, id, rules[0], to_string(tags)]", "map(&{n: name}, @)", "group_by(@, &name)",
		"let $n = [0].name in [?name == $n].id", "[].{a: name, b: [id, {c: tags, d: rules}]} | [0:10].b[0]", "pad_left([0].name, `40`, ' ')",
	} {
		f, err := New("tsv", q)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Print(&bytes.Buffer{}, list, ""); err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
}

// counter counts what is printed.
type counter struct{ n int }

func (c *counter) Write(b []byte) (int, error) { c.n += len(b); return len(b), nil }

// FuzzQuery holds that no query, however odd, does more than fail: it does not
// panic, hang, or print more than the bounds allow.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"[].name", "a.b.c", "{a:b}", "[?a=='x'].{n:name} | [0]", "sort_by(@, &a)", "let $a = b in $a", "[*].*[]", "a[-1:0:-2]",
		"[@, @] | [@, @][] | {a: @, b: @}", "pad_left(@[0].name, `99`, 'x')", "map(&[@, $], @)", "join(name, [*].name)", "replace('aa', 'a', 'bb')"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		for _, output := range []string{"tsv", "json", "table", "yaml"} {
			format, err := New(output, q)
			if err != nil {
				return
			}
			out := &counter{}
			start := time.Now()
			format.Print(out, []any{map[string]any{"name": "x", "a": 1, "b": []any{nil, true}}}, "")
			if out.n > 16<<maxResult || time.Since(start) > maxQueryTime+5*time.Second {
				t.Errorf("%q as %s: %d bytes in %v", q, output, out.n, time.Since(start))
			}
		}
	})
}
