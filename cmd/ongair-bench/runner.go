package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"
)

// workload is one line of the goals.
type workload struct {
	id, about string
	// trials prepares what they share. What it starts is stopped at the end of the
	// workload (workbench.atEnd).
	trials func(context.Context, *workbench) ([]trial, error)
}

// trial is a comparison: variants that do the same work.
type trial struct {
	name string
	// unit is what throughput and CPU time count.
	unit string
	// variants in the order in which each round runs them.
	variants []variant
	goals    []goal
}

// variant is one way to do the work of a trial.
type variant struct {
	name string
	// run does it once. It starts from the same state each time.
	run func(context.Context) (sample, error)
}

// gateway is the name of the variant that goals are about, unless they say so.
const gateway = "gateway"

// runner runs workloads.
type runner struct {
	scale
	program  string // this one, to be run again
	dir      string
	profiles string // where CPU profiles go; empty for none
	log      io.Writer

	// prepared is the directory of the log on the disk, once it is made.
	prepared string
	// profile is the file that the next measurement of a gateway profiles into.
	profile string
}

// workbench is what a workload works with: the runner, and an end.
type workbench struct {
	*runner
	closers []func() error
}

// atEnd has f called when the workload is over, the last one first.
func (w *workbench) atEnd(f func() error) { w.closers = append(w.closers, f) }

func (w *workbench) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// run runs one workload: every trial, its variants alternating.
func (r *runner) run(ctx context.Context, w workload) (_ []measured, err error) {
	bench := &workbench{runner: r}
	defer func() { err = errors.Join(err, bench.close()) }()
	r.say("%s, %s: preparing", w.id, w.about)
	trials, err := w.trials(ctx, bench)
	if err != nil {
		return nil, err
	}
	var all []measured
	for _, t := range trials {
		m := measured{Workload: w.id, About: w.about, Name: t.name, Unit: t.unit}
		rounds := make([][]sample, len(t.variants))
		for round := range r.rounds {
			for i, v := range t.variants {
				if r.profiles != "" && round == 0 {
					r.profile = filepath.Join(r.profiles, fileName(t.name+" "+v.name)+".pprof")
				}
				s, err := v.run(ctx)
				r.profile = ""
				if err != nil {
					return nil, fmt.Errorf("%s, %s: %w", t.name, v.name, err)
				}
				r.say("%s, round %d, %s: %s", t.name, round+1, v.name, s.brief())
				rounds[i] = append(rounds[i], s)
			}
		}
		for i, v := range t.variants {
			m.Variants = append(m.Variants, measuredVariant{Name: v.name, Median: medians(rounds[i]), Rounds: rounds[i]})
		}
		for _, g := range t.goals {
			m.Goals = append(m.Goals, g.judge(m.Variants))
		}
		all = append(all, m)
	}
	return all, nil
}

// say tells whoever waits what goes on.
func (r *runner) say(format string, args ...any) {
	_, _ = fmt.Fprintf(r.log, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...) // who watches may have gone
}

// fileName makes a name of a file out of any text.
func fileName(text string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '-'
	}, text)
}
