package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const (
	// fillPosters is the number of concurrent posts that fill a ring.
	fillPosters = 64
	// replayConnections bounds the connections for the streams of a replay.
	replayConnections = 20
)

// earliest requests a stream that starts at the oldest event and ends after the given number of
// events.
func earliest(events int) func(int) (*ongairv1.SubscribeRequest, int64) {
	return func(int) (*ongairv1.SubscribeRequest, int64) {
		return &ongairv1.SubscribeRequest{
			Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
		}, int64(events)
	}
}

// replayFromMemory measures subscribers that read the events in the ring from the oldest,
// repeatedly until the measured time is over. All rounds use the same servers, because filling one
// takes many posts.
func replayFromMemory(ctx context.Context, w *workbench) ([]trial, error) {
	starts := []struct {
		name  string
		start func(context.Context) (*process, error)
	}{
		{"bare server, one event a frame", w.bareFrames},
		{"bare server, batches", func(ctx context.Context) (*process, error) { return w.startBare(ctx, batches) }},
		{"bare server, contiguous batches", func(ctx context.Context) (*process, error) { return w.startBare(ctx, runs) }},
		{gateway, w.freshGateway},
	}
	servers := make([]*process, len(starts))
	for i, s := range starts {
		var err error
		if servers[i], err = w.filled(ctx, s.start); err != nil {
			return nil, fmt.Errorf("filling the %s: %w", s.name, err)
		}
	}
	var trials []trial
	for _, subscribers := range w.replaySubscribers {
		t := trial{name: fmt.Sprintf("R1, %d subscribers", subscribers), unit: "events"}
		for i, s := range starts {
			t.variants = append(t.variants, variant{s.name, func(ctx context.Context) (sample, error) {
				return w.replay(ctx, servers[i], subscribers)
			}})
		}
		t.goals = []goal{
			{metric: rate, against: "bare server, batches", compare: ratio, limit: 0.9, text: "≥ 0.9 × events/s"},
			{metric: rate, against: "bare server, contiguous batches", compare: ratio, limit: 0.9, text: "≥ 0.9 × events/s"},
			{metric: rate, against: "bare server, one event a frame", compare: ratio, limit: 4, text: "≥ 4 × events/s"},
		}
		trials = append(trials, t)
	}
	return trials, nil
}

// filled starts a server, fills its ring, and stops it at the end of the workload.
func (w *workbench) filled(ctx context.Context, start func(context.Context) (*process, error)) (*process, error) {
	server, err := start(ctx)
	if err != nil {
		return nil, err
	}
	w.atEnd(server.stop)
	posters, err := dialPosters(ctx, server.Post, typeForm, fillPosters)
	if err != nil {
		return nil, err
	}
	defer closePosters(posters)
	return server, postAll(ctx, posters, newBodies(), w.replayEvents)
}

// replay reads the ring repeatedly.
func (r *runner) replay(ctx context.Context, server *process, subscribers int) (sample, error) {
	conns, err := dialGRPC(ctx, server.GRPC, min(subscribers, replayConnections))
	if err != nil {
		return nil, err
	}
	defer conns.close()
	return r.measure(ctx, server, func(ctx context.Context) (float64, error) {
		var events int64
		for began := time.Now(); time.Since(began) < r.duration; {
			got, err := readToEnd(ctx, conns, subscription{streams: subscribers, request: earliest(r.replayEvents)})
			if err != nil {
				return 0, err
			}
			events += got
		}
		return float64(events), nil
	})
}

// readToEnd opens streams, waits for their end and returns the number of deliveries.
func readToEnd(ctx context.Context, conns connections, sub subscription) (int64, error) {
	readers, err := conns.open(ctx, sub)
	if err != nil {
		return 0, err
	}
	defer readers.close()
	err = readers.wait()
	return readers.delivered.Load(), err
}

// replayFromDisk measures one subscriber that reads a log from the disk.
func replayFromDisk(ctx context.Context, w *workbench) ([]trial, error) {
	dir, err := w.preparedLog(ctx)
	if err != nil {
		return nil, err
	}
	consumer := variant{"ordered consumer", func(ctx context.Context) (_ sample, err error) {
		server, err := w.start(ctx, "serve-consumer", "--dir", dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, server.stop()) }()
		poster, err := dialPoster(ctx, server.Post, typeForm)
		if err != nil {
			return nil, err
		}
		defer func() { _ = poster.conn.Close() }() // no post is in flight
		return w.measure(ctx, server, func(context.Context) (float64, error) { return float64(w.logEvents), poster.post(nil) })
	}}
	return []trial{{
		name: "R2", unit: "events", variants: []variant{consumer, {gateway, func(ctx context.Context) (sample, error) { return w.replayLog(ctx, dir) }}},
		goals: []goal{{metric: rate, against: consumer.name, compare: ratio, limit: 0.8, text: "≥ 0.8 × events/s"}},
	}}, nil
}

// replayLog reads a log from the disk with one subscriber.
func (r *runner) replayLog(ctx context.Context, dir string) (_ sample, err error) {
	server, err := r.startGateway(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	conns, err := dialGRPC(ctx, server.GRPC, 1)
	if err != nil {
		return nil, err
	}
	defer conns.close()
	return r.measure(ctx, server, func(ctx context.Context) (float64, error) {
		got, err := readToEnd(ctx, conns, subscription{streams: 1, request: earliest(r.logEvents)})
		return float64(got), err
	})
}
