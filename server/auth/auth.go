// Package auth turns a call's credential into a principal, and says what that
// principal may do.
//
// The credential is an API key (key.go), as `Authorization: Bearer KEY`, which over gRPC
// is the metadata "authorization", or a client certificate (certificate.go). The gateway
// knows keys by their SHA-256 hash alone, and compares in constant time. A plain hash is
// enough because NewKey makes keys of 256 random bits, which no dictionary has.
//
// Access is denied by default: a principal (principal.go) may do the actions and use
// the channels that it is given, and a context that nobody authenticated has a principal that may
// do nothing. A gateway without any caller configured is open: every call is the
// anonymous principal's, who may do everything. A gateway that is open refuses to listen
// beyond loopback, unless it is told that this is wanted (server/config).
package auth

import (
	"crypto/subtle"
	"strings"
	"sync/atomic"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// credential is what a principal is known by: the hash of a key, or a name in a
// certificate. The zero value is none.
type credential struct {
	hash  KeyHash
	keyed bool
	name  string
}

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
	// anonymous is who calls where there are none.
	anonymous Principal
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
	all := callers{
		names:     map[string]Principal{},
		anonymous: Principal{actions: Actions(), channels: []string{AllChannels}},
	}
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

// open reports whether the gateway asks for no credentials.
func (c *callers) open() bool { return len(c.keys) == 0 && len(c.names) == 0 }

// Reauthenticate returns a principal as it is now. It fails with CREDENTIALS_INVALID where what
// it came with is no caller's any more, and with CREDENTIALS_MISSING where it is the
// anonymous one and the gateway asks for credentials now.
func (a *Authenticator) Reauthenticate(p Principal) (Principal, error) {
	switch all := a.callers.Load(); {
	case all.open():
		return all.anonymous, nil
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

// Authenticate returns the principal of a call with the values of its header
// Authorization, and with the names in its client certificate, which MUST be verified. A
// key counts before a certificate, because a mesh may give every client a certificate. It
// fails with CREDENTIALS_MISSING or CREDENTIALS_INVALID.
func (a *Authenticator) Authenticate(authorization, certificateNames []string) (Principal, error) {
	if all := a.callers.Load(); all.open() {
		return all.anonymous, nil
	}
	switch {
	case len(authorization) == 0 && len(certificateNames) == 0:
		return Principal{}, missing()
	case len(authorization) == 0:
		return a.principalNamed(certificateNames)
	case len(authorization) > 1:
		return Principal{}, invalid()
	}
	scheme, secret, _ := strings.Cut(authorization[0], " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return Principal{}, invalid() // an empty key opens nothing, even where one is configured
	}
	return a.principalOf(HashKey(secret))
}
