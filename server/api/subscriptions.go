package api

import (
	"context"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// interruptDelay is how long a stream that has to end may stay in a write. Other streams end at
// once.
const interruptDelay = 300 * time.Millisecond

// subscription is an open stream or long poll.
type subscription struct {
	caller auth.Principal
	// channels has the channels of its filter. Empty means all.
	channels []string
	cancel   context.CancelCauseFunc
	// interrupt ends a blocked write of a stream. It is nil for a long poll.
	interrupt func(error)
	// next is the position of the last response that was sent, plus one. It is 0 before the
	// first response.
	next atomic.Uint64
}

// check fails if the caller may not have the subscription.
func (s *Service) check(sub *subscription) error {
	caller, err := s.reauthenticate(sub.caller)
	if err != nil {
		return err
	}
	if err := caller.MayDo(auth.ActionSubscribe); err != nil {
		return err
	}
	if len(sub.channels) == 0 {
		return caller.MayUse(auth.AllChannels)
	}
	for _, name := range sub.channels {
		if err := caller.MayUse(name); err != nil {
			return err
		}
		if _, ok := (*s.channels.Load())[name]; !ok {
			return unknownChannel(name)
		}
	}
	return nil
}

// begin registers a subscription until end is called. It checks the subscription afterwards,
// so that it does not miss a concurrent change of callers or a drain.
func (s *Service) begin(sub *subscription) (end func(), err error) {
	s.mu.Lock()
	s.subscriptions[sub] = struct{}{}
	s.mu.Unlock()
	end = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subscriptions, sub)
	}
	err = s.check(sub)
	if sub.interrupt != nil && s.draining.Err() != nil {
		err = context.Cause(s.draining)
	}
	if err != nil {
		end()
		return nil, err
	}
	return end, nil
}

// endEach ends each open subscription for which why returns an error. A client that does not
// read keeps its stream in a write, so a stream that is still open after interruptDelay is
// interrupted.
func (s *Service) endEach(why func(*subscription) error) {
	ended := map[*subscription]error{}
	for _, sub := range s.open() {
		if err := why(sub); err != nil {
			ended[sub] = err
			sub.cancel(err)
		}
	}
	if len(ended) == 0 {
		return
	}
	time.AfterFunc(interruptDelay, func() {
		for _, sub := range s.open() {
			if err, ok := ended[sub]; ok && sub.interrupt != nil {
				sub.interrupt(s.endOf(sub, err))
			}
		}
	})
}

// open returns the subscriptions that are open.
func (s *Service) open() []*subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.subscriptions))
}

// endOf returns the error that a stream ends with. Its metadata has the cursor of the last
// response that was sent, unless that cursor does not work any more.
func (s *Service) endOf(sub *subscription, err error) error {
	next, f := sub.next.Load(), *fault.From(err)
	switch f.Reason {
	case ongairv1.ErrorReason_ERROR_REASON_CANCELLED, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED,
		ongairv1.ErrorReason_ERROR_REASON_LOG_REPLACED:
		return err
	default:
	}
	if next == 0 {
		return err
	}
	f.Metadata = maps.Clone(f.Metadata)
	if f.Metadata == nil {
		f.Metadata = map[string]string{}
	}
	f.Metadata["cursor"] = s.fanout.Cursor(next - 1)
	return &f
}

// interrupt ends a stream with an error, also while its handler is in a write that the client
// does not read. The client gets the error after what was written before.
//
// It uses the method with which grpc-go itself ends a stream, which grpc-go does not promise
// to keep.
func interrupt(stream context.Context, err error) {
	if s, ok := grpc.ServerTransportStreamFromContext(stream).(statusWriter); ok {
		_ = s.WriteStatus(status.Convert(err)) // fails if the client has left
	}
}

// statusWriter is a grpc.ServerTransportStream of grpc-go's.
type statusWriter interface{ WriteStatus(s *status.Status) error }

// Replace replaces the channels for later calls, and ends the streams that their callers may
// not have any more, each with its reason. Callers MUST be replaced before.
func (s *Service) Replace(channels map[string]Upstream) {
	s.channels.Store(&channels)
	s.endEach(s.check)
}
