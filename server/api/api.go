// Package api is the gRPC service: one file per RPC, and what every call goes
// through on its way to one.
//
// NewServer puts the two together. Each call is, from the outside in: recovered
// if it panics, logged, explained (its error becomes a status with a reason),
// admitted (server/admission), given the request_id of its metadata, and validated
// against the rules of the proto. REST calls come in through a second server, on a
// connection in memory. It differs in one step: the HTTP port has admitted them.
//
// A sending call then names its channel, runs once per request_id, and makes one
// HTTP call to Ongair. Subscribe turns its start into a position of the log and
// sends what a fanout.Reader gives, through a codec that takes encoded responses
// as they are (codec.go).
package api

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// Deadlines of a sending call.
const (
	// DefaultSendTimeout ends a call whose caller set no deadline.
	DefaultSendTimeout = 15 * time.Second
	// MaxSendTimeout ends every call, so that a call that is claimed under a
	// request_id is known to be over some time later.
	MaxSendTimeout = 60 * time.Second
)

// AnswerTime is how much is kept of the time that is left, for an answer to reach the
// caller.
func AnswerTime(left time.Duration) time.Duration { return min(left/10, 250*time.Millisecond) }

// Upstream is Ongair for one channel.
type Upstream interface {
	Send(context.Context, ongair.Text) (ongair.Receipt, error)
	SendImage(context.Context, ongair.Image) (ongair.Receipt, error)
	SendDocument(context.Context, ongair.Document) (ongair.Receipt, error)
	CreateTicket(context.Context, ongair.Ticket) (ongair.Receipt, error)
}

// Fanout gives readers of the log.
type Fanout interface {
	Open(ctx context.Context, start fanout.Start, filter event.Filter) (*fanout.Reader, error)
	// Cursor returns a cursor of a position, without asking the log.
	Cursor(position uint64) string
}

// Once runs keyed calls once.
type Once interface {
	Do(ctx context.Context, key idempotency.Key, request, response proto.Message, call func(context.Context) error) (replayed bool, err error)
}

// Config is what the service is made of. All of it is required.
type Config struct {
	// Channels are the configured ones, by name.
	Channels map[string]Upstream
	// Reauthenticate returns a principal as it is now, or why it is rejected now; nil means that
	// callers never change.
	Reauthenticate func(auth.Principal) (auth.Principal, error)
	// Fanout reads the log, and Once keeps the outcomes of calls.
	Fanout Fanout
	Once   Once
}

// Service implements ongair.v1.OngairService. Its methods are safe for
// concurrent use.
type Service struct {
	ongairv1.UnsafeOngairServiceServer

	channels       atomic.Pointer[map[string]Upstream]
	reauthenticate func(auth.Principal) (auth.Principal, error)
	fanout         Fanout
	once           Once

	// draining ends, with a cause, when streams have to.
	draining context.Context
	drain    context.CancelCauseFunc
	// cut ends when the calls that run have to.
	cut    context.Context
	cutOff context.CancelFunc

	mu sync.Mutex
	// subscriptions are the streams that are open.
	subscriptions map[*subscription]struct{}
}

// NewService returns the service.
func NewService(cfg Config) *Service {
	s := &Service{
		reauthenticate: cfg.Reauthenticate,
		fanout:         cfg.Fanout,
		once:           cfg.Once,
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

// Drain ends all streams with SHUTTING_DOWN, those that start later too. Unary
// calls go on.
func (s *Service) Drain() {
	s.drain(fault.Stopping(fault.EffectNotApplicable, "the gateway is stopping; continue from your cursor"))
	s.endEach(func(sub *subscription) error {
		if sub.stream == nil {
			return nil // a long poll, which returns what it has
		}
		return context.Cause(s.draining)
	})
}

// CutOff ends the calls that run, which then say whether their message may have gone
// out. It is for when the gateway waits for them no longer.
func (s *Service) CutOff() { s.cutOff() }

// channel returns the configured channel that a request of a caller names, which is
// the only one that the caller may use where it names none.
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
				"there are %d channels to choose from: name one of them in channel", len(usable))
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
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN, "no channel %q is configured", name)
	f.Metadata = map[string]string{"channel": name}
	return f
}
