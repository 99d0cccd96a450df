package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// group is what is measured together.
type group struct {
	packages []string // directories with Go benchmarks
	own      func(context.Context, *run) error
}

// groupOf says to which group the benchmarks of a directory belong, where that
// is not the directory under internal or cmd.
var groupOf = map[string]string{
	"internal/kubeconfig":        "kubelogin",
	"internal/pop":               "token",
	"internal/issuer":            "oauth",
	"internal/odata":             "graph",
	"internal/conditionalaccess": "policy",
	"internal/pim":               "policy",
	"internal/password":          "signin",
}

// own are the measurements that this program makes itself.
var own = map[string]func(context.Context, *run) error{
	"server":     measureServer,
	"signin":     measureSignIn,
	"oauth":      measureOAuth,
	"webhook":    measureWebhook,
	"cluster":    measureCluster,
	"revocation": measureRevocation,
	"scale":      measureScale,
	"cli":        measureCLI,

	"workloadidentity": measureWorkload,
}

// discover finds the Go benchmarks under the root of the tree, so that a new
// one is measured without anybody having to say so here.
func discover(root string) (map[string]*group, error) {
	groups := map[string]*group{}
	at := func(name string) *group {
		if groups[name] == nil {
			groups[name] = &group{}
		}
		return groups[name]
	}
	for name, f := range own {
		at(name).own = f
	}
	for _, top := range []string{"internal", "cmd", "kube"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if !regexp.MustCompile(`(?m)^func Benchmark[A-Z]`).Match(text) {
				return nil
			}
			dir := filepath.ToSlash(filepath.Dir(path))
			rel := strings.TrimPrefix(strings.TrimPrefix(dir, filepath.ToSlash(root)), "/")
			name, ok := groupOf[rel]
			if !ok {
				name = strings.TrimSuffix(strings.Split(rel, "/")[1], "bench")
			}
			g := at(name)
			if !slices.Contains(g.packages, rel) {
				g.packages = append(g.packages, rel)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return groups, nil
}

func (g *group) measure(ctx context.Context, r *run) error {
	var failed []error
	for _, dir := range g.packages {
		failed = append(failed, r.gobench(ctx, dir))
	}
	if g.own != nil {
		failed = append(failed, g.own(ctx, r))
	}
	return errors.Join(failed...)
}

// heavy are the packages whose benchmarks set up much or sample by themselves:
// they run once. All others run three times, and the median counts.
var heavy = map[string]bool{"internal/oauth": true, "internal/graph": true, "internal/store": true, "internal/cluster": true, "internal/arm": true, "internal/audit": true}

// gobench runs the Go benchmarks of a directory.
func (r *run) gobench(ctx context.Context, dir string) error {
	args := []string{"test", "-run", "^$", "-bench", ".", "-timeout", "5m"}
	switch {
	case dir == "cmd/kubelogin":
		args = append(args, "-benchtime", "21x") // whole processes; it takes the medians itself
	case heavy[dir]:
		args = append(args, "-benchtime", "300ms")
	default:
		args = append(args, "-benchtime", "150ms", "-count", "3")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, ".")...)
	cmd.Dir = dir
	if strings.HasPrefix(dir, "kube/") {
		// With the flags of the build, so that what it compiled is used again.
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-trimpath")
	} else {
		cmd.Env = append(os.Environ(), "ENTRANCE_BIN="+r.bin)
	}
	out, err := cmd.CombinedOutput()
	for _, f := range parse(dir, string(out)) { // what could be measured counts
		r.add(f.Name, f.Value, f.Unit)
	}
	if err != nil {
		return fmt.Errorf("the benchmarks of %s: %w\n%s", dir, err, out)
	}
	return nil
}

// parse reads the output of go test -bench: the median of each metric, in the
// order of the output. Allocations are left to the benchmarks' own readers.
func parse(dir, out string) []figure {
	prefix := prefixOf(dir)
	samples := map[string][]float64{}
	units := map[string]string{}
	var order []string
	own := map[string]bool{} // benchmarks with metrics of their own
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		if _, err := strconv.Atoi(f[1]); err != nil {
			continue
		}
		name := strings.TrimPrefix(f[0], "Benchmark")
		if i := strings.LastIndexByte(name, '-'); i > 0 {
			if _, err := strconv.Atoi(name[i+1:]); err == nil {
				name = name[:i] // the number of cores
			}
		}
		for i := 2; i+1 < len(f); i += 2 {
			v, err := strconv.ParseFloat(f[i], 64)
			unit := f[i+1]
			if err != nil || unit == "B/op" || unit == "allocs/op" || unit == "MB/s" {
				continue
			}
			key := prefix + name
			if unit != "ns/op" {
				own[key] = true
				key += ":" + unit
			} else {
				unit = "ns"
			}
			if _, ok := samples[key]; !ok {
				order = append(order, key)
			}
			samples[key], units[key] = append(samples[key], v), unit
		}
	}
	var list []figure
	for _, key := range order {
		// The time of a benchmark that reports its own holds its preparation.
		if units[key] == "ns" && own[key] && (strings.HasPrefix(prefix, "kubelogin/") || median(samples[key]) == 0) {
			continue
		}
		list = append(list, figure{Name: key, Value: median(samples[key]), Unit: units[key]})
	}
	return list
}

// prefixOf is what the names of a directory's benchmarks begin with: the group,
// and the package where the group has several.
func prefixOf(dir string) string {
	parts := strings.Split(dir, "/")
	name, ok := groupOf[dir]
	if ok {
		return name + "/" + parts[len(parts)-1] + "/"
	}
	if parts[0] == "kube" {
		return strings.TrimSuffix(parts[1], "bench") + "/kubernetes/"
	}
	return strings.Join(parts[1:], "/") + "/"
}

func median(list []float64) float64 { return quantile(list, 0.5) }

// quantile returns the smallest value that a share q of the list does not
// exceed.
func quantile(list []float64, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(list))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
