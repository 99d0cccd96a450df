// Package doctor finds out why kubectl does not get in, or that it should:
// which user, cluster and mode are in effect, what the environment changes,
// where sign-ins are remembered, whether the authority answers and agrees on
// the time, and what the token says. It never shows a secret and, unless told
// to, signs nobody in.
package doctor

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/kubeconfig"
	"github.com/entrance-id/entrance/internal/login"
	"github.com/entrance-id/entrance/internal/tokencache"
)

// Level is how bad a finding is.
type Level string

// The levels.
const (
	OK   Level = "ok"
	Info Level = "info"
	Warn Level = "warning"
	Fail Level = "problem"
)

// Finding is one line of the report. Advice says what to do.
type Finding struct {
	Level  Level  `json:"level"`
	About  string `json:"about"`
	Text   string `json:"text"`
	Advice string `json:"advice,omitempty"`
}

// Doctor examines one kubeconfig user.
type Doctor struct {
	Files   []*kubeconfig.File
	Paths   []string
	Context string // empty: the current one
	Env     login.Environment
	Clock   clock.Clock
	Offline bool // ask nobody
	SignIn  bool // sign in if no token is remembered
	// Session and Store are made by the caller, who knows the surroundings.
	Session func(*login.Options) (*login.Session, error)
	Store   func(dir string) *tokencache.Store

	findings []Finding
}

func (d *Doctor) add(l Level, about, advice, format string, args ...any) {
	d.findings = append(d.findings, Finding{l, about, fmt.Sprintf(format, args...), advice})
}

// Run examines everything and returns what it found, in order.
func (d *Doctor) Run(ctx context.Context) []Finding {
	d.programs()
	user, ok := d.user()
	if !ok {
		return d.findings
	}
	o, ok := d.options(user)
	if !ok {
		return d.findings
	}
	d.cache(o)
	d.mode(o)
	s, err := d.Session(o)
	if err != nil {
		d.add(Fail, "options", "fix the user with `kubelogin convert-kubeconfig`, or the variables above", "%v", err)
		return d.findings
	}
	d.authority(ctx, s)
	d.token(ctx, s, o)
	return d.findings
}

// programs looks for the plugin on the path: the wrong one, or two, is a
// common cause of a sign-in that never works.
func (d *Doctor) programs() {
	self, err := os.Executable()
	if err != nil {
		return
	}
	self, _ = filepath.EvalSymlinks(self)
	for _, name := range []string{"kubelogin", "kubectl"} {
		found := OnPath(name, d.Env)
		switch {
		case len(found) == 0 && name == "kubelogin":
			d.add(Fail, "path", "put it into a directory of PATH", "kubectl will not find kubelogin: it is not on PATH")
		case len(found) == 0:
			d.add(Info, "path", "", "kubectl is not on PATH")
		case len(found) > 1:
			d.add(Warn, "path", "keep one; the first is used", "%d different programs called %s are on PATH: %s", len(found), name, strings.Join(found, ", "))
		}
		if name == "kubelogin" && len(found) > 0 {
			if first, err := filepath.EvalSymlinks(found[0]); err == nil && first != self {
				d.add(Warn, "path", "change the order of PATH or remove the other", "kubectl will run %s, not this program (%s)", found[0], self)
			}
		}
	}
}

// OnPath lists the different programs of that name on PATH.
func OnPath(name string, env login.Environment) []string {
	path, _ := env("PATH")
	var out []string
	seen := map[string]bool{}
	for _, dir := range filepath.SplitList(path) {
		p, err := exec.LookPath(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		real, err := filepath.EvalSymlinks(p)
		if err != nil || seen[real] {
			continue
		}
		seen[real] = true
		out = append(out, p)
	}
	return out
}

func (d *Doctor) user() (kubeconfig.User, bool) {
	if len(d.Files) == 0 {
		d.add(Fail, "kubeconfig", "get one with `az aks get-credentials`, or set KUBECONFIG", "no kubeconfig found (looked at %s)", strings.Join(d.Paths, ", "))
		return kubeconfig.User{}, false
	}
	name := d.Context
	if name == "" {
		name = kubeconfig.CurrentContext(d.Files)
	}
	if name == "" {
		d.add(Fail, "kubeconfig", "choose one with `kubectl config use-context`", "no current context")
		return kubeconfig.User{}, false
	}
	c, ok := kubeconfig.FindContext(d.Files, name)
	if !ok {
		d.add(Fail, "kubeconfig", "see `kubectl config get-contexts`", "there is no context %q", name)
		return kubeconfig.User{}, false
	}
	server := kubeconfig.Server(d.Files, c.Cluster)
	if server == "" {
		d.add(Warn, "kubeconfig", "", "context %q: cluster %q has no server", name, c.Cluster)
	}
	u, ok := kubeconfig.FindUser(d.Files, c.User)
	if !ok {
		d.add(Fail, "kubeconfig", "", "context %q names the user %q, which does not exist", name, c.User)
		return u, false
	}
	d.add(OK, "kubeconfig", "", "context %q: user %q (in %s) at %s", name, u.Name, u.File, server)
	switch {
	case u.AuthProvider == "azure":
		d.add(Fail, "kubeconfig", "run `kubelogin convert-kubeconfig`", "the user has the auth-provider azure, which kubectl no longer knows")
		return u, false
	case !u.Convertible():
		d.add(Fail, "kubeconfig", "run `kubelogin setup`, or choose another context with --context", "the user does not sign in with kubelogin")
		return u, false
	case len(u.Args) == 0 || u.Args[0] != "get-token":
		d.add(Fail, "kubeconfig", "", "the user's command is not `kubelogin get-token`; is it another program of that name?")
		return u, false
	}
	return u, true
}

// options are those of the user after the environment had its say.
func (d *Doctor) options(u kubeconfig.User) (*login.Options, bool) {
	o, typed := u.Old()
	base := login.NewOptions()
	if !typed("login") {
		o.Login = base.Login
	}
	if !typed("environment") {
		o.Environment = base.Environment
	}
	if o.CacheDir == "" {
		o.CacheDir = base.CacheDir
	}
	// The stanza's own variables come before those of the shell, as they do
	// when kubectl runs the plugin.
	for name, v := range u.Env {
		os.Setenv(name, v)
	}
	env := d.Env
	for _, over := range o.ApplyEnvironment(env) {
		d.add(Warn, "environment", "unset it, or add --disable-environment-override to the user", "%s decides --%s, whatever the kubeconfig says", over.Variable, over.Flag)
	}
	if err := o.Validate(); err != nil {
		d.add(Fail, "options", "", "%v", err)
		return o, false
	}
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR"} {
		if v, ok := env(name); ok && v != "" {
			d.add(Info, "environment", "", "%s is set", name)
			if name == "SSL_CERT_FILE" {
				d.caFile(v)
			}
		}
	}
	d.add(OK, "mode", "", "%s; tenant %s, client %s, server %s", o.Login, or(o.TenantID, "-"), or(o.ClientID, "-"), or(o.ServerID, "-"))
	return o, true
}

func or(s, alt string) string {
	if s == "" {
		return alt
	}
	return s
}

func (d *Doctor) caFile(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		d.add(Fail, "environment", "correct it or unset it", "SSL_CERT_FILE cannot be read: %v", err)
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM(b) {
		d.add(Fail, "environment", "correct it or unset it", "SSL_CERT_FILE %s holds no certificate", path)
	}
}

func (d *Doctor) cache(o *login.Options) {
	st := d.Store(o.CacheDir)
	defer st.Close()
	ok, at, why := st.Persistent()
	if !ok {
		d.add(Warn, "cache", "every kubectl command will sign in anew until this is repaired", "sign-ins are not remembered: %s", why)
		return
	}
	items, bad := st.List()
	d.add(OK, "cache", "", "%s: %d sign-ins, sealed with a key in the %s", o.CacheDir, len(items), at)
	if bad > 0 {
		d.add(Info, "cache", "`kubelogin remove-cache-dir` removes them", "%d entries cannot be opened (another key, or damaged)", bad)
	}
}

// mode checks what one mode needs on this machine.
func (d *Doctor) mode(o *login.Options) {
	tool := map[string]string{login.AzureCLI: "az", login.AzureDeveloper: "azd"}[o.Login]
	if tool != "" {
		if len(OnPath(tool, d.Env)) == 0 {
			d.add(Fail, "mode", "install it, or choose another mode with `kubelogin convert-kubeconfig`", "%s is not on PATH", tool)
		}
	}
	if o.Legacy && (o.Login == login.DeviceCode || o.Login == login.ServicePrincipal) {
		d.add(Warn, "mode", "clusters with AKS-managed Entra ID refuse such tokens: take --legacy out of the user's arguments", "--legacy asks for an audience that starts with spn:")
	}
	if o.Login == login.ServicePrincipal && o.ClientCertificate != "" {
		d.certificate(o)
	}
	for flag, secret := range map[string]string{"client-secret": o.ClientSecret, "password": o.Password} {
		for _, f := range d.Files {
			if secret != "" && len(secret) > 3 && strings.Contains(string(f.Data), secret) {
				d.add(Warn, "kubeconfig", "pass it in an environment variable, or use a mode without a secret", "the kubeconfig %s holds --%s in clear", f.Path, flag)
			}
		}
	}
	for _, f := range d.Files {
		if info, err := os.Stat(f.Path); err == nil && info.Mode().Perm()&0o044 != 0 {
			d.add(Warn, "kubeconfig", "chmod 600 "+f.Path, "%s can be read by other users", f.Path)
		}
	}
}

func (d *Doctor) certificate(o *login.Options) {
	chain, err := login.ReadCertificate(o.ClientCertificate, o.ClientCertificatePass)
	if err != nil {
		d.add(Fail, "certificate", "", "%v", err)
		return
	}
	now := d.Clock.Now()
	switch end := chain[0].NotAfter; {
	case now.After(end):
		d.add(Fail, "certificate", "upload a new one to the application", "it expired on %s", end.Format(time.DateOnly))
	case now.Before(chain[0].NotBefore):
		d.add(Fail, "certificate", "", "it is not valid before %s; is this machine's clock right?", chain[0].NotBefore.Format(time.DateTime))
	case end.Sub(now) < 14*24*time.Hour:
		d.add(Warn, "certificate", "upload a new one to the application", "it expires on %s", end.Format(time.DateOnly))
	default:
		d.add(OK, "certificate", "", "good until %s", end.Format(time.DateOnly))
	}
}

func (d *Doctor) authority(ctx context.Context, s *login.Session) {
	if d.Offline {
		return
	}
	r, err := s.Probe(ctx)
	if login.AsksNobody(err) {
		return
	}
	if r.HasDate {
		switch skew := r.Skew.Round(time.Second); {
		case skew.Abs() > 5*time.Minute:
			d.add(Fail, "clock", "set the clock; tokens will be refused as expired or not yet valid", "this machine's clock is %s off from %s's", skew, r.Host)
		case skew.Abs() > 30*time.Second:
			d.add(Warn, "clock", "", "this machine's clock is %s off from %s's", skew, r.Host)
		default:
			d.add(OK, "clock", "", "agrees with %s", r.Host)
		}
	}
	switch text := fmt.Sprint(err); {
	case err == nil:
		d.add(OK, "authority", "", "%s answers in %d ms, issuer %s", r.Host, r.Took.Milliseconds(), r.Issuer)
	case strings.Contains(text, "x509:"), strings.Contains(text, "certificate"):
		d.add(Fail, "authority", "if a proxy or a private authority is in between, point SSL_CERT_FILE to its certificate", "%v", err)
	case strings.Contains(text, "AADSTS90002"):
		d.add(Fail, "authority", "check --tenant-id and AZURE_TENANT_ID", "%v", err)
	default:
		d.add(Fail, "authority", "check the network, HTTPS_PROXY and --authority-host", "%v", err)
	}
}

func (d *Doctor) token(ctx context.Context, s *login.Session, o *login.Options) {
	e, ok := s.Peek()
	now := d.Clock.Now()
	value := e.AccessToken
	switch {
	case ok && now.Before(e.ExpiresOn):
		d.add(OK, "token", "", "remembered, ends %s (in %s)", e.ExpiresOn.Local().Format(time.DateTime), e.ExpiresOn.Sub(now).Round(time.Minute))
	case d.SignIn:
		t, err := s.Token(ctx)
		if err != nil {
			d.add(Fail, "token", Advice(err), "%v", err)
			return
		}
		value = t.Value
		d.add(OK, "token", "", "a new one was issued, ends %s", t.ExpiresOn.Local().Format(time.DateTime))
	case ok && e.RefreshToken != "":
		d.add(Info, "token", "", "the remembered one has ended; the next kubectl command refreshes it")
	case ok:
		d.add(Info, "token", "", "the remembered one has ended; the next kubectl command gets another")
	case !s.Cached():
		d.add(Info, "token", "add --sign-in to try it", "this mode's tokens are not remembered")
	case s.NeedsPerson():
		d.add(Info, "token", "add --sign-in to do it now", "none remembered: the next kubectl command asks somebody to sign in")
	default:
		d.add(Info, "token", "add --sign-in to try it", "none remembered: the next kubectl command signs in")
	}
	if value == "" {
		return
	}
	c, ok := login.ReadClaims(value)
	if !ok {
		d.add(Info, "token", "", "it is opaque: nothing can be said about it")
		return
	}
	d.claims(c, o)
}

// claims compares what the token says with what the cluster will want.
func (d *Doctor) claims(c login.Claims, o *login.Options) {
	kind := "user"
	if c.IsApp() {
		kind = "application"
	}
	d.add(OK, "token", "", "%s %s, object id %s, tenant %s", kind, or(c.Who(), "-"), or(c.ObjectID, "-"), or(c.Tenant, "-"))
	if c.Audience != "" && o.ServerID != "" {
		aud := strings.TrimPrefix(strings.TrimPrefix(strings.TrimSuffix(c.Audience, "/"), "spn:"), "api://")
		want := strings.TrimPrefix(strings.TrimSuffix(o.ServerID, "/"), "api://")
		switch {
		case !strings.EqualFold(aud, want):
			d.add(Fail, "token", "", "it is for %s, not for the server %s", c.Audience, o.ServerID)
		case strings.HasPrefix(c.Audience, "spn:") && !o.Legacy:
			d.add(Warn, "token", "", "its audience is %s although --legacy is not set", c.Audience)
		}
	}
	if guid(o.TenantID) && c.Tenant != "" && !strings.EqualFold(c.Tenant, o.TenantID) {
		d.add(Fail, "token", "sign in to the cluster's tenant: --tenant-id must be its id, also for guests", "it is of tenant %s, but the kubeconfig names %s", c.Tenant, o.TenantID)
	}
	switch {
	case c.Overage():
		d.add(Warn, "groups", "the cluster must ask Graph for them, or the application must be set to groups assigned to it", "the user is in more than 200 groups, so the token lists none")
	case len(c.Groups) == 0 && !c.IsApp():
		d.add(Info, "groups", "a role binding for a group will not match unless the server looks groups up itself", "the token lists no groups")
	case len(c.Groups) > 0:
		d.add(OK, "groups", "after a change of membership, sign in again: `kubelogin remove-tokens`", "%d in the token, as they were at sign-in", len(c.Groups))
	}
	if o.PoPEnabled && c.Bound.Kid == "" && slices.Contains([]string{login.Interactive, login.ServicePrincipal, login.ROPC}, o.Login) {
		d.add(Warn, "token", "", "proof of possession is asked for, but the token is bound to no key")
	}
}

func guid(s string) bool { return len(s) == 36 && strings.Count(s, "-") == 4 }
