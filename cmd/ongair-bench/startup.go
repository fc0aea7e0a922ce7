package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// startTime measures starts with a full log, after a clean stop and after a kill.
//
// The log's duplicate window is set to a tenth of a second before each start. All events are then
// older than the window, and JetStream has no ids to restore. A gateway sets its own window again
// when the log is open.
func startTime(ctx context.Context, w *workbench) ([]trial, error) {
	const baseline = "embedded server"
	prepared, err := w.preparedLog(ctx)
	if err != nil {
		return nil, err
	}
	embedded := func(ctx context.Context, dir string) (*process, error) {
		return w.start(ctx, "serve-jetstream", "--dir", dir)
	}
	var trials []trial
	for _, after := range []struct {
		name  string
		leave func(context.Context, string) error
		goals []goal
	}{
		{"B1, after a clean stop", w.leaveStopped, []goal{{
			metric: readySeconds, against: baseline, compare: difference, limit: 0.3, atMost: true, text: "≤ baseline + 0.3 s",
		}}},
		{"B1, after kill -9", w.leaveKilled, []goal{{
			metric: readySeconds, limit: max(1, float64(w.logEvents)/1e6), atMost: true, text: "≤ 1 s per million events",
		}}},
	} {
		// The two trials have separate logs, because a kill leaves events behind.
		dir, err := w.copyLog(prepared)
		if err != nil {
			return nil, err
		}
		start := func(name string, open func(context.Context, string) (*process, error)) variant {
			return variant{name, func(ctx context.Context) (sample, error) {
				if err := after.leave(ctx, dir); err != nil {
					return nil, err
				}
				return startOnce(ctx, dir, open)
			}}
		}
		trials = append(trials, trial{
			name: after.name, unit: "starts",
			variants: []variant{start(baseline, embedded), start(gateway, w.startGateway)},
			goals:    after.goals,
		})
	}
	return trials, nil
}

// startOnce starts a server, reads its usage and stops it.
func startOnce(ctx context.Context, dir string, open func(context.Context, string) (*process, error)) (_ sample, err error) {
	server, err := open(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	used, err := readUsage(server)
	if err != nil {
		return nil, err
	}
	return sample{
		readySeconds: server.ready.Seconds(),
		serverCPU:    used.server.Seconds() / server.ready.Seconds(),
		memory:       float64(used.memory) / megabyte,
	}, nil
}

// leaveStopped leaves a data directory as a clean stop does.
func (r *runner) leaveStopped(ctx context.Context, dir string) error {
	server, err := r.start(ctx, "serve-log", "--dir", dir)
	if err != nil {
		return err
	}
	return server.stop()
}

// leaveKilled leaves a data directory as a kill during intake does.
func (r *runner) leaveKilled(ctx context.Context, dir string) error {
	server, err := r.start(ctx, "serve-log", "--dir", dir, "--sync", "--append", strconv.Itoa(r.unsettledEvents))
	if err != nil {
		return err
	}
	return server.crash()
}

// footprint measures the memory of an idle gateway and the size of its program.
func footprint(ctx context.Context, w *workbench) ([]trial, error) {
	size := 0.0
	if w.build {
		var err error
		if size, err = w.binarySize(ctx); err != nil {
			w.logf("skipped the size of the gateway because it cannot be built: %v", err)
		}
	}
	return []trial{{
		name: "B2", unit: "",
		variants: []variant{{gateway, func(ctx context.Context) (_ sample, err error) {
			server, err := w.freshGateway(ctx)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, server.stop()) }()
			if err := sleep(ctx, w.settle); err != nil {
				return nil, err
			}
			bytes, err := anonymousMemory(server.pid)
			s := sample{memory: float64(bytes) / megabyte}
			if size > 0 {
				s[binary] = size / megabyte
			}
			return s, err
		}}},
		goals: []goal{
			{metric: memory, limit: 24, atMost: true, text: "anonymous memory ≤ 24 MB"},
			{metric: binary, limit: 45, atMost: true, text: "stripped binary ≤ 45 MB"},
		},
	}}, nil
}

// binarySize returns the size in bytes of the gateway's program, built for a release.
func (r *runner) binarySize(ctx context.Context) (float64, error) {
	path, err := r.buildGateway(ctx)
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()), nil
}

// buildGateway builds the gateway's program as for a release, and returns its path.
func (r *runner) buildGateway(ctx context.Context) (string, error) {
	path := filepath.Join(r.dir, "ongair-gateway")
	build := exec.CommandContext(ctx, "go", "build", "-ldflags=-s -w", "-o", path, //nolint:gosec // a path in the temporary directory
		"github.com/ongair/ongair-gateway/cmd/ongair-gateway")
	build.Stderr = r.log
	return path, build.Run()
}
