package output

import (
	"bytes"
	"strings"
	"testing"
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

// FuzzQuery holds that no query, however odd, does more than fail.
func FuzzQuery(f *testing.F) {
	for _, q := range []string{"[].name", "a.b.c", "{a:b}", "[?a=='x'].{n:name} | [0]", "sort_by(@, &a)", "let $a = b in $a", "[*].*[]", "a[-1:0:-2]"} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		format, err := New("tsv", q)
		if err != nil {
			return
		}
		format.Print(&bytes.Buffer{}, []any{map[string]any{"name": "x", "a": 1, "b": []any{nil, true}}}, "")
	})
}
