package eventlog

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// A cursor is 21 bytes, which are 28 characters of URL-safe base64 without
// padding: the version, the identity of the log, the sequence of the last event
// before the position, and a CRC-32 of all that, so that a character that got
// lost or changed on the way is noticed instead of being another position.
const (
	cursorVersion = 1
	identityBytes = 8
	cursorBytes   = 1 + identityBytes + 8 + 4
	cursorChars   = cursorBytes / 3 * 4
)

// identity tells one log from another: random, made with the log, kept in its
// stream's metadata.
type identity [identityBytes]byte

func (id identity) String() string { return hex.EncodeToString(id[:]) }

func parseIdentity(s string) (identity, error) {
	var id identity
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("the log's identity is %q, want %d hexadecimal digits", s, 2*identityBytes)
	}
	copy(id[:], b)
	return id, nil
}

// encodeCursor returns the cursor right after sequence.
func encodeCursor(id identity, sequence uint64) string {
	b := make([]byte, 0, cursorBytes)
	b = append(b, cursorVersion)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, sequence)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor returns the sequence that a cursor of this log is right after.
func decodeCursor(id identity, cursor string) (uint64, error) {
	// The decoder passes over line breaks, but then the length is another one.
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(cursor) != cursorChars || len(b) != cursorBytes || b[0] != cursorVersion ||
		binary.BigEndian.Uint32(b[cursorBytes-4:]) != crc32.ChecksumIEEE(b[:cursorBytes-4]) {
		return 0, fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED,
			"this is no cursor of Ongair Gateway; use one exactly as a response gave it")
	}
	if identity(b[1:1+identityBytes]) != id {
		return 0, fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN,
			"the cursor is of another log: of another gateway, or from before this one's data was replaced")
	}
	return binary.BigEndian.Uint64(b[1+identityBytes:]), nil
}
