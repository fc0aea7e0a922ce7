package eventlog

import (
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// otherVersion returns a valid cursor of an unknown version.
func otherVersion(cursor string) string {
	b, _ := base64.RawURLEncoding.DecodeString(cursor)
	b[0]++
	binary.BigEndian.PutUint32(b[cursorBytes-4:], crc32.ChecksumIEEE(b[:cursorBytes-4]))
	return base64.RawURLEncoding.EncodeToString(b)
}

func TestACursorRoundTrips(t *testing.T) {
	id := identity{1, 2, 3}
	for _, sequence := range []uint64{0, 1, 1 << 40, math.MaxUint64} {
		for _, checksum := range []uint32{0, 1, math.MaxUint32} {
			at := position{sequence, checksum}
			cursor := encodeCursor(id, at)
			assert.Len(t, cursor, cursorChars)
			got, err := decodeCursor(id, cursor)
			require.NoError(t, err)
			assert.Equal(t, at, got)
		}
	}
}

func TestADamagedCursorIsMalformed(t *testing.T) {
	id := identity{1, 2, 3}
	good := encodeCursor(id, position{0x0102030405060708, 0x090a0b0c})
	for name, cursor := range map[string]string{
		"empty":             "",
		"a word":            "earliest",
		"its first half":    good[:len(good)/2],
		"without its end":   good[:len(good)-1],
		"with more":         good + "A",
		"twice":             good + good,
		"with padding":      good + "==",
		"with a line break": good + "\n",
		"broken over lines": good[:10] + "\r\n" + good[10:],
		"the other base64":  "+/" + good[2:],
		"another version":   otherVersion(good),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := decodeCursor(id, cursor)
			requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED)
		})
	}
	t.Run("with any one character changed", func(t *testing.T) {
		for i := range good {
			for _, c := range []byte(alphabet + "+/= \x00") {
				if c == good[i] {
					continue
				}
				damaged := []byte(good)
				damaged[i] = c
				_, err := decodeCursor(id, string(damaged))
				requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED)
			}
		}
	})
}

func FuzzCursor(f *testing.F) {
	id := identity{0xfe, 2, 3, 4, 5, 6, 7}
	good := encodeCursor(id, position{7, 8})
	for _, seed := range []string{
		"", good, good[1:], good + "\n", otherVersion(good), encodeCursor(id, position{sequence: math.MaxUint64}), encodeCursor(identity{}, position{7, 8}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, cursor string) {
		at, err := decodeCursor(id, cursor)
		if err == nil && encodeCursor(id, at) != cursor {
			t.Errorf("%q is decoded as %q", cursor, encodeCursor(id, at))
		}
	})
}

func TestAnInvalidIdentityIsRejected(t *testing.T) {
	for _, s := range []string{"", "01020304050607ff", "010203040506", "x1020304050607"} {
		_, err := parseIdentity(s)
		require.Error(t, err, s)
	}
}
