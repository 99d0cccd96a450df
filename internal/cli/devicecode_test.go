package cli_test

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/cli"
	"github.com/entrance-id/entrance/test/clients/harness"
)

var userCode = regexp.MustCompile(`enter the code (\S+) to authenticate`)

// approver is a person who reads what is shown and enters the code.
type approver struct {
	*shell
	name, password string
	done           bool
}

// Write implements io.Writer. It stands for the terminal.
func (a *approver) Write(b []byte) (int, error) {
	if m := userCode.FindSubmatch(b); m != nil && !a.done {
		a.done = true
		page := harness.NewBrowser(a.T, a.cloud.URL, a.cloud.Client).Get("/devicelogin").Submit(map[string]string{"otc": string(m[1])})
		page.Submit(map[string]string{"username": a.name})
		page.On("password").Submit(map[string]string{"password": a.password})
		page.On("device").Submit(map[string]string{"answer": "continue"}).On("done")
	}
	return len(b), nil
}

// TestLoginDeviceCode signs in with a code that a person enters in a browser,
// and uses the sign-in for several resources.
func TestLoginDeviceCode(t *testing.T) {
	s := newShell(t)
	admin := s.cloud.Administrator
	for _, args := range [][]string{{"login"}, {"login", "--use-device-code", "--tenant", s.cloud.TenantID}} {
		a := &approver{shell: s, name: admin.UserPrincipalName, password: admin.Password}
		var out bytes.Buffer
		if code := cli.Main(append(args, "-o", "tsv", "--query", "[].user.name"), strings.NewReader(""), &out, a); code != 0 || out.String() != admin.UserPrincipalName+"\n" {
			t.Fatalf("%q: %d %s", args, code, out.String())
		}
		if !a.done {
			t.Error("no code was shown")
		}
		s.want("sample", "[].name", "group", "list")
		s.want(admin.UserPrincipalName, "userPrincipalName", "ad", "signed-in-user", "show")
		s.ok("account", "get-access-token", "--scope", s.cloud.AKSScope())
		s.want("1", "length(@)", "account", "list", "--refresh")
		s.ok("logout")
	}
}
