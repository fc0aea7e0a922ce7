package main

import "time"

// scale holds the sizes of the workloads.
type scale struct {
	rounds   int
	duration time.Duration

	// streams and connections are the sizes of fan-out. pacedStreams have one connection each.
	streams, connections, pacedStreams int
	// stallEvents is the number of events that fill the buffers of a connection and of its server,
	// 64 KiB each, for a stream that does not read.
	stallEvents int64
	// latencyStreams is the number of streams of the latency workload.
	latencyStreams int
	// idleStreams is the number of streams of F4, on idleConnections connections.
	idleStreams, idleConnections int
	// replayEvents is the number of events of a replay from memory. They MUST fit into the
	// gateway's ring.
	replayEvents      int
	replaySubscribers []int
	// logEvents is the number of events in the log on the disk.
	logEvents int
	// pageSizes lists the numbers of events per page of L1.
	pageSizes []int
	// stormSubscribers streams start within the last stormEvents of the log. They are canceled
	// after stormLimit.
	stormSubscribers, stormEvents int
	stormLimit                    time.Duration
	// intake lists the numbers of concurrent posts.
	intake []int
	// unsettledEvents is the number of events that are appended before a kill.
	unsettledEvents int
	// idleCallers and idleChannels are the sizes of the configuration of an idle gateway. It is
	// measured for the duration of watch, in which it checks its files several times.
	idleCallers, idleChannels int
	watch                     time.Duration
	// settle is the time that a process idles before its memory is read.
	settle time.Duration
	// build means to build the gateway and measure its size.
	build bool
}

func fullScale() scale {
	return scale{
		rounds: 5, duration: 4 * time.Second,
		streams: 1000, connections: 100, pacedStreams: 1000, latencyStreams: 100,
		stallEvents: 600,
		idleStreams: 10_000, idleConnections: 1000,
		replayEvents: 80_000, replaySubscribers: []int{1, 20, 200},
		logEvents: 1_000_000, pageSizes: []int{100, 1000},
		stormSubscribers: 1000, stormEvents: 100_000, stormLimit: 30 * time.Second,
		intake:      []int{1, 16, 64, 256},
		idleCallers: 2000, idleChannels: 200, watch: 20 * time.Second,
		unsettledEvents: 1000, settle: 5 * time.Second, build: true,
	}
}

// quickScale returns sizes for a run of all workloads within a few minutes.
func quickScale() scale {
	s := fullScale()
	s.rounds, s.duration = 1, time.Second
	s.replayEvents, s.logEvents = 20_000, 100_000
	s.stormEvents, s.stormLimit = 20_000, 10*time.Second
	s.settle, s.watch = 2*time.Second, 10*time.Second
	return s
}
