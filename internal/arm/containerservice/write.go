package containerservice

import (
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

func setNumber(d wire.Document, name string, n int) { d[name] = json.Number(strconv.Itoa(n)) }

// before is what an operation needs to undo what it could not do.
type before struct {
	Body     json.RawMessage `json:"body,omitempty"` // none for a new cluster
	Internal json.RawMessage `json:"internal,omitempty"`
	Record   *state.Cluster  `json:"record,omitempty"`
}

// newKey makes the name of a cluster for machines. It begins with a letter, as
// DNS labels should.
func newKey() string { return "c" + strings.ReplaceAll(directory.NewGUID(), "-", "")[:15] }

// prepare completes a document for the cluster id, which old is so far.
func (p *Provider) prepare(r store.Reader, tenant directory.TenantID, id *wire.ID, old *state.Resource, doc wire.Document, now time.Time, assign func(rbac.Scope) error) (*plan, error) {
	n := &plan{p: p, tenant: tenant, id: id, now: now, r: r, assign: assign, doc: doc}
	if old == nil {
		n.in = internal{Key: newKey(), UID: directory.NewGUID()}
	} else {
		n.old = tracked.Read(old)
		i, err := readInternal(r, old)
		if err != nil {
			return nil, err
		}
		n.in = *i
		if n.in.UID == "" {
			n.in.UID = directory.NewGUID()
		}
		if rec, err := state.Clusters.Get(r, n.in.Key); err == nil {
			n.rec = *rec
		}
		if s, err := Secrets.Get(r, n.in.Key); err == nil {
			n.secret = *s
		}
		own := *id
		own.Subscription, own.Group = old.Subscription, old.Group
		if known, err := wire.ParseID(old.ID); err == nil {
			own.Names = known.Names
		}
		n.id = &own
	}
	n.secret.Key = n.in.Key
	return n, n.complete()
}

// write writes a plan.
func (n *plan) write(tx *store.Tx, old *state.Resource, provisioning, power string) (*state.Resource, error) {
	n.doc.Set("properties.provisioningState", provisioning)
	n.doc.Set("properties.powerState", map[string]any{"code": power})
	delete(n.doc, "eTag")
	res, err := tracked.Put(tx, n.id, old, n.doc, n.in.raw(), n.now)
	if err != nil {
		return nil, err
	}
	n.rec.ID = res.ID
	rec := n.rec
	if err := state.Clusters.Put(tx, &rec); err != nil {
		return nil, err
	}
	if n.secret.ServerApp != "" || n.secret.Principal != "" {
		s := n.secret
		if err := Secrets.Put(tx, &s); err != nil {
			return nil, err
		}
	}
	for _, sp := range n.made {
		if err := state.ServicePrincipals.Create(tx, sp); err != nil {
			return nil, err
		}
	}
	return res, nil
}

// Seed writes a cluster as if its creation had succeeded already: for a server
// that makes a first cluster by itself and applies its Spec. The group exists.
func (p *Provider) Seed(tx *store.Tx, tenant directory.TenantID, id string, body json.RawMessage, now time.Time) error {
	parsed, err := wire.ParseID(id)
	if err != nil {
		return err
	}
	doc, err := wire.ParseDocument(body)
	if err != nil {
		return err
	}
	n, err := p.prepare(tx, tenant, parsed, nil, doc, now, nil)
	if err != nil {
		return err
	}
	_, err = n.write(tx, nil, "Succeeded", "Running")
	return err
}

// change is an accepted change of a cluster.
type change struct {
	res     *state.Resource
	op      *operation.Operation
	created bool
}

// accept changes a cluster in one transaction and starts the operation. edit
// makes the new document from the old one, nil for a new cluster, and may change
// what is internal.
func (p *Provider) accept(c *wire.Call, kind string, edit func(tx *store.Tx, old wire.Document, in *internal) (wire.Document, error)) (*change, error) {
	if err := p.unavailable(); err != nil {
		return nil, err
	}
	done := &change{}
	err := c.Update(func(tx *store.Tx) error {
		*done = change{}
		id := tracked.ID(c, Type)
		old, err := tracked.Get(tx, id)
		if e, ok := err.(*wire.Error); ok && e.Code == "ResourceNotFound" && kind == kindCreate {
			old, err = nil, nil
		}
		if err != nil {
			return err
		}
		if _, err := tracked.WritableGroup(tx, id.Subscription, id.Group); err != nil {
			return err
		}
		rev, exists := state.Resources.Rev(tx, state.Fold(id.String()))
		if err := c.CheckMatch(rev, exists); err != nil {
			return err
		}
		op := &operation.Operation{Kind: kind, Subscription: state.Fold(id.Subscription), Provider: "Microsoft.ContainerService", Resource: id.String(), Shows: true}
		var was before
		var was0 wire.Document
		var in internal
		if old != nil {
			if busy, ok := operation.Busy(tx, old.ID); ok {
				return operation.Conflict(busy.Kind[strings.LastIndexByte(busy.Kind, '/')+1:])
			}
			if kind == kindCreate {
				op.Kind = kindUpdate
			}
			i, err := readInternal(tx, old)
			if err != nil {
				return err
			}
			in = *i
			if in.Stopped && op.Kind != kindStart {
				return wire.Fail(http.StatusConflict, "OperationNotAllowed", "Managed Cluster is in stopped state, no operations except for start are allowed.")
			}
			rec, err := state.Clusters.Get(tx, in.Key)
			if err != nil {
				return err
			}
			was = before{Body: old.Body, Internal: in.raw(), Record: rec}
			was0 = tracked.Read(old)
		}
		doc, err := edit(tx, was0, &in)
		if err != nil {
			return err
		}
		n, err := p.prepareWith(tx, c, id, old, doc, in)
		if err != nil {
			return err
		}
		provisioning, power := "Updating", "Running"
		switch {
		case old == nil:
			provisioning, done.created = "Creating", true
		case op.Kind == kindStop:
			provisioning, power = "Stopping", "Stopped"
		case op.Kind == kindStart:
			provisioning = "Starting"
		}
		if done.res, err = n.write(tx, old, provisioning, power); err != nil {
			return err
		}
		if op.Args, err = json.Marshal(was); err != nil {
			return err
		}
		op.Resource, op.Location = done.res.ID, n.doc.Text("location")
		done.op = op
		return p.Runner.Start(tx, c, op)
	})
	return done, err
}

func (p *Provider) prepareWith(tx *store.Tx, c *wire.Call, id *wire.ID, old *state.Resource, doc wire.Document, in internal) (*plan, error) {
	assign := func(s rbac.Scope) error {
		return c.RequireLinked("Microsoft.ManagedIdentity/userAssignedIdentities/assign/action", s)
	}
	n, err := p.prepare(tx, c.Tenant, id, old, doc, c.Now, assign)
	if err != nil || old == nil {
		return n, err
	}
	n.in.SigningKeys, n.in.Certificates, n.in.Stopped = in.SigningKeys, in.Certificates, in.Stopped
	return n, nil
}

func (p *Provider) put(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	done, err := p.accept(c, kindCreate, func(_ *store.Tx, _ wire.Document, _ *internal) (wire.Document, error) {
		return body.Clone(), nil
	})
	if err != nil {
		return nil, err
	}
	resp := &wire.Response{Status: http.StatusOK, Body: show(c.View(), done.res), Header: done.op.Headers(c)}
	// Clients that see a Location on a PUT read the result there; with AKS
	// they read the resource.
	resp.Header.Del("Location")
	if done.created {
		resp.Status = http.StatusCreated
	}
	return resp, nil
}

// patch changes tags, and nothing else, as AKS has it. Nothing has to be done
// for it outside the store.
func (p *Provider) patch(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	if _, err := body.Tags(); err != nil {
		return nil, err
	}
	for name := range body {
		if name != "tags" {
			return nil, wire.Bad("InvalidRequestContent", "Only the tags of a managed cluster can be patched, not '%.50s'.", name)
		}
	}
	err = c.Update(func(tx *store.Tx) error {
		id := tracked.ID(c, Type)
		old, err := tracked.Get(tx, id)
		if err != nil {
			return err
		}
		rev, exists := state.Resources.Rev(tx, state.Fold(old.ID))
		if err := c.CheckMatch(rev, exists); err != nil {
			return err
		}
		if _, busy := operation.Busy(tx, old.ID); busy {
			return operation.Conflict("Updating")
		}
		in, err := readInternal(tx, old)
		if err != nil {
			return err
		}
		doc := tracked.Read(old)
		if tags, ok := body["tags"]; ok {
			doc["tags"] = tags
		}
		rec, err := state.Clusters.Get(tx, in.Key)
		if err != nil {
			return err
		}
		next := *rec
		if err := readSwitches(doc, &next); err != nil {
			return err
		}
		if err := state.Clusters.Put(tx, &next); err != nil {
			return err
		}
		_, err = tracked.Put(tx, id, old, doc, old.Internal, c.Now)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p.get(c)
}

func (p *Provider) delete(c *wire.Call) (*wire.Response, error) {
	if err := p.unavailable(); err != nil {
		return nil, err
	}
	var op *operation.Operation
	err := c.Update(func(tx *store.Tx) error {
		id := tracked.ID(c, Type)
		old, err := tracked.Get(tx, id)
		if err != nil {
			return err
		}
		rev, exists := state.Resources.Rev(tx, state.Fold(old.ID))
		if err := c.CheckMatch(rev, exists); err != nil {
			return err
		}
		doc := tracked.Read(old)
		if busy, ok := operation.Busy(tx, old.ID); ok {
			if op = busy; busy.Kind == kindDelete {
				return nil
			}
			return operation.Conflict(busy.Kind[strings.LastIndexByte(busy.Kind, '/')+1:])
		}
		next := *old
		doc.Set("properties.provisioningState", "Deleting")
		next.Body, next.Changed = doc.JSON(), c.Now
		if err := state.Resources.Put(tx, &next); err != nil {
			return err
		}
		op = &operation.Operation{Kind: kindDelete, Subscription: old.Subscription, Provider: "Microsoft.ContainerService", Location: doc.Text("location"), Resource: old.ID}
		return p.Runner.Start(tx, c, op)
	})
	if e, ok := err.(*wire.Error); ok && e.Code == "ResourceNotFound" || errs.Is(err, errs.NotFound) {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	return &wire.Response{Status: http.StatusAccepted, Header: op.Headers(c)}, nil
}

// accepted is the answer of actions: 202, and where to follow them.
func accepted(c *wire.Call, done *change, err error) (*wire.Response, error) {
	if err != nil {
		return nil, err
	}
	return &wire.Response{Status: http.StatusAccepted, Header: done.op.Headers(c)}, nil
}

// resetAADProfile replaces the Entra integration's profile (deprecated in AKS).
func (p *Provider) resetAADProfile(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	done, err := p.accept(c, kindUpdate, func(_ *store.Tx, old wire.Document, _ *internal) (wire.Document, error) {
		if old.Object("properties.aadProfile") == nil {
			return nil, wire.BadRequest("The cluster has no Azure AD integration whose profile could be reset.")
		}
		profile := old.Object("properties.aadProfile")
		maps.Copy(profile, body.Clone())
		return old, nil
	})
	return accepted(c, done, err)
}

func (p *Provider) resetServicePrincipal(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	done, err := p.accept(c, kindUpdate, func(_ *store.Tx, old wire.Document, _ *internal) (wire.Document, error) {
		if old.Text("identity.type") != "" {
			return nil, wire.BadRequest("Updating service principal profile is not allowed on MSI cluster.").On("servicePrincipalProfile")
		}
		// Only the secret can change under the plan's rules; a new client is
		// what this action is for.
		if body.Text("clientId") != old.Text("properties.servicePrincipalProfile.clientId") {
			return nil, wire.BadRequest("The service principal of a cluster can be given a new secret, and not be replaced by another.").On("servicePrincipalProfile.clientId")
		}
		if body.Text("secret") == "" {
			return nil, wire.BadRequest("The secret of the service principal is missing.").On("servicePrincipalProfile.secret")
		}
		old.Set("properties.servicePrincipalProfile.secret", body.Text("secret"))
		return old, nil
	})
	return accepted(c, done, err)
}

func (p *Provider) rotateCertificates(c *wire.Call) (*wire.Response, error) {
	done, err := p.accept(c, kindRotate, func(_ *store.Tx, old wire.Document, in *internal) (wire.Document, error) {
		in.Certificates++
		return old, nil
	})
	return accepted(c, done, err)
}

func (p *Provider) rotateSigningKeys(c *wire.Call) (*wire.Response, error) {
	done, err := p.accept(c, kindRotateKeys, func(_ *store.Tx, old wire.Document, in *internal) (wire.Document, error) {
		if !old.Bool("properties.oidcIssuerProfile.enabled") {
			return nil, wire.BadRequest("The cluster has no OIDC issuer whose keys could be rotated.")
		}
		in.SigningKeys++
		return old, nil
	})
	return accepted(c, done, err)
}

func (p *Provider) startCluster(c *wire.Call) (*wire.Response, error) {
	done, err := p.accept(c, kindStart, func(_ *store.Tx, old wire.Document, in *internal) (wire.Document, error) {
		in.Stopped = false
		return old, nil
	})
	return accepted(c, done, err)
}

func (p *Provider) stopCluster(c *wire.Call) (*wire.Response, error) {
	done, err := p.accept(c, kindStop, func(_ *store.Tx, old wire.Document, in *internal) (wire.Document, error) {
		in.Stopped = true
		return old, nil
	})
	return accepted(c, done, err)
}
