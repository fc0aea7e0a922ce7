package auth

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// Action is what a caller may do.
type Action string

// The actions.
const (
	// ActionSend is sending texts, images and documents.
	ActionSend Action = "send"
	// ActionTickets is opening tickets.
	ActionTickets Action = "tickets"
	// ActionSubscribe is reading the event log.
	ActionSubscribe Action = "subscribe"
)

// Actions are all actions.
func Actions() []Action { return []Action{ActionSend, ActionTickets, ActionSubscribe} }

// AllChannels stands for every channel among those of a caller.
const AllChannels = "*"

// Principal is who makes a call. The zero value may do nothing.
type Principal struct {
	// Name is unique among the configured callers; empty for the anonymous one.
	Name string

	actions  []Action
	channels []string
	limits   Limits
	// by is what it came with.
	by credential
}

// Limits returns what the principal may take at once, the defaults filled in; ok is
// false for the anonymous one, who has no limits: it is on this machine, or somebody
// said that it need not be.
func (p Principal) Limits() (limits Limits, ok bool) {
	limits = p.limits
	limits.MaxRate = cmp.Or(limits.MaxRate, DefaultMaxRate)
	limits.MaxInFlight = cmp.Or(limits.MaxInFlight, DefaultMaxInFlight)
	limits.MaxStreams = cmp.Or(limits.MaxStreams, DefaultMaxStreams)
	limits.MaxConnections = cmp.Or(limits.MaxConnections, DefaultMaxConnections)
	return limits, p.Name != ""
}

// Limits are how much of the gateway a caller may take, so that one that runs wild
// does not keep it from the others. Zero means the default.
type Limits struct {
	// MaxRate is calls a second on average, of which as many as in a second may come at
	// once. MaxInFlight are calls at once, MaxStreams subscriptions at once, and
	// MaxConnections the connections that any of it comes on.
	MaxRate        float64
	MaxInFlight    int
	MaxStreams     int
	MaxConnections int
}

// Defaults of Limits: several times what a busy backend needs, and a tenth of what the
// gateway can stand (docs/performance.md, S1 and F4).
const (
	DefaultMaxRate        = 2000
	DefaultMaxInFlight    = 1024
	DefaultMaxStreams     = 10_000
	DefaultMaxConnections = 2048
)

// MayDo fails with FORBIDDEN where the principal may not do an action.
func (p Principal) MayDo(action Action) error {
	if slices.Contains(p.actions, action) {
		return nil
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, "caller %q may not %s", p.Name, action)
	f.Metadata = map[string]string{"action": string(action)}
	return f
}

// MayUse fails with FORBIDDEN where the principal may not use a channel. It says the
// same of a channel that there is not.
func (p Principal) MayUse(channel string) error {
	if p.everyChannel() || slices.Contains(p.channels, channel) {
		return nil
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, "caller %q may not use channel %q", p.Name, channel)
	f.Metadata = map[string]string{"channel": channel}
	return f
}

// Channels returns the channels that the principal is limited to; limited is false
// where it may use every one.
func (p Principal) Channels() (channels []string, limited bool) {
	if p.everyChannel() {
		return nil, false
	}
	return p.channels, true
}

func (p Principal) everyChannel() bool { return slices.Contains(p.channels, AllChannels) }

type principalKey struct{}

// NewContext returns a context of a principal's call.
func NewContext(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// FromContext returns the principal that Authenticate found; one that may do nothing
// where it was not asked.
func FromContext(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// ParseAction returns the action of a name.
func ParseAction(name string) (Action, error) {
	if slices.Contains(Actions(), Action(name)) {
		return Action(name), nil
	}
	return "", fmt.Errorf("%q is no action: send, tickets or subscribe", name)
}
