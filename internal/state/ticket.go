package state

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"sync"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/store"
)

// TicketKey is a key under which Entrance seals what it hands out and gets
// back: refresh tokens, and the state of a sign-in that is under way.
type TicketKey struct {
	ID      uint32    `json:"id"`
	Key     []byte    `json:"key"` // AES-256
	Created time.Time `json:"created"`
}

// String keeps the key out of logs.
func (TicketKey) String() string { return "state.TicketKey(sealed)" }

// TicketKeys are the keys of tickets, sealed. The newest one seals; all open.
var TicketKeys = store.NewTable("ticketkeys", store.Options[TicketKey]{
	Key:    func(k *TicketKey) string { return ticketKeyKey(k.ID) },
	Sealed: true,
})

func ticketKeyKey(id uint32) string {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], id)
	const digits = "0123456789abcdef"
	out := make([]byte, 0, 8)
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

// ticketVersion is the first byte of every ticket.
const ticketVersion = 1

// MaxTicket is the longest ticket that Open looks at.
const MaxTicket = 64 << 10

// Sealer seals values into tickets that anybody may carry and nobody can read,
// change or use for another purpose. It is safe for concurrent use.
type Sealer struct {
	store *store.Store
	clock clock.Clock

	mu   sync.RWMutex
	open map[uint32]cipher.AEAD
	seal uint32
	rev  int64 // of the view from which seal was chosen
}

// NewSealer returns a Sealer over the keys in s and makes the first one if
// there is none.
func NewSealer(ctx context.Context, s *store.Store, c clock.Clock) (*Sealer, error) {
	t := &Sealer{store: s, clock: c, open: map[uint32]cipher.AEAD{}}
	if err := t.addKey(ctx, false); err != nil {
		return nil, err
	}
	return t, nil
}

// Rotate makes a new key that seals from now on. Tickets under older keys stay
// good.
func (t *Sealer) Rotate(ctx context.Context) error { return t.addKey(ctx, true) }

func (t *Sealer) addKey(ctx context.Context, always bool) error {
	return t.store.Update(ctx, func(tx *store.Tx) error {
		tx.Guard("ticketkeys")
		last := uint32(0)
		for k := range TicketKeys.All(tx) {
			last = max(last, k.ID)
		}
		if last > 0 && !always {
			return nil
		}
		k := &TicketKey{ID: last + 1, Key: make([]byte, 32), Created: t.clock.Now()}
		rand.Read(k.Key)
		return TicketKeys.Create(tx, k)
	})
}

// key returns the AEAD of a key; 0 stands for the newest.
func (t *Sealer) key(id uint32) (cipher.AEAD, uint32, error) {
	view := t.store.View()
	t.mu.RLock()
	if id == 0 && t.rev == view.Revision() {
		id = t.seal
	}
	a := t.open[id]
	t.mu.RUnlock()
	if a != nil {
		return a, id, nil
	}
	var found *TicketKey
	for k := range TicketKeys.All(view) {
		if k.ID == id || id == 0 && (found == nil || k.ID > found.ID) {
			found = k
		}
	}
	if found == nil {
		return nil, 0, errs.New(errs.Invalid, "The ticket was not made here.")
	}
	block, err := aes.NewCipher(found.Key)
	if err != nil {
		return nil, 0, errs.Wrap(errs.Internal, err, "ticket key")
	}
	if a, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, 0, errs.Wrap(errs.Internal, err, "ticket key")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[found.ID] = a
	if id == 0 {
		t.seal, t.rev = found.ID, view.Revision()
	}
	return a, found.ID, nil
}

// Seal returns v as a ticket for a purpose. The ticket is URL-safe text.
func (t *Sealer) Seal(purpose string, v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", errs.Wrap(errs.Internal, err, "sealing a ticket")
	}
	a, id, err := t.key(0)
	if err != nil {
		return "", errs.Wrap(errs.Internal, err, "sealing a ticket")
	}
	out := make([]byte, 5, 5+len(raw)+a.Overhead())
	out[0] = ticketVersion
	binary.BigEndian.PutUint32(out[1:], id)
	return base64.RawURLEncoding.EncodeToString(a.Seal(out, nil, raw, []byte(purpose))), nil
}

// Open reads a ticket of a purpose into v. Invalid if it is not one.
func (t *Sealer) Open(purpose, ticket string, v any) error {
	bad := errs.New(errs.Invalid, "The ticket is malformed or was not made here.")
	if len(ticket) > MaxTicket {
		return bad
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(ticket)
	if err != nil || len(raw) < 5 || raw[0] != ticketVersion {
		return bad
	}
	id := binary.BigEndian.Uint32(raw[1:])
	if id == 0 {
		return bad
	}
	a, _, err := t.key(id)
	if err != nil {
		return err
	}
	plain, err := a.Open(nil, nil, raw[5:], []byte(purpose))
	if err != nil {
		return bad
	}
	if err := json.Unmarshal(plain, v); err != nil {
		return bad
	}
	return nil
}
