package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const (
	// sendsInFlight is the number of concurrent calls. They share sendConnections connections.
	sendsInFlight   = 64
	sendConnections = 8
)

// sends compares the gateway with a handler that only makes the call.
func sends(_ context.Context, w *workbench) ([]trial, error) {
	const baseline = "bare handler"
	return []trial{{
		name: "S1", unit: "calls",
		variants: []variant{
			w.sendVariant(baseline, false, func(ctx context.Context, upstream string) (*process, error) {
				return w.start(ctx, "serve-send", "--upstream", upstream)
			}),
			w.sendVariant(gateway, false, w.gatewayTo),
		},
		goals: []goal{{metric: rate, against: baseline, compare: ratio, limit: 0.85, text: "≥ 0.85 × calls/s"}},
	}}, nil
}

// keyedSends compares calls with and without a request_id.
func keyedSends(_ context.Context, w *workbench) ([]trial, error) {
	const baseline = "without a request_id"
	return []trial{{
		name: "S2", unit: "calls",
		variants: []variant{
			w.sendVariant(baseline, false, w.gatewayTo),
			w.sendVariant(gateway, true, w.gatewayTo),
		},
		goals: []goal{{metric: rate, against: baseline, compare: ratio, limit: 0.25, text: "≥ 0.25 × calls/s"}},
	}}, nil
}

// gatewayTo starts a gateway with an empty log that sends to upstream.
func (r *runner) gatewayTo(ctx context.Context, upstream string) (*process, error) {
	dir, err := r.newDir()
	if err != nil {
		return nil, err
	}
	return r.start(ctx, "serve-gateway", "--dir", dir, "--upstream", upstream)
}

// sendVariant starts a server that sends to a stand-in for Ongair.
func (r *runner) sendVariant(name string, keyed bool, start func(ctx context.Context, upstream string) (*process, error)) variant {
	return variant{name, func(ctx context.Context) (_ sample, err error) {
		upstream, err := startStandIn(ctx)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, upstream.close()) }()
		server, err := start(ctx, upstream.url())
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, server.stop()) }()
		conns, err := dialGRPC(ctx, server.GRPC, sendConnections)
		if err != nil {
			return nil, err
		}
		defer conns.close()
		calls := 0
		send := func(ctx context.Context, duration time.Duration) (took []time.Duration, err error) {
			timed, cancel := context.WithTimeout(ctx, duration)
			defer cancel()
			took, err = conns.send(timed, keyed)
			calls += len(took)
			return took, err
		}
		if _, err := send(ctx, r.duration/warmUp); err != nil {
			return nil, err
		}
		var took []time.Duration
		s, err := r.measure(ctx, server, func(ctx context.Context) (_ float64, err error) {
			took, err = send(ctx, r.duration)
			return float64(len(took)), err
		})
		if err != nil {
			return nil, err
		}
		if got := upstream.calls.Load(); got != int64(calls) {
			return nil, fmt.Errorf("%d calls succeeded, but %d reached Ongair", calls, got)
		}
		s[upstreamConnections] = float64(upstream.connections.Load())
		s.latencies(took)
		return s, nil
	}}
}

// send makes calls until ctx ends, sendsInFlight at a time, and returns their latencies. If keyed,
// each call has a new request_id.
func (c connections) send(ctx context.Context, keyed bool) ([]time.Duration, error) {
	var mu sync.Mutex
	var all []time.Duration
	group, calls := errgroup.WithContext(context.WithoutCancel(ctx))
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	for i := range sendsInFlight {
		group.Go(func() error {
			client := ongairv1.NewOngairServiceClient(c[i%len(c)])
			request := &ongairv1.SendRequest{ExternalId: "+254722200200", Text: "Habari yako rafiki"}
			var took []time.Duration
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, took...)
			}()
			for n := 0; ctx.Err() == nil; n++ {
				if keyed {
					request.RequestId = run + "-" + strconv.Itoa(i) + "-" + strconv.Itoa(n)
				}
				began := time.Now()
				if _, err := client.Send(calls, request, grpc.ForceCodecV2(encoding.GetCodecV2(proto.Name))); err != nil {
					return err
				}
				took = append(took, time.Since(began))
			}
			return nil
		})
	}
	err := group.Wait()
	return all, err
}
