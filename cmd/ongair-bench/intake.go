package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// intakeOf posts to a server over concurrent connections, and then stops it.
func (r *runner) intakeOf(ctx context.Context, server *process, concurrency int) (_ sample, err error) {
	defer func() { err = errors.Join(err, server.stop()) }()
	posters, err := dialPosters(ctx, server.Post, typeForm, concurrency)
	if err != nil {
		return nil, err
	}
	defer closePosters(posters)
	events := newBodies()
	post := func(ctx context.Context, duration time.Duration) ([]time.Duration, error) {
		timed, cancel := context.WithTimeout(ctx, duration)
		defer cancel()
		return postUntilDone(timed, posters, events)
	}
	if _, err := post(ctx, r.duration/warmUp); err != nil {
		return nil, err
	}
	var took []time.Duration
	s, err := r.measure(ctx, server, func(ctx context.Context) (_ float64, err error) {
		took, err = post(ctx, r.duration)
		return float64(len(took)), err
	})
	if err != nil {
		return nil, err
	}
	s.latencies(took)
	return s, nil
}

// intakeVariant starts a server in an empty directory and posts to it.
func (r *runner) intakeVariant(name string, concurrency int, start func(ctx context.Context, dir string) (*process, error)) variant {
	return variant{name, func(ctx context.Context) (sample, error) {
		dir, err := r.newDir()
		if err != nil {
			return nil, err
		}
		server, err := start(ctx, dir)
		if err != nil {
			return nil, err
		}
		return r.intakeOf(ctx, server, concurrency)
	}}
}

// concurrentIntake compares the gateway with one publish per post.
func concurrentIntake(_ context.Context, w *workbench) ([]trial, error) {
	const baseline = "one publish each"
	var trials []trial
	for _, concurrency := range w.intake {
		t := trial{
			name: fmt.Sprintf("I1, %d at a time", concurrency), unit: "posts",
			variants: []variant{
				w.intakeVariant(baseline, concurrency, func(ctx context.Context, dir string) (*process, error) {
					return w.start(ctx, "serve-publish", "--dir", dir)
				}),
				w.intakeVariant(gateway, concurrency, w.startGateway),
			},
			goals: []goal{{metric: rate, against: baseline, compare: ratio, limit: 1, text: "never slower"}},
		}
		if concurrency == 256 {
			t.goals = append(t.goals, goal{metric: rate, against: baseline, compare: ratio, limit: 8, text: "≥ 8 × posts/s"})
		}
		trials = append(trials, t)
	}
	return trials, nil
}

// sequentialIntake compares the gateway with one fsync per post.
func sequentialIntake(_ context.Context, w *workbench) ([]trial, error) {
	const baseline = "handler and fsync"
	return []trial{{
		name: "I2", unit: "posts",
		variants: []variant{
			w.intakeVariant(baseline, 1, func(ctx context.Context, dir string) (*process, error) {
				return w.start(ctx, "serve-fsync", "--dir", dir)
			}),
			w.intakeVariant(gateway, 1, w.startGateway),
		},
		goals: []goal{{metric: p50, against: baseline, compare: ratio, limit: 1.5, atMost: true, text: "≤ 1.5 × latency (p50)"}},
	}}, nil
}
