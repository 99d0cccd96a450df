package governance

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/audit"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/odata"
)

var logsRead = &wire.Access{
	Permissions: []string{"AuditLog.Read.All"},
	Roles:       []string{directory.ReportsReader, directory.SecurityReader, directory.SecurityAdministrator}, Read: true,
}

var (
	signInSchema = schema("signIn", "id", "createdDateTime:t", "userDisplayName", "userPrincipalName", "userId", "userType", "appId", "appDisplayName", "ipAddress", "clientAppUsed",
		"userAgent", "correlationId", "conditionalAccessStatus", "isInteractive:b", "resourceDisplayName", "resourceId", "resourceTenantId", "homeTenantId",
		"servicePrincipalId", "servicePrincipalName", "signInEventTypes:S", "tokenIssuerType", "uniqueTokenIdentifier", "incomingTokenType", "authenticationProtocol",
		"originalTransferMethod", "clientCredentialType", "authenticationRequirement", "riskDetail", "riskLevelAggregated", "riskLevelDuringSignIn", "riskState",
		"riskEventTypes_v2:S", "status:c", "deviceDetail:c", "location:c", "appliedConditionalAccessPolicies:C", "authenticationDetails:C", "authenticationProcessingDetails:C")
	auditSchema = schema("directoryAudit", "id", "category", "correlationId", "result", "resultReason", "activityDisplayName", "activityDateTime:t", "loggedByService",
		"operationType", "initiatedBy:c", "targetResources:C", "additionalDetails:C", "tenantId")
)

func (s *service) logRoutes() []wire.Route {
	return []wire.Route{
		wire.Get("auditLogs/signIns", logsRead, s.listSignIns),
		wire.Get("auditLogs/signIns/{id}", logsRead, s.getSignIn),
		wire.Get("auditLogs/directoryAudits", logsRead, s.listAudits),
		wire.Get("auditLogs/directoryAudits/{id}", logsRead, s.getAudit),
	}
}

// maxScanned bounds the evaluation of one request's filter over a log.
const maxScanned = 16 << 20

func (s *service) listSignIns(c *wire.Call) (*wire.Response, error) {
	return listLog(c, signInSchema, "auditLogs/signIns", "createdDateTime", s.Logs.ListSignIns, func(r *audit.SignIn) (directory.TenantID, time.Time) {
		return r.ResourceTenantID, r.Created
	})
}

func (s *service) listAudits(c *wire.Call) (*wire.Response, error) {
	return listLog(c, auditSchema, "auditLogs/directoryAudits", "activityDateTime", s.Logs.ListDirectory, func(r *audit.DirectoryAudit) (directory.TenantID, time.Time) {
		return r.TenantID, r.Time
	})
}

// listLog answers with records of the caller's tenant, the newest first.
func listLog[T any](c *wire.Call, schema *odata.Schema, path, when string, query func(context.Context, audit.Query[T]) (audit.Page[T], error), of func(*T) (directory.TenantID, time.Time)) (*wire.Response, error) {
	q, err := odata.ParseQuery(c.Query, schema)
	if err != nil {
		return nil, err
	}
	switch {
	case q.Search != nil || len(q.Expand) > 0 || q.Skip > 0 || q.Count:
		return nil, wire.Bad("The logs support $filter, $orderby, $select, $top and $skiptoken.")
	case len(q.OrderBy) > 1 || len(q.OrderBy) == 1 && (q.OrderBy[0].Property != when || !q.OrderBy[0].Descending):
		return nil, wire.Bad("The log is ordered by '%s desc'; no other $orderby is supported.", when)
	case q.Top == 0 || q.Top > 1000:
		return nil, wire.Bad("Invalid page size specified: '%d'. Must be between 1 and 1000 inclusive.", q.Top)
	}
	limit := 100
	if q.Top > 0 {
		limit = q.Top
	}
	budget := odata.Budget{Left: maxScanned}
	var failed error
	page, err := query(c.Context, audit.Query[T]{
		After: q.SkipToken, Limit: limit, Since: q.Filter.Since(when),
		Match: func(r *T) bool {
			tenant, _ := of(r)
			if failed != nil || tenant != c.Tenant {
				return false
			}
			if q.Filter == nil {
				return true
			}
			i, err := logItem(r)
			if err != nil {
				failed = err
				return false
			}
			ok, err := q.Filter.Match(i, &budget)
			if err != nil {
				failed = err
			}
			return ok
		},
	})
	if failed != nil {
		return nil, failed
	}
	if err != nil {
		return nil, err
	}
	out := wire.Obj("@odata.context", c.Root+"/$metadata#"+path)
	if page.Next != "" {
		out = out.With("@odata.nextLink", nextLog(c, page.Next))
	}
	value := []wire.Object{}
	for _, r := range page.Records {
		i, err := logItem(r)
		if err != nil {
			return nil, err
		}
		o, err := i.Render(q.Select, nil, false)
		if err != nil {
			return nil, err
		}
		value = append(value, o)
	}
	return wire.OK(out.With("value", value)), nil
}

// nextLog is the address of the page that begins at token.
func nextLog(c *wire.Call, token string) string {
	var keep []string
	for part := range strings.SplitSeq(c.Query, "&") {
		k, _, _ := strings.Cut(part, "=")
		name, _ := url.QueryUnescape(k)
		if part != "" && strings.TrimPrefix(strings.ToLower(name), "$") != "skiptoken" {
			keep = append(keep, part)
		}
	}
	return c.Root + "/" + c.Path + "?" + strings.Join(append(keep, "$skiptoken="+url.QueryEscape(token)), "&")
}

// logItem shows a record; the tenant of an audit record, which Microsoft Graph
// does not have, stays inside.
func logItem(r any) (*item, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	o, err := ordered(raw)
	if err != nil {
		return nil, err
	}
	i := &item{}
	for _, m := range o {
		if m.Name != "tenantId" {
			i.members = append(i.members, m)
		}
	}
	return i, nil
}

// timed turns the text of a date property into a time, for comparisons.
func timed(name string, v any) any {
	if s, ok := v.(string); ok && strings.HasSuffix(name, "DateTime") {
		if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return t
		}
	}
	return v
}

func getLog[T any](c *wire.Call, schema *odata.Schema, path string, find func(context.Context, directory.TenantID, string) (*T, error)) (*wire.Response, error) {
	id, err := c.Key(0)
	if err != nil {
		return nil, err
	}
	r, err := find(c.Context, c.Tenant, strings.ToLower(id))
	if errs.Is(err, errs.NotFound) {
		return nil, wire.Fail(http.StatusNotFound, "UnknownError", "The record '%.100s' does not exist, or is older than what is kept.", id)
	}
	if err != nil {
		return nil, err
	}
	i, err := logItem(r)
	if err != nil {
		return nil, err
	}
	return one(c, schema, path, i)
}

func (s *service) getSignIn(c *wire.Call) (*wire.Response, error) {
	return getLog(c, signInSchema, "auditLogs/signIns", s.Logs.FindSignIn)
}

func (s *service) getAudit(c *wire.Call) (*wire.Response, error) {
	return getLog(c, auditSchema, "auditLogs/directoryAudits", s.Logs.FindDirectory)
}
