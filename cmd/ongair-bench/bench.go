package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// benchCmd runs workloads.
type benchCmd struct {
	Rounds    int           `help:"Number of rounds of each workload (default 5, quick 1)."`
	Duration  time.Duration `help:"Measured time of each variant in each round, if the workload has no fixed amount of work (default 4s, quick 1s)."`
	Quick     bool          `help:"Check that everything works, on a tenth of the log. The figures are not reliable."`
	JSON      string        `help:"Write the figures of all rounds to this file as JSON." type:"path" placeholder:"FILE"`
	Dir       string        `help:"Directory for the files, on the disk whose fsync is measured (default: the system's temporary directory)." type:"path"`
	Profile   string        `help:"Write a CPU profile of each gateway's first round into this directory." type:"path" placeholder:"DIR"`
	Workloads []string      `arg:"" optional:"" name:"workload" help:"Workloads to run: F1 to F5, R1 to R3, I1, I2, S1 to S3, W1, W2, L1, K1, B1, B2."`
}

// Run runs the named workloads.
func (c *benchCmd) Run(ctx context.Context, io stdio) error {
	if c.Rounds < 0 || c.Rounds > 100 {
		return errors.New("invalid rounds: use 1 to 100")
	}
	if c.Duration < 0 || c.Duration > 10*time.Minute {
		return errors.New("invalid duration: use at most 10m")
	}
	chosen, err := choose(c.Workloads)
	if err != nil {
		return err
	}
	sizes := fullScale()
	if c.Quick {
		sizes = quickScale()
	}
	if c.Rounds > 0 {
		sizes.rounds = c.Rounds
	}
	if c.Duration > 0 {
		sizes.duration = c.Duration
	}
	report, err := measureAll(ctx, chosen, sizes, c.Dir, c.Profile, io.err)
	if err != nil {
		return err
	}
	if c.JSON != "" {
		encoded, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(c.JSON, append(encoded, '\n'), 0o600); err != nil {
			return err
		}
	}
	return report.write(io.out)
}

// workloads returns all workloads in the order in which they run.
func workloads() []workload {
	return []workload{
		{"F1", "fan-out, flat out", fanOutFlatOut},
		{"F2", "paced fan-out, one connection per stream", fanOutPaced},
		{"F3", "latency from POST to subscriber", deliveryLatency},
		{"F4", "memory of idle streams", idleMemory},
		{"F5", "streams that never read", stalledStreams},
		{"R1", "replay from memory", replayFromMemory},
		{"R2", "replay from disk", replayFromDisk},
		{"R3", "storm of resumptions", resumeStorm},
		{"I1", "concurrent intake", concurrentIntake},
		{"I2", "intake, one at a time", sequentialIntake},
		{"S1", "sends", sends},
		{"S2", "sends with a request_id", keyedSends},
		{"S3", "sends over REST", restSends},
		{"W1", "streams of Server-Sent Events", webStreams},
		{"W2", "latency of Server-Sent Events", webLatency},
		{"L1", "pages of events", listPages},
		{"K1", "an idle gateway with many callers", idleCallers},
		{"B1", "start with a full log", startTime},
		{"B2", "footprint", footprint},
	}
}

// choose returns the named workloads, or all if none is named.
func choose(names []string) ([]workload, error) {
	all := workloads()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []workload
	for _, name := range names {
		i := slices.IndexFunc(all, func(w workload) bool { return strings.EqualFold(w.id, name) })
		if i < 0 {
			return nil, fmt.Errorf("unknown workload %q: see --help", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// measureAll runs workloads. Their files are in a new directory under dir, which is removed at
// the end.
func measureAll(ctx context.Context, chosen []workload, sizes scale, dir, profiles string, log io.Writer) (_ *report, err error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err = os.MkdirTemp(dir, "ongair-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if profiles != "" {
		if err := os.MkdirAll(profiles, 0o700); err != nil {
			return nil, err
		}
	}
	r := &runner{scale: sizes, program: program, dir: dir, profiles: profiles, log: log}
	result := newReport(sizes)
	for _, w := range chosen {
		measured, err := r.run(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.id, err)
		}
		result.Trials = append(result.Trials, measured...)
	}
	return result, nil
}
