package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/fanout"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// memory is what a process takes at a moment, in bytes.
type memory struct {
	// heap is what is alive on the Go heap, told right after a collection.
	heap int
	// anonymous is all that no file is behind.
	anonymous int
}

// memory collects garbage, and measures what is left.
func (g *gateway) memory(t *testing.T) memory {
	t.Helper()
	_, profile := get(t, "http://"+g.Admin+"/debug/pprof/heap?gc=1&debug=1")
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", g.cmd.Process.Pid))
	require.NoError(t, err)
	return memory{
		heap:      numberAfter(t, profile, "# HeapAlloc = "),
		anonymous: numberAfter(t, string(rollup), "Anonymous: ") << 10, // it is in kB
	}
}

// numberAfter returns the number in the line that begins with prefix.
func numberAfter(t *testing.T, text, prefix string) int {
	t.Helper()
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(rest), " kB"))
			require.NoError(t, err)
			return n
		}
	}
	require.FailNow(t, "there is no line "+prefix)
	return 0
}

// steps is in how many parts events are posted. After each of them everybody
// catches up, and memory is measured.
const steps = 20

// measured posts events and waits until the readers have them, step by step. It
// returns what memory was after each step from when the ring was full.
func (c *crowd) measured(t *testing.T, events int, text string) []memory {
	t.Helper()
	var samples []memory
	for i := range steps {
		posted := (i + 1) * events / steps
		c.post(t, i*events/steps, posted, text)
		c.await(t, c.readers, posted)
		now := c.memory(t)
		t.Logf("%d events: %d kB alive, %d kB anonymous", posted, now.heap>>10, now.anonymous>>10)
		if posted*len(text) >= fanout.DefaultRingBytes {
			samples = append(samples, now)
		}
	}
	return samples
}

// assertFlat asserts that memory was never more in the second half of what was
// sampled than in the first half, but for a margin on what is alive.
func assertFlat(t *testing.T, samples []memory, margin int) {
	t.Helper()
	byHeap := func(a, b memory) int { return a.heap - b.heap }
	byAnonymous := func(a, b memory) int { return a.anonymous - b.anonymous }
	before, after := samples[:len(samples)/2], samples[len(samples)/2:]
	assert.Less(t, slices.MaxFunc(after, byHeap).heap, slices.MaxFunc(before, byHeap).heap+margin)
	// Garbage may be as much as what is alive, and its pages are given back late.
	assert.Less(t, slices.MaxFunc(after, byAnonymous).anonymous, slices.MaxFunc(before, byAnonymous).anonymous+2*margin)
}

// What a leak of one small thing for each event and each subscriber that does not
// read would add to the second half is 16 bytes times the events of half of what
// is sampled times those subscribers: 142 MB in the long form and 23 MB in the short
// one, which has fewer events and therefore more who do not read, and larger events
// so that the ring turns over five times. The margins are below that and above what
// is alive was seen to differ from step to step: 7 MB in the short form, 20 MB with
// 180 readers, most of it blocks of the log that nats-server caches.
//
// The log keeps no more than the ring, because nats-server caches what was written
// in the last 10 s, which would be more than is looked for here.
func TestStalledSubscribersCostNoMemoryAndNoEvents(t *testing.T) {
	events, text := Rounds(20_000, 1_000_000), strings.Repeat("x", Rounds(8<<10, 250))
	_, sandbox := silentSandbox(t)
	g := serve(t, oneChannel(sandbox), "--data-dir", t.TempDir(), "--duplicate-window", "1s", "--retention-bytes", "32MiB")
	c := join(t, g, Rounds(20, 180), Rounds(180, 20))
	assertFlat(t, c.measured(t, events, text), Rounds(16, 32)<<20)
	assert.Equal(t, events, len(c.readers[0].ids), "each event is another one")
	// No Verify: retention has removed most of what was posted, and Durable denies it.
}

// In the short form the ring does not fill, and what memory does is left to the
// test above.
func TestAStalledStreamAmongManyGetsEverythingLater(t *testing.T) {
	events, text := Rounds(5_000, 200_000), strings.Repeat("x", Rounds(2<<10, 250))
	_, sandbox := silentSandbox(t)
	g := serve(t, oneChannel(sandbox), "--data-dir", t.TempDir(), "--duplicate-window", "1s")
	c := join(t, g, Rounds(50, 1000), 2)
	samples := c.measured(t, events, text)
	if len(samples) > 1 {
		assertFlat(t, samples, 32<<20) // the log keeps everything, and nats-server caches what is new
	}
	assert.Equal(t, events, len(c.readers[0].ids), "each event is another one")
	for _, m := range c.stalled {
		events, _ := m.saw()
		assert.Zero(t, events)
		c.reading.Go(m.read)
	}
	c.await(t, c.stalled, events)
	c.recorded(t, events, text).Verify(c.endpoints())
}
