package containerservice

import (
	"context"
	"encoding/json"
	"time"

	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// fault is the failure of an operation in words for its client.
func fault(code string, err error) *operation.Fault {
	return &operation.Fault{Code: code, Message: errs.Message(err)}
}

// apply makes a cluster what its resource says. What fails is undone.
func (p *Provider) apply(ctx context.Context, op *operation.Operation) error {
	if p.Clusters == nil {
		return &operation.Fault{Code: "ServiceUnavailable", Message: "This server runs no clusters."}
	}
	view := p.Store.View()
	res, err := state.Resources.Get(view, state.Fold(op.Resource))
	if err != nil {
		return err
	}
	spec, err := p.spec(view, res)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, applyTimeout)
	defer cancel()
	err = p.Clusters.Apply(limited, spec)
	if err == nil || ctx.Err() != nil {
		return err
	}
	var was before
	if uerr := json.Unmarshal(op.Args, &was); uerr != nil {
		return uerr
	}
	if was.Body == nil {
		code := "CreateFailed"
		op.Outcome = "Undone: nothing of the cluster is left."
		if derr := p.Clusters.Delete(ctx, spec.Key); derr != nil {
			// The next delete of the group, or of the directory, sees to it.
			op.Outcome = "Undone, but files of the cluster could not be removed: " + errs.Message(derr)
		}
		return fault(code, err)
	}
	old := &state.Resource{ID: res.ID, Body: was.Body, Internal: was.Internal}
	in, ierr := readInternal(view, old)
	if ierr != nil {
		return ierr
	}
	if in.Stopped {
		if serr := p.Clusters.Stop(ctx, spec.Key); serr == nil {
			op.Outcome = undone
		}
		return fault("UpdateFailed", err)
	}
	if aerr := p.Clusters.Apply(limited, p.specOf(res.ID, tracked.Read(old), in, was.Record)); aerr == nil {
		op.Outcome = undone
	}
	return fault("UpdateFailed", err)
}

// undone is the outcome of an update whose cluster is what it was before.
const undone = "Undone: the cluster is what it was before."

func (p *Provider) stop(ctx context.Context, op *operation.Operation) error {
	if p.Clusters == nil {
		return &operation.Fault{Code: "ServiceUnavailable", Message: "This server runs no clusters."}
	}
	view := p.Store.View()
	res, err := state.Resources.Get(view, state.Fold(op.Resource))
	if err != nil {
		return err
	}
	in, err := readInternal(view, res)
	if err != nil {
		return err
	}
	if err := p.Clusters.Stop(ctx, in.Key); err != nil && ctx.Err() == nil {
		op.Outcome = undone
		return fault("StopFailed", err)
	}
	return ctx.Err()
}

// applied ends a change: the resource says that it succeeded, or is what it was
// before.
func (p *Provider) applied(tx *store.Tx, op *operation.Operation, failure error) error {
	res, err := state.Resources.Get(tx, state.Fold(op.Resource))
	if errs.Is(err, errs.NotFound) {
		return nil // somebody has removed it by other ways
	}
	if err != nil {
		return err
	}
	var was before
	if err := json.Unmarshal(op.Args, &was); err != nil {
		return err
	}
	in, err := readInternal(tx, res)
	if err != nil {
		return err
	}
	past := &internal{}
	if was.Internal != nil {
		if err := json.Unmarshal(was.Internal, past); err != nil {
			return err
		}
	}
	tenant, now := op.Tenant, p.Clock.Now().UTC()
	if failure == nil {
		next, doc := *res, tracked.Read(res)
		doc.Set("properties.provisioningState", "Succeeded")
		next.Body = doc.JSON()
		if err := state.Resources.Put(tx, &next); err != nil {
			return err
		}
		if err := keepSecrets(tx, in.Key, doc); err != nil {
			return err
		}
		return removePrincipals(tx, tenant, past, in, now)
	}
	if was.Body == nil {
		return p.removeAll(tx, op.Tenant, res, now)
	}
	next := *res
	next.Body, next.Internal = was.Body, was.Internal
	if op.Outcome == "" {
		doc := tracked.Read(&next)
		doc.Set("properties.provisioningState", "Failed")
		next.Body = doc.JSON()
	}
	if err := state.Resources.Put(tx, &next); err != nil {
		return err
	}
	if was.Record != nil {
		if err := state.Clusters.Put(tx, was.Record); err != nil {
			return err
		}
	}
	return removePrincipals(tx, tenant, in, past, now)
}

// keepSecrets forgets the secrets that a cluster's document has no use for.
func keepSecrets(tx *store.Tx, key string, doc wire.Document) error {
	s, err := Secrets.Get(tx, key)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	next := *s
	if doc.Text("properties.aadProfile.serverAppID") == "" {
		next.ServerApp = ""
	}
	if doc.Text("identity.type") != "" {
		next.Principal = ""
	}
	switch {
	case next == *s:
		return nil
	case next.ServerApp == "" && next.Principal == "":
		return Secrets.Delete(tx, key)
	}
	return Secrets.Put(tx, &next)
}

// removePrincipals removes the service principals that one description of a
// cluster has and the other has not.
func removePrincipals(tx *store.Tx, tenant directory.TenantID, gone, kept *internal, now time.Time) error {
	for _, id := range []directory.ObjectID{gone.System, gone.Kubelet} {
		if id == "" || id == kept.System || id == kept.Kubelet {
			continue
		}
		if err := state.Delete(tx, tenant, id, now); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	return nil
}

func (p *Provider) destroy(ctx context.Context, op *operation.Operation) error {
	res, err := state.Resources.Get(p.Store.View(), state.Fold(op.Resource))
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return p.destroyResource(ctx, res)
}

func (p *Provider) destroyResource(ctx context.Context, res *state.Resource) error {
	if p.Clusters == nil {
		return nil
	}
	in, err := readInternal(p.Store.View(), res)
	if err != nil {
		return err
	}
	if err := p.Clusters.Delete(ctx, in.Key); err != nil && !errs.Is(err, errs.NotFound) {
		if ctx.Err() != nil {
			return err
		}
		return fault("DeleteFailed", err)
	}
	return nil
}

// removed ends the deletion of a cluster.
func (p *Provider) removed(tx *store.Tx, op *operation.Operation, failure error) error {
	res, err := state.Resources.Get(tx, state.Fold(op.Resource))
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if failure == nil {
		return p.removeAll(tx, op.Tenant, res, p.Clock.Now().UTC())
	}
	op.Outcome = "The cluster stays: delete it again."
	next, doc := *res, tracked.Read(res)
	doc.Set("properties.provisioningState", "Failed")
	next.Body = doc.JSON()
	return state.Resources.Put(tx, &next)
}

func (p *Provider) removeAll(tx *store.Tx, tenant directory.TenantID, res *state.Resource, now time.Time) error {
	if err := p.removeRecords(tx, res, now); err != nil {
		return err
	}
	return tracked.Remove(tx, tenant, res.ID)
}

// removeRecords removes what the store holds beside a cluster's resource.
func (p *Provider) removeRecords(tx *store.Tx, res *state.Resource, now time.Time) error {
	in, err := readInternal(tx, res)
	if err != nil {
		return err
	}
	sub, err := state.Subscriptions.Get(tx, state.Fold(res.Subscription))
	if err != nil {
		return err
	}
	if err := removePrincipals(tx, sub.Tenant, in, &internal{}, now); err != nil {
		return err
	}
	for _, err := range []error{state.Clusters.Delete(tx, in.Key), Secrets.Delete(tx, in.Key)} {
		if err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	return nil
}
