// Package auth turns a call's credential into a principal.
//
// The credential is an API key, as `Authorization: Bearer KEY`, which over gRPC
// is the metadata "authorization". Keys are compared by their SHA-256 hash and
// in constant time. A gateway without any caller configured is open: every call
// is anonymous, and the gateway then refuses to listen beyond loopback.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// Principal is who makes a call. The zero value is the anonymous one, of every
// call to an open gateway.
type Principal struct {
	// Name is unique among the configured callers.
	Name string
}

// Authenticator knows the callers. It is immutable, and safe for concurrent use.
type Authenticator struct {
	keys []key
}

type key struct {
	hash      [sha256.Size]byte
	principal Principal
}

// New returns the authenticator of callers, which maps names to API keys. With
// none, every call is anonymous.
func New(callers map[string]string) *Authenticator {
	a := &Authenticator{}
	for name, secret := range callers {
		a.keys = append(a.keys, key{sha256.Sum256([]byte(secret)), Principal{Name: name}})
	}
	return a
}

// Open reports whether the gateway asks for no credentials.
func (a *Authenticator) Open() bool { return len(a.keys) == 0 }

// Authenticate returns ctx with the principal of the call whose incoming
// metadata it holds. It fails with CREDENTIALS_MISSING or CREDENTIALS_INVALID.
func (a *Authenticator) Authenticate(ctx context.Context) (context.Context, error) {
	if a.Open() {
		return ctx, nil
	}
	given := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(given) == 0 {
		return nil, fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING,
			"the call has no credentials; send the API key as \"Authorization: Bearer KEY\"")
	}
	invalid := fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, "the API key is not that of any caller")
	if len(given) > 1 {
		return nil, invalid
	}
	scheme, secret, _ := strings.Cut(given[0], " ")
	secret = strings.TrimSpace(secret)
	if !strings.EqualFold(scheme, "Bearer") || secret == "" {
		return nil, invalid // an empty key opens nothing, even where one is configured
	}
	hash := sha256.Sum256([]byte(secret))
	for _, k := range a.keys {
		if subtle.ConstantTimeCompare(hash[:], k.hash[:]) == 1 {
			return context.WithValue(ctx, principalKey{}, k.principal), nil
		}
	}
	return nil, invalid
}

type principalKey struct{}

// FromContext returns the principal that Authenticate found.
func FromContext(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}
