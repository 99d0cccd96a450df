package containerservice

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/rbac"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// plan is a managed cluster as it is to be: what its client sent, completed and
// held to the rules of the service.
type plan struct {
	p      *Provider
	tenant directory.TenantID // of the subscription
	id     *wire.ID
	now    time.Time
	r      store.Reader
	// assign refuses a user-assigned identity that the caller may not use.
	assign func(id rbac.Scope) error

	old    wire.Document // nil for a new cluster
	doc    wire.Document
	in     internal
	rec    state.Cluster
	secret Secret
	made   []*directory.ServicePrincipal
}

// immutable is the refusal of a change of what cannot be changed.
func immutable(path string) error {
	return wire.Bad("PropertyChangeNotAllowed", "Changing property '%s' is not allowed.", path).On(path)
}

func invalid(path, format string, args ...any) error {
	return wire.Bad("InvalidParameter", "The value of parameter %s is invalid. Error details: %s Please see https://aka.ms/aks-naming-rules for more details.", path, fmt.Sprintf(format, args...)).On(path)
}

var clusterName = regexp.MustCompile(`^[A-Za-z0-9]([-\w]{0,61}[A-Za-z0-9])?$`)

// complete fills the plan from its document.
func (n *plan) complete() error {
	if n.old == nil && !clusterName.MatchString(n.id.Name()) {
		return invalid("resourceName", "'%.70s' is not a name: it has 1 to 63 letters, digits, '_' and '-', the first and the last a letter or digit.", n.id.Name())
	}
	if _, err := n.doc.Tags(); err != nil {
		return err
	}
	if v, ok := n.doc["properties"]; ok && v != nil && n.doc.Object("properties") == nil {
		return wire.Bad("InvalidRequestContent", "The properties are not an object.")
	}
	if n.doc.Object("properties") == nil {
		n.doc["properties"] = map[string]any{}
	}
	for _, step := range []func() error{
		n.location, n.carryOver, n.basics, n.naming, n.agentPools, n.identity, n.kubelet, n.servicePrincipal,
		n.aad, n.issuer, n.network, n.switches,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	n.record()
	return nil
}

func (n *plan) location() error {
	return tracked.Location(n.doc, n.old.Text("location"), n.id.Name(), n.id.Group)
}

// carryOver keeps what an update does not mention: a PUT without a profile does
// not remove it.
func (n *plan) carryOver() error {
	if n.old == nil {
		return nil
	}
	for _, name := range []string{"identity", "sku"} {
		if n.doc[name] == nil && n.old[name] != nil {
			n.doc[name] = n.old[name]
		}
	}
	properties := n.doc.Object("properties")
	if v, given := properties["aadProfile"]; given && v == nil && n.old.Object("properties.aadProfile") != nil {
		return immutable("aadProfile")
	}
	for name, v := range n.old.Object("properties") {
		if properties[name] == nil {
			properties[name] = v
		}
	}
	return nil
}

// fixed refuses a change of a property, and keeps the case it was written in.
func (n *plan) fixed(path string) error {
	full := "properties." + path
	was, had := n.old.Get(full)
	is, has := n.doc.Get(full)
	if n.old == nil || !had {
		return nil
	}
	if has && fmt.Sprint(was) != fmt.Sprint(is) {
		return immutable(path)
	}
	n.doc.Set(full, was)
	return nil
}

// preset sets a property that the client left out.
func (n *plan) preset(path string, value any) {
	if _, ok := n.doc.Get(path); !ok {
		n.doc.Set(path, value)
	}
}

func (n *plan) basics() error {
	n.preset("sku.name", "Base")
	n.preset("sku.tier", "Free")
	n.preset("properties.enableRBAC", true)
	n.preset("properties.supportPlan", "KubernetesOfficial")
	n.preset("properties.disableLocalAccounts", false)
	for _, name := range []string{"enableRBAC", "disableLocalAccounts"} {
		if v, _ := n.doc.Get("properties." + name); v != true && v != false {
			return invalid(name, "It is neither true nor false.")
		}
	}
	if err := n.fixed("enableRBAC"); err != nil {
		return err
	}
	version := n.doc.Text("properties.kubernetesVersion")
	if have := n.p.KubernetesVersion; version == "" {
		version = have
	} else if version != have && !strings.HasPrefix(have, version+".") && version != n.old.Text("properties.kubernetesVersion") {
		return wire.Bad("K8sVersionNotSupported", "Managed cluster %s is on version %.20s which is not supported in this region. Please use [az aks get-versions] command to get the supported version list in this region. For more information, please check https://aka.ms/supported-version-list", n.id.Name(), version)
	}
	n.doc.Set("properties.kubernetesVersion", version)
	n.doc.Set("properties.currentKubernetesVersion", n.p.KubernetesVersion)
	n.doc.Set("properties.maxAgentPools", 100)
	// Passwords are for nodes that do not exist; they are not kept.
	n.doc.Delete("properties.windowsProfile.adminPassword")
	return n.fixed("linuxProfile.adminUsername")
}

var dnsPrefix = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9]{0,52}[A-Za-z0-9])?$`)

func (n *plan) naming() error {
	for _, path := range []string{"dnsPrefix", "fqdnSubdomain", "nodeResourceGroup", "fqdn", "privateFQDN", "azurePortalFQDN"} {
		if err := n.fixed(path); err != nil {
			return err
		}
	}
	if n.old != nil {
		return nil
	}
	prefix := n.doc.Text("properties.dnsPrefix")
	if prefix == "" {
		prefix = n.doc.Text("properties.fqdnSubdomain")
	}
	if prefix == "" {
		prefix = defaultPrefix(n.id)
	}
	if !dnsPrefix.MatchString(prefix) {
		return invalid("dnsPrefix", "'%.70s' is not a DNS prefix: it has 1 to 54 letters, digits and hyphens, the first and the last a letter or digit.", prefix)
	}
	n.doc.Set("properties.dnsPrefix", prefix)
	sum := sha256.Sum256([]byte(n.in.Key))
	tail := hex.EncodeToString(sum[:4])
	loc := n.doc.Text("location")
	host := strings.ToLower(prefix) + "-" + tail
	n.doc.Set("properties.fqdn", host+".hcp."+loc+".azmk8s.io")
	n.doc.Set("properties.azurePortalFQDN", host+".portal.hcp."+loc+".azmk8s.io")
	if n.doc.Bool("properties.apiServerAccessProfile.enablePrivateCluster") {
		n.doc.Set("properties.privateFQDN", host+"."+n.in.UID+".privatelink."+loc+".azmk8s.io")
	}
	group := n.doc.Text("properties.nodeResourceGroup")
	if group == "" {
		group = "MC_" + n.id.Group + "_" + n.id.Name() + "_" + loc
		group = strings.TrimRight(group[:min(len(group), 80)], ".")
	}
	if err := tracked.CheckGroupName(group); err != nil {
		return err
	}
	if strings.EqualFold(group, n.id.Group) {
		return invalid("nodeResourceGroup", "It is the resource group of the cluster itself.")
	}
	n.doc.Set("properties.nodeResourceGroup", group)
	n.doc.Set("properties.resourceUID", strings.ReplaceAll(n.in.UID, "-", "")[:24])
	return nil
}

// defaultPrefix is what az makes of the names: ten characters of the cluster's,
// sixteen of the group's, six of the subscription's id.
func defaultPrefix(id *wire.ID) string {
	cut := func(s string, size int) string {
		s = strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
				return r
			}
			return -1
		}, s)
		return s[:min(len(s), size)]
	}
	name := cut(id.Name(), 10)
	if name == "" || name[0] == '-' || name[0] >= '0' && name[0] <= '9' {
		name = "a" + name
	}
	return strings.Trim(name+"-"+cut(id.Group, 16)+"-"+id.Subscription[:6], "-")
}

var poolName = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

// maxNodes is what one cluster can hold here.
const maxNodes = 250

func (n *plan) agentPools() error {
	v, ok := n.doc.Get("properties.agentPoolProfiles")
	list, isList := v.([]any)
	if !ok || !isList || len(list) == 0 {
		return invalid("agentPoolProfiles", "At least one agent pool is required.")
	}
	total, system := 0, false
	var names []string
	for i, v := range list {
		m, isObject := v.(map[string]any)
		if !isObject {
			return invalid("agentPoolProfiles", "An agent pool is not an object.")
		}
		pool := wire.Document(m)
		name := pool.Text("name")
		if !poolName.MatchString(name) {
			return invalid("agentPoolProfile.name", "'%.20s' is not a name of an agent pool: it has 1 to 12 lower-case letters and digits, the first a letter.", name)
		}
		if slices.Contains(names, name) {
			return invalid("agentPoolProfile.name", "There are two agent pools with the name '%s'.", name)
		}
		names = append(names, name)
		if err := completePool(pool, i == 0, n.p.KubernetesVersion); err != nil {
			return err
		}
		total += pool.Int("count")
		system = system || pool.Text("mode") == "System" && pool.Int("count") > 0
	}
	if total > maxNodes {
		return wire.Bad("QuotaExceeded", "The cluster asks for %d nodes: at most %d can be simulated.", total, maxNodes).On("agentPoolProfile.count")
	}
	if !system {
		return invalid("agentPoolProfiles", "There must be at least one agent pool of mode System with a node.")
	}
	return nil
}

func completePool(pool wire.Document, first bool, version string) error {
	count, ok := pool.Get("count")
	if !ok {
		setNumber(pool, "count", 1)
	} else if i, err := strconv.Atoi(fmt.Sprint(count)); err != nil || i < 0 || i > 1000 {
		return invalid("agentPoolProfile.count", "'%.20v' is not a number of nodes from 0 to 1000.", count)
	}
	mode := "User"
	if first {
		mode = "System"
	}
	for name, value := range map[string]any{
		"mode": mode, "vmSize": "Standard_DS2_v2", "type": "VirtualMachineScaleSets", "osType": "Linux", "osSKU": "Ubuntu",
		"osDiskType": "Managed", "kubeletDiskType": "OS", "enableFIPS": false, "enableNodePublicIP": false,
		"orchestratorVersion": version,
	} {
		if v, ok := pool[name]; !ok || v == nil || v == "" {
			pool[name] = value
		}
	}
	if m := pool.Text("mode"); m != "System" && m != "User" && m != "Gateway" {
		return invalid("agentPoolProfile.mode", "'%.20s' is neither System nor User.", m)
	}
	for name, value := range map[string]int{"osDiskSizeGB": 128, "maxPods": 110} {
		if i := pool.Int(name); i == 0 {
			setNumber(pool, name, value)
		}
	}
	pool["currentOrchestratorVersion"] = version
	pool["provisioningState"] = "Succeeded"
	pool["powerState"] = map[string]any{"code": "Running"}
	return nil
}

func (n *plan) network() error {
	for _, name := range []string{"serviceCidr", "dnsServiceIP", "podCidr", "loadBalancerSku"} {
		if err := n.fixed("networkProfile." + name); err != nil {
			return err
		}
	}
	for name, v := range map[string]any{
		"networkPlugin": "azure", "networkPluginMode": "overlay", "networkPolicy": "none", "loadBalancerSku": "standard", "outboundType": "loadBalancer",
		"podCidr": "10.244.0.0/16", "serviceCidr": "10.0.0.0/16", "dnsServiceIP": "10.0.0.10",
	} {
		n.preset("properties.networkProfile."+name, v)
	}
	return nil
}

// Tags that switch on what AKS does not have.
const (
	TagStrictSubresources       = "entrance:strict-subresources"
	TagCustomResourceConditions = "entrance:custom-resource-conditions"
	TagConfigurationNamespaces  = "entrance:configuration-namespaces"
	TagProofOfPossession        = "entrance:proof-of-possession"
	TagProofOnce                = "entrance:proof-of-possession-once"
	TagProofValidity            = "entrance:proof-of-possession-validity" // a duration such as 5m
)

// Bounds of TagProofValidity.
const (
	minProofValidity = 30 * time.Second
	maxProofValidity = time.Hour
)

// switches reads them, and refuses a value that could be taken for either.
func (n *plan) switches() error {
	return readSwitches(n.doc, &n.rec)
}

func readSwitches(doc wire.Document, rec *state.Cluster) error {
	tags, err := doc.Tags()
	if err != nil {
		return err
	}
	for _, s := range []struct {
		tag  string
		into *bool
	}{
		{TagStrictSubresources, &rec.StrictSubresources},
		{TagCustomResourceConditions, &rec.CustomResourceConditions},
		{TagConfigurationNamespaces, &rec.ConfigurationNamespaces},
		{TagProofOfPossession, &rec.ProofOfPossession},
		{TagProofOnce, &rec.ProofOnce},
	} {
		*s.into = false
		for k, v := range tags {
			if !strings.EqualFold(k, s.tag) {
				continue
			}
			switch strings.ToLower(v) {
			case "true":
				*s.into = true
			case "false", "":
			default:
				return wire.Bad("InvalidTagValue", "The tag '%s' must be true or false.", s.tag)
			}
		}
	}
	rec.ProofValidity = 0
	for k, v := range tags {
		if strings.EqualFold(k, TagProofValidity) && v != "" {
			d, err := time.ParseDuration(v)
			if err != nil || d < minProofValidity || d > maxProofValidity {
				return wire.Bad("InvalidTagValue", "The tag '%s' must be a duration from %s to %s, such as 5m.", TagProofValidity, minProofValidity, maxProofValidity)
			}
			rec.ProofValidity = d
		}
	}
	return nil
}

// record derives what the webhooks decide from.
func (n *plan) record() {
	r := &n.rec
	r.Key, r.ID, r.Tenant = n.in.Key, n.id.String(), n.tenant
	r.Entra, r.ServerApp, r.AdminGroups, r.AzureRBAC = false, directory.AKSServer, nil, false
	if aad := n.doc.Object("properties.aadProfile"); aad != nil {
		r.Entra = true
		r.Tenant = directory.TenantID(aad.Text("tenantID"))
		r.AzureRBAC = aad.Bool("enableAzureRBAC")
		if app := aad.Text("serverAppID"); app != "" {
			r.ServerApp = directory.AppID(app)
		}
		for _, g := range aad.List("adminGroupObjectIDs") {
			if s, ok := g.(string); ok {
				r.AdminGroups = append(r.AdminGroups, directory.ObjectID(s))
			}
		}
	}
	r.WorkloadIdentity = n.doc.Bool("properties.securityProfile.workloadIdentity.enabled")
	r.Issuer = n.doc.Text("properties.oidcIssuerProfile.issuerURL")
}
