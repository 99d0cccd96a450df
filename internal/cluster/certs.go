package cluster

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/entrance-id/entrance/internal/pki"
)

// Certificates live as long as those of AKS.
const (
	caLife   = 30 * 365 * 24 * time.Hour
	leafLife = 2 * 365 * 24 * time.Hour
	// renewBefore is how long before its end a leaf is made anew, when the
	// cluster is started.
	renewBefore = 60 * 24 * time.Hour
)

// serviceIP is that of the kubernetes service: the first of AKS's default
// service network.
const (
	serviceIP   = "10.0.0.1"
	serviceCIDR = "10.0.0.0/16"
)

// A client certificate of the control plane: file name, then who it is.
type identity struct{ file, organization, name string }

var identities = []identity{
	{"admin", "system:masters", "masterclient"},                         // handed out by AdminKubeconfig, as on AKS
	{"entrance", "system:masters", "entrance"},                          // ours
	{"kcm", "entrance:control-plane", "system:kube-controller-manager"}, // rights come from bootstrap roles
	{"scheduler", "entrance:control-plane", "system:kube-scheduler"},    // likewise
	{"nodes", nodesGroup, "entrance:simulator"},                         // rights come from ensureObjects
	{"front-proxy", "entrance:control-plane", "front-proxy-client"},     // of the front proxy's authority
}

// nodesGroup is the group of the node simulator.
const nodesGroup = "entrance:simulators"

// certs are the certificates of one generation. They lie in a directory of
// their own: a running API server reloads certificate files, and must not
// come to serve those of the next generation.
type certs struct {
	dir   string
	ca    []byte // PEM
	token string // the admin's static token
}

func (c certs) path(file string) string { return filepath.Join(c.dir, file) }

func (c certs) keyPair(name string) (cert, key []byte, err error) {
	if cert, err = os.ReadFile(c.path(name + ".crt")); err != nil {
		return nil, nil, err
	}
	key, err = os.ReadFile(c.path(name + ".key"))
	return cert, key, err
}

// ensureCerts returns the certificates of a generation below dir. It makes
// them if they are not there, and makes leaves anew that will end soon or do
// not carry the names that are wanted.
func ensureCerts(dir string, generation int, serverNames []string, now time.Time) (certs, error) {
	c := certs{dir: filepath.Join(dir, strconv.Itoa(generation))}
	if _, err := os.Stat(c.path("ca.crt")); errors.Is(err, os.ErrNotExist) {
		// All or nothing: made aside, then moved into place.
		aside, err := os.MkdirTemp(dir, ".new-")
		if err != nil {
			return certs{}, err
		}
		defer os.RemoveAll(aside)
		if err := makeCerts(aside, now); err != nil {
			return certs{}, err
		}
		if err := os.RemoveAll(c.dir); err != nil {
			return certs{}, err
		}
		if err := os.Rename(aside, c.dir); err != nil {
			return certs{}, err
		}
	} else if err != nil {
		return certs{}, err
	}
	if err := c.ensureLeaves(serverNames, now); err != nil {
		return certs{}, fmt.Errorf("certificates in %s: %w", c.dir, err)
	}
	var err error
	if c.ca, err = os.ReadFile(c.path("ca.crt")); err != nil {
		return certs{}, err
	}
	tok, err := os.ReadFile(c.path("admin.token"))
	if err != nil {
		return certs{}, err
	}
	c.token = string(tok)
	return c, nil
}

// makeCerts makes what a generation has and keeps: its authorities and the
// admin's token.
func makeCerts(dir string, now time.Time) error {
	for _, name := range []string{"ca", "front-proxy-ca"} {
		a, err := pki.NewAuthority(name, pki.Constraints{}, now, caLife)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name+".crt"), a.PEM(), 0o600); err != nil {
			return err
		}
		key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: a.Key})
		if err := os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600); err != nil {
			return err
		}
	}
	var b [64]byte // AKS's is as long
	rand.Read(b[:])
	token := hex.EncodeToString(b[:])
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte(token), 0o600); err != nil {
		return err
	}
	line := token + ",masterclient,masterclient,system:masters\n"
	return os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(line), 0o600)
}

func (c certs) authority(name string) (*pki.Authority, error) {
	cert, key, err := c.keyPair(name)
	if err != nil {
		return nil, err
	}
	cb, _ := pem.Decode(cert)
	kb, _ := pem.Decode(key)
	if cb == nil || kb == nil {
		return nil, fmt.Errorf("%s is not in PEM form", name)
	}
	return &pki.Authority{Name: name, Certificate: cb.Bytes, Key: kb.Bytes}, nil
}

func (c certs) ensureLeaves(serverNames []string, now time.Time) error {
	ca, err := c.authority("ca")
	if err != nil {
		return err
	}
	front, err := c.authority("front-proxy-ca")
	if err != nil {
		return err
	}
	names := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	ips := []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback, net.ParseIP(serviceIP).To4()}
	for _, n := range serverNames {
		if a, err := netip.ParseAddr(n); err == nil {
			ips = append(ips, a.AsSlice())
		} else if !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	if leaf := c.leaf("apiserver"); leaf == nil || now.After(leaf.NotAfter.Add(-renewBefore)) ||
		!slices.Equal(leaf.DNSNames, names) || !slices.EqualFunc(leaf.IPAddresses, ips, net.IP.Equal) {
		cert, err := ca.Server(names, ips, now, leafLife)
		if err != nil {
			return err
		}
		if err := writeKeyPair(c.path("apiserver"), cert); err != nil {
			return err
		}
	}
	for _, id := range identities {
		if leaf := c.leaf(id.file); leaf != nil && now.Before(leaf.NotAfter.Add(-renewBefore)) {
			continue
		}
		by := ca
		if id.file == "front-proxy" {
			by = front
		}
		cert, err := by.Client(id.organization, id.name, now, leafLife)
		if err != nil {
			return err
		}
		if err := writeKeyPair(c.path(id.file), cert); err != nil {
			return err
		}
	}
	return nil
}

// leaf returns a certificate that is there and fits its key, else nil.
func (c certs) leaf(name string) *x509.Certificate {
	pair, err := tls.LoadX509KeyPair(c.path(name+".crt"), c.path(name+".key"))
	if err != nil {
		return nil
	}
	return pair.Leaf
}

// writeKeyPair writes base.crt and base.key.
func writeKeyPair(base string, c *tls.Certificate) error {
	chain, key, err := pki.Encode(c)
	if err != nil {
		return err
	}
	if err := writeFile(base+".key", key); err != nil {
		return err
	}
	return writeFile(base+".crt", chain)
}

// writeFile replaces a file as a whole, and leaves it alone if it holds data
// already.
func writeFile(file string, data []byte) error {
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, data) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".new-") // has mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// publicKey returns the public half of a private key in a PEM file.
func publicKey(file string) (crypto.PublicKey, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	b, _ := pem.Decode(data)
	if b == nil {
		return nil, fmt.Errorf("%s is not in PEM form", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds no signing key", file)
	}
	return signer.Public(), nil
}
