package containerservice

import (
	"net/http"
	"strings"

	"github.com/entrance-id/entrance/internal/arm/tracked"
	"github.com/entrance-id/entrance/internal/arm/wire"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

// poolDocument is a pool of a cluster's document as a resource of its own.
func poolDocument(res *state.Resource, pool wire.Document) wire.Document {
	properties := pool.Clone()
	name := properties.Text("name")
	delete(properties, "name")
	return wire.Document{
		"id": res.ID + "/agentPools/" + name, "name": name, "type": Type + "/agentPools", "properties": map[string]any(properties),
	}
}

// poolIndex returns where a pool stands in a document, or -1.
func poolIndex(doc wire.Document, name string) (pools []any, i int) {
	pools = doc.List("properties.agentPoolProfiles")
	for i, v := range pools {
		if m, ok := v.(map[string]any); ok && strings.EqualFold(wire.Document(m).Text("name"), name) {
			return pools, i
		}
	}
	return pools, -1
}

func (p *Provider) listPools(c *wire.Call) (*wire.Response, error) {
	res, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	docs := []wire.Document{}
	for _, v := range tracked.Read(res).List("properties.agentPoolProfiles") {
		if m, ok := v.(map[string]any); ok {
			docs = append(docs, poolDocument(res, m))
		}
	}
	return wire.OK(wire.Document{"value": docs}), nil
}

func poolMissing(c *wire.Call) error {
	return wire.ResourceNotFound(Type+"/agentPools", c.Param("name")+"/"+c.Param("pool"), c.Param("group"))
}

func (p *Provider) getPool(c *wire.Call) (*wire.Response, error) {
	res, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	pools, i := poolIndex(tracked.Read(res), c.Param("pool"))
	if i < 0 {
		return nil, poolMissing(c)
	}
	m, _ := pools[i].(map[string]any)
	return wire.OK(poolDocument(res, m)), nil
}

func (p *Provider) putPool(c *wire.Call) (*wire.Response, error) {
	body, err := c.Document()
	if err != nil {
		return nil, err
	}
	created := false
	done, err := p.accept(c, kindUpdate, func(_ *store.Tx, old wire.Document, _ *internal) (wire.Document, error) {
		pools, i := poolIndex(old, c.Param("pool"))
		next := body.Clone().Object("properties")
		if next == nil {
			next = wire.Document{}
		}
		if created = i < 0; created {
			next["name"] = c.Param("pool")
			old.Set("properties.agentPoolProfiles", append(pools, map[string]any(next)))
			return old, nil
		}
		m, _ := pools[i].(map[string]any)
		was := wire.Document(m)
		for _, name := range []string{"vmSize", "osType", "type"} {
			if v := next.Text(name); v != "" && !strings.EqualFold(v, was.Text(name)) {
				return nil, immutable("agentPoolProfile." + name)
			}
		}
		for name, v := range next {
			if v != nil {
				m[name] = v
			}
		}
		m["name"] = was.Text("name")
		return old, nil
	})
	if err != nil {
		return nil, err
	}
	pools, i := poolIndex(tracked.Read(done.res), c.Param("pool"))
	if i < 0 {
		return nil, poolMissing(c)
	}
	m, _ := pools[i].(map[string]any)
	doc := poolDocument(done.res, m)
	resp := &wire.Response{Status: http.StatusOK, Body: doc, Header: done.op.Headers(c)}
	resp.Header.Del("Location")
	if created {
		resp.Status = http.StatusCreated
	}
	return resp, nil
}

func (p *Provider) deletePool(c *wire.Call) (*wire.Response, error) {
	missing := false
	done, err := p.accept(c, kindUpdate, func(_ *store.Tx, old wire.Document, _ *internal) (wire.Document, error) {
		pools, i := poolIndex(old, c.Param("pool"))
		if missing = i < 0; missing {
			return nil, poolMissing(c)
		}
		old.Set("properties.agentPoolProfiles", append(append([]any{}, pools[:i]...), pools[i+1:]...))
		return old, nil
	})
	if missing {
		return wire.NoContent(), nil
	}
	if err != nil {
		return nil, err
	}
	// The result is that the pool is gone, not the cluster.
	return &wire.Response{Status: http.StatusAccepted, Header: done.op.Headers(c)}, nil
}

// minor returns the version without its patch.
func minor(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}

func (p *Provider) versions(c *wire.Call) (*wire.Response, error) {
	return wire.OK(wire.Document{"values": []wire.Document{{
		"version": minor(p.KubernetesVersion), "isDefault": true, "isPreview": false,
		"capabilities":  wire.Document{"supportPlan": []string{"KubernetesOfficial"}},
		"patchVersions": wire.Document{p.KubernetesVersion: wire.Document{"upgrades": []string{}}},
	}}}), nil
}

func (p *Provider) orchestrators(c *wire.Call) (*wire.Response, error) {
	id := "/subscriptions/" + state.Fold(c.Param("sub")) + "/providers/Microsoft.ContainerService/locations/" + c.Param("location") + "/orchestrators"
	return wire.OK(wire.Document{
		"id": id, "name": "default", "type": "Microsoft.ContainerService/locations/orchestrators",
		"properties": wire.Document{"orchestrators": []wire.Document{{
			"orchestratorType": "Kubernetes", "orchestratorVersion": p.KubernetesVersion, "default": true, "upgrades": []wire.Document{},
		}}},
	}), nil
}

func (p *Provider) upgradeProfile(c *wire.Call) (*wire.Response, error) {
	res, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	pools := []wire.Document{}
	for _, v := range tracked.Read(res).List("properties.agentPoolProfiles") {
		if m, ok := v.(map[string]any); ok {
			pools = append(pools, wire.Document{"name": wire.Document(m).Text("name"), "osType": "Linux", "kubernetesVersion": p.KubernetesVersion, "upgrades": []wire.Document{}})
		}
	}
	return wire.OK(wire.Document{
		"id": res.ID + "/upgradeprofiles/default", "name": "default", "type": Type + "/upgradeprofiles",
		"properties": wire.Document{
			"controlPlaneProfile": wire.Document{"osType": "Linux", "kubernetesVersion": p.KubernetesVersion, "upgrades": []wire.Document{}},
			"agentPoolProfiles":   pools,
		},
	}), nil
}

func (p *Provider) poolVersions(c *wire.Call) (*wire.Response, error) {
	res, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	return wire.OK(wire.Document{
		"id": res.ID + "/availableagentpoolversions", "name": "default", "type": Type + "/availableAgentpoolVersions",
		"properties": wire.Document{"agentPoolVersions": []wire.Document{{"default": true, "kubernetesVersion": p.KubernetesVersion, "isPreview": false}}},
	}), nil
}

func (p *Provider) poolUpgrade(c *wire.Call) (*wire.Response, error) {
	res, err := tracked.Get(c.View(), tracked.ID(c, Type))
	if err != nil {
		return nil, err
	}
	if _, i := poolIndex(tracked.Read(res), c.Param("pool")); i < 0 {
		return nil, poolMissing(c)
	}
	return wire.OK(wire.Document{
		"id": res.ID + "/agentPools/" + c.Param("pool") + "/upgradeProfiles/default", "name": "default", "type": Type + "/agentPools/upgradeProfiles",
		"properties": wire.Document{"kubernetesVersion": p.KubernetesVersion, "osType": "Linux", "upgrades": []wire.Document{}, "latestNodeImageVersion": "AKSUbuntu-2204gen2containerd-202511.01.0"},
	}), nil
}
