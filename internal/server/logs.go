package server

import (
	"context"
	"log/slog"
	"net/netip"

	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/oauth"
	"github.com/entrance-id/entrance/internal/signin"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
	"github.com/entrance-id/entrance/internal/webhook"
)

// logs tells the recorder what the packages that serve clients have done. None
// of them knows it.
type logs struct {
	*audit.Recorder
	store *store.Store
	log   *slog.Logger
}

// openLogs opens the sign-in, directory and decision logs of this process.
func openLogs(dir string, s *store.Store, c clock.Clock, logger *slog.Logger) (*logs, error) {
	r, err := audit.OpenRecorder(dir, audit.RecorderOptions{
		Options: audit.Options{Clock: c, Logger: logger},
		Domain: func(name string) bool {
			_, err := state.FindTenant(s.View(), name)
			return err == nil
		},
	})
	return &logs{r, s, logger}, err
}

// lost notes that a record could not be kept. The request goes on: who can sign
// in must not depend on a disk that is full, and readiness shows it.
func (l *logs) lost(what string, err error) {
	if err != nil {
		l.log.Error("a record could not be kept", "log", what, "error", err)
	}
}

// signIns is the sign-in log of the identity provider. It implements
// oauth.Audit.
type signIns struct{ *logs }

// SignIn implements oauth.Audit.
func (l signIns) SignIn(ctx context.Context, e *oauth.SignInEvent) {
	r := &audit.SignInEvent{
		ID: e.ID, CorrelationID: e.Correlation, Time: e.Time, Tenant: e.Tenant,
		User: e.User, UserName: e.UserName, ServicePrincipal: e.ServicePrincipal,
		Client: e.Client, ClientName: e.ClientName, Resource: e.Resource, ResourceName: e.ResourceName,
		Address: e.Address, UserAgent: e.UserAgent, Grant: e.Grant, Interactive: e.Interactive,
		ClientAuth: e.ClientAuth, TokenID: e.TokenID, Flow: e.Flow, Methods: e.Methods,
		ClientAppType: e.ClientAppType, Device: e.Device,
		Code: e.Code, Reason: e.Reason, Policies: e.Policies, Status: e.Status,
	}
	view := l.store.View()
	if u, err := state.Users.Get(view, state.Key(e.Tenant, e.User)); err == nil {
		r.DisplayName, r.Guest = u.DisplayName, u.Guest
	}
	if p, err := state.ServicePrincipals.Get(view, state.Key(e.Tenant, e.ServicePrincipal)); err == nil {
		r.ServicePrincipalName, r.ManagedIdentity = p.DisplayName, p.Type == "ManagedIdentity"
	}
	if e.Device != nil {
		if d, ok := state.Devices.First(view, "deviceid", state.Key(e.Tenant, directory.ObjectID(e.Device.ID))); ok {
			r.DeviceManaged = d.Managed
		}
	}
	l.lost("sign-ins", l.Recorder.SignIn(ctx, r))
}

// attempt records a failed attempt on the pages.
func (l *logs) attempt(ctx context.Context, a signin.Attempt) {
	l.lost("sign-ins", l.Recorder.SignIn(ctx, &audit.SignInEvent{
		CorrelationID: a.Correlation, Time: a.Time, Tenant: a.Tenant, User: a.User, UserName: a.UserName,
		Client: a.Client, Address: a.Address, UserAgent: a.UserAgent, Grant: "authorize", Interactive: true,
		Code: a.Code, Reason: a.Reason,
	}))
}

// activities keeps what Resource Manager was asked to change, and what it
// refused. It implements arm.Audit.
type activities struct{ *logs }

// Record implements arm.Audit.
func (l activities) Record(ctx context.Context, e *arm.Event) error {
	address, err := netip.ParseAddr(e.IP)
	if err != nil {
		address = netip.Addr{}
	}
	r := &audit.DirectoryEvent{
		ID: e.RequestID, CorrelationID: e.CorrelationID, Time: e.Time, Tenant: e.Tenant,
		Activity: e.Action, Category: "ResourceManagement", Service: "Azure Resource Manager", Operation: "Action",
		Success: e.Status < 400, Reason: e.Code, Address: address, Client: e.AppID,
		Targets: []audit.Target{{Type: "AzureResource", ID: e.Scope}},
	}
	if u, err := state.Users.Get(l.store.View(), state.Key(e.Tenant, e.Caller)); err == nil {
		r.User, r.UserName, r.DisplayName = u.ID, u.UserPrincipalName, u.DisplayName
	} else {
		r.ServicePrincipal = e.Caller
	}
	return l.Recorder.Directory(ctx, r)
}

// Reviewed implements webhook.Observer: every refusal of the webhooks, and some
// of what they allowed, goes to the decision log.
func (l *logs) Reviewed(c *state.Cluster, kind string, user webhook.User, a webhook.Attributes, d webhook.Decision, rev int64) {
	if d.Verdict == webhook.NoOpinion {
		return // it decided nothing
	}
	e := &audit.DecisionEvent{
		Tenant: c.Tenant, Surface: "subjectAccessReview", Verdict: audit.Allow, Reason: d.Reason, Revision: rev,
		User: user.ID, UserName: user.Name, Cluster: c.ID,
	}
	if kind == "authenticate" {
		e.Surface = "tokenReview"
	}
	if d.Verdict == webhook.Deny {
		e.Verdict = audit.Deny
	}
	if r := a.Resource; r != nil {
		e.Verb, e.APIGroup, e.Resource, e.Subresource, e.Namespace, e.Name = r.Verb, r.Group, r.Resource, r.Subresource, r.Namespace, r.Name
	} else if n := a.NonResource; n != nil {
		e.Verb, e.Path = n.Verb, n.Path
	}
	l.lost("decisions", l.Recorder.Decision(context.Background(), e))
}
