package login

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// federated signs in where the password is checked by the user's own
// organisation: its WS-Trust endpoint gives a SAML assertion for the password,
// and the assertion is exchanged for a token.
func (p *password) federated(ctx context.Context, realm *userRealm) (*tokenResponse, error) {
	if realm.Protocol != "" && !strings.EqualFold(realm.Protocol, "WSTrust") {
		return nil, fmt.Errorf("the password is checked by a provider that speaks %s, not WS-Trust; use interactive or devicecode", clean(realm.Protocol))
	}
	end, err := p.trustEndpoint(ctx, realm.MetadataURL)
	if err != nil {
		return nil, err
	}
	assertion, grant, err := p.samlAssertion(ctx, end, firstOf(realm.CloudAudience, "urn:federation:MicrosoftOnline"))
	if err != nil {
		return nil, err
	}
	f, err := p.form(grant)
	if err != nil {
		return nil, err
	}
	f.Set("assertion", base64.StdEncoding.EncodeToString([]byte(assertion)))
	return p.client.token(ctx, f, false)
}

// trustEndpoint is where a password is exchanged for an assertion.
type trustEndpoint struct {
	url    string
	v2005  bool
	action string
}

// WS-Trust names, by version.
const (
	trust13   = "http://docs.oasis-open.org/ws-sx/ws-trust/200512"
	trust2005 = "http://schemas.xmlsoap.org/ws/2005/02/trust"
)

// mex is the part of a metadata exchange document that leads from "takes a
// user name and password" to an address.
type mex struct {
	Policies []struct {
		ID       string `xml:"Id,attr"`
		Username []struct {
			Tokens []struct{} `xml:"Policy>UsernameToken"`
		} `xml:"ExactlyOne>All>SignedEncryptedSupportingTokens"`
		Username2005 []struct {
			Tokens []struct{} `xml:"Policy>UsernameToken"`
		} `xml:"ExactlyOne>All>SignedSupportingTokens"`
	} `xml:"Policy"`
	Bindings []struct {
		Name   string `xml:"name,attr"`
		Policy struct {
			URI string `xml:"URI,attr"`
		} `xml:"PolicyReference"`
		Operations []struct {
			Soap struct {
				Action string `xml:"soapAction,attr"`
			} `xml:"operation"`
		} `xml:"operation"`
	} `xml:"binding"`
	Ports []struct {
		Binding string `xml:"binding,attr"`
		Address string `xml:"EndpointReference>Address"`
	} `xml:"service>port"`
}

// trustEndpoint reads the organisation's metadata. WS-Trust 1.3 is preferred.
func (p *password) trustEndpoint(ctx context.Context, where string) (trustEndpoint, error) {
	if err := needHTTPS(where); err != nil {
		return trustEndpoint{}, fmt.Errorf("the federation metadata address %w", err)
	}
	status, body, err := p.exchange(ctx, http.MethodGet, where, nil, nil)
	if err != nil {
		return trustEndpoint{}, err
	}
	if status != http.StatusOK {
		return trustEndpoint{}, fmt.Errorf("the federation metadata at %s answered HTTP %d", hostOf(where), status)
	}
	return readMex(body)
}

func readMex(body []byte) (trustEndpoint, error) {
	var m mex
	if err := xml.Unmarshal(body, &m); err != nil {
		return trustEndpoint{}, errors.New("the federation metadata is not readable")
	}
	takesPassword := map[string]bool{}
	for _, pol := range m.Policies {
		for _, t := range append(pol.Username, pol.Username2005...) {
			takesPassword[pol.ID] = takesPassword[pol.ID] || len(t.Tokens) > 0
		}
	}
	actions := map[string]string{}
	for _, b := range m.Bindings {
		if !takesPassword[strings.TrimPrefix(b.Policy.URI, "#")] {
			continue
		}
		for _, op := range b.Operations {
			switch op.Soap.Action {
			case trust13 + "/RST/Issue", trust2005 + "/RST/Issue":
				actions[b.Name] = op.Soap.Action
			}
		}
	}
	var found trustEndpoint
	for _, port := range m.Ports {
		_, name, prefixed := strings.Cut(port.Binding, ":")
		if !prefixed {
			name = port.Binding
		}
		action, ok := actions[name]
		address := strings.TrimSpace(port.Address)
		if !ok || needHTTPS(address) != nil {
			continue
		}
		v2005 := strings.HasPrefix(action, trust2005)
		if found.url == "" || found.v2005 && !v2005 {
			found = trustEndpoint{address, v2005, action}
		}
	}
	if found.url == "" {
		return found, errors.New("the federated provider offers no WS-Trust endpoint that takes a password; use interactive or devicecode")
	}
	return found, nil
}

func needHTTPS(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is not an https URL", clean(s))
	}
	return nil
}

func hostOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "?"
	}
	return u.Host
}

// exchange sends one XML request, without retries: the endpoint counts wrong
// passwords.
func (p *password) exchange(ctx context.Context, method, where string, header http.Header, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	status, _, out, err := p.client.sendBody(ctx, method, where, header, body)
	if err != nil {
		return 0, nil, p.client.explain(err, hostOf(where))
	}
	p.sys.Logf(6, "%s %s: HTTP %d", method, hostOf(where), status)
	return status, out, nil
}

// samlAssertion exchanges the password for an assertion and says with which
// grant it is redeemed.
func (p *password) samlAssertion(ctx context.Context, end trustEndpoint, audience string) (assertion, grant string, err error) {
	header := http.Header{"Content-Type": {"application/soap+xml; charset=utf-8"}, "Soapaction": {end.action}, "Accept": {"application/soap+xml, text/xml"}}
	status, body, err := p.exchange(ctx, http.MethodPost, end.url, header, p.tokenRequest(end, audience))
	if err != nil {
		return "", "", err
	}
	type response struct {
		TokenType string `xml:"TokenType"`
		Token     struct {
			XML string `xml:",innerxml"`
		} `xml:"RequestedSecurityToken"`
	}
	var env struct {
		Fault struct {
			Reason string `xml:"Reason>Text"`
		} `xml:"Body>Fault"`
		One  []response `xml:"Body>RequestSecurityTokenResponse"`
		Many []response `xml:"Body>RequestSecurityTokenResponseCollection>RequestSecurityTokenResponse"`
	}
	xerr := xml.Unmarshal(body, &env)
	if env.Fault.Reason != "" {
		return "", "", fmt.Errorf("%s refused the user name and password: %s", hostOf(end.url), clean(env.Fault.Reason))
	}
	if xerr != nil || status != http.StatusOK {
		return "", "", fmt.Errorf("%s answered HTTP %d with something that is not a token", hostOf(end.url), status)
	}
	for _, r := range append(env.Many, env.One...) {
		if text := strings.TrimSpace(r.Token.XML); text != "" {
			grant := "urn:ietf:params:oauth:grant-type:saml1_1-bearer"
			if strings.Contains(r.TokenType, "SAMLV2.0") || strings.Contains(r.TokenType, "SAML:2.0") {
				grant = "urn:ietf:params:oauth:grant-type:saml2-bearer"
			}
			return text, grant, nil
		}
	}
	return "", "", fmt.Errorf("%s answered without an assertion", hostOf(end.url))
}

// tokenRequest is the SOAP envelope that asks for an assertion.
func (p *password) tokenRequest(end trustEndpoint, audience string) []byte {
	ns, keyType, requestType := trust13, trust13+"/Bearer", trust13+"/Issue"
	if end.v2005 {
		ns, keyType, requestType = trust2005, "http://schemas.xmlsoap.org/ws/2005/05/identity/NoProofKey", trust2005+"/Issue"
	}
	now := p.sys.Clock.Now().UTC()
	esc := func(s string) string {
		var b strings.Builder
		xml.EscapeText(&b, []byte(s))
		return b.String()
	}
	const stamp = "2006-01-02T15:04:05.000Z"
	return []byte(`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="http://www.w3.org/2005/08/addressing" xmlns:u="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd">` +
		`<s:Header><a:Action s:mustUnderstand="1">` + esc(end.action) + `</a:Action><a:MessageID>urn:uuid:` + newGUID() + `</a:MessageID>` +
		`<a:ReplyTo><a:Address>http://www.w3.org/2005/08/addressing/anonymous</a:Address></a:ReplyTo><a:To s:mustUnderstand="1">` + esc(end.url) + `</a:To>` +
		`<o:Security s:mustUnderstand="1" xmlns:o="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd">` +
		`<u:Timestamp u:Id="_0"><u:Created>` + now.Format(stamp) + `</u:Created><u:Expires>` + now.Add(10*time.Minute).Format(stamp) + `</u:Expires></u:Timestamp>` +
		`<o:UsernameToken u:Id="uuid-` + newGUID() + `"><o:Username>` + esc(p.o.Username) + `</o:Username><o:Password>` + esc(p.o.Password) + `</o:Password></o:UsernameToken></o:Security></s:Header>` +
		`<s:Body><t:RequestSecurityToken xmlns:t="` + ns + `"><p:AppliesTo xmlns:p="http://schemas.xmlsoap.org/ws/2004/09/policy"><a:EndpointReference><a:Address>` + esc(audience) + `</a:Address></a:EndpointReference></p:AppliesTo>` +
		`<t:KeyType>` + keyType + `</t:KeyType><t:RequestType>` + requestType + `</t:RequestType></t:RequestSecurityToken></s:Body></s:Envelope>`)
}
