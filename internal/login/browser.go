package login

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Browser returns a function that opens an address in the person's browser, or
// nil where none can be expected: over SSH or on a console without a display.
func Browser(env Environment) func(url string) error {
	commands := browserCommands(env, runtime.GOOS, isWSL())
	if len(commands) == 0 {
		return nil
	}
	return func(url string) error {
		var last error = errors.New("no program that opens a browser was found")
		for _, c := range commands {
			path, err := exec.LookPath(c[0])
			if err != nil {
				continue
			}
			cmd := exec.Command(path, append(c[1:len(c):len(c)], url)...)
			// Its chatter must not mix with the token on stdout.
			if err := cmd.Start(); err != nil {
				last = err
				continue
			}
			go cmd.Wait()
			return nil
		}
		return last
	}
}

// browserCommands are tried in order.
func browserCommands(env Environment, goos string, wsl bool) [][]string {
	var out [][]string
	if b := getenv(env, "BROWSER"); b != "" {
		for one := range strings.SplitSeq(b, ":") {
			if f := strings.Fields(strings.ReplaceAll(one, "%s", "")); len(f) > 0 {
				out = append(out, f)
			}
		}
	}
	switch goos {
	case "darwin":
		return append(out, []string{"open"})
	case "windows":
		return append(out, []string{"rundll32", "url.dll,FileProtocolHandler"})
	}
	if wsl {
		return append(out, []string{"wslview"}, []string{"rundll32.exe", "url.dll,FileProtocolHandler"}, []string{"xdg-open"})
	}
	if getenv(env, "DISPLAY") == "" && getenv(env, "WAYLAND_DISPLAY") == "" {
		return out
	}
	return append(out, []string{"xdg-open"}, []string{"x-www-browser"}, []string{"sensible-browser"})
}

func isWSL() bool {
	if runtime.GOOS != "linux" {
		return false
	}
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	return err == nil && strings.Contains(strings.ToLower(string(b)), "microsoft")
}
