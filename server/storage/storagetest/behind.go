package storagetest

import (
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"github.com/synadia-io/orbit.go/jetstreamext"

	"github.com/ongair/ongair-gateway/server/storage"
)

// Behind is a connection to the server of a storage, as any other program has one. It
// looks at streams, and changes them, behind the gateway's back. It lasts as long as the
// test, or until the server stops.
type Behind struct {
	conn *nats.Conn
	api  jetstream.JetStream
}

// Look connects to the server of an open storage.
func Look(t T, s *storage.Storage) *Behind {
	t.Helper()
	b := &Behind{}
	if url := s.URL(); url != "" {
		b.conn, b.api = connect(t, url)
	} else {
		b.conn, b.api = connect(t, "", nats.InProcessServer(s))
	}
	return b
}

func connect(t T, url string, options ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(url, append(options, nats.NoReconnect())...)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	api, err := jetstream.New(conn)
	require.NoError(t, err)
	return conn, api
}

// Stream returns a stream, as it is now.
func (b *Behind) Stream(t T, name string) *Stream {
	t.Helper()
	stream, err := b.api.Stream(t.Context(), name)
	require.NoError(t, err)
	info := stream.CachedInfo()
	return &Stream{Info: *info, api: b.api, stream: stream}
}

// CreateStream makes or changes a stream.
func (b *Behind) CreateStream(t T, name, subjects string, metadata map[string]string) {
	t.Helper()
	_, err := b.api.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{
		Name: name, Subjects: []string{subjects}, Metadata: metadata,
	})
	require.NoError(t, err)
}

// Publish publishes a message, which has an id unless that is empty.
func (b *Behind) Publish(t T, subject, id string, data []byte) {
	t.Helper()
	_, err := b.api.PublishMsg(t.Context(), message(subject, id, data))
	require.NoError(t, err)
}

// PublishAll publishes messages with these ids, in this order, to a stream that takes
// batches.
func (b *Behind) PublishAll(t T, subject string, ids []string, data func(id string) []byte) {
	t.Helper()
	const maxBatch = 1000 // nats-server's
	for some := range slices.Chunk(ids, maxBatch) {
		var batch []*nats.Msg
		for _, id := range some {
			batch = append(batch, message(subject, id, data(id)))
		}
		_, err := jetstreamext.PublishMsgBatch(t.Context(), b.api, batch, jetstreamext.BatchFlowControl{})
		require.NoError(t, err)
	}
}

func message(subject, id string, data []byte) *nats.Msg {
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
	if id != "" {
		msg.Header.Set(jetstream.MsgIDHeader, id)
	}
	return msg
}

// CountReads counts the reads of a stream from now on, until count is called.
func (b *Behind) CountReads(t T, stream string) (count func() int) {
	t.Helper()
	const room = 1000
	asked := make(chan *nats.Msg, room)
	_, err := b.conn.ChanSubscribe("$JS.API.DIRECT.GET."+stream, asked)
	require.NoError(t, err)
	require.NoError(t, b.conn.Flush())
	return func() int {
		require.NoError(t, b.conn.Flush())
		return len(asked)
	}
}

// Stream is a stream, and what was known of it when it was looked at.
type Stream struct {
	Info   jetstream.StreamInfo
	api    jetstream.JetStream
	stream jetstream.Stream
}

// Message returns the data of a message, and when it was stored.
func (s *Stream) Message(t T, sequence uint64) (data []byte, at time.Time) {
	t.Helper()
	msg, err := s.stream.GetMsg(t.Context(), sequence)
	require.NoError(t, err)
	return msg.Data, msg.Time
}

// Remove removes the messages up to a sequence, as retention does.
func (s *Stream) Remove(t T, last uint64) {
	t.Helper()
	require.NoError(t, s.stream.Purge(t.Context(), jetstream.WithPurgeSequence(last+1)))
}

// DeleteMessage deletes one message.
func (s *Stream) DeleteMessage(t T, sequence uint64) {
	t.Helper()
	require.NoError(t, s.stream.DeleteMsg(t.Context(), sequence))
}

// Delete deletes the stream.
func (s *Stream) Delete(t T) {
	t.Helper()
	require.NoError(t, s.api.DeleteStream(t.Context(), s.Info.Config.Name))
}

// Replace deletes the stream, and makes an empty one with the same settings.
func (s *Stream) Replace(t T) {
	t.Helper()
	// With the last stream nats-server removes the folder of all, also of one that is just made.
	_, err := s.api.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "NOT_THE_LAST"})
	require.NoError(t, err)
	s.Delete(t)
	_, err = s.api.CreateStream(t.Context(), s.Info.Config)
	require.NoError(t, err)
}

// Bucket is a key-value bucket.
type Bucket struct{ bucket jetstream.KeyValue }

// Bucket returns a key-value bucket.
func (b *Behind) Bucket(t T, name string) *Bucket {
	t.Helper()
	bucket, err := b.api.KeyValue(t.Context(), name)
	require.NoError(t, err)
	return &Bucket{bucket}
}

// Keys returns all keys that have a value.
func (b *Bucket) Keys(t T) []string {
	t.Helper()
	keys, err := b.bucket.Keys(t.Context())
	require.NoError(t, err)
	return keys
}

// Get returns the value of a key.
func (b *Bucket) Get(t T, key string) []byte {
	t.Helper()
	entry, err := b.bucket.Get(t.Context(), key)
	require.NoError(t, err)
	return entry.Value()
}

// Put gives a key a value.
func (b *Bucket) Put(t T, key string, value []byte) {
	t.Helper()
	_, err := b.bucket.Put(t.Context(), key, value)
	require.NoError(t, err)
}

// Delete deletes a key.
func (b *Bucket) Delete(t T, key string) {
	t.Helper()
	require.NoError(t, b.bucket.Delete(t.Context(), key))
}

// Purge deletes a key with its history.
func (b *Bucket) Purge(t T, key string) {
	t.Helper()
	require.NoError(t, b.bucket.Purge(t.Context(), key))
}

// TTL returns how long the bucket keeps a value.
func (b *Bucket) TTL(t T) time.Duration {
	t.Helper()
	status, err := b.bucket.Status(t.Context())
	require.NoError(t, err)
	return status.TTL()
}
