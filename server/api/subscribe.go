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

// DefaultHeartbeat is the default of heartbeat_interval. It is well below the idle timeouts of
// common proxies and load balancers, of which the shortest is 50 s.
const DefaultHeartbeat = 15 * time.Second

// Subscribe streams events over gRPC.
func (s *Service) Subscribe(req *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
	ctx := stream.Context()
	return s.stream(ctx, req, func(err error) { interrupt(ctx, err) }, func(response *event.Response) error { return stream.SendMsg(response) })
}

// stream sends the events of a subscription with send until ctx ends. If send is blocked when the
// stream has to end, it calls interrupt with the reason, and send MUST return soon.
func (s *Service) stream(ctx context.Context, req *ongairv1.SubscribeRequest, interrupt func(error), send func(*event.Response) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	sub := &subscription{cancel: cancel, interrupt: interrupt}
	reader, end, err := s.read(ctx, sub, req)
	if err != nil {
		return err
	}
	defer end()
	heartbeat := DefaultHeartbeat
	if req.GetHeartbeatInterval() != nil {
		heartbeat = req.GetHeartbeatInterval().AsDuration()
	}
	// The first response is sent at once, with or without events.
	for idle := time.Duration(0); ; idle = heartbeat {
		response, err := reader.Next(idle)
		if err != nil {
			return s.endOf(sub, err)
		}
		if err := send(response); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx) // the write was interrupted
			}
			return err
		}
		sub.next.Store(reader.Position() + 1)
	}
}

// read returns a reader with the start and the filters of a request. It registers the
// subscription until end is called. If the caller loses the right to the subscription, sub is
// cancelled. If the caller may use only some channels and req names none, read sets them.
func (s *Service) read(ctx context.Context, sub *subscription, req *ongairv1.SubscribeRequest) (reader *fanout.Reader, end func(), err error) {
	caller := auth.FromContext(ctx)
	if err := limitChannels(caller, req); err != nil {
		return nil, nil, err
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

// limitChannels sets the channels of a request without channels to those that the caller may use.
func limitChannels(caller auth.Principal, req *ongairv1.SubscribeRequest) error {
	channels, limited := caller.Channels()
	if !limited || len(req.GetChannels()) > 0 {
		return nil
	}
	if len(channels) == 0 {
		return caller.MayUse("") // an empty filter would match all channels
	}
	req.Channels = channels
	return nil
}

// filtered is a request that selects events.
type filtered interface {
	GetChannels() []string
	GetEventTypes() []ongairv1.EventType
	GetNotificationTypes() []string
	GetExternalContactIds() []string
	GetConversationIds() []string
}

// filtersOf returns a subscription with the filters of req, and without a start.
func filtersOf(req filtered) *ongairv1.SubscribeRequest {
	return &ongairv1.SubscribeRequest{
		Channels:           req.GetChannels(),
		EventTypes:         req.GetEventTypes(),
		NotificationTypes:  req.GetNotificationTypes(),
		ExternalContactIds: req.GetExternalContactIds(),
		ConversationIds:    req.GetConversationIds(),
	}
}

// startOf returns the start of a request.
func startOf(req *ongairv1.SubscribeRequest) (fanout.Start, error) {
	switch start := req.GetStart().(type) {
	case *ongairv1.SubscribeRequest_Cursor:
		return fanout.Start{Cursor: start.Cursor}, nil
	case *ongairv1.SubscribeRequest_StartTime:
		// The rules of the proto do not check that the time is valid.
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
