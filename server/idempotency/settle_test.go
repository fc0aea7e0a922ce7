package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
)

var errCut = errors.New("the connection was lost")

// fate is what becomes of a record that is put.
type fate int

const (
	ordinary fate = iota // it is stored, and acknowledged
	unheard              // it is stored, and nobody answers
	cut                  // it is stored, and the connection is lost
	lost                 // it is not stored, and nobody answers
	refused              // it is not stored, and the connection is lost
	slow                 // it is stored after slowness; until then its key takes no other one
	queued               // it is looked at once the log is back, as on a disk that hung
	fates
)

// slowness is longer than a publish is tried.
const slowness = 9 * time.Second

// memoryRecords are records in memory, for virtual time. A test decides what becomes
// of what is put and read while they are away.
type memoryRecords struct {
	// fate is asked at each try of a Put while it is away, unread at each read.
	fate   func() fate
	unread func() bool
	// reading is how long the answer to a read takes.
	reading time.Duration

	mu   sync.Mutex
	away bool
	// queue has what is to be stored once it is back.
	queue []func()
	last  uint64
	// newest has the newest record of each key, storing the keys of which one is being
	// stored.
	newest  map[string]storage.Record
	storing map[string]bool
}

// leave has it be away for a time.
func (m *memoryRecords) leave(outage time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = true
	time.AfterFunc(outage, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.away = false
		for _, store := range m.queue {
			store()
		}
	})
}

// leaveTo is leave where everything that is put meanwhile has one fate, and
// nothing can be read.
func (m *memoryRecords) leaveTo(outage time.Duration, all fate) {
	m.fate = func() fate { return all }
	m.unread = func() bool { return true }
	m.leave(outage)
}

// putTimeout and putTry are those of a storage, which tries again if nobody answers.
const (
	putTimeout = 5 * time.Second
	putTry     = 2 * time.Second
)

func (m *memoryRecords) Put(ctx context.Context, key string, data []byte, last uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, putTimeout)
	defer cancel()
	for {
		revision, err := m.try(ctx, key, data, last)
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return revision, err
		}
	}
}

func (m *memoryRecords) try(ctx context.Context, key string, data []byte, last uint64) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, putTry)
	defer cancel()
	type answer struct {
		revision uint64
		err      error
	}
	answers := make(chan answer, 1)
	fate := m.put(key, data, last, func(revision uint64, err error) { answers <- answer{revision, err} })
	switch fate {
	case cut, refused:
		return 0, errCut
	case unheard, lost:
		answers = nil
	default:
	}
	select {
	case a := <-answers:
		return a.revision, a.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (m *memoryRecords) put(key string, data []byte, last uint64, answer func(uint64, error)) fate {
	m.mu.Lock()
	defer m.mu.Unlock()
	fate := ordinary
	if m.away {
		fate = m.fate()
	}
	switch fate {
	case ordinary, unheard, cut:
		m.store(key, data, last, 0, answer)
	case slow:
		m.store(key, data, last, slowness, answer)
	case queued:
		m.queue = append(m.queue, func() { m.store(key, data, last, 0, answer) })
	default:
	}
	return fate
}

// store stores a record after a time, as the leader of a cluster does: what it expects
// is looked at before. mu is held.
func (m *memoryRecords) store(key string, data []byte, last uint64, after time.Duration, answer func(uint64, error)) {
	if m.storing[key] || m.newest[key].Revision != last {
		answer(0, storage.ErrConflict)
		return
	}
	put := func() {
		m.last++
		m.newest[key] = storage.Record{Exists: true, Data: data, Revision: m.last}
		answer(m.last, nil)
	}
	if after == 0 {
		put()
		return
	}
	m.storing[key] = true
	time.AfterFunc(after, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.storing, key)
		put()
	})
}

func (m *memoryRecords) Get(_ context.Context, key string) (storage.Record, error) {
	defer time.Sleep(m.reading) // virtual
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away && m.unread() {
		return storage.Record{}, errCut
	}
	return m.newest[key], nil
}

// inMemory runs a test in virtual time, with the stores of some replicas of the gateway
// over the same records in memory.
func inMemory(t *testing.T, stores int, test func(t *testing.T, m *memoryRecords, replicas []*fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		m := &memoryRecords{newest: map[string]storage.Record{}, storing: map[string]bool{}}
		var replicas []*fixture
		for range stores {
			f := &fixture{logged: &bytes.Buffer{}}
			f.Store = newStore(m, context.Background, slog.New(slog.NewTextHandler(f.logged, nil)))
			defer f.Wait()
			replicas = append(replicas, f)
		}
		test(t, m, replicas)
	})
}

// eachOutage runs a test with everything that may become of a record while the log is
// away, for shorter and for longer than a claim is taken for a call that is running. It
// runs after once the log is back.
func eachOutage(t *testing.T,
	test func(t *testing.T, replicas []*fixture, leave func()),
	after func(t *testing.T, replicas []*fixture),
) {
	t.Helper()
	for name, fate := range map[string]fate{
		"it is stored, and nobody answers":         unheard,
		"it is stored, and the connection is lost": cut,
		"it is not stored, and nobody answers":     lost,
		"it is not stored, as is said at once":     refused,
		"it is stored later":                       slow,
		"it is stored once the log is back":        queued,
	} {
		for _, outage := range []time.Duration{6 * time.Second, time.Minute, settleTimeout - 2*storeTimeout} {
			t.Run(fmt.Sprint(name, ", after ", outage), func(t *testing.T) {
				inMemory(t, 2, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
					back := time.Now().Add(outage)
					test(t, replicas, func() { m.leaveTo(outage, fate) })
					time.Sleep(time.Until(back)) // virtual
					synctest.Wait()
					after(t, replicas)
					synctest.Wait()
					for _, f := range replicas {
						assert.Empty(t, f.logged.String())
						assert.Empty(t, f.settling)
						assert.Zero(t, f.retrying)
					}
				})
			})
		}
	}
}

// requireFreed makes a call again: at once where it was made before, which may be told
// to wait, and somewhat later elsewhere.
func requireFreed(t *testing.T, replicas []*fixture) {
	t.Helper()
	if _, _, err := replicas[0].do(t, key("1"), "hello", answers("77")); err != nil {
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT)
	}
	time.Sleep(settled) // virtual
	response, _, err := replicas[1].do(t, key("1"), "hello", answers("77"))
	require.NoError(t, err)
	assert.Equal(t, "77", response.GetId())
}

// settled is when all outcomes are stored, counted from when the log is back.
const settled = slowness + storeTimeout + 2*settleDelay

// The caller was told that nothing was sent, and that it may try again. So it may.
func TestAClaimThatFailedLeavesItsKeyFree(t *testing.T) {
	eachOutage(t, func(t *testing.T, replicas []*fixture, leave func()) {
		leave()
		_, _, err := replicas[0].do(t, key("1"), "hello", nil)
		away := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		assert.Equal(t, fault.EffectNone, away.Effect)
	}, requireFreed)
}

func TestAFailureWithoutEffectFreesTheKeyDuringAnOutageOfTheLog(t *testing.T) {
	eachOutage(t, func(t *testing.T, replicas []*fixture, leave func()) {
		_, _, err := replicas[0].do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error {
			leave()
			return faultWith(fault.EffectNone)
		})
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED)
	}, requireFreed)
}

// Its caller has the answer. So everybody else gets it, on this replica at any time.
func TestAnOutcomeIsStoredOnceTheLogIsBack(t *testing.T) {
	requireReplayed := func(t *testing.T, f *fixture) {
		t.Helper()
		response, replayed, err := f.do(t, key("1"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, "77", response.GetId())
	}
	eachOutage(t, func(t *testing.T, replicas []*fixture, leave func()) {
		_, replayed, err := replicas[0].do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
			leave()
			response.Id = "77"
			return nil
		})
		require.NoError(t, err)
		assert.False(t, replayed)
		for range 3 {
			requireReplayed(t, replicas[0])
			_, _, err = replicas[0].do(t, key("1"), "another", nil)
			requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED)
			time.Sleep(storeTimeout / 3) // virtual
		}
	}, func(t *testing.T, replicas []*fixture) {
		requireReplayed(t, replicas[0])
		time.Sleep(settled) // virtual
		requireReplayed(t, replicas[1])
		requireReplayed(t, replicas[0])
	})
}

func TestAnUnknownOutcomeIsStoredOnceTheLogIsBack(t *testing.T) {
	requireUnknown := func(t *testing.T, f *fixture) {
		t.Helper()
		_, _, err := f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN)
	}
	eachOutage(t, func(t *testing.T, replicas []*fixture, leave func()) {
		_, _, err := replicas[0].do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error {
			leave()
			return faultWith(fault.EffectUnknown)
		})
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED)
		requireUnknown(t, replicas[0])
	}, func(t *testing.T, replicas []*fixture) {
		time.Sleep(settled) // virtual
		for _, f := range replicas {
			requireUnknown(t, f)
		}
	})
}

// The log may come back as an older copy, or with what others wrote meanwhile.
func TestAnOutcomeIsStoredUnlessAnotherRecordIsThere(t *testing.T) {
	anothers := func(state state) func(t *testing.T, m *memoryRecords, name string, claim uint64) {
		return func(t *testing.T, m *memoryRecords, name string, _ uint64) {
			data, err := record{ID: "another's", State: state, Response: []byte{0x0a, 0x02, '7', '8'}}.encode()
			require.NoError(t, err)
			m.newest[name] = storage.Record{Exists: true, Data: data, Revision: 1}
		}
	}
	for name, tt := range map[string]struct {
		// back makes what is there once the log is back, of a claim that had a revision.
		back   func(t *testing.T, m *memoryRecords, name string, claim uint64)
		stored bool
	}{
		"the claim":                        {func(*testing.T, *memoryRecords, string, uint64) {}, true},
		"nothing":                          {func(_ *testing.T, m *memoryRecords, name string, _ uint64) { delete(m.newest, name) }, true},
		"the free record before the claim": {anothers(stateFree), true},
		"the mark of a deletion before the claim": {func(_ *testing.T, m *memoryRecords, name string, claim uint64) {
			m.newest[name] = storage.Record{Revision: claim - 1}
		}, true},
		"an operator's deletion of the claim": {func(_ *testing.T, m *memoryRecords, name string, claim uint64) {
			m.newest[name] = storage.Record{Revision: claim + 1}
		}, false},
		"another's claim":   {anothers(stateClaimed), false},
		"another's outcome": {anothers(stateDone), false},
		"no record": {func(_ *testing.T, m *memoryRecords, name string, claim uint64) {
			m.newest[name] = storage.Record{Exists: true, Data: []byte("?"), Revision: claim + 1}
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
				f, name := replicas[0], key("1").hash()
				m.last = 10
				var back storage.Record
				_, _, err := f.do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
					tt.back(t, m, name, m.newest[name].Revision)
					back = m.newest[name]
					response.Id = "77"
					return nil
				})
				require.NoError(t, err)
				f.Wait()
				if !tt.stored {
					assert.Equal(t, back, m.newest[name])
					assert.Contains(t, f.logged.String(), errReplaced.Error())
					return
				}
				assert.Empty(t, f.logged.String())
				response, replayed, err := f.do(t, key("1"), "hello", nil)
				require.NoError(t, err)
				assert.True(t, replayed)
				assert.Equal(t, "77", response.GetId())
			})
		})
	}
}

// The claim is older than its deadline and its grace when it is read, and free when the
// answer arrives.
func TestAClaimThatIsFreedWhileItIsReadIsNotUnknown(t *testing.T) {
	inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
		f := replicas[0]
		_, _, err := f.do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error {
			m.leaveTo(time.Minute+settleDelay/4, refused)
			return faultWith(fault.EffectNone)
		})
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED)
		time.Sleep(time.Minute + settleDelay/2) // virtual: the log is back, the next try comes later
		m.reading = settleDelay / 3             // it is read twice, the second time when it is freed
		_, _, err = f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT)
		_, replayed, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err)
		assert.False(t, replayed)
	})
}

// claimLost has the claim of a call fail, and callMade has a call succeed whose outcome
// cannot be stored, because the log is away for an hour.
func claimLost(t *testing.T, m *memoryRecords, f *fixture, k Key) {
	t.Helper()
	m.leaveTo(time.Hour, lost)
	_, _, err := f.do(t, k, "hello", nil)
	requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
}

func callMade(t *testing.T, m *memoryRecords, f *fixture, k Key) {
	t.Helper()
	_, _, err := f.do(t, k, "hello", func(context.Context, *ongairv1.SendResponse) error {
		m.leaveTo(time.Hour, lost)
		return nil
	})
	require.NoError(t, err)
}

func TestSettlingIsBounded(t *testing.T) {
	inTime := func(f *fixture) { f.storing.Wait() }
	byTheEnd := func(f *fixture) { f.Wait() }
	const noTime, deadline = storeTimeout, "deadline exceeded"
	for name, tt := range map[string]struct {
		before func(*testing.T, *memoryRecords, *fixture, Key)
		others int
		end    func(*fixture)
		// It is given up after least to most.
		least, most time.Duration
		says        string
	}{
		"a lost claim, by the end of the store": {claimLost, 0, byTheEnd, noTime, stopTimeout, deadline},
		"a call, by the end of the store":       {callMade, 0, byTheEnd, noTime, stopTimeout, deadline},
		"a lost claim, in time":                 {claimLost, 0, inTime, settleTimeout, settleTimeout + 2*storeTimeout, deadline},
		"a call, in time":                       {callMade, 0, inTime, settleTimeout, settleTimeout + 2*storeTimeout, deadline},
		"a lost claim, by other claims":         {claimLost, maxFreeing, inTime, 0, noTime, errTooManySettling.Error()},
		"a call, not by lost claims":            {callMade, maxFreeing, inTime, settleTimeout, settleTimeout + 2*storeTimeout, deadline},
		"a call, by others":                     {callMade, maxSettling, inTime, 0, noTime, errTooManySettling.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
				f := replicas[0]
				f.retrying = tt.others
				tt.before(t, m, f, key("1"))
				start := time.Now()
				tt.end(f)
				assert.GreaterOrEqual(t, time.Since(start), tt.least) // virtual
				assert.LessOrEqual(t, time.Since(start), tt.most)
				assert.Contains(t, f.logged.String(), unsettledText)
				assert.Contains(t, f.logged.String(), tt.says)
				assert.Equal(t, tt.others, f.retrying)
				assert.Empty(t, f.settling)
			})
		})
	}
}

func TestAStopWaitsForALogThatIsBackInTime(t *testing.T) {
	inMemory(t, 2, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
		_, _, err := replicas[0].do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
			m.leaveTo(3*time.Second, refused)
			response.Id = "77"
			return nil
		})
		require.NoError(t, err)
		replicas[0].Wait()
		_, replayed, err := replicas[1].do(t, key("1"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
	})
}

func TestManyThatAreGivenUpTogetherAreTwoLines(t *testing.T) {
	inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
		f := replicas[0]
		m.leaveTo(time.Hour, refused)
		for i := range 300 {
			_, _, err := f.do(t, key(fmt.Sprint(i)), "hello", nil)
			requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		}
		f.Wait()
		assert.Equal(t, 2, strings.Count(f.logged.String(), unsettledText), f.logged.String())
		assert.Contains(t, f.logged.String(), "suppressed=299\n")
	})
}

func TestNothingIsFreedOfAClaimThatWasNotWritten(t *testing.T) {
	inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
		full, fail := context.WithCancelCause(context.Background())
		fail(errors.New("the disk is full"))
		replicas[0].writable = func() context.Context { return full }
		_, _, err := replicas[0].do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		require.ErrorContains(t, fault.From(err).Cause, "full")
		replicas[0].Wait()
		assert.Zero(t, m.last)
	})
}

// history is what callers of one call find, and what becomes of it.
type history struct {
	mu     sync.Mutex
	random *rand.Rand
	// running and effects count the calls that are under way, and those that may have
	// had an effect.
	running, effects atomic.Int32
	// calm says that Ongair does not fail any more.
	calm atomic.Bool
}

func (h *history) draw(n int) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.random.IntN(n)
}

func (h *history) drawTime(below time.Duration) time.Duration {
	return time.Duration(h.draw(int(below)))
}

// call makes the call on a replica, and is told nothing that is not so.
func (h *history) call(t *testing.T, f *fixture) {
	response, _, err := f.do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
		assert.EqualValues(t, 1, h.running.Add(1), "one call at a time")
		defer h.running.Add(-1)
		time.Sleep(h.drawTime(5 * time.Second)) // virtual
		if !h.calm.Load() && h.draw(3) > 0 {
			return faultWith(fault.EffectNone)
		}
		assert.EqualValues(t, 1, h.effects.Add(1), "one call with an effect")
		response.Id = "77"
		return nil
	})
	if err == nil {
		assert.Equal(t, "77", response.GetId())
		return
	}
	switch f := fault.From(err); f.Reason {
	case ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:
		assert.NotZero(t, h.effects.Load(), "nothing was sent")
		assert.False(t, h.calm.Load(), "the outcome is stored")
	case ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT:
		assert.False(t, h.calm.Load(), err.Error())
	case ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED:
		assert.False(t, h.calm.Load(), err.Error())
	default:
		assert.Fail(t, err.Error())
	}
}

// Callers repeat one call on several replicas, whatever becomes of what these write: it
// is made once, and nobody hears that it may have been where it was not.
func TestACallIsMadeOnceThoughItsRecordsFail(t *testing.T) {
	for seed := range uint64(500) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inMemory(t, 3, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
				h := &history{random: rand.New(rand.NewPCG(seed, 0))}
				m.fate = func() fate { return fate(h.draw(int(fates))) }
				m.unread = func() bool { return h.draw(2) == 0 }
				time.AfterFunc(h.drawTime(3*time.Second), func() { m.leave(h.drawTime(10 * time.Second)) })
				var callers sync.WaitGroup
				for _, f := range replicas {
					callers.Go(func() {
						for range 4 {
							time.Sleep(h.drawTime(4 * time.Second)) // virtual
							h.call(t, f)
						}
					})
				}
				callers.Wait()
				time.Sleep(settled) // virtual
				h.calm.Store(true)
				for _, f := range replicas {
					h.call(t, f)
					synctest.Wait() // until its outcome is stored
				}
				assert.EqualValues(t, 1, h.effects.Load())
				for _, f := range replicas {
					assert.Empty(t, f.logged.String())
				}
			})
		})
	}
}
