package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// metric is the name of a figure, with its unit.
type metric string

// The metrics that have a column in the report.
const (
	rate       metric = "rate"         // units of work per second
	cpuPerUnit metric = "cpu_us"       // CPU time of the server per unit of work, in µs
	p50        metric = "p50_ms"       // latency in ms
	p99        metric = "p99_ms"       // latency in ms
	p999       metric = "p99.9_ms"     // latency in ms
	memory     metric = "memory_mb"    // anonymous memory of the server in MB
	serverCPU  metric = "server_cores" // CPU time of the server over the measured time
	loadCPU    metric = "load_cores"   // CPU time of the load over the measured time
)

// The metrics of some workloads, which share the last column of the report.
const (
	memoryGrowth metric = "memory_growth_mb"     // growth of the anonymous memory over the measured time
	perStream    metric = "memory_per_stream_kb" // anonymous memory per stream
	timesRead    metric = "times_log_read"       // bytes read over the size of the range
	finished     metric = "finished"             // share of the streams that reached the end
	broken       metric = "broken"               // streams that ended with an error
	readySeconds metric = "ready_s"              // time from the start of the process until it is ready
	emptyPages   metric = "empty_pages"          // pages without events before the end of the log
	perWrite     metric = "per_write"            // deliveries per write to a socket or file
	binary       metric = "binary_mb"            // size of the stripped binary
	checkSeconds metric = "check_s"              // duration of a config check

	upstreamConnections metric = "connections" // connections to the stand-in for Ongair
)

// megabyte is a million bytes.
const megabyte = 1e6

// sample holds the figures of one run of a variant.
type sample map[metric]float64

// latencies adds the percentiles of durations to the sample.
func (s sample) latencies(d []time.Duration) {
	if len(d) == 0 {
		return
	}
	slices.Sort(d)
	for m, share := range map[metric]float64{p50: 0.5, p99: 0.99, p999: 0.999} {
		s[m] = float64(percentile(d, share)) / float64(time.Millisecond)
	}
}

// brief returns the sample in one line.
func (s sample) brief() string {
	var parts []string
	for _, m := range slices.Sorted(maps.Keys(s)) {
		parts = append(parts, fmt.Sprintf("%s %s", m, significant(s[m])))
	}
	return strings.Join(parts, ", ")
}

// percentile returns the value of sorted below which the given share of the values lies. sorted
// MUST NOT be empty.
func percentile(sorted []time.Duration, share float64) time.Duration {
	i := int(share * float64(len(sorted)))
	return sorted[min(i, len(sorted)-1)]
}

// medians returns the median of each metric over the rounds that have it.
func medians(rounds []sample) sample {
	values := map[metric][]float64{}
	for _, s := range rounds {
		for m, v := range s {
			values[m] = append(values[m], v)
		}
	}
	result := sample{}
	for m, v := range values {
		result[m] = median(v)
	}
	return result
}

// median sorts values and returns their median, or 0 if there are none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	middle := len(values) / 2
	if len(values)%2 == 1 {
		return values[middle]
	}
	return (values[middle-1] + values[middle]) / 2
}
