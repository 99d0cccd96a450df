package wire

import (
	"encoding/base64"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/odata"
)

// Item is an element of a collection.
type Item interface {
	odata.Object
	// Key orders and identifies the item within its collection.
	Key() string
	// Render returns the item's members: the selected properties, or the
	// default ones for nil. Typed adds @odata.type.
	Render(selected []string, expand []odata.Expand, typed bool) (Object, error)
}

// Source is a collection that a request lists.
type Source struct {
	Schema  *odata.Schema
	Context string // after $metadata#: users
	// Items yields the items with keys above after, in ascending order.
	Items func(after string) iter.Seq[Item]
	// Narrow, if not nil, may yield fewer items than Items as long as it
	// yields all that satisfy one of the constraints. ok is false when no
	// index serves any of them.
	Narrow func(cs []odata.Constraint, after string) (items iter.Seq[Item], ok bool)
	// Typed adds @odata.type to each item: collections of mixed types.
	Typed bool
	// Visible, if not nil, are the only properties that the caller may see.
	Visible []string
	// Plain collections answer $count, $filter and $orderby without the
	// ConsistencyLevel header: those that are not of directory objects.
	Plain bool
}

const (
	defaultPage = 100
	maxPage     = 999
	// maxSteps bounds the evaluation of one request's filter: enough for
	// simple filters over a million objects, a second or so at the worst.
	maxSteps = 8 << 20
)

// token is what a $skiptoken holds: where the page before ended. It decides
// nothing but the place in the caller's own list, so it needs no signature.
type token struct {
	Key   string `json:"k"`
	Order []any  `json:"o,omitempty"`
}

func (t *token) encode() string {
	raw, _ := json.Marshal(t) // strings, numbers and booleans
	return base64.RawURLEncoding.EncodeToString(raw)
}

// PageToken returns the $skiptoken of the page that begins after a key, in the
// order of keys.
func PageToken(key string) string { return (&token{Key: key}).encode() }

func decodeToken(s string) (*token, error) {
	bad := Bad("The '$skiptoken' is invalid.")
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(raw) > 4096 {
		return nil, bad
	}
	t := &token{}
	if json.Unmarshal(raw, t) != nil || t.Key == "" {
		return nil, bad
	}
	return t, nil
}

// List answers a request for a collection.
func (c *Call) List(src Source) (*Response, error) {
	q, err := odata.ParseQuery(c.Query, src.Schema)
	if err != nil {
		return nil, err
	}
	if err := c.advanced(q, &src); err != nil {
		return nil, err
	}
	size := defaultPage
	if q.Top >= 0 {
		if q.Top < 1 || q.Top > maxPage {
			return nil, Fail(http.StatusBadRequest, CodeUnsupportedQuery, "Invalid page size specified: '%d'. Must be between 1 and %d inclusive.", q.Top, maxPage)
		}
		size = q.Top
	}
	var after *token
	if q.SkipToken != "" {
		if after, err = decodeToken(q.SkipToken); err != nil {
			return nil, err
		}
		if len(after.Order) != len(q.OrderBy) {
			return nil, Bad("The '$skiptoken' belongs to another query.")
		}
	}
	p := &pager{q: q, src: &src, size: size, after: after, budget: odata.Budget{Left: maxSteps}}
	if err := p.run(); err != nil {
		return nil, err
	}
	context := src.Context
	if q.Select != nil {
		context += "(" + strings.Join(q.Select, ",") + ")"
	}
	out := Object{{"@odata.context", c.Root + "/$metadata#" + context}}
	if q.Count && (c.Eventual() || src.Plain) {
		out = append(out, Member{"@odata.count", p.total})
	}
	if p.more {
		out = append(out, Member{"@odata.nextLink", c.next(p.last(), q)})
	}
	value := make([]Object, 0, len(p.page))
	for _, it := range p.page {
		o, err := it.Render(visible(q.Select, &src), q.Expand, src.Typed)
		if err != nil {
			return nil, err
		}
		value = append(value, o)
	}
	return OK(append(out, Member{"value", value})), nil
}

// Count answers /$count of a collection.
func (c *Call) Count(src Source) (*Response, error) {
	q, err := odata.ParseQuery(c.Query, src.Schema)
	if err != nil {
		return nil, err
	}
	if !c.Eventual() && !src.Plain {
		return nil, Bad("$count is not currently supported.")
	}
	q.Count, q.OrderBy = true, nil
	if err := c.advanced(q, &src); err != nil {
		return nil, err
	}
	p := &pager{q: q, src: &src, size: 0, budget: odata.Budget{Left: maxSteps}}
	if err := p.run(); err != nil {
		return nil, err
	}
	return &Response{Status: http.StatusOK, Text: strconv.Itoa(p.total)}, nil
}

// One answers a request for a single item.
func (c *Call) One(it Item, schema *odata.Schema, context string, visibleOnly []string) (*Response, error) {
	q, err := odata.ParseQuery(c.Query, schema)
	if err != nil {
		return nil, err
	}
	o, err := it.Render(visible(q.Select, &Source{Visible: visibleOnly}), q.Expand, false)
	if err != nil {
		return nil, err
	}
	if q.Select != nil {
		context += "(" + strings.Join(q.Select, ",") + ")"
	}
	return OK(append(Object{{"@odata.context", c.Root + "/$metadata#" + context + "/$entity"}}, o...)), nil
}

// visible narrows a selection to what the caller may see.
func visible(selected []string, src *Source) []string {
	if src.Visible == nil {
		return selected
	}
	if selected == nil {
		return src.Visible
	}
	out := []string{}
	for _, s := range selected {
		if slices.Contains(src.Visible, s) {
			out = append(out, s)
		}
	}
	return out
}

// advanced refuses what Microsoft Graph answers only with the header
// ConsistencyLevel: eventual, and filters on what the caller may not see.
func (c *Call) advanced(q *odata.Query, src *Source) error {
	if q.Skip > 0 && !src.Plain {
		return Bad("'$skip' is not supported by the service.")
	}
	if src.Visible != nil && q.Filter != nil {
		for _, p := range q.Filter.Properties() {
			if !slices.Contains(src.Visible, p) {
				return Denied()
			}
		}
	}
	if src.Plain {
		return nil
	}
	if q.Search != nil && !c.Eventual() {
		return Fail(http.StatusBadRequest, CodeUnsupportedQuery, "Request with $search query parameter only works through MSGraph with a special request header: 'ConsistencyLevel: eventual'")
	}
	if c.Eventual() && q.Count {
		return nil
	}
	if q.Filter != nil {
		if op, ok := q.Filter.Uses("ne", "not", "endswith", "contains", "$count"); ok {
			names := map[string]string{"ne": "NotEqualsMatch", "not": "Not", "endswith": "EndsWith", "contains": "Contains", "$count": "Count"}
			return Fail(http.StatusBadRequest, CodeUnsupportedQuery, "Operator '%s' is not supported because the required parameters might be missing. Try adding $count=true query parameter and ConsistencyLevel:eventual header. Refer to https://aka.ms/graph-docs/advanced-queries for more information", names[op])
		}
	}
	if len(q.OrderBy) > 0 && q.Filter != nil && !c.Eventual() {
		return Fail(http.StatusBadRequest, CodeUnsupportedQuery, "Sorting not supported for current query.")
	}
	return nil
}

// next returns the address of the page after last.
func (c *Call) next(last *token, q *odata.Query) string {
	var keep []string
	for part := range strings.SplitSeq(c.Query, "&") {
		k, _, _ := strings.Cut(part, "=")
		name, _ := url.QueryUnescape(k)
		if part != "" && strings.TrimPrefix(strings.ToLower(name), "$") != "skiptoken" {
			keep = append(keep, part)
		}
	}
	keep = append(keep, "$skiptoken="+last.encode())
	return c.Root + "/" + c.Path + "?" + strings.Join(keep, "&")
}

// pager finds one page of a collection.
type pager struct {
	q      *odata.Query
	src    *Source
	size   int
	after  *token
	budget odata.Budget
	page   []Item
	total  int
	more   bool
}

func (p *pager) run() error {
	after := ""
	sorted := len(p.q.OrderBy) > 0
	if p.after != nil && !sorted && !p.q.Count {
		after = p.after.Key
	}
	items, ok := iter.Seq[Item](nil), false
	if p.src.Narrow != nil {
		if cs := p.q.Filter.Constraints(); len(cs) > 0 {
			items, ok = p.src.Narrow(cs, after)
		}
	}
	if !ok {
		items = p.src.Items(after)
	}
	for it := range items {
		match, err := p.q.Filter.Match(it, &p.budget)
		if err != nil {
			return err
		}
		if !match {
			continue
		}
		if match, err = p.q.Search.Match(it, &p.budget); err != nil {
			return err
		} else if !match {
			continue
		}
		p.total++
		if p.before(it) {
			continue
		}
		if sorted {
			p.insert(it)
			continue
		}
		if len(p.page) < p.size+p.q.Skip {
			p.page = append(p.page, it)
			continue
		}
		p.more = p.size > 0
		if !p.q.Count {
			break
		}
	}
	if p.q.Skip > 0 {
		p.page = p.page[min(p.q.Skip, len(p.page)):]
	}
	return nil
}

// before reports whether it belongs to an earlier page.
func (p *pager) before(it Item) bool {
	if p.after == nil {
		return false
	}
	if len(p.q.OrderBy) == 0 {
		return it.Key() <= p.after.Key
	}
	n := odata.Compare(it, place{p.after, p.q.OrderBy}, p.q.OrderBy)
	return n < 0 || n == 0 && it.Key() <= p.after.Key
}

// insert keeps the first size items in order.
func (p *pager) insert(it Item) {
	limit := p.size + p.q.Skip
	less := func(a, b Item) int {
		if n := odata.Compare(a, b, p.q.OrderBy); n != 0 {
			return n
		}
		return strings.Compare(a.Key(), b.Key())
	}
	if len(p.page) == limit {
		if p.more = limit > 0; limit == 0 || less(it, p.page[limit-1]) >= 0 {
			return
		}
		p.page = p.page[:limit-1]
	}
	i, _ := slices.BinarySearchFunc(p.page, it, less)
	p.page = slices.Insert(p.page, i, it)
}

func (p *pager) last() *token {
	it := p.page[len(p.page)-1]
	t := &token{Key: it.Key()}
	for _, o := range p.q.OrderBy {
		v := it.Property(o.Property)
		if at, ok := v.(time.Time); ok {
			v = at.Format(time.RFC3339Nano)
		}
		t.Order = append(t.Order, v)
	}
	return t
}

// place is the object at which a page ended, as far as its order goes.
type place struct {
	t    *token
	keys []odata.Order
}

// Property returns the value that the token holds for a key of the order.
func (p place) Property(name string) any {
	for i, k := range p.keys {
		if k.Property != name {
			continue
		}
		switch v := p.t.Order[i].(type) {
		case string:
			if at, err := time.Parse(time.RFC3339Nano, v); err == nil && strings.HasSuffix(name, "DateTime") {
				return at
			}
			return v
		default:
			return v
		}
	}
	return nil
}
