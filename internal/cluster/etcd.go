package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"github.com/entrance-id/entrance/internal/cluster/proc"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pki"
)

const (
	etcdChild   = "etcd"
	etcdReady   = 30 * time.Second
	etcdQuota   = 4 << 30
	etcdCertAge = 10 * 365 * 24 * time.Hour // longer than any run of a process
)

// sharedEtcd is the etcd that holds the objects of all clusters.
type sharedEtcd struct {
	child  *proc.Child
	client *clientv3.Client
	access etcdAccess
}

// startEtcd starts etcd in dir and waits until it answers. Its certificates
// and its port are new each time: only processes that this Manager starts
// have a use for them.
func (m *Manager) startEtcd(ctx context.Context, dir string) (*sharedEtcd, error) {
	if err := m.checkBinary(); err != nil {
		return nil, err
	}
	for _, d := range []string{"tls", "data", "logs"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	now := m.cfg.Clock.Now()
	ca, err := pki.NewAuthority("etcd-ca", pki.Constraints{}, now, etcdCertAge)
	if err != nil {
		return nil, err
	}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1).To4()}
	server, err := ca.Server([]string{"localhost"}, loopback, now, etcdCertAge)
	if err != nil {
		return nil, err
	}
	client, err := ca.Client("entrance", "entrance", now, etcdCertAge)
	if err != nil {
		return nil, err
	}
	file := func(name string) string { return filepath.Join(dir, "tls", name) }
	if err := writeFile(file("ca.crt"), ca.PEM()); err != nil {
		return nil, err
	}
	if err := writeKeyPair(file("server"), server); err != nil {
		return nil, err
	}
	if err := writeKeyPair(file("client"), client); err != nil {
		return nil, err
	}
	taken, err := takenPorts(filepath.Join(m.cfg.Dir, "clusters"))
	if err != nil {
		return nil, err
	}
	port, err := choosePort(taken)
	if err != nil {
		return nil, err
	}
	url := serverURL(port)
	child, err := m.start(proc.Command{
		Name: etcdChild,
		Args: etcdArgs(filepath.Join(dir, "data"), url, file),
		Dir:  dir,
		Log:  filepath.Join(dir, "logs", "etcd.log"),
	})
	if err != nil {
		return nil, err
	}
	pool, err := ca.Pool()
	if err != nil {
		child.Stop(0)
		return nil, err
	}
	cli, err := clientv3.New(clientv3.Config{
		Endpoints: []string{url},
		TLS:       &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{*client}, MinVersion: tls.VersionTLS12},
		Logger:    zap.NewNop(), // what matters comes back as errors
		// The first attempt comes before etcd listens; gRPC would sit out a
		// second after it.
		DialOptions: []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.3, MaxDelay: time.Second},
		})},
	})
	if err != nil {
		child.Stop(0)
		return nil, err
	}
	e := &sharedEtcd{child: child, client: cli, access: etcdAccess{url: url, ca: file("ca.crt"), cert: file("client.crt"), key: file("client.key")}}
	ctx, cancel := context.WithTimeout(ctx, etcdReady)
	defer cancel()
	for {
		probe, done := context.WithTimeout(ctx, time.Second)
		_, err := cli.Get(probe, "ready")
		done()
		if err == nil {
			return e, nil
		}
		if failed := m.givenUp(child, 3); failed != nil {
			e.stop()
			return nil, failed
		}
		select {
		case <-ctx.Done():
			tail := child.Tail(5)
			e.stop()
			return nil, errs.Wrap(errs.Unavailable, err, "The etcd of the clusters did not get ready. The end of its log:\n%s", tail)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func etcdArgs(data, url string, file func(string) string) []string {
	// etcd wants a peer address even alone. Port 0 lets the system choose
	// one; nobody connects to it, and nobody could without a certificate.
	const peer = "https://127.0.0.1:0"
	return []string{
		"--name=default",
		"--data-dir=" + data,
		"--listen-client-urls=" + url,
		"--advertise-client-urls=" + url,
		"--client-cert-auth=true",
		"--trusted-ca-file=" + file("ca.crt"),
		"--cert-file=" + file("server.crt"),
		"--key-file=" + file("server.key"),
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=default=" + peer,
		"--peer-client-cert-auth=true",
		"--peer-trusted-ca-file=" + file("ca.crt"),
		"--peer-cert-file=" + file("server.crt"),
		"--peer-key-file=" + file("server.key"),
		// A member that is alone has nobody to lose an election to, but waits
		// this long for one before each start.
		"--heartbeat-interval=50",
		"--election-timeout=250",
		fmt.Sprintf("--quota-backend-bytes=%d", etcdQuota),
		"--log-level=warn",
	}
}

// forget deletes all objects of a cluster.
func (e *sharedEtcd) forget(ctx context.Context, key string) error {
	_, err := e.client.Delete(ctx, etcdPrefix(key)+"/", clientv3.WithPrefix())
	if err != nil {
		return errs.Wrap(errs.Unavailable, err, "The objects of cluster %s could not be deleted from etcd.", key)
	}
	return nil
}

func (e *sharedEtcd) stop() {
	_ = e.client.Close()
	e.child.Stop(etcdGrace)
}
