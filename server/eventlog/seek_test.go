package eventlog

import (
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// remove removes the events up to a sequence, as retention does.
func (f *fixture) remove(t *testing.T, last uint64) {
	t.Helper()
	f.store(t).Remove(t, last)
}

func requireEnds(t *testing.T, f *fixture, earliest, latest uint64) {
	t.Helper()
	got, err := f.Earliest(t.Context())
	require.NoError(t, err)
	assert.Equal(t, earliest, got, "earliest")
	got, err = f.Latest(t.Context())
	require.NoError(t, err)
	assert.Equal(t, latest, got, "latest")
	for _, position := range []uint64{earliest, latest} {
		got, err = f.Seek(t.Context(), f.Cursor(position))
		require.NoError(t, err)
		assert.Equal(t, position, got)
	}
	assert.Empty(t, f.all(t, latest))
}

func TestTheBoundsOfALog(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		requireEnds(t, f, 0, 0) // a new log
		f.append(t, numbered(1, 5)...)
		requireEnds(t, f, 0, 5)
		f.remove(t, 2)
		requireEnds(t, f, 2, 5)
		f.remove(t, 5)
		requireEnds(t, f, 5, 5) // all were removed
		f.reopen(t, Config{})
		requireEnds(t, f, 5, 5)
		f.append(t, "event-6")
		requireEnds(t, f, 5, 6)
	})
}

func TestACursorThatCannotBeServedHasAReason(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 5)...)
		f.remove(t, 3)
		for _, tt := range []struct {
			name   string
			cursor string
			want   ongairv1.ErrorReason
		}{
			{"malformed", "x" + f.Cursor(4)[1:], ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED},
			{"of another version", otherVersion(f.Cursor(4)), ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED},
			{"of another log", encodeCursor(identity{1}, position{sequence: 4}), ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN},
			{"just ahead", f.Cursor(6), ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD},
			{"at the largest sequence", f.Cursor(math.MaxUint64), ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD},
			{"just expired", f.Cursor(2), ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED},
			{"long expired", f.Cursor(0), ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED},
		} {
			t.Run(tt.name, func(t *testing.T) {
				_, err := f.Seek(t.Context(), tt.cursor)
				requireReason(t, err, tt.want)
			})
		}
	})
}

func TestALogReplacedByAnOlderCopyIsDetected(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 5)...)
		before, err := f.Read(t.Context(), 0, 10, large)
		require.NoError(t, err)
		// Simulate an older copy with new events.
		f.store(t).Replace(t)
		f.append(t, numbered(1, 3)...)
		f.append(t, "other-4", "other-5", "other-6")

		for sequence, e := range decode(t, before) {
			position, err := f.Seek(t.Context(), e.GetCursor())
			if sequence < 3 {
				require.NoError(t, err, "an event of both histories")
				assert.EqualValues(t, sequence+1, position)
			} else {
				requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN)
			}
		}
		_, err = f.Seek(t.Context(), f.Cursor(5))
		require.NoError(t, err, "a cursor at the end of the log has no event to compare")
		f.remove(t, 5)
		_, err = f.Seek(t.Context(), before.CursorAt(5))
		require.NoError(t, err, "a removed event cannot be compared")
	})
}

func TestAnExpiredPositionReportsTheGapAndWhereToContinue(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		check := func(position, first uint64, rest []string) {
			t.Helper()
			_, seekErr := f.Seek(t.Context(), f.Cursor(position))
			_, readErr := f.Read(t.Context(), position, 10, large)
			for _, err := range []error{seekErr, readErr} {
				fault := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
				assert.Equal(t, strconv.FormatUint(first-position-1, 10), fault.Metadata["lost_events"])
				oldest, err := f.Seek(t.Context(), fault.Metadata["oldest_cursor"])
				require.NoError(t, err)
				assert.Equal(t, rest, f.all(t, oldest))
			}
		}
		f.append(t, numbered(1, 5)...)
		f.remove(t, 3)
		check(0, 4, numbered(4, 5))
		check(2, 4, numbered(4, 5))
		assert.Equal(t, numbered(4, 5), f.all(t, 3))
		f.remove(t, 5)
		check(4, 6, nil)
	})
}
