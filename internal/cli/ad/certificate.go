package ad

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/cli/azure"
	"github.com/entrance-id/entrance/internal/errs"
)

// readCertificate reads a certificate that stands on the command line or in a
// file behind @, and returns its DER form in base64 and when it ends. A private
// key beside it is refused: it has no business here.
func readCertificate(text string) (der string, end time.Time, err error) {
	if name, ok := strings.CutPrefix(text, "@"); ok {
		raw, err := os.ReadFile(name)
		if err != nil {
			return "", end, errs.Wrap(errs.Invalid, err, "--cert")
		}
		text = string(raw)
	}
	if strings.Contains(text, "PRIVATE KEY") {
		return "", end, azure.Usagef("--cert holds a private key: give the certificate alone")
	}
	raw := []byte(text)
	if block, _ := pem.Decode(raw); block != nil {
		raw = block.Bytes
	} else if b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(text), "")); err == nil {
		raw = b
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		return "", end, azure.Usagef("--cert is no certificate: %v", err)
	}
	return base64.StdEncoding.EncodeToString(cert.Raw), cert.NotAfter, nil
}

// makeCertificate makes a self-signed certificate, and keeps it with its key in
// a file of the home directory that only its owner reads, as az does.
func makeCertificate(start, end time.Time) (file, der string, err error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", "", err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return "", "", err
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "CLI-Login"}, NotBefore: start, NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature}
	raw, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		return "", "", err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", "", err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", "", err
	}
	f, err := os.CreateTemp(home, "tmp*.pem") // mode 0600
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	for _, block := range []*pem.Block{{Type: "PRIVATE KEY", Bytes: pkcs8}, {Type: "CERTIFICATE", Bytes: raw}} {
		if err := pem.Encode(f, block); err != nil {
			return "", "", err
		}
	}
	return filepath.Clean(f.Name()), base64.StdEncoding.EncodeToString(raw), f.Close()
}
