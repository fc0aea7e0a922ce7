package eventlog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	natsjs "github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/jetstream/jetstreamtest"
)

// waitingFor returns appends as they wait for their commit.
func waitingFor(t *testing.T, ctx context.Context, ids ...string) []*appending {
	t.Helper()
	var group []*appending
	for _, id := range ids {
		data, err := event.Marshal(message(id))
		require.NoError(t, err)
		msg := nats.NewMsg(subjectPrefix + "support.MessageReceived")
		msg.Data = data
		msg.Header.Set(natsjs.MsgIDHeader, id)
		group = append(group, &appending{ctx: ctx, msg: msg, turn: make(chan struct{})})
	}
	return group
}

// commitTogether commits appends that all come at the same time, and returns what
// became of each: "stored", "found" or the reason of a failure.
func (f *fixture) commitTogether(t *testing.T, appends []*appending) []string {
	t.Helper()
	f.committer.enqueue(appends...)
	became := make([]string, len(appends))
	var group sync.WaitGroup
	for i, a := range appends {
		group.Go(func() {
			stored, err := f.committer.outcome(a)
			switch {
			case err != nil:
				became[i] = fault.ReasonName(fault.From(err).Reason)
			case stored:
				became[i] = "stored"
			default:
				became[i] = "found"
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
				became := f.commitTogether(t, waitingFor(t, t.Context(), ids...))
				assert.Equal(t, slices.Repeat([]string{"stored"}, size), became)
				stored := f.all(t, 0)
				if size < minBatch {
					slices.SortFunc(stored, byNumber) // singles that are under way have no order
				}
				assert.Equal(t, ids, stored)
			})
		})
	}
}

// byNumber compares numbered ids.
func byNumber(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
}

func TestDuplicatesOfAGroupAreFoundAndNothingElseIsTouched(t *testing.T) {
	for name, stored := range map[string][]string{
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
				f.append(t, stored...)
				ids := numbered(1, 64)
				became := f.commitTogether(t, waitingFor(t, t.Context(), ids...))
				rest := []string{}
				for i, id := range ids {
					if slices.Contains(stored, id) {
						assert.Equal(t, "found", became[i], id)
						continue
					}
					assert.Equal(t, "stored", became[i], id)
					rest = append(rest, id)
				}
				assert.Equal(t, append(slices.Clone(stored), rest...), f.all(t, 0))
			})
		})
	}
}

func TestOneIDTwiceInAGroupIsStoredOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ids := slices.Concat(numbered(1, 30), numbered(1, 30), []string{"event-7"})
		became := f.commitTogether(t, waitingFor(t, t.Context(), ids...))
		assert.Equal(t, slices.Concat(slices.Repeat([]string{"stored"}, 30), slices.Repeat([]string{"found"}, 31)), became)
		assert.Equal(t, numbered(1, 30), f.all(t, 0))
	})
}

func TestAppendsAtOnceAreStoredOnceEachAndInTheirSendersOrder(t *testing.T) {
	const senders, messages = 64, 20
	each(t, func(t *testing.T, f *fixture) {
		var wg sync.WaitGroup
		for sender := range senders {
			wg.Go(func() {
				for i := range messages {
					stored, err := f.Append(t.Context(), message(fmt.Sprintf("%02d-%02d", sender, i)))
					assert.NoError(t, err)
					assert.True(t, stored)
				}
			})
		}
		wg.Wait()
		ids := f.all(t, 0)
		assert.Len(t, ids, senders*messages)
		slices.SortStableFunc(ids, func(a, b string) int { return slices.Compare([]byte(a[:2]), []byte(b[:2])) })
		assert.True(t, slices.IsSorted(ids))
	})
}

func TestAnAppendWhoseCallerHasGoneIsNotStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		gone, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		group := slices.Concat(waitingFor(t, t.Context(), numbered(1, 20)...), waitingFor(t, gone, "gone"))
		became := f.commitTogether(t, group)
		assert.Equal(t, append(slices.Repeat([]string{"stored"}, 20), "LOG_UNAVAILABLE"), became)
		assert.Equal(t, numbered(1, 20), f.all(t, 0))
	})
}

func TestALogThatCannotBeWrittenRefusesAtOnce(t *testing.T) {
	f := open(t, jetstreamtest.Embedded(t), Config{})
	broken, fail := context.WithCancelCause(t.Context())
	f.committer.writable = func() context.Context { return broken }
	fail(errors.New("no space left on device"))
	for _, size := range []int{1, 100} {
		became := f.commitTogether(t, waitingFor(t, t.Context(), numbered(1, size)...))
		assert.Equal(t, slices.Repeat([]string{"LOG_UNAVAILABLE"}, size), became)
	}
	_, err := f.Append(t.Context(), message("x"))
	refused := fault.From(err)
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, refused.Reason)
	assert.Positive(t, refused.RetryAfter)
	assert.ErrorContains(t, err, "no space left on device")
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
		deaf := &deafOnce{JetStream: f.committer.js}
		f.committer.js = deaf
		_, err := f.Append(t.Context(), message("event-1"))
		require.NoError(t, err)
		assert.True(t, deaf.lost)
		assert.Equal(t, []string{"event-1"}, f.all(t, 0))
	})
}

// TestABatchWhoseAcknowledgementIsLostAddsNoSecondEvent loses it as a connection
// would that breaks at that moment: what JetStream is asked goes through a proxy.
func TestABatchWhoseAcknowledgementIsLostAddsNoSecondEvent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		appends := waitingFor(t, t.Context(), numbered(1, 50)...)
		b := f.committer.newBatch()
		b.stage(appends)
		require.NoError(t, b.commit(t.Context()))
		f.committer.end(t.Context(), appends, context.DeadlineExceeded)
		for _, a := range appends {
			stored, err := f.committer.outcome(a)
			require.NoError(t, err)
			assert.False(t, stored, "found")
		}
		assert.Equal(t, numbered(1, 50), f.all(t, 0))
	})
}

func TestABatchThatCannotBePublishedFailsWhole(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.js.Conn().Close()
		became := f.commitTogether(t, waitingFor(t, t.Context(), numbered(1, 50)...))
		assert.Equal(t, slices.Repeat([]string{"LOG_UNAVAILABLE"}, 50), became)
	})
}

func TestABatchIsBounded(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		sized := func(n, bytes int) []*appending {
			appends := waitingFor(t, t.Context(), numbered(1, n)...)
			for _, a := range appends {
				a.msg.Data = make([]byte, bytes)
			}
			return appends
		}
		f.committer.batching = true // by this test
		taken := func(appends []*appending) (sizes []int) {
			f.committer.waiting = appends
			for {
				b := f.committer.newBatch()
				b.appends = f.committer.take(b)
				if len(b.appends) == 0 {
					return sizes
				}
				sizes = append(sizes, len(b.appends))
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
		appends := func(workers, each int) {
			var group sync.WaitGroup
			for range workers {
				group.Go(func() {
					for range each {
						_, err := f.Append(t.Context(), message(event.RandomID()))
						assert.NoError(t, err)
					}
				})
			}
			group.Wait()
		}
		batching := func() bool {
			f.committer.mu.Lock()
			defer f.committer.mu.Unlock()
			assert.Less(t, f.committer.singles, minBatch)
			return f.committer.batching
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			appends(100, 20)
		}()
		require.Eventually(t, batching, patience, time.Microsecond)
		<-ended
		appends(2, 2)
		assert.False(t, batching())
		assert.Len(t, f.all(t, 0), 100*20+4)
	})
}

func TestATurnThatComesAsItsCallerGoesIsGivenBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for range 10 * minBatch { // each time either may be seen first
			ctx, cancel := context.WithCancel(t.Context())
			appends := waitingFor(t, ctx, event.RandomID())
			f.committer.enqueue(appends...)
			cancel()
			_, err := f.committer.outcome(appends[0])
			require.Error(t, err)
			f.committer.mu.Lock()
			assert.Zero(t, f.committer.singles)
			f.committer.mu.Unlock()
		}
		f.append(t, "event-1")
	})
}
