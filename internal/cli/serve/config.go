package serve

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/entrance-id/entrance/internal/cli/daemon"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/server"
)

// config is the file of `entrance serve`. docs/serve.md says what each key
// means.
type config struct {
	DataDir     string `yaml:"dataDir"`
	BaseURL     string `yaml:"baseURL"`
	SealKeyFile string `yaml:"sealKeyFile"`
	Listen      struct {
		Address       string `yaml:"address"`
		HealthAddress string `yaml:"healthAddress"`
		Login         int    `yaml:"login"`
		Webhooks      int    `yaml:"webhooks"`
		Health        int    `yaml:"health"`
		IMDS          int    `yaml:"imds"`
	} `yaml:"listen"`
	TLS struct {
		CertificateFile string `yaml:"certificateFile"`
		KeyFile         string `yaml:"keyFile"`
		AuthorityFile   string `yaml:"authorityFile"`
	} `yaml:"tls"`
	Webhooks struct {
		URL string `yaml:"url"`
	} `yaml:"webhooks"`
	Etcd struct {
		Endpoints       []string `yaml:"endpoints"`
		AuthorityFile   string   `yaml:"authorityFile"`
		CertificateFile string   `yaml:"certificateFile"`
		KeyFile         string   `yaml:"keyFile"`
	} `yaml:"etcd"`
	FirstTenant *struct {
		DisplayName   string `yaml:"displayName"`
		Domain        string `yaml:"domain"`
		Administrator string `yaml:"administrator"`
		PasswordFile  string `yaml:"passwordFile"`
		Subscription  string `yaml:"subscription"`
	} `yaml:"firstTenant"`
	LocalClusters     bool     `yaml:"localClusters"`
	LegacyIntegration bool     `yaml:"legacyIntegration"`
	IssuerNetworks    []string `yaml:"issuerNetworks"`
	Log               struct {
		Level  string `yaml:"level"`
		Format string `yaml:"format"`
	} `yaml:"log"`
}

// readConfig reads the file, strictly.
func readConfig(name string) (*config, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, errs.Wrap(errs.NotFound, err, "The configuration cannot be read")
	}
	var c config
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&c); err != nil && !errors.Is(err, io.EOF) {
		return nil, errs.Wrap(errs.Invalid, err, "The configuration %s is not valid", name)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errs.New(errs.Invalid, "The configuration %s holds more than one document.", name)
	}
	return &c, nil
}

// check finds everything that is wrong with the values.
func (c *config) check() error {
	var wrong []string
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for key, v := range map[string]string{
		"dataDir": c.DataDir, "baseURL": c.BaseURL, "sealKeyFile": c.SealKeyFile,
		"tls.certificateFile": c.TLS.CertificateFile, "tls.keyFile": c.TLS.KeyFile, "tls.authorityFile": c.TLS.AuthorityFile,
	} {
		if v == "" {
			say("%s is missing", key)
		}
	}
	for key, v := range map[string]string{
		"dataDir": c.DataDir, "sealKeyFile": c.SealKeyFile, "tls.certificateFile": c.TLS.CertificateFile, "tls.keyFile": c.TLS.KeyFile,
		"tls.authorityFile": c.TLS.AuthorityFile, "etcd.authorityFile": c.Etcd.AuthorityFile, "etcd.certificateFile": c.Etcd.CertificateFile, "etcd.keyFile": c.Etcd.KeyFile,
	} {
		if v != "" && !filepath.IsAbs(v) {
			say("%s is not an absolute path: %q", key, v)
		}
	}
	for key, v := range map[string]string{"baseURL": c.BaseURL, "webhooks.url": c.Webhooks.URL} {
		if v == "" {
			continue
		}
		if u, err := url.Parse(v); err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			say("%s is an address such as https://entrance.example.com, without a path: %q", key, v)
		}
	}
	for key, v := range map[string]string{"listen.address": c.Listen.Address, "listen.healthAddress": c.Listen.HealthAddress} {
		if v != "" && net.ParseIP(v) == nil {
			say("%s is an IP address: %q", key, v)
		}
	}
	if ip := net.ParseIP(c.Listen.Address); c.LocalClusters && ip != nil && !ip.IsLoopback() && !ip.IsUnspecified() {
		say("localClusters: clusters on this machine reach the webhooks over loopback, but listen.address is %s alone", c.Listen.Address)
	}
	ports := map[int]string{}
	for _, p := range []struct {
		key  string
		port int
	}{{"login", c.Listen.Login}, {"webhooks", c.Listen.Webhooks}, {"health", c.Listen.Health}, {"imds", c.Listen.IMDS}} {
		switch {
		case p.port == 0:
		case p.port < 0 || p.port > 65535:
			say("listen.%s is a port from 1 to 65535, not %d", p.key, p.port)
		case ports[p.port] != "":
			say("listen.%s and listen.%s are the same port", ports[p.port], p.key)
		}
		ports[p.port] = p.key
	}
	if len(c.Etcd.Endpoints) == 0 {
		say("etcd.endpoints is missing: production state lives in an etcd cluster of its own ('entrance up' has an embedded one)")
	}
	for _, e := range c.Etcd.Endpoints {
		u, err := url.Parse(e)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			say("etcd.endpoints: %q is not an address such as https://etcd-0.example.com:2379", e)
			continue
		}
		if ip := net.ParseIP(u.Hostname()); u.Scheme == "http" && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
			say("etcd.endpoints: %s would carry every secret in the clear: use https", e)
		}
	}
	if (c.Etcd.CertificateFile == "") != (c.Etcd.KeyFile == "") {
		say("etcd.certificateFile and etcd.keyFile belong together")
	}
	if f := c.FirstTenant; f != nil {
		for key, v := range map[string]string{"displayName": f.DisplayName, "domain": f.Domain, "administrator": f.Administrator, "passwordFile": f.PasswordFile, "subscription": f.Subscription} {
			if v == "" {
				say("firstTenant.%s is missing", key)
			}
		}
	}
	for _, n := range c.IssuerNetworks {
		if _, err := netip.ParsePrefix(n); err != nil {
			say("issuerNetworks: %q is not a network such as 10.0.0.0/8", n)
		}
	}
	if _, err := c.level(); err != nil {
		say("log.level is debug, info, warn or error: %q", c.Log.Level)
	}
	if f := c.Log.Format; f != "" && f != "text" && f != "json" {
		say("log.format is text or json: %q", f)
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return errs.New(errs.Invalid, "The configuration is not valid:\n  %s", strings.Join(wrong, "\n  "))
}

func (c *config) level() (l slog.Level, err error) {
	if c.Log.Level != "" {
		err = l.UnmarshalText([]byte(c.Log.Level))
	}
	return l, err
}

// server makes the server's configuration. Files are read here, so that what is
// wrong with them is known before anything starts.
func (c *config) server() (server.Config, error) {
	cfg := server.Config{
		DataDir: c.DataDir, Listen: c.Listen.Address, HealthListen: c.Listen.HealthAddress,
		Ports:   server.Ports{Login: c.Listen.Login, Webhooks: c.Listen.Webhooks, Health: c.Listen.Health, IMDS: c.Listen.IMDS},
		BaseURL: strings.TrimSuffix(c.BaseURL, "/"), WebhookURL: c.Webhooks.URL, SealKeyFile: c.SealKeyFile,
		Certificate: c.TLS.CertificateFile, Key: c.TLS.KeyFile, Authority: c.TLS.AuthorityFile,
		EtcdEndpoints: c.Etcd.Endpoints, LegacyIntegration: c.LegacyIntegration,
		NoIMDS: c.Listen.IMDS == 0, NoClusters: !c.LocalClusters, KubeBinary: daemon.KubeBinary(),
	}
	for i, p := range []*int{&cfg.Ports.Login, &cfg.Ports.Webhooks, &cfg.Ports.Health} {
		if *p == 0 {
			*p = server.DefaultPortBase + 3 + i
		}
	}
	for _, n := range c.IssuerNetworks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return cfg, err
		}
		cfg.IssuerNetworks = append(cfg.IssuerNetworks, p)
	}
	err := c.checkCertificate()
	if err != nil {
		return cfg, err
	}
	if cfg.EtcdTLS, err = c.etcdTLS(); err != nil {
		return cfg, err
	}
	if f := c.FirstTenant; f != nil {
		cfg.First = &server.FirstTenant{
			DisplayName: f.DisplayName, Domain: f.Domain, Administrator: f.Administrator,
			PasswordFile: f.PasswordFile, Subscription: f.Subscription,
		}
	}
	return cfg, nil
}

// checkCertificate refuses a certificate that clients would: it has the names of
// the two addresses, and the authority that they are told to trust issued it.
func (c *config) checkCertificate() error {
	pair, err := tls.LoadX509KeyPair(c.TLS.CertificateFile, c.TLS.KeyFile)
	if err != nil {
		return errs.Wrap(errs.Invalid, err, "tls.certificateFile and tls.keyFile cannot be used")
	}
	raw, err := os.ReadFile(c.TLS.AuthorityFile)
	if err != nil {
		return errs.Wrap(errs.Invalid, err, "tls.authorityFile cannot be read")
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	if !options.Roots.AppendCertsFromPEM(raw) {
		return errs.New(errs.Invalid, "tls.authorityFile %s holds no certificate.", c.TLS.AuthorityFile)
	}
	for _, der := range pair.Certificate[1:] {
		if i, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(i)
		}
	}
	for _, address := range []string{c.BaseURL, c.Webhooks.URL} {
		u, err := url.Parse(address)
		if err != nil || address == "" {
			continue
		}
		options.DNSName = u.Hostname()
		if _, err := pair.Leaf.Verify(options); err != nil {
			return errs.Wrap(errs.Invalid, err, "The certificate in tls.certificateFile is not good for %s", address)
		}
	}
	return nil
}

// etcdTLS is how etcd is spoken with: by default with the authorities that the
// system trusts and without a certificate.
func (c *config) etcdTLS() (*tls.Config, error) {
	if !strings.HasPrefix(c.Etcd.Endpoints[0], "https://") {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if name := c.Etcd.AuthorityFile; name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "etcd.authorityFile cannot be read")
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errs.New(errs.Invalid, "etcd.authorityFile %s holds no certificate.", name)
		}
	}
	if c.Etcd.CertificateFile != "" {
		pair, err := tls.LoadX509KeyPair(c.Etcd.CertificateFile, c.Etcd.KeyFile)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "The certificate for etcd cannot be used")
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}
