package store_test

import (
	"context"
	"testing"

	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

func TestConformanceEmbedded(t *testing.T) {
	first := storetest.Open(t)
	storetest.Conformance(t, storetest.Harness{
		Raw:    first.Client(),
		Prefix: "/entrance/",
		Open: func(t testing.TB, tables ...store.AnyTable) *store.Store {
			t.Helper()
			s, err := first.Sibling(context.Background(), tables...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			return s
		},
	})
}
