package resource

import (
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
)

// maxBound is how many references one request may bind (Microsoft Graph).
const maxBound = 20

// Bound returns the ids in a member such as owners@odata.bind.
func Bound(c *wire.Call, body wire.Members, name string) ([]directory.ObjectID, error) {
	raw, ok := body.Get(name + "@odata.bind")
	if !ok {
		return nil, nil
	}
	var refs []string
	if json.Unmarshal(raw, &refs) != nil {
		return nil, wire.Bad("A value of an invalid type was specified for property '%s@odata.bind'.", name)
	}
	if len(refs) > maxBound {
		return nil, wire.Bad("At most %d references can be bound in one request.", maxBound)
	}
	var ids []directory.ObjectID
	for _, ref := range refs {
		id, err := Reference(c, ref)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Reference returns the object that an @odata.id names, such as
// https://graph.microsoft.com/v1.0/directoryObjects/{id}. The host does not
// matter: an id is looked up in the caller's tenant and nothing is fetched.
func Reference(c *wire.Call, ref string) (directory.ObjectID, error) {
	bad := wire.Bad("Invalid URL format specified in @odata.id: '%.200s'.", ref)
	u, err := url.Parse(ref)
	if err != nil || len(ref) > 1024 {
		return "", bad
	}
	path := strings.Split(strings.Trim(strings.NewReplacer("('", "/", "')", "").Replace(u.Path), "/"), "/")
	if len(path) < 2 {
		return "", bad
	}
	set, key := path[len(path)-2], path[len(path)-1]
	if !slices.ContainsFunc([]string{"directoryObjects", "users", "groups", "servicePrincipals", "devices", "applications"}, func(n string) bool { return strings.EqualFold(n, set) }) {
		return "", bad
	}
	if id, ok := directory.ParseGUID(key); ok {
		return directory.ObjectID(id), nil
	}
	if strings.EqualFold(set, "users") {
		if u, err := state.FindUser(c.View, c.Tenant, key); err == nil {
			return u.ID, nil
		}
		return "", wire.Missing(key)
	}
	return "", bad
}

// RefBody reads the body of POST .../$ref.
func RefBody(c *wire.Call) (directory.ObjectID, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return "", err
	}
	raw, ok := body.Get("@odata.id")
	var ref string
	if !ok || json.Unmarshal(raw, &ref) != nil || len(body) != 1 {
		return "", wire.Bad("The body must hold '@odata.id' with the address of the object, and nothing else.")
	}
	return Reference(c, ref)
}
