// Package password keeps passwords of people: argon2id hashes in PHC form,
// computed behind a semaphore.
//
// # Why a semaphore
//
// A slow hash is a defence for whoever stole the hashes, and a weapon for
// whoever can make a server compute them. At most a fixed number of hashes run
// at once and a bounded number of callers wait for a turn; everybody else is
// told to come back later (errs.Throttled), so that signing and verifying
// tokens keep their share of the machine while somebody tries a million
// passwords.
package password

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/entrance-id/entrance/internal/errs"
)

// Params are the costs of one hash.
type Params struct {
	Memory      uint32 // KiB
	Time        uint32 // passes
	Parallelism uint8
}

// Default is OWASP's first recommendation for argon2id: 19 MiB, two passes,
// one lane.
var Default = Params{Memory: 19 * 1024, Time: 2, Parallelism: 1}

const (
	saltLen = 16
	hashLen = 32

	// Bounds of what a stored hash may ask for: a record that somebody changed
	// must not make the server compute for minutes.
	maxMemory      = 1 << 20 // KiB: 1 GiB
	maxTime        = 16
	maxParallelism = 16
	maxPHC         = 512
)

// MaxLength is the longest password that is looked at (Entra's limit).
const MaxLength = 256

// Hasher computes hashes, a bounded number at a time. It is safe for
// concurrent use.
type Hasher struct {
	params Params
	turns  chan struct{} // one token per hash that may run
	queue  chan struct{} // one token per caller that runs or waits
	decoy  string        // a hash that no password has
}

// New returns a Hasher that runs at most parallel hashes at once and lets at
// most waiting more callers wait for a turn.
func New(params Params, parallel, waiting int) (*Hasher, error) {
	if params.Memory < 8*uint32(params.Parallelism) || params.Memory > maxMemory || params.Time < 1 || params.Time > maxTime || params.Parallelism < 1 || params.Parallelism > maxParallelism {
		return nil, errs.New(errs.Invalid, "argon2id parameters m=%d,t=%d,p=%d are out of range", params.Memory, params.Time, params.Parallelism)
	}
	if parallel < 1 || waiting < 0 {
		return nil, errs.New(errs.Invalid, "at least one hash must be able to run")
	}
	h := &Hasher{params: params, turns: make(chan struct{}, parallel), queue: make(chan struct{}, parallel+waiting)}
	var salt [saltLen]byte
	rand.Read(salt[:])
	var sum [hashLen]byte
	rand.Read(sum[:])
	h.decoy = encode(params, salt[:], sum[:])
	return h, nil
}

// Hash returns the PHC form of an argon2id hash of password under a fresh
// salt. Throttled when too many callers wait; Unavailable when ctx ends first.
func (h *Hasher) Hash(ctx context.Context, password string) (string, error) {
	release, err := h.acquire(ctx)
	if err != nil {
		return "", err
	}
	defer release()
	var salt [saltLen]byte
	rand.Read(salt[:])
	return encode(h.params, salt[:], derive(h.params, password, salt[:], hashLen)), nil
}

// Verify reports whether phc is a hash of password. An empty phc stands for an
// account that has no password or does not exist: it costs what any other
// check costs and is never right. stale tells that the hash was made with
// other costs than today's and should be replaced. Throttled and Unavailable
// as for Hash; Internal for a phc that cannot be read.
func (h *Hasher) Verify(ctx context.Context, phc, password string) (ok, stale bool, err error) {
	if len(password) > MaxLength {
		return false, false, nil
	}
	never := phc == ""
	if never {
		phc = h.decoy
	}
	p, salt, want, err := decode(phc)
	if err != nil {
		return false, false, err
	}
	release, err := h.acquire(ctx)
	if err != nil {
		return false, false, err
	}
	defer release()
	got := derive(p, password, salt, len(want))
	ok = subtle.ConstantTimeCompare(got, want) == 1 && !never
	return ok, ok && p != h.params, nil
}

// acquire waits for a turn to compute.
func (h *Hasher) acquire(ctx context.Context) (release func(), err error) {
	select {
	case h.queue <- struct{}{}:
	default:
		return nil, errs.New(errs.Throttled, "Too many sign-ins at once. Try again in a few seconds.")
	}
	select {
	case h.turns <- struct{}{}:
		return func() { <-h.turns; <-h.queue }, nil
	case <-ctx.Done():
		<-h.queue
		return nil, errs.Wrap(errs.Unavailable, ctx.Err(), "The password could not be checked in time.")
	}
}

func derive(p Params, password string, salt []byte, n int) []byte {
	return argon2.IDKey([]byte(password), salt, p.Time, p.Memory, p.Parallelism, uint32(n))
}

func encode(p Params, salt, sum []byte) string {
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.Memory, p.Time, p.Parallelism, b64.EncodeToString(salt), b64.EncodeToString(sum))
}

// decode reads the PHC form strictly: one hash has one spelling.
func decode(phc string) (p Params, salt, sum []byte, err error) {
	bad := func() (Params, []byte, []byte, error) {
		return Params{}, nil, nil, errs.New(errs.Internal, "a stored password hash is malformed")
	}
	parts := strings.Split(phc, "$")
	if len(phc) > maxPHC || len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return bad()
	}
	if _, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &p.Memory, &p.Time, &p.Parallelism); err != nil {
		return bad()
	}
	if p.Memory < 8*uint32(p.Parallelism) || p.Memory > maxMemory || p.Time < 1 || p.Time > maxTime || p.Parallelism < 1 || p.Parallelism > maxParallelism {
		return bad()
	}
	b64 := base64.RawStdEncoding.Strict()
	if salt, err = b64.DecodeString(parts[4]); err != nil || len(salt) < 8 || len(salt) > 64 {
		return bad()
	}
	if sum, err = b64.DecodeString(parts[5]); err != nil || len(sum) < 16 || len(sum) > 64 {
		return bad()
	}
	if encode(p, salt, sum) != phc {
		return bad()
	}
	return p, salt, sum, nil
}
