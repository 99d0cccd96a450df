package azure

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"
)

// Confirm asks a person before something is destroyed. Where nobody can be
// asked, --yes is needed, as in az.
func (a *App) Confirm(yes bool, format string, args ...any) error {
	if yes {
		return nil
	}
	f, ok := a.In.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return Usagef("there is no terminal to ask on: confirm with --yes")
	}
	fmt.Fprintf(a.Err, format+" (y/n): ", args...)
	line, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return fmt.Errorf("nothing was done")
}
