package audit

import (
	"time"

	"github.com/entrance-id/entrance/internal/directory"
)

// Verdict is how a decision about access came out.
type Verdict string

// The verdicts. NoOpinion refuses where nobody else allows.
const (
	Allow     Verdict = "allow"
	Deny      Verdict = "deny"
	NoOpinion Verdict = "noOpinion"
)

// DecisionEvent is one decision about access to a cluster or an API, as whoever
// made it tells the recorder.
type DecisionEvent struct {
	CorrelationID string
	Time          time.Time
	Tenant        directory.TenantID
	Surface       string // tokenReview, subjectAccessReview, admission, arm, graph
	Verdict       Verdict
	Reason        string
	Revision      int64 // of the store that the decision was made from

	User     directory.ObjectID
	UserName string
	Cluster  string // resource id
	Scope    string // ARM scope

	Verb        string
	APIGroup    string
	Resource    string
	Subresource string
	Namespace   string
	Name        string
	Path        string // of a request that is about no resource
	TokenID     string // uti, which joins it with a sign-in
}

// Decision is a record of the decision log.
type Decision struct {
	ID            string             `json:"id"`
	Time          time.Time          `json:"createdDateTime"`
	CorrelationID string             `json:"correlationId,omitempty"`
	TenantID      directory.TenantID `json:"tenantId"`
	Surface       string             `json:"surface"`
	Verdict       Verdict            `json:"verdict"`
	Reason        string             `json:"reason"`
	Revision      int64              `json:"revision"`
	UserID        directory.ObjectID `json:"userId,omitempty"`
	UserName      string             `json:"userName,omitempty"`
	Cluster       string             `json:"cluster,omitempty"`
	Scope         string             `json:"scope,omitempty"`
	Verb          string             `json:"verb,omitempty"`
	APIGroup      string             `json:"apiGroup,omitempty"`
	Resource      string             `json:"resource,omitempty"`
	Subresource   string             `json:"subresource,omitempty"`
	Namespace     string             `json:"namespace,omitempty"`
	Name          string             `json:"name,omitempty"`
	Path          string             `json:"path,omitempty"`
	TokenID       string             `json:"uniqueTokenIdentifier,omitempty"`
	// OneIn says that the record stands for so many like it: allowed requests
	// are sampled, refused ones never.
	OneIn int `json:"oneIn"`
}

func decision(e *DecisionEvent, oneIn int) *Decision {
	name := func(s string) string { return text(s, maxName) }
	return &Decision{
		ID: directory.NewGUID(), Time: e.Time.UTC(), CorrelationID: guid(e.CorrelationID), TenantID: guid(e.Tenant),
		Surface: enum(e.Surface), Verdict: enum(e.Verdict), Reason: text(e.Reason, maxText), Revision: e.Revision,
		UserID: guid(e.User), UserName: name(e.UserName), Cluster: text(e.Cluster, maxText), Scope: text(e.Scope, maxText),
		Verb: enum(e.Verb), APIGroup: name(e.APIGroup), Resource: name(e.Resource), Subresource: name(e.Subresource),
		Namespace: name(e.Namespace), Name: name(e.Name), Path: text(e.Path, maxText), TokenID: tokenID(e.TokenID), OneIn: oneIn,
	}
}
