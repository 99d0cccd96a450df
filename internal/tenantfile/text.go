package tenantfile

import (
	"fmt"
	"strings"
	"unicode"
)

// ObjectChanges is what is to become of an object, for programs.
type ObjectChanges struct {
	Action  string   `json:"action"` // create or update
	Kind    string   `json:"kind"`
	Name    string   `json:"name"`
	Changes []Change `json:"changes"`
}

// Changes returns the plan for programs.
func (p *Plan) Changes() []ObjectChanges {
	list := []ObjectChanges{}
	for _, i := range p.Items {
		action := "update"
		if i.Create() {
			action = "create"
		}
		list = append(list, ObjectChanges{action, i.Want.Kind.Name, i.Want.Name(), append([]Change{}, i.Changes...)})
	}
	return list
}

// Text returns the plan for people: an object a line with its changes below it.
func (p *Plan) Text() string {
	var b strings.Builder
	create := 0
	for _, i := range p.Items {
		mark := "~"
		if i.Create() {
			mark = "+"
			create++
		}
		fmt.Fprintf(&b, "%s %s %s\n", mark, kindWords(i.Want.Kind.Name), Printable(i.Want.Name()))
		for _, c := range i.Changes {
			b.WriteString("    " + Printable(changeText(c, i.Create())) + "\n")
		}
	}
	switch len(p.Items) {
	case 0:
		fmt.Fprintf(&b, "No changes: all %d objects are as the file says.\n", p.Unchanged)
	default:
		fmt.Fprintf(&b, "%d to create, %d to change, %d unchanged.\n", create, len(p.Items)-create, p.Unchanged)
	}
	return b.String()
}

func changeText(c Change, create bool) string {
	switch {
	case c.Op == "add":
		return fmt.Sprintf("+ %s: %s", c.Field, c.To)
	case c.Op == "remove":
		return fmt.Sprintf("- %s: %s", c.Field, c.From)
	case create || c.From == "":
		return fmt.Sprintf("%s: %s", c.Field, c.To)
	}
	return fmt.Sprintf("%s: %s -> %s", c.Field, c.From, orNone(c.To))
}

// Printable replaces what could steer a terminal in text that comes from a file
// or a cloud. Line breaks stay.
func Printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && (unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)) {
			return '\uFFFD'
		}
		return r
	}, s)
}
