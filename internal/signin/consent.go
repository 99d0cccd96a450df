package signin

import (
	"net/http"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func (s *Server) showConsent(v *view) error {
	u, _, err := v.person()
	if err != nil {
		return err
	}
	ask := &v.flow.Ask
	title := "Permissions requested"
	if ask.ForTenant {
		title = "Permissions requested for your organization"
	}
	publisher := "an organization that is not yours"
	if app, err := state.FindApplication(v.db, ask.Client); err == nil {
		if t, err := state.Tenants.Get(v.db, string(app.Tenant)); err == nil && app.Tenant == u.Tenant {
			publisher = t.DisplayName
		}
		if _, first := directory.FirstParty(ask.Client); first {
			publisher = "Entrance (well-known application)"
		}
	}
	v.show("consent", http.StatusOK, map[string]any{
		"Title": title, "Name": u.UserPrincipalName, "Ask": ask, "Publisher": publisher, "ClientID": string(ask.Client),
	})
	return nil
}

// postConsent stores what was consented to. What is asked is in the sealed
// question and not in the form; who answers is the session, and what they may
// answer is looked up now.
func (s *Server) postConsent(v *view) error {
	if err := v.needFlow(state.AskConsent); err != nil {
		return err
	}
	u, _, err := v.person()
	if err != nil {
		return err
	}
	ask := &v.flow.Ask
	if v.form.Get("answer") != "accept" {
		return v.back(ask.Cancel)
	}
	user := u.ID
	if ask.ForTenant || ask.MayForAll && v.form.Get("everybody") != "" {
		user = ""
	}
	err = s.store.Update(v.r.Context(), func(tx *store.Tx) error {
		admin := state.HasRole(tx, u.Tenant, u.ID, v.now, directory.GlobalAdministrator, directory.PrivilegedRoleAdministrator,
			directory.ApplicationAdministrator, directory.CloudApplicationAdministrator)
		if user == "" && !admin {
			return errs.New(errs.Forbidden, "Only an administrator may consent for everybody.")
		}
		if !admin {
			if err := userMayConsent(tx, ask); err != nil {
				return err
			}
		}
		return state.AcceptConsent(tx, ask, user, v.now)
	})
	if errs.Is(err, errs.Forbidden) {
		return &problem{http.StatusForbidden, "You may not approve this", errs.Message(err)}
	}
	if err != nil {
		return err
	}
	return v.back(ask.Return)
}

// userMayConsent refuses permissions that only an administrator may consent to,
// as things are now.
func userMayConsent(r store.Reader, ask *state.Ask) error {
	t, err := state.Tenants.Get(r, string(ask.Tenant))
	if err != nil {
		return err
	}
	if !t.UserConsent {
		return errs.New(errs.Forbidden, "Your organization lets only administrators approve applications.")
	}
	for _, p := range ask.Permissions {
		sp, err := state.ServicePrincipals.Get(r, state.Key(ask.Tenant, p.Resource))
		if err != nil {
			return err
		}
		allowed := false
		for _, sc := range sp.Scopes {
			allowed = allowed || sc.Value == p.Value && sc.Enabled && sc.Type == "User"
		}
		if !allowed || p.Role != "" {
			return errs.New(errs.Forbidden, "The permission %s needs an administrator.", p.Value)
		}
	}
	return nil
}

func (s *Server) showDevice(v *view) error {
	u, _, err := v.person()
	if err != nil {
		return err
	}
	ask := &v.flow.Ask
	v.show("device", http.StatusOK, map[string]any{
		"Title": "Are you trying to sign in to " + ask.ClientName + "?", "Name": u.UserPrincipalName, "Ask": ask,
		"Here": v.addr.String(), "Elsewhere": ask.From != v.addr.String(), "Started": ask.Started.UTC().Format("2 January 2006, 15:04 UTC"),
		"Ago": int(v.now.Sub(ask.Started).Minutes()),
	})
	return nil
}

func (s *Server) postDevice(v *view) error {
	if err := v.needFlow(state.AskDevice); err != nil {
		return err
	}
	if _, _, err := v.person(); err != nil {
		return err
	}
	if v.form.Get("answer") != "continue" {
		return v.back(v.flow.Ask.Cancel)
	}
	return v.back(v.flow.Ask.Return)
}

// showUserCode asks for the code. A code in the address is not filled in:
// whoever sends a link must not be able to leave out the step in which the
// person compares.
func (s *Server) showUserCode(v *view) error {
	v.show("usercode", http.StatusOK, map[string]any{"Title": "Enter code to allow access"})
	return nil
}

func (s *Server) postUserCode(v *view) error {
	typed := v.form.Get("otc")
	path, err := s.cfg.Devices.StartDevice(v.r.Context(), v.addr, typed)
	switch {
	case errs.Is(err, errs.NotFound), errs.Is(err, errs.Throttled):
		status := http.StatusOK
		if errs.Is(err, errs.Throttled) {
			status = http.StatusTooManyRequests
		}
		v.show("usercode", status, map[string]any{"Title": "Enter code to allow access", "Error": errs.Message(err), "Typed": typed})
		return nil
	case err != nil:
		return err
	}
	return v.back(path)
}
