package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// keyPrefix identifies an API key of the gateway, for people and for programs that scan code
// for secrets.
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

// hashPrefix names the hash function, so that another one can be added.
const hashPrefix = "sha256:"

// String returns the hash in the form of the configuration.
func (h KeyHash) String() string { return hashPrefix + hex.EncodeToString(h[:]) }

// ParseKeyHash parses the form of String. Its errors do not contain the text, which may be a
// key by mistake.
func ParseKeyHash(text string) (h KeyHash, err error) {
	digits, ok := strings.CutPrefix(text, hashPrefix)
	if !ok {
		return h, fmt.Errorf("invalid key hash: it must begin with %q, as `ongair-gateway keys new` prints it", hashPrefix)
	}
	decoded, err := hex.DecodeString(digits)
	if err != nil || len(decoded) != len(h) {
		return h, errors.New("invalid key hash: it must have 64 hexadecimal digits")
	}
	return KeyHash(decoded), nil
}
