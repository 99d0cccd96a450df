package governance

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
)

// Everybody in the tenant may ask for what concerns themselves; what others
// hold, and every administrator's action, takes more: see flavour.manages.
var (
	groupPrivileges = []string{
		"PrivilegedAccess.ReadWrite.AzureADGroup", "PrivilegedAssignmentSchedule.ReadWrite.AzureADGroup", "PrivilegedEligibilitySchedule.ReadWrite.AzureADGroup",
	}
	rolePrivileges  = []string{"RoleManagement.ReadWrite.Directory"}
	readGroups      = []string{"PrivilegedAccess.Read.AzureADGroup", "PrivilegedAssignmentSchedule.Read.AzureADGroup", "PrivilegedEligibilitySchedule.Read.AzureADGroup"}
	readRoles       = []string{"RoleManagement.Read.Directory", "RoleManagement.Read.All"}
	roleManagers    = []string{directory.PrivilegedRoleAdministrator}
	privilegeReader = []string{directory.GlobalReader, directory.SecurityReader, directory.SecurityAdministrator, directory.PrivilegedRoleAdministrator}
)

// flavour is privileged access to groups, or directory roles: the same records
// in two shapes.
type flavour struct {
	kind                    pim.Kind
	base                    string // path before the collections
	active, eligible        string // prefixes of the collections' names
	typeName                string // prefix of the types' names
	read, write             []string
	approvals, stages       string
	requestNoun, auditGroup string
}

var flavours = []flavour{
	{pim.Group, "identityGovernance/privilegedAccess/group", "assignment", "eligibility", "privilegedAccessGroup", readGroups, groupPrivileges, "assignmentApprovals", "stages", "group", "GroupManagement"},
	{pim.DirectoryRole, "roleManagement/directory", "roleAssignment", "roleEligibility", "unifiedRole", readRoles, rolePrivileges, "roleAssignmentApprovals", "steps", "role", "RoleManagement"},
}

func (s *service) privilegedRoutes() (r []wire.Route) {
	for _, f := range flavours {
		read := &wire.Access{Permissions: slices.Concat(f.read, f.write), Roles: privilegeReader, Read: true, Members: true, Guests: true}
		write := &wire.Access{Permissions: f.write, Roles: roleManagers, Members: true, Guests: true}
		for _, sort := range []pim.Sort{pim.Active, pim.Eligible} {
			p := plane{s, f, sort}
			base := f.base + "/" + p.prefix()
			activity := "Add " + string(sort) + " schedule request for " + f.requestNoun
			r = append(r,
				wire.Get(base+"ScheduleRequests", read, p.listRequests("")),
				wire.Get(base+"ScheduleRequests/filterByCurrentUser/{on}", read, p.filtered(p.listRequests)),
				wire.Get(base+"ScheduleRequests/{id}", read, p.getRequest),
				wire.Write(http.MethodPost, base+"ScheduleRequests", write, f.auditGroup, activity, p.createRequest),
				wire.Write(http.MethodPost, base+"ScheduleRequests/{id}/cancel", write, f.auditGroup, "Cancel schedule request for "+f.requestNoun, p.cancel),
				wire.Get(base+"Schedules", read, p.listSchedules("")),
				wire.Get(base+"Schedules/filterByCurrentUser/{on}", read, p.filtered(p.listSchedules)),
				wire.Get(base+"Schedules/{id}", read, p.getSchedule),
				wire.Get(base+"ScheduleInstances", read, p.listInstances("")),
				wire.Get(base+"ScheduleInstances/filterByCurrentUser/{on}", read, p.filtered(p.listInstances)),
			)
		}
		p := plane{s, f, pim.Active}
		approvals := f.base + "/" + f.approvals
		r = append(r,
			wire.Get(approvals+"/filterByCurrentUser/{on}", read, p.listApprovals),
			wire.Get(approvals+"/{id}", read, p.getApproval),
			wire.Get(approvals+"/{id}/"+f.stages, read, p.listStages),
			wire.Get(approvals+"/{id}/"+f.stages+"/{id}", read, p.getStage),
			wire.Write(http.MethodPatch, approvals+"/{id}/"+f.stages+"/{id}", write, f.auditGroup, "Decide schedule request for "+f.requestNoun, p.decide),
		)
	}
	return r
}

// plane is one sort of schedules of a flavour.
type plane struct {
	s    *service
	f    flavour
	sort pim.Sort
}

func (p plane) prefix() string {
	if p.sort == pim.Active {
		return p.f.active
	}
	return p.f.eligible
}

// kindName returns a type's name, such as privilegedAccessGroupAssignmentSchedule.
func (p plane) kindName(suffix string) string {
	if p.sort == pim.Active {
		return p.f.typeName + "AssignmentSchedule" + suffix
	}
	return p.f.typeName + "EligibilitySchedule" + suffix
}

func (p plane) path(suffix string) string { return p.f.base + "/" + p.prefix() + suffix }

// manages reports whether the caller may administer a target. An application
// does by its permission; of a group that can have directory roles only with
// the one over roles.
func (f *flavour) manages(c *wire.Call, t pim.Target) bool {
	if privileged.MayManage(c.View, c.Tenant, t, c.ID, c.Now) {
		return true
	}
	if !c.AppOnly || !overlap(c.Roles, f.write) {
		return false
	}
	if t.Kind == pim.Group {
		g, err := state.Groups.Get(c.View, c.StateKey(directory.ObjectID(t.Scope)))
		return err == nil && (!g.IsAssignableToRole || overlap(c.Roles, rolePrivileges))
	}
	return true
}

func overlap(have, want []string) bool {
	return slices.ContainsFunc(have, func(h string) bool { return slices.Contains(want, h) })
}

// sees reports whether the caller may see a record about a principal.
func (f *flavour) sees(c *wire.Call, t pim.Target, concerned ...directory.ObjectID) bool {
	return slices.Contains(concerned, c.ID) || c.HasRole(privilegeReader...) || c.AppOnly && overlap(c.Roles, slices.Concat(f.read, f.write)) || f.manages(c, t)
}

// caller is the caller as package privileged wants it.
func (f *flavour) caller(c *wire.Call, t pim.Target) privileged.Caller {
	return privileged.Caller{ID: c.ID, Administrator: f.manages(c, t), MFA: slices.Contains(c.Methods, "mfa") || slices.Contains(c.Methods, "ngcmfa")}
}

// pimError puts the service's own code on a refusal.
func pimError(err error) error {
	var e *pim.Error
	if !errors.As(err, &e) {
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

// target shows and reads the members that name a target.
func (f *flavour) target(o wire.Object, t pim.Target, scope string) wire.Object {
	if f.kind == pim.Group {
		return append(o, wire.Obj("accessId", t.Role, "groupId", t.Scope)...)
	}
	if scope == "" {
		scope = t.Scope
	}
	return append(o, wire.Obj("roleDefinitionId", t.Role, "directoryScopeId", scope, "appScopeId", nil)...)
}

// schema returns the schema of a collection.
func (p plane) schema(suffix string, extra ...string) *odata.Schema {
	names := []string{"id", "principalId", "status", "createdDateTime:t", "createdUsing", "modifiedDateTime:t", "completedDateTime:t", "scheduleInfo:c", "memberType"}
	if p.f.kind == pim.Group {
		names = append(names, "accessId", "groupId")
	} else {
		names = append(names, "roleDefinitionId", "directoryScopeId", "appScopeId")
	}
	return schema(p.kindName(suffix), append(names, extra...)...)
}

func scheduleInfo(start time.Time, e pim.Expiration) wire.Object {
	expiration := wire.Obj("type", "noExpiration", "endDateTime", nil, "duration", nil)
	switch {
	case e.Duration > 0:
		expiration = wire.Obj("type", "afterDuration", "endDateTime", nil, "duration", pim.FormatDuration(e.Duration))
	case !e.End.IsZero():
		expiration = wire.Obj("type", "afterDateTime", "endDateTime", model.Time(e.End), "duration", nil)
	}
	return wire.Obj("startDateTime", model.Time(start), "recurrence", nil, "expiration", expiration)
}

// expands are the objects that a record names.
func (f *flavour) expands(c *wire.Call, principal directory.ObjectID, t pim.Target) map[string]func(odata.Expand) (any, error) {
	at := &model.At{Reader: c.View, Tenant: c.Tenant, Now: c.Now}
	object := func(id directory.ObjectID) func(odata.Expand) (any, error) {
		return func(e odata.Expand) (any, error) {
			o, ok := model.Find(at, id)
			if !ok {
				return nil, nil
			}
			return o.Render(e.Select, nil, true)
		}
	}
	m := map[string]func(odata.Expand) (any, error){"principal": object(principal)}
	if f.kind == pim.Group {
		m["group"] = object(directory.ObjectID(t.Scope))
		return m
	}
	m["roledefinition"] = func(e odata.Expand) (any, error) {
		r, ok := model.FindRole(c.Tenant, t.Role)
		if !ok {
			return nil, nil
		}
		return model.RolesAs(model.RoleDefinition, at, r)[0].Render(e.Select, nil, false)
	}
	return m
}

func (p plane) requestItem(c *wire.Call, q *privileged.Request) *item {
	o := wire.Obj("id", q.ID, "status", q.StatusAt(c.Now), "createdDateTime", model.Time(q.Created), "completedDateTime", model.Time(q.Completed))
	approval := any(nil)
	if q.Status.Pending() || q.Reviewer != "" {
		approval = q.ID
	}
	o = append(o, wire.Obj("approvalId", approval, "customData", nil, "action", q.Action, "principalId", string(q.Principal))...)
	o = p.f.target(o, q.Target, q.ScopeAsWritten)
	o = append(o, wire.Obj("isValidationOnly", false, "targetScheduleId", orNil(q.Result), "justification", orNil(q.Justification),
		"createdBy", wire.Obj("application", nil, "device", nil, "user", wire.Obj("displayName", nil, "id", string(q.Requestor))),
		"scheduleInfo", scheduleInfo(start(q), q.Expiration),
		"ticketInfo", wire.Obj("ticketNumber", orNil(q.Ticket.Number), "ticketSystem", orNil(q.Ticket.System)))...)
	return &item{key: q.ID, kind: p.kindName("Request"), members: o, expand: p.f.expands(c, q.Principal, q.Target)}
}

func start(q *privileged.Request) time.Time {
	if q.Start.IsZero() {
		return q.Created
	}
	return q.Start
}

func orNil(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// on reads the argument of filterByCurrentUser.
func on(c *wire.Call) (string, error) {
	k := c.Keys[0]
	if k.Name != "on" || k.Value != "principal" && k.Value != "createdBy" && k.Value != "approver" {
		return "", wire.Bad("filterByCurrentUser needs on='principal', on='createdBy' or on='approver'.")
	}
	return k.Value, nil
}

func (p plane) filtered(handler func(on string) wire.Handler) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		how, err := on(c)
		if err != nil {
			return nil, err
		}
		return handler(how)(c)
	}
}

// narrowed returns the filter of the records to look at: a query for one
// group's or one principal's records does not visit all of the tenant's.
func (p plane) narrowed(c *wire.Call, schema *odata.Schema, how string) (privileged.Filter, error) {
	f := privileged.Filter{Kind: p.f.kind, Sort: p.sort}
	if how == "principal" {
		f.Principal = c.ID
	}
	if how == "createdBy" {
		f.Requestor = c.ID
	}
	q, err := odata.ParseQuery(c.Query, schema)
	if err != nil {
		return f, err
	}
	for _, k := range q.Filter.Constraints() {
		if k.Property == "principalId" && !k.Prefix && len(k.Values) == 1 && f.Principal == "" {
			f.Principal = directory.ObjectID(k.Values[0])
		}
	}
	return f, nil
}

func (p plane) listRequests(how string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		sch := p.schema("Request", "approvalId", "action", "justification", "targetScheduleId", "customData", "isValidationOnly:b", "createdBy:c", "ticketInfo:c")
		var items []*item
		if how == "approver" {
			pending, err := p.pending(c)
			if err != nil {
				return nil, err
			}
			for _, q := range pending {
				items = append(items, p.requestItem(c, q))
			}
			return list(c, sch, p.path("ScheduleRequests"), items)
		}
		f, err := p.narrowed(c, sch, how)
		if err != nil {
			return nil, err
		}
		for _, q := range privileged.ListRequests(c.View, c.Tenant, f) {
			if p.f.sees(c, q.Target, q.Principal, q.Requestor, q.Reviewer) {
				items = append(items, p.requestItem(c, q))
			}
		}
		return list(c, sch, p.path("ScheduleRequests"), items)
	}
}

// pending returns what waits for the caller's decision.
func (p plane) pending(c *wire.Call) ([]*privileged.Request, error) {
	groups := state.Memberships(c.View, c.Tenant, c.ID, c.Now)
	all, err := privileged.Pending(c.View, c.Tenant, c.ID, groups, func(t pim.Target) bool { return t.Kind == p.f.kind && p.f.manages(c, t) }, c.Now)
	return slices.DeleteFunc(all, func(q *privileged.Request) bool { return q.Target.Kind != p.f.kind || q.Sort != p.sort }), err
}

// request returns the request that a key names, if the caller may see it.
func (p plane) request(c *wire.Call, key int) (*privileged.Request, error) {
	id, err := c.Key(key)
	if err != nil {
		return nil, err
	}
	q, err := privileged.Requests.Get(c.View, string(c.Tenant)+"/"+strings.ToLower(id))
	if err == nil && q.Target.Kind == p.f.kind {
		if p.f.sees(c, q.Target, q.Principal, q.Requestor, q.Reviewer) {
			return q, nil
		}
		waiting, err := p.pending(c)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(waiting, func(w *privileged.Request) bool { return w.ID == q.ID }) {
			return q, nil
		}
	}
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	return nil, wire.Fail(http.StatusNotFound, pim.CodeRequestNotFound, "The request '%.100s' does not exist.", id)
}

func (p plane) getRequest(c *wire.Call) (*wire.Response, error) {
	q, err := p.request(c, 0)
	if err != nil {
		return nil, err
	}
	return one(c, p.schema("Request", "approvalId", "action", "justification", "targetScheduleId", "customData", "isValidationOnly:b", "createdBy:c", "ticketInfo:c"), p.path("ScheduleRequests"), p.requestItem(c, q))
}

// scheduleFields are scheduleInfo and ticketInfo as clients send them.
type scheduleFields struct {
	Start      *time.Time `json:"startDateTime"`
	Recurrence any        `json:"recurrence"`
	Expiration *struct {
		Type     string     `json:"type"`
		End      *time.Time `json:"endDateTime"`
		Duration *string    `json:"duration"`
	} `json:"expiration"`
}

func (p plane) parse(c *wire.Call) (*privileged.NewRequest, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var action, principal, access, group, role, scope, schedule string
	var justification *string
	var validate bool
	var when *scheduleFields
	var ticket *pim.Ticket
	var app, custom json.RawMessage
	fields := map[string]any{
		"action": &action, "principalId": &principal, "justification": &justification, "isValidationOnly": &validate, "scheduleInfo": &when, "ticketInfo": &ticket,
		"targetScheduleId": &schedule, "customData": &custom,
	}
	required := []string{"action"}
	if p.f.kind == pim.Group {
		fields["accessId"], fields["groupId"] = &access, &group
		required = append(required, "accessId", "groupId")
	} else {
		fields["roleDefinitionId"], fields["directoryScopeId"], fields["appScopeId"] = &role, &scope, &app
		required = append(required, "roleDefinitionId", "directoryScopeId")
	}
	if err := body.Fields(fields, required...); err != nil {
		return nil, err
	}
	in := &privileged.NewRequest{Action: pim.Action(action), Sort: p.sort, Scope: scope, ScheduleID: strings.ToLower(schedule), ValidateOnly: validate}
	if justification != nil {
		in.Justification = *justification
	}
	if ticket != nil {
		in.Ticket = *ticket
	}
	for _, id := range []struct {
		raw  string
		into *string
	}{{principal, &principal}, {group, &group}, {role, &role}} {
		if id.raw == "" {
			continue
		}
		guid, ok := directory.ParseGUID(id.raw)
		if !ok {
			return nil, wire.Bad("Invalid object identifier '%.100s'.", id.raw)
		}
		*id.into = guid
	}
	in.Principal = directory.ObjectID(principal)
	if p.f.kind == pim.Group {
		in.Target = pim.GroupTarget(directory.ObjectID(group), strings.ToLower(access))
	} else {
		if r, ok := model.FindRole(c.Tenant, role); ok {
			role = r.Template
		}
		in.Target = pim.DirectoryRoleTarget(role, scope)
	}
	return in, when.apply(in)
}

func (w *scheduleFields) apply(in *privileged.NewRequest) error {
	if w == nil {
		return nil
	}
	if w.Recurrence != nil {
		return wire.Fail(http.StatusBadRequest, pim.CodeInvalidSchedule, "Recurrence is not supported.")
	}
	if w.Start != nil {
		in.Start = w.Start.UTC()
	}
	e := w.Expiration
	if e == nil {
		return nil
	}
	bad := wire.Fail(http.StatusBadRequest, pim.CodeInvalidSchedule, "The expiration of scheduleInfo is not valid.")
	switch strings.ToLower(e.Type) {
	case "", "notspecified", "noexpiration":
	case "afterdatetime":
		if e.End == nil {
			return bad
		}
		in.Expiration.End = e.End.UTC()
	case "afterduration":
		if e.Duration == nil {
			return bad
		}
		d, err := pim.ParseDuration(*e.Duration)
		if err != nil {
			return bad
		}
		in.Expiration.Duration = d
	default:
		return bad
	}
	return nil
}

func (p plane) createRequest(c *wire.Call) (*wire.Response, error) {
	in, err := p.parse(c)
	if err != nil {
		return nil, err
	}
	q, err := p.s.Privileged.CreateRequest(c.Context, c.Tenant, p.f.caller(c, in.Target), *in)
	if err != nil {
		return nil, pimError(err)
	}
	c.View = c.Store.View()
	p.audited(c, q)
	i := p.requestItem(c, q)
	if in.ValidateOnly {
		for n := range i.members {
			if i.members[n].Name == "isValidationOnly" {
				i.members[n].Value = true
			}
		}
	}
	return created(c, p.path("ScheduleRequests"), i)
}

func (p plane) audited(c *wire.Call, q *privileged.Request) {
	for _, id := range []directory.ObjectID{q.Principal, directory.ObjectID(q.Target.Scope)} {
		if o, ok := model.Find(&model.At{Reader: c.View, Tenant: c.Tenant, Now: c.Now}, id); ok {
			t := wire.Target{Type: o.Kind.Label, ID: o.ID}
			t.DisplayName, _ = o.Property("displayName").(string)
			t.UPN, _ = o.Property("userPrincipalName").(string)
			c.Audited(t)
		}
	}
	raw, err := json.Marshal(wire.Obj("action", q.Action, "status", q.Status, "justification", q.Justification, "role", q.Target.Role, "scope", q.Target.Scope))
	if err == nil {
		c.Audited(wire.Target{Type: "Request", ID: q.ID, Changes: []wire.Change{{Name: "scheduleRequest", New: string(raw)}}})
	}
}

func (p plane) cancel(c *wire.Call) (*wire.Response, error) {
	q, err := p.request(c, 0)
	if err != nil {
		return nil, err
	}
	if q, err = p.s.Privileged.Cancel(c.Context, c.Tenant, q.ID, p.f.caller(c, q.Target)); err != nil {
		return nil, pimError(err)
	}
	p.audited(c, q)
	return wire.NoContent(), nil
}

func (p plane) scheduleItem(c *wire.Call, x *privileged.Schedule) *item {
	o := wire.Obj("id", x.ID, "principalId", string(x.Principal))
	o = p.f.target(o, x.Target, x.ScopeAsWritten)
	o = append(o, wire.Obj("createdDateTime", model.Time(x.Created), "createdUsing", x.ID, "modifiedDateTime", model.Time(x.Updated), "status", x.Status, "memberType", memberType(p.f.kind),
		"scheduleInfo", scheduleInfo(x.Start, pim.Expiration{End: x.End}))...)
	if p.sort == pim.Active {
		o = o.With("assignmentType", assignmentType(p.f.kind, x))
	}
	return &item{key: x.ID, kind: p.kindName(""), members: o, expand: p.f.expands(c, x.Principal, x.Target)}
}

// The two flavours spell the same words differently.
func memberType(k pim.Kind) string {
	if k == pim.Group {
		return "direct"
	}
	return "Direct"
}

func assignmentType(k pim.Kind, x *privileged.Schedule) string {
	t := "assigned"
	if x.Activated() {
		t = "activated"
	}
	if k == pim.DirectoryRole {
		t = strings.ToUpper(t[:1]) + t[1:]
	}
	return t
}

func (p plane) listSchedules(how string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		sch := p.schema("", "assignmentType")
		f, err := p.narrowed(c, sch, how)
		if err != nil {
			return nil, err
		}
		var items []*item
		for _, x := range privileged.ListSchedules(c.View, c.Tenant, f) {
			over := x.Status != pim.Provisioned || !x.End.IsZero() && !c.Now.Before(x.End)
			if !over && p.f.sees(c, x.Target, x.Principal) {
				items = append(items, p.scheduleItem(c, x))
			}
		}
		return list(c, sch, p.path("Schedules"), items)
	}
}

func (p plane) getSchedule(c *wire.Call) (*wire.Response, error) {
	id, err := c.Key(0)
	if err != nil {
		return nil, err
	}
	x, err := privileged.Schedules.Get(c.View, string(c.Tenant)+"/"+strings.ToLower(id))
	if err != nil && !errs.Is(err, errs.NotFound) {
		return nil, err
	}
	if err != nil || x.Target.Kind != p.f.kind || x.Sort != p.sort || !p.f.sees(c, x.Target, x.Principal) {
		return nil, wire.Missing(id)
	}
	return one(c, p.schema("", "assignmentType"), p.path("Schedules"), p.scheduleItem(c, x))
}

func (p plane) listInstances(how string) wire.Handler {
	return func(c *wire.Call) (*wire.Response, error) {
		sch := p.schema("Instance", "assignmentType", "assignmentScheduleId", "roleAssignmentScheduleId", "eligibilityScheduleId", "roleEligibilityScheduleId", "startDateTime:t", "endDateTime:t")
		f, err := p.narrowed(c, sch, how)
		if err != nil {
			return nil, err
		}
		names := map[pim.Sort]string{pim.Active: "assignmentScheduleId", pim.Eligible: "eligibilityScheduleId"}
		if p.f.kind == pim.DirectoryRole {
			names = map[pim.Sort]string{pim.Active: "roleAssignmentScheduleId", pim.Eligible: "roleEligibilityScheduleId"}
		}
		var items []*item
		for _, x := range privileged.ListInstances(c.View, c.Tenant, f, c.Now) {
			if !p.f.sees(c, x.Target, x.Principal) {
				continue
			}
			o := wire.Obj("id", x.ID, "principalId", string(x.Principal))
			o = p.f.target(o, x.Target, x.ScopeAsWritten)
			o = append(o, wire.Obj("startDateTime", model.Time(x.Start), "endDateTime", model.Time(x.End), "memberType", memberType(p.f.kind), names[p.sort], x.ID)...)
			if p.sort == pim.Active {
				o = o.With("assignmentType", assignmentType(p.f.kind, x.Schedule))
			}
			items = append(items, &item{key: x.ID, kind: p.kindName("Instance"), members: o, expand: p.f.expands(c, x.Principal, x.Target)})
		}
		return list(c, sch, p.path("ScheduleInstances"), items)
	}
}
