package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const (
	// openTimeout bounds the opening of connections, and the wait for the remaining deliveries.
	openTimeout = 60 * time.Second
	// pollInterval is the time between two checks for these deliveries.
	pollInterval = 5 * time.Millisecond
	// maxOpening bounds the streams that are being opened at a time.
	maxOpening = 32
	// maxResponse bounds a response in bytes. The gateway's responses are smaller.
	maxResponse = 8 << 20
)

// connections are connections to one server.
type connections []*grpc.ClientConn

// dialGRPC opens n connections and waits until they are ready.
func dialGRPC(ctx context.Context, address string, n int) (connections, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	var all connections
	for range n {
		conn, err := grpc.NewClient("passthrough:"+address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(
				grpc.ForceCodecV2(countingCodec{encoding.GetCodecV2(proto.Name)}),
				grpc.MaxCallRecvMsgSize(maxResponse),
			),
		)
		if err != nil {
			all.close()
			return nil, err
		}
		all = append(all, conn)
		conn.Connect()
	}
	for _, conn := range all {
		for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
			if !conn.WaitForStateChange(ctx, state) {
				all.close()
				return nil, fmt.Errorf("a connection is still %s after %s", state, openTimeout)
			}
		}
	}
	return all, nil
}

func (c connections) close() {
	for _, conn := range c {
		_ = conn.Close() // fails only if it is closed already
	}
}

// subscription describes streams to open.
type subscription struct {
	streams int
	// stalled is the number of streams that read only the first response.
	stalled int
	// sampleEvery is N to measure latencies on every Nth stream, or 0 for none.
	sampleEvery int
	// request returns the request of a stream over gRPC, and the number of events after which the
	// stream ends, or 0 for no end.
	request func(stream int) (*ongairv1.SubscribeRequest, int64)
	// storm opens all streams at once, and ignores streams that fail.
	storm bool
}

// streams are open subscriptions. Its methods are safe for concurrent use.
type streams struct {
	reading   int64
	delivered atomic.Int64
	finished  atomic.Int64
	broken    atomic.Int64
	// progress receives a value each time the streams got another event on average.
	progress chan struct{}
	// since is the earliest sending time of the events whose latencies are measured, in Unix
	// nanoseconds.
	since atomic.Int64
	// ctx ends at close, or when a stream fails. Its cause is the error of that stream.
	ctx    context.Context
	cancel context.CancelCauseFunc
	group  errgroup.Group

	mu        sync.Mutex
	latencies []time.Duration
}

// receiver waits for the next response of a stream, and writes its facts to the tally.
type receiver func(*tally) error

// open opens streams over all connections. It returns when each has its first response.
func (c connections) open(ctx context.Context, sub subscription) (*streams, error) {
	return openStreams(ctx, sub, func(ctx context.Context, i int) (receiver, int64, error) {
		request, events := sub.request(i)
		stream, err := subscribe(ctx, c[i%len(c)], request)
		return func(t *tally) error { return stream.RecvMsg(t) }, events, err
	})
}

// openStreams opens streams with connect. It returns the receiver of a stream, and the number of
// events after which the stream ends, or 0 for no end. The stream MUST end when ctx does.
func openStreams(ctx context.Context, sub subscription, connect func(ctx context.Context, i int) (receiver, int64, error)) (*streams, error) {
	s := &streams{reading: int64(sub.streams - sub.stalled), progress: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	var opened errgroup.Group
	if !sub.storm {
		opened.SetLimit(maxOpening)
	}
	for i := range sub.streams {
		opened.Go(func() error {
			t := &tally{since: &s.since, sampled: sub.sampleEvery > 0 && i%sub.sampleEvery == 0}
			receive, events, err := connect(s.ctx, i)
			if err == nil {
				err = receive(t)
			}
			if err != nil {
				s.broken.Add(1)
				if sub.storm {
					return nil
				}
				return err
			}
			if i < sub.stalled {
				return nil
			}
			s.count(t.events)
			s.group.Go(func() error { return s.read(receive, t, events, sub.storm) })
			return nil
		})
	}
	if err := opened.Wait(); err != nil {
		s.close()
		return nil, fmt.Errorf("opening streams: %w", err)
	}
	return s, nil
}

func subscribe(ctx context.Context, conn *grpc.ClientConn, request *ongairv1.SubscribeRequest) (grpc.ClientStream, error) {
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, ongairv1.OngairService_Subscribe_FullMethodName)
	if err != nil {
		return nil, err
	}
	if err := stream.SendMsg(request); err != nil {
		return nil, err
	}
	return stream, stream.CloseSend()
}

// read reads until the stream has delivered the given number of events, or fails. A failed stream
// ends all streams, unless mayBreak is set.
func (s *streams) read(receive receiver, t *tally, events int64, mayBreak bool) error {
	got := t.events
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.latencies = append(s.latencies, t.latencies...)
	}()
	for events == 0 || got < events {
		if err := receive(t); err != nil {
			if s.ctx.Err() != nil {
				return nil // ctx ended, or another stream failed and returns the error
			}
			s.broken.Add(1)
			if mayBreak {
				return nil
			}
			err = fmt.Errorf("a stream failed after %d events: %w", got, err)
			s.cancel(err)
			return err
		}
		got += t.events
		s.count(t.events)
	}
	s.finished.Add(1)
	return nil
}

func (s *streams) count(events int64) {
	after := s.delivered.Add(events)
	if after/s.reading != (after-events)/s.reading {
		s.wake()
	}
}

// wake wakes a poster that waits for progress.
func (s *streams) wake() {
	select {
	case s.progress <- struct{}{}:
	default:
	}
}

// perStream returns the number of events per reading stream, on average.
func (s *streams) perStream() int64 { return s.delivered.Load() / s.reading }

// await waits until the streams together got the given number of events. It polls, and leaves
// progress to the load.
func (s *streams) await(ctx context.Context, delivered int64) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for s.delivered.Load() < delivered {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-ctx.Done():
			return fmt.Errorf("only %d of %d deliveries arrived: %w", s.delivered.Load(), delivered, ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}

// wait waits until every reading stream has ended or failed.
func (s *streams) wait() error { return s.group.Wait() }

// close ends the streams and returns the measured latencies.
func (s *streams) close() []time.Duration {
	s.cancel(nil)
	_ = s.group.Wait() // wait or await has returned the error
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latencies
}
