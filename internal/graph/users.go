package graph

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/password"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func (s *Service) listUsers(c *wire.Call) (*wire.Response, error) {
	src := resource.Users.Source(c, model.User)
	src.Visible = resource.VisibleUser(c, false)
	return c.List(src)
}

func (s *Service) countUsers(c *wire.Call) (*wire.Response, error) {
	src := resource.Users.Source(c, model.User)
	src.Visible = resource.VisibleUser(c, false)
	return c.Count(src)
}

func (s *Service) getUser(c *wire.Call) (*wire.Response, error) {
	u, err := resource.User(c, c.View)
	if err != nil {
		return nil, err
	}
	return resource.Tagged(c, state.Users, u.ID)(c.One(model.Users(resource.At(c), u), model.User.Schema(), "users", resource.VisibleUser(c, u.ID == c.ID)))
}

// passwordProfile is how a client sets a password.
type passwordProfile struct {
	Password     *string `json:"password"`
	Force        *bool   `json:"forceChangePasswordNextSignIn"`
	ForceWithMFA *bool   `json:"forceChangePasswordNextSignInWithMfa"`
}

func parseProfile(body wire.Members) (*passwordProfile, error) {
	raw, ok := body.Get("passwordProfile")
	if !ok || string(raw) == "null" {
		return nil, nil
	}
	var m wire.Members
	if json.Unmarshal(raw, &m) != nil {
		return nil, wire.Bad("A value of an invalid type was specified for property 'passwordProfile' of resource 'User'.")
	}
	p := &passwordProfile{}
	return p, m.Fields(map[string]any{"password": &p.Password, "forceChangePasswordNextSignIn": &p.Force, "forceChangePasswordNextSignInWithMfa": &p.ForceWithMFA})
}

// hash checks a new password against the rules and hashes it. It is slow and
// is called outside transactions.
func (s *Service) hash(c *wire.Call, upn, pw string) (string, error) {
	local, _, _ := strings.Cut(upn, "@")
	if err := password.Check(pw, local); err != nil {
		return "", wire.Bad("The specified password does not comply with password complexity requirements. Please provide a different password. %s", errs.Message(err))
	}
	return s.passwords.Hash(c.Context, pw)
}

func (s *Service) createUser(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	u := &directory.User{Tenant: c.Tenant, ID: directory.ObjectID(directory.NewGUID()), Created: c.Now, PasswordChanged: c.Now}
	changes, err := model.User.Apply(u, &u.Properties, body, "passwordProfile")
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"accountEnabled", "displayName", "mailNickname", "userPrincipalName"} {
		if raw, ok := body.Get(name); !ok || string(raw) == "null" || string(raw) == `""` {
			return nil, wire.Bad("A value is required for property '%s' of resource 'User'.", name)
		}
	}
	profile, err := parseProfile(body)
	if err != nil {
		return nil, err
	}
	if profile == nil || profile.Password == nil {
		return nil, wire.Bad("A password must be specified to create a new user.")
	}
	// The name is judged before the slow hash, so that a refused request is cheap.
	t, err := state.Tenants.Get(c.View, string(c.Tenant))
	if err != nil {
		return nil, err
	}
	if err := state.CheckUserPrincipalName(t, u.UserPrincipalName); err != nil {
		return nil, err
	}
	if u.PasswordHash, err = s.hash(c, u.UserPrincipalName, *profile.Password); err != nil {
		return nil, err
	}
	u.MustChangePassword = profile.Force == nil || *profile.Force
	if err := c.Update(func(tx *store.Tx) error { return state.CreateUser(tx, u) }); err != nil {
		return nil, resource.SameName(err, "userPrincipalName")
	}
	c.Audited(wire.Target{Type: "User", ID: string(u.ID), DisplayName: u.DisplayName, UPN: u.UserPrincipalName, Changes: changes})
	return resource.Created(c, model.Users(resource.At(c), u), "users")
}

// ownProperties are what people may change about themselves.
var ownProperties = []string{"mobilePhone", "businessPhones", "faxNumber", "aboutMe", "birthday", "interests", "mySite", "pastProjects", "preferredName", "responsibilities", "schools", "skills", "preferredLanguage"}

func (s *Service) updateUser(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	profile, err := parseProfile(body)
	if err != nil {
		return nil, err
	}
	old, err := resource.User(c, c.View)
	if err != nil {
		return nil, err
	}
	if err := s.mayUpdate(c, old, body, profile); err != nil {
		return nil, err
	}
	hash := ""
	if profile != nil && profile.Password != nil {
		if hash, err = s.hash(c, old.UserPrincipalName, *profile.Password); err != nil {
			return nil, err
		}
	}
	t, err := state.Tenants.Get(c.View, string(c.Tenant))
	if err != nil {
		return nil, err
	}
	var changes []wire.Change
	err = c.Update(func(tx *store.Tx) error {
		if _, err := s.sensitive(c, tx, old.ID, body, profile); err != nil {
			return err
		}
		guard, err := keepAdministrator(c, tx, old.ID)
		if err != nil {
			return err
		}
		key := c.StateKey(old.ID)
		if rev, ok := state.Users.Rev(tx, key); ok {
			if err := c.CheckMatch(rev); err != nil {
				return err
			}
		}
		err = state.Users.Modify(tx, key, func(u *directory.User) error {
			wasEnabled, wasName := u.Enabled, u.UserPrincipalName
			if changes, err = model.User.Apply(u, &u.Properties, body, "passwordProfile"); err != nil {
				return err
			}
			if u.DisplayName == "" {
				return wire.Bad("Invalid value specified for property 'displayName' of resource 'User'.")
			}
			if u.UserPrincipalName != wasName {
				if err := state.CheckUserPrincipalName(t, u.UserPrincipalName); err != nil {
					return err
				}
			}
			if wasEnabled && !u.Enabled {
				u.SessionsValidFrom, u.AccessRevoked = c.Now, c.Now
			}
			if profile != nil {
				if hash != "" {
					// Whoever knew the old password is out, everywhere.
					u.PasswordHash, u.PasswordChanged, u.SessionsValidFrom, u.AccessRevoked = hash, c.Now, c.Now, c.Now
					u.MustChangePassword = true
					changes = append(changes, wire.Change{Name: "passwordProfile.password", New: `"(set)"`})
				}
				if profile.Force != nil {
					u.MustChangePassword = *profile.Force
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return guard()
	})
	if err != nil {
		return nil, resource.SameName(err, "userPrincipalName")
	}
	c.Audited(wire.Target{Type: "User", ID: string(old.ID), DisplayName: old.DisplayName, UPN: old.UserPrincipalName, Changes: changes})
	return wire.NoContent(), nil
}

// mayUpdate refuses what the route's own rule, which lets people change some
// things about themselves, does not cover.
func (s *Service) mayUpdate(c *wire.Call, u *directory.User, body wire.Members, profile *passwordProfile) error {
	if profile != nil {
		if err := c.Require(passwordsReset, u.ID); err != nil {
			return err
		}
	}
	for name := range body {
		own := slices.ContainsFunc(ownProperties, func(o string) bool { return strings.EqualFold(o, name) })
		if strings.EqualFold(name, "passwordProfile") || own && u.ID == c.ID {
			continue
		}
		if err := c.Require(usersAdminister, u.ID); err != nil {
			return err
		}
	}
	_, err := s.sensitive(c, c.View, u.ID, body, profile)
	return err
}

// sensitive refuses changes by which a lesser administrator could take over or
// lock out a greater one.
func (s *Service) sensitive(c *wire.Call, r store.Reader, id directory.ObjectID, body wire.Members, profile *passwordProfile) (bool, error) {
	touches := profile != nil
	for _, name := range []string{"accountEnabled", "userPrincipalName", "mobilePhone", "businessPhones", "otherMails", "onPremisesImmutableId", "userType", "mail"} {
		if _, ok := body.Get(name); ok && id != c.ID {
			touches = true
		}
	}
	if touches && resource.Privileged(c, r, id) && !c.HasRole() && !(id == c.ID && profile == nil) {
		return true, wire.Denied()
	}
	return touches, nil
}

func (s *Service) deleteUser(c *wire.Call) (*wire.Response, error) {
	u, err := resource.User(c, c.View)
	if err != nil {
		return nil, err
	}
	err = c.Update(func(tx *store.Tx) error {
		if resource.Privileged(c, tx, u.ID) && !c.HasRole() {
			return wire.Denied()
		}
		guard, err := keepAdministrator(c, tx, u.ID)
		if err != nil {
			return err
		}
		if err := state.Delete(tx, c.Tenant, u.ID, c.Now); err != nil {
			return resource.Missing(err, string(u.ID))
		}
		return guard()
	})
	if err != nil {
		return nil, err
	}
	c.Audited(wire.Target{Type: "User", ID: string(u.ID), DisplayName: u.DisplayName, UPN: u.UserPrincipalName})
	return wire.NoContent(), nil
}

func (s *Service) revokeSessions(c *wire.Call) (*wire.Response, error) {
	u, err := resource.User(c, c.View)
	if err != nil {
		return nil, err
	}
	err = c.Update(func(tx *store.Tx) error {
		if u.ID != c.ID && resource.Privileged(c, tx, u.ID) && !c.HasRole() {
			return wire.Denied()
		}
		return resource.Missing(state.Users.Modify(tx, c.StateKey(u.ID), func(u *directory.User) error {
			u.SessionsValidFrom, u.AccessRevoked = c.Now, c.Now
			return nil
		}), string(u.ID))
	})
	if err != nil {
		return nil, err
	}
	c.Audited(wire.Target{Type: "User", ID: string(u.ID), DisplayName: u.DisplayName, UPN: u.UserPrincipalName})
	return c.Value("Edm.Boolean", true), nil
}

func (s *Service) changePassword(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var current, next string
	if err := body.Fields(map[string]any{"currentPassword": &current, "newPassword": &next}, "currentPassword", "newPassword"); err != nil {
		return nil, err
	}
	u, err := resource.User(c, c.View)
	if err != nil {
		return nil, err
	}
	if u.ID != c.ID || c.AppOnly {
		return nil, wire.Denied()
	}
	ok, _, err := s.passwords.Verify(c.Context, u.PasswordHash, current)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, wire.Bad("The specified password does not match the current password of the user.")
	}
	if current == next {
		return nil, wire.Bad("The new password must differ from the current one.")
	}
	hash, err := s.hash(c, u.UserPrincipalName, next)
	if err != nil {
		return nil, err
	}
	err = c.Update(func(tx *store.Tx) error {
		return resource.Missing(state.Users.Modify(tx, c.StateKey(u.ID), func(now *directory.User) error {
			if now.PasswordHash != u.PasswordHash {
				return errs.New(errs.Conflict, "The password was changed by somebody else at the same time.")
			}
			now.PasswordHash, now.PasswordChanged, now.SessionsValidFrom, now.MustChangePassword = hash, c.Now, c.Now, false
			return nil
		}), string(u.ID))
	})
	if err != nil {
		return nil, err
	}
	c.Audited(wire.Target{Type: "User", ID: string(u.ID), DisplayName: u.DisplayName, UPN: u.UserPrincipalName})
	return wire.NoContent(), nil
}

// passwordMethod is the id that the password has among everybody's
// authentication methods.
const passwordMethod = "28c10230-6103-485e-b985-444c60001490"

// resetPassword answers .../authentication/methods/{id}/resetPassword: with a
// new password, or with one that is made here and shown this once.
func (s *Service) resetPassword(c *wire.Call) (*wire.Response, error) {
	u, err := resource.User(c, c.View)
	if err != nil {
		return nil, err
	}
	if id, err := c.Key(1); err != nil || id != passwordMethod {
		return nil, wire.Missing(c.Keys[1].Value)
	}
	var given *string
	if len(strings.TrimSpace(string(c.Body))) > 0 {
		body, err := wire.ParseBody(c.Body)
		if err != nil {
			return nil, err
		}
		if err := body.Fields(map[string]any{"newPassword": &given}); err != nil {
			return nil, err
		}
	}
	if resource.Privileged(c, c.View, u.ID) && !c.HasRole() {
		return nil, wire.Denied() // before the slow hash; decided again below
	}
	next := password.Generate()
	if given != nil {
		next = *given
	}
	hash, err := s.hash(c, u.UserPrincipalName, next)
	if err != nil {
		return nil, err
	}
	err = c.Update(func(tx *store.Tx) error {
		if resource.Privileged(c, tx, u.ID) && !c.HasRole() {
			return wire.Denied()
		}
		return resource.Missing(state.Users.Modify(tx, c.StateKey(u.ID), func(n *directory.User) error {
			n.PasswordHash, n.PasswordChanged, n.SessionsValidFrom, n.AccessRevoked, n.MustChangePassword = hash, c.Now, c.Now, c.Now, true
			return nil
		}), string(u.ID))
	})
	if err != nil {
		return nil, err
	}
	c.Audited(wire.Target{Type: "User", ID: string(u.ID), DisplayName: u.DisplayName, UPN: u.UserPrincipalName})
	resp := &wire.Response{Status: http.StatusAccepted}
	if given == nil {
		resp.Body = wire.Obj("@odata.context", c.Root+"/$metadata#microsoft.graph.passwordResetResponse", "newPassword", next)
	}
	return resp, nil
}

// administrators returns who has the role Global Administrator without an end
// and can sign in.
func administrators(c *wire.Call, r store.Reader) map[directory.ObjectID]bool {
	able := map[directory.ObjectID]bool{}
	add := func(id directory.ObjectID) {
		if u, err := state.Users.Get(r, c.StateKey(id)); err == nil && u.Enabled {
			able[id] = true
		}
	}
	for a := range state.RoleAssignments.Where(r, "role", string(c.Tenant)+"/"+directory.GlobalAdministrator) {
		if a.Scope != "/" || !a.Until.IsZero() {
			continue
		}
		add(a.Principal)
		if g, err := state.Groups.Get(r, c.StateKey(a.Principal)); err == nil && g.IsAssignableToRole {
			for _, l := range state.Linked(r, directory.Member, c.Tenant, a.Principal, c.Now) {
				if l.Until.IsZero() {
					add(l.To)
				}
			}
		}
	}
	return able
}

// keepAdministrator is called before a change that may take a Global
// Administrator away; the function that it returns is called after it, in the
// same transaction, and refuses the change if it took the last one.
func keepAdministrator(c *wire.Call, tx *store.Tx, about directory.ObjectID) (func() error, error) {
	before := administrators(c, tx)
	g, err := state.Groups.Get(tx, c.StateKey(about))
	concerns := before[about] || err == nil && g.IsAssignableToRole
	if !concerns {
		return func() error { return nil }, nil
	}
	tx.Guard("administrators/" + string(c.Tenant))
	return func() error {
		if len(before) > 0 && len(administrators(c, tx)) == 0 {
			return wire.Bad("The last Global Administrator of the organization cannot be removed, deleted or disabled.")
		}
		return nil
	}, nil
}
