package wire_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/oauth/wire"
)

// FuzzForm: whatever is accepted as a form has one reading, and a form that is
// written again reads the same.
func FuzzForm(f *testing.F) {
	for _, s := range []string{
		"", "grant_type=password&client_id=x", "a=1&a=2", "a=1&A=2", "a=%", "a=%zz", "a;b=1", "a=1;b=2", "%61=1&a=2", "a=%00", "=x", "&&&", "a==b", "a=%ff%fe", "a=1+2%20",
		strings.Repeat("a&", 300),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		form, err := wire.ParseForm(s)
		if err != nil {
			return
		}
		for k, v := range form {
			if len(v) != 1 || strings.ContainsRune(k+v[0], 0) {
				t.Fatalf("%q: parameter %q is %q", s, k, v)
			}
			// Another reader that takes the first, or the last, sees the same.
			for part := range strings.SplitSeq(s, "&") {
				if part == "" {
					continue
				}
				name, value, _ := strings.Cut(part, "=")
				if name, err := url.QueryUnescape(name); err != nil || name != k {
					continue
				}
				if value, err := url.QueryUnescape(value); err != nil || value != v[0] {
					t.Fatalf("%q: %q is %q to us and %q to another reader", s, k, v[0], value)
				}
			}
		}
		again, err := wire.ParseForm(form.Encode())
		if err != nil || again.Encode() != form.Encode() {
			t.Fatalf("%q: written again it is %q (%v)", s, again.Encode(), err)
		}
	})
}
