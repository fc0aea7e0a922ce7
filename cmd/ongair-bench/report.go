package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// report holds the results of a run.
type report struct {
	Machine machine    `json:"machine"`
	Rounds  int        `json:"rounds"`
	Seconds float64    `json:"seconds"`
	Trials  []measured `json:"trials"`
}

// machine describes the machine on which a run took place.
type machine struct {
	Cores  int    `json:"cores"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// measured is a trial and its figures.
type measured struct {
	Workload string            `json:"workload"`
	About    string            `json:"about"`
	Name     string            `json:"name"`
	Unit     string            `json:"unit"`
	Variants []measuredVariant `json:"variants"`
	Goals    []verdict         `json:"goals"`
}

// measuredVariant is a variant and its figures.
type measuredVariant struct {
	Name   string   `json:"name"`
	Median sample   `json:"median"`
	Rounds []sample `json:"rounds"`
}

func newReport(s scale) *report {
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		kernel = []byte("unknown")
	}
	return &report{
		Machine: machine{Cores: runtime.NumCPU(), Kernel: strings.TrimSpace(string(kernel)), Go: runtime.Version()},
		Rounds:  s.rounds,
		Seconds: s.duration.Seconds(),
	}
}

// write writes the report as two Markdown tables: figures, then goals.
func (r *report) write(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%d cores, Linux %s, %s. Medians of %d rounds of %s s.\n\n",
		r.Machine.Cores, r.Machine.Kernel, r.Machine.Go, r.Rounds, significant(r.Seconds))
	figures := [][]string{{"trial", "variant", "throughput", "CPU each", "p50", "p99", "p99.9", "memory", "cores: server + load", "other"}}
	goals := [][]string{{"trial", "figure", "against", "goal", "measured", "met"}}
	for _, t := range r.Trials {
		for _, v := range t.Variants {
			figures = append(figures, figureRow(t, v))
		}
		for _, g := range t.Goals {
			goals = append(goals, goalRow(t, g))
		}
	}
	writeTable(&b, figures)
	b.WriteByte('\n')
	writeTable(&b, goals)
	_, err := io.WriteString(w, b.String())
	return err
}

func figureRow(t measured, v measuredVariant) []string {
	m := maps.Clone(v.Median)
	take := func(name metric, unit string) string {
		value, ok := m[name]
		delete(m, name)
		if !ok {
			return "–"
		}
		return significant(value) + unit
	}
	cores := take(serverCPU, "")
	if load := take(loadCPU, ""); load != "–" {
		cores += " + " + load
	}
	row := []string{
		t.Name, v.Name, take(rate, " "+t.Unit+"/s"), take(cpuPerUnit, " µs"),
		take(p50, " ms"), take(p99, " ms"), take(p999, " ms"), take(memory, " MB"), cores,
	}
	var rest []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		rest = append(rest, string(name)+" "+significant(m[name]))
	}
	return append(row, strings.Join(rest, ", "))
}

func goalRow(t measured, g verdict) []string {
	figure, met := "–", "not measured"
	if g.Met != nil {
		figure, met = significant(g.Figure), "no"
		if *g.Met {
			met = "yes"
		}
		if g.Kind == "ratio" {
			figure += " ×"
		}
	}
	return []string{t.Name, string(g.Metric), g.Against, g.Goal, figure, met}
}

func writeTable(b *strings.Builder, rows [][]string) {
	for i, row := range rows {
		fmt.Fprintf(b, "| %s |\n", strings.Join(row, " | "))
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
}

// significant formats a figure with three significant digits and thousands separators.
func significant(v float64) string {
	switch a := max(v, -v); {
	case v == 0:
		return "0"
	case a >= 1000:
		digits := strconv.FormatFloat(v, 'f', 0, 64)
		for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
			digits = digits[:i] + "," + digits[i:]
		}
		return digits
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.01:
		return strconv.FormatFloat(v, 'f', 2, 64)
	default:
		return strconv.FormatFloat(v, 'g', 2, 64)
	}
}
