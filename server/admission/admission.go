// Package admission admits or rejects calls by their headers, before their messages are
// read. It authenticates the caller, checks that the caller may make the call, and enforces
// the caller's limits.
//
// The gRPC port and the HTTP port share one Gate. The HTTP port admits a request and then
// makes a gRPC call on the connection in memory. It holds the admitted Call at the Gate, and
// the metadata of the inner call names it (Hold, Held). So each call is admitted once.
//
// A caller has a rate, and limits of calls, streams and connections at a time (auth.Limits).
// Usage is counted over all connections and both ports (limits.go). A connection counts for
// each caller that had a call admitted on it. A connection whose calls were all rejected is
// closed (connlimits.go). Calls of grpc.health.v1 need no credential and have limits of
// their own. The anonymous caller of a gateway without callers has no limits.
package admission

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/listen"
)

// Kind is the kind of a call. It determines the limits that apply.
type Kind uint8

// The kinds of calls.
const (
	// Unary is a call with one response.
	Unary Kind = iota
	// Stream is a call with many responses.
	Stream
	// HealthCheck and HealthWatch are calls of grpc.health.v1. They need no credential.
	HealthCheck
	HealthWatch
)

// Request describes a call by its headers.
type Request struct {
	Origin Origin
	// Authorization has the values of the header Authorization.
	Authorization []string
	// Authenticate authenticates the caller in place of Authorization. It may be nil.
	Authenticate func() (auth.Principal, error)
	Kind         Kind
	// Action is the permission that the call requires. Empty means none. The call itself
	// checks the channel.
	Action auth.Action
}

// Gate admits calls. Its methods are safe for concurrent use.
type Gate struct {
	authenticator *auth.Authenticator
	limits        limits

	held sync.Map // Call by its name in metadata
	last atomic.Uint64
}

// New returns a gate for the callers of an authenticator.
func New(authenticator *auth.Authenticator) *Gate { return &Gate{authenticator: authenticator} }

// Call is a call that was admitted, until Done. Its methods are safe for concurrent use.
type Call struct {
	Origin Origin
	// Principal is the caller. It is the zero value for calls of grpc.health.v1, and if the
	// caller was not authenticated.
	Principal auth.Principal

	gate *Gate

	mu sync.Mutex
	// release gives back what the call uses of the limits. It is nil if the call uses
	// nothing.
	release func()
	done    bool
}

// Admit admits a call. It fails with CREDENTIALS_MISSING, CREDENTIALS_INVALID, FORBIDDEN or
// CALLER_LIMITED. It returns a Call for the log in any case.
func (g *Gate) Admit(req Request) (*Call, error) {
	g.limits.called(req.Origin.Connection)
	call := &Call{Origin: req.Origin, gate: g}
	var err error
	switch req.Kind {
	case HealthCheck:
		call.release, err = g.limits.check(req.Origin.Connection)
		return call, err
	case HealthWatch:
		call.release, err = g.limits.watch(req.Origin.Connection)
		return call, err
	case Unary, Stream:
	}
	authenticate := req.Authenticate
	if authenticate == nil {
		authenticate = func() (auth.Principal, error) {
			return g.authenticator.Authenticate(req.Authorization, req.Origin.CertificateNames)
		}
	}
	if call.Principal, err = authenticate(); err != nil {
		return call, err
	}
	if req.Action != "" {
		if err := call.Principal.MayDo(req.Action); err != nil {
			return call, err
		}
	}
	if req.Kind == Stream {
		call.release, err = g.limits.stream(call.Principal, req.Origin.Connection)
	} else {
		call.release, err = g.limits.call(call.Principal, req.Origin.Connection)
	}
	return call, err
}

// MakeStream counts a unary call as a stream from now on, because it lasts as long. If it
// fails with CALLER_LIMITED, the call is not counted any more.
func (c *Call) MakeStream() (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done {
		return nil // its client has left
	}
	c.giveBack()
	c.release, err = c.gate.limits.stream(c.Principal, c.Origin.Connection)
	return err
}

// Done releases what the call uses of its caller's limits.
func (c *Call) Done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.giveBack()
	c.done = true
}

// giveBack calls release. c.mu is held.
func (c *Call) giveBack() {
	if c.release != nil {
		c.release()
		c.release = nil
	}
}

// metadataCall is the metadata key that names a held call on the connection in memory.
// Clients cannot set it, because the HTTP port does not forward a header of this name.
const metadataCall = "ongair-gateway-call"

// Hold keeps an admitted call for the connection in memory, until release is called. The
// metadata names it.
func (g *Gate) Hold(call *Call) (md metadata.MD, release func()) {
	name := strconv.FormatUint(g.last.Add(1), 10)
	g.held.Store(name, call)
	return metadata.Pairs(metadataCall, name), func() { g.held.Delete(name) }
}

// Held returns the call that the incoming metadata of ctx names.
func (g *Gate) Held(ctx context.Context) (*Call, bool) {
	call, ok := g.held.Load(strings.Join(metadata.ValueFromIncomingContext(ctx, metadataCall), ""))
	if !ok {
		return nil, false
	}
	return call.(*Call), true
}

// CloseSilent closes the connections to a port that were opened at most age ago and had no
// call.
func (g *Gate) CloseSilent(port Port, age time.Duration) { g.limits.closeSilent(port, age) }

// Observe returns the observer of a port's connections.
func (g *Gate) Observe(port Port) listen.Observer { return observer{&g.limits, port} }

// observer is a listen.Observer.
type observer struct {
	limits *limits
	port   Port
}

// Opened implements listen.Observer.
func (o observer) Opened(c listen.Conn) {
	o.limits.opened(keyOf(o.port, c.LocalAddr(), c.RemoteAddr()), c)
}

// Ended implements listen.Observer.
func (o observer) Ended(c listen.Conn) {
	o.limits.ended(keyOf(o.port, c.LocalAddr(), c.RemoteAddr()), c)
}
