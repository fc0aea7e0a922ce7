package idempotency

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
// away, for shorter and for longer than a claim is taken for a call that is running.
func eachOutage(t *testing.T, test func(t *testing.T, m *memoryRecords, replicas []*fixture, leave func())) {
	t.Helper()
	for name, fate := range map[string]fate{
		"it is stored, and nobody answers":         unheard,
		"it is stored, and the connection is lost": cut,
		"it is not stored, and nobody answers":     lost,
		"it is not stored, as is said at once":     refused,
		"it is stored later":                       slow,
		"it is stored once the log is back":        queued,
	} {
		for _, outage := range []time.Duration{6 * time.Second, time.Minute, freeTimeout - 2*storeTimeout} {
			t.Run(fmt.Sprint(name, ", after ", outage), func(t *testing.T) {
				inMemory(t, 2, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
					back := time.Now().Add(outage)
					test(t, m, replicas, func() { m.leaveTo(outage, fate) })
					time.Sleep(time.Until(back)) // virtual
					synctest.Wait()
					requireFreed(t, replicas)
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
	synctest.Wait()
	assert.Empty(t, replicas[0].logged.String())
	assert.Empty(t, replicas[0].freeing)
}

// settled is when all claims are freed, counted from when the log is back.
const settled = slowness + storeTimeout + 2*freeDelay

// The caller was told that nothing was sent, and that it may try again. So it may.
func TestAClaimThatFailedLeavesItsKeyFree(t *testing.T) {
	eachOutage(t, func(t *testing.T, _ *memoryRecords, replicas []*fixture, leave func()) {
		leave()
		_, _, err := replicas[0].do(t, key("1"), "hello", nil)
		away := requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
		assert.Equal(t, fault.EffectNone, away.Effect)
	})
}

func TestAFailureWithoutEffectFreesTheKeyThoughTheLogIsAway(t *testing.T) {
	eachOutage(t, func(t *testing.T, _ *memoryRecords, replicas []*fixture, leave func()) {
		_, _, err := replicas[0].do(t, key("1"), "hello", func(context.Context, *ongairv1.SendResponse) error {
			leave()
			return faultWith(fault.EffectNone)
		})
		requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED)
	})
}

func TestFreeingIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		others int
		end    func(*fixture)
		within time.Duration
		says   string
	}{
		"by the end of the store": {0, func(f *fixture) { f.Wait() }, 2 * storeTimeout, "deadline exceeded"},
		"in time":                 {0, func(f *fixture) { f.storing.Wait() }, freeTimeout + 2*storeTimeout, "deadline exceeded"},
		"in number":               {maxFreeing, func(f *fixture) { f.storing.Wait() }, claimTimeout, errTooManyFreeing.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			inMemory(t, 1, func(t *testing.T, m *memoryRecords, replicas []*fixture) {
				f := replicas[0]
				for i := range tt.others {
					f.freeing[fmt.Sprint(i)] = struct{}{}
				}
				m.leaveTo(time.Hour, lost)
				_, _, err := f.do(t, key("1"), "hello", nil)
				requireReason(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
				start := time.Now()
				tt.end(f)
				assert.LessOrEqual(t, time.Since(start), tt.within)
				assert.Contains(t, f.logged.String(), "could not free")
				assert.Contains(t, f.logged.String(), tt.says)
				assert.Len(t, f.freeing, tt.others)
			})
		})
	}
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
	case ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT:
		// What had an effect, and could not be stored, runs until its deadline.
		assert.False(t, h.calm.Load() && h.effects.Load() == 0, err.Error())
	case ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED:
		assert.False(t, h.calm.Load(), err.Error())
	default:
		assert.Fail(t, err.Error())
	}
}

// Callers repeat one call on several replicas, whatever becomes of what these write: it
// is made once, and nobody hears that it may have been where it was not.
func TestACallIsMadeOnceWhateverBecomesOfItsRecords(t *testing.T) {
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
				}
				assert.EqualValues(t, 1, h.effects.Load())
			})
		})
	}
}
