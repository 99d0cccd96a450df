package cluster_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
)

// parseClaims reads a token's claims without checking its signature.
func parseClaims(token string) (map[string]any, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, errors.New("not a JWT")
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, err
	}
	claims := map[string]any{}
	return claims, json.Unmarshal(data, &claims)
}
