package main

import "time"

// scale has the sizes of the workloads.
type scale struct {
	rounds   int
	duration time.Duration

	// streams and connections are those of fan-out. pacedStreams have a connection each.
	streams, connections, pacedStreams int
	// stallEvents is the number of events that fill the buffers of a connection and its server
	// for a stream that does not read: 64 KiB each.
	stallEvents int64
	// latencyStreams are the streams of the latency workload.
	latencyStreams int
	// idleStreams is the number of idle streams on idleConnections.
	idleStreams, idleConnections int
	// replayEvents fit into the gateway's ring.
	replayEvents      int
	replaySubscribers []int
	// logEvents are in the log on the disk.
	logEvents int
	// stormSubscribers start within the last stormEvents. They are stopped after stormLimit.
	stormSubscribers, stormEvents int
	stormLimit                    time.Duration
	// intake are the numbers of concurrent posts.
	intake []int
	// unsettledEvents are appended before a kill.
	unsettledEvents int
	// idleCallers and idleChannels are those of an unused configuration. It is observed for
	// watch, during which the gateway checks its files several times.
	idleCallers, idleChannels int
	watch                     time.Duration
	// settle is the time for which a process idles before its memory is read.
	settle time.Duration
	// build means that the gateway is built to measure its size.
	build bool
}

func fullScale() scale {
	return scale{
		rounds: 5, duration: 4 * time.Second,
		streams: 1000, connections: 100, pacedStreams: 1000, latencyStreams: 100,
		stallEvents: 600,
		idleStreams: 10_000, idleConnections: 1000,
		replayEvents: 80_000, replaySubscribers: []int{1, 20, 200},
		logEvents:        1_000_000,
		stormSubscribers: 1000, stormEvents: 100_000, stormLimit: 30 * time.Second,
		intake:      []int{1, 16, 64, 256},
		idleCallers: 2000, idleChannels: 200, watch: 20 * time.Second,
		unsettledEvents: 1000, settle: 5 * time.Second, build: true,
	}
}

// quickScale returns the sizes for a quick run of everything.
func quickScale() scale {
	s := fullScale()
	s.rounds, s.duration = 1, time.Second
	s.replayEvents, s.logEvents = 20_000, 100_000
	s.stormEvents, s.stormLimit = 20_000, 10*time.Second
	s.settle, s.watch = 2*time.Second, 10*time.Second
	return s
}
