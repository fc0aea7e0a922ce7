package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is an open store with its storage and its log.
type fixture struct {
	*Store
	home   *storagetest.Home
	in     *storage.Storage
	logged *bytes.Buffer
}

func each(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) { test(t, open(t, home)) })
}

func open(t *testing.T, home *storagetest.Home) *fixture {
	t.Helper()
	f := &fixture{home: home, in: home.Open(t), logged: &bytes.Buffer{}}
	var err error
	f.Store, err = Open(t.Context(), f.in, Config{Logger: slog.New(slog.NewTextHandler(f.logged, nil))})
	require.NoError(t, err)
	t.Cleanup(f.Wait)
	return f
}

// bucket returns the bucket of the store, as other programs see it.
func (f *fixture) bucket(t *testing.T) *storagetest.Bucket {
	t.Helper()
	f.Wait()
	return storagetest.Look(t, f.in).Bucket(t, bucket)
}

// timeout is the deadline of a test's calls.
const timeout = 10 * time.Second

// do calls Do with key and a request with text. A nil call MUST NOT be made.
func (f *fixture) do(t *testing.T, key Key, text string, call func(context.Context, *ongairv1.SendResponse) error) (*ongairv1.SendResponse, bool, error) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	response := &ongairv1.SendResponse{}
	replayed, err := f.Do(ctx, key, &ongairv1.SendRequest{Text: text}, response, func(ctx context.Context) error {
		if call == nil {
			t.Error("the call was made again")
			return nil
		}
		return call(ctx, response)
	})
	return response, replayed, err
}

func answers(id string) func(context.Context, *ongairv1.SendResponse) error {
	return func(_ context.Context, response *ongairv1.SendResponse) error {
		response.Id = id
		return nil
	}
}

func fails(err error) func(context.Context, *ongairv1.SendResponse) error {
	return func(context.Context, *ongairv1.SendResponse) error { return err }
}

func key(id string) Key { return Key{Caller: "crm", Channel: "support", Method: "Send", RequestID: id} }

func requireReason(t *testing.T, err error, reason ongairv1.ErrorReason) *fault.Fault {
	t.Helper()
	require.Error(t, err)
	f := fault.From(err)
	require.Equal(t, reason, f.Reason, err.Error())
	return f
}

func faultWith(effect fault.Effect) error {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED, "failed")
	f.Effect = effect
	return f
}

func TestACallIsMadeOnceAndReplayed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first, replayed, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err)
		assert.False(t, replayed)
		for range 2 {
			again, replayed, err := f.do(t, key("1"), "hello", nil)
			require.NoError(t, err)
			assert.True(t, replayed)
			assert.True(t, proto.Equal(first, again), "%v was replayed as %v", first, again)
		}
	})
}

func TestAnOutcomeSurvivesARestart(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, _, err := f.do(t, key("done"), "hello", answers("77"))
		require.NoError(t, err)
		_, _, err = f.do(t, key("unknown"), "hello", fails(errors.New("lost")))
		require.Error(t, err)
		f.Wait()
		require.NoError(t, f.in.Close())

		f = open(t, f.home)
		response, replayed, err := f.do(t, key("done"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, "77", response.GetId())
		_, _, err = f.do(t, key("unknown"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN)
	})
}

func TestAKeyIsForOneRequest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, _, err := f.do(t, key("done"), "hello", answers("77"))
		require.NoError(t, err)
		_, _, err = f.do(t, key("unknown"), "hello", fails(errors.New("lost")))
		require.Error(t, err)
		for _, id := range []string{"done", "unknown"} {
			_, _, err = f.do(t, key(id), "another", nil)
			reused := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED)
			assert.Equal(t, fault.EffectNone, reused.Effect)
		}
		response, _, err := f.do(t, key("done"), "hello", nil)
		require.NoError(t, err)
		assert.Equal(t, "77", response.GetId(), "the outcome must not change")
	})
}

func TestConcurrentCallsWithOneKeyAreOneCall(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		var calls, made, replays, inFlight atomic.Int32
		var group sync.WaitGroup
		entered, leave := make(chan struct{}), make(chan struct{})
		for range 200 {
			group.Go(func() {
				response, replayed, err := f.do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
					if calls.Add(1) == 1 {
						close(entered)
					}
					<-leave
					response.Id = "77"
					return nil
				})
				switch {
				case err != nil:
					if f := fault.From(err); assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT, f.Reason, err.Error()) {
						assert.NotZero(t, f.RetryAfter)
						inFlight.Add(1)
					}
				case replayed:
					assert.Equal(t, "77", response.GetId())
					replays.Add(1)
				default:
					assert.Equal(t, "77", response.GetId())
					made.Add(1)
				}
			})
		}
		<-entered
		require.Eventually(t, func() bool { return inFlight.Load() > 50 }, timeout, time.Millisecond)
		close(leave)
		group.Wait()
		assert.Equal(t, int32(1), calls.Load())
		assert.Equal(t, int32(1), made.Load())
		assert.Equal(t, int32(199), replays.Load()+inFlight.Load())
	})
}

func TestAFailureWithoutEffectFreesTheKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for range 3 {
			_, replayed, err := f.do(t, key("1"), "hello", fails(fmt.Errorf("send: %w", faultWith(fault.EffectNone))))
			requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED)
			assert.False(t, replayed)
		}
		response, replayed, err := f.do(t, key("1"), "another text, because the first call had no effect", answers("77"))
		require.NoError(t, err)
		assert.False(t, replayed)
		assert.Equal(t, "77", response.GetId())
	})
}

func TestTheOutcomeAfterOtherErrorsIsUnknown(t *testing.T) {
	for _, tt := range []struct {
		name string
		err  error
	}{
		{"a failure that may have had an effect", faultWith(fault.EffectUnknown)},
		{"a failure whose effect is not stated", faultWith(fault.EffectNotApplicable)},
		{"an error other than a fault", errors.New("lost")},
		{"an expired deadline", context.DeadlineExceeded},
		{"a caller that cancels", context.Canceled},
	} {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				_, _, err := f.do(t, key("1"), "hello", fails(tt.err))
				require.ErrorIs(t, err, tt.err)
				_, _, err = f.do(t, key("1"), "hello", nil)
				assert.Equal(t, fault.EffectUnknown, requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN).Effect)
			})
		})
	}
}

func TestTheOutcomeOfACallThatPanicsIsUnknown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		assert.PanicsWithValue(t, "bug", func() {
			_, _, _ = f.do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error { panic("bug") })
		})
		_, _, err := f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN)
	})
}

func TestAnOutcomeIsStoredAfterItsCallerCancels(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		response := &ongairv1.SendResponse{}
		_, err := f.Do(ctx, key("1"), &ongairv1.SendRequest{Text: "hello"}, response, func(context.Context) error {
			cancel()
			response.Id = "77"
			return nil
		})
		require.NoError(t, err)
		again, replayed, err := f.do(t, key("1"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, "77", again.GetId())
	})
}

func TestAnAbandonedClaimIsUnknownAfterItsDeadline(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		print, err := fingerprint(&ongairv1.SendRequest{Text: "hello"})
		require.NoError(t, err)
		deadline := time.Now().Add(timeout)
		_, earlier, err := f.claim(t.Context(), key("1").hash(), record{
			ID: "abandoned", State: stateClaimed, Fingerprint: print, Deadline: deadline.Add(grace),
		})
		require.NoError(t, err)
		require.Nil(t, earlier)
		for _, tt := range []struct {
			name string
			now  time.Time
			want ongairv1.ErrorReason
		}{
			{"immediately", deadline.Add(-timeout), ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT},
			{"after its deadline, within the grace", deadline.Add(grace - time.Second), ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT},
			{"after the grace", deadline.Add(grace), ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN},
			{"a day later", deadline.Add(24 * time.Hour), ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN},
		} {
			t.Run(tt.name, func(t *testing.T) {
				f.now = func() time.Time { return tt.now }
				_, _, err := f.do(t, key("1"), "hello", nil)
				requireReason(t, err, tt.want)
				_, _, err = f.do(t, key("1"), "another", nil)
				requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED)
			})
		}
	})
}

func TestAClaimCarriesItsCallsDeadlineAndGrace(t *testing.T) {
	f := open(t, storagetest.Embedded(t))
	_, _, err := f.do(t, key("1"), "hello", func(ctx context.Context, _ *ongairv1.SendResponse) error {
		deadline, ok := ctx.Deadline()
		require.True(t, ok)
		for at, want := range map[time.Time]ongairv1.ErrorReason{
			deadline.Add(grace - time.Second): ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT,
			deadline.Add(grace + time.Second): ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		} {
			f.now = func() time.Time { return at }
			_, _, err := f.do(t, key("1"), "hello", nil)
			requireReason(t, err, want)
		}
		return nil
	})
	require.NoError(t, err)
}

func TestEveryPartOfAKeyCounts(t *testing.T) {
	keys := []Key{
		{"crm", "support", "Send", "1"},
		{"bot", "support", "Send", "1"},
		{"crm", "sales", "Send", "1"},
		{"crm", "support", "SendImage", "1"},
		{"crm", "support", "Send", "2"},
		{"crmsupport", "", "Send", "1"},
		{"", "crmsupport", "Send", "1"},
		{"crm", "support", "", "Send1"},
		{"crm", "support", "Send", "1 "},
		{"crm", "support", "Send", "order: 7 / ü 👋\x00"},
		{"crm", "support", "Send", "order:7/*.>"},
		{"", "", "", ""},
	}
	each(t, func(t *testing.T, f *fixture) {
		for i, k := range keys {
			_, replayed, err := f.do(t, k, "hello", answers(fmt.Sprint(i)))
			require.NoError(t, err)
			assert.False(t, replayed, "%+v", k)
		}
		for i, k := range keys {
			response, replayed, err := f.do(t, k, "hello", nil)
			require.NoError(t, err)
			assert.True(t, replayed)
			assert.Equal(t, fmt.Sprint(i), response.GetId())
		}
	})
}

func TestACallWithoutADeadlineIsRejected(t *testing.T) {
	f := open(t, storagetest.Embedded(t))
	_, err := f.Do(t.Context(), key("1"), &ongairv1.SendRequest{}, &ongairv1.SendResponse{}, func(context.Context) error {
		t.Error("the call was made")
		return nil
	})
	require.ErrorContains(t, err, "deadline")
}

func TestACallThatCannotBeClaimedIsNotMade(t *testing.T) {
	for name, lose := range map[string]func(*testing.T, *fixture){
		"JetStream is closed": func(t *testing.T, f *fixture) { require.NoError(t, f.in.Close()) },
		"the bucket was deleted": func(t *testing.T, f *fixture) {
			storagetest.Look(t, f.in).Stream(t, "KV_"+bucket).Delete(t)
		},
		"the record is invalid": func(t *testing.T, f *fixture) {
			f.bucket(t).Put(t, key("1").hash(), []byte("?"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				lose(t, f)
				f.close() // the log stays unavailable
				_, replayed, err := f.do(t, key("1"), "hello", nil)
				unavailable := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
				assert.Equal(t, fault.EffectNone, unavailable.Effect)
				assert.NotZero(t, unavailable.RetryAfter)
				assert.False(t, replayed)
			})
		})
	}
}

func TestAnInvalidRecordIsNotFreed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.bucket(t).Put(t, key("1").hash(), []byte("?"))
		_, _, err := f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		assert.Equal(t, "?", string(f.bucket(t).Get(t, key("1").hash())))
		assert.Empty(t, f.logged.String())
	})
}

func TestACallerGetsAResponseThatCannotBeStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		response, replayed, err := f.do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
			response.Id = "77"
			return f.in.Close()
		})
		require.NoError(t, err)
		assert.False(t, replayed)
		assert.Equal(t, "77", response.GetId())
		f.close() // the log stays unavailable
		f.Wait()
		assert.Contains(t, f.logged.String(), "level=ERROR")

		f = open(t, f.home)
		_, _, err = f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT)
		f.now = func() time.Time { return time.Now().Add(timeout + grace) }
		_, _, err = f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN)
	})
}

func TestRequestsAreNotStored(t *testing.T) {
	f := open(t, storagetest.Embedded(t))
	_, _, err := f.do(t, key("CANARY"), "CANARY", answers("77"))
	require.NoError(t, err)
	keys := f.bucket(t).Keys(t)
	require.Len(t, keys, 1)
	assert.NotContains(t, keys[0]+string(f.bucket(t).Get(t, keys[0])), "CANARY")
}

func TestTheLatestStartSetsKeep(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		_, _, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err)
		for _, keep := range []time.Duration{0, time.Hour, time.Minute, 0} {
			f.Store, err = Open(t.Context(), f.in, Config{Keep: keep})
			require.NoError(t, err)
			if keep == 0 {
				keep = DefaultKeep
			}
			assert.Equal(t, keep, f.bucket(t).TTL(t))
			_, replayed, err := f.do(t, key("1"), "hello", nil)
			require.NoError(t, err)
			assert.True(t, replayed)
		}
	})
}

func TestAKeyThatAnOperatorDeletedIsFree(t *testing.T) {
	for name, remove := range map[string]func(*storagetest.Bucket, storagetest.T, string){
		"deleted": (*storagetest.Bucket).Delete,
		"purged":  (*storagetest.Bucket).Purge,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				_, _, err := f.do(t, key("1"), "hello", answers("77"))
				require.NoError(t, err)
				remove(f.bucket(t), t, key("1").hash())
				response, replayed, err := f.do(t, key("1"), "hello", answers("78"))
				require.NoError(t, err)
				assert.False(t, replayed)
				assert.Equal(t, "78", response.GetId())
			})
		})
	}
}

// lossy loses the first acknowledgement of a Put. The Put is retried and conflicts with itself.
type lossy struct {
	records
	lost atomic.Bool
}

func (l *lossy) Put(ctx context.Context, key string, data []byte, last uint64) (uint64, error) {
	revision, err := l.records.Put(ctx, key, data, last)
	if err == nil && l.lost.CompareAndSwap(false, true) {
		return l.records.Put(ctx, key, data, last)
	}
	return revision, err
}

func TestAClaimWithALostAcknowledgementIsRecognized(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first := &lossy{records: f.records}
		f.records = first
		_, replayed, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err)
		assert.True(t, first.lost.Load())
		assert.False(t, replayed)
		_, replayed, err = f.do(t, key("1"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
	})
}

// unreadable fails the first read.
type unreadable struct {
	records
	failed atomic.Bool
}

func (u *unreadable) Get(ctx context.Context, key string) (storage.Record, error) {
	if u.failed.CompareAndSwap(false, true) {
		return storage.Record{}, context.DeadlineExceeded
	}
	return u.records.Get(ctx, key)
}

func TestAClaimThatCannotBeReadAtFirstIsRecognized(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		first := &unreadable{records: &lossy{records: f.records}}
		f.records = first
		_, replayed, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err)
		assert.True(t, first.failed.Load())
		assert.False(t, replayed)
		f.Wait()
	})
}

// Claims and outcomes of concurrent calls are written in groups, some of which are rejected.
func TestConcurrentCallsAreEachMadeOnce(t *testing.T) {
	const keys, callers = 40, 5
	each(t, func(t *testing.T, f *fixture) {
		var made [keys]atomic.Int32
		for _, text := range []string{"hello", "hello", "another"} {
			var wg sync.WaitGroup
			for k := range keys {
				for range callers {
					wg.Go(func() {
						response, _, err := f.do(t, key(fmt.Sprint(k)), text, func(_ context.Context, response *ongairv1.SendResponse) error {
							made[k].Add(1)
							response.Id = fmt.Sprint(k)
							return nil
						})
						switch {
						case text == "another":
							assertReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED)
						case err == nil:
							assert.Equal(t, fmt.Sprint(k), response.GetId())
						default:
							assertReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT)
						}
					})
				}
			}
			wg.Wait()
		}
		for k := range keys {
			assert.EqualValues(t, 1, made[k].Load(), k)
		}
	})
}

// assertReason is requireReason for other goroutines than the test's.
func assertReason(t *testing.T, err error, reason ongairv1.ErrorReason) {
	t.Helper()
	if assert.Error(t, err) {
		assert.Equal(t, reason, fault.From(err).Reason, err.Error())
	}
}

// held blocks one Put until release is closed.
type held struct {
	records
	put atomic.Int32
	// hold is the number of that Put, from 1.
	hold    int32
	release chan struct{}
}

func (h *held) Put(ctx context.Context, key string, data []byte, last uint64) (uint64, error) {
	if h.put.Add(1) == h.hold {
		<-h.release
	}
	return h.records.Put(ctx, key, data, last)
}

// holding opens the store again and blocks one of its Puts until release is called.
func (f *fixture) holding(t *testing.T, hold int32) (h *held, release func()) {
	t.Helper()
	h = &held{hold: hold, release: make(chan struct{})}
	var err error
	f.Store, err = Open(t.Context(), f.in, Config{})
	require.NoError(t, err)
	h.records, f.records = f.records, h
	t.Cleanup(f.Wait)
	var once sync.Once
	release = func() { once.Do(func() { close(h.release) }) }
	t.Cleanup(release)
	return h, release
}

func TestAnOutcomeThatIsBeingStoredIsReplayedLocally(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		other := *f
		_, release := f.holding(t, 2)
		_, _, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err, "the caller must not wait for the outcome to be stored")
		again, replayed, err := f.do(t, key("1"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, "77", again.GetId())
		_, _, err = f.do(t, key("1"), "another", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED)
		_, _, err = other.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT)

		release()
		f.Wait()
		again, replayed, err = other.do(t, key("1"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, "77", again.GetId())
	})
}

func TestACallWaitsForAKeyThatIsBeingFreed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		held, release := f.holding(t, 2)
		_, _, err := f.do(t, key("1"), "hello", fails(faultWith(fault.EffectNone)))
		require.Error(t, err)
		ended := make(chan error, 1)
		go func() {
			_, replayed, err := f.do(t, key("1"), "hello", answers("77"))
			assert.False(t, replayed)
			ended <- err
		}()
		require.Eventually(t, func() bool { return held.put.Load() == 2 }, timeout, time.Millisecond)
		release()
		require.NoError(t, <-ended)
	})
}

// The error has no effect, so the caller may retry.
func TestAClaimWrittenAfterItsCallerCancelsIsFreed(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		held, release := f.holding(t, 1)
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		go func() {
			assert.Eventually(t, func() bool { return held.put.Load() > 0 }, timeout, time.Millisecond)
			cancel()
		}()
		_, err := f.Do(ctx, key("1"), &ongairv1.SendRequest{Text: "hello"}, &ongairv1.SendResponse{}, func(context.Context) error {
			t.Error("the call was made")
			return nil
		})
		require.Error(t, err)
		assert.Equal(t, fault.EffectNone, fault.From(err).Effect)
		release()
		f.Wait()
		_, replayed, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err)
		assert.False(t, replayed)
	})
}
