package resources

import (
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

var (
	namespace    = regexp.MustCompile(`^[A-Za-z0-9]+(\.[A-Za-z0-9]+)+$`)
	typeName     = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)
	resourceName = regexp.MustCompile(`^[\p{L}\p{Nd}]([-\w.()~@ \p{L}\p{Nd}]*[-\w()~@\p{L}\p{Nd}])?$`)
)

// reserved are namespaces whose resources have a meaning here: as documents
// without one they would promise what nothing keeps, such as a lock.
var reserved = []string{"microsoft.authorization", "microsoft.resources", "microsoft.management", "microsoft.subscription"}

// genericID reads the id of a resource, or of a collection, from the path.
func genericID(c *wire.Call) (*wire.ID, bool, error) {
	ns := c.Param("namespace")
	if !namespace.MatchString(ns) {
		return nil, false, wire.Fail(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%.100s' is invalid.", ns)
	}
	id := &wire.ID{Subscription: c.Param("sub"), Group: c.Param("group"), Type: ns}
	rest := strings.Split(c.Param("rest"), "/")
	for i, seg := range rest {
		if i%2 == 0 {
			// A second "providers" would be an extension resource, whose action
			// is another one than that of the document it would become.
			if !typeName.MatchString(seg) || strings.EqualFold(seg, "providers") || slices.Contains(reserved, strings.ToLower(ns)) {
				return nil, false, wire.Fail(http.StatusNotFound, "InvalidResourceType", "The resource type '%.100s' could not be found in the namespace '%s' for api version '%s'.", seg, ns, c.APIVersion)
			}
			id.Type += "/" + seg
			continue
		}
		if !resourceName.MatchString(seg) {
			return nil, false, wire.Bad("InvalidResourceName", "Resource name '%.100s' is invalid.", seg)
		}
		id.Names = append(id.Names, seg)
	}
	return id, len(rest)%2 == 1, nil
}

func (p *Provider) getDocument(c *wire.Call) (*wire.Response, error) {
	id, collection, err := genericID(c)
	if err != nil {
		return nil, err
	}
	if !collection {
		if c.Param("group") == "" {
			return nil, wire.Fail(http.StatusNotFound, "InvalidResourceType", "Only resource groups hold resources of the type '%s'.", id.Type)
		}
		r, err := tracked.Get(c.View(), id)
		if err != nil {
			return nil, err
		}
		rev, _ := state.Resources.Rev(c.View(), state.Fold(r.ID))
		return wire.OK(tracked.Read(r)).With("ETag", wire.ETag(rev)), nil
	}
	all, err := tracked.List(c, id.Type)
	if err != nil {
		return nil, err
	}
	if len(id.Names) > 0 {
		// A collection within a resource.
		at := state.Fold(c.Path()) + "/"
		all = slices.DeleteFunc(all, func(r *state.Resource) bool { return !strings.HasPrefix(tracked.Key(r), at) })
	}
	return show(c, all)
}

// whole returns the id of a resource; a collection cannot be written.
func whole(c *wire.Call) (*wire.ID, error) {
	id, collection, err := genericID(c)
	if err == nil && collection {
		err = wire.Fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '%s'.", c.Method)
	}
	return id, err
}

func (p *Provider) putDocument(c *wire.Call) (*wire.Response, error) {
	return p.write(c, func(old, body wire.Document) wire.Document { return body })
}

func (p *Provider) patchDocument(c *wire.Call) (*wire.Response, error) {
	return p.write(c, func(old, body wire.Document) wire.Document {
		return merge(old, body)
	})
}

// merge lays a patch over a document (RFC 7396), except that tags are replaced
// as a whole, as ARM does.
func merge(old, patch wire.Document) wire.Document {
	for name, v := range patch {
		was, okWas := old[name].(map[string]any)
		now, okNow := v.(map[string]any)
		switch {
		case v == nil:
			delete(old, name)
		case okWas && okNow && name != "tags":
			old[name] = map[string]any(merge(was, now))
		default:
			old[name] = v
		}
	}
	return old
}

func (p *Provider) write(c *wire.Call, next func(old, body wire.Document) wire.Document) (*wire.Response, error) {
	id, err := whole(c)
	if err != nil {
		return nil, err
	}
	if _, known := p.Types[state.Fold(id.Type)]; known {
		return nil, wire.Fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '%s'.", c.Method)
	}
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	if _, err := body.Tags(); err != nil {
		return nil, err
	}
	created := false
	err = c.Update(func(tx *store.Tx) error {
		key := state.Fold(id.String())
		rev, exists := state.Resources.Rev(tx, key)
		if err := c.CheckMatch(rev, exists); err != nil {
			return err
		}
		created = !exists
		var old *state.Resource
		was := wire.Document{}
		if exists {
			if old, err = state.Resources.Get(tx, key); err != nil {
				return err
			}
			was = tracked.Read(old)
		} else if c.Method == http.MethodPatch {
			if _, err := tracked.Get(tx, id); err != nil {
				return err
			}
		}
		location := was.Text("location")
		doc := next(was, body.Clone())
		if len(id.Names) == 1 {
			if err := tracked.Location(doc, location, id.Name(), id.Group); err != nil {
				return err
			}
		}
		doc.Set("properties.provisioningState", "Succeeded")
		_, err := tracked.Put(tx, id, old, doc, nil, c.Now)
		return err
	})
	if err != nil {
		return nil, err
	}
	resp, err := p.getDocument(c)
	if err == nil && created {
		resp.Status = http.StatusCreated
	}
	return resp, err
}

func (p *Provider) deleteDocument(c *wire.Call) (*wire.Response, error) {
	id, err := whole(c)
	if err != nil {
		return nil, err
	}
	if _, known := p.Types[state.Fold(id.Type)]; known {
		return nil, wire.Fail(http.StatusMethodNotAllowed, "MethodNotAllowed", "The requested resource does not support http method '%s'.", c.Method)
	}
	err = c.Update(func(tx *store.Tx) error {
		key := state.Fold(id.String())
		rev, exists := state.Resources.Rev(tx, key)
		if err := c.CheckMatch(rev, exists); err != nil {
			return err
		}
		if !exists {
			return errs.New(errs.NotFound, "absent")
		}
		if _, busy := operation.Busy(tx, id.String()); busy {
			return operation.Conflict("unknown")
		}
		return tracked.Remove(tx, c.Tenant, id.String())
	})
	if errs.Is(err, errs.NotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return &wire.Response{Status: http.StatusOK}, nil
}
