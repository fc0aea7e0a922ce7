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

// workload is a group of trials that is run and named as one.
type workload struct {
	id, about string
	// trials prepares the trials and their shared state. Servers that it starts are stopped at the
	// end of the workload (workbench.atEnd).
	trials func(context.Context, *workbench) ([]trial, error)
}

// trial is a comparison of variants that do the same work.
type trial struct {
	name string
	// unit is the unit of work that throughput and CPU time count.
	unit string
	// variants are in the order in which each round runs them.
	variants []variant
	goals    []goal
}

// variant is one of the implementations that a trial compares.
type variant struct {
	name string
	// run does the work once. It MUST start from the same state each time.
	run func(context.Context) (sample, error)
}

// gateway is the name of the variant that a goal applies to by default.
const gateway = "gateway"

// runner runs workloads.
type runner struct {
	scale
	program  string // path of this program
	dir      string
	profiles string // directory for CPU profiles, or empty for none
	log      io.Writer

	// prepared is the directory of preparedLog, or empty before its first call.
	prepared string
	// profile is the file for the CPU profile of the next measurement, or empty for none.
	profile string
}

// workbench is a runner with the cleanup functions of one workload.
type workbench struct {
	*runner
	closers []func() error
}

// atEnd registers f to run at the end of the workload, in reverse order of registration.
func (w *workbench) atEnd(f func() error) { w.closers = append(w.closers, f) }

func (w *workbench) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

// run runs all trials of a workload. The variants of a trial alternate.
func (r *runner) run(ctx context.Context, w workload) (_ []measured, err error) {
	bench := &workbench{runner: r}
	defer func() { err = errors.Join(err, bench.close()) }()
	r.logf("%s, %s: preparing", w.id, w.about)
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
				r.logf("%s, round %d, %s: %s", t.name, round+1, v.name, s.brief())
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

// logf prints a line of progress.
func (r *runner) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.log, time.Now().Format(time.TimeOnly)+" "+format+"\n", args...) // stderr may be closed
}

// fileName replaces all characters of text except ASCII letters and digits by hyphens.
func fileName(text string) string {
	return strings.Map(func(c rune) rune {
		if c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
			return c
		}
		return '-'
	}, text)
}
