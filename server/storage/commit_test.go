package storage

import (
	"cmp"
	"context"
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
	// patience is how long a test waits for what has to come.
	patience = 10 * time.Second
)

// fixture is a committer, and its stream.
type fixture struct {
	*committer
	in *Storage
}

// each runs test over both kinds of storage, each time with a new stream.
func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	EachStorage(t, func(t *testing.T, s *Storage) { test(t, open(t, s)) })
}

func open(t *testing.T, s *Storage) *fixture {
	t.Helper()
	_, err := s.api.CreateStream(t.Context(), natsjs.StreamConfig{
		Name: streamName, Subjects: []string{"test.>"}, AllowAtomicPublish: true, AllowDirect: true,
	})
	require.NoError(t, err)
	return &fixture{committer: newCommitter(s.conn, s.api, streamName, s.Writable), in: s}
}

// message has an id, which is what it says, too.
func message(id string) *nats.Msg {
	msg := nats.NewMsg(subject)
	msg.Data = []byte(id)
	msg.Header.Set(natsjs.MsgIDHeader, id)
	return msg
}

// expecting is a message under a key that expects a sequence to be the last one there.
func expecting(key string, last uint64) *nats.Msg {
	msg := message(nuid.Next())
	msg.Subject = "test.keys." + key
	msg.Header.Set(natsjs.ExpectedLastSubjSeqHeader, strconv.FormatUint(last, 10))
	return msg
}

func numbered(from, to int) []string {
	var ids []string
	for i := from; i <= to; i++ {
		ids = append(ids, fmt.Sprintf("event-%d", i))
	}
	return ids
}

// all returns what is stored, in order.
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

// storeAll stores messages one after the other.
func (f *fixture) storeAll(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		ack, err := f.store(t.Context(), message(id))
		require.NoError(t, err)
		require.False(t, ack.Duplicate, id)
	}
}

// waitingFor returns messages as they wait for their commit.
func waitingFor(ctx context.Context, messages ...*nats.Msg) []*pending {
	var group []*pending
	for _, msg := range messages {
		group = append(group, &pending{ctx: ctx, msg: msg, turn: make(chan struct{})})
	}
	return group
}

func withIDs(ids ...string) []*nats.Msg {
	var messages []*nats.Msg
	for _, id := range ids {
		messages = append(messages, message(id))
	}
	return messages
}

// What becomes of a message.
const (
	stored   = "stored"
	found    = "found"
	conflict = "conflict"
	failed   = "failed"
)

// commitTogether commits messages that all come at the same time, and returns what
// became of each.
func (f *fixture) commitTogether(messages []*pending) []string {
	f.enqueue(messages...)
	became := make([]string, len(messages))
	var group sync.WaitGroup
	for i, p := range messages {
		group.Go(func() {
			ack, err := f.outcome(p)
			switch {
			case errors.Is(err, ErrConflict):
				became[i] = conflict
			case err != nil:
				became[i] = failed
			case ack.Duplicate:
				became[i] = found
			default:
				became[i] = stored
			}
		})
	}
	group.Wait()
	return became
}

func TestAGroupIsStoredInItsOrder(t *testing.T) {
	for _, size := range []int{1, minBatch - 1, minBatch, 300, maxBatch, 2*maxBatch + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				ids := numbered(1, size)
				became := f.commitTogether(waitingFor(t.Context(), withIDs(ids...)...))
				assert.Equal(t, slices.Repeat([]string{stored}, size), became)
				got := f.all(t)
				if size < minBatch {
					slices.SortFunc(got, byNumber) // singles that are under way have no order
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

func TestDuplicatesOfAGroupAreFoundAndNothingElseIsTouched(t *testing.T) {
	for name, before := range map[string][]string{
		"none":            nil,
		"one":             {"event-40"},
		"the first":       {"event-1"},
		"the last":        {"event-64"},
		"several":         {"event-3", "event-33", "event-34", "event-63"},
		"every one":       numbered(1, 64),
		"a small group's": numbered(1, 60),
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.storeAll(t, before...)
				ids := numbered(1, 64)
				became := f.commitTogether(waitingFor(t.Context(), withIDs(ids...)...))
				rest := []string{}
				for i, id := range ids {
					if slices.Contains(before, id) {
						assert.Equal(t, found, became[i], id)
						continue
					}
					assert.Equal(t, stored, became[i], id)
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
		became := f.commitTogether(waitingFor(t.Context(), withIDs(ids...)...))
		assert.Equal(t, slices.Concat(slices.Repeat([]string{stored}, 30), slices.Repeat([]string{found}, 31)), became)
		assert.Equal(t, numbered(1, 30), f.all(t))
	})
}

func TestMessagesAtOnceAreStoredOnceEachAndInTheirSendersOrder(t *testing.T) {
	const senders, messages = 64, 20
	each(t, func(t *testing.T, f *fixture) {
		var wg sync.WaitGroup
		for sender := range senders {
			wg.Go(func() {
				for i := range messages {
					ack, err := f.store(t.Context(), message(fmt.Sprintf("%02d-%02d", sender, i)))
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

func TestAMessageWhoseCallerHasGoneIsNotStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		gone, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		group := slices.Concat(waitingFor(t.Context(), withIDs(numbered(1, 20)...)...), waitingFor(gone, message("gone")))
		became := f.commitTogether(group)
		assert.Equal(t, append(slices.Repeat([]string{stored}, 20), failed), became)
		assert.Equal(t, numbered(1, 20), f.all(t))
	})
}

func TestAJetStreamThatCannotWriteRefusesAtOnce(t *testing.T) {
	f := open(t, OpenEmbedded(t))
	broken, fail := context.WithCancelCause(t.Context())
	f.writable = func() context.Context { return broken }
	full := errors.New("no space left on device")
	fail(full)
	for _, size := range []int{1, 100} {
		assert.Equal(t, slices.Repeat([]string{failed}, size), f.commitTogether(waitingFor(t.Context(), withIDs(numbered(1, size)...)...)))
	}
	_, err := f.store(t.Context(), message("x"))
	assert.ErrorIs(t, err, full)
}

// deafOnce is a JetStream whose first acknowledgement gets lost.
type deafOnce struct {
	natsjs.JetStream
	lost bool
}

func (d *deafOnce) PublishMsg(ctx context.Context, msg *nats.Msg, opts ...natsjs.PublishOpt) (*natsjs.PubAck, error) {
	ack, err := d.JetStream.PublishMsg(ctx, msg, opts...)
	if err == nil && !d.lost {
		d.lost = true
		return nil, context.DeadlineExceeded
	}
	return ack, err
}

func TestALostAcknowledgementAddsNoSecondEvent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		deaf := &deafOnce{JetStream: f.js}
		f.js = deaf
		ack, err := f.store(t.Context(), message("event-1"))
		require.NoError(t, err)
		assert.True(t, deaf.lost)
		assert.Equal(t, Ack{Sequence: 1, Duplicate: true}, ack)
		assert.Equal(t, []string{"event-1"}, f.all(t))
	})
}

// TestABatchWhoseAcknowledgementIsLostAddsNoSecondEvent loses it as a connection
// would that breaks at that moment: what JetStream is asked goes through a proxy.
func TestABatchWhoseAcknowledgementIsLostAddsNoSecondEvent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		messages := waitingFor(t.Context(), withIDs(numbered(1, 50)...)...)
		b := f.newBatch()
		b.stage(messages)
		_, err := b.commit(t.Context())
		require.NoError(t, err)
		f.end(t.Context(), messages, 0, context.DeadlineExceeded)
		for i, p := range messages {
			ack, err := f.outcome(p)
			require.NoError(t, err)
			assert.Equal(t, Ack{Sequence: uint64(i + 1), Duplicate: true}, ack)
		}
		assert.Equal(t, numbered(1, 50), f.all(t))
	})
}

func TestABatchThatCannotBePublishedFailsWhole(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.in.conn.Close()
		became := f.commitTogether(waitingFor(t.Context(), withIDs(numbered(1, 50)...)...))
		assert.Equal(t, slices.Repeat([]string{failed}, 50), became)
	})
}

func TestABatchIsBounded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		sized := func(n, bytes int) []*pending {
			messages := waitingFor(t.Context(), withIDs(numbered(1, n)...)...)
			for _, p := range messages {
				p.msg.Data = make([]byte, bytes)
			}
			return messages
		}
		f.batching = true // by this test
		taken := func(messages []*pending) (sizes []int) {
			f.waiting = messages
			for {
				b := f.newBatch()
				b.messages = f.take(b)
				if len(b.messages) == 0 {
					return sizes
				}
				sizes = append(sizes, len(b.messages))
			}
		}
		assert.Equal(t, []int{maxBatch, maxBatch, 77}, taken(sized(2*maxBatch+77, 1)))
		assert.Equal(t, []int{16, 16, 16}, taken(sized(50, 512<<10)), "and the rest are too few")
		assert.Equal(t, []int{1, 1}, taken(sized(minBatch+1, maxBatchBytes+1)), "one is always taken")
	})
}

// TestBatchesFollowEachOtherUnderLoadAndEndWithIt finds the way back to single
// publishes, which are faster for few.
func TestBatchesFollowEachOtherUnderLoadAndEndWithIt(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		publishes := func(workers, each int) {
			var group sync.WaitGroup
			for range workers {
				group.Go(func() {
					for range each {
						_, err := f.store(t.Context(), message(nuid.Next()))
						assert.NoError(t, err)
					}
				})
			}
			group.Wait()
		}
		batching := func() bool {
			f.mu.Lock()
			defer f.mu.Unlock()
			assert.Less(t, f.singles, minBatch)
			return f.batching
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			publishes(100, 20)
		}()
		require.Eventually(t, batching, patience, time.Microsecond)
		<-ended
		publishes(2, 2)
		assert.False(t, batching())
		assert.Len(t, f.all(t), 100*20+4)
	})
}

func TestATurnThatComesAsItsCallerGoesIsGivenBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for range 10 * minBatch { // each time either may be seen first
			ctx, cancel := context.WithCancel(t.Context())
			messages := waitingFor(ctx, message(nuid.Next()))
			f.enqueue(messages...)
			cancel()
			_, _ = f.outcome(messages[0]) // stored before it was given up, or not
			f.mu.Lock()
			assert.Zero(t, f.singles)
			f.mu.Unlock()
		}
		f.storeAll(t, "event-1")
	})
}

func TestEachMessageOfABatchKnowsItsSequence(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.storeAll(t, "first")
		messages := waitingFor(t.Context(), withIDs(numbered(1, 40)...)...)
		f.commitTogether(messages)
		for i, p := range messages {
			assert.Equal(t, Ack{Sequence: uint64(i + 2)}, p.ack)
		}
	})
}

func TestOfThoseThatExpectTheSameOneIsStored(t *testing.T) {
	for _, copies := range []int{2, minBatch, 100} {
		each(t, func(t *testing.T, f *fixture) {
			var messages []*nats.Msg
			for key := range 20 {
				for range copies {
					messages = append(messages, expecting(strconv.Itoa(key), 0))
				}
			}
			became := f.commitTogether(waitingFor(t.Context(), messages...))
			for key := range 20 {
				ofKey := became[key*copies : (key+1)*copies]
				slices.Sort(ofKey)
				assert.Equal(t, append(slices.Repeat([]string{conflict}, copies-1), stored), ofKey)
			}
			assert.Len(t, f.all(t), 20)
		})
	}
}

func TestAConflictInAGroupTouchesNothingElse(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, err := f.store(t.Context(), expecting("7", 0))
		require.NoError(t, err)
		_, err = f.store(t.Context(), expecting("7", 0))
		require.ErrorIs(t, err, ErrConflict, "alone, too")
		var messages []*nats.Msg
		for key := range 64 {
			messages = append(messages, expecting(strconv.Itoa(key), 0))
		}
		messages = append(messages, withIDs(numbered(1, 5)...)...)
		for i, became := range f.commitTogether(waitingFor(t.Context(), messages...)) {
			if i == 7 {
				assert.Equal(t, conflict, became)
				continue
			}
			assert.Equal(t, stored, became, i)
		}
	})
}

// An outcome that is stored under a key together with a claim that comes too late for
// it MUST NOT share the claim's fate.
func TestWhatExpectsSomethingElseOfASubjectIsJudgedByItself(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ack, err := f.store(t.Context(), expecting("key", 0))
		require.NoError(t, err)
		messages := []*nats.Msg{expecting("key", 0), expecting("key", ack.Sequence), expecting("key", 0)}
		messages = append(messages, withIDs(numbered(1, 30)...)...)
		became := f.commitTogether(waitingFor(t.Context(), messages...))
		assert.Equal(t, []string{conflict, stored, conflict}, became[:3])
	})
}

func TestAStreamWithoutBatchesStoresOneByOne(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		stream, err := f.in.api.Stream(t.Context(), streamName)
		require.NoError(t, err)
		config := stream.CachedInfo().Config
		config.AllowAtomicPublish = false
		_, err = f.in.api.UpdateStream(t.Context(), config)
		require.NoError(t, err)
		became := f.commitTogether(waitingFor(t.Context(), withIDs(numbered(1, 40)...)...))
		assert.Equal(t, slices.Repeat([]string{stored}, 40), became)
	})
}

// Callers go while their batch is on its way. When it is tried again, or in parts, those
// that stay MUST hear the truth, and so must those who share the fate of one that went.
func TestABatchIsTriedAgainWithThoseWhoseCallersHaveGone(t *testing.T) {
	for name, tt := range map[string]struct {
		gone  func(i int) bool
		cause error
	}{
		"some, and the acknowledgement was lost": {func(i int) bool { return i%3 == 0 }, context.DeadlineExceeded},
		"a half, and it goes in parts":           {func(i int) bool { return i < 20 }, &natsjs.APIError{ErrorCode: codeBatchDuplicate}},
		"all":                                    {func(int) bool { return true }, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				gone, leave := context.WithCancel(t.Context())
				var messages []*pending
				for i, id := range numbered(1, 40) {
					ctx := t.Context()
					if tt.gone(i) {
						ctx = gone
					}
					messages = append(messages, waitingFor(ctx, message(id))...)
				}
				b := f.newBatch()
				b.stage(messages)
				leave()
				f.end(t.Context(), b.messages, 0, tt.cause)
				stored := f.all(t)
				for _, p := range messages {
					<-p.turn
					require.NoError(t, p.err)
					require.LessOrEqual(t, p.ack.Sequence, uint64(len(stored)))
					assert.Equal(t, string(p.msg.Data), stored[p.ack.Sequence-1], "it is where it is said to be")
				}
			})
		})
	}
}
