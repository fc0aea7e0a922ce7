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

// A cursor has 24 bytes, which are 32 characters of URL-safe base64:
//
//   - the version;
//   - the identity of the log;
//   - the sequence of the last event before the position;
//   - the checksum of that event;
//   - a CRC-32 of all that, which detects a cursor that was damaged on the way.
//
// The checksum of the event distinguishes histories of one log. If the data directory was
// replaced by an older copy and has grown since, the same sequence is another event. The checksum
// is 0 if the event was not known, for example at the ends of the log. It is not compared then.
const (
	cursorVersion = 1
	identityBytes = 7
	cursorBytes   = 1 + identityBytes + 8 + 4 + 4
	cursorChars   = cursorBytes / 3 * 4
)

// identity identifies a log. It is random, and is stored in the stream's metadata.
type identity [identityBytes]byte

func (id identity) String() string { return hex.EncodeToString(id[:]) }

func parseIdentity(s string) (identity, error) {
	var id identity
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("invalid identity %q of the log: it must have %d hexadecimal digits", s, 2*identityBytes)
	}
	copy(id[:], b)
	return id, nil
}

// position is the content of a cursor.
type position struct {
	sequence uint64
	// checksum is the checksum of the event with the sequence, or 0 if it is unknown.
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
	// The decoder ignores line breaks, but then the length differs.
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(cursor) != cursorChars || len(b) != cursorBytes || b[0] != cursorVersion ||
		binary.BigEndian.Uint32(b[cursorBytes-4:]) != crc32.ChecksumIEEE(b[:cursorBytes-4]) {
		return position{}, fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED,
			"invalid cursor: pass it back unchanged")
	}
	if identity(b[1:1+identityBytes]) != id {
		return position{}, fault.New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN,
			"the cursor belongs to another log: start from POSITION_EARLIEST or a start_time")
	}
	b = b[1+identityBytes:]
	return position{sequence: binary.BigEndian.Uint64(b), checksum: binary.BigEndian.Uint32(b[8:])}, nil
}
