package cli_test

import (
	"strings"
	"testing"
)

func TestGroup(t *testing.T) {
	s := newShell(t)
	s.want("westeurope", "location", "group", "create", "-n", "web", "-l", "westeurope", "--tags", "a=b", "c=d=e", "f")
	s.want("b d=e", "join(' ', [tags.a, tags.c])", "group", "show", "--name", "web")
	s.want("Succeeded", "properties.provisioningState", "group", "show", "-g", "web")
	s.want("web", "[].name", "group", "list", "--tag", "a=b")
	s.want("", "[].name", "group", "list", "--tag", "a=c")
	s.want("1", "length(tags)", "group", "update", "-n", "web", "--tags", "x=y")
	s.want("True", "@", "group", "exists", "-n", "web")
	if got := s.ok("group", "list", "-o", "table"); !strings.Contains(got, "Name    Location    Status") || !strings.Contains(got, "web     westeurope  Succeeded") {
		t.Error(got)
	}
	s.fails(2, "--yes", "group", "delete", "-n", "web")
	s.ok("group", "delete", "-n", "web", "--yes")
	s.want("False", "@", "group", "exists", "-n", "web")
	s.fails(3, "(ResourceGroupNotFound)", "group", "show", "-n", "web")
	s.fails(2, "required: --location/-l", "group", "create", "-n", "x")
	s.fails(2, "required: --name/-n", "group", "show")
	s.fails(2, "--output is", "group", "list", "-o", "xml")
	s.fails(2, "JMESPath", "group", "list", "--query", "[")
	s.fails(2, "unknown flag", "group", "list", "--nope")
	if out := s.ok("group", "list", "-o", "none"); out != "" {
		t.Error(out)
	}
}
