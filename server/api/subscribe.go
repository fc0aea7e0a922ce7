package api

import (
	"context"
	"time"

	"google.golang.org/grpc"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/fault"
)

// DefaultHeartbeat is the heartbeat_interval of a request that has none: below
// the idle limits that proxies and load balancers commonly have, the shortest of
// which is a minute.
const DefaultHeartbeat = 15 * time.Second

// Subscribe streams the log from where the request says.
func (s *Service) Subscribe(req *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
	ctx, cancel := context.WithCancelCause(stream.Context())
	defer cancel(nil)
	sub := &subscription{cancel: cancel, stream: stream.Context()}
	reader, end, err := s.read(ctx, sub, req)
	if err != nil {
		return err
	}
	defer end()
	heartbeat := DefaultHeartbeat
	if req.GetHeartbeatInterval() != nil {
		heartbeat = req.GetHeartbeatInterval().AsDuration()
	}
	// The first response comes at once, whatever there is.
	for idle := time.Duration(0); ; idle = heartbeat {
		response, err := reader.Next(idle)
		if err != nil {
			return s.endOf(sub, err)
		}
		if err := stream.SendMsg(response); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx) // the write was interrupted
			}
			return err
		}
		sub.next.Store(reader.Position() + 1)
	}
}

// read returns a reader where a request says, with its filters, and registers the
// subscription until end is called. A caller that loses its right to it cancels
// ctx. If the caller is limited to some channels and req names none, it gets the
// caller's.
func (s *Service) read(ctx context.Context, sub *subscription, req *ongairv1.SubscribeRequest) (reader *fanout.Reader, end func(), err error) {
	caller := auth.FromContext(ctx)
	if channels, limited := caller.Channels(); limited && len(req.GetChannels()) == 0 {
		if len(channels) == 0 {
			return nil, nil, caller.MayUse("") // a filter without channels would take all of them
		}
		req.Channels = channels // all that there are, for this caller
	}
	sub.caller, sub.channels = caller, req.GetChannels()
	unregister, err := s.begin(sub)
	if err != nil {
		return nil, nil, err
	}
	if err := runOnNewStack(func() error {
		start, err := startOf(req)
		if err == nil {
			reader, err = s.fanout.Open(ctx, start, event.NewFilter(req))
		}
		return err
	}); err != nil {
		unregister()
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		return nil, nil, err
	}
	return reader, func() { reader.Close(); unregister() }, nil
}

// startOf returns where a request starts.
func startOf(req *ongairv1.SubscribeRequest) (fanout.Start, error) {
	switch start := req.GetStart().(type) {
	case *ongairv1.SubscribeRequest_Cursor:
		return fanout.Start{Cursor: start.Cursor}, nil
	case *ongairv1.SubscribeRequest_StartTime:
		// The rules of the proto compare it and do not ask whether it is a time.
		if err := start.StartTime.CheckValid(); err != nil {
			return fanout.Start{}, fault.Invalid(fault.Violation{
				Field: "start_time", Description: "is not a time between the years 1 and 9999", Reason: fault.ViolationMalformed,
			})
		}
		return fanout.Start{Time: start.StartTime.AsTime()}, nil
	case *ongairv1.SubscribeRequest_Position:
		return fanout.Start{Earliest: start.Position == ongairv1.Position_POSITION_EARLIEST}, nil
	}
	return fanout.Start{}, nil
}
