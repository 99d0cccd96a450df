// Package multicall chooses which of several programs in one binary a command
// line asks for.
package multicall

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// A Component is one program of the binary.
type Component struct {
	Name   string
	Server bool                    // runs until told to stop, and follows the lifeline
	Run    func(args []string) int // takes the arguments after the name, returns the exit code
}

// Dispatch finds the component for a command line: by the name under which the
// binary was called, which makes a link named kubectl a kubectl, else by the
// first argument. The arguments that it returns begin with the component's
// name, as a program's do.
func Dispatch(binary string, all []Component, argv []string) (Component, []string, error) {
	find := func(name string) int {
		return slices.IndexFunc(all, func(c Component) bool { return c.Name == name })
	}
	if len(argv) > 0 {
		name := filepath.Base(argv[0])
		if i := find(name); i >= 0 {
			return all[i], append([]string{name}, argv[1:]...), nil
		}
	}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = c.Name
	}
	usage := "usage: " + binary + " " + strings.Join(names, "|") + " [flags]"
	if len(argv) < 2 {
		return Component{}, nil, fmt.Errorf("a component must be named\n%s", usage)
	}
	i := find(argv[1])
	if i < 0 {
		return Component{}, nil, fmt.Errorf("there is no component %q\n%s", argv[1], usage)
	}
	return all[i], argv[1:], nil
}
