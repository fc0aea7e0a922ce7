package eventlog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

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
		group = append(group, &appending{ctx: ctx, msg: msg, done: make(chan struct{})})
	}
	return group
}

// commitTogether commits appends that all wait at the same time, and returns
// what became of each: "stored", "found" or the reason of a failure.
func (f *fixture) commitTogether(t *testing.T, group []*appending) []string {
	t.Helper()
	f.committer.mu.Lock()
	f.committer.waiting = append(f.committer.waiting, group...)
	f.committer.committing = true
	f.committer.mu.Unlock()
	f.committer.commitAll()
	var became []string
	for _, a := range group {
		<-a.done
		switch {
		case a.err != nil:
			became = append(became, fault.ReasonName(fault.From(a.err).Reason))
		case a.stored:
			became = append(became, "stored")
		default:
			became = append(became, "found")
		}
	}
	return became
}

func TestAGroupIsStoredInItsOrder(t *testing.T) {
	for _, size := range []int{1, minBatch - 1, minBatch, 300, maxBatch, 2*maxBatch + 1} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				ids := numbered(1, size)
				became := f.commitTogether(t, waitingFor(t, t.Context(), ids...))
				assert.Equal(t, slices.Repeat([]string{"stored"}, size), became)
				assert.Equal(t, ids, f.all(t, 0))
			})
		})
	}
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

// deafFuture never hears of its acknowledgement.
type deafFuture struct{ natsjs.PubAckFuture }

func (deafFuture) Ok() <-chan *natsjs.PubAck { return nil }

// deafTo is a JetStream that hears no acknowledgement of one message while
// several are under way, or cannot even publish it.
type deafTo struct {
	natsjs.JetStream
	id     string
	refuse error
}

func (d *deafTo) PublishMsgAsync(msg *nats.Msg, opts ...natsjs.PublishOpt) (natsjs.PubAckFuture, error) {
	if msg.Header.Get(natsjs.MsgIDHeader) != d.id {
		return d.JetStream.PublishMsgAsync(msg, opts...)
	}
	if d.refuse != nil {
		return nil, d.refuse
	}
	future, err := d.JetStream.PublishMsgAsync(msg, opts...)
	return deafFuture{future}, err
}

func TestALostAcknowledgementAmongOthersAddsNoSecondEvent(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.committer.js = &deafTo{JetStream: f.committer.js, id: "event-2"}
		became := f.commitTogether(t, waitingFor(t, t.Context(), numbered(1, 5)...))
		assert.Equal(t, []string{"stored", "found"}, became[:2])
		assert.NotContains(t, became, "LOG_UNAVAILABLE")
		assert.Equal(t, numbered(1, 5), f.all(t, 0))
	})
}

func TestNothingOvertakesAnAppendThatCannotBePublished(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.committer.js = &deafTo{JetStream: f.committer.js, id: "event-3", refuse: errors.New("closed")}
		became := f.commitTogether(t, waitingFor(t, t.Context(), numbered(1, 5)...))
		assert.Equal(t, []string{"stored", "stored", "LOG_UNAVAILABLE", "LOG_UNAVAILABLE", "LOG_UNAVAILABLE"}, became)
		assert.Equal(t, numbered(1, 2), f.all(t, 0))
	})
}

func TestAGroupIsBoundedInBytes(t *testing.T) {
	var waiting []*appending
	for range 10 {
		waiting = append(waiting, &appending{msg: &nats.Msg{Data: make([]byte, 3<<20)}})
	}
	assert.Equal(t, 2, groupSize(waiting))
	assert.Equal(t, 1, groupSize([]*appending{{msg: &nats.Msg{Data: make([]byte, maxBatchBytes+1)}}}))
	assert.Zero(t, groupSize(nil))
}
