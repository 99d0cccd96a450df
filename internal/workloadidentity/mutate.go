package workloadidentity

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
)

// Labels and annotations.
const (
	prefix = "azure.workload.identity/"

	UseLabel                  = prefix + "use" // on the pod, "true"
	ClientIDAnnotation        = prefix + "client-id"
	TenantIDAnnotation        = prefix + "tenant-id"
	ExpirationAnnotation      = prefix + "service-account-token-expiration"
	SkipContainersAnnotation  = prefix + "skip-containers"
	ProxySidecarAnnotation    = prefix + "inject-proxy-sidecar"
	ProxyPortAnnotation       = prefix + "proxy-sidecar-port"
	identityBindingAnnotation = prefix + "use-identity-binding"
)

// What a changed container has.
const (
	EnvClientID      = "AZURE_CLIENT_ID"
	EnvTenantID      = "AZURE_TENANT_ID"
	EnvTokenFile     = "AZURE_FEDERATED_TOKEN_FILE"
	EnvAuthorityHost = "AZURE_AUTHORITY_HOST"

	VolumeName    = "azure-identity-token"
	MountPath     = "/var/run/secrets/azure/tokens"
	tokenFileName = "azure-identity-token"

	// DefaultAudience is the audience of the projected token.
	DefaultAudience = "api://AzureADTokenExchange"
)

// Bounds of the projected token's life, in seconds.
const (
	DefaultExpiration = 3600
	MinExpiration     = 3600
	MaxExpiration     = 86400
)

// maxContainers bounds the work for one pod, and the patch. A pod of that many
// containers is larger than what an API server keeps.
const maxContainers = 1000

// Pod is the part of a pod that the rules read.
type Pod struct {
	Metadata struct {
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		ServiceAccountName string      `json:"serviceAccountName"`
		HostNetwork        bool        `json:"hostNetwork"`
		InitContainers     []container `json:"initContainers"`
		Containers         []container `json:"containers"`
		Volumes            []volume    `json:"volumes"`
	} `json:"spec"`
}

// Wanted reports whether the pod asks to be changed.
func (p *Pod) Wanted() bool { return p.Metadata.Labels[UseLabel] == "true" }

// ServiceAccount returns the name of the pod's service account.
func (p *Pod) ServiceAccount() string {
	if p.Spec.ServiceAccountName == "" {
		return "default"
	}
	return p.Spec.ServiceAccountName
}

type container struct {
	Name string `json:"name"`
	Env  []struct {
		Name string `json:"name"`
	} `json:"env"`
	VolumeMounts []mount `json:"volumeMounts"`
}

func (c *container) has(variable string) bool {
	for i := range c.Env {
		if c.Env[i].Name == variable {
			return true
		}
	}
	return false
}

type mount struct {
	Name        string `json:"name"`
	ReadOnly    bool   `json:"readOnly,omitempty"`
	MountPath   string `json:"mountPath"`
	SubPath     string `json:"subPath,omitempty"`
	SubPathExpr string `json:"subPathExpr,omitempty"`
}

type volume struct {
	Name      string     `json:"name"`
	Projected *projected `json:"projected,omitempty"`
}

type projected struct {
	Sources []source `json:"sources"`
}

type source struct {
	Token *tokenSource `json:"serviceAccountToken,omitempty"`
}

type tokenSource struct {
	Path       string `json:"path"`
	Expiration int64  `json:"expirationSeconds"`
	Audience   string `json:"audience"`
}

// ServiceAccount is the part of a service account that the rules read.
type ServiceAccount struct {
	Annotations map[string]string
}

// Settings are what the rules take from the cluster and the installation.
type Settings struct {
	Tenant        directory.TenantID // the cluster's
	AuthorityHost string             // with a final slash
	Audience      string
	Proxy         ProxyImages
}

// Operation is a step of a JSON patch (RFC 6902).
type Operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value"`
}

// Change is what the rules say about a pod.
type Change struct {
	Patch    []Operation // empty: the pod is as it should be
	Warnings []string    // for whoever creates the pod
}

// Mutate returns what has to change in a pod that wants to be changed. Invalid
// when an annotation cannot be followed; the pod must then be refused.
func Mutate(p *Pod, sa *ServiceAccount, s Settings) (*Change, error) {
	if len(p.Spec.Containers)+len(p.Spec.InitContainers) > maxContainers {
		return nil, errs.New(errs.Invalid, "the pod has more than %d containers", maxContainers)
	}
	expiration, err := expirationOf(p, sa)
	if err != nil {
		return nil, err
	}
	m := &mutation{Change: &Change{}, env: environment(sa, s), skip: skipped(p.Metadata.Annotations[SkipContainersAnnotation])}
	m.containers("/spec/initContainers", p.Spec.InitContainers)
	m.containers("/spec/containers", p.Spec.Containers)
	m.volume(p.Spec.Volumes, volume{Name: VolumeName, Projected: &projected{Sources: []source{{Token: &tokenSource{
		Path: tokenFileName, Expiration: expiration, Audience: s.Audience,
	}}}}})
	// Last, as it moves the containers to other places.
	if _, on := p.Metadata.Annotations[ProxySidecarAnnotation]; on {
		if err := m.proxy(p, s.Proxy); err != nil {
			return nil, err
		}
	}
	if strings.EqualFold(p.Metadata.Annotations[identityBindingAnnotation], "true") {
		m.Warnings = append(m.Warnings, identityBindingAnnotation+" has no effect: this cluster has no custom token endpoint")
	}
	return m.Change, nil
}

// expirationOf returns how long the projected token lives. The pod's annotation
// goes before its service account's.
func expirationOf(p *Pod, sa *ServiceAccount) (int64, error) {
	text := p.Metadata.Annotations[ExpirationAnnotation]
	if text == "" {
		text = sa.Annotations[ExpirationAnnotation]
	}
	if text == "" {
		return DefaultExpiration, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, errs.New(errs.Invalid, "token expiration %q not valid. Expected value to be between %d and %d", cut(text), MinExpiration, MaxExpiration)
	}
	if n < MinExpiration || n > MaxExpiration {
		return 0, errs.New(errs.Invalid, "token expiration %d not valid. Expected value to be between %d and %d", n, MinExpiration, MaxExpiration)
	}
	return n, nil
}

func cut(s string) string { return s[:min(len(s), 64)] }

type variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// environment returns the variables that have a value.
func environment(sa *ServiceAccount, s Settings) []variable {
	tenant := sa.Annotations[TenantIDAnnotation]
	if tenant == "" {
		tenant = string(s.Tenant)
	}
	all := []variable{
		{EnvClientID, sa.Annotations[ClientIDAnnotation]},
		{EnvTenantID, tenant},
		{EnvTokenFile, MountPath + "/" + tokenFileName},
		{EnvAuthorityHost, s.AuthorityHost},
	}
	return slices.DeleteFunc(all, func(v variable) bool { return v.Value == "" })
}

// skipped returns the names in a skip list.
func skipped(list string) map[string]bool {
	skip := map[string]bool{}
	for _, name := range strings.Split(list, ";") {
		if name = strings.TrimSpace(name); name != "" {
			skip[name] = true
		}
	}
	return skip
}

type mutation struct {
	*Change
	env  []variable
	skip map[string]bool
}

// put adds an operation. Formatted paths are made of list positions alone, so
// nothing needs escaping.
func (m *mutation) put(op string, value any, path string, args ...any) {
	m.Patch = append(m.Patch, Operation{op, fmt.Sprintf(path, args...), value})
}

var ourMount = mount{Name: VolumeName, ReadOnly: true, MountPath: MountPath}

func (m *mutation) containers(path string, list []container) {
	for i := range list {
		c := &list[i]
		if m.skip[c.Name] {
			continue
		}
		var missing []variable
		for _, v := range m.env {
			if !c.has(v.Name) {
				missing = append(missing, v)
			}
		}
		switch {
		case len(missing) == 0:
		case len(c.Env) == 0:
			m.put("add", missing, "%s/%d/env", path, i)
		default:
			for _, v := range missing {
				m.put("add", v, "%s/%d/env/-", path, i)
			}
		}
		m.mount(fmt.Sprintf("%s/%d/volumeMounts", path, i), c)
	}
}

// mount makes a container have our mount. One of the same name is replaced; a
// mount of another volume at our place is what its author wants there, and the
// API server would refuse two.
func (m *mutation) mount(path string, c *container) {
	same, taken := -1, -1
	for i, v := range c.VolumeMounts {
		if v == ourMount {
			return
		}
		if v.Name == VolumeName && (same < 0 || v.MountPath == MountPath) {
			same = i
		}
		if strings.TrimRight(v.MountPath, "/") == MountPath && v.Name != VolumeName {
			taken = i
		}
	}
	switch {
	case taken >= 0:
		m.Warnings = append(m.Warnings, fmt.Sprintf("container %s mounts volume %s at %s: the projected token is not mounted", cut(c.Name), cut(c.VolumeMounts[taken].Name), MountPath))
	case same >= 0:
		m.put("replace", ourMount, "%s/%d", path, same)
	case len(c.VolumeMounts) == 0:
		m.put("add", []mount{ourMount}, "%s", path)
	default:
		m.put("add", ourMount, "%s/-", path)
	}
}

// volume makes the pod have the volume with the token. One of the same name is
// replaced, unless it is the same but for what the API server has filled in.
func (m *mutation) volume(have []volume, want volume) {
	for i, v := range have {
		if v.Name != want.Name {
			continue
		}
		if v.Projected == nil || len(v.Projected.Sources) != 1 || v.Projected.Sources[0].Token == nil ||
			*v.Projected.Sources[0].Token != *want.Projected.Sources[0].Token {
			m.put("replace", want, "/spec/volumes/%d", i)
		}
		return
	}
	if len(have) == 0 {
		m.put("add", []volume{want}, "/spec/volumes")
		return
	}
	m.put("add", want, "/spec/volumes/-")
}

// ParsePod reads the part of a pod that the rules need.
func ParsePod(object []byte) (*Pod, error) {
	p := &Pod{}
	if err := json.Unmarshal(object, p); err != nil {
		return nil, errs.Wrap(errs.Invalid, err, "the object is not a pod")
	}
	return p, nil
}
