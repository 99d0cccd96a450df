package oauth

import (
	"net/http"

	"github.com/entrance-id/entrance/internal/oauth/metadata"
)

// configuration serves openid-configuration, v1 and v2.
func (p *Provider) configuration(c *call) error {
	c.Write(p.log, http.StatusOK, p.publish.Configuration(c.Call))
	return nil
}

// keys serves the key documents.
func (p *Provider) keys(c *call) error {
	doc, err := p.publish.KeySet(c.Call)
	if err != nil {
		return err
	}
	c.Write(p.log, http.StatusOK, doc)
	return nil
}

// instance serves instance discovery.
func (p *Provider) instance(c *call) error {
	doc, err := p.publish.Instance(c.Call)
	if err != nil {
		return err
	}
	c.Write(p.log, http.StatusOK, doc)
	return nil
}

// userRealm serves how the users of a domain sign in.
func (p *Provider) userRealm(c *call) error {
	doc, err := metadata.UserRealm(c.Call, c.rest)
	if err != nil {
		return err
	}
	c.Write(p.log, http.StatusOK, doc)
	return nil
}
