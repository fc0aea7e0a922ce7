package main

import (
	"context"
	"errors"
)

// idleMemory measures the server's memory per idle stream.
func idleMemory(_ context.Context, w *workbench) ([]trial, error) {
	one := func(name string, start func(context.Context) (*process, error)) variant {
		return variant{name, func(ctx context.Context) (_ sample, err error) {
			server, err := start(ctx)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, server.stop()) }()
			before, err := anonymousMemory(server.pid)
			if err != nil {
				return nil, err
			}
			conns, err := dialGRPC(ctx, server.GRPC, w.idleConnections)
			if err != nil {
				return nil, err
			}
			defer conns.close()
			readers, err := conns.open(ctx, subscription{streams: w.idleStreams, request: live})
			if err != nil {
				return nil, err
			}
			defer readers.close()
			if err := sleep(ctx, w.settle); err != nil {
				return nil, err
			}
			s, err := w.measure(ctx, server, func(ctx context.Context) (float64, error) { return 0, sleep(ctx, w.duration) })
			if err != nil {
				return nil, err
			}
			s[perStream] = (s[memory] - float64(before)/megabyte) * 1000 / float64(w.idleStreams)
			return s, nil
		}}
	}
	return []trial{{
		name: "F4", unit: "streams",
		variants: []variant{one("bare server", w.bareFrames), one(gateway, w.freshGateway)},
		goals: []goal{
			{metric: perStream, against: "bare server", compare: ratio, limit: 1.25, atMost: true, text: "≤ 1.25 × per stream"},
		},
	}}, nil
}
