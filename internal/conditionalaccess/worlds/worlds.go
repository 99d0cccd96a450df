// Package worlds reads sign-in worlds: data files that describe a tenant, its
// Conditional Access policies and a table of sign-ins with the right answers.
// The unit tests, the endpoints' tests and the what-if command all answer from
// the same files.
//
// # Files
//
// A directory holds tenant.yaml, which names users, groups, devices and
// locations that all worlds share, and one file for each world. In policies,
// @name stands for the id of a named thing. Unknown keys and unknown names are
// errors, so that a misspelt expectation cannot pass by saying nothing.
package worlds

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	ca "github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/directory"
)

// Tenant is what the worlds of one directory share.
type Tenant struct {
	ID        string              `yaml:"id"`
	IDs       map[string]string   `yaml:"ids"` // groups, roles, applications and other named ids
	Users     map[string]User     `yaml:"users"`
	Workloads map[string]Workload `yaml:"workloads"`
	Devices   map[string]Device   `yaml:"devices"`
	Addresses map[string]Address  `yaml:"addresses"`
	Locations []map[string]any    `yaml:"locations"` // Graph namedLocation documents
	Strengths []map[string]any    `yaml:"strengths"` // Graph authenticationStrengthPolicy documents
}

// User is a person of the tenant.
type User struct {
	ID         string   `yaml:"id"`
	Groups     []string `yaml:"groups"`
	Roles      []string `yaml:"roles"`
	Guest      string   `yaml:"guest"`
	HomeTenant string   `yaml:"homeTenant"`
	Registered bool     `yaml:"registered"` // for multifactor authentication
}

// Workload is a service principal.
type Workload struct {
	ID              string `yaml:"id"`
	AppID           string `yaml:"appId"`
	ManagedIdentity bool   `yaml:"managedIdentity"`
	Foreign         bool   `yaml:"foreign"`
}

// Device is a device that can be proven.
type Device struct {
	ID                 string   `yaml:"id"`
	Compliant          bool     `yaml:"compliant"`
	TrustType          string   `yaml:"trustType"`
	DisplayName        string   `yaml:"displayName"`
	Ownership          string   `yaml:"ownership"`
	Manufacturer       string   `yaml:"manufacturer"`
	Model              string   `yaml:"model"`
	OperatingSystem    string   `yaml:"operatingSystem"`
	Version            string   `yaml:"version"`
	PhysicalIDs        []string `yaml:"physicalIds"`
	ExtensionAttribute string   `yaml:"extensionAttribute1"`
}

// Address is a place on the network.
type Address struct {
	IP      string `yaml:"ip"`
	Country string `yaml:"country"`
}

// World is one file.
type World struct {
	File     string           `yaml:"-"`
	About    string           `yaml:"about"`
	Policies []map[string]any `yaml:"policies"`
	SignIns  []SignIn         `yaml:"signIns"`

	Now    time.Time `yaml:"-"`
	Set    *ca.Set   `yaml:"-"`
	Tenant *Tenant   `yaml:"-"`
	// PolicyDocs and LocationDocs are the documents with every @name replaced,
	// ready to be sent to Graph.
	PolicyDocs, LocationDocs []json.RawMessage `yaml:"-"`
}

// SignIn is one question with its answer.
type SignIn struct {
	Name     string            `yaml:"name"`
	User     string            `yaml:"user"`
	Workload string            `yaml:"workload"`
	Client   string            `yaml:"client"` // application, default kubelogin
	Resource []string          `yaml:"resource"`
	Action   string            `yaml:"action"`
	AppType  string            `yaml:"appType"` // default mobileAppsAndDesktopClients
	Device   string            `yaml:"device"`
	Platform string            `yaml:"platform"`
	From     string            `yaml:"from"` // a named address, default office
	Flow     string            `yaml:"flow"`
	Methods  map[string]string `yaml:"methods"` // method to age; default password, 1m
	AuthAge  string            `yaml:"authAge"` // default 1m
	Contexts []string          `yaml:"contexts"`
	Asked    []string          `yaml:"asked"` // policies that a claims challenge named, by displayName
	Prove    bool              `yaml:"prove"` // the page can ask for a device
	V1       bool              `yaml:"v1"`
	Steps    []string          `yaml:"steps"` // default authorize; each is evaluated
	Expect   Expect            `yaml:"expect"`
}

// Expect is the right answer. What is absent is not checked, the decision apart.
type Expect struct {
	Decision string            `yaml:"decision"`
	Code     *int              `yaml:"code"`
	Codes    map[string]int    `yaml:"codes"` // by step, instead of code
	Error    string            `yaml:"error"`
	Suberror *string           `yaml:"suberror"`
	HTTP     int               `yaml:"http"`
	Claims   *string           `yaml:"claims"` // the exact challenge, with @displayName for policy ids; empty: none
	Results  map[string]string `yaml:"results"`
	Because  map[string]string `yaml:"because"` // policy to the condition that is not satisfied
	Ask      []string          `yaml:"ask"`
	Within   string            `yaml:"within"`  // merged sign-in frequency
	Browser  *string           `yaml:"browser"` // merged persistent browser mode
	Contexts []string          `yaml:"contexts"`
	Reasons  []string          `yaml:"reasons"` // each is part of one of the reasons
	Status   string            `yaml:"status"`  // conditionalAccessStatus
}

// Question is a sign-in at one step, ready to be evaluated.
type Question struct {
	SignIn *SignIn
	Facts  ca.Facts
	Code   *int // expected here, 0 for none; nil: not checked
}

const tenantFile = "tenant.yaml"

// Load reads all worlds of a directory, in the order of their names.
func Load(fsys fs.FS) ([]*World, error) {
	var t Tenant
	if err := read(fsys, tenantFile, &t); err != nil {
		return nil, err
	}
	names, err := fs.Glob(fsys, "*.yaml")
	if err != nil {
		return nil, err
	}
	var out []*World
	for _, name := range names {
		if name == tenantFile {
			continue
		}
		w := &World{File: strings.TrimSuffix(path.Base(name), ".yaml"), Tenant: &t, Now: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)}
		if err := read(fsys, name, w); err != nil {
			return nil, err
		}
		if err := w.compile(); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, w)
	}
	return out, nil
}

func read(fsys fs.FS, name string, into any) error {
	raw, err := fs.ReadFile(fsys, name)
	if err != nil {
		return err
	}
	if err := yaml.Load(raw, into, yaml.WithKnownFields()); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// PolicyID returns the id of a policy by its displayName. Policies of a world
// are numbered unless their document has an id.
func (w *World) PolicyID(displayName string) (string, bool) {
	for _, p := range w.Policies {
		if p["displayName"] == displayName {
			id, ok := p["id"].(string)
			return id, ok
		}
	}
	return "", false
}

func (w *World) compile() error {
	if w.About == "" || len(w.SignIns) == 0 {
		return fmt.Errorf("about and signIns are required")
	}
	var locations []*ca.NamedLocation
	for _, doc := range w.Tenant.Locations {
		raw, err := w.document(doc)
		if err != nil {
			return err
		}
		l, err := ca.ParseNamedLocation(raw)
		if err != nil {
			return err
		}
		w.LocationDocs = append(w.LocationDocs, raw)
		locations = append(locations, l)
	}
	var strengths []*ca.AuthenticationStrength
	for _, doc := range w.Tenant.Strengths {
		raw, err := w.document(doc)
		if err != nil {
			return err
		}
		s, err := ca.ParseAuthenticationStrength(raw)
		if err != nil {
			return err
		}
		strengths = append(strengths, s)
	}
	var policies []*ca.Policy
	for i, doc := range w.Policies {
		if doc["id"] == nil {
			doc["id"] = fmt.Sprintf("00000000-0000-4000-8000-%012d", i+1)
		}
		raw, err := w.document(doc)
		if err != nil {
			return err
		}
		p, err := ca.ParsePolicy(raw)
		if err != nil {
			return fmt.Errorf("policy %v: %w", doc["displayName"], err)
		}
		w.PolicyDocs = append(w.PolicyDocs, raw)
		policies = append(policies, p)
	}
	var err error
	w.Set, err = ca.Compile(policies, locations, strengths)
	return err
}

func (w *World) document(doc map[string]any) (json.RawMessage, error) {
	v, err := w.replace(doc)
	if err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// replace returns v with each string @name replaced by the id of that name.
func (w *World) replace(v any) (any, error) {
	var err error
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if out[k], err = w.replace(x); err != nil {
				return nil, err
			}
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			if out[i], err = w.replace(x); err != nil {
				return nil, err
			}
		}
		return out, nil
	case string:
		if name, ok := strings.CutPrefix(v, "@"); ok {
			return w.Tenant.id(name)
		}
	}
	return v, nil
}

func (t *Tenant) id(name string) (string, error) {
	if id, ok := t.IDs[name]; ok {
		return id, nil
	}
	if u, ok := t.Users[name]; ok {
		return u.ID, nil
	}
	if s, ok := t.Workloads[name]; ok {
		return s.ID, nil
	}
	return "", fmt.Errorf("unknown name @%s", name)
}

func (t *Tenant) ids(names []string) ([]directory.ObjectID, error) {
	var out []directory.ObjectID
	for _, n := range names {
		id, err := t.id(n)
		if err != nil {
			return nil, err
		}
		out = append(out, directory.ObjectID(id))
	}
	return out, nil
}

// Questions returns the world's sign-ins, one for each step.
func (w *World) Questions() ([]Question, error) {
	var out []Question
	for i := range w.SignIns {
		s := &w.SignIns[i]
		f, err := w.facts(s)
		if err != nil {
			return nil, fmt.Errorf("%s: sign-in %q: %w", w.File, s.Name, err)
		}
		steps := s.Steps
		if len(steps) == 0 && len(s.Expect.Codes) == 0 {
			steps = []string{string(ca.StepAuthorize)}
		}
		for step := range s.Expect.Codes {
			if !slices.Contains(steps, step) {
				steps = append(steps, step)
			}
		}
		slices.Sort(steps)
		for _, step := range steps {
			if !slices.Contains(ca.Steps, ca.Step(step)) {
				return nil, fmt.Errorf("%s: sign-in %q: unknown step %q", w.File, s.Name, step)
			}
			q := Question{SignIn: s, Facts: f, Code: s.Expect.Code}
			q.Facts.Step = ca.Step(step)
			if c, ok := s.Expect.Codes[step]; ok {
				q.Code = &c
			}
			out = append(out, q)
		}
	}
	return out, nil
}

func (w *World) facts(s *SignIn) (ca.Facts, error) {
	t := w.Tenant
	f := ca.Facts{
		Tenant: directory.TenantID(t.ID), UserAction: s.Action, V1: s.V1,
		ClientAppType: ca.ClientAppType(or(s.AppType, string(ca.MobileAndDesktop))), Platform: ca.Platform(s.Platform),
		Flow: ca.AuthFlow(s.Flow), AuthContexts: s.Contexts, DeviceProofPossible: s.Prove, ResourceName: "Azure Kubernetes Service AAD Server",
	}
	client, err := t.id(or(s.Client, "kubelogin"))
	if err != nil {
		return f, err
	}
	f.ClientApp = directory.AppID(client)
	resources := s.Resource
	if resources == nil && s.Action == "" {
		resources = []string{"aks"}
	}
	for _, r := range resources {
		id, err := t.id(r)
		if err != nil {
			return f, err
		}
		f.Resources = append(f.Resources, directory.AppID(id))
	}
	switch {
	case (s.User == "") == (s.Workload == ""):
		return f, fmt.Errorf("exactly one of user and workload is required")
	case s.User != "":
		if f.User, err = t.user(s.User); err != nil {
			return f, err
		}
	default:
		x, ok := t.Workloads[s.Workload]
		if !ok {
			return f, fmt.Errorf("unknown workload %q", s.Workload)
		}
		f.Workload = &ca.Workload{ID: directory.ObjectID(x.ID), AppID: directory.AppID(x.AppID), ManagedIdentity: x.ManagedIdentity, Foreign: x.Foreign}
	}
	if s.Device != "" {
		d, ok := t.Devices[s.Device]
		if !ok {
			return f, fmt.Errorf("unknown device %q", s.Device)
		}
		f.Device = d.device()
	}
	if from := or(s.From, "office"); from != "unknown" {
		a, ok := t.Addresses[from]
		if !ok {
			return f, fmt.Errorf("unknown address %q", from)
		}
		if f.Address, err = netip.ParseAddr(a.IP); err != nil {
			return f, err
		}
		f.Country = a.Country
	}
	if s.User == "" {
		return f, nil
	}
	for _, name := range s.Asked {
		id, ok := w.PolicyID(name)
		if !ok {
			return f, fmt.Errorf("unknown policy %q", name)
		}
		f.Policies = append(f.Policies, id)
	}
	age, err := time.ParseDuration(or(s.AuthAge, "1m"))
	if err != nil {
		return f, err
	}
	f.AuthTime = w.Now.Add(-age)
	done := s.Methods
	if done == nil {
		done = map[string]string{string(ca.Password): "1m"}
	}
	for m, text := range done {
		age, err := time.ParseDuration(text)
		if err != nil {
			return f, err
		}
		f.Methods = append(f.Methods, ca.Authentication{Method: ca.Method(m), At: w.Now.Add(-age)})
	}
	return f, nil
}

func (t *Tenant) user(name string) (*ca.User, error) {
	u, ok := t.Users[name]
	if !ok {
		return nil, fmt.Errorf("unknown user %q", name)
	}
	out := &ca.User{ID: directory.ObjectID(u.ID), Guest: ca.GuestType(u.Guest), MFARegistered: u.Registered}
	var err error
	if out.Groups, err = t.ids(u.Groups); err != nil {
		return nil, err
	}
	if out.Roles, err = t.ids(u.Roles); err != nil {
		return nil, err
	}
	if u.HomeTenant != "" {
		home, err := t.id(u.HomeTenant)
		if err != nil {
			return nil, err
		}
		out.HomeTenant = directory.TenantID(home)
	}
	return out, nil
}

func (d Device) device() *ca.Device {
	out := &ca.Device{ID: d.ID, Compliant: d.Compliant, TrustType: ca.TrustType(d.TrustType), Attributes: ca.DeviceAttributes{
		DisplayName: d.DisplayName, DeviceOwnership: d.Ownership, Manufacturer: d.Manufacturer, Model: d.Model,
		OperatingSystem: d.OperatingSystem, OperatingSystemVersion: d.Version, PhysicalIDs: d.PhysicalIDs,
	}}
	out.Attributes.ExtensionAttributes[0] = d.ExtensionAttribute
	return out
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}
