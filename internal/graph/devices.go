package graph

import (
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func (s *Service) listDevices(c *wire.Call) (*wire.Response, error) {
	return c.List(resource.Devices.Source(c, model.Device))
}

func (s *Service) countDevices(c *wire.Call) (*wire.Response, error) {
	return c.Count(resource.Devices.Source(c, model.Device))
}

func (s *Service) getDevice(c *wire.Call) (*wire.Response, error) {
	d, err := resource.Device(c, c.View)
	if err != nil {
		return nil, err
	}
	return resource.Tagged(c, state.Devices, d.ID)(c.One(model.Devices(resource.At(c), d), model.Device.Schema(), "devices", nil))
}

func deviceTarget(d *directory.Device, changes []wire.Change) wire.Target {
	return wire.Target{Type: "Device", ID: string(d.ID), DisplayName: d.DisplayName, Changes: changes}
}

func (s *Service) createDevice(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	d := &directory.Device{Tenant: c.Tenant, ID: directory.ObjectID(directory.NewGUID()), Created: c.Now}
	// alternativeSecurityIds, which Microsoft Graph demands, names a key of the
	// device without a proof of it. It is accepted and proves nothing here.
	changes, err := model.Device.Apply(d, &d.Properties, body, "alternativeSecurityIds")
	if err != nil {
		return nil, err
	}
	if d.DisplayName == "" || d.OS == "" || d.OSVersion == "" {
		return nil, wire.Bad("Values are required for the properties 'displayName', 'operatingSystem' and 'operatingSystemVersion' of resource 'Device'.")
	}
	if d.DeviceID == "" {
		d.DeviceID = directory.NewGUID()
	}
	if err := c.Update(func(tx *store.Tx) error { return state.Devices.Create(tx, d) }); err != nil {
		return nil, resource.SameName(err, "deviceId")
	}
	c.Audited(deviceTarget(d, changes))
	return resource.Created(c, model.Devices(resource.At(c), d), "devices")
}

func (s *Service) updateDevice(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var changes []wire.Change
	var d *directory.Device
	err = c.Update(func(tx *store.Tx) error {
		var err error
		if d, err = resource.Device(c, tx); err != nil {
			return err
		}
		key := c.StateKey(d.ID)
		if rev, ok := state.Devices.Rev(tx, key); ok {
			if err := c.CheckMatch(rev); err != nil {
				return err
			}
		}
		return state.Devices.Modify(tx, key, func(n *directory.Device) error {
			var err error
			if changes, err = model.Device.Apply(n, &n.Properties, body); err != nil {
				return err
			}
			if n.DeviceID != d.DeviceID {
				return wire.Bad("Property 'deviceId' is read-only and cannot be set.")
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	c.Audited(deviceTarget(d, changes))
	return wire.NoContent(), nil
}

func (s *Service) deleteDevice(c *wire.Call) (*wire.Response, error) {
	var d *directory.Device
	err := c.Update(func(tx *store.Tx) error {
		var err error
		if d, err = resource.Device(c, tx); err != nil {
			return err
		}
		return state.Delete(tx, c.Tenant, d.ID, c.Now)
	})
	if err != nil {
		return nil, err
	}
	c.Audited(deviceTarget(d, nil))
	return wire.NoContent(), nil
}
