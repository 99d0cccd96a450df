package policy

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/policy/deviceproof"
	"github.com/entrance-id/entrance/internal/pop/jws"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// ProofHeader is the request header that may carry a signed proof (package
// deviceproof). Its content is believed for its signature alone.
const ProofHeader = "Device-Proof"

// ChallengeLife is how long a challenge can be answered.
const ChallengeLife = 5 * time.Minute

// maxDevices bounds what one person registers, as in Entra's default.
const maxDevices = 50

// Devices turns proofs into devices. It is safe for concurrent use.
type Devices struct {
	store    *store.Store
	clock    clock.Clock
	audience string
}

// NewDevices returns Devices for the given public base URL, which proofs must
// name as their audience.
func NewDevices(s *store.Store, c clock.Clock, baseURL string) *Devices {
	return &Devices{store: s, clock: c, audience: strings.TrimSuffix(baseURL, "/")}
}

// spent is a nonce that was used. Nonces are authenticated and not stored when
// they are issued, so that asking for them fills nothing.
type spent struct {
	Hash string `json:"hash"`
}

// nonceKey authenticates nonces, on every replica.
type nonceKey struct {
	ID  string `json:"id"`
	Key []byte `json:"key"`
}

// String keeps the key out of logs.
func (nonceKey) String() string { return "policy.nonceKey(sealed)" }

const keyID = "1"

func (d *Devices) key(ctx context.Context) ([]byte, error) {
	k, err := nonceKeys.Get(d.store.View(), keyID)
	if errs.Is(err, errs.NotFound) {
		made := &nonceKey{ID: keyID, Key: make([]byte, 32)}
		rand.Read(made.Key)
		err = d.store.Update(ctx, func(tx *store.Tx) error { return nonceKeys.Create(tx, made) })
		if err == nil || errs.Is(err, errs.Exists) {
			k, err = nonceKeys.GetFresh(ctx, d.store, keyID)
		}
	}
	if err != nil {
		return nil, err
	}
	return k.Key, nil
}

const macLength = 16

func mac(key, head []byte, tenant directory.TenantID, p deviceproof.Purpose) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(head)
	h.Write([]byte(string(tenant) + "/" + string(p)))
	return h.Sum(nil)[:macLength]
}

// Challenge returns a nonce that a device of the tenant can sign until expires,
// for one purpose and once.
func (d *Devices) Challenge(ctx context.Context, tenant directory.TenantID, p deviceproof.Purpose) (nonce string, expires time.Time, err error) {
	key, err := d.key(ctx)
	if err != nil {
		return "", time.Time{}, err
	}
	expires = d.clock.Now().Add(ChallengeLife)
	head := make([]byte, 24)
	rand.Read(head[:16])
	binary.BigEndian.PutUint64(head[16:], uint64(expires.UnixMilli()))
	return jws.Encode(append(head, mac(key, head, tenant, p)...)), expires, nil
}

// checkNonce tells whether a nonce was issued here for the tenant and purpose
// and can still be used.
func (d *Devices) checkNonce(ctx context.Context, c deviceproof.Claims) error {
	bad := errs.New(errs.Unauthenticated, "The proof of the device does not answer a challenge of this server.")
	key, err := d.key(ctx)
	if err != nil {
		return err
	}
	b, err := jws.Decode(c.Nonce)
	if err != nil || len(b) != 24+macLength {
		return bad
	}
	if !hmac.Equal(b[24:], mac(key, b[:24], c.Tenant, c.Purpose)) {
		return bad
	}
	expires := time.UnixMilli(int64(binary.BigEndian.Uint64(b[16:24])))
	now := d.clock.Now()
	// A nonce from further ahead than any is issued means that the clock was
	// moved back: it may have been used and forgotten.
	if !now.Before(expires) || expires.Sub(now) > ChallengeLife {
		return errs.New(errs.Unauthenticated, "The challenge that the proof of the device answers has expired.")
	}
	return nil
}

// spend uses a nonce up: of many callers with one nonce, on any replica, one
// succeeds.
func spend(tx *store.Tx, c deviceproof.Claims) error {
	sum := sha256.Sum256([]byte(c.Nonce))
	err := spentNonces.Create(tx, &spent{hex.EncodeToString(sum[:])})
	if errs.Is(err, errs.Exists) {
		return errs.New(errs.Unauthenticated, "The challenge that the proof of the device answers was used before.")
	}
	return err
}

// verify checks a proof but for the nonce's first use, which spend checks.
func (d *Devices) verify(ctx context.Context, tenant directory.TenantID, p deviceproof.Purpose, proof string) (deviceproof.Claims, string, error) {
	c, key, err := deviceproof.Verify(proof)
	if err != nil {
		return c, "", err
	}
	if c.Tenant != tenant || c.Purpose != p || strings.TrimSuffix(c.Audience, "/") != d.audience {
		return c, "", errs.New(errs.Unauthenticated, "The proof of the device is for another tenant, audience or purpose.")
	}
	if err := d.checkNonce(ctx, c); err != nil {
		return c, "", err
	}
	thumbprint, err := deviceproof.Thumbprint(key)
	return c, thumbprint, err
}

// DeviceOf returns the device of a tenant that has proven its key in a request,
// or nil. It looks at the connection's client certificate and at ProofHeader,
// and at nothing else. A proof that is there and not valid is an error: of kind
// Unauthenticated, or Forbidden for a device that is disabled.
func (d *Devices) DeviceOf(ctx context.Context, r *http.Request, tenant directory.TenantID) (*conditionalaccess.Device, error) {
	if proofs := r.Header.Values(ProofHeader); len(proofs) > 0 {
		if len(proofs) > 1 {
			return nil, errs.New(errs.Unauthenticated, "The request has more than one proof of a device.")
		}
		return d.FromProof(ctx, tenant, proofs[0])
	}
	return d.FromTLS(tenant, r.TLS)
}

// FromTLS returns the device of a tenant whose key took part in the handshake of
// a connection, or nil. The certificate needs no issuer: that the client has its
// key, the handshake has proven, and who it is, the directory says.
func (d *Devices) FromTLS(tenant directory.TenantID, c *tls.ConnectionState) (*conditionalaccess.Device, error) {
	if c == nil || !c.HandshakeComplete || len(c.PeerCertificates) == 0 {
		return nil, nil
	}
	leaf := c.PeerCertificates[0]
	thumbprint, err := deviceproof.Thumbprint(leaf.PublicKey)
	if err != nil {
		return nil, nil // no key that a device can have
	}
	device, err := find(d.store.View(), tenant, thumbprint)
	if device == nil || err != nil {
		return nil, err
	}
	now := d.clock.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return nil, errs.New(errs.Unauthenticated, "The device's certificate is not valid now.")
	}
	return Fact(device), nil
}

// FromProof returns the device of a tenant that has signed a challenge.
// Unauthenticated when the proof is not valid, was used before, or no device has
// its key; Forbidden for a device that is disabled.
func (d *Devices) FromProof(ctx context.Context, tenant directory.TenantID, proof string) (*conditionalaccess.Device, error) {
	c, thumbprint, err := d.verify(ctx, tenant, deviceproof.SignIn, proof)
	if err != nil {
		return nil, err
	}
	device, err := find(d.store.View(), tenant, thumbprint)
	if err != nil {
		return nil, err
	}
	if device == nil {
		return nil, errs.New(errs.Unauthenticated, "No device of the tenant has the key of the proof.")
	}
	if err := d.store.Update(ctx, func(tx *store.Tx) error { return spend(tx, c) }); err != nil {
		return nil, err
	}
	return Fact(device), nil
}

// Bound returns the present state of a device that was proven earlier: its id
// must come from something that Entrance itself has sealed or signed after a
// proof, such as a refresh token, and never from a request. A device that is
// deleted, disabled or without a key since is Forbidden.
func (d *Devices) Bound(tenant directory.TenantID, deviceID string) (*conditionalaccess.Device, error) {
	device, ok := state.Devices.First(d.store.View(), "deviceid", string(tenant)+"/"+deviceID)
	if !ok || !device.Enabled || device.KeyThumbprint == "" {
		return nil, errs.New(errs.Forbidden, "The device to which this is bound is deleted or disabled.")
	}
	return Fact(device), nil
}

// find returns the enabled device that has a key, or nil.
func find(r store.Reader, tenant directory.TenantID, thumbprint string) (*directory.Device, error) {
	list := slices.Collect(state.Devices.Where(r, "key", string(tenant)+"/"+thumbprint))
	switch {
	case len(list) == 0:
		return nil, nil
	case len(list) > 1:
		return nil, errs.New(errs.Unauthenticated, "More than one device has the key of the proof.")
	case !list[0].Enabled:
		return nil, errs.New(errs.Forbidden, "The device is disabled.")
	}
	return list[0], nil
}

// Registration is what a device says of itself when it is registered.
type Registration struct {
	Proof       string // of purpose Register, signed with the key to be registered
	DisplayName string
	OS          string
	OSVersion   string
	// TrustType is AzureAd (joined) or Workplace (registered). A hybrid join is
	// for an administrator to state.
	TrustType string
	// Owner is who registers the device; empty: nobody.
	Owner directory.ObjectID
}

// Register adds a device with its key. The caller has made sure that the owner
// may register devices. The device is neither compliant nor managed: it takes
// an administrator or a device management to say so. Exists when a device has
// the key already, Invalid, or Unauthenticated for a proof that is not valid.
func (d *Devices) Register(ctx context.Context, tenant directory.TenantID, in Registration) (*directory.Device, error) {
	switch {
	case in.DisplayName == "" || len(in.DisplayName) > 256 || in.OS == "" || len(in.OS) > 64 || len(in.OSVersion) > 64:
		return nil, errs.New(errs.Invalid, "A device needs a display name of at most 256 characters, and an operating system and version of at most 64.")
	case in.TrustType != "AzureAd" && in.TrustType != "Workplace":
		return nil, errs.New(errs.Invalid, "A device is registered with the trust type AzureAd or Workplace.")
	}
	c, thumbprint, err := d.verify(ctx, tenant, deviceproof.Register, in.Proof)
	if err != nil {
		return nil, err
	}
	now := d.clock.Now()
	device := &directory.Device{
		Tenant: tenant, ID: directory.ObjectID(directory.NewGUID()), DeviceID: directory.NewGUID(), DisplayName: in.DisplayName,
		Enabled: true, OS: in.OS, OSVersion: in.OSVersion, TrustType: in.TrustType, Created: now.UTC(), KeyThumbprint: thumbprint,
	}
	err = d.store.Update(ctx, func(tx *store.Tx) error {
		if err := spend(tx, c); err != nil {
			return err
		}
		if err := unusedKey(tx, tenant, thumbprint); err != nil {
			return err
		}
		if err := state.Devices.Create(tx, device); err != nil {
			return err
		}
		if in.Owner == "" {
			return nil
		}
		owned := 0
		for _, l := range state.LinkedTo(tx, directory.Owner, tenant, in.Owner, now) {
			if _, err := state.Devices.Get(tx, state.Key(tenant, l.From)); err == nil {
				owned++
			}
		}
		if owned >= maxDevices {
			return errs.New(errs.Forbidden, "The user has registered %d devices, which is the most.", owned)
		}
		return state.Link(tx, directory.Owner, tenant, device.ID, in.Owner)
	})
	if err != nil {
		return nil, err
	}
	return device, nil
}

// Enroll gives a key to a device that exists without one, because an
// administrator or a device management has made it. The caller has made sure
// that whoever asks may administer devices. Conflict when the device has a key.
func (d *Devices) Enroll(ctx context.Context, tenant directory.TenantID, id directory.ObjectID, proof string) error {
	c, thumbprint, err := d.verify(ctx, tenant, deviceproof.Register, proof)
	if err != nil {
		return err
	}
	return d.store.Update(ctx, func(tx *store.Tx) error {
		if err := spend(tx, c); err != nil {
			return err
		}
		if err := unusedKey(tx, tenant, thumbprint); err != nil {
			return err
		}
		return state.Devices.Modify(tx, state.Key(tenant, id), func(device *directory.Device) error {
			if device.KeyThumbprint != "" {
				return errs.New(errs.Conflict, "The device has a key. Delete the device to register it again.")
			}
			device.KeyThumbprint = thumbprint
			return nil
		})
	})
}

// unusedKey keeps a key with one device.
func unusedKey(tx *store.Tx, tenant directory.TenantID, thumbprint string) error {
	tx.Guard("devicekey/" + string(tenant) + "/" + thumbprint)
	if _, ok := state.Devices.First(tx, "key", string(tenant)+"/"+thumbprint); ok {
		return errs.New(errs.Exists, "A device with this key is registered already.")
	}
	return nil
}

// Thumbprint names a device's key as directory.Device does.
func Thumbprint(key crypto.PublicKey) (string, error) { return deviceproof.Thumbprint(key) }

// Fact returns what a decision may know of a device. Whoever calls it says that
// the device's key has been proven.
func Fact(d *directory.Device) *conditionalaccess.Device {
	f := &conditionalaccess.Device{
		ID: d.DeviceID, Compliant: d.Compliant,
		Attributes: conditionalaccess.DeviceAttributes{
			DisplayName: d.DisplayName, OperatingSystem: d.OS, OperatingSystemVersion: d.OSVersion,
		},
	}
	switch strings.ToLower(d.TrustType) {
	case "azuread":
		f.TrustType = conditionalaccess.TrustAzureAD
	case "serverad":
		f.TrustType = conditionalaccess.TrustServerAD
	case "workplace":
		f.TrustType = conditionalaccess.TrustWorkplace
	}
	a := &f.Attributes
	for name, to := range map[string]any{
		"deviceOwnership": &a.DeviceOwnership, "enrollmentProfileName": &a.EnrollmentProfileName, "manufacturer": &a.Manufacturer,
		"mdmAppId": &a.MdmAppID, "model": &a.Model, "profileType": &a.ProfileType, "physicalIds": &a.PhysicalIDs, "systemLabels": &a.SystemLabels,
	} {
		if raw := d.Properties[name]; raw != nil {
			// What does not fit stays empty, which is null to a filter.
			_ = json.Unmarshal(raw, to)
		}
	}
	var ext map[string]string
	if json.Unmarshal(d.Properties["extensionAttributes"], &ext) == nil {
		for i := range a.ExtensionAttributes {
			a.ExtensionAttributes[i] = ext["extensionAttribute"+strconv.Itoa(i+1)]
		}
	}
	return f
}
