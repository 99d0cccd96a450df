package resource

import (
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// User returns the user that the first key names: an object id or a user
// principal name.
func User(c *wire.Call, r store.Reader) (*directory.User, error) {
	k := c.Keys[0]
	if k.Name != "" && k.Name != "id" && k.Name != "userprincipalname" {
		return nil, wire.Bad("The key '%.100s' is not defined for this resource.", k.Name)
	}
	u, err := state.FindUser(r, c.Tenant, k.Value)
	if errs.Is(err, errs.NotFound) {
		return nil, wire.Missing(k.Value)
	}
	return u, err
}

// Group returns the group that the first key names.
func Group(c *wire.Call, r store.Reader) (*directory.Group, error) {
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	g, err := state.Groups.Get(r, c.StateKey(id))
	if err != nil {
		return nil, Missing(err, string(id))
	}
	return g, nil
}

// Subject returns the object that the first key names, of the set that the
// path starts with.
func Subject(c *wire.Call, r store.Reader) (*model.Object, error) {
	a := &model.At{Reader: r, Tenant: c.Tenant, Now: c.Now}
	set, _, _ := strings.Cut(c.Route.Pattern, "/")
	switch set {
	case "users":
		u, err := User(c, r)
		if err != nil {
			return nil, err
		}
		return model.Users(a, u), nil
	case "groups":
		g, err := Group(c, r)
		if err != nil {
			return nil, err
		}
		return model.Groups(a, g), nil
	case "applications":
		app, err := Application(c, r)
		if err != nil {
			return nil, err
		}
		return model.Applications(a, app), nil
	case "servicePrincipals":
		p, err := ServicePrincipal(c, r)
		if err != nil {
			return nil, err
		}
		return model.ServicePrincipals(a, p), nil
	case "devices":
		d, err := Device(c, r)
		if err != nil {
			return nil, err
		}
		return model.Devices(a, d), nil
	}
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	if o, ok := model.Find(a, id); ok {
		return o, nil
	}
	return nil, wire.Missing(string(id))
}

// appKey returns the app id of an alternate key appId='...', if the key is one.
func appKey(c *wire.Call) (directory.AppID, bool, error) {
	k := c.Keys[0]
	if k.Name != "appid" {
		return "", false, nil
	}
	id, ok := directory.ParseGUID(k.Value)
	if !ok {
		return "", true, wire.Bad("Invalid value specified for property 'appId': '%.100s'.", k.Value)
	}
	return directory.AppID(id), true, nil
}

// Application returns the registration that the first key names.
func Application(c *wire.Call, r store.Reader) (*directory.Application, error) {
	appID, byApp, err := appKey(c)
	if err != nil {
		return nil, err
	}
	if byApp {
		a, ok := state.Applications.First(r, "appid", string(appID))
		if !ok || a.Tenant != c.Tenant {
			return nil, wire.Missing(string(appID))
		}
		return a, nil
	}
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	a, err := state.Applications.Get(r, c.StateKey(id))
	if err != nil {
		return nil, Missing(err, string(id))
	}
	return a, nil
}

// ServicePrincipal returns the one that the first key names.
func ServicePrincipal(c *wire.Call, r store.Reader) (*directory.ServicePrincipal, error) {
	appID, byApp, err := appKey(c)
	if err != nil {
		return nil, err
	}
	if byApp {
		p, err := state.FindServicePrincipal(r, c.Tenant, appID)
		if err != nil {
			return nil, Missing(err, string(appID))
		}
		return p, nil
	}
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	p, err := state.ServicePrincipals.Get(r, c.StateKey(id))
	if err != nil {
		return nil, Missing(err, string(id))
	}
	return p, nil
}

// Device returns the device that the first key names, by object id or by
// deviceId='...'.
func Device(c *wire.Call, r store.Reader) (*directory.Device, error) {
	if k := c.Keys[0]; k.Name == "deviceid" {
		d, ok := state.Devices.First(r, "deviceid", string(c.Tenant)+"/"+Lower(k.Value))
		if !ok {
			return nil, wire.Missing(k.Value)
		}
		return d, nil
	}
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	d, err := state.Devices.Get(r, c.StateKey(id))
	if err != nil {
		return nil, Missing(err, string(id))
	}
	return d, nil
}
