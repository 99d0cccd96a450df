package odata

import (
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Query is the checked system query options of one request.
type Query struct {
	Filter    *Filter
	Select    []string // as the schema names them; nil selects the default
	OrderBy   []Order
	Search    *Search
	Expand    []Expand
	Top       int // -1 when absent
	Skip      int
	SkipToken string
	Count     bool
}

// Order is one key of $orderby.
type Order struct {
	Property   string
	Descending bool
}

// Expand is one navigation property of $expand, with its own options.
type Expand struct {
	Name   string
	Select []string // not checked: the type behind the property knows
	Top    int      // -1 when absent
	Expand []Expand
}

// Bounds of the other options.
const (
	maxOption = 4096
	maxNames  = 200
	maxExpand = 20
)

// Options splits the system query options off a raw query string. Names are
// given with their $, in lower case; a name without it counts as the same
// option, as Microsoft Graph has it. An option given twice is refused.
func Options(rawQuery string) (map[string]string, error) {
	options := map[string]string{}
	for part := range strings.SplitSeq(rawQuery, "&") {
		if part == "" {
			continue
		}
		k, v, _ := strings.Cut(part, "=")
		name, err := url.QueryUnescape(k)
		if err != nil {
			return nil, &Error{"", 0, "The query string is not well formed."}
		}
		value, err := url.QueryUnescape(v)
		if err != nil {
			return nil, &Error{name, 0, fmt.Sprintf("The value of the query option '%s' is not well formed.", name)}
		}
		bare, dollar := strings.CutPrefix(strings.ToLower(name), "$")
		known := slices.Contains([]string{"filter", "select", "orderby", "search", "expand", "top", "skip", "skiptoken", "count", "format"}, bare)
		switch {
		case !known && dollar:
			return nil, &Error{name, 0, fmt.Sprintf("The query parameter '%s' is not supported.", name)}
		case !known:
			continue
		}
		if _, twice := options["$"+bare]; twice {
			return nil, &Error{name, 0, fmt.Sprintf("Query option '$%s' was specified more than once, but it must be specified at most once.", bare)}
		}
		options["$"+bare] = value
	}
	return options, nil
}

// ParseQuery checks the system query options of a raw query string against
// schema.
func ParseQuery(rawQuery string, schema *Schema) (*Query, error) {
	options, err := Options(rawQuery)
	if err != nil {
		return nil, err
	}
	return parseOptions(options, schema)
}

func parseOptions(options map[string]string, schema *Schema) (*Query, error) {
	q := &Query{Top: -1}
	var err error
	for name, value := range options {
		if name != "$filter" && name != "$skiptoken" && len(value) > maxOption {
			return nil, &Error{name, maxOption, fmt.Sprintf("The query option '%s' is longer than %d bytes.", name, maxOption)}
		}
	}
	if v, ok := options["$filter"]; ok {
		if q.Filter, err = ParseFilter(v, schema); err != nil {
			return nil, err
		}
	}
	if v, ok := options["$select"]; ok {
		if q.Select, err = parseSelect(v, schema); err != nil {
			return nil, err
		}
	}
	if v, ok := options["$orderby"]; ok {
		if q.OrderBy, err = parseOrderBy(v, schema); err != nil {
			return nil, err
		}
	}
	if v, ok := options["$search"]; ok {
		if q.Search, err = ParseSearch(v, schema); err != nil {
			return nil, err
		}
	}
	if v, ok := options["$expand"]; ok {
		if q.Expand, err = parseExpand(v); err != nil {
			return nil, err
		}
	}
	if v, ok := options["$top"]; ok {
		if q.Top, err = number32("$top", v); err != nil {
			return nil, err
		}
	}
	if v, ok := options["$skip"]; ok {
		if q.Skip, err = number32("$skip", v); err != nil {
			return nil, err
		}
	}
	if v, ok := options["$count"]; ok {
		if q.Count, err = strconv.ParseBool(strings.ToLower(v)); err != nil || len(v) < 4 {
			return nil, &Error{"$count", 0, fmt.Sprintf("Invalid value '%s' for $count query option found. Valid values are: true, false.", clip(v))}
		}
	}
	if v, ok := options["$format"]; ok && !strings.HasPrefix(v, "json") && !strings.HasPrefix(v, "application/json") {
		return nil, &Error{"$format", 0, "The only supported format is JSON."}
	}
	q.SkipToken = options["$skiptoken"]
	return q, nil
}

func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "..."
	}
	return s
}

func number32(option, v string) (int, error) {
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil || n < 0 {
		return 0, &Error{option, 0, fmt.Sprintf("Invalid value '%s' for %s query option found. The %s query option requires a non-negative integer value.", clip(v), option, option)}
	}
	return int(n), nil
}

func parseSelect(text string, schema *Schema) ([]string, error) {
	names, err := nameList("$select", text)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		if n == "*" {
			return nil, nil
		}
		// A path selects the whole complex property.
		first, _, _ := strings.Cut(n, "/")
		p, ok := schema.Lookup(first)
		if !ok {
			return nil, &Error{"$select", strings.Index(text, n), schema.missing(n)}
		}
		if !slices.Contains(out, p.Name) {
			out = append(out, p.Name)
		}
	}
	return out, nil
}

func nameList(option, text string) ([]string, error) {
	var out []string
	for n := range strings.SplitSeq(text, ",") {
		n = strings.TrimSpace(n)
		if n == "" || strings.ContainsAny(n, "'\"()&=") {
			return nil, syntaxError(option, text, max(0, strings.Index(text, n)), "Syntax error")
		}
		if out = append(out, n); len(out) > maxNames {
			return nil, syntaxError(option, text, 0, "More than %d names", maxNames)
		}
	}
	return out, nil
}

func parseOrderBy(text string, schema *Schema) ([]Order, error) {
	var out []Order
	pos := 0
	for part := range strings.SplitSeq(text, ",") {
		words := strings.Fields(part)
		if len(words) == 0 || len(words) > 2 || len(out) == 8 {
			return nil, syntaxError("$orderby", text, pos, "Syntax error")
		}
		p, ok := schema.Lookup(words[0])
		if !ok {
			return nil, &Error{"$orderby", pos, schema.missing(words[0])}
		}
		if p.Collection || p.Type == Complex || p.Type == Binary {
			return nil, syntaxError("$orderby", text, pos, "Sorting by '%s' is not supported", p.Name)
		}
		o := Order{Property: p.Name}
		if len(words) == 2 {
			switch strings.ToLower(words[1]) {
			case "asc":
			case "desc":
				o.Descending = true
			default:
				return nil, syntaxError("$orderby", text, pos, "Syntax error")
			}
		}
		out = append(out, o)
		pos += len(part) + 1
	}
	return out, nil
}

// Compare orders two objects by keys; absent values come first.
func Compare(a, b Object, keys []Order) int {
	for _, k := range keys {
		n := compareValues(a.Property(k.Property), b.Property(k.Property))
		if k.Descending {
			n = -n
		}
		if n != 0 {
			return n
		}
	}
	return 0
}

func compareValues(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return -1
	case b == nil:
		return 1
	}
	if x, ok := a.(bool); ok {
		y, _ := b.(bool)
		switch {
		case x == y:
			return 0
		case y:
			return -1
		}
		return 1
	}
	n, _ := order(a, b)
	return n
}

// maxExpandDepth bounds $expand inside $expand.
const maxExpandDepth = 3

// parseExpand reads name, name($select=a,b;$top=5;$expand=c), ...
func parseExpand(text string) ([]Expand, error) { return expandList(text, text, 0, 1) }

// expandList reads the list in part, which stands at pos of text.
func expandList(part, text string, pos, depth int) ([]Expand, error) {
	if depth > maxExpandDepth {
		return nil, syntaxError("$expand", text, pos, "The recursion limit of '%d' has been exceeded", maxExpandDepth)
	}
	var out []Expand
	for item := range splitOutside(part, ',') {
		name, options, nested := strings.Cut(item, "(")
		name = strings.TrimSpace(name)
		if name == "" || len(out) == maxExpand || strings.ContainsAny(name, ")'; =") {
			return nil, syntaxError("$expand", text, pos, "Syntax error")
		}
		e := Expand{Name: name, Top: -1}
		if nested {
			inner, ok := strings.CutSuffix(strings.TrimRight(options, " "), ")")
			if !ok {
				return nil, syntaxError("$expand", text, pos+len(item), "')' expected")
			}
			if err := e.options(inner, text, pos+strings.IndexByte(item, '(')+1, depth); err != nil {
				return nil, err
			}
		}
		out = append(out, e)
		pos += len(item) + 1
	}
	return out, nil
}

// splitOutside splits s at sep where it stands outside parentheses.
func splitOutside(s string, sep byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		depth, start := 0, 0
		for i := range len(s) {
			switch {
			case s[i] == '(':
				depth++
			case s[i] == ')':
				depth--
			case s[i] == sep && depth == 0:
				if !yield(s[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(s[start:])
	}
}

func (e *Expand) options(list, text string, pos, depth int) error {
	for part := range splitOutside(list, ';') {
		k, v, ok := strings.Cut(part, "=")
		if !ok {
			return syntaxError("$expand", text, pos, "Syntax error")
		}
		var err error
		switch strings.ToLower(strings.TrimPrefix(strings.TrimSpace(k), "$")) {
		case "select":
			e.Select, err = nameList("$expand", v)
		case "top":
			e.Top, err = number32("$top", v)
		case "expand":
			e.Expand, err = expandList(v, text, pos+len(k)+1, depth+1)
		default:
			err = syntaxError("$expand", text, pos, "The option '%s' is not supported here", clip(k))
		}
		if err != nil {
			return err
		}
		pos += len(part) + 1
	}
	return nil
}
