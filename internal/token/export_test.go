package token

import "github.com/entrance-id/entrance/internal/pop/jws"

// UnverifiedClaims returns the text claims of a token as our parser reads them.
func UnverifiedClaims(tok string) (map[string]string, error) {
	t, err := parse(tok)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string)
	t.Payload.Members(func(name string, v jws.Value) bool {
		if s, ok := v.Str(); ok {
			m[name] = s
		}
		return true
	})
	return m, nil
}
