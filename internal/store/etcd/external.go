package etcd

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/errs"
)

// Dial returns a client of an existing cluster of which at least one member
// answers, and none is of a version that cannot be used.
func Dial(ctx context.Context, endpoints []string, tls *tls.Config, log *slog.Logger) (*clientv3.Client, error) {
	zl, _ := zapLogger(log, func(error) {})
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		TLS:                  tls,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		MaxCallSendMsgSize:   maxRequestBytes,
		Logger:               zl,
	})
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "etcd endpoints %s", strings.Join(endpoints, ", "))
	}
	if err := checkServers(ctx, c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// checkServers refuses servers whose progress notifications cannot be trusted:
// before 3.4.31 and 3.5.13 they could run ahead of the events.
func checkServers(ctx context.Context, c *clientv3.Client) error {
	var first error
	reached := false
	for _, ep := range c.Endpoints() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		st, err := c.Status(ctx, ep)
		cancel()
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		reached = true
		if !trusted(st.Version) {
			return errs.New(errs.Invalid, "the etcd at %s is version %s: 3.5.13 or later is needed", ep, st.Version)
		}
	}
	if !reached {
		return errs.Wrap(errs.Unavailable, first, "no etcd answers at %s: check the addresses, the certificates and that it runs", strings.Join(c.Endpoints(), ", "))
	}
	return nil
}

func trusted(version string) bool {
	var major, minor, patch int
	if n, _ := fmt.Sscanf(version, "%d.%d.%d", &major, &minor, &patch); n != 3 {
		return false
	}
	switch {
	case major != 3:
		return major > 3
	case minor == 4:
		return patch >= 31
	case minor == 5:
		return patch >= 13
	}
	return minor > 5
}
