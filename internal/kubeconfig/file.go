package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v4"
)

// File is one kubeconfig file, parsed.
type File struct {
	Path    string
	Data    []byte
	root    *yaml.Node // the document's mapping; nil if the file is empty
	partial bool       // the clusters were not parsed
}

// Paths are the files that kubectl would read: explicit alone if given, else
// the list in KUBECONFIG, else ~/.kube/config. Double names count once.
func Paths(explicit, kubeconfigEnv, home string) []string {
	if explicit != "" {
		return []string{explicit}
	}
	var out []string
	seen := map[string]bool{}
	for _, p := range filepath.SplitList(kubeconfigEnv) {
		if p != "" && !seen[p] {
			seen[p] = true
			out = append(out, p)
		}
	}
	if len(out) == 0 && home != "" {
		out = append(out, filepath.Join(home, ".kube", "config"))
	}
	return out
}

// LoadAll reads and parses files, leaving out those that do not exist.
func LoadAll(paths []string) ([]*File, error) { return loadAll(paths, Parse) }

// LoadUsers is LoadAll with ParseUsers.
func LoadUsers(paths []string) ([]*File, error) { return loadAll(paths, ParseUsers) }

// LoadOrEmpty reads and parses a file, which may be missing.
func LoadOrEmpty(path string) (*File, error) {
	files, err := LoadAll([]string{path})
	if err != nil || len(files) == 1 {
		return append(files, nil)[0], err
	}
	return &File{Path: path}, nil
}

func loadAll(paths []string, parse func(string, []byte) (*File, error)) ([]*File, error) {
	var out []*File
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		f, err := parse(p, data)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// Parse parses the content of a file.
func Parse(path string, data []byte) (*File, error) { return parse(path, data, data) }

// ParseUsers parses a file without its clusters where it is laid out as
// kubectl writes it: their certificates are most of a large file, and nothing
// about users needs them.
func ParseUsers(path string, data []byte) (*File, error) {
	rest, ok := withoutClusters(data)
	f, err := parse(path, data, rest)
	if err != nil && ok {
		return Parse(path, data)
	}
	if err == nil {
		f.partial = ok
	}
	return f, err
}

// withoutClusters blanks the lines of the top-level entry clusters, so that
// line numbers stay. ok is false if the layout is not the usual one.
func withoutClusters(data []byte) (rest []byte, ok bool) {
	// With anchors, a part may be needed elsewhere.
	if bytes.ContainsAny(data, "&*") {
		return data, false
	}
	rest = make([]byte, 0, len(data))
	inside, seen := false, false
	for line := range bytes.Lines(data) {
		switch c := line[0]; {
		case c == ' ', c == '#', c == '\n', c == '\r', c == '-' && len(line) > 1 && line[1] == ' ':
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			name, value, found := bytes.Cut(line, []byte(":"))
			if !found || bytes.ContainsAny(name, " \"'") {
				return data, false
			}
			inside = string(name) == "clusters" && len(bytes.TrimSpace(value)) == 0
			seen = seen || inside
		default:
			return data, false
		}
		if inside {
			line = line[len(line)-1:]
			if line[0] != '\n' {
				line = nil
			}
		}
		rest = append(rest, line...)
	}
	return rest, seen
}

// parse reads text, which is data or a part of it.
func parse(path string, data, text []byte) (*File, error) {
	f := &File{Path: path, Data: data}
	if len(bytes.TrimSpace(text)) == 0 {
		return f, nil
	}
	var doc yaml.Node
	if err := yaml.Load(text, &doc, yaml.WithSingleDocument()); err != nil {
		return nil, fmt.Errorf("unable to load kubeconfig: %s: %w", path, err)
	}
	root := &doc
	if root.Kind == yaml.DocumentNode && len(root.Content) > 0 {
		root = root.Content[0]
	}
	switch {
	case root.Kind == yaml.MappingNode:
		f.root = root
	case root.Kind == yaml.ScalarNode && root.Tag == "!!null", root.Kind == 0, root.Kind == yaml.DocumentNode:
	default:
		return nil, fmt.Errorf("unable to load kubeconfig: %s: it is not a mapping", path)
	}
	return f, nil
}

// get returns the key and value of a mapping's entry.
func get(m *yaml.Node, name string) (key, value *yaml.Node) {
	if m = target(m); m == nil || m.Kind != yaml.MappingNode {
		return nil, nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i], m.Content[i+1]
		}
	}
	return nil, nil
}

// target follows an alias.
func target(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func text(m *yaml.Node, name string) string {
	_, v := get(m, name)
	if v = target(v); v == nil || v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
		return ""
	}
	return v.Value
}

// items returns the elements of a top-level list such as users.
func (f *File) items(list string) []*yaml.Node {
	if f.root == nil {
		return nil
	}
	_, seq := get(f.root, list)
	if seq = target(seq); seq == nil || seq.Kind != yaml.SequenceNode {
		return nil
	}
	return seq.Content
}

// find returns the element of a list with the given name.
func (f *File) find(list, name string) *yaml.Node {
	for _, it := range f.items(list) {
		if text(it, "name") == name {
			return it
		}
	}
	return nil
}

// CurrentContext is the context that kubectl uses: the first that a file sets.
func CurrentContext(files []*File) string {
	for _, f := range files {
		if c := text(f.root, "current-context"); c != "" {
			return c
		}
	}
	return ""
}

// Context is what a context joins.
type Context struct{ Name, Cluster, User, Namespace string }

// FindContext returns the named context; the first file that has it wins.
func FindContext(files []*File, name string) (Context, bool) {
	for _, f := range files {
		if it := f.find("contexts", name); it != nil {
			_, c := get(it, "context")
			return Context{name, text(c, "cluster"), text(c, "user"), text(c, "namespace")}, true
		}
	}
	return Context{}, false
}

// ContextNames lists all contexts in order.
func ContextNames(files []*File) []string {
	var out []string
	seen := map[string]bool{}
	for _, f := range files {
		for _, it := range f.items("contexts") {
			if n := text(it, "name"); n != "" && !seen[n] {
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	return out
}

// User is what this package understands of a user.
type User struct {
	Name         string
	File         string
	Command      string            // exec.command
	Args         []string          // exec.args
	Env          map[string]string // exec.env
	APIVersion   string
	AuthProvider string            // auth-provider.name
	Provider     map[string]string // auth-provider.config
}

// FindUser returns the named user; the first file that has it wins.
func FindUser(files []*File, name string) (User, bool) {
	for _, f := range files {
		if it := f.find("users", name); it != nil {
			return f.user(it), true
		}
	}
	return User{}, false
}

// Server is the address of a cluster.
func Server(files []*File, cluster string) string {
	for _, f := range files {
		if it := f.find("clusters", cluster); it != nil {
			_, c := get(it, "cluster")
			return text(c, "server")
		}
	}
	return ""
}

func (f *File) user(it *yaml.Node) User {
	u := User{Name: text(it, "name"), File: f.Path}
	_, body := get(it, "user")
	if _, p := get(body, "auth-provider"); p != nil {
		u.AuthProvider = text(p, "name")
		if _, c := get(p, "config"); target(c) != nil {
			u.Provider = map[string]string{}
			c = target(c)
			for i := 0; i+1 < len(c.Content); i += 2 {
				u.Provider[c.Content[i].Value] = text(c, c.Content[i].Value)
			}
		}
	}
	if _, e := get(body, "exec"); e != nil {
		u.Command, u.APIVersion = text(e, "command"), text(e, "apiVersion")
		if _, a := get(e, "args"); target(a) != nil && target(a).Kind == yaml.SequenceNode {
			for _, x := range target(a).Content {
				u.Args = append(u.Args, target(x).Value)
			}
		}
		if _, v := get(e, "env"); target(v) != nil && target(v).Kind == yaml.SequenceNode {
			u.Env = map[string]string{}
			for _, x := range target(v).Content {
				u.Env[text(x, "name")] = text(x, "value")
			}
		}
	}
	return u
}
