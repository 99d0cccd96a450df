package governance

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/state"
)

// Devices registers devices by proof of their keys.
type Devices interface {
	Register(ctx context.Context, tenant directory.TenantID, in policy.Registration) (*directory.Device, error)
	Enroll(ctx context.Context, tenant directory.TenantID, id directory.ObjectID, proof string) error
}

var (
	// deviceRegister lets the people of the tenant, who become owners.
	deviceRegister = &wire.Access{Permissions: []string{resource.DeviceWrite}, Delegated: []string{resource.DirectoryWrite}, Members: true}
	deviceEnroll   = &wire.Access{Permissions: []string{resource.DeviceWrite}, Delegated: []string{resource.DirectoryWrite}, Roles: []string{directory.CloudDeviceAdministrator}}
)

// deviceRoutes are two actions that Microsoft Graph does not have: its devices
// are registered by a service of their own, which Entrance has here.
func (s *service) deviceRoutes() []wire.Route {
	return []wire.Route{
		wire.Write(http.MethodPost, "devices/registerWithProof", deviceRegister, "Device", "Register device", s.registerDevice),
		wire.Write(http.MethodPost, "devices/{id}/enrollKey", deviceEnroll, "Device", "Add key to device", s.enrollDevice),
	}
}

// deviceRequest is the body of both.
type deviceRequest struct {
	Proof       string `json:"proof"`
	DisplayName string `json:"displayName"`
	OS          string `json:"operatingSystem"`
	OSVersion   string `json:"operatingSystemVersion"`
	TrustType   string `json:"trustType"`
}

func deviceBody(c *wire.Call, names ...string) (deviceRequest, error) {
	var in deviceRequest
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return in, err
	}
	known := map[string]bool{}
	for _, n := range names {
		known[n] = true
	}
	for name := range body {
		if !known[name] {
			return in, wire.Bad("The parameter '%s' does not exist.", name)
		}
	}
	if err := json.Unmarshal(c.Body, &in); err != nil {
		return in, wire.Bad("A parameter has a value of the wrong type.")
	}
	return in, nil
}

// deviceError is the answer to a proof that was not accepted: who calls is known,
// so it is the request that is wrong.
func deviceError(err error) error {
	if errs.Is(err, errs.Unauthenticated) {
		return wire.Bad("%v", err)
	}
	return err
}

func (s *service) registerDevice(c *wire.Call) (*wire.Response, error) {
	if c.AppOnly {
		return nil, wire.Bad("A device is registered by a person. Create it and use enrollKey instead.")
	}
	in, err := deviceBody(c, "proof", "displayName", "operatingSystem", "operatingSystemVersion", "trustType")
	if err != nil {
		return nil, err
	}
	d, err := s.Devices.Register(c.Context, c.Tenant, policy.Registration{
		Proof: in.Proof, DisplayName: in.DisplayName, OS: in.OS, OSVersion: in.OSVersion, TrustType: in.TrustType, Owner: c.ID,
	})
	if err != nil {
		return nil, deviceError(err)
	}
	c.Audited(wire.Target{Type: "Device", ID: string(d.ID), DisplayName: d.DisplayName})
	return resource.Created(c, model.Devices(resource.At(c), d), "devices")
}

func (s *service) enrollDevice(c *wire.Call) (*wire.Response, error) {
	id, err := c.ObjectID(0)
	if err != nil {
		return nil, err
	}
	in, err := deviceBody(c, "proof")
	if err != nil {
		return nil, err
	}
	d, err := state.Devices.Get(c.View, c.StateKey(id))
	if err != nil {
		return nil, err
	}
	if err := s.Devices.Enroll(c.Context, c.Tenant, id, in.Proof); err != nil {
		return nil, deviceError(err)
	}
	c.Audited(wire.Target{Type: "Device", ID: string(d.ID), DisplayName: d.DisplayName})
	return wire.NoContent(), nil
}
