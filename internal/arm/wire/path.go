package wire

import (
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/entrance-id/entrance/internal/rbac"
)

// Bounds of a request path.
const (
	maxPath     = 2048
	maxSegments = 40
	maxSegment  = 260
)

// splitPath cuts an escaped path into its segments. It refuses whatever could
// be read in two ways instead of cleaning it: a proxy or a log in front may
// read it the other way.
func splitPath(escaped string) ([]string, error) {
	bad := func(why string) error {
		return Bad("InvalidRequestUri", "The request URI is not valid: %s.", why)
	}
	if len(escaped) > maxPath {
		return nil, bad("it is too long")
	}
	if escaped == "" || escaped[0] != '/' {
		return nil, bad("it has no path")
	}
	raw := strings.Split(strings.TrimSuffix(escaped[1:], "/"), "/")
	if len(raw) == 1 && raw[0] == "" {
		return nil, nil
	}
	if len(raw) > maxSegments {
		return nil, bad("it has too many segments")
	}
	out := make([]string, len(raw))
	for i, s := range raw {
		seg, err := url.PathUnescape(s)
		if err != nil {
			return nil, bad("a segment is not encoded as URIs are")
		}
		if why := badSegment(seg); why != "" {
			return nil, bad(why)
		}
		out[i] = seg
	}
	return out, nil
}

func badSegment(seg string) string {
	switch {
	case seg == "":
		return "it has an empty segment"
	case seg == "." || seg == "..":
		return "it has a dot segment"
	case len(seg) > maxSegment:
		return "a segment is too long"
	case !utf8.ValidString(seg):
		return "a segment is not UTF-8"
	case strings.HasSuffix(seg, "."):
		return "a segment ends with a full stop"
	}
	for _, r := range seg {
		switch {
		case r < utf8.RuneSelf && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-._()~$@!',=+:", r)):
		case r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsDigit(r)):
		default:
			return "a segment has a character that is not allowed"
		}
	}
	return ""
}

// scopeOf returns the longest part of the path that is an id: of the resource
// for an action on it, of the resource group for a list in it.
func scopeOf(segs []string) rbac.Scope {
	for n := len(segs); n > 0; n-- {
		if s, err := rbac.ParseScope("/" + strings.Join(segs[:n], "/")); err == nil {
			return s
		}
	}
	return rbac.Root()
}

// ID is the id of a resource within a resource group, taken apart.
type ID struct {
	Subscription string // as written
	Group        string
	Type         string   // namespace first: Microsoft.KeyVault/vaults
	Names        []string // one for each part of the type after the namespace
}

// Name returns the resource's own name.
func (id *ID) Name() string { return id.Names[len(id.Names)-1] }

// Parent returns the id of the resource that this one is a child of, or "".
func (id *ID) Parent() string {
	if len(id.Names) < 2 {
		return ""
	}
	p := *id
	p.Names = id.Names[:len(id.Names)-1]
	p.Type = id.Type[:strings.LastIndexByte(id.Type, '/')]
	return p.String()
}

// String returns the id in its usual spelling.
func (id *ID) String() string {
	var b strings.Builder
	b.WriteString("/subscriptions/" + id.Subscription)
	if id.Group != "" {
		b.WriteString("/resourceGroups/" + id.Group)
	}
	parts := strings.Split(id.Type, "/")
	b.WriteString("/providers/" + parts[0])
	for i, name := range id.Names {
		b.WriteString("/" + parts[i+1] + "/" + name)
	}
	return b.String()
}

// ParseID reads the id of a resource in a resource group. A resource that
// extends another one is not read.
func ParseID(s string) (*ID, error) {
	bad := Bad("LinkedInvalidPropertyId", "Property id '%.300s' is invalid. Expect fully qualified resource Id that start with '/subscriptions/{subscriptionId}' or '/providers/{resourceProviderNamespace}/'.", s)
	scope, err := rbac.ParseScope(s)
	if err != nil || scope.SubscriptionID() == "" || scope.Kind() < rbac.ResourceScope {
		return nil, bad
	}
	p := strings.Split(s[1:], "/")
	if len(p) < 8 || len(p)%2 != 0 || !strings.EqualFold(p[2], "resourceGroups") || !strings.EqualFold(p[4], "providers") {
		return nil, bad
	}
	id := &ID{Subscription: p[1], Group: p[3], Type: p[5]}
	for i := 6; i < len(p); i += 2 {
		if strings.EqualFold(p[i], "providers") {
			return nil, bad
		}
		id.Type += "/" + p[i]
		id.Names = append(id.Names, p[i+1])
	}
	return id, nil
}
