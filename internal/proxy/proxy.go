// Package proxy lets tools keep their built-in public cloud: it is an HTTP
// proxy that answers for the Microsoft names that Entrance stands in for and
// refuses every other host.
//
// A tool that obeys HTTPS_PROXY sends CONNECT login.microsoftonline.com:443;
// the tunnel ends at Entrance's own TLS listener, whose certificate has that
// name. A plain request for http://169.254.169.254/ is the managed identity
// endpoint of a virtual machine and goes to that handler. Nothing is ever
// passed on to the outside.
package proxy

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names are the hosts that Entrance answers for: sign-in, Microsoft Graph,
// Azure Resource Manager and the service that az asks for admin consent.
var Names = []string{
	"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net",
	"login.microsoftonline.us", "login.chinacloudapi.cn", "login.partner.microsoftonline.cn",
	"graph.microsoft.com", "graph.windows.net",
	"management.azure.com", "management.core.windows.net",
	"main.iam.ad.ext.azure.com",
}

// imdsHost is where virtual machines find the managed identity endpoint.
const imdsHost = "169.254.169.254"

// idle ends a tunnel on which nothing was said for this long.
const idle = 10 * time.Minute

// Proxy is the interception proxy.
type Proxy struct {
	// Dial connects to Entrance's own TLS listener.
	Dial func(ctx context.Context) (net.Conn, error)
	// IMDS answers requests for the managed identity endpoint; nil refuses
	// them.
	IMDS http.Handler
	// Logger gets refusals at debug level.
	Logger *slog.Logger
}

// ServeHTTP implements the proxy.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		p.connect(w, r)
	case r.URL.IsAbs() && r.URL.Scheme == "http" && r.URL.Hostname() == imdsHost && (r.URL.Port() == "" || r.URL.Port() == "80") && p.IMDS != nil:
		p.IMDS.ServeHTTP(w, r)
	default:
		host := r.URL.Host
		if host == "" {
			host = r.Host
		}
		p.refuse(w, host)
	}
}

func (p *Proxy) refuse(w http.ResponseWriter, host string) {
	p.Logger.Debug("proxy: refused", "host", host)
	http.Error(w, "Entrance's proxy answers only for "+strings.Join(Names, ", ")+
		" (port 443); it reaches nothing outside this machine. Unset HTTPS_PROXY to reach other hosts.", http.StatusForbidden)
}

func (p *Proxy) connect(w http.ResponseWriter, r *http.Request) {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil || port != "443" || !slices.Contains(Names, strings.ToLower(host)) {
		p.refuse(w, r.Host)
		return
	}
	backend, err := p.Dial(r.Context())
	if err != nil {
		p.Logger.Error("proxy: the listener cannot be reached", "error", err)
		http.Error(w, "Entrance's own listener cannot be reached.", http.StatusBadGateway)
		return
	}
	defer backend.Close()
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "CONNECT needs HTTP/1.1.", http.StatusHTTPVersionNotSupported)
		return
	}
	defer client.Close()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() { pump(backend, buffered.Reader, client); closeWrite(backend) })
	wg.Go(func() { pump(client, backend, backend); closeWrite(client) })
	wg.Wait()
}

// pump copies from src, which reads from conn, to dst until either ends or
// nothing was said for the idle time.
func pump(dst io.Writer, src io.Reader, conn net.Conn) {
	buf := make([]byte, 16<<10)
	for {
		conn.SetReadDeadline(time.Now().Add(idle))
		n, err := src.Read(buf)
		if n > 0 {
			if _, werr := dst.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func closeWrite(c net.Conn) {
	if tcp, ok := c.(interface{ CloseWrite() error }); ok {
		tcp.CloseWrite()
		return
	}
	c.Close()
}
