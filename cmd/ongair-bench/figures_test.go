package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"no values", nil, 0},
		{"one value", []float64{7}, 7},
		{"the middle of an odd number", []float64{9, 1, 5}, 5},
		{"the mean of the middle two of an even number", []float64{9, 1, 5, 6}, 5.5},
	} {
		t.Run(tt.name, func(t *testing.T) { assert.InDelta(t, tt.want, median(tt.values), 0) })
	}
}

func TestMediansSkipRoundsWithoutTheMetric(t *testing.T) {
	assert.Equal(t, sample{rate: 2, p50: 8}, medians([]sample{{rate: 1, p50: 8}, {rate: 3}, {rate: 2}}))
}

func TestPercentiles(t *testing.T) {
	var d []time.Duration
	for i := 1000; i > 0; i-- {
		d = append(d, time.Duration(i)*time.Millisecond)
	}
	s := sample{}
	s.latencies(d)
	assert.Equal(t, sample{p50: 501, p99: 991, p999: 1000}, s)

	s = sample{}
	s.latencies([]time.Duration{2 * time.Millisecond})
	assert.Equal(t, sample{p50: 2, p99: 2, p999: 2}, s)

	s = sample{}
	s.latencies(nil)
	assert.Empty(t, s)
}

func TestGoals(t *testing.T) {
	variants := []measuredVariant{
		{Name: "bare", Rounds: []sample{{rate: 100, p50: 1}, {rate: 10, p50: 1}, {rate: 100, p50: 9}}},
		{Name: gateway, Rounds: []sample{{rate: 90, p50: 3}, {rate: 9, p50: 2}, {rate: 20, p50: 9}}},
	}
	for _, tt := range []struct {
		name   string
		goal   goal
		figure float64
		met    bool
	}{
		// The ratio of the medians would be 0.2.
		{"a ratio is taken within rounds", goal{metric: rate, against: "bare", compare: ratio, limit: 0.9}, 0.9, true},
		{"a ratio below its limit", goal{metric: rate, against: "bare", compare: ratio, limit: 0.91}, 0.9, false},
		{"a difference", goal{metric: p50, against: "bare", compare: difference, limit: 1, atMost: true}, 1, true},
		{"a difference above its limit", goal{metric: p50, against: "bare", compare: difference, limit: 0.5, atMost: true}, 1, false},
		{"a value", goal{metric: p50, limit: 3, atMost: true}, 3, true},
		{"a goal of another variant", goal{metric: p50, of: "bare", limit: 2}, 1, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := tt.goal.judge(variants)
			require.NotNil(t, v.Met)
			assert.InDelta(t, tt.figure, v.Figure, 1e-9)
			assert.Equal(t, tt.met, *v.Met)
		})
	}
	assert.Nil(t, goal{metric: p99, limit: 1}.judge(variants).Met, "nothing was measured")
}

func TestTheReportIsMarkdown(t *testing.T) {
	met := false
	r := &report{
		Machine: machine{Cores: 2, Kernel: "6.1", Go: "go1.26"}, Rounds: 5, Seconds: 4,
		Trials: []measured{{
			Name: "F1", Unit: "deliveries",
			Variants: []measuredVariant{{Name: "bare", Median: sample{
				rate: 275312, cpuPerUnit: 2.9, p99: 12.34, memory: 100.4, serverCPU: 0.8, loadCPU: 1, timesRead: 0.00123,
			}}},
			Goals: []verdict{
				{Goal: "≥ 0.9 ×", Metric: rate, Against: "bare", Figure: 0.85, Kind: "ratio", Met: &met},
				{Goal: "small", Metric: binary},
			},
		}},
	}
	var b strings.Builder
	require.NoError(t, r.write(&b))
	assert.Equal(t, `2 cores, Linux 6.1, go1.26. Medians of 5 rounds of 4.00 s.

| trial | variant | throughput | CPU each | p50 | p99 | p99.9 | memory | cores: server + load | other |
|---|---|---|---|---|---|---|---|---|---|
| F1 | bare | 275,312 deliveries/s | 2.90 µs | – | 12.3 ms | – | 100 MB | 0.80 + 1.00 | times_log_read 0.0012 |

| trial | figure | against | goal | measured | met |
|---|---|---|---|---|---|
| F1 | rate | bare | ≥ 0.9 × | 0.85 × | no |
| F1 | binary_mb |  | small | – | not measured |
`, b.String())
}

func TestFiguresHaveThreeSignificantDigits(t *testing.T) {
	for value, want := range map[float64]string{
		0: "0", 0.00123: "0.0012", 0.5: "0.50", 9.999: "10.00", 12.34: "12.3", 123.4: "123",
		1234.6: "1,235", 999999.7: "1,000,000", 1234567: "1,234,567", -5.25: "-5.25", -123456: "-123,456",
	} {
		assert.Equal(t, want, significant(value))
	}
}
