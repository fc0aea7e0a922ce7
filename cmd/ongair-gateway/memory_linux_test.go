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

// memory is the memory use of a process, in bytes.
type memory struct {
	// heap is the live Go heap after a collection.
	heap int
	// anonymous is the memory that is not backed by a file.
	anonymous int
}

// memory collects garbage and measures the remaining memory.
func (g *gateway) memory(t *testing.T) memory {
	t.Helper()
	_, profile := get(t, "http://"+g.Admin+"/debug/pprof/heap?gc=1&debug=1")
	rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", g.cmd.Process.Pid))
	require.NoError(t, err)
	return memory{
		heap:      numberAfter(t, profile, "# HeapAlloc = "),
		anonymous: numberAfter(t, string(rollup), "Anonymous: ") << 10, // in kB
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
	require.FailNow(t, "missing line: "+prefix)
	return 0
}

// steps is the number of parts in which events are posted. After each part, the readers catch up
// and memory is measured.
const steps = 20

// measure posts events in steps and waits for the readers after each step. It returns the memory
// after each step, from the step that fills the ring.
func (c *crowd) measure(t *testing.T, events int, text string) []memory {
	t.Helper()
	var samples []memory
	for i := range steps {
		posted := (i + 1) * events / steps
		c.post(t, i*events/steps, posted, text)
		c.await(t, c.readers, posted)
		now := c.memory(t)
		t.Logf("%d events: %d kB of live heap, %d kB anonymous", posted, now.heap>>10, now.anonymous>>10)
		if posted*len(text) >= fanout.DefaultRingBytes {
			samples = append(samples, now)
		}
	}
	return samples
}

// assertFlat asserts that the maximum of memory in the second half of the samples does not exceed
// that in the first half by margin for the live heap, and by twice the margin for anonymous memory.
func assertFlat(t *testing.T, samples []memory, margin int) {
	t.Helper()
	byHeap := func(a, b memory) int { return a.heap - b.heap }
	byAnonymous := func(a, b memory) int { return a.anonymous - b.anonymous }
	before, after := samples[:len(samples)/2], samples[len(samples)/2:]
	assert.Less(t, slices.MaxFunc(after, byHeap).heap, slices.MaxFunc(before, byHeap).heap+margin)
	// Garbage may be as large as the live heap, and its pages are returned late.
	assert.Less(t, slices.MaxFunc(after, byAnonymous).anonymous, slices.MaxFunc(before, byAnonymous).anonymous+2*margin)
}

// The margins detect a leak of 16 bytes for each event and stalled subscriber. In the second half
// of the samples, such a leak would add 142 MB in the long form and 23 MB in the short form. The
// short form has fewer events. So it has more stalled subscribers, and events so large that the
// ring turns over five times. The margins exceed the measured difference between steps, which is
// 7 MB in the short form and 20 MB with 180 readers. Most of that is blocks of the log that
// nats-server caches.
//
// The log keeps no more than the ring. Otherwise nats-server's cache, which has the writes of the
// last 10 s, would be larger than the leak.
func TestStalledSubscribersDoNotUseMemoryOrLoseEvents(t *testing.T) {
	events, text := Rounds(20_000, 1_000_000), strings.Repeat("x", Rounds(8<<10, 250))
	_, sandbox := silentSandbox(t)
	g := serve(t, oneChannel(sandbox), "--data-dir", t.TempDir(), "--duplicate-window", "1s", "--retention-bytes", "32MiB")
	c := join(t, g, Rounds(20, 180), Rounds(180, 20))
	assertFlat(t, c.measure(t, events, text), Rounds(16, 32)<<20)
	assert.Equal(t, events, len(c.readers[0].ids), "the ids of all events differ")
	// There is no Verify, because Durable fails if retention has removed events.
}

// In the short form the ring does not fill, so only the test above measures memory.
func TestAStalledStreamAmongManyGetsAllEventsLater(t *testing.T) {
	events, text := Rounds(5_000, 200_000), strings.Repeat("x", Rounds(2<<10, 250))
	_, sandbox := silentSandbox(t)
	g := serve(t, oneChannel(sandbox), "--data-dir", t.TempDir(), "--duplicate-window", "1s")
	c := join(t, g, Rounds(50, 1000), 2)
	samples := c.measure(t, events, text)
	if len(samples) > 1 {
		assertFlat(t, samples, 32<<20) // the log keeps all events, and nats-server caches new ones
	}
	assert.Equal(t, events, len(c.readers[0].ids), "the ids of all events differ")
	for _, m := range c.stalled {
		events, _ := m.saw()
		assert.Zero(t, events)
		c.reading.Go(m.read)
	}
	c.await(t, c.stalled, events)
	c.recorded(t, events, text).Verify(c.endpoints())
}
