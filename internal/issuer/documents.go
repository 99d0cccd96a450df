package issuer

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pop/jws"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

const (
	issuerPath    = "/oidc/"
	discoveryPath = ".well-known/openid-configuration"
	keysPath      = "openid/v1/jwks"
)

// URL returns the issuer of a cluster's service account tokens: {base}/oidc/
// {tenant id}/{cluster key}/, with the final slash that AKS's issuers have. Base
// is the public base URL.
func URL(base string, tenant directory.TenantID, key string) string {
	return strings.TrimSuffix(base, "/") + issuerPath + string(tenant) + "/" + key + "/"
}

// KeysURL returns where the keys of an issuer of ours are served, for the
// cluster's --service-account-jwks-uri.
func KeysURL(issuer string) string { return issuer + keysPath }

// ClusterKeys knows the keys that sign service account tokens.
type ClusterKeys interface {
	// ClusterKeys returns the JSON Web Key Set of a cluster's service account
	// tokens: of a local cluster its own, of a connected one what was stored.
	// NotFound or Unavailable when there is none.
	ClusterKeys(ctx context.Context, c *state.Cluster) ([]byte, error)
}

// Documents serves the discovery documents and keys of the clusters' issuers to
// anybody, and is the Local of Issuers. It answers for a cluster only if the
// cluster's record names the issuer: one that never had an issuer, or whose
// issuer is elsewhere, has no documents here.
type Documents struct {
	base  string
	store *store.Store
	keys  ClusterKeys
}

// NewDocuments returns Documents below a public base URL.
func NewDocuments(base string, s *store.Store, keys ClusterKeys) (*Documents, error) {
	base = strings.TrimSuffix(base, "/")
	if s == nil || keys == nil {
		return nil, errs.New(errs.Internal, "issuer: a required part of the configuration is missing")
	}
	if _, err := parseURL(base); err != nil {
		return nil, errs.New(errs.Invalid, "The public base URL %q cannot be used: %v.", base, err)
	}
	return &Documents{base, s, keys}, nil
}

// Handles reports whether a path is that of a document of a cluster's issuer.
func Handles(path string) bool {
	_, _, ok := splitPath(path)
	return ok
}

// splitPath splits a path into the issuer's part and that of the document.
func splitPath(path string) (issuer, document string, ok bool) {
	for _, document := range []string{discoveryPath, keysPath} {
		if issuer, ok := strings.CutSuffix(path, "/"+document); ok {
			// Whoever puts "/.well-known/..." behind an issuer with a final slash has
			// two, as in the documentation of Azure Workload Identity.
			issuer = strings.TrimSuffix(issuer, "/")
			_, ok = splitIssuer(issuer + "/")
			return issuer + "/", document, ok
		}
	}
	return "", "", false
}

// splitIssuer reads the cluster from the path of an issuer. Each issuer has one
// spelling.
func splitIssuer(path string) (key string, ok bool) {
	rest, ok := strings.CutPrefix(path, issuerPath)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || parts[2] != "" || parts[1] == "" {
		return "", false
	}
	id, ok := directory.ParseGUID(parts[0])
	return parts[1], ok && id == parts[0]
}

// find returns the cluster whose issuer has the given path. NotFound.
func (d *Documents) find(path string) (*state.Cluster, error) {
	// The record says which tenant is in the address: that of the subscription,
	// which need not be the one whose people the cluster knows.
	if key, ok := splitIssuer(path); ok {
		c, err := state.Clusters.Get(d.store.View(), key)
		if err == nil && c.Issuer == d.base+path {
			return c, nil
		}
		if err != nil && !errs.Is(err, errs.NotFound) {
			return nil, err
		}
	}
	return nil, errs.New(errs.NotFound, "There is no issuer %s.", d.base+path)
}

// LocalKeys implements Local. Every issuer below our own addresses is ours,
// whether it exists or not: we never ask ourselves over the network. An issuer
// that a cluster merely claims is not.
func (d *Documents) LocalKeys(ctx context.Context, issuer string) ([]byte, bool, error) {
	path, ok := strings.CutPrefix(issuer, d.base)
	if !ok || !strings.HasPrefix(path, issuerPath) {
		return nil, false, nil
	}
	c, err := d.find(path)
	if err != nil {
		return nil, true, err
	}
	keys, err := d.keys.ClusterKeys(ctx, c)
	return keys, true, err
}

// ServeHTTP serves a document.
func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path, document, ok := splitPath(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "Only GET is allowed.", http.StatusMethodNotAllowed)
		return
	}
	c, err := d.find(path)
	var body []byte
	kind := "application/json"
	if err == nil {
		if document == discoveryPath {
			body, err = discovery(c.Issuer)
		} else {
			kind = "application/jwk-set+json"
			body, err = d.publish(r.Context(), c)
		}
	}
	switch {
	case err == nil:
	case errs.Is(err, errs.NotFound):
		http.Error(w, errs.Message(err), http.StatusNotFound)
		return
	case errs.Is(err, errs.Unavailable):
		w.Header().Set("Retry-After", "5")
		http.Error(w, errs.Message(err), http.StatusServiceUnavailable)
		return
	default:
		http.Error(w, errs.Message(err), http.StatusInternalServerError)
		return
	}
	// As the API server sends it. A former key stays published for a day.
	w.Header().Set("Cache-Control", "public, max-age=3600")
	w.Header().Set("Content-Type", kind)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodHead {
		w.Write(body)
	}
}

// discovery returns the discovery document of an issuer, with the members that
// an API server gives it.
func discovery(issuer string) ([]byte, error) {
	return json.Marshal(struct {
		Issuer        string   `json:"issuer"`
		JWKSURI       string   `json:"jwks_uri"`
		ResponseTypes []string `json:"response_types_supported"`
		SubjectTypes  []string `json:"subject_types_supported"`
		Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	}{issuer, KeysURL(issuer), []string{"id_token"}, []string{"public"}, []string{"RS256"}})
}

// publish returns the key document of a cluster, made anew from its public keys:
// whatever else a stored document holds, private members above all, stays here.
func (d *Documents) publish(ctx context.Context, c *state.Cluster) ([]byte, error) {
	document, err := d.keys.ClusterKeys(ctx, c)
	if err != nil {
		return nil, err
	}
	keys, err := token.ParseJWKS(document)
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The cluster's keys cannot be used")
	}
	type jwk struct {
		Use string `json:"use"`
		Kty string `json:"kty"`
		Kid string `json:"kid"`
		Alg string `json:"alg"`
		N   string `json:"n"`
		E   string `json:"e"`
	}
	list := []jwk{}
	for _, id := range slices.Sorted(maps.Keys(keys)) {
		n, e := encode(keys[id])
		list = append(list, jwk{"sig", "RSA", string(id), "RS256", n, e})
	}
	return json.Marshal(map[string]any{"keys": list})
}

func encode(k *rsa.PublicKey) (n, e string) {
	return jws.Encode(k.N.Bytes()), jws.Encode(big.NewInt(int64(k.E)).Bytes())
}
