package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
)

// logWrite measures one record of the sign-in log, written by one writer with
// nothing beside: what a token pays for it at most, since writers share a write.
func logWrite(ctx context.Context) (time.Duration, error) {
	dir, err := os.MkdirTemp("", "entrance-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	r, err := audit.OpenRecorder(dir, audit.RecorderOptions{Options: audit.Options{Clock: clock.Func(time.Now), Logger: slog.New(slog.DiscardHandler)}})
	if err != nil {
		return 0, err
	}
	const n = 5000
	start := time.Now()
	for range n {
		if err := r.SignIn(ctx, &audit.SignInEvent{
			Time: time.Now(), Tenant: directory.MicrosoftTenant, Client: directory.AzureCLI, ClientName: "robot",
			Resource: directory.AKSServer, ResourceName: "Azure Kubernetes Service AAD Server",
			ServicePrincipal: directory.ObjectID(directory.AzureCLI), ServicePrincipalName: "robot",
			Grant: "client_credentials", ClientAuth: "secret", CorrelationID: directory.NewGUID(),
		}); err != nil {
			return 0, errors.Join(err, r.Close())
		}
	}
	took := time.Since(start) / n
	return took, r.Close()
}
