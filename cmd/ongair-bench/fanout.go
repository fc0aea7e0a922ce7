package main

import (
	"context"
	"errors"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const (
	// fanOutPosters is the number of concurrent posts. They post more than fan-out can deliver.
	fanOutPosters = 8
	// fanOutWindow bounds the undelivered events, averaged over the streams. A server that batches
	// a backlog gains from a larger one. The bound is the same for both servers, and small, as
	// after a burst.
	fanOutWindow = 32
	// pacedRate is the number of events per second of the paced workload.
	pacedRate = 50
	// latencyRate is the number of events per second of the latency workload.
	latencyRate = 200
	// pacedPosters is the number of connections for posts at a pace. Few are in use at a time.
	pacedPosters = 16
	// warmUp sets the time before the measurement: the measured time divided by warmUp.
	warmUp = 4
)

// fanOut measures a server with streams while events are posted.
type fanOut struct {
	start                func(context.Context) (*process, error)
	connections, streams int
	stalled, sampleEvery int
	// sse means that the streams are Server-Sent Events, each on its own connection. They are over
	// gRPC otherwise.
	sse bool
	// before is the number of events that each stream gets before the measured time. If it is zero,
	// the measured time begins after the warm-up.
	before int64
	// pace is the number of events per second. Zero means a closed loop.
	pace int
}

// live requests a stream that starts after the newest event and does not end.
func live(int) (*ongairv1.SubscribeRequest, int64) {
	return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_LATEST}}, 0
}

// run measures deliveries. It returns an error if an event is not delivered to every reading
// stream.
func (f fanOut) run(ctx context.Context, r *runner) (_ sample, err error) {
	server, err := f.start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	readers, closeConnections, err := f.open(ctx, server)
	if err != nil {
		return nil, err
	}
	defer closeConnections()
	defer readers.close()
	posters, err := dialPosters(ctx, server.Post, typeForm, max(fanOutPosters, pacedPosters))
	if err != nil {
		return nil, err
	}
	defer closePosters(posters)

	loadCtx, stopLoad := context.WithCancel(ctx)
	defer stopLoad()
	var posted int64
	loaded := make(chan error, 1)
	go func() {
		var err error
		if f.pace > 0 {
			posted, err = pace(loadCtx, posters, newBodies(), f.pace)
		} else {
			posted, err = closedLoop(loadCtx, posters[:fanOutPosters], newBodies(), readers, fanOutWindow)
		}
		loaded <- err
	}()
	if f.before > 0 {
		err = readers.await(ctx, f.before*readers.reading)
	} else {
		err = sleep(ctx, r.duration/warmUp)
	}
	if err != nil {
		return nil, err
	}
	readers.since.Store(time.Now().UnixNano())
	memoryBefore, err := anonymousMemory(server.pid)
	if err != nil {
		return nil, err
	}
	var delivered, writes int64
	s, err := r.measure(ctx, server, func(ctx context.Context) (float64, error) {
		before, err := writesMade(server.pid)
		if err != nil {
			return 0, err
		}
		delivered = -readers.delivered.Load()
		if err := sleep(ctx, r.duration); err != nil {
			return 0, err
		}
		delivered += readers.delivered.Load()
		writes, err = writesMade(server.pid)
		writes -= before
		return float64(delivered), err
	})
	stopLoad()
	if err = errors.Join(err, <-loaded); err != nil {
		return nil, err
	}
	if err := readers.await(ctx, posted*readers.reading); err != nil {
		return nil, err
	}
	if f.sse && writes > 0 {
		s[perWrite] = float64(delivered) / float64(writes)
	}
	if f.before > 0 {
		s[memoryGrowth] = s[memory] - float64(memoryBefore)/megabyte
	}
	s.latencies(readers.close())
	return s, nil
}

// open opens the streams. The caller MUST close them before it calls closeConnections.
func (f fanOut) open(ctx context.Context, server *process) (readers *streams, closeConnections func(), err error) {
	sub := subscription{streams: f.streams, stalled: f.stalled, sampleEvery: f.sampleEvery, request: live}
	if f.sse {
		readers, err = openSSE(ctx, server.HTTP, sub)
		return readers, func() {}, err // the streams close their connections
	}
	conns, err := dialGRPC(ctx, server.GRPC, f.connections)
	if err != nil {
		return nil, nil, err
	}
	readers, err = conns.open(ctx, sub)
	if err != nil {
		conns.close()
		return nil, nil, err
	}
	return readers, conns.close, nil
}

// variant returns the fan-out as a variant of a trial.
func (f fanOut) variant(name string, r *runner) variant {
	return variant{name, func(ctx context.Context) (sample, error) { return f.run(ctx, r) }}
}

// freshGateway starts a gateway on an empty log.
func (r *runner) freshGateway(ctx context.Context) (*process, error) {
	dir, err := r.newDir()
	if err != nil {
		return nil, err
	}
	return r.startGateway(ctx, dir)
}

// bareFrames starts a bare server that sends one event per frame.
func (r *runner) bareFrames(ctx context.Context) (*process, error) { return r.startBare(ctx, oneFrame) }

func fanOutFlatOut(_ context.Context, w *workbench) ([]trial, error) {
	f := fanOut{connections: w.connections, streams: w.streams, sampleEvery: 50}
	bare, ours := f, f
	bare.start, ours.start = w.bareFrames, w.freshGateway
	return []trial{{
		name: "F1", unit: "deliveries",
		variants: []variant{bare.variant("bare server", w.runner), ours.variant(gateway, w.runner)},
		goals: []goal{
			{metric: rate, against: "bare server", compare: ratio, limit: 0.9, text: "≥ 0.9 × deliveries/s"},
		},
	}}, nil
}

func fanOutPaced(_ context.Context, w *workbench) ([]trial, error) {
	f := fanOut{connections: w.pacedStreams, streams: w.pacedStreams, sampleEvery: 50, pace: pacedRate}
	bare, ours := f, f
	bare.start, ours.start = w.bareFrames, w.freshGateway
	return []trial{{
		name: "F2", unit: "deliveries",
		variants: []variant{bare.variant("bare server", w.runner), ours.variant(gateway, w.runner)},
		goals: []goal{
			{metric: cpuPerUnit, against: "bare server", compare: ratio, limit: 1.1, atMost: true, text: "CPU per delivery ≤ 1.1 ×"},
			{metric: p99, against: "bare server", compare: ratio, limit: 1.25, atMost: true, text: "p99 ≤ 1.25 ×"},
		},
	}}, nil
}

func deliveryLatency(_ context.Context, w *workbench) ([]trial, error) {
	f := fanOut{connections: w.latencyStreams, streams: w.latencyStreams, sampleEvery: 10, pace: latencyRate}
	bare, ours := f, f
	bare.start, ours.start = w.bareFrames, w.freshGateway
	return []trial{{
		name: "F3", unit: "deliveries",
		variants: []variant{bare.variant("bare server", w.runner), ours.variant(gateway, w.runner)},
		goals: []goal{
			{metric: p50, against: "bare server", compare: difference, limit: 1, atMost: true, text: "p50 ≤ baseline + 1 ms"},
			{metric: p99, against: "bare server", compare: difference, limit: 5, atMost: true, text: "p99 ≤ baseline + 5 ms"},
		},
	}}, nil
}

// stalledStreams compares a run in which a tenth of the streams do not read with one in which all
// read. The streams stall before the measured time. Until then the buffers of their connections
// fill, and they cost as much as reading streams.
func stalledStreams(_ context.Context, w *workbench) ([]trial, error) {
	all := fanOut{
		start: w.freshGateway, connections: w.connections, streams: w.streams, sampleEvery: 50,
		before: w.stallEvents,
	}
	some := all
	some.stalled = all.streams / 10
	return []trial{{
		name: "F5", unit: "deliveries",
		variants: []variant{all.variant("all read", w.runner), some.variant("10 % stalled", w.runner)},
		goals: []goal{
			{metric: rate, of: "10 % stalled", against: "all read", compare: ratio, limit: 0.95, text: "≥ 0.95 × deliveries/s"},
			{metric: memory, of: "10 % stalled", against: "all read", compare: ratio, limit: 1.25, atMost: true, text: "memory flat: ≤ 1.25 ×"},
		},
	}}, nil
}
