package policy

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/entrance-id/entrance/internal/policy/deviceproof"
	"github.com/entrance-id/entrance/internal/state"
)

// ChallengePath is where Devices answers HTTP requests for challenges.
const ChallengePath = "/entrance/device-challenge"

// Challenged is a challenge as ServeHTTP gives it: what a device signs, and until
// when.
type Challenged struct {
	deviceproof.Claims
	Expires time.Time `json:"expires"`
}

// ServeHTTP issues challenges: POST with the form fields tenant (its id or one of
// its domains) and purpose (signIn or register). Whoever asks need not be
// known: a challenge is worth nothing without a key, and issuing one stores
// nothing.
func (d *Devices) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	refuse := func(status int, message string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_request", "error_description": message})
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(http.StatusMethodNotAllowed, "A challenge is asked for with POST.")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	if err := r.ParseForm(); err != nil {
		refuse(http.StatusBadRequest, "The form cannot be read.")
		return
	}
	purpose := deviceproof.Purpose(r.PostForm.Get("purpose"))
	if purpose != deviceproof.SignIn && purpose != deviceproof.Register {
		refuse(http.StatusBadRequest, "The field purpose is signIn or register.")
		return
	}
	t, err := state.FindTenant(d.store.View(), r.PostForm.Get("tenant"))
	if err != nil {
		refuse(http.StatusBadRequest, "The field tenant names no tenant.")
		return
	}
	nonce, expires, err := d.Challenge(r.Context(), t.ID, purpose)
	if err != nil {
		refuse(http.StatusServiceUnavailable, "No challenge can be issued now.")
		return
	}
	_ = json.NewEncoder(w).Encode(Challenged{deviceproof.Claims{Nonce: nonce, Audience: d.audience, Tenant: t.ID, Purpose: purpose}, expires})
}
