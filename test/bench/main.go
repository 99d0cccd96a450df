// Command bench measures Entrance. It runs the Go benchmarks of the tree and
// measurements of its own against a cloud that it starts, prints a table and
// writes the figures as JSON. `make bench` and docs/benchmarks.md say how.
//
// A figure that misses its budget is shown and written as such, and is no
// failure of the run: the exit code is 1 only when something could not be
// measured.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	r := &run{}
	flag.StringVar(&r.group, "group", "", "measure this group alone; see -list")
	flag.StringVar(&r.bin, "bin", "bin", "directory of the binaries")
	flag.StringVar(&r.out, "out", "build/bench.json", "file for the figures")
	flag.IntVar(&r.base, "port-base", 23440, "port base of the clouds that are measured")
	list := flag.Bool("list", false, "list the groups")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := r.main(ctx, *list); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// figure is one line of the table. Names are stable: scripts compare them.
type figure struct {
	Name  string  `json:"name"` // group/what
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Limit is what the value is measured against: the raw cost of what cannot
	// be avoided, or a peer, in the same run and unit. Ratio is Value/Limit.
	Limit *float64 `json:"limit"`
	Ratio *float64 `json:"ratio"`
	// Budget bounds the value, or the ratio when it begins with that word.
	Budget *string `json:"budget"`
	OK     bool    `json:"ok"`
}

// run is one run of the program.
type run struct {
	group, bin, out string
	base            int
	figures         []figure
}

// add notes a figure without a peer.
func (r *run) add(name string, value float64, unit string) {
	r.figures = append(r.figures, newFigure(name, value, unit, 0))
}

// against notes a figure with what it is measured against.
func (r *run) against(name string, value float64, unit string, limit float64) {
	r.figures = append(r.figures, newFigure(name, value, unit, limit))
}

func newFigure(name string, value float64, unit string, limit float64) figure {
	f := figure{Name: name, Value: value, Unit: unit, OK: true}
	if limit != 0 {
		ratio := value / limit
		f.Limit, f.Ratio = &limit, &ratio
	}
	if b, ok := budgets[name]; ok {
		text := b.String()
		f.Budget, f.OK = &text, b.met(f)
	}
	return f
}

func (r *run) main(ctx context.Context, list bool) error {
	groups, err := discover(".")
	if err != nil {
		return err
	}
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.Sort(names)
	if list {
		fmt.Println(strings.Join(names, "\n"))
		return nil
	}
	if r.group != "" {
		if _, ok := groups[r.group]; !ok {
			return fmt.Errorf("there is no group %q; there are: %s", r.group, strings.Join(names, ", "))
		}
		names = []string{r.group}
	}
	if r.bin, err = filepath.Abs(r.bin); err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		start, first := time.Now(), len(r.figures)
		fmt.Fprintf(os.Stderr, "bench: %s ...", name)
		err := groups[name].measure(ctx, r)
		fmt.Fprintf(os.Stderr, " %.0f s\n", time.Since(start).Seconds())
		r.print(r.figures[first:])
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	if err := r.write(); err != nil {
		failed = append(failed, err)
	}
	missed := 0
	for _, f := range r.figures {
		if !f.OK {
			missed++
		}
	}
	fmt.Printf("%d figures in %s; %d miss their budget\n", len(r.figures), r.out, missed)
	return errors.Join(failed...)
}

func (r *run) print(list []figure) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, f := range list {
		limit, ratio, budget, mark := "", "", "", ""
		if f.Limit != nil {
			limit, ratio = "of "+number(*f.Limit), "= "+number(*f.Ratio)
		}
		if f.Budget != nil {
			budget, mark = *f.Budget, "ok"
		}
		if !f.OK {
			mark = "MISSED"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, number(f.Value), f.Unit, limit, ratio, budget, mark)
	}
	w.Flush()
}

// number shows three digits, and all of those before the point.
func number(v float64) string {
	switch {
	case v >= 100 || v == 0:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// write replaces the file with the figures of this run.
func (r *run) write() error {
	b, err := json.MarshalIndent(append([]figure{}, r.figures...), "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.out, append(b, '\n'), 0o644)
}
