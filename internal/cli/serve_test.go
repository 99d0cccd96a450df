package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/cli"
	"github.com/entrance-id/entrance/internal/pki"
)

const serveExample = "../../examples/serve/config.yaml"

// TestServeConfig: what is wrong with a configuration is said before anything
// starts, all of it at once.
func TestServeConfig(t *testing.T) {
	raw, err := os.ReadFile(serveExample)
	if err != nil {
		t.Fatal(err)
	}
	// The example, with files that are there.
	dir := t.TempDir()
	example := strings.ReplaceAll(string(raw), "/etc/entrance/", dir+"/")
	authority, err := pki.NewAuthority("Corp", pki.Constraints{}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certify := func(a *pki.Authority, name string) {
		t.Helper()
		c, err := a.Server([]string{name}, nil, time.Now(), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		chain, key, err := pki.Encode(c)
		if err != nil {
			t.Fatal(err)
		}
		write("tls.crt", chain)
		write("tls.key", key)
	}
	write("ca.crt", authority.PEM())
	certify(authority, "entrance.example.com")
	check := func(text string) (int, string) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "config.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, errOut strings.Builder
		code := cli.Main([]string{"serve", "--check", "--config", file}, nil, &out, &errOut)
		return code, out.String() + errOut.String()
	}
	// Only the certificate for etcd is missing.
	if code, out := check(example); code != 1 || !strings.Contains(out, "etcd.authorityFile cannot be read") {
		t.Errorf("the example: %d %s", code, out)
	}
	bare := example[:strings.Index(example, "etcd:")] + "etcd: {endpoints: [http://127.0.0.1:2379]}\n"
	if code, out := check(bare); code != 0 || !strings.Contains(out, "is valid.") {
		t.Errorf("without TLS to etcd on this machine: %d %s", code, out)
	}
	stranger, err := pki.NewAuthority("Stranger", pki.Constraints{}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, from := range map[string]*pki.Authority{"entrance.example.org": authority, "entrance.example.com": stranger} {
		certify(from, name)
		if code, out := check(bare); code != 1 || !strings.Contains(out, "is not good for https://entrance.example.com") {
			t.Errorf("a certificate of another name or authority: %d %s", code, out)
		}
	}
	certify(authority, "entrance.example.com")
	for name, tt := range map[string]struct {
		text string
		want []string
	}{
		"loopback":      {strings.Replace(bare, "0.0.0.0", "10.0.0.1", 1) + "localClusters: true\n", []string{"reach the webhooks over loopback"}},
		"empty":         {"", []string{"dataDir is missing", "baseURL is missing", "sealKeyFile is missing", "tls.certificateFile is missing", "tls.keyFile is missing", "tls.authorityFile is missing", "etcd.endpoints is missing"}},
		"unknown":       {bare + "proxy: true\n", []string{"proxy", "is not valid", "line"}},
		"nested":        {strings.Replace(bare, "certificateFile", "certificate", 1), []string{"certificate", "line"}},
		"two documents": {bare + "---\ndataDir: /x\n", []string{"more than one document"}},
		"relative":      {strings.Replace(bare, "dataDir: /", "dataDir: ", 1), []string{"dataDir is not an absolute path"}},
		"address":       {strings.Replace(bare, "https://entrance.example.com", "http://entrance.example.com/x", 1), []string{"baseURL is an address"}},
		"listen":        {strings.Replace(bare, "address: 0.0.0.0", "address: everywhere", 1), []string{"listen.address is an IP address"}},
		"ports":         {strings.Replace(bare, "health: 8445", "health: 8444", 1), []string{"listen.webhooks and listen.health are the same port"}},
		"in the clear":  {strings.Replace(bare, "http://127.0.0.1", "http://10.0.0.1", 1), []string{"would carry every secret in the clear"}},
		"level":         {bare + "log: {level: loud, format: xml}\n", []string{"log.level is", "log.format is"}},
		"tenant":        {bare + "firstTenant: {domain: x.test}\n", []string{"firstTenant.administrator is missing", "firstTenant.passwordFile is missing"}},
		"network":       {bare + "issuerNetworks: [here]\n", []string{"issuerNetworks"}},
	} {
		t.Run(name, func(t *testing.T) {
			text := tt.text
			if strings.Count(text, "\nfirstTenant:") > 1 || strings.Count(text, "\nlog:") > 1 {
				t.Fatal("the example has the key already")
			}
			code, out := check(text)
			if code != 1 {
				t.Errorf("exit code %d: %s", code, out)
			}
			for _, want := range tt.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in: %s", want, out)
				}
			}
		})
	}
	var out strings.Builder
	if code := cli.Main([]string{"serve"}, nil, &out, &out); code != 2 {
		t.Errorf("without --config: exit code %d", code)
	}
	if code := cli.Main([]string{"serve", "--config", "/nonexistent"}, nil, &out, &out); code != 3 {
		t.Errorf("a configuration that is not there: exit code %d", code)
	}
}
