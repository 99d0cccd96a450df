package cluster

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// grace is how long a former signing key or issuer of service account tokens
// stays good, as on AKS. No token lives longer (maxTokenLife).
const grace = 24 * time.Hour

// defaultIssuer is what a cluster without an OIDC issuer signs with.
const defaultIssuer = "https://kubernetes.default.svc.cluster.local"

const stateVersion = 1

// state is what a cluster's directory must remember from one start to the
// next and its Spec does not say.
type state struct {
	Version     int          `json:"version"`
	Port        int          `json:"port"`
	SigningKeys []signingKey `json:"signingKeys"` // the last one signs
	Issuer      string       `json:"issuer"`
	PastIssuers []pastIssuer `json:"pastIssuers,omitempty"`
}

type signingKey struct {
	Generation int       `json:"generation"`
	File       string    `json:"file"`
	Until      time.Time `json:"until,omitzero"` // zero: signs
}

type pastIssuer struct {
	URL   string    `json:"url"`
	Until time.Time `json:"until"`
}

func readState(file string) (*state, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return &state{Version: stateVersion}, nil
	}
	if err != nil {
		return nil, err
	}
	st := &state{}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(st); err != nil || st.Version != stateVersion {
		return nil, errs.Wrap(errs.Conflict, err, "%s was not written by this version of Entrance; delete the cluster, or use the version that made it", file)
	}
	return st, nil
}

func (st *state) write(file string) error {
	data, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(file, append(data, '\n'))
}

// converge brings the state to what spec asks for: a port, a signing key of
// the right generation with its predecessors while they are in their grace,
// and the issuer likewise. Keys are made in dir; taken are the ports of other
// clusters, whether they run or not.
func (st *state) converge(dir string, spec *Spec, taken []int, now time.Time) error {
	if spec.Port != 0 {
		st.Port = spec.Port
	}
	if st.Port == 0 {
		port, err := choosePort(taken)
		if err != nil {
			return err
		}
		st.Port = port
	}

	issuer := spec.ServiceAccountIssuer
	if issuer == "" {
		issuer = defaultIssuer
	}
	if st.Issuer != issuer {
		st.PastIssuers = slices.DeleteFunc(st.PastIssuers, func(p pastIssuer) bool { return p.URL == issuer })
		if st.Issuer != "" {
			st.PastIssuers = append(st.PastIssuers, pastIssuer{st.Issuer, now.Add(grace)})
		}
		st.Issuer = issuer
	}

	if n := len(st.SigningKeys); n == 0 || st.SigningKeys[n-1].Generation != spec.SigningKeyGeneration {
		file, err := newSigningKey(dir)
		if err != nil {
			return err
		}
		if n > 0 {
			st.SigningKeys[n-1].Until = now.Add(grace)
		}
		st.SigningKeys = append(st.SigningKeys, signingKey{Generation: spec.SigningKeyGeneration, File: file})
	}
	st.prune(now)
	return nil
}

// prune drops what is past its grace and reports whether there was any.
func (st *state) prune(now time.Time) bool {
	before := len(st.SigningKeys) + len(st.PastIssuers)
	st.SigningKeys = slices.DeleteFunc(st.SigningKeys, func(k signingKey) bool { return !k.Until.IsZero() && now.After(k.Until) })
	st.PastIssuers = slices.DeleteFunc(st.PastIssuers, func(p pastIssuer) bool { return now.After(p.Until) })
	return len(st.SigningKeys)+len(st.PastIssuers) != before
}

// removeUnused deletes the key files in dir that the state does not name.
func (st *state) removeUnused(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !slices.ContainsFunc(st.SigningKeys, func(k signingKey) bool { return k.File == e.Name() }) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// newSigningKey makes an RSA key, which is what relying parties of service
// account tokens expect, and returns the name of its file in dir.
func newSigningKey(dir string) (string, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return "", err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return "", err
	}
	var b [6]byte
	rand.Read(b[:])
	name := fmt.Sprintf("%x.key", b)
	return name, writeFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// jwk is a public RSA key in the form of RFC 7517.
type jwk struct {
	Use string `json:"use"`
	Kty string `json:"kty"`
	Kid string `json:"kid"`
	Alg string `json:"alg"`
	N   string `json:"n"`
	E   string `json:"e"`
}

// jwks returns the keys that service account tokens may be signed with, the
// one that signs now first, under the key ids that the API server gives them.
func (st *state) jwks(dir string) ([]byte, error) {
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range slices.Backward(st.SigningKeys) {
		public, err := publicKey(filepath.Join(dir, k.File))
		if err != nil {
			return nil, err
		}
		key, ok := public.(*rsa.PublicKey)
		if !ok {
			return nil, fmt.Errorf("%s is not an RSA key", k.File)
		}
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(der)
		set.Keys = append(set.Keys, jwk{
			Use: "sig", Kty: "RSA", Alg: "RS256",
			Kid: base64.RawURLEncoding.EncodeToString(sum[:]),
			N:   base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			E:   base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		})
	}
	return json.Marshal(set)
}

// Ports are chosen below the range from which systems take the ports of
// outgoing connections (from 32768 on Linux), so that a cluster finds its port
// free again after a restart.
const (
	firstPort = 20000
	lastPort  = 31999
)

func choosePort(taken []int) (int, error) {
	for range 100 {
		port := firstPort + mathrand.IntN(lastPort-firstPort+1)
		if !slices.Contains(taken, port) && portFree(port) == nil {
			return port, nil
		}
	}
	return 0, errs.New(errs.Unavailable, "No free port was found between %d and %d.", firstPort, lastPort)
}

// takenPorts returns the ports that the clusters below dir have kept.
func takenPorts(dir string) ([]int, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*", "state.json"))
	if err != nil {
		return nil, err
	}
	var ports []int
	for _, f := range files {
		if st, err := readState(f); err == nil { // a broken one is its own cluster's failure
			ports = append(ports, st.Port)
		}
	}
	return ports, nil
}

func portFree(port int) error {
	l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}
