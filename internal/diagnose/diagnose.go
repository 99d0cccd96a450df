// Package diagnose finds out, on the server's side, why somebody does not get
// into a cluster, or that they should: the causes that Microsoft's
// troubleshooting guides list for "Unauthorized", for "Forbidden" and for a
// sign-in that Conditional Access stops, each looked at in the directory, in the
// decisions' own functions and in the logs. What only the person's machine can
// tell (kubectl, the plugin, its clock) is for package login/doctor and the
// command line.
package diagnose

import (
	"context"
	"fmt"
	"time"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Symptom is what a person sees when a check fails.
type Symptom string

// The symptoms, in the order in which they come up.
const (
	SignIn       Symptom = "Sign-in refused"
	Unauthorized Symptom = "Unauthorized"
	Forbidden    Symptom = "Forbidden"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Info    Level = "info"
	Warning Level = "warning"
	Problem Level = "problem"
)

// Finding is what one check found. Advice says what to do about it.
type Finding struct {
	Level   Level   `json:"level"`
	Symptom Symptom `json:"symptom"`
	Check   string  `json:"check"`
	Text    string  `json:"text"`
	Advice  string  `json:"advice,omitempty"`
}

// Logs are the records that are looked into. *audit.Recorder has them.
type Logs interface {
	ListSignIns(ctx context.Context, q audit.Query[audit.SignIn]) (audit.Page[audit.SignIn], error)
	ListDecisions(ctx context.Context, q audit.Query[audit.Decision]) (audit.Page[audit.Decision], error)
}

// Doctor examines. Its fields must be set.
type Doctor struct {
	Access *access.Keeper
	// WhatIf evaluates an invented sign-in (policy.Keeper.WhatIf).
	WhatIf func(context.Context, *conditionalaccess.Facts) conditionalaccess.Outcome
	Logs   Logs
	Clock  clock.Clock
	// LegacySecret returns the secret of a cluster with the legacy integration,
	// and whether it has one (arm.LegacySecret).
	LegacySecret func(r store.Reader, key string) (string, bool)
}

// Patient is who does not get in, to what.
type Patient struct {
	Cluster    *state.Cluster
	Resources  *k8s.Resources         // what its API server serves; nil: not known
	Kubernetes *access.KubernetesRBAC // its own roles; nil: not known
	// Who is a user or a service principal, as access.Query has it.
	Who string
	// Request is what they want to do; without one, to list nodes.
	Resource    *k8s.ResourceAttributes
	NonResource *k8s.NonResourceAttributes
}

// examination is one run.
type examination struct {
	*Doctor
	Patient
	ctx      context.Context
	view     *store.View
	now      time.Time
	user     *directory.User             // nil: a service principal
	sp       *directory.ServicePrincipal // nil: a user
	id       directory.ObjectID
	findings []Finding
}

func (e *examination) add(l Level, s Symptom, check, advice, format string, args ...any) {
	e.findings = append(e.findings, Finding{l, s, check, fmt.Sprintf(format, args...), advice})
}

// Run examines everything and returns what it found, in the order of the
// symptoms. An error means that it could not look.
func (d *Doctor) Run(ctx context.Context, p Patient) ([]Finding, error) {
	facts, err := d.Access.Facts()
	if err != nil {
		return nil, err
	}
	if p.Resource == nil && p.NonResource == nil {
		p.Resource = &k8s.ResourceAttributes{Verb: "list", Resource: "nodes", Version: "v1"}
	}
	e := &examination{Doctor: d, Patient: p, ctx: ctx, view: facts.View, now: d.Clock.Now()}
	if !e.subject() {
		if err := e.refusedTokens(); err != nil {
			return nil, err
		}
		return e.findings, nil
	}
	for _, step := range []func() error{e.policies, e.failedSignIns, e.account, e.groups, e.credentials, e.clusterSecret, e.refusedTokens, e.access} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return e.findings, nil
}

// request is what is asked for in words.
func (e *examination) request() string {
	if r := e.Resource; r != nil {
		text := r.Verb + " " + r.Resource
		if r.Group != "" {
			text += "." + r.Group
		}
		if r.Subresource != "" {
			text += "/" + r.Subresource
		}
		if r.Namespace != "" {
			return text + " in namespace " + r.Namespace
		}
		return text
	}
	return e.NonResource.Verb + " " + e.NonResource.Path
}
