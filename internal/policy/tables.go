package policy

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/store"
)

// Document is a policy, a named location or an authentication strength as it is
// kept.
type Document struct {
	Tenant   directory.TenantID `json:"tenantId"`
	ID       string             `json:"id"`
	Body     json.RawMessage    `json:"document"` // as received, without the members that are ours
	Created  time.Time          `json:"createdDateTime"`
	Modified time.Time          `json:"modifiedDateTime,omitzero"` // zero until changed
}

// ours are the members of a document that a client cannot set.
var ours = []string{"id", "createdDateTime", "modifiedDateTime"}

// Shown returns the document as Microsoft Graph shows it: what was received,
// with id, createdDateTime and modifiedDateTime (null until it was changed).
func (d *Document) Shown() (json.RawMessage, error) {
	head := struct {
		ID       string     `json:"id"`
		Created  time.Time  `json:"createdDateTime"`
		Modified *time.Time `json:"modifiedDateTime"`
	}{ID: d.ID, Created: d.Created.UTC()}
	if !d.Modified.IsZero() {
		m := d.Modified.UTC()
		head.Modified = &m
	}
	b, err := json.Marshal(head)
	if err != nil {
		return nil, err
	}
	body := bytes.TrimSpace(d.Body)
	if len(body) < 2 || body[0] != '{' {
		return nil, errBody(d)
	}
	if rest := bytes.TrimSpace(body[1:]); rest[0] != '}' {
		b = append(append(b[:len(b)-1], ','), rest...)
	}
	return b, nil
}

func documents(name string) *store.Table[Document] {
	return store.NewTable(name, store.Options[Document]{
		Key: func(d *Document) string { return key(d.Tenant, d.ID) },
		Indexes: []store.Index[Document]{
			{Name: "tenant"},
		},
	})
}

func key(tenant directory.TenantID, id string) string { return string(tenant) + "/" + id }

var (
	// Policies are Conditional Access policies: "tenant".
	Policies = documents("capolicies")
	// Locations are named locations: "tenant".
	Locations = documents("calocations")
	// Strengths are custom authentication strengths: "tenant".
	Strengths = documents("castrengths")

	// spentNonces are answered challenges, by hash. They are kept for as long
	// as the challenge could be answered, and a little longer.
	spentNonces = store.NewTable("devicespentnonces", store.Options[spent]{
		Key:    func(s *spent) string { return s.Hash },
		Direct: true,
		TTL:    func(*spent) time.Duration { return 2 * ChallengeLife },
	})

	nonceKeys = store.NewTable("devicenoncekeys", store.Options[nonceKey]{
		Key:    func(k *nonceKey) string { return k.ID },
		Sealed: true,
	})
)

// Tables returns the tables of this package.
func Tables() []store.AnyTable {
	return []store.AnyTable{Policies, Locations, Strengths, spentNonces, nonceKeys}
}
