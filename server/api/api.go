// Package api implements the gRPC service, with one file per RPC.
//
// Each call goes through these steps (call.go):
//
//  1. recover from a panic, and log how the call ended;
//  2. turn an error into a status with a reason (callend.go);
//  3. admit the call by its headers (admit.go, server/admission);
//  4. receive the message, and add the request_id of the metadata (request_id.go);
//  5. validate the message against the rules of the proto (validate.go).
//
// REST calls use a second server on a connection in memory. It skips step 3, because the HTTP
// port has admitted them.
//
// A sending call then selects its channel, runs once per request_id, and makes one HTTP call
// to Ongair (sending.go). Subscribe turns its start into a position of the log, and sends the
// responses of a fanout.Reader. The responses are encoded already (codec.go).
package api

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/streamticket"
)

// Deadlines of a sending call.
const (
	// DefaultSendTimeout is the deadline of a call without one.
	DefaultSendTimeout = 15 * time.Second
	// MaxSendTimeout bounds every deadline, so that a claim of a request_id has an end.
	MaxSendTimeout = 60 * time.Second
)

// AnswerTime returns how much of the remaining time is reserved for the answer to reach the
// caller.
func AnswerTime(left time.Duration) time.Duration { return min(left/10, 250*time.Millisecond) }

// Upstream is Ongair for one channel.
type Upstream interface {
	Send(context.Context, ongair.Text) (ongair.Receipt, error)
	SendImage(context.Context, ongair.Image) (ongair.Receipt, error)
	SendDocument(context.Context, ongair.Document) (ongair.Receipt, error)
	CreateTicket(context.Context, ongair.Ticket) (ongair.Receipt, error)
}

// Fanout opens readers of the log.
type Fanout interface {
	Open(ctx context.Context, start fanout.Start, filter event.Filter) (*fanout.Reader, error)
	// Cursor returns a cursor of a position, without asking the log.
	Cursor(position uint64) string
}

// Once runs keyed calls once.
type Once interface {
	Do(ctx context.Context, key idempotency.Key, request, response proto.Message, call func(context.Context) error) (replayed bool, err error)
}

// Config configures a Service. All fields are required except Reauthenticate.
type Config struct {
	// Channels has the configured channels, by name.
	Channels map[string]Upstream
	// Reauthenticate returns the present state of a principal, or why it is rejected. Nil
	// means that callers never change.
	Reauthenticate func(auth.Principal) (auth.Principal, error)
	// Fanout reads the log. Once stores the outcomes of calls.
	Fanout Fanout
	Once   Once
	// Tickets issues the tickets of streams.
	Tickets *streamticket.Tickets
}

// Service implements ongair.v1.OngairService. Its methods are safe for
// concurrent use.
type Service struct {
	ongairv1.UnsafeOngairServiceServer

	channels       atomic.Pointer[map[string]Upstream]
	reauthenticate func(auth.Principal) (auth.Principal, error)
	fanout         Fanout
	once           Once
	tickets        *streamticket.Tickets
	validator      func() (protovalidate.Validator, error)

	// draining ends, with a cause, when streams have to end.
	draining context.Context
	drain    context.CancelCauseFunc
	// cut ends when running calls have to end.
	cut    context.Context
	cutOff context.CancelFunc

	mu sync.Mutex
	// subscriptions has the open streams and long polls.
	subscriptions map[*subscription]struct{}
}

// NewService returns the service.
func NewService(cfg Config) *Service {
	s := &Service{
		reauthenticate: cfg.Reauthenticate,
		fanout:         cfg.Fanout,
		once:           cfg.Once,
		tickets:        cfg.Tickets,
		validator:      sync.OnceValues(newValidator),
		subscriptions:  map[*subscription]struct{}{},
	}
	if s.reauthenticate == nil {
		s.reauthenticate = func(p auth.Principal) (auth.Principal, error) { return p, nil }
	}
	s.channels.Store(&cfg.Channels)
	s.draining, s.drain = context.WithCancelCause(context.Background())
	s.cut, s.cutOff = context.WithCancel(context.Background())
	return s
}

// Drain ends all streams with SHUTTING_DOWN, including streams that start later. Unary calls
// go on.
func (s *Service) Drain() {
	s.drain(fault.Stopping(fault.EffectNotApplicable, "the gateway is stopping; continue from your cursor"))
	s.endEach(func(sub *subscription) error {
		if sub.interrupt == nil {
			return nil // a long poll, which returns what it has
		}
		return context.Cause(s.draining)
	})
}

// CutOff ends the running calls. Their errors say whether the message may have been sent. It
// is for the end of the grace period.
func (s *Service) CutOff() { s.cutOff() }

// channel returns the configured channel that a request names. If the request names none, it
// returns the only channel that the caller may use.
func (s *Service) channel(caller auth.Principal, name string) (string, Upstream, error) {
	if name == "" {
		var usable []string
		for configured := range *s.channels.Load() {
			if caller.MayUse(configured) == nil {
				usable = append(usable, configured)
			}
		}
		if len(usable) != 1 {
			return "", nil, fault.New(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_REQUIRED,
				"%d channels are configured: set channel", len(usable))
		}
		name = usable[0]
	}
	upstream, ok := (*s.channels.Load())[name]
	if err := caller.MayUse(name); err != nil {
		if ok {
			err = onChannel{err, name}
		}
		return "", nil, err
	}
	if !ok {
		return "", nil, unknownChannel(name)
	}
	return name, upstream, nil
}

func unknownChannel(name string) error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN, "unknown channel %q", name)
	f.Metadata = map[string]string{"channel": name}
	return f
}
