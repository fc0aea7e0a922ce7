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
