// Package output prints what a command found as az does: chosen by a JMESPath
// query, as JSON, YAML, a table or tab-separated values.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/jmespath-community/go-jmespath/pkg/api"
	"github.com/jmespath-community/go-jmespath/pkg/parsing"
	"go.yaml.in/yaml/v4"
)

// Formats are the values of --output.
var Formats = []string{"json", "jsonc", "none", "table", "tsv", "yaml"}

// Format says how a value is printed.
type Format struct {
	name  string
	query api.JMESPath
	node  parsing.ASTNode // the same, for what it can make
	// order holds the names of the query's outermost multi-select hash: its
	// columns, which a Go map forgets.
	order []string
}

// New checks the values of --output and --query.
func New(name, query string) (*Format, error) {
	if !slices.Contains(Formats, name) {
		return nil, fmt.Errorf("--output is %s or %s, not %q", strings.Join(Formats[:len(Formats)-1], ", "), Formats[len(Formats)-1], name)
	}
	f := &Format{name: name}
	if query == "" {
		return f, nil
	}
	if err := f.compile(query); err != nil {
		return nil, err
	}
	return f, nil
}

// compile parses a query. The parser is somebody else's and the query the
// person's, so a panic in it is a query that cannot be understood.
func (f *Format) compile(query string) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("--query %q cannot be understood", query)
		}
	}()
	if len(query) > maxQuery {
		return fmt.Errorf("--query is longer than %d KiB", maxQuery>>10)
	}
	if f.query, err = api.Compile(query); err != nil {
		return fmt.Errorf("--query %q is not a JMESPath expression: %w", query, err)
	}
	if f.node, err = parsing.NewParser().Parse(query); err != nil {
		return err
	}
	f.order = columns(f.node)
	return nil
}

// columns finds the names of the hash that makes the result.
func columns(n parsing.ASTNode) []string {
	if n.NodeType == parsing.ASTMultiSelectHash {
		var names []string
		for _, c := range n.Children {
			if name, ok := c.Value.(string); ok {
				names = append(names, name)
			}
		}
		return names
	}
	switch n.NodeType {
	case parsing.ASTProjection, parsing.ASTSubexpression, parsing.ASTPipe, parsing.ASTValueProjection,
		parsing.ASTFilterProjection, parsing.ASTIndexExpression:
		// What comes last makes the result, unless it only picks from it.
		for _, c := range slices.Backward(n.Children) {
			if found := columns(c); found != nil {
				return found
			}
		}
	}
	return nil
}

// Table says what a table of one kind of thing shows: a JMESPath expression
// that ends in a hash, whose names are the headings.
type Table string

// Print writes v, which is anything that JSON can hold. The table is used if
// the person asked for one and gave no query.
func (f *Format) Print(w io.Writer, v any, table Table) error {
	if f.name == "none" {
		return nil
	}
	v, err := plain(v)
	if err != nil {
		return err
	}
	order := f.order
	if f.query != nil {
		if v, err = search(f.query, f.node, v); err != nil {
			return fmt.Errorf("--query: %w", err)
		}
		// A query that finds nothing prints nothing, as in az.
		if v == nil {
			return nil
		}
	}
	switch f.name {
	case "yaml":
		return printYAML(w, v)
	case "tsv":
		return printTSV(w, v, order)
	case "table":
		if f.query == nil && table != "" {
			shape := &Format{}
			if err := shape.compile(string(table)); err != nil {
				return err
			}
			if _, list := v.([]any); !list && v != nil {
				v = []any{v}
			}
			if v, err = search(shape.query, shape.node, v); err != nil {
				return err
			}
			order = shape.order
		}
		return printTable(w, v, order)
	}
	return printJSON(w, v)
}

// plain turns v into maps, lists and simple values.
func plain(v any) (any, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(b, &out)
}

func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

func printYAML(w io.Writer, v any) error {
	b, err := yaml.Dump(numbers(v), yaml.WithIndent(2))
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

// numbers makes whole numbers integers, which YAML would write as 1e+06.
func numbers(v any) any {
	switch v := v.(type) {
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// keys returns the names of a map: in the query's order, else sorted.
func keys(m map[string]any, order []string) []string {
	var out []string
	for _, k := range order {
		if _, ok := m[k]; ok {
			out = append(out, k)
		}
	}
	if len(out) == len(m) {
		return out
	}
	out = out[:0]
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// text is a simple value as a word. What az prints for null in tsv is None.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return "None"
	case string:
		return clean(v)
	case bool:
		if v {
			return "True"
		}
		return "False"
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// clean keeps what was stored from steering the terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, s)
}

func printTSV(w io.Writer, v any, order []string) error {
	row := func(v any) string {
		switch v := v.(type) {
		case map[string]any:
			var cells []string
			for _, k := range keys(v, order) {
				cells = append(cells, cell(v[k]))
			}
			return strings.Join(cells, "\t")
		case []any:
			var cells []string
			for _, e := range v {
				cells = append(cells, cell(e))
			}
			return strings.Join(cells, "\t")
		}
		return text(v)
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for _, e := range list {
		if _, err := fmt.Fprintln(w, row(e)); err != nil {
			return err
		}
	}
	return nil
}

// cell is one value of a row; a list in a cell is its length, as in az.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case []any:
		return strconv.Itoa(len(v))
	case map[string]any:
		return ""
	}
	return text(v)
}

// skipped are what az leaves out of a table that nobody designed.
var skipped = map[string]bool{"id": true, "type": true, "etag": true, "revision": true}

func printTable(w io.Writer, v any, order []string) error {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) == 0 {
		return nil
	}
	var heads []string
	var rows [][]string
	at := map[string]int{}
	for _, e := range list {
		row := make([]string, len(heads))
		put := func(name, value string) {
			i, ok := at[name]
			if !ok {
				i = len(heads)
				at[name] = i
				heads, row = append(heads, name), append(row, "")
			}
			row[i] = value
		}
		switch e := e.(type) {
		case map[string]any:
			for _, k := range keys(e, order) {
				switch e[k].(type) {
				case []any, map[string]any:
					continue
				}
				if order == nil && skipped[k] {
					continue
				}
				put(title(k), cell(e[k]))
			}
		case []any:
			for i, c := range e {
				put("Column"+strconv.Itoa(i+1), cell(c))
			}
		default:
			put("Result", text(e))
		}
		rows = append(rows, row)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(cells []string) {
		for len(cells) < len(heads) {
			cells = append(cells, "")
		}
		fmt.Fprintln(tw, strings.TrimRight(strings.Join(cells, "\t"), "\t"))
	}
	widths := make([]int, len(heads))
	for _, cells := range append([][]string{heads}, rows...) {
		for i, c := range cells {
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	rules := make([]string, len(heads))
	for i := range rules {
		rules[i] = strings.Repeat("-", widths[i])
	}
	line(heads)
	line(rules)
	for _, r := range rows {
		line(r)
	}
	return tw.Flush()
}

// title is a heading: the first letter large.
func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
