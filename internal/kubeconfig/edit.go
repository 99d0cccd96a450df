package kubeconfig

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

// Exec is the exec stanza that a user shall have.
type Exec struct {
	Args        []string
	InstallHint string   // used where the old stanza has none
	SetEnv      []EnvVar // set or replaced
	DropEnv     []string // removed
}

// EnvVar is one variable of an exec stanza.
type EnvVar struct{ Name, Value string }

// The fixed parts of the stanza.
const (
	execCommand    = "kubelogin"
	execAPIVersion = "client.authentication.k8s.io/v1beta1"
)

// edit is one replacement of lines.
type edit struct {
	from, to int // lines, from 0; to is exclusive
	text     []string
}

// Replace gives the named users their exec stanza and removes their
// auth-provider. It returns the new content of the file; everything else in it
// is kept as it is, to the byte.
func (f *File) Replace(stanzas map[string]Exec) ([]byte, error) {
	if len(stanzas) == 0 || f.root == nil {
		return f.Data, nil
	}
	lines := splitLines(f.Data)
	crlf := bytes.Contains(f.Data, []byte("\r\n"))
	type job struct {
		item, body *yaml.Node
		exec       Exec
		edits      []edit
		ok         bool
	}
	var jobs []*job
	done := map[string]bool{}
	for _, it := range f.items("users") {
		name := text(it, "name")
		ex, ok := stanzas[name]
		if !ok || done[name] {
			continue // the first of several wins
		}
		done[name] = true
		_, body := get(it, "user")
		if body = target(body); body == nil || body.Kind != yaml.MappingNode {
			return nil, fmt.Errorf("%s: user %q is not a mapping", f.Path, name)
		}
		jobs = append(jobs, &job{item: it, body: body, exec: ex})
	}
	// Users share nothing where there are no aliases, which is where a file
	// was parsed in part; then all processors work.
	pieces := 1
	if f.partial {
		pieces = min(runtime.GOMAXPROCS(0), 1+len(jobs)/16)
	}
	var wg sync.WaitGroup
	for p := range pieces {
		wg.Go(func() {
			for _, j := range jobs[p*len(jobs)/pieces : (p+1)*len(jobs)/pieces] {
				j.edits, j.ok = f.stanzaEdits(j.item, j.body, j.exec, lines)
			}
		})
	}
	wg.Wait()
	var edits []edit
	for _, j := range jobs {
		if !j.ok {
			return f.dumpAll(stanzas, crlf)
		}
		edits = append(edits, j.edits...)
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.from - b.from })
	out := splice(lines, edits, crlf)
	if !f.verify(out, edits) {
		// Never trust text surgery over the parser: fall back to a dump of
		// the tree, which loses blank lines and nothing else.
		return f.dumpAll(stanzas, crlf)
	}
	return out, nil
}

// stanzaEdits changes the tree and says which lines change with it: those of
// exec or auth-provider where they have lines of their own, else those of the
// whole user. ok is false if neither is laid out in lines.
func (f *File) stanzaEdits(item, body *yaml.Node, ex Exec, lines [][]byte) (out []edit, ok bool) {
	userKey, user := get(item, "user")
	ok = item.Style&yaml.FlowStyle == 0 && user.Kind != yaml.AliasNode && !hasAnchor(body)
	execKey, exec := get(body, "exec")
	provKey, _ := get(body, "auth-provider")
	narrow := body.Style&yaml.FlowStyle == 0 && plainLayout(body, "exec") && plainLayout(body, "auth-provider")
	if target(exec) == nil || target(exec).Kind != yaml.MappingNode {
		exec = mapping()
	}
	exec = target(exec)
	fillExec(exec, ex)

	at := execKey
	if at == nil {
		at = provKey
	}
	if provKey != nil && at != provKey && !onlyIndent(lines[provKey.Line-1], provKey.Column-1) {
		narrow = false // it stands after a list's dash, which must stay
	}
	// The tree must say the same, for the check and for a dump: the stanza
	// takes the place and the comments of what it replaces.
	replaceKeys(body, exec)

	if ok && narrow && at != nil {
		if execKey == nil {
			execKey = body.Content[slices.IndexFunc(body.Content, func(n *yaml.Node) bool { return n.Value == "exec" })]
		}
		from, to := span(lines, at)
		dropComments(exec, bytes.Join(lines[from:to], nil))
		text, err := render("exec", execKey, exec, at, lines[from])
		if err != nil {
			return nil, false
		}
		out = append(out, edit{from, to, text})
		if provKey != nil && provKey != at {
			from, to := span(lines, provKey)
			out = append(out, edit{from, to, nil})
		}
		return out, true
	}
	if !ok {
		return nil, false
	}
	body.Style &^= yaml.FlowStyle
	from, to := span(lines, userKey)
	dropComments(body, bytes.Join(lines[from:to], nil))
	text, err := render("user", userKey, body, userKey, lines[from])
	return []edit{{from, to, text}}, err == nil
}

// replaceKeys makes exec the stanza of a user, in the place of an old one or
// of auth-provider.
func replaceKeys(body, exec *yaml.Node) {
	find := func(name string) int {
		for i := 0; i+1 < len(body.Content); i += 2 {
			if body.Content[i].Value == name {
				return i
			}
		}
		return -1
	}
	i, p := find("exec"), find("auth-provider")
	switch {
	case i >= 0:
		body.Content[i+1] = exec
	case p >= 0:
		old := body.Content[p]
		key := scalar("exec")
		key.HeadComment, key.LineComment, key.FootComment = old.HeadComment, old.LineComment, old.FootComment
		body.Content[p], body.Content[p+1] = key, exec
		return
	default:
		body.Content = append(body.Content, scalar("exec"), exec)
	}
	if p >= 0 {
		head := body.Content[p].HeadComment
		body.Content = slices.Delete(body.Content, p, p+2)
		if head != "" {
			key := body.Content[find("exec")]
			key.HeadComment = strings.TrimSpace(head + "\n" + key.HeadComment)
		}
	}
}

// plainLayout reports whether an entry is missing or is a mapping, whose lines
// are indented deeper than its key.
func plainLayout(body *yaml.Node, name string) bool {
	_, v := get(body, name)
	return v == nil || v.Kind == yaml.MappingNode && !hasAnchor(v)
}

// dropComments forgets foot comments that do not stand in text: the parser
// hangs a comment that follows a stanza on its last entry, and it stays where
// it is.
func dropComments(n *yaml.Node, text []byte) {
	count := map[string]int{}
	for line := range bytes.Lines(text) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] == '#' {
			count[string(line)]++
		}
	}
	first := func(comment string) string {
		line, _, _ := strings.Cut(comment, "\n")
		return strings.TrimSpace(line)
	}
	var walk func(n *yaml.Node, visit func(*yaml.Node))
	walk = func(n *yaml.Node, visit func(*yaml.Node)) {
		visit(n)
		for _, c := range n.Content {
			walk(c, visit)
		}
	}
	// Two equal comments may stand inside and after: those before an entry
	// are certainly inside.
	walk(n, func(n *yaml.Node) {
		if n.HeadComment != "" {
			count[first(n.HeadComment)]--
		}
	})
	walk(n, func(n *yaml.Node) {
		if n.FootComment == "" {
			return
		}
		if c := first(n.FootComment); count[c] <= 0 {
			n.FootComment = ""
		} else {
			count[c]--
		}
	})
}

// hasAnchor reports whether something in n may be referred to from elsewhere,
// or refers elsewhere.
func hasAnchor(n *yaml.Node) bool {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return true
	}
	return slices.ContainsFunc(n.Content, hasAnchor)
}

func scalar(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// fillExec sets what the plugin needs in an exec mapping and leaves the rest,
// comments included, where it is.
func fillExec(exec *yaml.Node, ex Exec) {
	set := func(name string, v *yaml.Node) {
		for i := 0; i+1 < len(exec.Content); i += 2 {
			if exec.Content[i].Value == name {
				old := exec.Content[i+1]
				v.LineComment, v.HeadComment, v.FootComment = old.LineComment, old.HeadComment, old.FootComment
				exec.Content[i+1] = v
				return
			}
		}
		exec.Content = append(exec.Content, scalar(name), v)
	}
	oldEnv := []*yaml.Node{}
	if _, e := get(exec, "env"); target(e) != nil && target(e).Kind == yaml.SequenceNode {
		oldEnv = target(e).Content
	}
	hint := text(exec, "installHint")
	exec.Style &^= yaml.FlowStyle
	set("apiVersion", scalar(execAPIVersion))
	args := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	comments := map[string]*yaml.Node{}
	if _, a := get(exec, "args"); target(a) != nil {
		for _, n := range target(a).Content {
			if n.LineComment != "" || n.HeadComment != "" || n.FootComment != "" {
				comments[n.Value] = n
			}
		}
	}
	for _, a := range ex.Args {
		n := scalar(a)
		if c := comments[a]; c != nil {
			n.LineComment, n.HeadComment, n.FootComment = c.LineComment, c.HeadComment, c.FootComment
			delete(comments, a)
		}
		args.Content = append(args.Content, n)
	}
	set("args", args)
	set("command", scalar(execCommand))
	env := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	for _, n := range oldEnv {
		name := text(n, "name")
		if slices.Contains(ex.DropEnv, name) || slices.ContainsFunc(ex.SetEnv, func(v EnvVar) bool { return v.Name == name }) {
			continue
		}
		env.Content = append(env.Content, n)
	}
	for _, v := range ex.SetEnv {
		env.Content = append(env.Content, &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map",
			Content: []*yaml.Node{scalar("name"), scalar(v.Name), scalar("value"), scalar(v.Value)}})
	}
	if len(env.Content) == 0 {
		env = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}
	}
	set("env", env)
	if hint == "" && ex.InstallHint != "" {
		n := scalar(ex.InstallHint)
		n.Style = yaml.LiteralStyle
		set("installHint", n)
	}
	if _, p := get(exec, "provideClusterInfo"); p == nil {
		set("provideClusterInfo", &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "false"})
	}
}

// span returns the lines of a mapping's entry: from its key to the last line
// that is indented deeper. Comments and blank lines after it are not part.
func span(lines [][]byte, key *yaml.Node) (from, to int) {
	from = key.Line - 1
	to = from + 1
	for i := from + 1; i < len(lines); i++ {
		line := bytes.TrimRight(lines[i], "\r\n")
		body := bytes.TrimLeft(line, " ")
		deeper := len(line)-len(body) >= key.Column
		if len(body) == 0 || body[0] == '#' && !deeper {
			continue // part of the entry only if more of it follows
		}
		if !deeper {
			break
		}
		to = i + 1
	}
	return from, to
}

// clone copies a tree: dumping one changes its tags.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, x := range n.Content {
		c.Content[i] = clone(x)
	}
	return &c
}

// onlyIndent reports whether nothing but spaces stands before column n.
func onlyIndent(line []byte, n int) bool {
	return len(line) >= n && len(bytes.Trim(line[:n], " ")) == 0
}

// render writes an entry and its mapping as lines in the place of at. Comments
// before and after it stay in the text around.
func render(name string, like, value, at *yaml.Node, first []byte) ([]string, error) {
	key := scalar(name)
	key.LineComment = like.LineComment
	text, err := dump(&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Content: []*yaml.Node{key, clone(value)}})
	if err != nil {
		return nil, err
	}
	n := at.Column - 1
	if len(first) < n {
		return nil, errors.New("unexpected layout")
	}
	prefix := string(first[:n]) // spaces, or a dash for an entry that comes first in a list
	var out []string
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		switch {
		case i == 0:
			out = append(out, prefix+line)
		case line == "":
			out = append(out, "")
		default:
			out = append(out, strings.Repeat(" ", n)+line)
		}
	}
	return out, nil
}

// dump writes a node the way kubectl does: two spaces, sequences not indented,
// no folding of long lines.
func dump(n *yaml.Node) (string, error) {
	b, err := yaml.Dump(n, yaml.WithIndent(2), yaml.WithCompactSeqIndent(), yaml.WithLineWidth(-1))
	return string(b), err
}

func splice(lines [][]byte, edits []edit, crlf bool) []byte {
	end := "\n"
	if crlf {
		end = "\r\n"
	}
	var out bytes.Buffer
	next := 0
	for _, e := range edits {
		for _, l := range lines[next:e.from] {
			out.Write(l)
		}
		for _, t := range e.text {
			out.WriteString(t)
			out.WriteString(end)
		}
		next = e.to
	}
	for _, l := range lines[next:] {
		out.Write(l)
	}
	return out.Bytes()
}

// verify parses the users in the new content and compares them with the
// changed tree. What stands before and after them was not touched. Large files
// are checked in pieces, on all processors.
func (f *File) verify(data []byte, edits []edit) bool {
	items := f.items("users")
	lines := splitLines(data)
	// starts[i] is the line of the dash before items[i], in the new content.
	starts := make([]int, len(items)+1)
	shift, e := 0, 0
	for i, it := range items {
		for ; e < len(edits) && edits[e].to <= it.Line-1; e++ {
			shift += len(edits[e].text) - (edits[e].to - edits[e].from)
		}
		starts[i] = it.Line - 1 + shift
		if starts[i] < 0 || starts[i] >= len(lines) || i > 0 && starts[i] <= starts[i-1] {
			return false
		}
	}
	last := items[len(items)-1]
	dash := bytes.IndexByte(lines[starts[len(items)-1]], '-')
	if dash < 0 || dash >= last.Column {
		return false // the dash has a line of its own: rare enough for a dump
	}
	starts[len(items)] = endOfItem(lines, starts[len(items)-1], dash)

	pieces := min(runtime.GOMAXPROCS(0), 1+len(items)/16)
	ok := make([]bool, pieces)
	var wg sync.WaitGroup
	for p := range pieces {
		wg.Go(func() {
			from, to := p*len(items)/pieces, (p+1)*len(items)/pieces
			text := bytes.Join(lines[starts[from]:starts[to]], nil)
			var doc yaml.Node
			if yaml.Load(text, &doc, yaml.WithSingleDocument()) != nil || len(doc.Content) != 1 {
				return
			}
			ok[p] = same(&yaml.Node{Kind: yaml.SequenceNode, Content: items[from:to]}, doc.Content[0])
		})
	}
	wg.Wait()
	return !slices.Contains(ok, false)
}

// endOfItem returns the line after a list item whose dash is in column dash.
func endOfItem(lines [][]byte, from, dash int) int {
	for i := from + 1; i < len(lines); i++ {
		line := bytes.TrimRight(lines[i], "\r\n")
		body := bytes.TrimLeft(line, " ")
		if len(body) > 0 && body[0] != '#' && len(line)-len(body) <= dash {
			return i
		}
	}
	return len(lines)
}

// same compares what two trees mean, whatever they look like.
func same(a, b *yaml.Node) bool {
	a, b = target(a), target(b)
	if a == nil || b == nil {
		return a == b
	}
	if a == b {
		return true
	}
	if a.Kind != b.Kind || len(a.Content) != len(b.Content) {
		return false
	}
	if a.Kind == yaml.ScalarNode && (a.Value != b.Value || a.ShortTag() != b.ShortTag()) && !(a.ShortTag() == "!!null" && b.ShortTag() == "!!null") {
		return false
	}
	if a.Kind == yaml.MappingNode {
		// An entry may have moved: auth-provider becomes exec in its place.
		for i := 0; i+1 < len(a.Content); i += 2 {
			j := i
			if b.Content[j].Value != a.Content[i].Value {
				if j = slices.IndexFunc(b.Content, func(n *yaml.Node) bool { return n.Value == a.Content[i].Value }); j < 0 || j%2 != 0 {
					return false
				}
			}
			if !same(a.Content[i+1], b.Content[j+1]) {
				return false
			}
		}
		return true
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// dumpAll writes the changed tree.
func (f *File) dumpAll(stanzas map[string]Exec, crlf bool) ([]byte, error) {
	if f.partial && stanzas != nil {
		full, err := Parse(f.Path, f.Data)
		if err != nil {
			return nil, err
		}
		return full.Replace(stanzas)
	}
	text, err := dump(f.root)
	if err != nil {
		return nil, err
	}
	if crlf {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return []byte(text), nil
}

func splitLines(data []byte) [][]byte { return bytes.SplitAfter(data, []byte("\n")) }
