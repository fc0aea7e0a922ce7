package fanout

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errExpired = errors.New("expired")

// memoryLog is a Log in memory, whose failures a test decides on.
type memoryLog struct {
	mu      sync.Mutex
	records []*event.Record
	// removed is the sequence of the last event that retention removed.
	removed uint64
	changed chan struct{}
	// newest and follow, where they are set, are what Newest and Follow fail with.
	newest, follow error
	// warm is how many events Newest goes back.
	warm int
	// read, where it is set, is called at the start of Read.
	read func(context.Context)
	// reads counts the calls of Read, matching those of ReadMatching, follows has
	// the positions of those of Follow.
	reads, matching int
	follows         []uint64
}

func newMemoryLog(records ...*event.Record) *memoryLog {
	return &memoryLog{records: records, changed: make(chan struct{})}
}

// change changes the log and wakes those who follow it.
func (l *memoryLog) change(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

// append puts an event at the end for each channel that is named.
func (l *memoryLog) append(channels ...string) {
	l.change(func() {
		for _, channel := range channels {
			l.records = append(l.records, record(uint64(len(l.records)+1), channel, 0))
		}
	})
}

// fail ends every Follow with err, and every one that comes, until err is nil.
func (l *memoryLog) fail(err error) { l.change(func() { l.follow = err }) }

func (l *memoryLog) Newest(context.Context, int) (from, latest uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.records) - l.warm), uint64(len(l.records)), l.newest
}

func (l *memoryLog) ReadMatching(_ context.Context, position uint64, channel, notificationType string, maxEvents, _ int) ([]*event.Record, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.matching++
	if position < l.removed {
		return nil, position, errExpired
	}
	req := &ongairv1.SubscribeRequest{}
	if channel != "" {
		req.Channels = []string{channel}
	}
	if notificationType != "" {
		req.NotificationTypes = []string{notificationType}
	}
	filter := event.NewFilter(req)
	var records []*event.Record
	for _, r := range l.records[min(position, uint64(len(l.records))):] {
		if len(records) == maxEvents {
			return records, records[len(records)-1].Sequence, nil
		}
		if filter.Takes(r) {
			records = append(records, r)
		}
	}
	return records, max(position, uint64(len(l.records))), nil
}

func (l *memoryLog) Read(ctx context.Context, position uint64, maxEvents, maxBytes int) ([]*event.Record, error) {
	if l.read != nil {
		l.read(ctx)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if position < l.removed {
		return nil, errExpired
	}
	var records []*event.Record
	for _, r := range l.records[min(position, uint64(len(l.records))):] {
		if len(records) == maxEvents || maxBytes <= 0 {
			break
		}
		records = append(records, r)
		maxBytes -= r.Size()
	}
	return records, nil
}

func (l *memoryLog) Follow(ctx context.Context, position uint64, deliver func(*event.Record)) error {
	l.mu.Lock()
	l.follows = append(l.follows, position)
	l.mu.Unlock()
	for {
		l.mu.Lock()
		err, changed := l.follow, l.changed
		next := l.records[max(position, l.removed):]
		l.mu.Unlock()
		if err != nil {
			return err
		}
		for _, r := range next {
			deliver(r)
			position = r.Sequence
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// record makes the record of an event of a channel, with text of a size.
func record(sequence uint64, channel string, size int) *event.Record {
	stored, err := event.Marshal(&ongairv1.Event{
		Id: fmt.Sprint(sequence), Channel: channel, NotificationType: "MessageReceived",
		Payload: &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Text: strings.Repeat("x", size)}},
	})
	if err != nil {
		panic(err)
	}
	r, err := event.NewRecord(sequence, stored, fmt.Sprintf("cursor %d", sequence))
	if err != nil {
		panic(err)
	}
	return r
}

func records(first, last int) []*event.Record {
	var all []*event.Record
	for i := first; i <= last; i++ {
		all = append(all, record(uint64(i), "support", 0))
	}
	return all
}

func sequences(records []*event.Record) []uint64 {
	all := make([]uint64, 0, len(records))
	for _, r := range records {
		all = append(all, r.Sequence)
	}
	return all
}

func only(channels ...string) event.Filter {
	return event.NewFilter(&ongairv1.SubscribeRequest{Channels: channels})
}

// running runs test with a Fanout over log, in virtual time.
func running(t *testing.T, log *memoryLog, ringBytes int, test func(t *testing.T, f *Fanout)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		log.changed = make(chan struct{}) // one that belongs to the virtual time
		f := New(log, Config{RingBytes: ringBytes})
		go func() { assert.NoError(t, f.Run(t.Context())) }()
		synctest.Wait()
		test(t, f)
		time.Sleep(pageTimeout) // virtual: until the pages that nobody waits for are read
	})
}

func TestRunFollowsTheLogFromItsEnd(t *testing.T) {
	log := newMemoryLog(records(1, 5)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		<-f.Ready()
		log.append("support")
		batch, err := f.NewReader(5, event.Filter{}).Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Equal(t, Batch{Records: log.records[5:], Position: 6}, batch)
		assert.Equal(t, []uint64{5}, log.follows)
		assert.Zero(t, log.reads)
	})
}

func TestALogThatFailsIsFollowedFromWhereItWas(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "support")
		synctest.Wait()
		log.fail(errors.New("away"))
		log.append("support")
		time.Sleep(4 * retryDelay) // virtual
		log.fail(nil)
		start := time.Now()
		reader := f.NewReader(2, event.Filter{})
		batch, err := reader.Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Equal(t, []uint64{3}, sequences(batch.Records))
		assert.LessOrEqual(t, time.Since(start), retryDelay)
		log.append("support")
		batch, err = reader.Next(t.Context(), time.Minute)
		require.NoError(t, err)
		assert.Equal(t, []uint64{4}, sequences(batch.Records))

		log.mu.Lock()
		defer log.mu.Unlock()
		assert.Equal(t, uint64(0), log.follows[0])
		for _, position := range log.follows[1:] {
			assert.Equal(t, uint64(2), position)
		}
		assert.Zero(t, log.reads, "the ring has it all")
	})
}

func TestALogThatFailsAtTheStartMakesReadyLate(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	log.newest = errors.New("away")
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		time.Sleep(10 * retryDelay) // virtual
		select {
		case <-f.Ready():
			require.Fail(t, "ready without a log")
		default:
		}
		log.change(func() { log.newest = nil })
		start := time.Now()
		<-f.Ready()
		assert.LessOrEqual(t, time.Since(start), retryDelay)
		assert.Equal(t, uint64(3), f.head())
	})
}

func TestAReaderThatIsThereBeforeRunMissesNothingAndDoesNotWaitForANewEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(records(1, 3)...)
		f := New(log, Config{})
		batches := make(chan Batch)
		start := time.Now()
		go func() {
			batch, err := f.NewReader(1, event.Filter{}).Next(t.Context(), time.Minute)
			assert.NoError(t, err)
			batches <- batch
		}()
		synctest.Wait()
		go func() { assert.NoError(t, f.Run(t.Context())) }()
		batch := <-batches
		assert.Equal(t, []uint64{2, 3}, sequences(batch.Records))
		assert.Zero(t, time.Since(start))
	})
}

func TestRunEndsWithItsContextWhateverTheLogDoes(t *testing.T) {
	for name, spoil := range map[string]func(*memoryLog){
		"a log that works":       func(*memoryLog) {},
		"a log that is away":     func(l *memoryLog) { l.newest = errors.New("away") },
		"a log that always ends": func(l *memoryLog) { l.follow = errors.New("away") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newMemoryLog()
				spoil(log)
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error)
				go func() { ended <- New(log, Config{}).Run(ctx) }()
				synctest.Wait()
				cancel()
				start := time.Now()
				require.NoError(t, <-ended)
				assert.Zero(t, time.Since(start))
			})
		})
	}
}
