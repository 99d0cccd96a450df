package kubeconfig

import (
	"bytes"
	"fmt"
)

// Change is the new content of one file.
type Change struct {
	File  *File
	New   []byte
	Users []string // converted
}

// Plan converts the users of files, or only the user of one context. Nothing
// is written. Each user is changed in the first file that has it.
func (c Conversion) Plan(files []*File, context string) ([]Change, error) {
	only, filtered := "", false
	if context != "" {
		ctx, ok := FindContext(files, context)
		if !ok {
			return nil, fmt.Errorf("no context exists with the name: %q", context)
		}
		only, filtered = ctx.User, true
	}
	seen := map[string]bool{}
	var out []Change
	for _, f := range files {
		stanzas := map[string]Exec{}
		ch := Change{File: f}
		for _, it := range f.items("users") {
			u := f.user(it)
			if u.Name == "" || seen[u.Name] {
				continue
			}
			seen[u.Name] = true
			if filtered && u.Name != only || !u.Convertible() {
				continue
			}
			ex, err := c.Exec(u)
			if err != nil {
				return nil, err
			}
			stanzas[u.Name] = ex
			ch.Users = append(ch.Users, u.Name)
		}
		if len(stanzas) == 0 {
			continue
		}
		data, err := f.Replace(stanzas)
		if err != nil {
			return nil, err
		}
		ch.New = data
		if !bytes.Equal(data, f.Data) {
			out = append(out, ch)
		}
	}
	return out, nil
}
