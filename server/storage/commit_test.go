package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	streamName = "TEST"
	subject    = "test.messages"
	// patience bounds each wait of a test.
	patience = 10 * time.Second
)

// fixture is a committer with its storage.
type fixture struct {
	*committer
	in *Storage
}

// each runs test with a new stream on each kind of storage.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	EachStorage(t, func(t *testing.T, s *Storage) { test(t, open(t, s)) })
}

func open(t *testing.T, s *Storage) *fixture {
	t.Helper()
	return &fixture{committer: openStream(t, s).committer, in: s}
}

// message returns a message whose data is its id.
func message(ctx context.Context, id string) *pending {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(id)
	msg.Header.Set(natsjs.MsgIDHeader, id)
	return &pending{ctx: ctx, msg: msg}
}

// expecting returns a message that expects last to be the last sequence of its key.
func expecting(ctx context.Context, key string, last uint64) *pending {
	msg := nats.NewMsg("test.keys." + key)
	msg.Data = []byte(nuid.Next())
	msg.Header.Set(natsjs.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
	return &pending{ctx: ctx, msg: msg, record: true, expected: last}
}

func numbered(from, to int) []string {
	var ids []string
	for i := from; i <= to; i++ {
		ids = append(ids, fmt.Sprintf("event-%d", i))
	}
	return ids
}

// all returns the ids of the stored messages, in order.
func (f *fixture) all(t *testing.T) []string {
	t.Helper()
	stream, err := f.in.api.Stream(t.Context(), streamName)
	require.NoError(t, err)
	var ids []string
	for sequence := range stream.CachedInfo().State.LastSeq {
		msg, err := stream.GetMsg(t.Context(), sequence+1)
		require.NoError(t, err)
		ids = append(ids, string(msg.Data))
	}
	return ids
}

// storeAll stores messages one at a time.
func (f *fixture) storeAll(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		ack, err := f.store(message(t.Context(), id))
		require.NoError(t, err)
		require.False(t, ack.Duplicate, id)
	}
}

func withIDs(ctx context.Context, ids ...string) []*pending {
	var messages []*pending
	for _, id := range ids {
		messages = append(messages, message(ctx, id))
	}
	return messages
}

// Results of a message.
const (
	stored   = "stored"
	found    = "found"
	conflict = "conflict"
	failed   = "failed"
)

// commitTogether commits messages that arrive at the same time, and returns the result of each.
func (f *fixture) commitTogether(messages []*pending) []string {
	f.enqueue(messages...)
	results := make([]string, len(messages))
	var group sync.WaitGroup
	for i, p := range messages {
		group.Go(func() {
			ack, err := p.wait()
			switch {
			case errors.Is(err, ErrConflict):
				results[i] = conflict
			case err != nil:
				results[i] = failed
			case ack.Duplicate:
				results[i] = found
			default:
				results[i] = stored
			}
		})
	}
	group.Wait()
	return results
}

func TestAGroupIsStoredInOrder(t *testing.T) {
	for _, size := range []int{1, 3, 4, 15, 16, 300, maxBatch, 2*maxBatch + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				ids := numbered(1, size)
				results := f.commitTogether(withIDs(t.Context(), ids...))
				assert.Equal(t, slices.Repeat([]string{stored}, size), results)
				got := f.all(t)
				if size < f.storage.minBatch() {
					slices.SortFunc(got, byNumber) // messages published singly have no order
				}
				assert.Equal(t, ids, got)
			})
		})
	}
}

// byNumber compares numbered ids.
func byNumber(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func TestDuplicatesInAGroupDoNotAffectTheOthers(t *testing.T) {
	for name, before := range map[string][]string{
		"none":                  nil,
		"one":                   {"event-40"},
		"the first":             {"event-1"},
		"the last":              {"event-64"},
		"several":               {"event-3", "event-33", "event-34", "event-63"},
		"every one":             numbered(1, 64),
		"all but a small group": numbered(1, 60),
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.storeAll(t, before...)
				ids := numbered(1, 64)
				results := f.commitTogether(withIDs(t.Context(), ids...))
				rest := []string{}
				for i, id := range ids {
					if slices.Contains(before, id) {
						assert.Equal(t, found, results[i], id)
						continue
					}
					assert.Equal(t, stored, results[i], id)
					rest = append(rest, id)
				}
				assert.Equal(t, append(slices.Clone(before), rest...), f.all(t))
			})
		})
	}
}

func TestOneIDTwiceInAGroupIsStoredOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ids := slices.Concat(numbered(1, 30), numbered(1, 30), []string{"event-7"})
		results := f.commitTogether(withIDs(t.Context(), ids...))
		assert.Equal(t, slices.Concat(slices.Repeat([]string{stored}, 30), slices.Repeat([]string{found}, 31)), results)
		assert.Equal(t, numbered(1, 30), f.all(t))
	})
}

func TestConcurrentMessagesAreStoredOnceInSenderOrder(t *testing.T) {
	const senders, messages = 64, 20
	each(t, func(t *testing.T, f *fixture) {
		var wg sync.WaitGroup
		for sender := range senders {
			wg.Go(func() {
				for i := range messages {
					ack, err := f.store(message(t.Context(), fmt.Sprintf("%02d-%02d", sender, i)))
					assert.NoError(t, err)
					assert.False(t, ack.Duplicate)
				}
			})
		}
		wg.Wait()
		ids := f.all(t)
		assert.Len(t, ids, senders*messages)
		slices.SortStableFunc(ids, func(a, b string) int { return slices.Compare([]byte(a[:2]), []byte(b[:2])) })
		assert.True(t, slices.IsSorted(ids))
	})
}

func TestAMessageOfACancelledCallerIsNotStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		group := slices.Concat(withIDs(t.Context(), numbered(1, 20)...), withIDs(ctx, "cancelled"))
		results := f.commitTogether(group)
		assert.Equal(t, append(slices.Repeat([]string{stored}, 20), failed), results)
		assert.Equal(t, numbered(1, 20), f.all(t))
	})
}

func TestAWriteErrorOfJetStreamIsReturnedImmediately(t *testing.T) {
	f := open(t, OpenEmbedded(t))
	broken, fail := context.WithCancelCause(t.Context())
	f.storage.embedded.writable.Store(&writability{broken, fail})
	full := errors.New("no space left on device")
	fail(full)
	for _, size := range []int{1, 100} {
		assert.Equal(t, slices.Repeat([]string{failed}, size), f.commitTogether(withIDs(t.Context(), numbered(1, size)...)))
	}
	_, err := f.store(message(t.Context(), "x"))
	assert.ErrorIs(t, err, full)
}

// lossyOnce is a JetStream that loses the first acknowledgement.
type lossyOnce struct {
	natsjs.JetStream
	lost bool
}

func (l *lossyOnce) PublishMsg(ctx context.Context, msg *nats.Msg, opts ...natsjs.PublishOpt) (*natsjs.PubAck, error) {
	ack, err := l.JetStream.PublishMsg(ctx, msg, opts...)
	if err == nil && !l.lost {
		l.lost = true
		return nil, context.DeadlineExceeded
	}
	return ack, err
}

func TestALostAcknowledgementAddsNoSecondEvent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		lossy := &lossyOnce{JetStream: f.js}
		f.js = lossy
		ack, err := f.store(message(t.Context(), "event-1"))
		require.NoError(t, err)
		assert.True(t, lossy.lost)
		assert.Equal(t, Ack{Sequence: 1, Duplicate: true}, ack)
		assert.Equal(t, []string{"event-1"}, f.all(t))
	})
}

// first makes the first batch end with the error of fail, after it was stored.
func (f *fixture) first(fail func() error) {
	batch, failed := f.batch, false
	f.batch = func(ctx context.Context, messages []*nats.Msg) (uint64, error) {
		last, err := batch(ctx, messages)
		if err == nil && !failed {
			failed = true
			return 0, fail()
		}
		return last, err
	}
}

func TestALostAcknowledgementOfABatchAddsNoSecondEvent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.first(func() error { return context.DeadlineExceeded })
		messages := withIDs(t.Context(), numbered(1, 50)...)
		f.commitTogether(messages)
		for i, p := range messages {
			require.NoError(t, p.err)
			assert.Equal(t, Ack{Sequence: uint64(i + 1), Duplicate: true}, p.ack)
		}
		assert.Equal(t, numbered(1, 50), f.all(t))
	})
}

func TestABatchThatCannotBePublishedFailsWhole(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.in.conn.Close()
		results := f.commitTogether(withIDs(t.Context(), numbered(1, 50)...))
		assert.Equal(t, slices.Repeat([]string{failed}, 50), results)
	})
}

func TestAGroupIsBounded(t *testing.T) {
	s := OpenEmbedded(t)
	for name, tt := range map[string]struct {
		kept            int64
		messages, bytes int
		want            []int
	}{
		"in number":                   {0, 2*maxBatch + 77, 1, []int{maxBatch, maxBatch, 77}},
		"in bytes":                    {0, 50, 512 << 10, []int{16, 16, 16, 2}},
		"by a part of the retention":  {4 << 20, 5, 512 << 10, []int{2, 2, 1}},
		"but to at least one message": {4 << 20, 2, maxBatchBytes + 1, []int{1, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := s.OpenStream(t.Context(), StreamConfig{Name: streamName, Subject: "test.", MaxBytes: tt.kept})
			require.NoError(t, err)
			c := stream.committer
			c.running = true
			c.waiting = withIDs(t.Context(), numbered(1, tt.messages)...)
			for _, p := range c.waiting {
				p.msg.Data = make([]byte, tt.bytes)
			}
			var sizes []int
			for group := c.take(); len(group) > 0; group = c.take() {
				sizes = append(sizes, len(group))
			}
			assert.Equal(t, tt.want, sizes)
			assert.False(t, c.running)
		})
	}
}

func TestMessagesThatArriveDuringAWriteFormTheNextGroup(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var sizes []int
		batch, began, let := f.batch, make(chan struct{}), make(chan struct{})
		f.batch = func(ctx context.Context, messages []*nats.Msg) (uint64, error) {
			if sizes = append(sizes, len(messages)); len(sizes) == 1 {
				close(began)
				<-let
			}
			return batch(ctx, messages)
		}
		first, second := withIDs(t.Context(), numbered(1, minBatchOnDisk)...), withIDs(t.Context(), numbered(minBatchOnDisk+1, 3*minBatchOnDisk)...)
		f.enqueue(first...)
		<-began
		for _, p := range second {
			f.enqueue(p)
		}
		close(let)
		for _, p := range slices.Concat(first, second) {
			_, err := p.wait()
			require.NoError(t, err)
		}
		assert.Equal(t, []int{minBatchOnDisk, 2 * minBatchOnDisk}, sizes)
		assert.Equal(t, numbered(1, 3*minBatchOnDisk), f.all(t))
		f.storeAll(t, "alone")
		assert.Len(t, sizes, 2, "a single message is not a batch")
	})
}

func TestACancelledCallerDoesNotWaitForItsGroup(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		let := make(chan struct{})
		batch := f.batch
		f.batch = func(ctx context.Context, messages []*nats.Msg) (uint64, error) {
			<-let
			return batch(ctx, messages)
		}
		ctx, cancel := context.WithCancel(t.Context())
		messages := slices.Concat(withIDs(t.Context(), numbered(1, minBatchOnDisk)...), withIDs(ctx, "cancelled"))
		f.enqueue(messages...)
		cancel()
		_, err := messages[minBatchOnDisk].wait()
		require.ErrorIs(t, err, context.Canceled)
		close(let)
		for _, p := range messages[:minBatchOnDisk] {
			_, err := p.wait()
			require.NoError(t, err)
		}
	})
}

func TestEachMessageOfABatchGetsItsSequence(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.storeAll(t, "first")
		messages := withIDs(t.Context(), numbered(1, 40)...)
		f.commitTogether(messages)
		for i, p := range messages {
			assert.Equal(t, Ack{Sequence: uint64(i + 2)}, p.ack)
		}
	})
}

func TestOneOfSeveralConflictingWritesIsStored(t *testing.T) {
	for _, copies := range []int{2, minBatchOnDisk, 100} {
		each(t, func(t *testing.T, f *fixture) {
			var messages []*pending
			for key := range 20 {
				for range copies {
					messages = append(messages, expecting(t.Context(), strconv.Itoa(key), 0))
				}
			}
			results := f.commitTogether(messages)
			for key := range 20 {
				ofKey := results[key*copies : (key+1)*copies]
				slices.Sort(ofKey)
				assert.Equal(t, append(slices.Repeat([]string{conflict}, copies-1), stored), ofKey)
			}
			assert.Len(t, f.all(t), 20)
		})
	}
}

func TestAConflictInAGroupDoesNotAffectTheOthers(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, err := f.store(expecting(t.Context(), "7", 0))
		require.NoError(t, err)
		_, err = f.store(expecting(t.Context(), "7", 0))
		require.ErrorIs(t, err, ErrConflict, "alone, too")
		var messages []*pending
		for key := range 64 {
			messages = append(messages, expecting(t.Context(), strconv.Itoa(key), 0))
		}
		messages = append(messages, withIDs(t.Context(), numbered(1, 5)...)...)
		for i, results := range f.commitTogether(messages) {
			if i == 7 {
				assert.Equal(t, conflict, results)
				continue
			}
			assert.Equal(t, stored, results, i)
		}
	})
}

// If an outcome and a late claim of the same key are in one group, the claim's conflict MUST NOT
// affect the outcome.
func TestMessagesWithDifferentExpectationsAreStoredSeparately(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ack, err := f.store(expecting(t.Context(), "key", 0))
		require.NoError(t, err)
		messages := []*pending{expecting(t.Context(), "key", 0), expecting(t.Context(), "key", ack.Sequence), expecting(t.Context(), "key", 0)}
		messages = append(messages, withIDs(t.Context(), numbered(1, 30)...)...)
		results := f.commitTogether(messages)
		assert.Equal(t, []string{conflict, stored, conflict}, results[:3])
	})
}

func TestAStreamWithoutBatchesStoresMessagesSingly(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		stream, err := f.in.api.Stream(t.Context(), streamName)
		require.NoError(t, err)
		config := stream.CachedInfo().Config
		config.AllowAtomicPublish = false
		_, err = f.in.api.UpdateStream(t.Context(), config)
		require.NoError(t, err)
		results := f.commitTogether(withIDs(t.Context(), numbered(1, 40)...))
		assert.Equal(t, slices.Repeat([]string{stored}, 40), results)
	})
}

// Some callers cancel during the write of their batch. When the batch is retried, whole or in parts,
// the other callers MUST get the correct result.
func TestARetriedBatchIncludesMessagesOfCancelledCallers(t *testing.T) {
	for name, tt := range map[string]struct {
		cancelled func(i int) bool
		cause     error
	}{
		"some, and the acknowledgement is lost":     {func(i int) bool { return i%3 == 0 }, context.DeadlineExceeded},
		"half, and the batch is published in parts": {func(i int) bool { return i < 20 }, &natsjs.APIError{ErrorCode: 10201}},
		"all": {func(int) bool { return true }, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				cancelled, cancel := context.WithCancel(t.Context())
				var messages []*pending
				for i, id := range numbered(1, 40) {
					ctx := t.Context()
					if tt.cancelled(i) {
						ctx = cancelled
					}
					messages = append(messages, message(ctx, id))
				}
				f.first(func() error {
					cancel()
					return tt.cause
				})
				f.enqueue(messages...)
				for _, p := range messages {
					<-p.done
					require.NoError(t, p.err)
				}
				stored := f.all(t)
				assert.Len(t, stored, 40)
				for _, p := range messages {
					require.LessOrEqual(t, p.ack.Sequence, uint64(len(stored)))
					assert.Equal(t, string(p.msg.Data), stored[p.ack.Sequence-1], "the message must have the acknowledged sequence")
				}
			})
		})
	}
}

// If the leader of a cluster changes during a batch, the new leader has only a part of it.
func TestAnIncompleteBatchIsPublishedInParts(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		batch, failed := f.batch, false
		f.batch = func(ctx context.Context, messages []*nats.Msg) (uint64, error) {
			if failed {
				return batch(ctx, messages)
			}
			failed = true
			msg := nats.NewMsg(subject)
			msg.Header.Set("Nats-Batch-Id", nuid.Next())
			msg.Header.Set("Nats-Batch-Sequence", "2")
			msg.Header.Set("Nats-Batch-Commit", "1")
			reply, err := f.in.conn.RequestMsgWithContext(ctx, msg)
			require.NoError(t, err)
			var refused struct{ Error *natsjs.APIError }
			require.NoError(t, json.Unmarshal(reply.Data, &refused))
			return 0, refused.Error
		}
		messages := withIDs(t.Context(), numbered(1, 40)...)
		assert.Equal(t, slices.Repeat([]string{stored}, 40), f.commitTogether(messages))
		assert.Equal(t, numbered(1, 40), f.all(t))
	})
}
