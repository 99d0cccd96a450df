package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pki"
	"github.com/entrance-id/entrance/internal/proxy"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Names and lives of the authorities and what they issue.
const (
	serverAuthority  = "Entrance on this machine"
	webhookAuthority = "Entrance webhook clients"

	authorityLife = 10 * 365 * 24 * time.Hour
	leafLife      = 90 * 24 * time.Hour
	renewBefore   = 30 * 24 * time.Hour
)

// systemBundles are where systems keep the certificates that they trust.
var systemBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
}

// confined limits Entrance's own authority to this machine and to the names
// that Entrance stands in for.
func confined() pki.Constraints {
	c := pki.Constraints{DNSNames: append([]string{"localhost", "localtest.me"}, proxy.Names...)}
	for _, cidr := range []string{"127.0.0.0/8", "::1/128"} {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			panic(err) // constants
		}
		c.IPRanges = append(c.IPRanges, n)
	}
	return c
}

// authority returns the authority with the given name, and makes it when the
// store has none. Of several replicas that start together one makes it.
func authority(ctx context.Context, s *store.Store, name string, c pki.Constraints, now time.Time) (*pki.Authority, error) {
	if a, err := state.Authorities.Get(s.View(), name); err == nil {
		return a, nil
	}
	made, err := pki.NewAuthority(name, c, now, authorityLife)
	if err != nil {
		return nil, err
	}
	err = s.Update(ctx, func(tx *store.Tx) error { return state.Authorities.Create(tx, made) })
	if errs.Is(err, errs.Exists) {
		return state.Authorities.GetFresh(ctx, s, name)
	}
	return made, err
}

// certificate is a server certificate that is renewed before it ends.
type certificate struct {
	issue   func(now time.Time) (*tls.Certificate, error)
	clock   clock.Clock
	current atomic.Pointer[tls.Certificate]
}

// renew issues the certificate when there is none or its end is near.
func (c *certificate) renew() error {
	now := c.clock.Now()
	if have := c.current.Load(); have != nil && now.Before(have.Leaf.NotAfter.Add(-renewBefore)) {
		return nil
	}
	made, err := c.issue(now)
	if err != nil {
		return err
	}
	c.current.Store(made)
	return nil
}

// writeBundle writes what a client of this server must trust alone, and together
// with what the system trusts, for tools whose setting replaces their own list.
func writeBundle(p Paths, trust []byte) error {
	if err := WriteFile(p.CA(), trust, 0o644); err != nil {
		return err
	}
	bundle := bytes.NewBuffer(slices.Clone(trust))
	for _, name := range systemBundles {
		if b, err := os.ReadFile(name); err == nil {
			bundle.Write(b)
			break
		}
	}
	return WriteFile(p.Bundle(), bundle.Bytes(), 0o644)
}

// askDevices makes a TLS listener ask for a client certificate while any device
// with a key is registered: the certificate proves which device a sign-in comes
// from. Nobody verifies who issued it: the key alone counts (package policy).
// Without devices nobody is asked, since browsers of people who have
// certificates for other things would ask them to choose one.
func askDevices(config *tls.Config, s *store.Store) {
	asking := config.Clone()
	asking.ClientAuth = tls.RequestClientCert
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		for d := range state.Devices.All(s.View()) {
			if d.KeyThumbprint != "" {
				return asking, nil
			}
		}
		return nil, nil
	}
}
