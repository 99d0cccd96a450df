package model

import (
	"encoding/json"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
)

// Deleted returns an object among the deleted items as the resource that it
// was.
func Deleted(at *At, d *state.DeletedObject) (*Object, error) {
	o, err := decode(at, d)
	if err != nil {
		return nil, err
	}
	o.Deleted = d.Deleted
	return o, nil
}

func decode(at *At, d *state.DeletedObject) (*Object, error) {
	switch d.Type {
	case directory.TypeUser:
		var u directory.User
		err := json.Unmarshal(d.Object, &u)
		return Users(at, &u), err
	case directory.TypeGroup:
		var g directory.Group
		err := json.Unmarshal(d.Object, &g)
		return Groups(at, &g), err
	case directory.TypeServicePrincipal:
		var p directory.ServicePrincipal
		err := json.Unmarshal(d.Object, &p)
		return ServicePrincipals(at, &p), err
	}
	var a directory.Application
	err := json.Unmarshal(d.Object, &a)
	return Applications(at, &a), err
}
