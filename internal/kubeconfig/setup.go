package kubeconfig

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Setup adds a user that signs in with this plugin, and what is needed to use
// it. Empty fields are left alone.
type Setup struct {
	User      string
	Exec      Exec
	Cluster   string // of the context; made or changed if Server is given
	Server    string
	CA        []byte // PEM, of Server
	Context   string // gets User, and Cluster if given; made if it does not exist
	Namespace string
	Use       bool // make Context the current one
}

// Plan computes the new content of a file, which may be empty.
func (s Setup) Plan(f *File) (Change, error) {
	if s.User == "" {
		return Change{}, errors.New("the user needs a name")
	}
	data := f.Data
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("apiVersion: v1\nkind: Config\n")
	}
	steps := []func(*File) ([]byte, error){s.user}
	if s.Server != "" {
		if s.Cluster == "" {
			return Change{}, errors.New("a cluster needs a name: give --cluster")
		}
		steps = append(steps, s.cluster)
	}
	if s.Context != "" {
		steps = append(steps, s.context)
	}
	if s.Use {
		if s.Context == "" {
			return Change{}, errors.New("which context shall be the current one? Give --context")
		}
		steps = append(steps, func(f *File) ([]byte, error) { return f.setTop("current-context", s.Context) })
	}
	for _, step := range steps {
		cur, err := Parse(f.Path, data)
		if err != nil {
			return Change{}, err
		}
		if cur.root == nil {
			return Change{}, fmt.Errorf("%s is not a kubeconfig", f.Path)
		}
		if data, err = step(cur); err != nil {
			return Change{}, err
		}
	}
	return Change{File: f, New: data, Users: []string{s.User}}, nil
}

func (s Setup) user(f *File) ([]byte, error) {
	if f.find("users", s.User) != nil {
		return f.Replace(map[string]Exec{s.User: s.Exec})
	}
	exec := mapping()
	fillExec(exec, s.Exec)
	return f.appendItem("users", mapping("name", scalar(s.User), "user", mapping("exec", exec)))
}

func (s Setup) cluster(f *File) ([]byte, error) {
	body := mapping()
	if len(s.CA) > 0 {
		body.Content = append(body.Content, scalar("certificate-authority-data"), scalar(base64.StdEncoding.EncodeToString(s.CA)))
	}
	body.Content = append(body.Content, scalar("server"), scalar(s.Server))
	if it := f.find("clusters", s.Cluster); it != nil {
		if Server([]*File{f}, s.Cluster) != s.Server {
			return nil, fmt.Errorf("the cluster %q exists and has another server; choose another name", s.Cluster)
		}
		return f.Data, nil
	}
	return f.appendItem("clusters", mapping("cluster", body, "name", scalar(s.Cluster)))
}

func (s Setup) context(f *File) ([]byte, error) {
	it := f.find("contexts", s.Context)
	if it == nil {
		if s.Cluster == "" {
			return nil, fmt.Errorf("there is no context %q; give --cluster to make it", s.Context)
		}
		if f.find("clusters", s.Cluster) == nil {
			return nil, fmt.Errorf("there is no cluster %q; give --server to make it", s.Cluster)
		}
		body := mapping("cluster", scalar(s.Cluster))
		if s.Namespace != "" {
			body.Content = append(body.Content, scalar("namespace"), scalar(s.Namespace))
		}
		body.Content = append(body.Content, scalar("user"), scalar(s.User))
		return f.appendItem("contexts", mapping("context", body, "name", scalar(s.Context)))
	}
	_, body := get(it, "context")
	if target(body) == nil || target(body).Kind != yaml.MappingNode {
		return nil, fmt.Errorf("the context %q is not a mapping", s.Context)
	}
	data, err := f.setScalar(target(body), "user", s.User)
	if err != nil || s.Cluster == "" {
		return data, err
	}
	if text(body, "cluster") != s.Cluster {
		return nil, fmt.Errorf("the context %q is for the cluster %q; choose another name", s.Context, text(body, "cluster"))
	}
	return data, nil
}

func mapping(pairs ...any) *yaml.Node {
	m := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, p := range pairs {
		switch p := p.(type) {
		case string:
			m.Content = append(m.Content, scalar(p))
		case *yaml.Node:
			m.Content = append(m.Content, p)
		}
	}
	return m
}

// appendItem adds an element to a top-level list, as text where the list is
// laid out in lines.
func (f *File) appendItem(list string, item *yaml.Node) ([]byte, error) {
	lines := splitLines(f.Data)
	crlf := bytes.Contains(f.Data, []byte("\r\n"))
	text, err := dump(&yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{clone(item)}})
	if err != nil {
		return nil, err
	}
	added := strings.Split(strings.TrimRight(text, "\n"), "\n")
	key, seq := get(f.root, list)
	block := f.root.Style&yaml.FlowStyle == 0
	var e edit
	switch {
	case key == nil:
		e = edit{len(lines), len(lines), append([]string{list + ":"}, added...)}
		f.root.Content = append(f.root.Content, scalar(list), &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{item}})
	case target(seq).Kind == yaml.SequenceNode && len(target(seq).Content) > 0:
		items := target(seq).Content
		last := items[len(items)-1]
		dash := bytes.IndexByte(lines[last.Line-1], '-')
		block = block && seq.Kind != yaml.AliasNode && seq.Style&yaml.FlowStyle == 0 && dash >= 0 && dash < last.Column
		if block {
			at := endOfItem(lines, last.Line-1, dash)
			for at > last.Line && len(bytes.TrimSpace(lines[at-1])) == 0 {
				at--
			}
			for i, t := range added {
				if t != "" {
					added[i] = strings.Repeat(" ", dash) + t
				}
			}
			e = edit{at, at, added}
		}
		target(seq).Content = append(target(seq).Content, item)
	default:
		block = block && seq.Line == key.Line
		e = edit{key.Line - 1, key.Line, append([]string{list + ":"}, added...)}
		*seq = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Content: []*yaml.Node{item}}
	}
	if !block {
		return f.dumpAll(nil, crlf)
	}
	return f.checked(lines, e, crlf)
}

// checked applies one edit and compares the result with the changed tree.
func (f *File) checked(lines [][]byte, e edit, crlf bool) ([]byte, error) {
	// The last line of a file may lack its end.
	if n := len(lines); e.from == n && n > 0 && len(lines[n-1]) > 0 {
		lines[n-1] = append(bytes.Clone(lines[n-1]), '\n')
	}
	out := splice(lines, []edit{e}, crlf)
	if g, err := Parse(f.Path, out); err == nil && g.root != nil && same(f.root, g.root) {
		return out, nil
	}
	return f.dumpAll(nil, crlf)
}

// setScalar changes the value of an entry of a mapping, or adds it.
func (f *File) setScalar(m *yaml.Node, name, value string) ([]byte, error) {
	lines := splitLines(f.Data)
	crlf := bytes.Contains(f.Data, []byte("\r\n"))
	_, v := get(m, name)
	if v == nil {
		m.Content = append(m.Content, scalar(name), scalar(value))
		return f.dumpAll(nil, crlf)
	}
	old := *v
	*v = *scalar(value)
	v.LineComment, v.HeadComment, v.FootComment = old.LineComment, old.HeadComment, old.FootComment
	text, err := dump(scalar(value))
	if err != nil {
		return nil, err
	}
	line := string(bytes.TrimRight(lines[old.Line-1], "\r\n"))
	col := old.Column - 1
	if old.Style != 0 || old.Kind != yaml.ScalarNode || len(line) < col || !strings.HasPrefix(line[col:], old.Value) {
		return f.dumpAll(nil, crlf)
	}
	line = line[:col] + strings.TrimRight(text, "\n") + line[col+len(old.Value):]
	return f.checked(lines, edit{old.Line - 1, old.Line, []string{line}}, crlf)
}

// setTop sets a top-level entry.
func (f *File) setTop(name, value string) ([]byte, error) {
	if key, _ := get(f.root, name); key != nil {
		return f.setScalar(f.root, name, value)
	}
	text, err := dump(mapping(name, scalar(value)))
	if err != nil {
		return nil, err
	}
	lines := splitLines(f.Data)
	f.root.Content = append(f.root.Content, scalar(name), scalar(value))
	return f.checked(lines, edit{len(lines), len(lines), []string{strings.TrimRight(text, "\n")}}, bytes.Contains(f.Data, []byte("\r\n")))
}
