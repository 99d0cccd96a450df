// Command entrance is the server and the administrator's command line.
package main

import (
	"os"

	"github.com/entrance-id/entrance/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
