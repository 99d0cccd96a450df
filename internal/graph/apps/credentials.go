package apps

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/directory/matching"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/graph/model"
	"github.com/entrance-id/entrance/internal/graph/resource"
	"github.com/entrance-id/entrance/internal/graph/wire"
	"github.com/entrance-id/entrance/internal/issuer"
	"github.com/entrance-id/entrance/internal/store"
)

// service has the handlers of this package.
type service struct{}

// holder is an application or a service principal: what credentials hang on.
type holder struct {
	id    directory.ObjectID
	creds *directory.Credentials
	// managed identities get their credentials from Azure alone.
	managed bool
	// first-party applications keep theirs to themselves.
	firstParty bool
}

// credentialChange changes the credentials of the object that the path names.
func (s service) credentialChange(c *wire.Call, change func(*directory.Credentials) error) error {
	return s.credentialChangeOf(c, func(_ directory.ObjectID, creds *directory.Credentials) error { return change(creds) })
}

// credentialChangeOf is credentialChange with the id of the object.
func (s service) credentialChangeOf(c *wire.Call, change func(directory.ObjectID, *directory.Credentials) error) error {
	guarded := func(h holder) error {
		if h.managed || h.firstParty {
			return wire.Bad("Credentials of this service principal cannot be changed: it is %s.", map[bool]string{true: "a managed identity", false: "a first-party application"}[h.managed])
		}
		return change(h.id, h.creds)
	}
	if strings.HasPrefix(c.Route.Pattern, "applications/") {
		a, err := s.applicationChange(c, func(a *directory.Application) error { return guarded(holder{id: a.ID, creds: &a.Credentials}) })
		if err != nil {
			return err
		}
		c.Audited(appTarget(a, []wire.Change{{Name: "KeyDescription", New: `"(changed)"`}}))
		return nil
	}
	p, err := s.clientChange(c, func(_ *store.Tx, p *directory.ServicePrincipal) error {
		return guarded(holder{id: p.ID, creds: &p.Credentials, managed: p.Type == "ManagedIdentity", firstParty: p.AppOwnerTenant == directory.MicrosoftTenant})
	})
	if err != nil {
		return err
	}
	c.Audited(clientTarget(p, []wire.Change{{Name: "KeyDescription", New: `"(changed)"`}}))
	return nil
}

const (
	maxPasswords    = 50
	defaultLifetime = 2 // years, as Microsoft Graph gives
)

// newSecret returns 40 characters of 240 random bits, in the alphabet of
// Entra's own secrets.
func newSecret() string {
	var b [30]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:3]) + "8Q~" + base64.RawURLEncoding.EncodeToString(b[3:])
}

func (s service) addPassword(c *wire.Call) (*wire.Response, error) {
	var in struct {
		DisplayName *string    `json:"displayName"`
		Start       *time.Time `json:"startDateTime"`
		End         *time.Time `json:"endDateTime"`
	}
	if len(strings.TrimSpace(string(c.Body))) > 0 {
		body, err := wire.ParseBody(c.Body)
		if err != nil {
			return nil, err
		}
		var inner wire.Members
		if err := body.Fields(map[string]any{"passwordCredential": &inner}); err != nil {
			return nil, err
		}
		ignored := json.RawMessage{} // members that clients copy from a credential that they have read
		if err := inner.Fields(map[string]any{
			"displayName": &in.DisplayName, "startDateTime": &in.Start, "endDateTime": &in.End, "customKeyIdentifier": &ignored, "keyId": &ignored,
		}); err != nil {
			return nil, err
		}
	}
	secret := newSecret()
	sum := sha256.Sum256([]byte(secret))
	p := directory.Password{KeyID: directory.NewGUID(), Hint: secret[:3], SHA256: sum[:], Start: c.Now, End: c.Now.AddDate(defaultLifetime, 0, 0)}
	if in.DisplayName != nil {
		p.DisplayName = *in.DisplayName
	}
	if in.Start != nil {
		p.Start = in.Start.UTC()
	}
	if in.End != nil {
		p.End = in.End.UTC()
	}
	switch {
	case len(p.DisplayName) > 256 || strings.ContainsFunc(p.DisplayName, func(r rune) bool { return r < ' ' }):
		return nil, wire.Bad("Invalid value specified for property 'displayName' of resource 'PasswordCredential'.")
	case !p.End.After(c.Now), !p.End.After(p.Start):
		return nil, wire.Bad("Invalid value specified for property 'endDateTime' of resource 'PasswordCredential'.")
	case p.End.After(c.Now.AddDate(100, 0, 0)):
		return nil, wire.Bad("Invalid value specified for property 'endDateTime' of resource 'PasswordCredential'.")
	}
	err := s.credentialChange(c, func(creds *directory.Credentials) error {
		if len(creds.Passwords) >= maxPasswords {
			return wire.Fail(400, wire.CodeLimit, "The limit of %d password credentials has been reached.", maxPasswords)
		}
		creds.Passwords = append(creds.Passwords, p)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wire.OK(embed(c, "microsoft.graph.passwordCredential", model.PasswordResult(&p, secret))), nil
}

// embed puts a context before the members of a struct.
func embed(c *wire.Call, context string, v any) any {
	raw, err := json.Marshal(v)
	if err != nil || len(raw) < 2 {
		return v
	}
	head, err := json.Marshal(c.Root + "/$metadata#" + context)
	if err != nil {
		return v
	}
	return json.RawMessage(`{"@odata.context":` + string(head) + `,` + string(raw[1:]))
}

func keyID(c *wire.Call, extra map[string]any) (string, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return "", err
	}
	var raw string
	fields := map[string]any{"keyId": &raw}
	for k, v := range extra {
		fields[k] = v
	}
	if err := body.Fields(fields, "keyId"); err != nil {
		return "", err
	}
	id, ok := directory.ParseGUID(raw)
	if !ok {
		return "", wire.Bad("Invalid value specified for property 'keyId'.")
	}
	return id, nil
}

func (s service) removePassword(c *wire.Call) (*wire.Response, error) {
	id, err := keyID(c, nil)
	if err != nil {
		return nil, err
	}
	err = s.credentialChange(c, func(creds *directory.Credentials) error {
		n := len(creds.Passwords)
		creds.Passwords = slices.DeleteFunc(creds.Passwords, func(p directory.Password) bool { return p.KeyID == id })
		if len(creds.Passwords) == n {
			return wire.Bad("No password credential found with keyId.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

// proofAudience is what the proof of addKey and removeKey is made out to
// (Microsoft's documented constant).
const proofAudience = "00000002-0000-0000-c000-000000000000"

// checkProof verifies the proof of addKey and removeKey: a token signed with a
// certificate that the application has already, by which it may change its
// keys without any permission.
func checkProof(creds *directory.Credentials, c *wire.Call, id directory.ObjectID, proof string) error {
	bad := wire.Fail(http.StatusForbidden, "Authentication_MissingOrMalformed", "Access Token missing or malformed: the proof is not a token signed with a valid certificate of the application.")
	if len(proof) > 16<<10 {
		return bad
	}
	tok, err := jwt.ParseSigned(proof, []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256})
	if err != nil {
		return bad
	}
	for i := range creds.Keys {
		k := &creds.Keys[i]
		if c.Now.Before(k.Start) || !c.Now.Before(k.End) {
			continue
		}
		cert, err := k.Certificate()
		if err != nil {
			continue
		}
		var claims jwt.Claims
		if tok.Claims(cert.PublicKey, &claims) != nil {
			continue
		}
		if claims.Expiry == nil || claims.NotBefore == nil || claims.Expiry.Time().Sub(claims.NotBefore.Time()) > 10*time.Minute {
			return bad
		}
		if claims.ValidateWithLeeway(jwt.Expected{Issuer: string(id), AnyAudience: jwt.Audience{proofAudience}, Time: c.Now}, time.Minute) != nil {
			return bad
		}
		return nil
	}
	return bad
}

func (s service) addKey(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	var inner wire.Members
	var proof string
	var password json.RawMessage
	if err := body.Fields(map[string]any{"keyCredential": &inner, "proof": &proof, "passwordCredential": &password}, "keyCredential"); err != nil {
		return nil, err
	}
	if len(password) > 0 && string(password) != "null" {
		return nil, wire.Bad("Only key credentials of type 'AsymmetricX509Cert' and usage 'Verify' are supported.")
	}
	var kind, usage, key string
	var name *string
	if err := inner.Fields(map[string]any{"type": &kind, "usage": &usage, "key": &key, "displayName": &name}, "type", "usage", "key"); err != nil {
		return nil, err
	}
	k, err := model.NewKey(key, kind, usage)
	if err != nil {
		return nil, err
	}
	if name != nil && len(*name) <= 256 {
		k.DisplayName = *name
	}
	err = s.credentialChangeOf(c, func(id directory.ObjectID, creds *directory.Credentials) error {
		if err := checkProof(creds, c, id, proof); err != nil {
			return err
		}
		if len(creds.Keys) >= maxPasswords {
			return wire.Fail(400, wire.CodeLimit, "The limit of %d key credentials has been reached.", maxPasswords)
		}
		creds.Keys = append(creds.Keys, k.KeyCredential)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wire.OK(embed(c, "microsoft.graph.keyCredential", model.KeyResult(&k.KeyCredential))), nil
}

func (s service) removeKey(c *wire.Call) (*wire.Response, error) {
	var proof string
	key, err := keyID(c, map[string]any{"proof": &proof})
	if err != nil {
		return nil, err
	}
	err = s.credentialChangeOf(c, func(id directory.ObjectID, creds *directory.Credentials) error {
		if err := checkProof(creds, c, id, proof); err != nil {
			return err
		}
		n := len(creds.Keys)
		creds.Keys = slices.DeleteFunc(creds.Keys, func(k directory.KeyCredential) bool { return k.KeyID == key })
		if len(creds.Keys) == n {
			return wire.Bad("No key credential found with keyId.")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

// The rules of federated credentials (Microsoft's documented limits).
var federatedName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{2,119}$`)

func checkFederated(f *directory.FederatedCredential, others []directory.FederatedCredential) error {
	switch {
	case !federatedName.MatchString(f.Name):
		return wire.Bad("Federated Identity Credential name '%.120s' is invalid: it must have 3 to 120 letters, digits, hyphens and underscores, and start with a letter or digit.", f.Name)
	case f.Issuer == "":
		return wire.Bad("Federated Identity Credential must specify a valid issuer.")
	case (f.Subject == "") == (f.Matching == nil):
		return wire.Bad("Federated Identity Credential must specify a subject, or a claimsMatchingExpression, but not both.")
	case len(f.Audiences) != 1 || f.Audiences[0] == "":
		return wire.Bad("Federated Identity Credential must have exactly one audience specified.")
	case len(f.Audiences[0]) > 600:
		return wire.Bad("Federated Identity Credential audience is longer than 600 characters.")
	}
	if err := issuer.CheckURL(f.Issuer); err != nil {
		return wire.Bad("Federated Identity Credential must specify a valid issuer. %s", errs.Message(err))
	}
	if f.Matching != nil {
		if _, err := matching.Parse(f.Issuer, f.Matching); err != nil {
			return wire.Bad("Federated Identity Credential claimsMatchingExpression is invalid. %s", errs.Message(err))
		}
	}
	for _, o := range others {
		if o.ID == f.ID {
			continue
		}
		if strings.EqualFold(o.Name, f.Name) {
			return wire.Fail(409, wire.CodeSameKey, "FederatedIdentityCredential with name %s already exists.", f.Name)
		}
		if f.Matching == nil && o.Issuer == f.Issuer && o.Subject == f.Subject {
			return wire.Bad("FederatedIdentityCredential with issuer %s and subject %s already exists.", f.Issuer, f.Subject)
		}
		if f.Matching != nil && o.Issuer == f.Issuer && bytes.Equal(o.Matching, f.Matching) {
			return wire.Bad("FederatedIdentityCredential with issuer %s and the same claimsMatchingExpression already exists.", f.Issuer)
		}
	}
	return nil
}

// flexible refuses a claims matching expression in version 1.0, where the property
// does not exist.
func flexible(c *wire.Call, f *directory.FederatedCredential) error {
	if f.Matching != nil && c.Version != "beta" {
		return wire.Bad("Invalid property 'claimsMatchingExpression'. Flexible federated identity credentials are in the beta version of Microsoft Graph alone.")
	}
	return nil
}

func (s service) listFederated(c *wire.Call) (*wire.Response, error) {
	creds, err := s.credentialsOf(c)
	if err != nil {
		return nil, err
	}
	var list []*model.Object
	for i := range creds.Federated {
		list = append(list, model.FederatedCredentials(resource.At(c), &creds.Federated[i]))
	}
	src := resource.Objects(model.FederatedCredential.Schema(), c.Keyed("federatedIdentityCredentials"), list, false)
	src.Plain = true
	return c.List(src)
}

func (s service) credentialsOf(c *wire.Call) (*directory.Credentials, error) {
	a, err := resource.Application(c, c.View)
	if err != nil {
		return nil, err
	}
	return &a.Credentials, nil
}

// federated finds a credential by id or by name.
func federated(list []directory.FederatedCredential, key string) int {
	return slices.IndexFunc(list, func(f directory.FederatedCredential) bool { return strings.EqualFold(f.ID, key) || f.Name == key })
}

func (s service) getFederated(c *wire.Call) (*wire.Response, error) {
	creds, err := s.credentialsOf(c)
	if err != nil {
		return nil, err
	}
	key := c.Keys[1].Value
	i := federated(creds.Federated, key)
	if i < 0 {
		return nil, wire.Missing(key)
	}
	return c.One(model.FederatedCredentials(resource.At(c), &creds.Federated[i]), model.FederatedCredential.Schema(), c.Keyed("federatedIdentityCredentials"), nil)
}

func (s service) createFederated(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	f := directory.FederatedCredential{ID: directory.NewGUID()}
	if _, err := model.FederatedCredential.Apply(&f, &directory.Properties{}, body, "id"); err != nil {
		return nil, err
	}
	if err := flexible(c, &f); err != nil {
		return nil, err
	}
	err = s.credentialChange(c, func(creds *directory.Credentials) error {
		if len(creds.Federated) >= directory.MaxFederatedCredentials {
			return wire.Bad("The maximum number of federated identity credentials (%d) has been reached.", directory.MaxFederatedCredentials)
		}
		if err := checkFederated(&f, creds.Federated); err != nil {
			return err
		}
		creds.Federated = append(creds.Federated, f)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return resource.Created(c, model.FederatedCredentials(resource.At(c), &f), c.Keyed("federatedIdentityCredentials"))
}

func (s service) updateFederated(c *wire.Call) (*wire.Response, error) {
	body, err := wire.ParseBody(c.Body)
	if err != nil {
		return nil, err
	}
	key := c.Keys[1].Value
	err = s.credentialChange(c, func(creds *directory.Credentials) error {
		i := federated(creds.Federated, key)
		if i < 0 {
			return wire.Missing(key)
		}
		f := creds.Federated[i]
		if _, err := model.FederatedCredential.Apply(&f, &directory.Properties{}, body); err != nil {
			return err
		}
		if err := flexible(c, &f); err != nil {
			return err
		}
		if f.Name != creds.Federated[i].Name {
			return wire.Bad("The name of a federated identity credential cannot be changed.")
		}
		if err := checkFederated(&f, creds.Federated); err != nil {
			return err
		}
		creds.Federated[i] = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}

func (s service) deleteFederated(c *wire.Call) (*wire.Response, error) {
	key := c.Keys[1].Value
	err := s.credentialChange(c, func(creds *directory.Credentials) error {
		i := federated(creds.Federated, key)
		if i < 0 {
			return wire.Missing(key)
		}
		creds.Federated = slices.Delete(creds.Federated, i, i+1)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return wire.NoContent(), nil
}
