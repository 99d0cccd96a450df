package server

import (
	"crypto/tls"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// givenCertificate is a server certificate that somebody else renews: it is read
// again when its file changes.
type givenCertificate struct {
	cert, key string
	authority []byte // PEM, of what issued it
	log       *slog.Logger

	mu      sync.Mutex
	current *tls.Certificate
	changed time.Time // of the file, when it was read
}

func newGivenCertificate(cfg Config, log *slog.Logger) (*givenCertificate, error) {
	g := &givenCertificate{cert: cfg.Certificate, key: cfg.Key, log: log}
	if cfg.Authority != "" {
		pem, err := os.ReadFile(cfg.Authority)
		if err != nil {
			return nil, errs.Wrap(errs.Invalid, err, "The authority of the certificate cannot be read")
		}
		g.authority = pem
	}
	return g, g.read()
}

// read reads the files if they have changed.
func (g *givenCertificate) read() error {
	info, err := os.Stat(g.cert)
	if err == nil && g.current != nil && info.ModTime().Equal(g.changed) {
		return nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(g.cert, g.key); err == nil {
			g.current, g.changed = &pair, info.ModTime()
			return nil
		}
	}
	return errs.Wrap(errs.Invalid, err, "The given certificate cannot be used")
}

// get returns the certificate as it is now. While the new files are not whole,
// or broken, the old certificate stays.
func (g *givenCertificate) get() *tls.Certificate {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.read(); err != nil {
		g.log.Error("the given certificate stays as it was", "error", err)
	}
	return g.current
}

// chooseCertificate returns the certificate for a handshake: the given one for
// every name that it has, and for clients that name none; Entrance's own for
// this machine, by which local clusters reach the webhooks, and for the names
// that Entrance stands in for.
func (s *Server) chooseCertificate(hello *tls.ClientHelloInfo) *tls.Certificate {
	own := s.leaf.current.Load()
	if s.given == nil {
		return own
	}
	given, name := s.given.get(), hello.ServerName
	if name == "" || given.Leaf.VerifyHostname(name) == nil || own.Leaf.VerifyHostname(name) != nil {
		return given
	}
	return own
}

// trust is what a client of the TLS listeners must trust, PEM.
func (s *Server) trust() []byte {
	pem := slices.Clone(s.authority.PEM())
	if s.given != nil {
		pem = append(pem, s.given.authority...)
	}
	return pem
}
