package server

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/entrance-id/entrance/internal/access"
	"github.com/entrance-id/entrance/internal/diagnose"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
)

// AccessQuery asks about access to a cluster, which is named by its resource id
// or by its name where that is unambiguous.
type AccessQuery struct {
	Cluster string `json:"cluster"`
	access.Query
}

// Explain asks the instance that runs in a data directory what somebody may do
// on a cluster, and why. NotFound when nothing runs there, or when the cluster
// or the subject does not exist.
func Explain(ctx context.Context, dir string, q AccessQuery) (*access.Report, error) {
	var r access.Report
	return &r, ask(ctx, dir, "/access/explain", q, &r)
}

// WhoCan asks who may do something on a cluster, through its own RBAC, an admin
// group or Azure RBAC.
func WhoCan(ctx context.Context, dir string, q AccessQuery) ([]access.Holder, error) {
	var list []access.Holder
	return list, ask(ctx, dir, "/access/who-can", q, &list)
}

// WhatCan asks which role assignments somebody holds; with a cluster only those
// that touch it, and the bindings of its own RBAC.
func WhatCan(ctx context.Context, dir string, q AccessQuery) ([]access.Held, error) {
	var list []access.Held
	return list, ask(ctx, dir, "/access/what-can", q, &list)
}

func ask(ctx context.Context, dir, path string, question, answer any) error {
	b, err := json.Marshal(question)
	if err != nil {
		return err
	}
	body, err := control(ctx, Paths{dir}, http.MethodPost, path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	return json.Unmarshal(body, answer)
}

// handleControl adds a question to the control socket.
func handleControl[Q any](mux *http.ServeMux, path string, answer func(context.Context, Q) (any, error)) {
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var q Q
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20))
		dec.DisallowUnknownFields()
		err := dec.Decode(&q)
		if err != nil {
			err = errs.Wrap(errs.Invalid, err, "The question cannot be read")
		}
		var v any
		if err == nil {
			v, err = answer(r.Context(), q)
		}
		controlReply(w, v, err)
	})
}

// accessRoutes adds the questions about access to the control socket. Whoever
// may open the socket owns the data directory, and with it everything that is
// told here.
func (s *Server) accessRoutes(mux *http.ServeMux) {
	handleControl(mux, "/access/explain", func(ctx context.Context, q AccessQuery) (any, error) {
		c, err := s.findCluster(q.Cluster)
		if err != nil {
			return nil, err
		}
		kubernetes, err := s.kubernetesRBAC(ctx, c)
		if err != nil {
			return nil, err
		}
		known := s.services.resources.of(c)
		r, err := s.access.Explain(c, known, kubernetes, q.Query)
		if err != nil {
			return nil, err
		}
		return r, s.doctor().Complete(ctx, diagnose.Patient{
			Cluster: c, Resources: known, Kubernetes: kubernetes, Who: q.Who, Resource: q.Resource, NonResource: q.NonResource,
		}, r)
	})
	handleControl(mux, "/access/who-can", func(ctx context.Context, q AccessQuery) (any, error) {
		c, err := s.findCluster(q.Cluster)
		if err != nil {
			return nil, err
		}
		kubernetes, err := s.kubernetesRBAC(ctx, c)
		if err != nil {
			return nil, err
		}
		return s.access.WhoCan(c, s.services.resources.of(c), kubernetes, q.Query)
	})
	handleControl(mux, "/access/what-can", func(ctx context.Context, q AccessQuery) (any, error) {
		tenant, under := s.Status().TenantID, rbac.Scope{}
		var own []access.Held
		if q.Cluster != "" {
			c, err := s.findCluster(q.Cluster)
			if err != nil {
				return nil, err
			}
			if under, err = rbac.ParseScope(c.ID); err != nil {
				return nil, err
			}
			tenant = c.Tenant
			kubernetes, err := s.kubernetesRBAC(ctx, c)
			if err != nil {
				return nil, err
			}
			if kubernetes != nil {
				if own, err = s.access.Bound(c, kubernetes, q.Who); err != nil {
					return nil, err
				}
			}
		}
		held, err := s.access.WhatCan(tenant, q.Who, under)
		return append(held, own...), err
	})
}

// findCluster returns the cluster with a resource id, or with a name that only
// one cluster has.
func (s *Server) findCluster(name string) (*state.Cluster, error) {
	v := s.store.View()
	if strings.HasPrefix(name, "/") {
		if c, ok := state.Clusters.First(v, "id", state.Fold(name)); ok {
			return c, nil
		}
		return nil, errs.New(errs.NotFound, "There is no cluster %s.", name)
	}
	var found *state.Cluster
	for c := range state.Clusters.All(v) {
		if strings.EqualFold(c.ID[strings.LastIndexByte(c.ID, '/')+1:], name) {
			if found != nil {
				return nil, errs.New(errs.Invalid, "Several clusters are called %q: name one by its resource id.", name)
			}
			found = c
		}
	}
	if found == nil {
		return nil, errs.New(errs.NotFound, "There is no cluster %q.", name)
	}
	return found, nil
}

// kubernetesRBAC reads a local cluster's own roles and bindings; those of a
// connected one are not at hand.
func (s *Server) kubernetesRBAC(ctx context.Context, c *state.Cluster) (*access.KubernetesRBAC, error) {
	if c.Connected {
		return nil, nil
	}
	config, err := s.localClusters().RESTConfig(c.Key)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.Timeout = 5 * time.Second
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	api := client.RbacV1()
	roles, err := api.Roles("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The cluster's own roles cannot be read")
	}
	clusterRoles, err := api.ClusterRoles().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The cluster's own roles cannot be read")
	}
	bindings, err := api.RoleBindings("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The cluster's own bindings cannot be read")
	}
	clusterBindings, err := api.ClusterRoleBindings().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, errs.Wrap(errs.Unavailable, err, "The cluster's own bindings cannot be read")
	}
	return &access.KubernetesRBAC{
		Roles: roles.Items, ClusterRoles: clusterRoles.Items,
		RoleBindings: bindings.Items, ClusterRoleBindings: clusterBindings.Items,
	}, nil
}
