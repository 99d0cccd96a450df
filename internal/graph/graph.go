// Package graph serves Microsoft Graph, v1.0 and beta, for the tenants that
// Entrance hosts.
//
// # The parts
//
// Package wire holds what all routes share (authorization, errors, paging,
// batches), package model the resources and their properties. This package is
// the table of routes and what each of them does: users, groups, applications,
// service principals, devices, grants and roles.
//
// # What it stands for
//
// A client that was written for the real service sees the same paths, the same
// bodies and the same refusals. Where the real service is eventually
// consistent, this one is not: a write is visible when it is answered.
package graph

import (
	"context"
	"log/slog"
	"net/http"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/store"
)

// Caller is who makes a request, as the verified access token says.
type Caller = wire.Caller

// Audit takes the events of writes.
type Audit = wire.Audit

// Event is one entry of the directory's audit log.
type Event = wire.Event

// Passwords hashes the passwords of people.
type Passwords interface {
	// Hash returns a hash that Verify accepts for the same password.
	// errs.Throttled when too many callers wait.
	Hash(ctx context.Context, password string) (string, error)
	// Verify reports whether hash was made of password. An empty hash costs the
	// same and is never right.
	Verify(ctx context.Context, hash, password string) (ok, stale bool, err error)
}

// Config is what a Service needs.
type Config struct {
	Store  *store.Store
	Clock  clock.Clock
	Logger *slog.Logger
	// BaseURL is the address of Graph as clients know it, without a version:
	// https://localhost:8443.
	BaseURL string
	// Hosts are further names (host or host:port) under which clients may know
	// it, such as graph.microsoft.com behind the interception proxy. Links in
	// answers name the host that the client used if it is one of them.
	Hosts []string
	// Authenticate verifies the access token of a request, whose audience must
	// be Microsoft Graph. Its error is errs.Unauthenticated for a bad token.
	Authenticate func(*http.Request) (Caller, error)
	Passwords    Passwords
	// Audit takes the events of writes; nil keeps none.
	Audit Audit
	// Routes are further routes, of packages that serve a part of Graph.
	Routes []wire.Route
}

// Service is Microsoft Graph.
type Service struct {
	server    *wire.Server
	passwords Passwords
}

// New returns a Service, or an error when the configuration cannot work.
func New(c Config) (*Service, error) {
	s := &Service{passwords: c.Passwords}
	routes := append(s.routes(), c.Routes...)
	var err error
	s.server, err = wire.NewServer(wire.Config{
		Store: c.Store, Clock: c.Clock, Logger: c.Logger, BaseURL: c.BaseURL, Hosts: c.Hosts, Authenticate: c.Authenticate, Audit: c.Audit,
	}, routes)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// ServeHTTP answers requests for /v1.0/... and /beta/....
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.server.ServeHTTP(w, r) }

// Routes returns the table of routes.
func (s *Service) Routes() []wire.Route { return s.server.Routes }
