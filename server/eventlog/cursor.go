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

// A cursor is 24 bytes, which are 32 characters of URL-safe base64: the version,
// the identity of the log, the sequence of the last event before the position,
// the checksum of that event, and a CRC-32 of all that, so that a character that
// got lost or changed on the way is noticed instead of being another position.
//
// The event's checksum tells the histories of one log apart: where the directory
// was replaced by an older copy and grew on from there, the same sequence is
// another event. It is 0 in the cursor of a position whose event was not at hand,
// as at the ends of the log; such a cursor is taken as it is.
const (
	cursorVersion = 1
	identityBytes = 7
	cursorBytes   = 1 + identityBytes + 8 + 4 + 4
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

// position is what a cursor says.
type position struct {
	sequence uint64
	// checksum is that of the event with the sequence; 0 where it is not known.
	checksum uint32
}

// encodeCursor returns the cursor of a position.
func encodeCursor(id identity, at position) string {
	b := make([]byte, 0, cursorBytes)
	b = append(b, cursorVersion)
	b = append(b, id[:]...)
	b = binary.BigEndian.AppendUint64(b, at.sequence)
	b = binary.BigEndian.AppendUint32(b, at.checksum)
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	return base64.RawURLEncoding.EncodeToString(b)
}

// decodeCursor returns the position of a cursor of this log.
func decodeCursor(id identity, cursor string) (position, error) {
	// The decoder passes over line breaks, but then the length is another one.
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(cursor) != cursorChars || len(b) != cursorBytes || b[0] != cursorVersion ||
		binary.BigEndian.Uint32(b[cursorBytes-4:]) != crc32.ChecksumIEEE(b[:cursorBytes-4]) {
		return position{}, fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED,
			"this is no cursor of Ongair Gateway; use one exactly as a response gave it")
	}
	if identity(b[1:1+identityBytes]) != id {
		return position{}, fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN,
			"the cursor is of another log: of another gateway, or from before this one's data was replaced")
	}
	b = b[1+identityBytes:]
	return position{sequence: binary.BigEndian.Uint64(b), checksum: binary.BigEndian.Uint32(b[8:])}, nil
}
