package store_test

import (
	"context"
	"testing"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

type user struct {
	ID, Name string
	Groups   []string
}

var users = store.NewTable("users", store.Options[user]{
	Key:     func(u *user) string { return u.ID },
	Indexes: []store.Index[user]{{Name: "group", Values: func(u *user) []string { return u.Groups }}},
	Claims:  func(u *user) []string { return []string{"name/" + u.Name} },
})

func TestRestartFindsEverythingAgain(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	s := storetest.OpenDir(t, dir, users)
	if err := s.Update(ctx, func(tx *store.Tx) error {
		return users.Create(tx, &user{ID: "1", Name: "ann", Groups: []string{"a", "b"}})
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = storetest.OpenDir(t, dir, users)
	u, ok := users.First(s.View(), "group", "b")
	if !ok || u.Name != "ann" {
		t.Fatalf("First = %v, %v", u, ok)
	}
	err := s.Update(ctx, func(tx *store.Tx) error { return users.Create(tx, &user{ID: "2", Name: "ann"}) })
	if !errs.Is(err, errs.Exists) {
		t.Fatalf("the claim was lost: %v", err)
	}
}
