package storage

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openStream(t *testing.T, s *Storage) *Stream {
	t.Helper()
	stream, err := s.OpenStream(t.Context(), StreamConfig{Name: streamName, Subject: "test."})
	require.NoError(t, err)
	return stream
}

func openRecords(t *testing.T, s *Storage) *Records {
	t.Helper()
	records, err := s.OpenRecords(t.Context(), RecordsConfig{Bucket: streamName, MaxAge: time.Hour})
	require.NoError(t, err)
	return records
}

func appendOne(t *testing.T, stream *Stream, id string) {
	t.Helper()
	_, err := stream.Append(t.Context(), Message{Subject: "test.messages", ID: id, Data: []byte(id)})
	require.NoError(t, err)
}

func TestReadLeavesNothingBehind(t *testing.T) {
	EachStorage(t, func(t *testing.T, s *Storage) {
		stream := openStream(t, s)
		for _, id := range numbered(1, 3) {
			appendOne(t, stream, id)
		}
		read := func(from uint64, want int) {
			t.Helper()
			got := 0
			_, err := stream.Read(t.Context(), ReadRequest{From: from, MaxMessages: 10}, func(uint64, []byte) bool {
				got++
				return true
			})
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
		read(1, 3)
		before := s.conn.NumSubscriptions()
		read(1, 3)
		read(4, 0)
		assert.Equal(t, before, s.conn.NumSubscriptions())
	})
}

func TestFollowLeavesNothingBehind(t *testing.T) {
	EachStorage(t, func(t *testing.T, s *Storage) {
		stream := openStream(t, s)
		appendOne(t, stream, "a")
		before := s.conn.NumSubscriptions()
		ctx, cancel := context.WithCancel(t.Context())
		delivered := 0
		err := stream.Follow(ctx, 1, func() {}, func(uint64, []byte) {
			delivered++
			cancel()
		})
		require.ErrorIs(t, err, context.Canceled)
		require.Eventually(t, func() bool { return s.conn.NumSubscriptions() == before }, patience, time.Millisecond)
		appendOne(t, stream, "b")
		assert.Equal(t, 1, delivered)
	})
}

// scaled is a JetStream that reports three replicas for its streams, which a single server cannot
// have. It records the requested replicas.
type scaled struct {
	natsjs.JetStream
	requested []int
}

func (s *scaled) Stream(ctx context.Context, name string) (natsjs.Stream, error) {
	stream, err := s.JetStream.Stream(ctx, name)
	if err == nil {
		stream.CachedInfo().Config.Replicas = 3
	}
	return stream, err
}

func (s *scaled) UpdateStream(ctx context.Context, cfg natsjs.StreamConfig) (natsjs.Stream, error) {
	s.requested = append(s.requested, cfg.Replicas)
	cfg.Replicas = 1
	return s.JetStream.UpdateStream(ctx, cfg)
}

func TestAnOperatorsReplicaCountIsKept(t *testing.T) {
	s := OpenEmbedded(t)
	openStream(t, s)
	openRecords(t, s)
	js := &scaled{JetStream: s.api}
	again := &Storage{conn: s.conn, api: js, embedded: s.embedded, log: s.log}
	_, err := again.OpenStream(t.Context(), StreamConfig{Name: streamName, Subject: "test.", MaxAge: time.Hour})
	require.NoError(t, err)
	_, err = again.OpenRecords(t.Context(), RecordsConfig{Bucket: streamName, MaxAge: time.Minute})
	require.NoError(t, err)
	assert.Equal(t, []int{3, 3}, js.requested)
}

// Other NATS clients can read the bucket. Its settings are part of the format.
func TestTheBucketSettingsAreUnchanged(t *testing.T) {
	s := OpenEmbedded(t)
	openRecords(t, s)
	stream, err := s.api.Stream(t.Context(), "KV_TEST")
	require.NoError(t, err)
	got := stream.CachedInfo().Config
	assert.Equal(t, "1", got.Metadata["ongair-format"])
	got.Metadata = nil
	assert.Equal(t, natsjs.StreamConfig{
		Name: "KV_TEST", Subjects: []string{"$KV.TEST.>"}, Storage: natsjs.FileStorage, Replicas: 1,
		Retention: natsjs.LimitsPolicy, Discard: natsjs.DiscardNew,
		MaxMsgsPerSubject: 1, MaxMsgs: -1, MaxBytes: -1, MaxMsgSize: -1, MaxConsumers: -1,
		MaxAge: time.Hour, Duplicates: 2 * time.Minute,
		AllowRollup: true, DenyDelete: true, AllowAtomicPublish: true,
	}, got)

	_, err = openRecords(t, s).Put(t.Context(), "key", []byte("value"), 0)
	require.NoError(t, err)
	bucket, err := s.api.KeyValue(t.Context(), "TEST")
	require.NoError(t, err)
	entry, err := bucket.Get(t.Context(), "key")
	require.NoError(t, err)
	assert.Equal(t, "value", string(entry.Value()))
}

func TestARecordIsStoredAtTheExpectedRevision(t *testing.T) {
	EachStorage(t, func(t *testing.T, s *Storage) {
		records := openRecords(t, s)
		record, err := records.Get(t.Context(), "key")
		require.NoError(t, err)
		assert.Equal(t, Record{}, record)

		first, err := records.Put(t.Context(), "key", []byte("a"), 0)
		require.NoError(t, err)
		for _, wrong := range []uint64{0, first + 1} {
			_, err = records.Put(t.Context(), "key", []byte("b"), wrong)
			require.ErrorIs(t, err, ErrConflict)
		}
		second, err := records.Put(t.Context(), "key", nil, first)
		require.NoError(t, err)
		record, err = records.Get(t.Context(), "key")
		require.NoError(t, err)
		assert.Equal(t, Record{Exists: true, Data: []byte{}, Revision: second}, Record{record.Exists, append([]byte{}, record.Data...), record.Revision})

		bucket, err := s.api.KeyValue(t.Context(), streamName)
		require.NoError(t, err)
		require.NoError(t, bucket.Delete(t.Context(), "key"))
		record, err = records.Get(t.Context(), "key")
		require.NoError(t, err)
		assert.Equal(t, Record{Revision: second + 1}, record)
	})
}

// The caller can read the stored record to detect that it conflicts with itself.
func TestARecordWithALostAcknowledgementConflictsWithItself(t *testing.T) {
	EachStorage(t, func(t *testing.T, s *Storage) {
		records := openRecords(t, s)
		lossy := &lossyOnce{JetStream: s.api}
		records.stream.committer.js = lossy
		_, err := records.Put(t.Context(), "key", []byte("mine"), 0)
		require.ErrorIs(t, err, ErrConflict)
		assert.True(t, lossy.lost)
		record, err := records.Get(t.Context(), "key")
		require.NoError(t, err)
		assert.Equal(t, "mine", string(record.Data))
	})
}

// lostServer is a JetStream that cannot create a stream.
type lostServer struct{ natsjs.JetStream }

var errLost = errors.New("lost")

func (lostServer) CreateStream(context.Context, natsjs.StreamConfig) (natsjs.Stream, error) {
	return nil, errLost
}

func TestAStreamThatCannotBeCreatedIsAnError(t *testing.T) {
	s := &Storage{conn: &nats.Conn{}, api: lostServer{}, embedded: &embedded{}}
	_, err := s.OpenStream(t.Context(), StreamConfig{Name: streamName})
	require.ErrorIs(t, err, errLost)
	_, err = s.OpenRecords(t.Context(), RecordsConfig{Bucket: streamName})
	require.ErrorIs(t, err, errLost)
}
