package cluster

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/entrance-id/entrance/internal/errs"
)

// renewalUnit is the name of the systemd units that renew a certificate.
const renewalUnit = "entrance-renew"

// renewalUnits returns the systemd units that renew the certificate in a
// directory, by file name.
func renewalUnits(dir string) map[string]string {
	return map[string]string{
		renewalUnit + ".service": `[Unit]
Description=Renew the client certificate by which the API server proves itself to Entrance
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=/usr/local/bin/entrance cluster renew --dir ` + dir + `
ProtectSystem=strict
ReadWritePaths=` + dir + `
ProtectHome=yes
NoNewPrivileges=yes
`,
		renewalUnit + ".timer": `[Unit]
Description=Renew the client certificate by which the API server proves itself to Entrance, in time

[Timer]
OnCalendar=daily
RandomizedDelaySec=6h
Persistent=true

[Install]
WantedBy=timers.target
`,
	}
}

// Renewal is what came of a renewal.
type Renewal struct {
	Renewed bool
	Until   time.Time // end of the certificate that is there now
}

// Renew replaces the client certificate in the directory of a connection when
// it ends within the given time. The new one is asked of the webhooks' listener,
// with the old one and a new key that never leaves the machine. NotFound when
// the directory holds no connection, Unavailable when Entrance cannot be
// reached, Unauthenticated when it does not take the old certificate any more.
func Renew(ctx context.Context, dir string, now time.Time, before time.Duration) (*Renewal, error) {
	base := filepath.Join(dir, webhookCert)
	pair, err := tls.LoadX509KeyPair(base+".crt", base+".key")
	if err != nil {
		return nil, errs.Wrap(errs.NotFound, err, "%s holds no client certificate of a connection; --dir is where the files of 'entrance cluster connect' are", dir)
	}
	if pair.Leaf.NotAfter.Sub(now) > before {
		return &Renewal{Until: pair.Leaf.NotAfter}, nil
	}
	address, pool, err := renewalAddress(dir)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pair.Leaf.Subject}, key)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-pem-file")
	res, err := client.Do(req)
	if err != nil {
		if now.After(pair.Leaf.NotAfter) {
			return nil, errs.Wrap(errs.Unauthenticated, err, "The certificate ended at %s and cannot renew itself any more: run 'entrance cluster connect' again and copy its files", pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		return nil, errs.Wrap(errs.Unavailable, err, "Entrance cannot be reached at %s; the certificate is good until %s", address, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	defer res.Body.Close()
	chain, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The new certificate was cut short")
	}
	if res.StatusCode != http.StatusOK {
		return nil, errs.New(errs.Unauthenticated, "Entrance does not renew the certificate (HTTP %d): %s", res.StatusCode, strings.TrimSpace(string(chain)))
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
	next, err := tls.X509KeyPair(chain, keyPEM)
	if err != nil || next.Leaf.Subject.CommonName != pair.Leaf.Subject.CommonName || !next.Leaf.NotAfter.After(now) {
		return nil, errs.New(errs.Internal, "what came is not a certificate for this key and cluster")
	}
	// A reader that finds the new key beside the old certificate keeps what it
	// has and looks again.
	for name, content := range map[string][]byte{base + ".key": keyPEM, base + ".crt": chain} {
		if err := replaceFile(name, content); err != nil {
			return nil, err
		}
	}
	return &Renewal{Renewed: true, Until: next.Leaf.NotAfter}, nil
}

// replaceFile is writeFile, and keeps the file's mode and owner: the API server
// may not be root.
func replaceFile(name string, content []byte) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if err := writeFile(name, content); err != nil {
		return err
	}
	if err := keepOwner(name, info); err != nil {
		return err
	}
	return os.Chmod(name, info.Mode().Perm())
}

// renewalAddress returns where the certificate is renewed, and who vouches for
// that address, as the files of the connection have it.
func renewalAddress(dir string) (string, *x509.CertPool, error) {
	raw, err := os.ReadFile(filepath.Join(dir, authorizeFile))
	if err != nil {
		return "", nil, errs.Wrap(errs.NotFound, err, "The file of the webhook cannot be read")
	}
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := yaml.Unmarshal(raw, &config); err != nil || len(config.Clusters) != 1 {
		return "", nil, errs.New(errs.Invalid, "%s is not the file that 'entrance cluster connect' wrote.", filepath.Join(dir, authorizeFile))
	}
	c := config.Clusters[0].Cluster
	base, ok := strings.CutSuffix(c.Server, "/authorize")
	pool := x509.NewCertPool()
	if !ok || !httpsURL(c.Server) || !pool.AppendCertsFromPEM(c.CA) {
		return "", nil, errs.New(errs.Invalid, "%s does not say where Entrance is, or by which authority.", filepath.Join(dir, authorizeFile))
	}
	return fmt.Sprintf("%s/certificate", base), pool, nil
}
