package containerservice

import (
	"encoding/json"
	"net/http"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
)

// Paths below an issuer's address.
const (
	discoveryPath = ".well-known/openid-configuration"
	keysPath      = "openid/v1/jwks"
)

// issuerPath takes the path of an issuer's document apart: the tenant, the
// cluster's UID and which document.
func issuerPath(path string) (tenant, uid, document string, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 3)
	if len(parts) != 3 || parts[2] != discoveryPath && parts[2] != keysPath {
		return "", "", "", false
	}
	tenant, okTenant := directory.ParseGUID(parts[0])
	uid, okUID := directory.ParseGUID(parts[1])
	return tenant, uid, parts[2], okTenant && okUID
}

// HandlesIssuer reports whether a path is of a document of a cluster's OIDC
// issuer: {base URL}/{tenant}/{uid}/.well-known/openid-configuration, or
// openid/v1/jwks beside it.
func HandlesIssuer(path string) bool {
	_, _, _, ok := issuerPath(path)
	return ok
}

// ServeIssuer answers for the documents of the clusters' OIDC issuers. They are
// public, as those of every issuer.
func (p *Provider) ServeIssuer(w http.ResponseWriter, r *http.Request) {
	tenant, uid, document, ok := issuerPath(r.URL.Path)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	issuer := p.BaseURL + "/" + tenant + "/" + uid + "/"
	rec, found := state.Clusters.First(p.Store.View(), "issuer", issuer)
	if !ok || !found {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if document == discoveryPath {
		// The members that AKS publishes.
		body, err := json.Marshal(map[string]any{
			"issuer": issuer, "jwks_uri": issuer + keysPath,
			"response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
		if err != nil {
			http.Error(w, "internal error", http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(body)
		return
	}
	if p.Clusters == nil {
		http.NotFound(w, r)
		return
	}
	keys, err := p.Clusters.JWKS(rec.Key)
	switch {
	case errs.Is(err, errs.NotFound):
		http.NotFound(w, r)
	case err != nil:
		http.Error(w, "the keys cannot be read now", http.StatusServiceUnavailable)
	default:
		_, _ = w.Write(keys)
	}
}
