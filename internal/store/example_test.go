package store_test

import (
	"context"
	"fmt"
	"os"

	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

type app struct {
	ID, Name string
	Owners   []string
}

// apps may be a package variable: it holds no state.
var apps = store.NewTable("apps", store.Options[app]{
	Key:     func(a *app) string { return a.ID },
	Indexes: []store.Index[app]{{Name: "owner", Values: func(a *app) []string { return a.Owners }}},
	Claims:  func(a *app) []string { return []string{"name/" + a.Name} },
})

func Example() {
	dir, err := os.MkdirTemp("", "store")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	s, err := store.Open(ctx, store.Config{Dir: dir}, apps)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer s.Close()

	create := func(a *app) error {
		return s.Update(ctx, func(tx *store.Tx) error { return apps.Create(tx, a) })
	}
	fmt.Println(create(&app{ID: "1", Name: "shop", Owners: []string{"ann"}}))
	err = create(&app{ID: "2", Name: "shop"})
	fmt.Println(errs.KindOf(err), "-", errs.Message(err))

	for a := range apps.Where(s.View(), "owner", "ann") {
		fmt.Println(a.Name)
	}
	// Output:
	// <nil>
	// exists - apps: "name/shop" is already taken
	// shop
}
