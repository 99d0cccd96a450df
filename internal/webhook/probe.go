package webhook

import (
	"strings"
	"sync"
)

// ProbePrefix begins the names of objects that `entrance cluster check` asks an
// API server about. Nothing has such a name.
const ProbePrefix = "entrance-check-"

// maxProbe bounds the name of a probe.
const maxProbe = 64

// probes remembers, for each cluster and webhook, the last probe that came. The
// zero value remembers none.
type probes struct {
	mu   sync.Mutex
	last map[[2]string]string
}

func (p *probes) note(cluster, kind string, a Attributes) {
	if a.Resource == nil || !strings.HasPrefix(a.Resource.Name, ProbePrefix) || len(a.Resource.Name) > maxProbe {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[[2]string]string{}
	}
	p.last[[2]string{cluster, kind}] = a.Resource.Name
}

// Probed reports which webhooks of a cluster have been asked about a probe: the
// denying one, and the allowing one.
func (s *Service) Probed(cluster, name string) (deny, authorize bool) {
	s.probes.mu.Lock()
	defer s.probes.mu.Unlock()
	return s.probes.last[[2]string{cluster, "deny"}] == name, s.probes.last[[2]string{cluster, "authorize"}] == name
}
