package webhook_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/token"
)

// reviewed is the spec of an access review as an API server makes it from its
// TokenReview, which it may have kept for ten seconds.
func reviewed(t *testing.T, s authenticationv1.TokenReviewStatus) authorizationv1.SubjectAccessReviewSpec {
	t.Helper()
	if !s.Authenticated {
		t.Fatalf("the token is refused: %s", s.Error)
	}
	spec := authorizationv1.SubjectAccessReviewSpec{User: s.User.Username, Groups: append(slices.Clone(s.User.Groups), "system:authenticated"), Extra: map[string]authorizationv1.ExtraValue{}}
	for k, v := range s.User.Extra {
		spec.Extra[k] = authorizationv1.ExtraValue(v)
	}
	return spec
}

// TestSignInAfterRevocation: the review from before the revocation is refused for
// as long as an API server may keep it, that of a token from since is not
// (abuse case 36: a stale allow).
func TestSignInAfterRevocation(t *testing.T) {
	w := newWorld(t)
	revoke := func() {
		w.update(func(tx *store.Tx) error {
			return state.Users.Modify(tx, state.Key(w.tenant, w.admin.ID), func(u *directory.User) error { u.AccessRevoked = w.clock.Now(); return nil })
		})
	}
	first := reviewed(t, w.review(w.mint(w.admin, nil, nil)))
	if len(first.Extra) != 1 {
		t.Errorf("extra is %v, want oid alone, as on AKS", first.Extra)
	}
	w.clock.Advance(time.Minute)
	revoke()
	w.clock.Advance(time.Second)
	second := reviewed(t, w.review(w.mint(w.admin, nil, nil)))
	if got := w.access("deny", first); !got.Denied || !strings.Contains(got.Reason, "revoked") {
		t.Errorf("a review from before: %+v, want denied", got)
	}
	if got := w.access("deny", second); got.Denied {
		t.Errorf("a review of a token from since: %+v, want no opinion", got)
	}
	if got := w.access("authorize", second); !got.Allowed {
		t.Errorf("authorize with a token from since: %+v", got)
	}

	// A second revocation ends the second token too.
	w.clock.Advance(time.Second)
	revoke()
	if got := w.access("deny", second); !got.Denied {
		t.Errorf("after a second revocation: %+v, want denied", got)
	}
	// What is not the mark of this revocation is none.
	for _, value := range []authorizationv1.ExtraValue{{}, {""}, {"9999-12-31T00:00:00Z"}, {w.clock.Now().UTC().Format(time.RFC3339Nano), "x"}} {
		forged := reviewed(t, authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: first.User}})
		forged.Extra = map[string]authorizationv1.ExtraValue{"oid": first.Extra["oid"], "valid-from": value}
		if got := w.access("deny", forged); !got.Denied {
			t.Errorf("with valid-from %q: %+v, want denied", value, got)
		}
	}
	// Later no API server can hold an old review, and reviews have AKS's form again.
	w.clock.Advance(time.Minute)
	third := reviewed(t, w.review(w.mint(w.admin, nil, nil)))
	if got := w.access("deny", third); got.Denied || len(third.Extra) != 1 {
		t.Errorf("a minute later: %+v with extra %v", got, third.Extra)
	}
}

// TestDeletedCredential: a token ends with the secret that it was obtained with,
// and with no other.
func TestDeletedCredential(t *testing.T) {
	w := newWorld(t)
	ids := []string{directory.NewGUID(), directory.NewGUID()}
	w.update(func(tx *store.Tx) error {
		return state.ServicePrincipals.Modify(tx, state.Key(w.tenant, w.app.ID), func(p *directory.ServicePrincipal) error {
			for _, id := range ids {
				sum := sha256.Sum256([]byte(id))
				p.Credentials.Passwords = append(p.Credentials.Passwords, directory.Password{KeyID: id, SHA256: sum[:]})
			}
			return nil
		})
	})
	mint := func(credential string) string {
		return w.mint(w.admin, func(f *token.Facts) {
			f.User, f.Scopes, f.App = nil, nil, &token.App{ID: w.app.ID}
			f.Client = token.Client{AppID: w.app.AppID, Auth: token.ClientSecret, Credential: credential}
		}, nil)
	}
	old, kept, unnamed := mint(ids[0]), mint(ids[1]), mint("")
	before := reviewed(t, w.review(old))
	for _, raw := range []string{kept, unnamed} {
		reviewed(t, w.review(raw))
	}
	w.clock.Advance(time.Minute)
	w.update(func(tx *store.Tx) error {
		return state.ServicePrincipals.Modify(tx, state.Key(w.tenant, w.app.ID), func(p *directory.ServicePrincipal) error {
			return p.Credentials.Change(w.clock.Now(), func() error {
				p.Credentials.Passwords = p.Credentials.Passwords[1:]
				return nil
			})
		})
	})
	if got := w.review(old); got.Authenticated || !strings.Contains(got.Error, "deleted") {
		t.Errorf("a token of the deleted secret: %+v, want refused", got)
	}
	if got := w.access("deny", before); !got.Denied {
		t.Errorf("a review from before: %+v, want denied", got)
	}
	for _, raw := range []string{kept, unnamed} {
		if got := w.access("deny", reviewed(t, w.review(raw))); got.Denied {
			t.Errorf("a token that another credential was for: %+v, want no opinion", got)
		}
	}
}
