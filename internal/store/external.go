package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/entrance-id/entrance/internal/errs"
)

// dial makes a client of an existing cluster. It does not wait for it.
func dial(cfg Config, log *slog.Logger) (*clientv3.Client, error) {
	zl, _ := zapLogger(log, func(error) {})
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            cfg.Endpoints,
		TLS:                  cfg.TLS,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		MaxCallSendMsgSize:   maxRequestBytes,
		Logger:               zl,
	})
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "etcd endpoints %s", strings.Join(cfg.Endpoints, ", "))
	}
	return c, nil
}

// checkServers refuses servers whose progress notifications cannot be trusted:
// before 3.4.31 and 3.5.13 they could run ahead of the events.
func (s *Store) checkServers(ctx context.Context) error {
	var first error
	reached := false
	for _, ep := range s.client.Endpoints() {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		st, err := s.client.Status(ctx, ep)
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
		return errs.Wrap(errs.Unavailable, first, "no etcd answers at %s: check the addresses, the certificates and that it runs", strings.Join(s.client.Endpoints(), ", "))
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
