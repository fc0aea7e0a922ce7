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
	// openTimeout bounds the opening of all streams, and the arrival of what they
	// still have to get.
	openTimeout = 60 * time.Second
	// lookEvery is how often it is looked for it.
	lookEvery = 5 * time.Millisecond
	// opening is how many streams are opened at a time.
	opening = 32
	// maxResponse is above every response that a gateway sends.
	maxResponse = 8 << 20
)

// connections are to one server.
type connections []*grpc.ClientConn

// dialGRPC makes n connections and waits until they stand.
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
				return nil, fmt.Errorf("a connection is %s after %s", state, openTimeout)
			}
		}
	}
	return all, nil
}

func (c connections) close() {
	for _, conn := range c {
		_ = conn.Close() // fails only where it is closed
	}
}

// subscription is what streams to open.
type subscription struct {
	streams int
	// stalled of them read the first response and nothing more.
	stalled int
	// sampleEvery takes latencies on one stream of so many; 0 on none.
	sampleEvery int
	// request returns the request of a stream, and the number of events after which
	// it ends; 0 for none.
	request func(stream int) (*ongairv1.SubscribeRequest, int64)
	// storm opens all streams at once, and goes on without those that break.
	storm bool
}

// streams are open subscriptions. Its methods are safe for concurrent use.
type streams struct {
	reading   int64
	delivered atomic.Int64
	finished  atomic.Int64
	broken    atomic.Int64
	// progress has a value when streams got further, by an event each on average.
	progress chan struct{}
	// since is the earliest time of the events that are read.
	since atomic.Int64
	// ctx ends with close, or with what broke a stream.
	ctx    context.Context
	cancel context.CancelCauseFunc
	group  errgroup.Group

	mu        sync.Mutex
	latencies []time.Duration
}

// open opens streams over all connections, and returns once each of them got its
// first response.
func (c connections) open(ctx context.Context, sub subscription) (*streams, error) {
	s := &streams{reading: int64(sub.streams - sub.stalled), progress: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	var opened errgroup.Group
	if !sub.storm {
		opened.SetLimit(opening)
	}
	for i := range sub.streams {
		opened.Go(func() error {
			t := &tally{since: &s.since, sampled: sub.sampleEvery > 0 && i%sub.sampleEvery == 0}
			request, events := sub.request(i)
			stream, err := subscribe(s.ctx, c[i%len(c)], request)
			if err == nil {
				err = stream.RecvMsg(t)
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
			s.group.Go(func() error { return s.read(stream, t, events, sub.storm) })
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

// read reads until the stream has brought events, or ends. One that breaks ends all
// of them, unless it may.
func (s *streams) read(stream grpc.ClientStream, t *tally, events int64, mayBreak bool) error {
	got := t.events
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.latencies = append(s.latencies, t.latencies...)
	}()
	for events == 0 || got < events {
		if err := stream.RecvMsg(t); err != nil {
			if s.ctx.Err() != nil {
				return nil // the end that was asked for, or that another stream has the cause of
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

// wake has whoever waits for progress look again.
func (s *streams) wake() {
	select {
	case s.progress <- struct{}{}:
	default:
	}
}

// perStream returns how many events a stream that reads got, on average.
func (s *streams) perStream() int64 { return s.delivered.Load() / s.reading }

// await waits until the streams got so many events together. It looks now and then,
// and leaves progress to the load.
func (s *streams) await(ctx context.Context, delivered int64) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for s.delivered.Load() < delivered {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-ctx.Done():
			return fmt.Errorf("only %[2]d of %[1]d deliveries arrived: %[3]w", delivered, s.delivered.Load(), ctx.Err())
		case <-ticker.C:
		}
	}
	return nil
}

// wait waits until every stream has got what it is to get, or broke.
func (s *streams) wait() error { return s.group.Wait() }

// close ends the streams, and returns the latencies that they took.
func (s *streams) close() []time.Duration {
	s.cancel(nil)
	_ = s.group.Wait() // what broke them was seen by who waited for them
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.latencies
}
