package cluster

import (
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// maxTokenLife is AKS's bound on service account tokens.
const maxTokenLife = 24 * time.Hour

// webhookCache is how long the API server may go by an earlier answer of the
// authorizing webhooks. The configuration's smallest unit that saves anything
// for a client that repeats itself, and short enough for a change of access
// to act within two seconds.
const webhookCache = time.Second

// object is a part of a configuration file.
type object = map[string]any

// hasOID matches the users that an Entra token stands for. Nobody else is the
// webhooks' business: control plane components and service accounts do not
// wait for them, whatever state they are in.
const hasOID = "has(request.extra) && 'oid' in request.extra"

// authorization returns the AuthorizationConfiguration. The order is AKS's,
// Node, RBAC, webhook, with the denying webhook before them.
func authorization(e *Entra, conf, match string) object {
	webhook := func(name, file, policy string) object {
		return object{
			"type": "Webhook",
			"name": name,
			"webhook": object{
				"authorizedTTL":              webhookCache.String(),
				"unauthorizedTTL":            webhookCache.String(),
				"timeout":                    "3s",
				"subjectAccessReviewVersion": "v1",
				"matchConditionSubjectAccessReviewVersion": "v1",
				"failurePolicy":   policy,
				"connectionInfo":  object{"type": "KubeConfigFile", "kubeConfigFile": filepath.Join(conf, file)},
				"matchConditions": []object{{"expression": match}},
			},
		}
	}
	var all []object
	if e != nil && e.DenyURL != "" {
		all = append(all, webhook("entrance-deny", denyFile, "Deny"))
	}
	all = append(all, object{"type": "Node", "name": "node"}, object{"type": "RBAC", "name": "rbac"})
	if e != nil {
		all = append(all, webhook("entrance", authorizeFile, "NoOpinion"))
	}
	return object{
		"apiVersion":  "apiserver.config.k8s.io/v1",
		"kind":        "AuthorizationConfiguration",
		"authorizers": all,
	}
}

// anonymousPaths are what may be asked without signing in: health, and the
// keys of the service account issuer. Anything else gets 401, as on AKS.
var anonymousPaths = []string{"/livez", "/readyz", "/healthz", "/.well-known/openid-configuration", "/openid/v1/jwks"}

func authentication() object {
	var conditions []object
	for _, p := range anonymousPaths {
		conditions = append(conditions, object{"path": p})
	}
	return object{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "AuthenticationConfiguration",
		"anonymous":  object{"enabled": true, "conditions": conditions},
	}
}

// admission makes the API server show its client certificate to admission
// webhooks, which it does through this file alone.
func admission(conf string) object {
	plugin := func(name string) object {
		return object{
			"name": name,
			"configuration": object{
				"apiVersion":     "apiserver.config.k8s.io/v1",
				"kind":           "WebhookAdmissionConfiguration",
				"kubeConfigFile": filepath.Join(conf, admissionFile),
			},
		}
	}
	return object{
		"apiVersion": "apiserver.config.k8s.io/v1",
		"kind":       "AdmissionConfiguration",
		"plugins":    []object{plugin("MutatingAdmissionWebhook")},
	}
}

// webhookKubeconfig says how the API server reaches a webhook. The client
// certificate is named as files: client-go reads those again, so that a
// renewed certificate needs no restart.
func webhookKubeconfig(server, user string, ca []byte, conf string) object {
	return kubeconfigObject(user,
		object{"server": server, "certificate-authority-data": ca},
		object{"client-certificate": filepath.Join(conf, webhookCert+".crt"), "client-key": filepath.Join(conf, webhookCert+".key")})
}

// kubeconfig says who the API server is to the pod webhook.
func (p *PodWebhook) kubeconfig(conf string) (object, error) {
	host, err := webhookHost(p.URL)
	if err != nil {
		return nil, err
	}
	return webhookKubeconfig("https://"+host, host, p.CA, conf), nil
}

// webhookHost returns the host and port of an admission webhook. The API server
// looks the user of its kubeconfig up by them and does not use the cluster's
// address.
func webhookHost(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	if u.Port() == "" {
		return u.Host + ":443", nil
	}
	return u.Host, nil
}

// componentKubeconfig is for a control plane component with the certificate
// of one of the identities.
func componentKubeconfig(server string, c certs, id string) object {
	return kubeconfigObject(id,
		object{"server": server, "certificate-authority": c.path("ca.crt")},
		object{"client-certificate": c.path(id + ".crt"), "client-key": c.path(id + ".key")})
}

func kubeconfigObject(user string, cluster, auth object) object {
	return object{
		"apiVersion":      "v1",
		"kind":            "Config",
		"clusters":        []object{{"name": "default", "cluster": cluster}},
		"users":           []object{{"name": user, "user": auth}},
		"contexts":        []object{{"name": "default", "context": object{"cluster": "default", "user": user}}},
		"current-context": "default",
	}
}

// Files in a cluster's conf directory.
const (
	authenticateFile   = "authenticate.kubeconfig"
	authorizeFile      = "authorize.kubeconfig"
	denyFile           = "deny.kubeconfig"
	admissionFile      = "admission.kubeconfig"
	admissionConfig    = "admission.yaml"
	authorizationFile  = "authorization.yaml"
	authenticationFile = "authentication.yaml"
	webhookCert        = "webhook-client" // .crt, .key
)

// plan is what a cluster is made of: the files that its components read, and
// the components' command lines.
type plan struct {
	files      map[string][]byte // name in the conf directory, to content
	components []component       // in the order in which they start
}

// component is one process of the control plane. Two components that are
// equal need no restart between them.
type component struct {
	name  string   // also the sub-command of entrance-kube
	args  []string // after the sub-command
	files []string // which files of the plan it reads
}

const (
	apiserver  = "kube-apiserver"
	kcm        = "kube-controller-manager"
	scheduler  = "kube-scheduler"
	nodesChild = "nodes"
)

// layout is where a cluster's things are.
type layout struct{ dir string }

func (l layout) conf() string      { return filepath.Join(l.dir, "conf") }
func (l layout) pki() string       { return filepath.Join(l.dir, "pki") }
func (l layout) keys() string      { return filepath.Join(l.dir, "keys") }
func (l layout) logs() string      { return filepath.Join(l.dir, "logs") }
func (l layout) work() string      { return filepath.Join(l.dir, "work") }
func (l layout) stateFile() string { return filepath.Join(l.dir, "state.json") }

// etcdAccess is how an API server reaches the shared etcd.
type etcdAccess struct{ url, ca, cert, key string }

func etcdPrefix(key string) string { return "/clusters/" + key }

func serverURL(port int) string { return fmt.Sprintf("https://127.0.0.1:%d", port) }

// makePlan derives everything from the spec and what is kept about the
// cluster. It does nothing by itself.
func makePlan(spec *Spec, st *state, c certs, l layout, etcd etcdAccess) (*plan, error) {
	p := &plan{files: map[string][]byte{}}
	server := serverURL(st.Port)
	conf := l.conf()
	add := func(name string, content object) error {
		data, err := yaml.Marshal(content)
		if err != nil {
			return err
		}
		p.files[name] = data
		return nil
	}
	all := map[string]object{
		authorizationFile:          authorization(spec.Entra, conf, hasOID),
		authenticationFile:         authentication(),
		kcm + ".kubeconfig":        componentKubeconfig(server, c, "kcm"),
		scheduler + ".kubeconfig":  componentKubeconfig(server, c, "scheduler"),
		nodesChild + ".kubeconfig": componentKubeconfig(server, c, "nodes"),
	}
	apiFiles := []string{authorizationFile, authenticationFile}
	if e := spec.Entra; e != nil {
		all[authenticateFile] = webhookKubeconfig(e.AuthenticateURL, spec.Key, e.WebhookCA, conf)
		all[authorizeFile] = webhookKubeconfig(e.AuthorizeURL, spec.Key, e.WebhookCA, conf)
		apiFiles = append(apiFiles, authenticateFile, authorizeFile)
		if e.DenyURL != "" {
			all[denyFile] = webhookKubeconfig(e.DenyURL, spec.Key, e.WebhookCA, conf)
			apiFiles = append(apiFiles, denyFile)
		}
	}
	if spec.Pods != nil {
		user, err := spec.Pods.kubeconfig(conf)
		if err != nil {
			return nil, err
		}
		all[admissionFile], all[admissionConfig] = user, admission(conf)
		apiFiles = append(apiFiles, admissionFile, admissionConfig)
	}
	for name, content := range all {
		if err := add(name, content); err != nil {
			return nil, err
		}
	}

	signer := filepath.Join(l.keys(), st.SigningKeys[len(st.SigningKeys)-1].File)
	p.components = []component{
		{apiserver, apiserverArgs(spec, st, c, l, etcd, signer), apiFiles},
		{kcm, []string{
			"--kubeconfig=" + filepath.Join(conf, kcm+".kubeconfig"),
			"--service-account-private-key-file=" + signer,
			"--root-ca-file=" + c.path("ca.crt"),
			"--cluster-signing-cert-file=" + c.path("ca.crt"),
			"--cluster-signing-key-file=" + c.path("ca.key"),
			"--use-service-account-credentials=true",
			// At the first start it makes an account and a token for each
			// of its controllers; its default of 20 requests a second would
			// hold a new cluster up for four seconds.
			"--kube-api-qps=200",
			"--kube-api-burst=400",
			"--leader-elect=false",
			"--secure-port=0",
			"--profiling=false",
		}, []string{kcm + ".kubeconfig"}},
		{scheduler, []string{
			"--kubeconfig=" + filepath.Join(conf, scheduler+".kubeconfig"),
			"--leader-elect=false",
			"--secure-port=0",
			"--profiling=false",
		}, []string{scheduler + ".kubeconfig"}},
	}
	nodes := []string{
		"--kubeconfig=" + filepath.Join(conf, nodesChild+".kubeconfig"),
		"--cluster-id=" + spec.ARMID,
		"--location=" + spec.Location,
	}
	for _, pool := range spec.NodePools {
		nodes = append(nodes, fmt.Sprintf("--pool=%s=%d", pool.Name, pool.Count))
	}
	p.components = append(p.components, component{nodesChild, nodes, []string{nodesChild + ".kubeconfig"}})
	return p, nil
}

func apiserverArgs(spec *Spec, st *state, c certs, l layout, etcd etcdAccess, signer string) []string {
	conf := l.conf()
	args := []string{
		"--etcd-servers=" + etcd.url,
		"--etcd-cafile=" + etcd.ca,
		"--etcd-certfile=" + etcd.cert,
		"--etcd-keyfile=" + etcd.key,
		"--etcd-prefix=" + etcdPrefix(spec.Key),
		"--bind-address=127.0.0.1",
		"--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", st.Port),
		"--tls-min-version=VersionTLS12",
		"--tls-cert-file=" + c.path("apiserver.crt"),
		"--tls-private-key-file=" + c.path("apiserver.key"),
		"--cert-dir=" + l.work(),
		"--client-ca-file=" + c.path("ca.crt"),
		"--token-auth-file=" + c.path("tokens.csv"),
		"--authentication-config=" + filepath.Join(conf, authenticationFile),
		"--authorization-config=" + filepath.Join(conf, authorizationFile), // without it everything is allowed
		"--requestheader-client-ca-file=" + c.path("front-proxy-ca.crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-uid-headers=X-Remote-Uid",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file=" + c.path("front-proxy.crt"),
		"--proxy-client-key-file=" + c.path("front-proxy.key"),
		"--service-cluster-ip-range=" + serviceCIDR,
		"--endpoint-reconciler-type=none",
		"--enable-admission-plugins=NodeRestriction",
		"--enable-priority-and-fairness=false",
		"--allow-privileged=true",
		"--profiling=false",
		"--service-account-max-token-expiration=" + maxTokenLife.String(),
		"--service-account-extend-token-expiration=false",
		"--service-account-signing-key-file=" + signer,
		"--service-account-issuer=" + st.Issuer, // the first one signs, the others are accepted
	}
	for _, p := range st.PastIssuers {
		args = append(args, "--service-account-issuer="+p.URL)
	}
	for _, k := range st.SigningKeys {
		args = append(args, "--service-account-key-file="+filepath.Join(l.keys(), k.File))
	}
	if spec.ServiceAccountJWKSURI != "" {
		args = append(args, "--service-account-jwks-uri="+spec.ServiceAccountJWKSURI)
	}
	if spec.Entra != nil {
		args = append(args,
			"--authentication-token-webhook-config-file="+filepath.Join(conf, authenticateFile),
			"--authentication-token-webhook-version=v1",
			// 10 s remain, in front of every authenticator, without a flag.
			"--authentication-token-webhook-cache-ttl=0s")
	}
	if spec.Pods != nil {
		args = append(args, "--admission-control-config-file="+filepath.Join(conf, admissionConfig))
	}
	return args
}

// fingerprint covers all that a component is started with. The certificates
// are covered by their paths: each generation has its own, and leaves that are
// renewed in place are read again without a restart.
func (p *plan) fingerprint(c component) string {
	var b strings.Builder
	for _, a := range c.args {
		fmt.Fprintf(&b, "%q\n", a)
	}
	for _, f := range c.files {
		fmt.Fprintf(&b, "%q\n%q\n", f, p.files[f])
	}
	return b.String()
}
