package kubeconfig

import (
	"regexp"
	"strings"

	"github.com/rogpeppe/go-internal/diff"
)

// Diff shows a change as a unified diff. Secrets are masked on both sides: a
// diff is made to be pasted somewhere.
func (c Change) Diff() string {
	return string(diff.Diff(c.File.Path, mask(c.File.Data), c.File.Path+" (converted)", mask(c.New)))
}

var (
	secretKey  = regexp.MustCompile(`^(\s*(?:- )?(?:client-key-data|token|password|access-token|refresh-token|id-token|client-secret): *).+`)
	secretFlag = regexp.MustCompile(`^(\s*- *["']?--(?:client-secret|password|client-certificate-password)=).+`)
	nextSecret = regexp.MustCompile(`^\s*- *["']?--(?:client-secret|password|client-certificate-password)["']?\s*$`)
	listItem   = regexp.MustCompile(`^(\s*- *).+`)
	flowSecret = regexp.MustCompile(`("(?:client-key-data|token|password)" *: *)"[^"]*"`)
)

func mask(data []byte) []byte {
	lines := strings.SplitAfter(string(data), "\n")
	next := false
	for i, l := range lines {
		end := l[len(strings.TrimRight(l, "\r\n")):]
		l = strings.TrimSuffix(l, end)
		was := next
		next = nextSecret.MatchString(l)
		if was {
			l = listItem.ReplaceAllString(l, "${1}(hidden)")
		}
		l = secretKey.ReplaceAllString(l, "${1}(hidden)")
		l = secretFlag.ReplaceAllString(l, "${1}(hidden)")
		if strings.Contains(l, `"`) {
			l = flowSecret.ReplaceAllString(l, `${1}"(hidden)"`)
		}
		lines[i] = l + end
	}
	return []byte(strings.Join(lines, ""))
}
