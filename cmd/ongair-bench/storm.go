package main

import (
	"context"
	"errors"
	"fmt"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const (
	// stormStride spreads the positions of a storm over its range. It is a prime, so the order
	// looks random and is the same in each run.
	stormStride = 7919
	// stormConnections bounds the connections for the streams of a storm.
	stormConnections = 100
)

// resumeStorm resumes many subscribers at once, from positions within the last events of the log.
// The gateway has none of these events in memory.
//
// The number of times that the log is read is an estimate: the bytes that the gateway read with
// system calls, divided by the size of the range. It does not count reads from JetStream's own
// cache, which cost CPU time only.
func resumeStorm(ctx context.Context, w *workbench) ([]trial, error) {
	dir, err := w.preparedLog(ctx)
	if err != nil {
		return nil, err
	}
	cursors, rangeBytes, err := w.lastCursors(ctx, dir)
	if err != nil {
		return nil, fmt.Errorf("cursors: %w", err)
	}
	request := func(stream int) (*ongairv1.SubscribeRequest, int64) {
		at := stream * stormStride % len(cursors)
		return &ongairv1.SubscribeRequest{
			Start: &ongairv1.SubscribeRequest_Cursor{Cursor: cursors[at]},
		}, int64(len(cursors) - at)
	}
	ours := variant{gateway, func(ctx context.Context) (_ sample, err error) {
		server, err := w.startGateway(ctx, dir)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, server.stop()) }()
		conns, err := dialGRPC(ctx, server.GRPC, min(stormConnections, w.stormSubscribers))
		if err != nil {
			return nil, err
		}
		defer conns.close()
		before, err := bytesRead(server.pid)
		if err != nil {
			return nil, err
		}
		var done, broke int64
		s, err := w.measure(ctx, server, func(ctx context.Context) (float64, error) {
			limited, cancel := context.WithTimeout(ctx, w.stormLimit)
			defer cancel()
			readers, err := conns.open(limited, subscription{streams: w.stormSubscribers, request: request, storm: true})
			if err != nil {
				return 0, err
			}
			defer readers.close()
			err = readers.wait()
			done, broke = readers.finished.Load(), readers.broken.Load()
			if limited.Err() != nil {
				err = ctx.Err() // stormLimit is not an error: finished counts the streams that reached the end
			}
			return float64(readers.delivered.Load()), err
		})
		if err != nil {
			return nil, err
		}
		after, err := bytesRead(server.pid)
		if err != nil {
			return nil, err
		}
		s[timesRead] = float64(after-before) / rangeBytes
		s[finished] = float64(done) / float64(w.stormSubscribers)
		s[broken] = float64(broke)
		return s, nil
	}}
	return []trial{{
		name: "R3", unit: "events", variants: []variant{ours},
		goals: []goal{
			{metric: timesRead, limit: 2, atMost: true, text: "the log is read at most twice over"},
			{metric: finished, limit: 1, text: "all reach the end in one go"},
		},
	}}, nil
}

// lastCursors returns the cursor before each of the last events of the log, oldest first, and the
// approximate size of those events on the disk in bytes.
func (r *runner) lastCursors(ctx context.Context, dir string) (cursors []string, rangeBytes float64, err error) {
	size, err := dirBytes(dir)
	if err != nil {
		return nil, 0, err
	}
	cursors, err = r.cursors(ctx, dir, func(seen int) bool { return seen >= r.logEvents-r.stormEvents })
	return cursors, size * float64(r.stormEvents) / float64(r.logEvents), err
}

// cursors reads the log and returns the cursor of each event, except the newest, for which wanted
// returns true. seen is the number of events up to and including it. The cursor is the position
// before the next event.
func (r *runner) cursors(ctx context.Context, dir string, wanted func(seen int) bool) (cursors []string, err error) {
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
	request, _ := earliest(0)(0)
	stream, err := subscribe(ctx, conns[0], request)
	if err != nil {
		return nil, err
	}
	for seen := 0; seen < r.logEvents; {
		response := &ongairv1.SubscribeResponse{}
		if err := stream.RecvMsg(response); err != nil {
			return nil, err
		}
		for _, e := range response.GetEvents() {
			if seen++; seen < r.logEvents && wanted(seen) {
				cursors = append(cursors, e.GetCursor())
			}
		}
	}
	return cursors, nil
}
