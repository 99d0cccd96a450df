package scope

import (
	"slices"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/clientauth"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/state"
)

// Registered lists everything that the client's registration declares, scopes
// and application permissions, or what the scope parameter of the v2 form names.
func (a Aliases) Registered(c *wire.Call, tenant *directory.Tenant, cl *clientauth.Client) ([]state.Permission, error) {
	var list []state.Permission
	if asked := c.Form.Get("scope"); asked != "" && !c.V1 {
		w, err := Parse(asked, 28000)
		if err != nil {
			return nil, err
		}
		if !w.All {
			r, err := a.Resource(c, tenant, w)
			if err != nil {
				return nil, err
			}
			for _, v := range w.Values {
				s := Find(r, v)
				if s == nil {
					return nil, aadsts.New(650053, cl.Name, v, string(r.AppID))
				}
				list = append(list, Permission(r.ServicePrincipal, s))
			}
			return list, nil
		}
	}
	for _, q := range cl.App.Required {
		sp, err := state.FindServicePrincipal(c.View, tenant.ID, q.ResourceAppID)
		if errs.Is(err, errs.NotFound) {
			return nil, aadsts.New(650052, string(q.ResourceAppID), tenant.DisplayName)
		}
		if err != nil {
			return nil, err
		}
		for _, access := range q.Access {
			for i := range sp.Scopes {
				if access.Type == "Scope" && sp.Scopes[i].ID == access.ID && sp.Scopes[i].Enabled {
					list = append(list, Permission(sp, &sp.Scopes[i]))
				}
			}
			for _, r := range sp.AppRoles {
				if access.Type == "Role" && r.ID == access.ID && r.Enabled {
					list = append(list, state.Permission{Resource: sp.ID, ResourceName: sp.DisplayName, Value: r.Value, Title: r.DisplayName, About: r.Description, Role: r.ID})
				}
			}
		}
	}
	if len(list) == 0 {
		return nil, aadsts.New(650056, cl.Name, string(cl.ID))
	}
	return list, nil
}

// Basic lists what the scopes of OpenID Connect in a request still need consent
// for, beside those of another resource. They are permissions of Microsoft Graph,
// and a person who is being asked anyway answers for them at once: they would be
// asked a second time when the client wants nothing else.
func (a Aliases) Basic(c *wire.Call, cl *clientauth.Client, tenant *directory.Tenant, r *Target, w *Wanted, user directory.ObjectID) (list []state.Permission, err error) {
	if r.AppID == directory.Graph || c.V1 {
		return nil, nil
	}
	graph, err := a.Resource(c, tenant, &Wanted{})
	if err != nil {
		return nil, err
	}
	have := consented(c, cl, graph, user)
	for _, v := range w.OIDC() {
		if s := Find(graph, v); s != nil && !slices.Contains(have, s.Value) {
			list = append(list, Permission(graph.ServicePrincipal, s))
		}
	}
	return list, nil
}

// Permission is a scope of a resource as the consent page shows it.
func Permission(r *directory.ServicePrincipal, s *directory.Scope) state.Permission {
	title, about := s.UserConsentName, s.UserConsentAbout
	if title == "" {
		title, about = s.AdminConsentName, s.AdminConsentAbout
	}
	if title == "" {
		title = s.Value
	}
	return state.Permission{Resource: r.ID, ResourceName: r.DisplayName, Value: s.Value, Title: title, About: about}
}
