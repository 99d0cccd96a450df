package grant

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/conditionalaccess"
	"github.com/entrance-id/entrance/internal/oauth/wire"
	"github.com/entrance-id/entrance/internal/pop/jws"
	"github.com/entrance-id/entrance/internal/token"
)

// ReadConfirmation reads what a client asks to have its token bound to.
func ReadConfirmation(c *wire.Call) (*token.Confirmation, error) {
	switch kind := c.Form.Get("token_type"); {
	case kind == "" || strings.EqualFold(kind, "bearer"):
		return nil, nil
	case !strings.EqualFold(kind, "pop"):
		return nil, fault(9002313, "the token_type is not supported")
	}
	raw, err := c.Need("req_cnf")
	if err != nil {
		return nil, err
	}
	doc, err := decode64(strings.TrimRight(raw, "="))
	if err != nil || len(doc) > 4096 {
		return nil, fault(9002313, "req_cnf is not base64url")
	}
	o, err := jws.ParseObject(string(doc))
	if err != nil {
		return nil, fault(9002313, "req_cnf is not a JSON object")
	}
	kid, ok := o.Get("kid").Str()
	if sum, err := decode64(kid); !ok || err != nil || len(sum) != 32 {
		return nil, fault(9002313, "req_cnf names no key by its SHA-256 thumbprint")
	}
	where, _ := o.Get("xms_ksl").Str()
	if where != "" && where != "sw" {
		return nil, fault(9002313, "req_cnf names a key store that is not known")
	}
	return &token.Confirmation{KeyID: kid, Location: where}, nil
}

func decode64(s string) ([]byte, error) { return base64.RawURLEncoding.Strict().DecodeString(s) }

// ReadClaims reads the claims parameter.
func ReadClaims(parameter string) (conditionalaccess.ClaimsRequest, error) {
	r, err := conditionalaccess.ParseClaims(parameter)
	if err != nil {
		return r, fault(9002313, "the claims parameter is not valid").WithCause(err)
	}
	r.Capabilities = slices.DeleteFunc(r.Capabilities, func(s string) bool { return !strings.EqualFold(s, "cp1") })
	return r, nil
}
