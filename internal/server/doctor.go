package server

import (
	"context"
	"net/http"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/arm"
	"github.com/entrance-id/entrance/internal/diagnose"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac/k8s"
)

// DoctorQuery asks why somebody does not get into a cluster.
type DoctorQuery struct {
	Cluster string `json:"cluster"` // as AccessQuery.Cluster
	// Who is a user or service principal, as access.Query has it.
	Who         string                     `json:"who"`
	Resource    *k8s.ResourceAttributes    `json:"resource,omitempty"`
	NonResource *k8s.NonResourceAttributes `json:"nonResource,omitempty"`
}

// Diagnosis is the answer.
type Diagnosis struct {
	Findings []diagnose.Finding `json:"findings"`
	// Kubernetes is the version of the cluster's API server; empty where it
	// cannot be asked from here.
	Kubernetes string `json:"kubernetesVersion,omitempty"`
}

// Diagnose asks the instance that runs in a data directory why somebody does not
// get into a cluster. NotFound when nothing runs there or there is no such
// cluster.
func Diagnose(ctx context.Context, dir string, q DoctorQuery) (*Diagnosis, error) {
	var d Diagnosis
	return &d, ask(ctx, dir, "/doctor", q, &d)
}

// doctorRoutes adds the doctor to the control socket.
func (s *Server) doctorRoutes(mux *http.ServeMux) {
	handleControl(mux, "/doctor", func(ctx context.Context, q DoctorQuery) (any, error) { return s.diagnose(ctx, q) })
}

func (s *Server) diagnose(ctx context.Context, q DoctorQuery) (*Diagnosis, error) {
	c, err := s.findCluster(q.Cluster)
	if err != nil {
		return nil, err
	}
	if !c.Entra {
		return nil, errs.New(errs.Invalid, "The cluster %s does not use Microsoft Entra ID: az aks update --enable-aad", q.Cluster)
	}
	answer := &Diagnosis{}
	var own *access.KubernetesRBAC
	if !c.Connected {
		// Without the cluster the rest can still be told.
		if own, err = s.kubernetesRBAC(ctx, c); err != nil {
			answer.Findings = append(answer.Findings, diagnose.Finding{
				Level: diagnose.Problem, Symptom: diagnose.Unauthorized, Check: "API server", Text: "the API server does not answer: " + errs.Message(err), Advice: "entrance status",
			})
		} else if answer.Kubernetes, err = s.kubernetesVersionOf(c.Key); err != nil {
			return nil, err
		}
	}
	found, err := s.doctor().Run(ctx, diagnose.Patient{
		Cluster: c, Resources: s.services.resources.of(c), Kubernetes: own, Who: q.Who, Resource: q.Resource, NonResource: q.NonResource,
	})
	answer.Findings = append(answer.Findings, found...)
	return answer, err
}

func (s *Server) doctor() *diagnose.Doctor {
	return &diagnose.Doctor{Access: s.access, WhatIf: s.services.policy.WhatIf, Logs: s.services.logs.Recorder, Clock: s.clock, LegacySecret: arm.LegacySecret}
}

// kubernetesVersionOf asks a local cluster's API server for its version.
func (s *Server) kubernetesVersionOf(key string) (string, error) {
	config, err := s.localClusters().RESTConfig(key)
	if err != nil {
		return "", err
	}
	client, err := kubernetes.NewForConfig(rest.CopyConfig(config))
	if err != nil {
		return "", err
	}
	v, err := client.Discovery().ServerVersion()
	if err != nil {
		return "", errs.Wrap(errs.Unavailable, err, "The API server does not tell its version")
	}
	return v.GitVersion, nil
}
