package workloadidentity

import (
	"fmt"
	"strconv"

	"github.com/entrance-id/entrance/internal/errs"
)

// ProxyImages are the images of the sidecar that answers on the managed identity
// endpoint's address inside a pod, for programs that know nothing else. It is
// how such programs move to workload identity without a change.
type ProxyImages struct {
	Proxy string
	Init  string
}

// DefaultProxyImages are Azure's own.
var DefaultProxyImages = ProxyImages{
	Proxy: "mcr.microsoft.com/oss/azure/workload-identity/proxy:v1.1.0",
	Init:  "mcr.microsoft.com/oss/azure/workload-identity/proxy-init:v1.1.0",
}

const (
	proxyName        = "azwi-proxy"
	proxyInitName    = "azwi-proxy-init"
	defaultProxyPort = 8000
)

type object = map[string]any

// proxy adds the sidecar and what redirects the endpoint's address to it. Both
// go before the pod's init containers, the sidecar as one that stays, so that
// those have the endpoint too.
func (m *mutation) proxy(p *Pod, images ProxyImages) error {
	if p.Spec.HostNetwork {
		return errs.New(errs.Invalid, "hostNetwork is set to true, cannot inject proxy sidecar")
	}
	port := int64(defaultProxyPort)
	if text := p.Metadata.Annotations[ProxyPortAnnotation]; text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 1 || n > 65535 {
			return errs.New(errs.Invalid, "proxy sidecar port %q not valid. Expected value to be between 1 and 65535", cut(text))
		}
		port = n
	}
	have := map[string]bool{}
	for _, list := range [][]container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			have[list[i].Name] = true
		}
	}
	var add []object
	if !have[proxyInitName] {
		add = append(add, m.changed(object{
			"name": proxyInitName, "image": images.Init, "imagePullPolicy": "IfNotPresent",
			"env": []variable{{"PROXY_PORT", strconv.FormatInt(port, 10)}},
			"securityContext": object{
				"privileged": true, "allowPrivilegeEscalation": true, "runAsUser": 0, "runAsNonRoot": false,
				"capabilities": object{"add": []string{"NET_ADMIN"}, "drop": []string{"ALL"}},
			},
		}))
	}
	if !have[proxyName] {
		listen := fmt.Sprintf("--proxy-port=%d", port)
		add = append(add, m.changed(object{
			"name": proxyName, "image": images.Proxy, "imagePullPolicy": "IfNotPresent", "restartPolicy": "Always",
			"args":  []string{listen, "--log-level=info"},
			"ports": []object{{"containerPort": port}},
			"lifecycle": object{"postStart": object{"exec": object{
				"command": []string{"/proxy", listen, "--probe", "--log-level=info"},
			}}},
			"securityContext": object{
				"privileged": false, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsNonRoot": true,
				"capabilities": object{"drop": []string{"ALL"}},
			},
		}))
	}
	switch {
	case len(add) == 0:
	case len(p.Spec.InitContainers) == 0:
		m.put("add", add, "/spec/initContainers")
	default:
		for i, c := range add {
			m.put("add", c, "/spec/initContainers/%d", i)
		}
	}
	return nil
}

// changed gives a container of ours what every other container gets.
func (m *mutation) changed(c object) object {
	if m.skip[c["name"].(string)] {
		return c
	}
	own, _ := c["env"].([]variable)
	c["env"] = append(own, m.env...)
	c["volumeMounts"] = []mount{ourMount}
	return c
}
