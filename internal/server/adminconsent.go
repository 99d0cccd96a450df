package server

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// consentHost is the portal's own service, which `az ad app permission
// admin-consent` asks for an administrator's consent.
const consentHost = "main.iam.ad.ext.azure.com"

// consentPath is the path of that call: the application's id and "Consent"
// follow.
const consentPath = "/api/RegisteredApplications/"

// adminConsent answers az's request for consent, for everybody, to all that an
// application declares.
func (s *Server) adminConsent(tokens *token.Verifier) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rest, ok := strings.CutPrefix(r.URL.Path, consentPath)
		app, action, _ := strings.Cut(rest, "/")
		id, valid := directory.ParseGUID(app)
		if !ok || !valid || !strings.EqualFold(action, "Consent") {
			http.NotFound(w, r)
			return
		}
		var err error = errs.New(errs.Invalid, "Only POST with onBehalfOfAll=true is answered here.")
		if r.Method == http.MethodPost && strings.EqualFold(r.URL.Query().Get("onBehalfOfAll"), "true") {
			err = s.consent(r, tokens, directory.AppID(id))
		}
		if err == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		status := http.StatusInternalServerError
		switch errs.KindOf(err) {
		case errs.Unauthenticated:
			status = http.StatusUnauthorized
		case errs.Forbidden:
			status = http.StatusForbidden
		case errs.NotFound:
			status = http.StatusNotFound
		case errs.Invalid:
			status = http.StatusBadRequest
		}
		w.Header().Set("Content-Type", "application/json; charset=utf-8")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]string{"Message": errs.Message(err)})
	})
}

// consent checks who asks and stores the consent. Only a person whose directory
// role lets them consent to application permissions may.
func (s *Server) consent(r *http.Request, tokens *token.Verifier, app directory.AppID) error {
	c, err := s.bearer(r, tokens)
	if err != nil {
		return err
	}
	now := s.clock.Now()
	return s.store.Update(r.Context(), func(tx *store.Tx) error {
		u, err := state.Users.Get(tx, state.Key(c.Tenant, c.Object))
		if err != nil || c.AppOnly() || !u.Enabled || c.Issued().Before(u.AccessRevoked) {
			return errs.New(errs.Unauthenticated, "The account of the access token is disabled, or its access was revoked.")
		}
		if !state.HasRole(tx, c.Tenant, u.ID, now, directory.GlobalAdministrator, directory.PrivilegedRoleAdministrator) {
			return errs.New(errs.Forbidden, "Only a Global Administrator or a Privileged Role Administrator may consent for everybody.")
		}
		if _, err := state.FindApplication(tx, app); err != nil {
			return err
		}
		return state.ConsentToRequired(tx, c.Tenant, app, now)
	})
}
