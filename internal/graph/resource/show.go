package resource

import (
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// basicUser is what User.ReadBasic.All and User.Read let a client see of
// people.
var basicUser = []string{"displayName", "givenName", "mail", "surname", "userPrincipalName", "id"}

// VisibleUser returns the properties of users that the caller may see, nil for
// all.
func VisibleUser(c *wire.Call, self bool) []string {
	have := c.Scopes
	if c.AppOnly {
		have = c.Roles
		if c.HasRole(UsersRead.Roles...) || c.HasRole(directory.GlobalReader) {
			return nil
		}
	}
	for _, p := range have {
		if p == wire.AsUser || p != UserReadBasic && slices.Contains(UsersRead.Permissions, p) || self && slices.Contains(UsersRead.SelfPermissions, p) {
			return nil
		}
	}
	return basicUser
}

// SameName is the answer when a unique property is taken.
func SameName(err error, property string) error {
	if errs.Is(err, errs.Exists) {
		return wire.Bad("Another object with the same value for property %s already exists.", property)
	}
	return err
}

// Created shows a new object.
func Created(c *wire.Call, o *model.Object, set string) (*wire.Response, error) {
	m, err := o.Render(nil, nil, false)
	if err != nil {
		return nil, err
	}
	resp := wire.Created(append(wire.Obj("@odata.context", c.Root+"/$metadata#"+set+"/$entity"), m...))
	resp.Header = http.Header{"Location": {c.Root + "/directoryObjects/" + o.ID + "/" + strings.TrimPrefix(o.Kind.Type(), "#")}}
	return resp, nil
}

// Missing puts Graph's words on a NotFound of the tables.
func Missing(err error, id string) error {
	if errs.Is(err, errs.NotFound) {
		return wire.Missing(id)
	}
	return err
}

// ObjectTarget returns an object as the audit log names it.
func ObjectTarget(o *model.Object) wire.Target {
	if o == nil {
		return wire.Target{}
	}
	t := wire.Target{Type: o.Kind.Label, ID: o.ID}
	t.DisplayName, _ = o.Property("displayName").(string)
	t.UPN, _ = o.Property("userPrincipalName").(string)
	return t
}

// Lower is strings.ToLower.
func Lower(s string) string { return strings.ToLower(s) }

// At returns a call's view and time for looking at objects.
func At(c *wire.Call) *model.At { return &model.At{Reader: c.View, Tenant: c.Tenant, Now: c.Now} }

// In is At inside a transaction.
func In(tx *store.Tx, c *wire.Call) *model.At {
	return &model.At{Reader: tx, Tenant: c.Tenant, Now: c.Now}
}

// Privileged reports whether a principal has a directory role, or is in a
// group that can have one, so that only a Global Administrator may change how
// it signs in.
func Privileged(c *wire.Call, r store.Reader, id directory.ObjectID) bool {
	harmless := []string{directory.DirectoryReaders, directory.ReportsReader, directory.SecurityReader}
	for _, role := range state.Roles(r, c.Tenant, id, c.Now) {
		if !slices.Contains(harmless, role) {
			return true
		}
	}
	for _, g := range state.Memberships(r, c.Tenant, id, c.Now) {
		if group, err := state.Groups.Get(r, c.StateKey(g)); err == nil && group.IsAssignableToRole {
			return true
		}
	}
	for _, l := range state.LinkedTo(r, directory.Owner, c.Tenant, id, c.Now) {
		if group, err := state.Groups.Get(r, c.StateKey(l.From)); err == nil && group.IsAssignableToRole {
			return true
		}
	}
	return false
}
