package governance

import (
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/pim"
	"github.com/entrance-id/entrance/internal/privileged"
	"github.com/entrance-id/entrance/internal/state"
)

var (
	approvalSchema = schema("approval", "id", "stages:C", "steps:C")
	stageSchema    = schema("approvalStage", "id", "assignedToMe:b", "displayName", "justification", "reviewResult", "reviewedBy:c", "reviewedDateTime:t", "status")
)

// stage is the one stage that an approval has.
func (p plane) stage(c *wire.Call, q *privileged.Request) (*item, error) {
	waiting, err := p.pending(c)
	if err != nil {
		return nil, err
	}
	mine := slices.ContainsFunc(waiting, func(w *privileged.Request) bool { return w.ID == q.ID })
	result, status, by := "NotReviewed", "InProgress", any(nil)
	if !q.StatusAt(c.Now).Pending() {
		status = "Completed"
	}
	if q.Reviewer != "" {
		result = "Approve"
		if q.Status == pim.Denied {
			result = "Deny"
		}
		reviewer := wire.Obj("id", string(q.Reviewer), "displayName", nil, "userPrincipalName", nil)
		if u, err := state.Users.Get(c.View, c.StateKey(q.Reviewer)); err == nil {
			reviewer = wire.Obj("id", string(q.Reviewer), "displayName", u.DisplayName, "userPrincipalName", u.UserPrincipalName)
		}
		by = reviewer
	}
	reviewed := any(nil)
	if q.Reviewer != "" {
		reviewed = model.Time(q.Completed)
	}
	return &item{key: q.ID, kind: "approvalStage", members: wire.Obj("id", q.ID, "assignedToMe", mine, "displayName", nil, "justification", orNil(q.Review),
		"reviewResult", result, "reviewedBy", by, "reviewedDateTime", reviewed, "status", status)}, nil
}

func (p plane) approvalItem(c *wire.Call, q *privileged.Request) (*item, error) {
	st, err := p.stage(c, q)
	if err != nil {
		return nil, err
	}
	return &item{key: q.ID, kind: "approval", members: wire.Obj("id", q.ID, p.f.stages, []wire.Object{st.members})}, nil
}

func (p plane) listApprovals(c *wire.Call) (*wire.Response, error) {
	how, err := on(c)
	if err != nil {
		return nil, err
	}
	if how != "approver" {
		return nil, wire.Bad("Approvals can be filtered by on='approver'.")
	}
	pending, err := p.pending(c)
	if err != nil {
		return nil, err
	}
	var items []*item
	for _, q := range pending {
		i, err := p.approvalItem(c, q)
		if err != nil {
			return nil, err
		}
		items = append(items, i)
	}
	return list(c, approvalSchema, p.f.base+"/"+p.f.approvals, items)
}

func (p plane) getApproval(c *wire.Call) (*wire.Response, error) {
	q, err := p.request(c, 0)
	if err != nil {
		return nil, err
	}
	i, err := p.approvalItem(c, q)
	if err != nil {
		return nil, err
	}
	return one(c, approvalSchema, p.f.base+"/"+p.f.approvals, i)
}

func (p plane) listStages(c *wire.Call) (*wire.Response, error) {
	q, err := p.request(c, 0)
	if err != nil {
		return nil, err
	}
	st, err := p.stage(c, q)
	if err != nil {
		return nil, err
	}
	return list(c, stageSchema, p.f.base+"/"+p.f.approvals+"('"+q.ID+"')/"+p.f.stages, []*item{st})
}

func (p plane) getStage(c *wire.Call) (*wire.Response, error) {
	q, err := p.stageRequest(c)
	if err != nil {
		return nil, err
	}
	st, err := p.stage(c, q)
	if err != nil {
		return nil, err
	}
	return one(c, stageSchema, p.f.base+"/"+p.f.approvals+"('"+q.ID+"')/"+p.f.stages, st)
}

// stageRequest returns the request of the approval; its one stage has its id.
func (p plane) stageRequest(c *wire.Call) (*privileged.Request, error) {
	q, err := p.request(c, 0)
	if err != nil {
		return nil, err
	}
	if id, err := c.Key(1); err != nil || strings.ToLower(id) != q.ID {
		return nil, wire.Missing(c.Keys[1].Value)
	}
	return q, nil
}

func (p plane) decide(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var result string
	var justification *string
	if err := body.Fields(map[string]any{"reviewResult": &result, "justification": &justification}, "reviewResult"); err != nil {
		return nil, err
	}
	q, err := p.stageRequest(c)
	if err != nil {
		return nil, err
	}
	review := privileged.Review{Caller: p.f.caller(c, q.Target)}
	if justification != nil {
		review.Justification = *justification
	}
	switch strings.ToLower(result) {
	case "approve":
		q, err = p.s.Privileged.Approve(c.Context, c.Tenant, q.ID, review)
	case "deny":
		q, err = p.s.Privileged.Deny(c.Context, c.Tenant, q.ID, review)
	default:
		return nil, wire.Bad("reviewResult must be Approve or Deny.")
	}
	if err != nil {
		return nil, pimError(err)
	}
	c.View = c.Store.View()
	p.audited(c, q)
	return wire.NoContent(), nil
}
