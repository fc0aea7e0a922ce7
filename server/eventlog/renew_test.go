package eventlog

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestTheSameLogIsNotRenewed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for position := range uint64(3) {
			cursor, err := f.CursorOf(t.Context(), position)
			require.NoError(t, err)
			replaced, err := f.Renew(t.Context(), cursor)
			require.NoError(t, err)
			assert.False(t, replaced)
			_, err = f.Append(t.Context(), message(cursor))
			require.NoError(t, err)
		}
		// Retention has removed the event of the cursor.
		cursor, err := f.CursorOf(t.Context(), 2)
		require.NoError(t, err)
		storagetest.Look(t, f.in).Stream(t, streamName).Remove(t, 2)
		replaced, err := f.Renew(t.Context(), cursor)
		require.NoError(t, err)
		assert.False(t, replaced)
	})
}

func TestAStreamThatWasCreatedAgainIsAnotherLog(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, err := f.Append(t.Context(), message("1"))
		require.NoError(t, err)
		cursor, err := f.CursorOf(t.Context(), 1)
		require.NoError(t, err)
		behind := storagetest.Look(t, f.in)
		behind.Stream(t, streamName).Replace(t) // with the same identity: as if the newest events were lost
		replaced, err := f.Renew(t.Context(), cursor)
		require.NoError(t, err)
		assert.True(t, replaced)
		assert.Zero(t, f.Head())
		_, err = f.Append(t.Context(), message("other"))
		require.NoError(t, err)
		replaced, err = f.Renew(t.Context(), cursor)
		require.NoError(t, err)
		assert.True(t, replaced, "another event has the sequence")

		behind.Stream(t, streamName).Delete(t)
		_, err = Open(t.Context(), f.in, Config{}) // another gateway
		require.NoError(t, err)
		replaced, err = f.Renew(t.Context(), f.Cursor(0))
		require.NoError(t, err)
		assert.True(t, replaced, "it has another identity")
		_, err = f.Position(cursor)
		assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN, fault.From(err).Reason)
	})
}

// scripted is a stream whose answers a test decides.
type scripted struct {
	stream
	mu   sync.Mutex
	info storage.Info
	acks []storage.Ack
	// following is closed when Follow begins.
	following chan struct{}
	deliver   []uint64
}

func (s *scripted) Info(context.Context) (storage.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info, nil
}

// endAt sets the last sequence.
func (s *scripted) endAt(last uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info.Last = last
}

func (s *scripted) Append(context.Context, storage.Message) (storage.Ack, error) {
	ack := s.acks[0]
	s.acks = s.acks[1:]
	return ack, nil
}

func (s *scripted) Follow(ctx context.Context, _ uint64, _ func(), deliver func(uint64, []byte)) error {
	for _, sequence := range s.deliver {
		deliver(sequence, nil)
	}
	close(s.following)
	<-ctx.Done()
	return ctx.Err()
}

// with replaces the stream of a log.
func (f *fixture) with(s *scripted) {
	s.stream, s.following = f.stream, make(chan struct{})
	s.info.Metadata = map[string]string{metadataIdentity: f.identity().String()}
	f.stream = s
}

func TestAFollowEndsIfASequenceIsUsedAgain(t *testing.T) {
	for name, tt := range map[string]struct {
		deliver []uint64
		ack     storage.Ack
		ends    bool
	}{
		"by an append":                      {[]uint64{1, 2, 3}, storage.Ack{Sequence: 3}, true},
		"by a delivery":                     {[]uint64{1, 2, 2}, storage.Ack{Sequence: 4}, true},
		"the next sequence":                 {[]uint64{1, 2, 3}, storage.Ack{Sequence: 4}, false},
		"a duplicate has an older sequence": {[]uint64{1, 2, 3}, storage.Ack{Sequence: 2, Duplicate: true}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, storagetest.Embedded(t), Config{})
			s := &scripted{deliver: tt.deliver, acks: []storage.Ack{tt.ack}}
			f.with(s)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- f.Follow(ctx, 0, func() {}, func(event.Entry) {}) }()
			<-s.following
			_, err := f.Append(t.Context(), message("1"))
			require.NoError(t, err)
			if !tt.ends {
				cancel()
				require.ErrorIs(t, <-ended, context.Canceled)
				return
			}
			assert.ErrorIs(t, fault.From(<-ended).Cause, errReused)
		})
	}
}

// A server that lags behind answers from what it has.
func TestOneAnswerOfAReplicatedLogRefusesNoCursor(t *testing.T) {
	f := open(t, storagetest.Embedded(t), Config{})
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{info: storage.Info{First: 1, Last: 10, Messages: 10, Replicated: true}}
		f.with(s)
		require.NoError(t, f.Reach(t.Context(), 10))
		time.AfterFunc(700*time.Millisecond, func() { s.endAt(12) })
		require.NoError(t, f.Reach(t.Context(), 12), "the server has caught up")
		s.endAt(5)
		require.NoError(t, f.Reach(t.Context(), 12), "the log had the event")
		began := time.Now()
		assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, fault.From(f.Reach(t.Context(), 13)).Reason)
		assert.InDelta(t, staleTime.Seconds(), time.Since(began).Seconds(), 0.2)
		s.mu.Lock()
		s.info.Replicated = false
		s.mu.Unlock()
		assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD, fault.From(f.Reach(t.Context(), 13)).Reason)
	})
}

func TestAReplicatedLogHasLostItsEndOnlyAfterTenSeconds(t *testing.T) {
	f := open(t, storagetest.Embedded(t), Config{})
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{info: storage.Info{First: 1, Last: 10, Messages: 10, Replicated: true}}
		f.with(s)
		cursor := f.Cursor(12)
		renew := func() (bool, error) {
			time.Sleep(time.Second)
			return f.Renew(t.Context(), cursor)
		}
		for range 5 {
			_, err := renew()
			require.ErrorIs(t, fault.From(err).Cause, errShort)
		}
		s.endAt(12)
		replaced, err := renew()
		require.NoError(t, err)
		require.False(t, replaced)
		s.endAt(10)
		tries := 0
		for err = errors.New("not yet"); err != nil; tries++ {
			replaced, err = renew()
		}
		assert.True(t, replaced)
		assert.Equal(t, 11, tries)
	})
}
