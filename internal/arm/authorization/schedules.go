package authorization

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
)

// schedules is one sort of Privileged Identity Management for Azure roles:
// eligibilities, or active assignments.
type schedules struct {
	service *privileged.Service
	sort    pim.Sort
	name    string // roleEligibilitySchedule or roleAssignmentSchedule
}

// scheduleRoutes returns the routes of Privileged Identity Management. All of
// them are open to every caller, since people ask for what concerns themselves
// without having any access yet; what concerns others is decided in sees and
// administers, by the rights to read and to write role assignments.
func scheduleRoutes(service *privileged.Service) []wire.Route {
	const at = "{scope}/providers/Microsoft.Authorization/"
	var routes []wire.Route
	for _, s := range []*schedules{
		{service, pim.Eligible, "roleEligibilitySchedule"}, {service, pim.Active, "roleAssignmentSchedule"},
	} {
		add := func(method, path string, handle func(*wire.Call) (*wire.Response, error)) {
			routes = append(routes, wire.Route{Method: method, Pattern: at + s.name + path, Who: wire.Authenticated, Handle: handle})
		}
		add("GET", "Requests", s.listRequests)
		add("GET", "Requests/{name}", s.getRequest)
		add("PUT", "Requests/{name}", s.putRequest)
		add("POST", "Requests/{name}/validate", s.validate)
		add("POST", "Requests/{name}/cancel", s.cancel)
		add("GET", "s", s.listSchedules)
		add("GET", "s/{name}", s.getSchedule)
		add("GET", "Instances", s.listInstances)
		add("GET", "Instances/{name}", s.getInstance)
	}
	active := &schedules{service, pim.Active, "roleAssignmentSchedule"}
	return append(routes,
		wire.Route{Method: "GET", Pattern: at + "roleAssignmentApprovals", Who: wire.Authenticated, Handle: active.approvals},
		wire.Route{Method: "PATCH", Pattern: at + "roleAssignmentApprovals/{name}/stages/{stage}", Who: wire.Authenticated, Handle: active.review},
		wire.Route{Method: "PUT", Pattern: at + "roleAssignmentApprovals/{name}/stages/{stage}", Who: wire.Authenticated, Handle: active.review},
	)
}

// pimError puts the service's own code on a refusal.
func pimError(err error) error {
	e, ok := errors.AsType[*pim.Error](err)
	if !ok {
		return err
	}
	status := http.StatusBadRequest
	switch errs.KindOf(err) {
	case errs.NotFound:
		status = http.StatusNotFound
	case errs.Forbidden:
		status = http.StatusForbidden
	}
	return &wire.Error{Status: status, Code: e.Code, Message: errs.Message(err), Err: err}
}

// administers reports whether the caller may write the role assignment that a
// target and a principal stand for, under the conditions on the caller's right.
func administers(c *wire.Call, t pim.Target, principal directory.ObjectID) bool {
	s, err := rbac.ParseScope(t.Scope)
	if err != nil || inTenant(c, c.View(), s) != nil {
		return false
	}
	kind := rbac.User
	switch typ, _ := state.TypeOf(c.View(), c.Tenant, principal); typ {
	case directory.TypeGroup:
		kind = rbac.Group
	case directory.TypeServicePrincipal:
		kind = rbac.ServicePrincipal
	}
	return c.AllowedWith(assignmentsWrite, s, rbac.DelegationAttributes(&rbac.RoleAssignment{RoleID: t.Role, PrincipalID: principal, PrincipalType: kind}), nil)
}

// sees reports whether a record is the caller's business.
func sees(c *wire.Call, t pim.Target, concerned ...directory.ObjectID) bool {
	for _, id := range concerned {
		if id == c.ID || slices.Contains(c.Principal.Groups, id) {
			return true
		}
	}
	s, err := rbac.ParseScope(t.Scope)
	return err == nil && c.Allowed(assignmentsRead, s)
}

func (s *schedules) caller(c *wire.Call, t pim.Target, principal directory.ObjectID) privileged.Caller {
	return privileged.Caller{ID: c.ID, Administrator: administers(c, t, principal), MFA: c.MFA}
}

// target reads the scope of the path and a role definition.
func target(c *wire.Call, role string) (pim.Target, error) {
	at, err := scope(c)
	if err != nil {
		return pim.Target{}, err
	}
	if err := exists(c, c.View(), at); err != nil {
		return pim.Target{}, err
	}
	id, err := roleOf(c, role)
	return pim.AzureRoleTarget(id, at.String()), err
}

// read reads a request from the body.
func (s *schedules) read(c *wire.Call) (privileged.NewRequest, error) {
	in := privileged.NewRequest{Sort: s.sort, Scope: c.Param("scope")}
	var err error
	if in.ID, err = guid(c, "InvalidRoleAssignmentScheduleRequestId"); err != nil {
		return in, err
	}
	doc, err := c.Document()
	if err != nil {
		return in, err
	}
	properties := doc.Object("properties")
	bad := func(format string, args ...any) error {
		return wire.Bad("InvalidRequestContent", format, args...)
	}
	action, ok := pim.ParseAction(properties.Text("requestType"))
	if !ok {
		return in, bad("The requestType '%.50s' is not known.", properties.Text("requestType"))
	}
	in.Action = action
	if in.Target, err = target(c, properties.Text("roleDefinitionId")); err != nil {
		return in, err
	}
	principal := string(c.ID)
	if p := properties.Text("principalId"); p != "" {
		if principal, ok = directory.ParseGUID(p); !ok {
			return in, bad("The principalId '%.50s' is not a GUID.", p)
		}
	}
	in.Principal = directory.ObjectID(principal)
	in.Justification = properties.Text("justification")
	in.Ticket = pim.Ticket{Number: properties.Text("ticketInfo.ticketNumber"), System: properties.Text("ticketInfo.ticketSystem")}
	in.Condition, in.ConditionVersion = properties.Text("condition"), properties.Text("conditionVersion")
	for _, name := range []string{"targetRoleEligibilityScheduleId", "targetRoleAssignmentScheduleId", "linkedRoleEligibilityScheduleId"} {
		if id := properties.Text(name); id != "" {
			in.ScheduleID = strings.ToLower(id[strings.LastIndexByte(id, '/')+1:])
		}
	}
	info := properties.Object("scheduleInfo")
	if text := info.Text("startDateTime"); text != "" {
		if in.Start, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return in, bad("The startDateTime '%.50s' is not a time.", text)
		}
	}
	switch kind := info.Text("expiration.type"); strings.ToLower(kind) {
	case "", "noexpiration":
	case "afterduration":
		if in.Expiration.Duration, err = pim.ParseDuration(info.Text("expiration.duration")); err != nil {
			return in, bad("The duration '%.50s' is not valid.", info.Text("expiration.duration"))
		}
	case "afterdatetime":
		if in.Expiration.End, err = time.Parse(time.RFC3339Nano, info.Text("expiration.endDateTime")); err != nil {
			return in, bad("The endDateTime '%.50s' is not a time.", info.Text("expiration.endDateTime"))
		}
	default:
		return in, bad("The expiration type '%.50s' is not known.", kind)
	}
	return in, nil
}

func (s *schedules) putRequest(c *wire.Call) (*wire.Response, error) {
	in, err := s.read(c)
	if err != nil {
		return nil, err
	}
	q, err := s.service.CreateRequest(c.Context, c.Tenant, s.caller(c, in.Target, in.Principal), in)
	if err != nil {
		return nil, pimError(err)
	}
	return wire.Created(s.showRequest(c, q)), nil
}

func (s *schedules) validate(c *wire.Call) (*wire.Response, error) {
	in, err := s.read(c)
	if err != nil {
		return nil, err
	}
	in.ValidateOnly = true
	q, err := s.service.CreateRequest(c.Context, c.Tenant, s.caller(c, in.Target, in.Principal), in)
	if err != nil {
		return nil, pimError(err)
	}
	return wire.OK(s.showRequest(c, q)), nil
}

func (s *schedules) cancel(c *wire.Call) (*wire.Response, error) {
	q, err := s.request(c)
	if err != nil {
		return nil, err
	}
	if _, err := s.service.Cancel(c.Context, c.Tenant, q.ID, s.caller(c, q.Target, q.Principal)); err != nil {
		return nil, pimError(err)
	}
	return &wire.Response{Status: http.StatusOK}, nil
}

// request returns the request that the path names, when it is at the path's
// scope and the caller's business.
func (s *schedules) request(c *wire.Call) (*privileged.Request, error) {
	q, err := privileged.Requests.Get(c.View(), string(c.Tenant)+"/"+strings.ToLower(c.Param("name")))
	if err != nil || q.Target.Kind != pim.AzureRole || q.Sort != s.sort || q.Target.Scope != state.Fold(c.Param("scope")) || !sees(c, q.Target, q.Principal, q.Requestor, q.Reviewer) {
		return nil, missing(c)
	}
	return q, nil
}

func missing(c *wire.Call) error {
	return wire.Fail(http.StatusNotFound, pim.CodeRequestNotFound, "The role assignment schedule or request '%s' was not found.", c.Param("name"))
}

func (s *schedules) getRequest(c *wire.Call) (*wire.Response, error) {
	q, err := s.request(c)
	if err != nil {
		return nil, err
	}
	return wire.OK(s.showRequest(c, q)), nil
}

// chosen reads the list's filter: which principal, and whether only the scope
// itself and above it count.
func (s *schedules) chosen(c *wire.Call) (f privileged.Filter, match func(pim.Target, ...directory.ObjectID) bool, err error) {
	f = privileged.Filter{Kind: pim.AzureRole, Sort: s.sort}
	at, err := scope(c)
	if err != nil {
		return f, nil, err
	}
	if err := inTenant(c, c.View(), at); err != nil {
		return f, nil, err
	}
	text := strings.ToLower(strings.Join(strings.Fields(c.Query.Get("$filter")), " "))
	own, atScope := false, false
	for part := range strings.SplitSeq(text, " and ") {
		switch {
		case part == "":
		case part == "atscope()":
			atScope = true
		case part == "astarget()" || part == "asrequestor()" || part == "asapprover()":
			own = true
		case strings.HasPrefix(part, "principalid eq ") || strings.HasPrefix(part, "assignedto("):
			_, id, _ := strings.Cut(part, "'")
			id, _, _ = strings.Cut(id, "'")
			g, ok := directory.ParseGUID(id)
			if !ok {
				return f, nil, wire.Bad("UnsupportedFilter", "The filter '%.200s' is not supported.", text)
			}
			f.Principal = directory.ObjectID(g)
		default:
			return f, nil, wire.Bad("UnsupportedFilter", "The filter '%.200s' is not supported.", text)
		}
	}
	return f, func(t pim.Target, concerned ...directory.ObjectID) bool {
		sc, err := rbac.ParseScope(t.Scope)
		if err != nil || !covers(c, sc, at) && (atScope || !covers(c, at, sc)) {
			return false
		}
		if own {
			return slices.ContainsFunc(concerned, func(id directory.ObjectID) bool {
				return id == c.ID || slices.Contains(c.Principal.Groups, id)
			})
		}
		return sees(c, t, concerned...)
	}, nil
}

func (s *schedules) listRequests(c *wire.Call) (*wire.Response, error) {
	f, match, err := s.chosen(c)
	if err != nil {
		return nil, err
	}
	var docs []wire.Document
	for _, q := range privileged.ListRequests(c.View(), c.Tenant, f) {
		if match(q.Target, q.Principal, q.Requestor) {
			docs = append(docs, s.showRequest(c, q))
		}
	}
	return wire.Page(c, docs, byName)
}

func byName(d wire.Document) string { return d.Text("name") }

func (s *schedules) listSchedules(c *wire.Call) (*wire.Response, error) {
	f, match, err := s.chosen(c)
	if err != nil {
		return nil, err
	}
	var docs []wire.Document
	for _, x := range privileged.ListSchedules(c.View(), c.Tenant, f) {
		if x.Status == pim.Provisioned && match(x.Target, x.Principal) {
			docs = append(docs, s.showSchedule(x, x.End, "s"))
		}
	}
	return wire.Page(c, docs, byName)
}

func (s *schedules) getSchedule(c *wire.Call) (*wire.Response, error) {
	x, err := privileged.Schedules.Get(c.View(), string(c.Tenant)+"/"+strings.ToLower(c.Param("name")))
	if err != nil || x.Target.Kind != pim.AzureRole || x.Sort != s.sort || x.Target.Scope != state.Fold(c.Param("scope")) || !sees(c, x.Target, x.Principal) {
		return nil, missing(c)
	}
	return wire.OK(s.showSchedule(x, x.End, "s")), nil
}

func (s *schedules) instances(c *wire.Call) ([]wire.Document, error) {
	f, match, err := s.chosen(c)
	if err != nil {
		return nil, err
	}
	var docs []wire.Document
	for _, x := range privileged.ListInstances(c.View(), c.Tenant, f, c.Now) {
		if match(x.Target, x.Principal) {
			docs = append(docs, s.showSchedule(x.Schedule, x.End, "Instances"))
		}
	}
	return docs, nil
}

func (s *schedules) listInstances(c *wire.Call) (*wire.Response, error) {
	docs, err := s.instances(c)
	if err != nil {
		return nil, err
	}
	return wire.Page(c, docs, byName)
}

func (s *schedules) getInstance(c *wire.Call) (*wire.Response, error) {
	docs, err := s.instances(c)
	if err != nil {
		return nil, err
	}
	for _, d := range docs {
		if strings.EqualFold(d.Text("name"), c.Param("name")) && strings.EqualFold(d.Text("properties.scope"), c.Param("scope")) {
			return wire.OK(d), nil
		}
	}
	return nil, missing(c)
}

// approvals lists what waits for the caller's decision.
func (s *schedules) approvals(c *wire.Call) (*wire.Response, error) {
	_, match, err := s.chosen(c)
	if err != nil {
		return nil, err
	}
	pending, err := privileged.Pending(c.View(), c.Tenant, c.ID, c.Principal.Groups, func(t pim.Target) bool {
		return t.Kind == pim.AzureRole && administers(c, t, c.ID)
	}, c.Now)
	if err != nil {
		return nil, err
	}
	docs := []wire.Document{}
	for _, q := range pending {
		if q.Target.Kind == pim.AzureRole && match(q.Target, c.ID) {
			id := strings.TrimSuffix(asWritten(q.ScopeAsWritten, q.Target), "/") + "/providers/Microsoft.Authorization/roleAssignmentApprovals/" + q.ID
			docs = append(docs, wire.Document{
				"id": id, "name": q.ID, "type": "Microsoft.Authorization/RoleAssignmentApprovals",
				"properties": wire.Document{"stages": []wire.Document{{
					"id": id + "/stages/" + q.ID, "name": q.ID, "type": "Microsoft.Authorization/RoleAssignmentApprovals/stages",
					"properties": wire.Document{"status": "InProgress", "assignedToMe": true, "reviewResult": "NotReviewed", "justification": nil},
				}}},
			})
		}
	}
	return wire.Page(c, docs, byName)
}

// review decides about a pending request. Package privileged knows who may.
func (s *schedules) review(c *wire.Call) (*wire.Response, error) {
	q, err := privileged.Requests.Get(c.View(), string(c.Tenant)+"/"+strings.ToLower(c.Param("name")))
	if err != nil || q.Target.Kind != pim.AzureRole || q.Target.Scope != state.Fold(c.Param("scope")) && c.Param("scope") != "/" {
		return nil, missing(c)
	}
	doc, err := c.Document()
	if err != nil {
		return nil, err
	}
	if p := doc.Object("properties"); p != nil {
		doc = p
	}
	v := privileged.Review{Caller: s.caller(c, q.Target, q.Principal), Justification: doc.Text("justification")}
	decide := s.service.Approve
	switch strings.ToLower(doc.Text("reviewResult")) {
	case "approve":
	case "deny":
		decide = s.service.Deny
	default:
		return nil, wire.Bad("InvalidRequestContent", "The reviewResult must be Approve or Deny.")
	}
	if _, err := decide(c.Context, c.Tenant, q.ID, v); err != nil {
		return nil, pimError(err)
	}
	return wire.NoContent(), nil
}

func asWritten(text string, t pim.Target) string {
	if text == "" {
		return t.Scope
	}
	return text
}

// pascal writes an action or a status as ARM does: adminAssign is AdminAssign.
func pascal(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (s *schedules) showRequest(c *wire.Call, q *privileged.Request) wire.Document {
	scope := asWritten(q.ScopeAsWritten, q.Target)
	start := q.Start
	if start.IsZero() {
		start = q.Created
	}
	expiration := wire.Document{"type": "NoExpiration", "endDateTime": nil, "duration": nil}
	switch {
	case q.Expiration.Duration > 0:
		expiration["type"], expiration["duration"] = "AfterDuration", pim.FormatDuration(q.Expiration.Duration)
	case !q.Expiration.End.IsZero():
		expiration["type"], expiration["endDateTime"] = "AfterDateTime", stamp(q.Expiration.End)
	}
	approval := any(nil)
	if q.Status.Pending() || q.Reviewer != "" {
		approval = strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/roleAssignmentApprovals/" + q.ID
	}
	result := "targetRoleAssignmentScheduleId"
	if s.sort == pim.Eligible {
		result = "targetRoleEligibilityScheduleId"
	}
	return wire.Document{
		"id": strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/" + s.name + "Requests/" + q.ID, "name": q.ID,
		"type": "Microsoft.Authorization/" + pascal(s.name) + "Requests",
		"properties": wire.Document{
			"scope": scope, "roleDefinitionId": definitionIDAt(scope, q.Target.Role), "principalId": string(q.Principal), "principalType": string(q.PrincipalKind),
			"requestType": pascal(string(q.Action)), "status": string(q.StatusAt(c.Now)), "approvalId": approval,
			"scheduleInfo":  wire.Document{"startDateTime": stamp(start), "expiration": expiration},
			"justification": orNil(q.Justification), "ticketInfo": wire.Document{"ticketNumber": orNil(q.Ticket.Number), "ticketSystem": orNil(q.Ticket.System)},
			"condition": orNil(q.Condition), "conditionVersion": orNil(q.ConditionVersion),
			"createdOn": stamp(q.Created), "requestorId": string(q.Requestor), result: orNil(q.Result),
		},
	}
}

func (s *schedules) showSchedule(x *privileged.Schedule, end time.Time, suffix string) wire.Document {
	scope := asWritten(x.ScopeAsWritten, x.Target)
	properties := wire.Document{
		"scope": scope, "roleDefinitionId": definitionIDAt(scope, x.Target.Role), "principalId": string(x.Principal), "principalType": string(x.Kind),
		"status": string(x.Status), "startDateTime": stamp(x.Start), "endDateTime": stamp(end), "memberType": "Direct",
		"condition": orNil(x.Condition), "conditionVersion": orNil(x.ConditionVersion), "createdOn": stamp(x.Created), "updatedOn": stamp(x.Updated),
	}
	if s.sort == pim.Active {
		properties["assignmentType"] = "Assigned"
		if x.Activated() {
			properties["assignmentType"], properties["linkedRoleEligibilityScheduleId"] = "Activated", x.Activates
		}
	}
	if suffix == "Instances" {
		properties[s.name+"Id"] = strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/" + s.name + "s/" + x.ID
	}
	return wire.Document{
		"id": strings.TrimSuffix(scope, "/") + "/providers/Microsoft.Authorization/" + s.name + suffix + "/" + x.ID, "name": x.ID,
		"type": "Microsoft.Authorization/" + pascal(s.name) + suffix, "properties": properties,
	}
}

// definitionIDAt is definitionID for a scope that is text.
func definitionIDAt(scope, role string) string {
	s, err := rbac.ParseScope(scope)
	if err != nil {
		s = rbac.Root()
	}
	return definitionID(s, role)
}
