package azure

import (
	"io"
	"os"
	"strings"

	"github.com/entrance-id/entrance/internal/errs"
)

// Secret reads a secret from a file, or from standard input for "-".
func (a *App) Secret(name string) (string, error) {
	var b []byte
	var err error
	if name == "-" {
		b, err = io.ReadAll(io.LimitReader(a.In, 64<<10))
	} else {
		b, err = os.ReadFile(name)
	}
	if err != nil {
		return "", errs.Wrap(errs.Invalid, err, "The secret cannot be read")
	}
	s := strings.TrimRight(string(b), "\r\n")
	if s == "" {
		return "", errs.New(errs.Invalid, "The secret in %s is empty.", name)
	}
	return s, nil
}
