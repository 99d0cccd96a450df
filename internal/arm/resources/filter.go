package resources

import (
	"strings"

	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/state"
)

var resourceSchema = odata.NewSchema("resource", []odata.Property{
	{Name: "resourceType"}, {Name: "name"}, {Name: "resourceGroup"}, {Name: "location"}, {Name: "kind"},
	{Name: "tagName"}, {Name: "tagValue"}, {Name: "subscriptionId"},
})

// queryable is a resource, or one tag of it, as filters see it. A filter on a
// tag's name and value is about one tag.
type queryable struct {
	r          *state.Resource
	doc        wire.Document
	name, text string
}

// Property implements odata.Object.
func (q queryable) Property(name string) any {
	switch strings.ToLower(name) {
	case "resourcetype":
		return q.r.Type
	case "name":
		return q.r.Name
	case "resourcegroup":
		return q.r.Group
	case "subscriptionid":
		return q.r.Subscription
	case "location", "kind":
		return q.doc.Text(strings.ToLower(name))
	case "tagname":
		return q.name
	case "tagvalue":
		return q.text
	}
	return nil
}

// filterSteps bounds the evaluation of one filter over one list.
const filterSteps = 5_000_000

// filter reads $filter of a list of resources or groups.
func filter(c *wire.Call) (func(*state.Resource) bool, error) {
	text := c.Query.Get("$filter")
	if text == "" {
		return func(*state.Resource) bool { return true }, nil
	}
	f, err := odata.ParseFilter(text, resourceSchema)
	if err != nil {
		return nil, wire.Bad("InvalidFilterInQueryString", "Invalid $filter '%.200s' specified in the query string: %s", text, errs.Message(err))
	}
	budget := &odata.Budget{Left: filterSteps}
	return func(r *state.Resource) bool {
		doc := tracked.Read(r)
		q := queryable{r: r, doc: doc}
		match := func(q queryable) bool {
			ok, err := f.Match(q, budget)
			return err == nil && ok
		}
		tags, err := doc.Tags()
		if err != nil || len(tags) == 0 {
			return match(q)
		}
		for k, v := range tags {
			if q.name, q.text = k, v; match(q) {
				return true
			}
		}
		return false
	}, nil
}
