package governance

import (
	"net/http"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

var (
	methodsRead = &wire.Access{
		Permissions: []string{"UserAuthenticationMethod.Read.All", "UserAuthenticationMethod.ReadWrite.All"},
		Roles:       []string{directory.AuthenticationAdministrator}, Read: true,
		Self: true, SelfPermissions: []string{"UserAuthenticationMethod.Read", "UserAuthenticationMethod.ReadWrite"},
	}
	methodsWrite = &wire.Access{
		Permissions: []string{"UserAuthenticationMethod.ReadWrite.All"}, Roles: []string{directory.AuthenticationAdministrator},
		Self: true, SelfPermissions: []string{"UserAuthenticationMethod.ReadWrite"},
	}
)

// passwordMethod is the id that the password has for everybody.
const passwordMethod = "28c10230-6103-485e-b985-444c60001490"

var (
	methodSchema   = schema("authenticationMethod", "id", "displayName", "createdDateTime:t", "model", "aaGuid", "password", "secretKey")
	methodKinds    = map[state.AuthenticatorKind]string{state.TOTP: "softwareOathAuthenticationMethod", state.Passkey: "fido2AuthenticationMethod"}
	methodSegments = map[string]state.AuthenticatorKind{"softwareOathMethods": state.TOTP, "fido2Methods": state.Passkey}
)

func (s *service) methodRoutes() []wire.Route {
	const base = "users/{id}/authentication/"
	r := []wire.Route{
		wire.Get(base+"methods", methodsRead, methodList(func(string) bool { return true }, "methods", true)),
		wire.Get(base+"methods/{id}", methodsRead, methodGet("")),
		wire.Get(base+"passwordMethods", methodsRead, methodList(func(k string) bool { return k == "passwordAuthenticationMethod" }, "passwordMethods", false)),
		wire.Get(base+"passwordMethods/{id}", methodsRead, methodGet("passwordAuthenticationMethod")),
	}
	for segment, kind := range methodSegments {
		name := methodKinds[kind]
		r = append(r,
			wire.Get(base+segment, methodsRead, methodList(func(k string) bool { return k == name }, segment, false)),
			wire.Get(base+segment+"/{id}", methodsRead, methodGet(name)),
			wire.Write(http.MethodDelete, base+segment+"/{id}", methodsWrite, "UserManagement", "Delete authentication method", methodDelete(kind)),
		)
	}
	return r
}

// methodsOf returns the authentication methods of a user. No secret is in them.
func methodsOf(c *wire.Call, u *directory.User) []*item {
	var items []*item
	if u.PasswordHash != "" {
		changed := u.PasswordChanged
		if changed.IsZero() {
			changed = u.Created
		}
		items = append(items, &item{key: passwordMethod, kind: "passwordAuthenticationMethod", members: wire.Obj(
			"id", passwordMethod, "password", nil, "createdDateTime", model.Time(changed))})
	}
	for a := range state.Authenticators.Where(c.View, "user", c.StateKey(u.ID)) {
		i := &item{key: a.ID, kind: methodKinds[a.Kind]}
		if a.Kind == state.Passkey {
			i.members = wire.Obj("id", a.ID, "displayName", a.Name, "createdDateTime", model.Time(a.Created), "model", a.Model)
		} else {
			i.members = wire.Obj("id", a.ID, "displayName", a.Name, "createdDateTime", model.Time(a.Created), "secretKey", nil)
		}
		items = append(items, i)
	}
	return items
}

func methodList(take func(kind string) bool, segment string, typed bool) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		u, err := resource.User(c, c.View)
		if err != nil {
			return nil, err
		}
		var items []*item
		for _, i := range methodsOf(c, u) {
			if take(i.kind) {
				if typed {
					i.members = append(wire.Obj("@odata.type", "#microsoft.graph."+i.kind), i.members...)
				}
				items = append(items, i)
			}
		}
		return list(c, methodSchema, c.Keyed("authentication/"+segment), items)
	}
}

func methodGet(kind string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		u, err := resource.User(c, c.View)
		if err != nil {
			return nil, err
		}
		id, err := c.Key(1)
		if err != nil {
			return nil, err
		}
		for _, i := range methodsOf(c, u) {
			if i.key == resource.Lower(id) && (kind == "" || kind == i.kind) {
				return one(c, methodSchema, c.Keyed("authentication/methods"), i)
			}
		}
		return nil, wire.Missing(id)
	}
}

// methodDelete removes a factor. Of somebody with more rights only a Global
// Administrator may: who has lost the second factor is one password from being
// taken over.
func methodDelete(kind state.AuthenticatorKind) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		u, err := resource.User(c, c.View)
		if err != nil {
			return nil, err
		}
		id, err := c.Key(1)
		if err != nil {
			return nil, err
		}
		err = c.Update(func(tx *store.Tx) error {
			if u.ID != c.ID && resource.Privileged(c, tx, u.ID) && !c.HasRole() {
				return wire.Denied()
			}
			key := c.StateKey(u.ID) + "/" + resource.Lower(id)
			a, err := state.Authenticators.Get(tx, key)
			if err != nil {
				return resource.Missing(err, id)
			}
			if a.Kind != kind {
				return wire.Missing(id)
			}
			return state.Authenticators.Delete(tx, key)
		})
		if err != nil {
			return nil, err
		}
		c.Audited(wire.Target{Type: "User", ID: string(u.ID), DisplayName: u.DisplayName, UPN: u.UserPrincipalName, Changes: []wire.Change{{Name: "StrongAuthenticationMethod", Old: `"` + methodKinds[kind] + `"`}}})
		return wire.NoContent(), nil
	}
}
