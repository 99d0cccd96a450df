package main

import (
	"os"
	"slices"
	"strings"
)

// secretFlags are the flags whose values nobody else should see.
var secretFlags = []string{"--client-secret", "--client-certificate-password", "--password"}

// takeArguments returns the arguments of this process, and takes the secrets
// among them out of what the system shows to every user of the machine, as ps
// does, where that can be done.
func takeArguments() []string {
	if len(os.Args) == 0 {
		return nil
	}
	args := make([]string, len(os.Args)-1)
	for i, a := range os.Args[1:] {
		args[i] = strings.Clone(a)
	}
	for i, a := range args {
		name, value, joined := strings.Cut(a, "=")
		switch {
		case !slices.Contains(secretFlags, name):
		case joined:
			conceal(os.Args[1+i][len(a)-len(value):])
		case i+1 < len(args):
			conceal(os.Args[1+i+1])
		}
	}
	return args
}
