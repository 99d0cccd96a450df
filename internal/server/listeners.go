package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

// Ports are the ports of the listeners. Zero chooses a free one.
type Ports struct {
	Login    int // sign-in, Microsoft Graph and Azure Resource Manager
	Webhooks int
	Health   int
	IMDS     int
	Proxy    int
}

// DefaultPortBase is the base that PortsFrom gets when nobody says otherwise.
const DefaultPortBase = 8440

// PortsFrom returns the ports base+3 to base+7.
func PortsFrom(base int) Ports {
	return Ports{Login: base + 3, Webhooks: base + 4, Health: base + 5, IMDS: base + 6, Proxy: base + 7}
}

// limits of every listener: a slow or silent client cannot hold a connection
// for long.
const (
	headerTimeout  = 5 * time.Second
	requestTimeout = 30 * time.Second
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 64 << 10
)

// listener is one of the server's listeners with what answers on it.
type listener struct {
	name string
	ln   net.Listener
	http *http.Server
}

// listen opens a listener. A port that is taken gets a message that says what
// to do.
func listen(name, host string, port int, config *tls.Config, h http.Handler, logger *slog.Logger) (*listener, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, fmt.Sprint(port)))
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, errs.Wrap(errs.Unavailable, err, "Port %d (%s) is taken by another program. Stop it, or choose other ports with --port-base", port, name)
		}
		return nil, errs.Wrap(errs.Unavailable, err, "Listening on port %d (%s)", port, name)
	}
	l := &listener{name: name, ln: ln, http: &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       requestTimeout,
		WriteTimeout:      2 * requestTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
	return l, nil
}

func (l *listener) port() int { return l.ln.Addr().(*net.TCPAddr).Port }

// address is host:port for a client on this machine.
func (l *listener) address() string {
	a := l.ln.Addr().(*net.TCPAddr)
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = loopback
	}
	return net.JoinHostPort(host, fmt.Sprint(a.Port))
}

func (l *listener) serve(wg *sync.WaitGroup, logger *slog.Logger) {
	wg.Go(func() {
		var err error
		if l.http.TLSConfig != nil {
			err = l.http.ServeTLS(l.ln, "", "")
		} else {
			err = l.http.Serve(l.ln)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			logger.Error("listener ended", "listener", l.name, "error", err)
		}
	})
}

// stop lets requests that run come to an end, within the time of ctx.
func (l *listener) stop(ctx context.Context) {
	if err := l.http.Shutdown(ctx); err != nil {
		l.http.Close()
	}
}

// tlsConfig returns the configuration of a TLS listener whose certificate get
// returns at each handshake, so that it can be renewed while it runs.
func tlsConfig(get func(*tls.ClientHelloInfo) *tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return get(hello), nil
		},
	}
}
