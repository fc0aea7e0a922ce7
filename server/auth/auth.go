// Package auth turns a call's credential into a principal, and says what that
// principal may do.
//
// The credential is an API key, as `Authorization: Bearer KEY`, which over gRPC
// is the metadata "authorization", or a client certificate (certificate.go). The gateway knows keys by their SHA-256 hash
// alone, and compares in constant time. A plain hash is enough because NewKey makes
// keys of 256 random bits, which no dictionary has.
//
// Access is denied by default: a principal may do the actions and use the channels
// that it is given, and a context that nobody authenticated has a principal that may
// do nothing. A gateway without any caller configured is open: every call is the
// anonymous principal's, who may do everything, and the gateway then refuses to
// listen beyond loopback.
package auth

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/metadata"

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
	return limits, p.Name != ""
}

// Limits are how much of the gateway a caller may take, so that one that runs wild
// does not keep it from the others. Zero means the default.
type Limits struct {
	// MaxRate is calls a second on average, of which as many as in a second may come at
	// once. MaxInFlight are calls at once, and MaxStreams subscriptions at once.
	MaxRate     float64
	MaxInFlight int
	MaxStreams  int
}

// Defaults of Limits: several times what a busy backend needs, and a tenth of what the
// gateway can stand (docs/performance.md, S1 and F4).
const (
	DefaultMaxRate     = 2000
	DefaultMaxInFlight = 1024
	DefaultMaxStreams  = 10_000
)

// credential is what a principal is known by: the hash of a key, or a name in a
// certificate. The zero value is none.
type credential struct {
	hash  KeyHash
	keyed bool
	name  string
}

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

// Caller is a configured caller.
type Caller struct {
	// KeyHashes are those of its API keys, any of which gets it in: more than one
	// while a key is replaced.
	KeyHashes []KeyHash
	// Certificates are names in its client certificates, any of which gets it in: a URI,
	// as in spiffe://mesh/ns/billing/sa/api, or dns: and a host name.
	Certificates []string
	// Actions are what it may do, and Channels the ones it may use, or AllChannels.
	Actions  []Action
	Channels []string
	// Limits are how much it may take.
	Limits
}

// Unrestricted returns a caller who may do everything, with API keys.
func Unrestricted(keys ...string) Caller {
	c := Caller{Actions: Actions(), Channels: []string{AllChannels}}
	for _, key := range keys {
		c.KeyHashes = append(c.KeyHashes, HashKey(key))
	}
	return c
}

// Authenticator knows the callers, who may be replaced at any time. It is safe for
// concurrent use.
type Authenticator struct {
	callers atomic.Pointer[callers]
}

// callers are all principals, by what they are known by.
type callers struct {
	keys  []Principal
	names map[string]Principal
}

// New returns the authenticator of callers, by their names. With none, every call is
// anonymous, and may do everything.
func New(callers map[string]Caller) *Authenticator {
	a := &Authenticator{}
	a.Replace(callers)
	return a
}

// Replace replaces all callers. Calls that were admitted go on; who holds a principal
// for long asks for it again.
func (a *Authenticator) Replace(callers map[string]Caller) {
	now := callersOf(callers)
	a.callers.Store(&now)
}

func callersOf(configured map[string]Caller) callers {
	all := callers{names: map[string]Principal{}}
	for name, caller := range configured {
		p := Principal{Name: name, actions: caller.Actions, channels: caller.Channels, limits: caller.Limits}
		for _, hash := range caller.KeyHashes {
			p.by = credential{hash: hash, keyed: true}
			all.keys = append(all.keys, p)
		}
		for _, certificate := range caller.Certificates {
			p.by = credential{name: certificate}
			all.names[certificate] = p
		}
	}
	return all
}

// Open reports whether the gateway asks for no credentials.
func (a *Authenticator) Open() bool {
	all := a.callers.Load()
	return len(all.keys) == 0 && len(all.names) == 0
}

// Again returns a principal as it is now. It fails with CREDENTIALS_INVALID where what
// it came with is no caller's any more, and with CREDENTIALS_MISSING where it is the
// anonymous one and the gateway asks for credentials now.
func (a *Authenticator) Again(p Principal) (Principal, error) {
	switch {
	case a.Open():
		return anonymous(), nil
	case p.by.keyed:
		return a.principalOf(p.by.hash)
	case p.by.name != "":
		return a.principalNamed([]string{p.by.name})
	}
	return Principal{}, missing()
}

// principalNamed returns the principal with a name of a certificate.
func (a *Authenticator) principalNamed(names []string) (Principal, error) {
	all := a.callers.Load()
	for _, name := range names {
		if p, ok := all.names[name]; ok {
			return p, nil
		}
	}
	return Principal{}, fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID,
		"the client certificate is not that of any caller")
}

func anonymous() Principal { return Principal{actions: Actions(), channels: []string{AllChannels}} }

func missing() error {
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING,
		"the call has no credentials; send an API key as \"Authorization: Bearer KEY\", or a client certificate")
}

func invalid() error {
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, "the API key is not that of any caller")
}

// principalOf returns the principal with a key.
func (a *Authenticator) principalOf(hash KeyHash) (Principal, error) {
	for _, p := range a.callers.Load().keys {
		if subtle.ConstantTimeCompare(hash[:], p.by.hash[:]) == 1 {
			return p, nil
		}
	}
	return Principal{}, invalid()
}

// Authenticate returns ctx with the principal of the call whose incoming metadata it
// holds, and whose client certificate, verified by whoever calls this, has some names.
// A key counts before a certificate: a mesh may give a certificate to everybody. It
// fails with CREDENTIALS_MISSING or CREDENTIALS_INVALID.
func (a *Authenticator) Authenticate(ctx context.Context, certificate []string) (context.Context, error) {
	if a.Open() {
		return NewContext(ctx, anonymous()), nil
	}
	given := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(given) == 0 && len(certificate) == 0 {
		return nil, missing()
	}
	if len(given) == 0 {
		p, err := a.principalNamed(certificate)
		if err != nil {
			return nil, err
		}
		return NewContext(ctx, p), nil
	}
	if len(given) > 1 {
		return nil, invalid()
	}
	scheme, secret, _ := strings.Cut(given[0], " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return nil, invalid() // an empty key opens nothing, even where one is configured
	}
	p, err := a.principalOf(HashKey(secret))
	if err != nil {
		return nil, err
	}
	return NewContext(ctx, p), nil
}

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

// keyPrefix tells what an API key is for where one turns up, for people and for
// programs that look for secrets in code.
const keyPrefix = "ogk_"

// NewKey returns a new API key, of 256 random bits.
func NewKey() string {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails: see crypto/rand.Read
	return keyPrefix + base64.RawURLEncoding.EncodeToString(random[:])
}

// KeyHash is the SHA-256 hash of an API key.
type KeyHash [sha256.Size]byte

// HashKey returns the hash of an API key.
func HashKey(key string) KeyHash { return sha256.Sum256([]byte(key)) }

// hashPrefix names the function, so that another one can come beside it.
const hashPrefix = "sha256:"

// String returns the hash as it is written in configuration.
func (h KeyHash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// ParseKeyHash reads what String writes. Its errors do not show the text, which
// may be a key that was put there by mistake.
func ParseKeyHash(text string) (h KeyHash, err error) {
	digits, ok := strings.CutPrefix(text, hashPrefix)
	if !ok {
		return h, fmt.Errorf("it does not begin with %q, as what `ongair-gateway keys new` prints does", hashPrefix)
	}
	decoded, err := hex.DecodeString(digits)
	if err != nil || len(decoded) != len(h) {
		return h, errors.New("it has not 64 hexadecimal digits")
	}
	return KeyHash(decoded), nil
}

// ParseAction returns the action of a name.
func ParseAction(name string) (Action, error) {
	if slices.Contains(Actions(), Action(name)) {
		return Action(name), nil
	}
	return "", fmt.Errorf("%q is no action: send, tickets or subscribe", name)
}
