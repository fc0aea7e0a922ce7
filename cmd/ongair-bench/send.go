package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const (
	// sendsInFlight is the number of concurrent calls. Over gRPC they share sendConnections
	// connections.
	sendsInFlight   = 64
	sendConnections = 8
)

// sends compares the gateway with a handler that only makes the call.
func sends(_ context.Context, w *workbench) ([]trial, error) {
	const baseline = "bare handler"
	return []trial{{
		name: "S1", unit: "calls",
		variants: []variant{
			w.sendVariant(baseline, overGRPC, func(ctx context.Context, upstream string) (*process, error) {
				return w.start(ctx, "serve-send", "--upstream", upstream)
			}),
			w.sendVariant(gateway, overGRPC, w.gatewayTo),
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
			w.sendVariant(baseline, overGRPC, w.gatewayTo),
			w.sendVariant(gateway, keyedOverGRPC, w.gatewayTo),
		},
		goals: []goal{{metric: rate, against: baseline, compare: ratio, limit: 0.25, text: "≥ 0.25 × calls/s"}},
	}}, nil
}

// restSends compares calls over REST and over gRPC.
func restSends(_ context.Context, w *workbench) ([]trial, error) {
	const baseline = "over gRPC"
	return []trial{{
		name: "S3", unit: "calls",
		variants: []variant{
			w.sendVariant(baseline, overGRPC, w.gatewayTo),
			w.sendVariant(gateway, overREST, w.gatewayTo),
		},
		goals: []goal{{metric: rate, against: baseline, compare: ratio, limit: 0.45, text: "≥ 0.45 × calls/s"}},
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

// sendVariant starts a server that sends to a stand-in for Ongair, and calls it over connections
// that dial opens.
func (r *runner) sendVariant(name string, dial dialSenders, start func(ctx context.Context, upstream string) (*process, error)) variant {
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
		senders, closeAll, err := dial(ctx, server)
		if err != nil {
			return nil, err
		}
		defer closeAll()
		calls := 0
		send := func(ctx context.Context, duration time.Duration) (took []time.Duration, err error) {
			timed, cancel := context.WithTimeout(ctx, duration)
			defer cancel()
			took, err = repeat(timed, senders)
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

// dialSenders connects to a server. It returns sendsInFlight functions that make one call each and
// may run at the same time.
type dialSenders func(ctx context.Context, server *process) (senders []func(context.Context) error, closeAll func(), err error)

// The text and the recipient of all calls.
const (
	sentText = "Habari yako rafiki"
	sentTo   = "+254722200200"
)

// overGRPC makes calls over gRPC.
func overGRPC(ctx context.Context, server *process) (senders []func(context.Context) error, closeAll func(), err error) {
	return grpcSenders(ctx, server, func(int) func() string { return func() string { return "" } })
}

// keyedOverGRPC makes calls over gRPC, each with a new request_id.
func keyedOverGRPC(ctx context.Context, server *process) (senders []func(context.Context) error, closeAll func(), err error) {
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	return grpcSenders(ctx, server, func(sender int) func() string {
		n := 0
		return func() string {
			n++
			return run + "-" + strconv.Itoa(sender) + "-" + strconv.Itoa(n)
		}
	})
}

// grpcSenders dials senders over gRPC. ids returns a function that returns the request_id of each
// call of a sender.
func grpcSenders(ctx context.Context, server *process, ids func(sender int) func() string) (senders []func(context.Context) error, closeAll func(), err error) {
	conns, err := dialGRPC(ctx, server.GRPC, sendConnections)
	if err != nil {
		return nil, nil, err
	}
	for i := range sendsInFlight {
		client, id := ongairv1.NewOngairServiceClient(conns[i%len(conns)]), ids(i)
		request := &ongairv1.SendRequest{ExternalId: sentTo, Text: sentText}
		senders = append(senders, func(ctx context.Context) error {
			request.RequestId = id()
			_, err := client.Send(ctx, request, grpc.ForceCodecV2(encoding.GetCodecV2(proto.Name)))
			return err
		})
	}
	return senders, conns.close, nil
}

// overREST makes calls over REST. Each sender has its own kept connection.
func overREST(ctx context.Context, server *process) (senders []func(context.Context) error, closeAll func(), err error) {
	posters, err := dialPosters(ctx, "http://"+server.HTTP+"/v1/messages:send", typeJSON, sendsInFlight)
	if err != nil {
		return nil, nil, err
	}
	body := []byte(`{"external_id":"` + sentTo + `","text":"` + sentText + `"}`)
	for _, p := range posters {
		senders = append(senders, func(context.Context) error { return p.post(body) })
	}
	return senders, func() { closePosters(posters) }, nil
}
