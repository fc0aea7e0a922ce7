package api

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/idempotency"
)

// sendingRequest is one of the four sending requests.
type sendingRequest interface {
	proto.Message
	GetChannel() string
	GetRequestId() string
}

// sendOnce makes a sending call on the channel of req, within a deadline, and once per
// request_id. call fills in response.
func (s *Service) sendOnce(ctx context.Context, method string, req sendingRequest, response proto.Message,
	call func(context.Context, Upstream) error,
) (replayed bool, err error) {
	channel, upstream, err := s.channel(auth.FromContext(ctx), req.GetChannel())
	if err != nil {
		return false, err
	}
	ctx, cancel := withSendTimeout(ctx)
	defer cancel()
	defer context.AfterFunc(s.cut, cancel)()
	defer func() {
		if err != nil && s.cut.Err() != nil {
			err = stoppedError(err)
		}
		if err != nil {
			err = onChannel{err, channel}
		}
	}()
	if req.GetRequestId() == "" {
		return false, call(ctx, upstream)
	}
	key := idempotency.Key{
		Caller:    auth.FromContext(ctx).Name,
		Channel:   channel,
		Method:    method,
		RequestID: req.GetRequestId(),
	}
	replayed, err = s.once.Do(ctx, key, withoutRequestID(req), response, func(ctx context.Context) error {
		return call(ctx, upstream)
	})
	if replayed && err == nil {
		err = grpc.SetHeader(ctx, metadata.Pairs(MetadataReplayed, "true"))
	}
	return replayed, err
}

// stoppedError returns the error of a call that may have been cancelled by the gateway's stop.
// Its caller has not cancelled it, so it must not get CANCELLED.
func stoppedError(err error) error {
	f := fault.From(err)
	if f.Reason != ongairv1.ErrorReason_ERROR_REASON_CANCELLED {
		return err
	}
	effect := fault.EffectUnknown
	if f.Effect == fault.EffectNone {
		effect = fault.EffectNone
	}
	stopping := fault.Stopping(effect, "the gateway is stopping; nothing was sent")
	stopping.Cause = err
	return stopping
}

// withSendTimeout bounds a sending call. The call ends shortly before its deadline, because at
// the deadline the caller's library stops waiting for the effect of the call.
func withSendTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithTimeout(ctx, DefaultSendTimeout)
	}
	left := time.Until(deadline)
	return context.WithTimeout(ctx, min(left-AnswerTime(left), MaxSendTimeout))
}

// withoutRequestID returns a request without the fields that may differ between repeated
// calls: the request_id, and the channel, which may be left out if there is only one.
func withoutRequestID(req sendingRequest) proto.Message {
	m := proto.Clone(req)
	fields := m.ProtoReflect().Descriptor().Fields()
	m.ProtoReflect().Clear(fields.ByName("request_id"))
	m.ProtoReflect().Clear(fields.ByName("channel"))
	return m
}
