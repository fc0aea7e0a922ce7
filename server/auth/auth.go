// Package auth authenticates callers and authorises what they do.
//
// A credential is an API key (key.go) or a client certificate (certificate.go). A key is sent
// as `Authorization: Bearer KEY`, which over gRPC is the metadata "authorization". The
// gateway stores only the SHA-256 hash of a key, and compares in constant time. A plain hash
// is enough, because NewKey makes keys of 256 random bits, which no dictionary has.
//
// Access is denied by default. A principal (principal.go) may do only the actions and use
// only the channels that are configured for it. A context without authentication has a
// principal that may do nothing.
//
// A gateway without callers is open: every call has the anonymous principal, which may do
// everything. An open gateway does not listen beyond loopback unless it is configured to
// (server/config).
package auth

import (
	"crypto/subtle"
	"strings"
	"sync/atomic"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// credential identifies a principal: the hash of a key, or a name in a certificate. The zero
// value is no credential.
type credential struct {
	hash  KeyHash
	keyed bool
	name  string
}

// Credential returns the credential of a principal in a form for PrincipalWith. It MUST be kept
// secret, because it may be the hash of a weak key. It is empty for the anonymous principal.
func (p Principal) Credential() []byte {
	switch {
	case p.by.keyed:
		return append([]byte{credentialKey}, p.by.hash[:]...)
	case p.by.name != "":
		return append([]byte{credentialName}, p.by.name...)
	}
	return nil
}

// PrincipalWith returns a principal with a credential that Credential returned. It may do nothing
// until it is authenticated again (Reauthenticate).
func PrincipalWith(encoded []byte) Principal {
	var p Principal
	switch {
	case len(encoded) == 1+len(p.by.hash) && encoded[0] == credentialKey:
		p.by.keyed = true
		copy(p.by.hash[:], encoded[1:])
	case len(encoded) > 1 && encoded[0] == credentialName:
		p.by.name = string(encoded[1:])
	}
	return p
}

// Kinds of encoded credentials.
const (
	credentialKey  = 'k'
	credentialName = 'n'
)

// Caller is a configured caller.
type Caller struct {
	// KeyHashes are the hashes of its API keys. Any of them is accepted, so a key can be
	// replaced without a gap.
	KeyHashes []KeyHash
	// Certificates are names in its client certificates, any of which is accepted: a URI, as
	// in spiffe://mesh/ns/billing/sa/api, or dns: and a host name.
	Certificates []string
	// Actions is what it may do. Channels has the channels that it may use, or AllChannels.
	Actions  []Action
	Channels []string
	// Limits bounds how much it may use.
	Limits
}

// Unrestricted returns a caller with API keys that may do everything.
func Unrestricted(keys ...string) Caller {
	c := Caller{Actions: Actions(), Channels: []string{AllChannels}}
	for _, key := range keys {
		c.KeyHashes = append(c.KeyHashes, HashKey(key))
	}
	return c
}

// Authenticator authenticates calls. Its callers may be replaced at any time. It is safe for
// concurrent use.
type Authenticator struct {
	callers atomic.Pointer[callers]
}

// callers has all principals, by their credentials.
type callers struct {
	keys  []Principal
	names map[string]Principal
	// anonymous is the principal of every call if there are no callers.
	anonymous Principal
}

// New returns an Authenticator of callers, by name. Without callers every call is anonymous
// and may do everything.
func New(callers map[string]Caller) *Authenticator {
	a := &Authenticator{}
	a.Replace(callers)
	return a
}

// Replace replaces all callers. Calls that were admitted go on. Long calls MUST check their
// principal again (Reauthenticate).
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

// open reports whether calls need no credential.
func (c *callers) open() bool { return len(c.keys) == 0 && len(c.names) == 0 }

// Reauthenticate returns the present state of a principal. It fails with CREDENTIALS_INVALID
// if its credential is no longer valid. It fails with CREDENTIALS_MISSING if the principal is
// anonymous and calls need a credential now.
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
		"missing credentials: send an API key as \"Authorization: Bearer KEY\", or a client certificate")
}

func invalid() error {
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, "unknown API key")
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

// Authenticate returns the principal of a call. authorization has the values of the header
// Authorization. The client certificate with the names MUST be verified. A key takes
// precedence over a certificate, because a mesh may give every client a certificate.
// Authenticate fails with CREDENTIALS_MISSING or CREDENTIALS_INVALID.
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
