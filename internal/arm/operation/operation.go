// Package operation keeps the long-running operations of Azure Resource Manager
// and carries them out.
//
// An operation is a record. It is created in the transaction that accepts the
// request, together with whatever the request changes, so that either both are
// there or neither. A [Runner] carries it out: the one of the replica that
// leads. When that process dies, the next leader finds the record still in
// progress and does the work again; work is therefore repeatable, and what it
// changes in the store happens in the transaction that ends the operation.
//
// One resource has at most one operation in progress: the record claims it.
package operation

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// Status is how far an operation is.
type Status string

// The states of an operation, as clients read them.
const (
	InProgress Status = "InProgress"
	Succeeded  Status = "Succeeded"
	Failed     Status = "Failed"
)

// retention is how long the outcome of an operation can be asked for.
const retention = 24 * time.Hour

// Fault is why an operation has failed.
type Fault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error returns the message.
func (f *Fault) Error() string { return f.Message }

// Operation is a long-running operation.
type Operation struct {
	ID           string             `json:"id"`
	Kind         string             `json:"kind"` // which work it is
	Tenant       directory.TenantID `json:"tenantId"`
	Subscription string             `json:"subscription"`
	Provider     string             `json:"provider,omitempty"` // namespace in its address; empty: none
	Location     string             `json:"location,omitempty"`
	Resource     string             `json:"resource"` // id
	Caller       directory.ObjectID `json:"caller"`
	Args         json.RawMessage    `json:"args,omitempty"`  // never a secret
	Shows        bool               `json:"shows,omitempty"` // the result is the resource

	Status   Status    `json:"status"`
	Fault    *Fault    `json:"error,omitempty"`
	Started  time.Time `json:"startTime"`
	Ended    time.Time `json:"endTime,omitzero"`
	Attempts int       `json:"attempts,omitempty"`
	// Outcome says how it went when that needs words: that it was finished
	// after an interruption, or undone.
	Outcome string `json:"outcome,omitempty"`
}

// Operations: "status"; "resource" (folded id).
var Operations = store.NewTable("armoperations", store.Options[Operation]{
	Key: func(o *Operation) string { return o.ID },
	Indexes: []store.Index[Operation]{
		{Name: "status", Values: func(o *Operation) []string { return []string{string(o.Status)} }},
		{Name: "resource", Values: func(o *Operation) []string { return []string{state.Fold(o.Resource)} }},
	},
	Claims: func(o *Operation) []string {
		if o.Status != InProgress {
			return nil
		}
		return []string{"busy/" + state.Fold(o.Resource)}
	},
	TTL: func(o *Operation) time.Duration {
		if o.Status == InProgress {
			return 0
		}
		return retention
	},
})

// Tables returns every table of this package.
func Tables() []store.AnyTable { return []store.AnyTable{Operations} }

// Busy returns the operation in progress on a resource, if there is one.
func Busy(r store.Reader, resource string) (*Operation, bool) {
	for o := range Operations.Where(r, "resource", state.Fold(resource)) {
		if o.Status == InProgress {
			return o, true
		}
	}
	return nil, false
}

// Conflict is the refusal of an operation on a resource that has one in
// progress.
func Conflict(what string) *wire.Error {
	return wire.Fail(http.StatusConflict, "OperationNotAllowed",
		"Operation is not allowed: Another operation (%s) is in progress, please wait for it to finish before starting a new operation. See https://aka.ms/aks-pending-operation for more details", what)
}

// Work is how a kind of operation is carried out.
type Work struct {
	// Do changes the world outside the store. It may be called again for the
	// same operation after a crash at any point. An error is the operation's
	// failure, and Do has undone by then what it could.
	Do func(ctx context.Context, op *Operation) error
	// Finish changes the store as the end of the operation, failure being
	// what Do returned. It may set op.Outcome.
	Finish func(tx *store.Tx, op *Operation, failure error) error
}

// Runner carries out operations.
type Runner struct {
	store  *store.Store
	clock  clock.Clock
	logger *slog.Logger
	works  map[string]Work

	serving atomic.Bool
	mu      sync.Mutex
	running map[string]bool
}

// NewRunner returns a Runner without any work.
func NewRunner(s *store.Store, c clock.Clock, logger *slog.Logger) *Runner {
	return &Runner{store: s, clock: c, logger: logger, works: map[string]Work{}, running: map[string]bool{}}
}

// Register says how operations of a kind are carried out. It is called before
// Run.
func (r *Runner) Register(kind string, w Work) { r.works[kind] = w }

// Start accepts an operation within the transaction that accepts the request.
// 409 when the resource has another in progress, 503 while nobody here would
// carry it out.
func (r *Runner) Start(tx *store.Tx, c *wire.Call, op *Operation) error {
	if !r.serving.Load() {
		return errs.New(errs.Unavailable, "The server is starting: it takes no long-running operations yet.")
	}
	if _, ok := r.works[op.Kind]; !ok {
		return errs.New(errs.Internal, "no work for operations of kind %s", op.Kind)
	}
	if other, ok := Busy(tx, op.Resource); ok {
		return Conflict(verb(other.Kind))
	}
	if op.ID == "" {
		op.ID = directory.NewGUID()
	}
	op.Tenant, op.Caller, op.Started, op.Status = c.Tenant, c.ID, c.Now, InProgress
	err := Operations.Create(tx, op)
	if errs.Is(err, errs.Exists) {
		return Conflict("unknown")
	}
	return err
}

// verb returns what a kind of operation does: "create" of "managedClusters/create".
func verb(kind string) string { return kind[strings.LastIndexByte(kind, '/')+1:] }

// Headers returns the headers by which a client follows the operation.
func (op *Operation) Headers(c *wire.Call) http.Header {
	q := "?api-version=" + c.APIVersion
	h := http.Header{
		"Azure-Asyncoperation": {c.Root + op.path("operations") + q},
		"Location":             {c.Root + op.path("operationresults") + q},
		"Retry-After":          {"1"},
	}
	return h
}

// LocationOnly returns the headers for kinds whose clients know Location alone.
func (op *Operation) LocationOnly(c *wire.Call) http.Header {
	h := op.Headers(c)
	delete(h, "Azure-Asyncoperation")
	return h
}

func (op *Operation) path(kind string) string {
	p := "/subscriptions/" + op.Subscription
	if op.Provider != "" {
		p += "/providers/" + op.Provider + "/locations/" + op.Location
	}
	return p + "/" + kind + "/" + op.ID
}

// Run carries out operations until ctx ends, whenever this process leads.
func (r *Runner) Run(ctx context.Context) {
	r.serving.Store(true)
	defer r.serving.Store(false)
	r.store.Lead(ctx, "arm-operations", r.lead)
}

func (r *Runner) lead(ctx context.Context) {
	wake := make(chan struct{}, 1)
	cancel := r.store.Subscribe(func(_ *store.View, changes []store.Change) {
		for _, ch := range changes {
			if op, ok := ch.New.(*Operation); ok && op.Status == InProgress {
				select {
				case wake <- struct{}{}:
				default:
				}
				return
			}
		}
	})
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()
	// An operation whose end could not be written is tried again.
	again := time.NewTicker(5 * time.Second)
	defer again.Stop()
	for {
		for op := range Operations.Where(r.store.View(), "status", string(InProgress)) {
			if r.take(op.ID) {
				wg.Go(func() {
					defer r.release(op.ID)
					r.carryOut(ctx, op.ID)
				})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-again.C:
		}
	}
}

func (r *Runner) take(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[id] {
		return false
	}
	r.running[id] = true
	return true
}

func (r *Runner) release(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, id)
}

// carryOut does the work of one operation and ends it.
func (r *Runner) carryOut(ctx context.Context, id string) {
	var op Operation
	err := r.store.Update(ctx, func(tx *store.Tx) error {
		return Operations.Modify(tx, id, func(o *Operation) error {
			if o.Status != InProgress {
				return errs.New(errs.Conflict, "the operation has ended")
			}
			o.Attempts++
			op = *o
			return nil
		})
	})
	if err != nil {
		r.report(ctx, "an operation cannot be begun", id, err)
		return
	}
	log := r.logger.With("operation", op.ID, "kind", op.Kind, "resource", op.Resource)
	work, ok := r.works[op.Kind]
	failure := error(&Fault{"InternalServerError", "This version of the server does not know operations of this kind."})
	if ok {
		if op.Attempts > 1 {
			log.Info("an interrupted operation is taken up again", "attempt", op.Attempts)
		}
		failure = work.Do(ctx, &op)
		if ctx.Err() != nil {
			return // whoever leads next takes it up again
		}
	}
	if failure != nil {
		log.Warn("an operation has failed", "error", failure)
	}
	err = r.store.Update(ctx, func(tx *store.Tx) error {
		current, err := Operations.Get(tx, id)
		if err != nil {
			return err
		}
		if current.Status != InProgress {
			return nil
		}
		end := *current
		end.Status, end.Ended = Succeeded, r.clock.Now().UTC()
		if op.Attempts > 1 {
			end.Outcome = "Finished after an interruption."
		}
		if failure != nil {
			end.Status = Failed
			code, message := wire.CodeOf(failure)
			if f, ok := failure.(*Fault); ok {
				code, message = f.Code, f.Message
			}
			end.Fault, end.Outcome = &Fault{code, message}, op.Outcome
		}
		if ok && work.Finish != nil {
			if err := work.Finish(tx, &end, failure); err != nil {
				return err
			}
		}
		return Operations.Put(tx, &end)
	})
	if err != nil {
		r.report(ctx, "the end of an operation cannot be written", id, err)
	}
}

func (r *Runner) report(ctx context.Context, what, id string, err error) {
	if ctx.Err() == nil && !errs.Is(err, errs.Conflict) {
		r.logger.Error(what, "operation", id, "error", err)
	}
}

// Routes returns the routes by which clients follow operations.
func (r *Runner) Routes() []wire.Route {
	var routes []wire.Route
	for _, prefix := range []string{"/subscriptions/{sub}", "/subscriptions/{sub}/providers/{namespace}/locations/{location}"} {
		routes = append(routes,
			// Who may follow an operation is decided in find: who has started
			// it, and who may read what it is about.
			wire.Route{Method: "GET", Pattern: prefix + "/operations/{id}", Who: wire.Authenticated, Handle: r.status},
			wire.Route{Method: "GET", Pattern: prefix + "/operationresults/{id}", Who: wire.Authenticated, Handle: r.result},
		)
	}
	return routes
}

// find returns the operation that the path names when the caller may see it.
func (r *Runner) find(c *wire.Call) (*Operation, error) {
	missing := wire.Fail(http.StatusNotFound, "OperationNotFound", "The operation '%s' could not be found.", c.Param("id"))
	op, err := Operations.Get(c.View(), strings.ToLower(c.Param("id")))
	if err != nil || op.Tenant != c.Tenant || !strings.EqualFold(op.Subscription, c.Param("sub")) {
		return nil, missing
	}
	if op.Caller == c.ID {
		return op, nil
	}
	scope, err := rbac.ParseScope(op.Resource)
	if err != nil || !c.Allowed(action(scope), scope) {
		return nil, missing
	}
	return op, nil
}

// action is what reads the resource at a scope.
func action(s rbac.Scope) string {
	if t := s.ResourceType(); t != "" {
		return t + "/read"
	}
	return "Microsoft.Resources/subscriptions/resourceGroups/read"
}

func (r *Runner) status(c *wire.Call) (*wire.Response, error) {
	op, err := r.find(c)
	if err != nil {
		return nil, err
	}
	body := wire.Document{
		"id": op.path("operations"), "name": op.ID, "status": string(op.Status),
		"startTime": op.Started.UTC().Format(time.RFC3339Nano),
	}
	if !op.Ended.IsZero() {
		body["endTime"] = op.Ended.UTC().Format(time.RFC3339Nano)
	}
	if op.Fault != nil {
		body["error"] = op.Fault
	}
	properties := wire.Document{}
	if op.Outcome != "" {
		properties["outcome"] = op.Outcome
	}
	if op.Attempts > 1 {
		properties["attempts"] = op.Attempts
	}
	if len(properties) > 0 {
		body["properties"] = properties
	}
	resp := wire.OK(body)
	if op.Status == InProgress {
		resp.With("Retry-After", "1")
	}
	return resp, nil
}

func (r *Runner) result(c *wire.Call) (*wire.Response, error) {
	op, err := r.find(c)
	if err != nil {
		return nil, err
	}
	switch op.Status {
	case InProgress:
		resp := &wire.Response{Status: http.StatusAccepted}
		return resp.With("Retry-After", "1").With("Location", op.LocationOnly(c).Get("Location")), nil
	case Failed:
		return nil, wire.Fail(http.StatusConflict, op.Fault.Code, "%s", op.Fault.Message)
	}
	if op.Shows {
		if res, err := state.Resources.Get(c.View(), state.Fold(op.Resource)); err == nil {
			return wire.OK(json.RawMessage(res.Body)), nil
		}
	}
	return &wire.Response{Status: http.StatusOK}, nil
}

// Known returns the kinds of work that are registered, for tests.
func (r *Runner) Known() []string {
	var kinds []string
	for k := range r.works {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	return kinds
}
