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

// fate is the result of a Put.
type fate int

const (
	ordinary   fate = iota // stored and acknowledged
	unanswered             // stored, without an answer
	cut                    // stored, but the connection is lost
	lost                   // not stored, without an answer
	refused                // not stored, and the connection is lost
	slow                   // stored after slowness; until then, other records of the key are rejected
	queued                 // processed after the outage, as on a disk that hung
	fates
)

// slowness is longer than putTimeout, after which a Put is not retried.
const slowness = 9 * time.Second

// memoryRecords stores records in memory, for tests in virtual time. Tests choose the results of Put
// and Get during an outage.
type memoryRecords struct {
	// During an outage, fate returns the result of each try of a Put, and unread reports whether a Get
	// fails.
	fate   func() fate
	unread func() bool
	// reading is the duration of a read.
	reading time.Duration

	mu   sync.Mutex
	down bool
	// queue has the records to process after the outage.
	queue []func()
	last  uint64
	// newest has the newest record of each key. storing has the keys with a record that is being
	// stored.
	newest  map[string]storage.Record
	storing map[string]bool
}

// startOutage starts an outage.
func (m *memoryRecords) startOutage(outage time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = true
	time.AfterFunc(outage, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.down = false
		for _, store := range m.queue {
			store()
		}
	})
}

// startOutageWith starts an outage during which every Put has the same fate and every Get fails.
func (m *memoryRecords) startOutageWith(outage time.Duration, all fate) {
	m.fate = func() fate { return all }
	m.unread = func() bool { return true }
	m.startOutage(outage)
}

// putTimeout and putTry are the values of package storage. A Put without an answer is retried.
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
	case unanswered, lost:
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
	if m.down {
		fate = m.fate()
	}
	switch fate {
	case ordinary, unanswered, cut:
		m.store(key, data, last, 0, answer)
	case slow:
		m.store(key, data, last, slowness, answer)
	case queued:
		m.queue = append(m.queue, func() { m.store(key, data, last, 0, answer) })
	default:
	}
	return fate
}

// store stores a record after a delay. As on the leader of a cluster, the expected revision is checked
// before the delay. The caller must hold mu.
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
	if m.down && m.unread() {
		return storage.Record{}, errCut
	}
	return m.newest[key], nil
}

// inMemory runs a test in virtual time. The replicas' stores share the same records in memory.
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

// eachOutage runs a test with every fate of a record during an outage, and runs after when the
// outage ends. Some outages outlast the time for which a claim counts as a call in progress.
func eachOutage(t *testing.T,
	test func(t *testing.T, replicas []*fixture, startOutage func()),
	after func(t *testing.T, replicas []*fixture),
) {
	t.Helper()
	for name, fate := range map[string]fate{
		"stored, without an answer":              unanswered,
		"stored, but the connection is lost":     cut,
		"not stored, without an answer":          lost,
		"not stored, and the connection is lost": refused,
		"stored later":                           slow,
		"stored after the outage":                queued,
	} {
		for _, outage := range []time.Duration{6 * time.Second, time.Minute, settleTimeout - 2*storeTimeout} {
			t.Run(fmt.Sprint(name, ", after ", outage), func(t *testing.T) {
				inMemory(t, 2, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
					back := time.Now().Add(outage)
					test(t, replicas, func() { m.startOutageWith(outage, fate) })
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

// requireFreed repeats a call. The first replica repeats it immediately and may return
// IDEMPOTENCY_IN_FLIGHT. The second replica repeats it after settled.
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

// settled is the time after an outage until all outcomes are stored.
const settled = slowness + storeTimeout + 2*settleDelay

// The error has no effect, so the caller may retry.
func TestAClaimThatFailedLeavesItsKeyFree(t *testing.T) {
	eachOutage(t, func(t *testing.T, replicas []*fixture, startOutage func()) {
		startOutage()
		_, _, err := replicas[0].do(t, key("1"), "hello", nil)
		unavailable := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		assert.Equal(t, fault.EffectNone, unavailable.Effect)
	}, requireFreed)
}

func TestAFailureWithoutEffectFreesTheKeyAfterAnOutage(t *testing.T) {
	eachOutage(t, func(t *testing.T, replicas []*fixture, startOutage func()) {
		_, _, err := replicas[0].do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error {
			startOutage()
			return faultWith(fault.EffectNone)
		})
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED)
	}, requireFreed)
}

// The same replica replays the answer at any time, and the others after the outage.
func TestAnOutcomeIsStoredAfterAnOutage(t *testing.T) {
	requireReplayed := func(t *testing.T, f *fixture) {
		t.Helper()
		response, replayed, err := f.do(t, key("1"), "hello", nil)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, "77", response.GetId())
	}
	eachOutage(t, func(t *testing.T, replicas []*fixture, startOutage func()) {
		_, replayed, err := replicas[0].do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
			startOutage()
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

func TestAnUnknownOutcomeIsStoredAfterAnOutage(t *testing.T) {
	requireUnknown := func(t *testing.T, f *fixture) {
		t.Helper()
		_, _, err := f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN)
	}
	eachOutage(t, func(t *testing.T, replicas []*fixture, startOutage func()) {
		_, _, err := replicas[0].do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error {
			startOutage()
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

// After an outage, the log may be an older copy or may have records of other replicas.
func TestAnOutcomeDoesNotReplaceAnotherRecord(t *testing.T) {
	anothers := func(state state) func(t *testing.T, m *memoryRecords, name string, claim uint64) {
		return func(t *testing.T, m *memoryRecords, name string, _ uint64) {
			data, err := record{ID: "another's", State: state, Response: []byte{0x0a, 0x02, '7', '8'}}.encode()
			require.NoError(t, err)
			m.newest[name] = storage.Record{Exists: true, Data: data, Revision: 1}
		}
	}
	for name, tt := range map[string]struct {
		// back sets the record that exists after the outage, given the revision of the claim.
		back   func(t *testing.T, m *memoryRecords, name string, claim uint64)
		stored bool
	}{
		"the claim":                        {func(*testing.T, *memoryRecords, string, uint64) {}, true},
		"nothing":                          {func(_ *testing.T, m *memoryRecords, name string, _ uint64) { delete(m.newest, name) }, true},
		"the free record before the claim": {anothers(stateFree), true},
		"a deletion marker before the claim": {func(_ *testing.T, m *memoryRecords, name string, claim uint64) {
			m.newest[name] = storage.Record{Revision: claim - 1}
		}, true},
		"an operator's deletion of the claim": {func(_ *testing.T, m *memoryRecords, name string, claim uint64) {
			m.newest[name] = storage.Record{Revision: claim + 1}
		}, false},
		"another's claim":   {anothers(stateClaimed), false},
		"another's outcome": {anothers(stateDone), false},
		"an invalid record": {func(_ *testing.T, m *memoryRecords, name string, claim uint64) {
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

// When the claim is read, its deadline and grace have passed. When the answer arrives, it is free.
func TestAClaimThatIsFreedWhileItIsReadIsNotUnknown(t *testing.T) {
	inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
		f := replicas[0]
		_, _, err := f.do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error {
			m.startOutageWith(time.Minute+settleDelay/4, refused)
			return faultWith(fault.EffectNone)
		})
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED)
		time.Sleep(time.Minute + settleDelay/2) // virtual: the outage is over, and the next retry is later
		m.reading = settleDelay / 3             // the claim is read twice, the second time when it is freed
		_, _, err = f.do(t, key("1"), "hello", nil)
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT)
		_, replayed, err := f.do(t, key("1"), "hello", answers("77"))
		require.NoError(t, err)
		assert.False(t, replayed)
	})
}

// claimLost makes a call whose claim fails, because of an outage of an hour.
func claimLost(t *testing.T, m *memoryRecords, f *fixture, k Key) {
	t.Helper()
	m.startOutageWith(time.Hour, lost)
	_, _, err := f.do(t, k, "hello", nil)
	requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
}

// callMade makes a call that succeeds, but an outage of an hour prevents storing its outcome.
func callMade(t *testing.T, m *memoryRecords, f *fixture, k Key) {
	t.Helper()
	_, _, err := f.do(t, k, "hello", func(context.Context, *ongairv1.SendResponse) error {
		m.startOutageWith(time.Hour, lost)
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
		// least and most bound the time until the record is dropped.
		least, most time.Duration
		text        string
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
				assert.Contains(t, f.logged.String(), tt.text)
				assert.Equal(t, tt.others, f.retrying)
				assert.Empty(t, f.settling)
			})
		})
	}
}

func TestAStopWaitsForTheLog(t *testing.T) {
	inMemory(t, 2, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
		_, _, err := replicas[0].do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
			m.startOutageWith(3*time.Second, refused)
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

func TestManyLostOutcomesAreTwoLogLines(t *testing.T) {
	inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
		f := replicas[0]
		m.startOutageWith(time.Hour, refused)
		for i := range 300 {
			_, _, err := f.do(t, key(fmt.Sprint(i)), "hello", nil)
			requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		}
		f.Wait()
		assert.Equal(t, 2, strings.Count(f.logged.String(), unsettledText), f.logged.String())
		assert.Contains(t, f.logged.String(), "suppressed=299\n")
	})
}

func TestAClaimThatWasNotWrittenIsNotFreed(t *testing.T) {
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

// history simulates and checks repetitions of one call.
type history struct {
	mu     sync.Mutex
	random *rand.Rand
	// running counts the calls in progress. effects counts the calls that may have had an effect.
	running, effects atomic.Int32
	// calm makes all further calls to Ongair succeed.
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

// call makes the call on a replica and checks that the result is correct.
func (h *history) call(t *testing.T, f *fixture) {
	response, _, err := f.do(t, key("1"), "hello", func(_ context.Context, response *ongairv1.SendResponse) error {
		assert.EqualValues(t, 1, h.running.Add(1), "only one call may be in progress")
		defer h.running.Add(-1)
		time.Sleep(h.drawTime(5 * time.Second)) // virtual
		if !h.calm.Load() && h.draw(3) > 0 {
			return faultWith(fault.EffectNone)
		}
		assert.EqualValues(t, 1, h.effects.Add(1), "only one call may have an effect")
		response.Id = "77"
		return nil
	})
	if err == nil {
		assert.Equal(t, "77", response.GetId())
		return
	}
	switch f := fault.From(err); f.Reason {
	case ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:
		assert.NotZero(t, h.effects.Load(), "the outcome is unknown, but no call had an effect")
		assert.False(t, h.calm.Load(), "the outcome is unknown, but it was stored")
	case ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT:
		assert.False(t, h.calm.Load(), err.Error())
	case ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED:
		assert.False(t, h.calm.Load(), err.Error())
	default:
		assert.Fail(t, err.Error())
	}
}

// Callers repeat one call on several replicas while writes fail. The call is made once, and no caller
// gets OUTCOME_UNKNOWN unless it may have had an effect.
func TestACallIsMadeOnceIfItsRecordsFail(t *testing.T) {
	for seed := range uint64(500) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inMemory(t, 3, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
				h := &history{random: rand.New(rand.NewPCG(seed, 0))}
				m.fate = func() fate { return fate(h.draw(int(fates))) }
				m.unread = func() bool { return h.draw(2) == 0 }
				time.AfterFunc(h.drawTime(3*time.Second), func() { m.startOutage(h.drawTime(10 * time.Second)) })
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
					synctest.Wait() // until the outcome is stored
				}
				assert.EqualValues(t, 1, h.effects.Load())
				for _, f := range replicas {
					assert.Empty(t, f.logged.String())
				}
			})
		})
	}
}
