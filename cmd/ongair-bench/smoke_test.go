package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain runs the program itself if the arguments name a server: the workloads start their
// servers by running this binary again.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && strings.HasPrefix(os.Args[1], "serve-") {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) //nolint:forbidigo // the end of the program
	}
	os.Exit(m.Run()) //nolint:forbidigo // the end of a test binary
}

func TestEveryWorkloadRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("starts about forty processes")
	}
	sizes := scale{
		rounds: 1, duration: 100 * time.Millisecond,
		streams: 20, connections: 4, pacedStreams: 10, latencyStreams: 10, stallEvents: 50,
		idleStreams: 20, idleConnections: 4,
		replayEvents: 200, replaySubscribers: []int{1, 3},
		logEvents: 2000, pageSizes: []int{7, 1000},
		stormSubscribers: 10, stormEvents: 1000, stormLimit: 10 * time.Second,
		intake:      []int{1, 4},
		idleCallers: 20, idleChannels: 2, watch: 100 * time.Millisecond,
		unsettledEvents: 10, settle: 100 * time.Millisecond,
	}
	r, err := measureAll(t.Context(), workloads(), sizes, t.TempDir(), "", t.Output())
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, trial := range r.Trials {
		seen[trial.Workload] = true
		for _, v := range trial.Variants {
			assert.NotEmpty(t, v.Median, "%s, %s", trial.Name, v.Name)
		}
		for _, g := range trial.Goals {
			// B2 does not build the gateway here, and the CPU time is below the kernel's
			// resolution.
			if g.Metric != binary && g.Metric != cpuPerUnit {
				assert.NotNil(t, g.Met, "%s: %s", trial.Name, g.Goal)
			}
		}
	}
	for _, w := range workloads() {
		assert.True(t, seen[w.id], w.id)
	}
}

func TestCommandLines(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		code int
		out  string
	}{
		{"help succeeds", []string{"--help"}, 0, "Usage: ongair-bench"},
		{"an unknown workload", []string{"F1", "X9"}, 1, `ongair-bench: unknown workload "X9": see --help` + "\n"},
		{"too many rounds", []string{"--rounds", "1000"}, 1, "ongair-bench: invalid rounds: use 1 to 100\n"},
		{"an unknown flag", []string{"--fast"}, 1, "unknown flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			assert.Equal(t, tt.code, run(t.Context(), tt.args, strings.NewReader(""), &out, &out))
			assert.Contains(t, out.String(), tt.out)
		})
	}
}
