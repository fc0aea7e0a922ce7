package eventlog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// large is a bound in bytes that no test reaches.
const large = 64 << 20

// fixture is an open log with its storage.
type fixture struct {
	*Log
	home *storagetest.Home
	in   *storage.Storage
}

// each runs test with a new log on each kind of storage.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) { test(t, open(t, home, Config{})) })
}

func open(t *testing.T, home *storagetest.Home, cfg Config) *fixture {
	t.Helper()
	in := home.Open(t)
	log, err := Open(t.Context(), in, cfg)
	require.NoError(t, err)
	return &fixture{Log: log, home: home, in: in}
}

// reopen closes the log and opens it again, as a restart does.
func (f *fixture) reopen(t *testing.T, cfg Config) {
	t.Helper()
	require.NoError(t, f.in.Close())
	*f = *open(t, f.home, cfg)
}

// store returns the current stream of the log.
func (f *fixture) store(t *testing.T) *storagetest.Stream {
	t.Helper()
	return storagetest.Look(t, f.in).Stream(t, streamName)
}

// append stores one event per id.
func (f *fixture) append(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		stored, err := f.Append(t.Context(), message(id))
		require.NoError(t, err)
		require.True(t, stored, id)
	}
}

// appendTogether stores one event per id concurrently.
func (f *fixture) appendTogether(t *testing.T, ids ...string) {
	t.Helper()
	var group sync.WaitGroup
	for _, id := range ids {
		group.Go(func() {
			stored, err := f.Append(t.Context(), message(id))
			assert.NoError(t, err)
			assert.True(t, stored, id)
		})
	}
	group.Wait()
}

func message(id string) *ongairv1.Event {
	return &ongairv1.Event{
		Id: id, Channel: "support", NotificationType: "MessageReceived",
		Payload: &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Id: id, Text: "Habari"}},
	}
}

// numbered returns the ids from number first to last.
func numbered(first, last int) []string {
	var ids []string
	for i := first; i <= last; i++ {
		ids = append(ids, fmt.Sprintf("event-%d", i))
	}
	return ids
}

// decode returns the events of a segment as a subscriber gets them.
func decode(t *testing.T, events event.Segment) []*ongairv1.Event {
	t.Helper()
	if events.Len() == 0 {
		return nil
	}
	wire := events.Respond(&event.Filter{}, 0).Buffers().Materialize()
	response := &ongairv1.SubscribeResponse{}
	require.NoError(t, proto.Unmarshal(wire, response))
	return response.GetEvents()
}

func idsOf(t *testing.T, events event.Segment) []string {
	t.Helper()
	var ids []string
	for _, e := range decode(t, events) {
		ids = append(ids, e.GetId())
	}
	return ids
}

// all returns the ids of all events after a position.
func (f *fixture) all(t *testing.T, position uint64) []string {
	t.Helper()
	const page = 1000
	var ids []string
	for {
		events, err := f.Read(t.Context(), position, page, large)
		require.NoError(t, err)
		ids = append(ids, idsOf(t, events)...)
		if events.Len() < page {
			return ids
		}
		position = events.Last()
	}
}

func requireReason(t *testing.T, err error, reason ongairv1.ErrorReason) *fault.Fault {
	t.Helper()
	require.Error(t, err)
	f := fault.From(err)
	require.Equal(t, reason, f.Reason, err.Error())
	return f
}

func TestAnEventIsStoredOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, "a", "b")
		again := message("a")
		again.Payload = nil
		stored, err := f.Append(t.Context(), again)
		require.NoError(t, err)
		assert.False(t, stored)

		read, err := f.Read(t.Context(), 0, 10, large)
		require.NoError(t, err)
		events := decode(t, read)
		require.Len(t, events, 2)
		assert.Equal(t, "Habari", events[0].GetMessageReceived().GetText(), "the first event must be kept")
	})
}

func TestRandomIDsAreNeverDuplicates(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, event.RandomID(), event.RandomID(), event.RandomID())
		assert.Len(t, f.all(t, 0), 3)
	})
}

func TestConcurrentCopiesOfAnEventAreStoredOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var group sync.WaitGroup
		results := make(chan bool, 20)
		for range cap(results) {
			group.Go(func() {
				stored, err := f.Append(t.Context(), message("same"))
				assert.NoError(t, err)
				results <- stored
			})
		}
		group.Wait()
		close(results)
		stored := 0
		for result := range results {
			if result {
				stored++
			}
		}
		assert.Equal(t, 1, stored)
		assert.Equal(t, []string{"same"}, f.all(t, 0))
	})
}

func TestADuplicateIsFoundAfterARestart(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, "a")
		f.reopen(t, Config{})
		stored, err := f.Append(t.Context(), message("a"))
		require.NoError(t, err)
		assert.False(t, stored)
	})
}

func TestTheLargestEventIsStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		e := message("large")
		e.GetMessageReceived().Text = strings.Repeat("x", storage.MaxPayload-4096)
		_, err := f.Append(t.Context(), e)
		require.NoError(t, err)
		read, err := f.Read(t.Context(), 0, 512, 1)
		require.NoError(t, err)
		require.Equal(t, 1, read.Len())
		assert.True(t, proto.Equal(e.GetMessageReceived(), decode(t, read)[0].GetMessageReceived()))
		assert.Equal(t, []string{"large"}, followed(t, f, 0).take(t, 1))
	})
}

func TestAnEventOfAnUnknownTypeOrChannelNameIsStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for id, kind := range map[string]string{"a": "LocationReceived", "b": "", "c": "with space.and.dots>*"} {
			e := message(id)
			e.NotificationType = kind
			_, err := f.Append(t.Context(), e)
			require.NoError(t, err, kind)
		}
		assert.Len(t, f.all(t, 0), 3)
	})
}

func TestARestartKeepsTheLogAndItsIdentity(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, numbered(1, 3)...)
		cursor := f.Cursor(1)
		f.reopen(t, Config{})
		assert.Equal(t, cursor, f.Cursor(1))
		position, err := f.Seek(t.Context(), cursor)
		require.NoError(t, err)
		assert.Equal(t, numbered(2, 3), f.all(t, position))
		f.append(t, "event-4")
		assert.Equal(t, numbered(1, 4), f.all(t, 0))
	})
}

func TestReplicasThatOpenAtTheSameTimeShareOneLog(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) {
		in := home.Open(t)
		logs := make([]*Log, 8)
		var group sync.WaitGroup
		for i := range logs {
			group.Go(func() {
				var err error
				logs[i], err = Open(t.Context(), in, Config{})
				assert.NoError(t, err)
			})
		}
		group.Wait()
		for _, log := range logs {
			require.NotNil(t, log)
			assert.Equal(t, logs[0].Cursor(7), log.Cursor(7))
		}
	})
}

func TestEachNewLogHasItsOwnIdentity(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.append(t, "a")
		cursor := f.Cursor(1)
		f.store(t).Delete(t)
		// nats-server deletes files after its answer, and until then may reject a stream of the same name.
		require.Eventually(t, func() bool {
			_, err := Open(t.Context(), f.in, Config{})
			return err == nil
		}, 10*time.Second, 10*time.Millisecond)
		f.reopen(t, Config{})
		f.append(t, "a")
		_, err := f.Seek(t.Context(), cursor)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN)
	})
}

func TestAForeignStreamIsRejected(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) {
		in := home.Open(t)
		behind := storagetest.Look(t, in)
		for _, tt := range []struct {
			metadata map[string]string
			want     string
		}{
			{nil, "event log: stream ONGAIR_EVENTS has no format stamp: it is not a released gateway's; delete it, or use another NATS account"},
			{map[string]string{"ongair-format": "2"}, "event log: stream ONGAIR_EVENTS has format 2, and this gateway knows formats up to 1: " +
				"use the version that wrote it, or a newer one"},
			{map[string]string{"ongair-format": "1"}, `event log: invalid identity "" of the log: it must have 14 hexadecimal digits`},
		} {
			behind.CreateStream(t, streamName, subjectPrefix+">", tt.metadata)
			_, err := Open(t.Context(), in, Config{})
			require.EqualError(t, err, tt.want)
			// The stream must not be modified.
			assert.Equal(t, tt.metadata["ongair-format"], behind.Stream(t, streamName).Info.Config.Metadata["ongair-format"])
		}
	})
}

func TestTheLatestStartSetsTheLimits(t *testing.T) {
	limits := func(f *fixture) Config {
		c := f.store(t).Info.Config
		return Config{RetentionAge: c.MaxAge, RetentionBytes: c.MaxBytes, DuplicateWindow: c.Duplicates}
	}
	defaults := Config{RetentionAge: DefaultRetentionAge, RetentionBytes: DefaultRetentionBytes, DuplicateWindow: DefaultDuplicateWindow}
	each(t, func(t *testing.T, f *fixture) {
		assert.Equal(t, defaults, limits(f))
		f.append(t, numbered(1, 10)...)
		half := Config{RetentionAge: time.Minute, RetentionBytes: int64(f.store(t).Info.State.Bytes / 2), DuplicateWindow: time.Hour}
		f.reopen(t, half)
		half.DuplicateWindow = time.Minute // JetStream requires at most the retention
		assert.Equal(t, half, limits(f))
		position, err := f.Earliest(t.Context())
		require.NoError(t, err)
		assert.Positive(t, position, "events beyond the new limit must be removed")
		assert.Equal(t, numbered(int(position)+1, 10), f.all(t, position))

		f.reopen(t, Config{})
		assert.Equal(t, defaults, limits(f))
	})
}

// outages runs test with each way to lose a log.
func outages(t *testing.T, test func(t *testing.T, f *fixture, lose func())) {
	t.Helper()
	t.Run("embedded and closed", func(t *testing.T) {
		f := open(t, storagetest.Embedded(t), Config{})
		test(t, f, func() { require.NoError(t, f.in.Close()) })
	})
	t.Run("external and closed", func(t *testing.T) {
		f := open(t, storagetest.Serve(t, nil).Home(), Config{})
		test(t, f, func() { require.NoError(t, f.in.Close()) })
	})
	t.Run("the external server is down", func(t *testing.T) {
		server := storagetest.Serve(t, nil)
		test(t, open(t, server.Home(), Config{}), server.Stop)
	})
}

func TestAnUnavailableLogIsReportedInTime(t *testing.T) {
	outages(t, func(t *testing.T, f *fixture, lose func()) {
		f.append(t, "a")
		cursor := f.Cursor(1)
		lose()
		for name, call := range map[string]func(context.Context) error{
			"Append":   func(ctx context.Context) error { _, err := f.Append(ctx, message("b")); return err },
			"Read":     func(ctx context.Context) error { _, err := f.Read(ctx, 0, 1, 1); return err },
			"Bounds":   func(ctx context.Context) error { _, err := f.Bounds(ctx); return err },
			"Earliest": func(ctx context.Context) error { _, err := f.Earliest(ctx); return err },
			"Latest":   func(ctx context.Context) error { _, err := f.Latest(ctx); return err },
			"Seek":     func(ctx context.Context) error { _, err := f.Seek(ctx, cursor); return err },
			"SeekTime": func(ctx context.Context) error { _, err := f.SeekTime(ctx, time.Now()); return err },
		} {
			const patience = 200 * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			start := time.Now()
			err := call(ctx)
			cancel()
			assert.Less(t, time.Since(start), patience+time.Second, name)
			assert.NotZero(t, requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE).RetryAfter, name)
		}
	})
}

func TestACancelledCallIsNotALogFailure(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := f.Append(ctx, message("a"))
		require.ErrorIs(t, err, context.Canceled)
		_, err = f.Read(ctx, 0, 1, 1)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_CANCELLED)
		require.ErrorIs(t, f.Follow(ctx, 0, func() {}, func(event.Entry) {}), context.Canceled)
	})
}

// broken is a stream that cannot be written to.
type broken struct {
	stream
	cause error
}

func (s broken) Append(context.Context, storage.Message) (storage.Ack, error) {
	return storage.Ack{}, s.cause
}

func TestAFailedAppendReportsThatTheLogIsUnavailable(t *testing.T) {
	full := errors.New("no space left on device")
	f := open(t, storagetest.Embedded(t), Config{})
	f.stream = broken{f.stream, full}
	_, err := f.Append(t.Context(), message("x"))
	assert.Positive(t, requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE).RetryAfter)
	assert.ErrorIs(t, err, full)
}
