package auth

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// Action is something that a caller may do.
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

// Actions returns all actions.
func Actions() []Action { return []Action{ActionSend, ActionTickets, ActionSubscribe} }

// AllChannels means every channel in the channels of a caller.
const AllChannels = "*"

// Principal is the caller of a call. The zero value may do nothing.
type Principal struct {
	// Name is unique among the callers. It is empty for the anonymous principal.
	Name string

	actions  []Action
	channels []string
	limits   Limits
	// by is its credential.
	by credential
}

// Limits returns the principal's limits, with defaults for those that are not set. ok is false
// for the anonymous principal, which has no limits.
func (p Principal) Limits() (limits Limits, ok bool) {
	limits = p.limits
	limits.MaxRate = cmp.Or(limits.MaxRate, DefaultMaxRate)
	limits.MaxInFlight = cmp.Or(limits.MaxInFlight, DefaultMaxInFlight)
	limits.MaxStreams = cmp.Or(limits.MaxStreams, DefaultMaxStreams)
	limits.MaxConnections = cmp.Or(limits.MaxConnections, DefaultMaxConnections)
	return limits, p.Name != ""
}

// Limits bounds how much of the gateway a caller may use, so that one caller cannot starve the
// others. Zero means the default.
type Limits struct {
	// MaxRate is the average number of calls a second, with bursts of one second.
	// MaxInFlight, MaxStreams and MaxConnections are calls, subscriptions and connections at
	// a time.
	MaxRate        float64
	MaxInFlight    int
	MaxStreams     int
	MaxConnections int
}

// Defaults of Limits. They are several times what a busy backend needs, and a tenth of what
// the gateway can do (docs/performance.md, S1 and F4).
const (
	DefaultMaxRate        = 2000
	DefaultMaxInFlight    = 1024
	DefaultMaxStreams     = 10_000
	DefaultMaxConnections = 2048
)

// MayDo fails with FORBIDDEN if the principal may not do an action.
func (p Principal) MayDo(action Action) error {
	if slices.Contains(p.actions, action) {
		return nil
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, "caller %q may not %s", p.Name, action)
	f.Metadata = map[string]string{"action": string(action)}
	return f
}

// MayUse fails with FORBIDDEN if the principal may not use a channel. The error is the same if
// the channel does not exist.
func (p Principal) MayUse(channel string) error {
	if p.everyChannel() || slices.Contains(p.channels, channel) {
		return nil
	}
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, "caller %q may not use channel %q", p.Name, channel)
	f.Metadata = map[string]string{"channel": channel}
	return f
}

// Channels returns the channels that the principal may use. limited is false if it may use
// every channel.
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

// FromContext returns the principal of NewContext. Without one it returns a principal that may
// do nothing.
func FromContext(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// ParseAction returns the action of a name.
func ParseAction(name string) (Action, error) {
	if slices.Contains(Actions(), Action(name)) {
		return Action(name), nil
	}
	return "", fmt.Errorf("unknown action %q: use send, tickets or subscribe", name)
}
