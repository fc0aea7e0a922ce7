package fanout

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errExpired = errors.New("expired")

// memoryLog is a Log in memory that can be made to fail.
type memoryLog struct {
	mu      sync.Mutex
	records []event.Entry
	// removed is the sequence of the last event that retention removed.
	removed uint64
	changed chan struct{}
	// newest and follow, if not nil, are the errors of Newest and Follow.
	newest, follow error
	// warm is the number of events that Newest goes back.
	warm int
	// replaced is the next result of Renew.
	replaced bool
	// replicated disables the search of ReadMatching.
	replicated bool
	// read, if not nil, is called at the start of Read.
	read func(context.Context)
	// reads, matching and seeks count the calls of Read, ReadMatching and Seek. follows has the
	// positions of the calls of Follow.
	reads, matching, seeks int
	follows                []uint64
}

func newMemoryLog(records ...event.Entry) *memoryLog {
	return &memoryLog{records: records, changed: make(chan struct{})}
}

// change calls change with the log locked and then wakes its followers.
func (l *memoryLog) change(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

// append appends an event for each of the channels.
func (l *memoryLog) append(channels ...string) {
	l.change(func() {
		for _, channel := range channels {
			l.records = append(l.records, record(uint64(len(l.records)+1), channel, 0))
		}
	})
}

// fail ends every current and later Follow with err. A nil err ends the failure.
func (l *memoryLog) fail(err error) { l.change(func() { l.follow = err }) }

func (l *memoryLog) Newest(context.Context, int) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.records) - l.warm), l.newest
}

// Renew reports replaced once.
func (l *memoryLog) Renew(context.Context, string) (replaced bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	replaced, l.replaced = l.replaced, false
	return replaced, nil
}

func (l *memoryLog) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.records))
}

func (l *memoryLog) ReadMatching(_ context.Context, position uint64, channel, notificationType string, maxEvents, _ int) (event.Segment, uint64, error) {
	if l.replicated {
		time.Sleep(time.Millisecond) // virtual: without it, a caller that only retries would never end
		return event.Segment{}, position, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.matching++
	if position < l.removed {
		return event.Segment{}, position, errExpired
	}
	req := &ongairv1.SubscribeRequest{}
	if channel != "" {
		req.Channels = []string{channel}
	}
	if notificationType != "" {
		req.NotificationTypes = []string{notificationType}
	}
	filter := event.NewFilter(req)
	var matching []event.Entry
	for _, e := range l.records[min(position, uint64(len(l.records))):] {
		if len(matching) == maxEvents {
			return segment(matching...), matching[len(matching)-1].Sequence, nil
		}
		if filter.Count(segment(e)) == 1 {
			matching = append(matching, e)
		}
	}
	return segment(matching...), max(position, uint64(len(l.records))), nil
}

func (l *memoryLog) Read(ctx context.Context, position uint64, maxEvents, maxBytes int) (event.Segment, error) {
	if l.read != nil {
		l.read(ctx)
	}
	if err := ctx.Err(); err != nil {
		return event.Segment{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if position < l.removed {
		return event.Segment{}, errExpired
	}
	var read []event.Entry
	for _, e := range l.records[min(position, uint64(len(l.records))):] {
		if len(read) == maxEvents || maxBytes <= 0 {
			break
		}
		read = append(read, e)
		maxBytes -= e.Size()
	}
	return segment(read...), nil
}

// Cursor returns the decimal position.
func (l *memoryLog) Cursor(position uint64) string { return fmt.Sprint(position) }

func (l *memoryLog) CursorOf(_ context.Context, position uint64) (string, error) {
	return fmt.Sprint(position), nil
}

func (l *memoryLog) Reach(_ context.Context, position uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if position < l.removed {
		return errExpired
	}
	return l.follow // a log that cannot be followed cannot be queried either
}

func (l *memoryLog) Earliest(context.Context) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.removed, nil
}

func (l *memoryLog) Latest(context.Context) (uint64, error) { return l.Head(), nil }

// SeekTime treats the seconds since 1970 as the sequence of an event.
func (l *memoryLog) SeekTime(_ context.Context, t time.Time) (uint64, error) {
	return uint64(t.Unix()) - 1, nil
}

func (l *memoryLog) Position(cursor string) (uint64, error) { return strconv.ParseUint(cursor, 10, 64) }

func (l *memoryLog) Seek(_ context.Context, cursor string) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seeks++
	return l.Position(cursor)
}

func (l *memoryLog) Follow(ctx context.Context, position uint64, caughtUp func(), deliver func(event.Entry)) error {
	l.mu.Lock()
	l.follows = append(l.follows, position)
	if l.follow == nil && position == uint64(len(l.records)) {
		caughtUp()
	}
	l.mu.Unlock()
	for {
		l.mu.Lock()
		err, changed := l.follow, l.changed
		if err != nil {
			l.mu.Unlock()
			return err
		}
		next := l.records[max(position, l.removed):]
		l.mu.Unlock()
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

// record returns an event of a channel with a text of size bytes.
func record(sequence uint64, channel string, size int) event.Entry {
	stored, err := event.Marshal(&ongairv1.Event{
		Id: fmt.Sprint(sequence), Channel: channel, NotificationType: "MessageReceived",
		Payload: &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Text: strings.Repeat("x", size)}},
	})
	if err != nil {
		panic(err)
	}
	encoded, _, err := event.Verify(stored)
	if err != nil {
		panic(err)
	}
	return event.Entry{Sequence: sequence, Event: encoded, Cursor: fmt.Sprint(sequence)}
}

func records(first, last int) []event.Entry {
	var all []event.Entry
	for i := first; i <= last; i++ {
		all = append(all, record(uint64(i), "support", 0))
	}
	return all
}

func segment(entries ...event.Entry) event.Segment {
	s, err := event.SegmentOf(entries)
	if err != nil {
		panic(err)
	}
	return s
}

// batch is a decoded response.
type batch struct {
	sequences         []uint64
	position, pending uint64
}

func read(t *testing.T, response *event.Response) batch {
	t.Helper()
	message := &ongairv1.SubscribeResponse{}
	require.NoError(t, proto.Unmarshal(response.Buffers().Materialize(), message))
	b := batch{sequences: []uint64{}, pending: uint64(message.GetPending())}
	for _, e := range message.GetEvents() {
		assert.Equal(t, e.GetId(), e.GetCursor())
		sequence, err := strconv.ParseUint(e.GetId(), 10, 64)
		require.NoError(t, err)
		b.sequences = append(b.sequences, sequence)
	}
	var err error
	b.position, err = strconv.ParseUint(message.GetCursor(), 10, 64)
	require.NoError(t, err)
	return b
}

// next reads one batch.
func next(t *testing.T, r *Reader, idle time.Duration) batch {
	t.Helper()
	response, err := r.Next(idle)
	require.NoError(t, err)
	return read(t, response)
}

// reader returns a Reader that is closed when the test ends.
func reader(t *testing.T, f *Fanout, position uint64, filter event.Filter) *Reader {
	t.Helper()
	r := f.NewReader(t.Context(), position, filter)
	t.Cleanup(r.Close)
	return r
}

func sequences(entries []event.Entry) []uint64 {
	all := make([]uint64, 0, len(entries))
	for _, e := range entries {
		all = append(all, e.Sequence)
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
		log.changed = make(chan struct{}) // a channel made inside the bubble
		f := New(log, Config{RingBytes: ringBytes})
		go func() { assert.NoError(t, f.Run(t.Context())) }()
		synctest.Wait()
		test(t, f)
		time.Sleep(pageTimeout) // virtual: until pages without a waiting reader are read
	})
}

func TestRunFollowsTheLogFromItsEnd(t *testing.T) {
	log := newMemoryLog(records(1, 5)...)
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		<-f.Ready()
		log.append("support")
		assert.Equal(t, batch{sequences: []uint64{6}, position: 6}, next(t, reader(t, f, 5, event.Filter{}), time.Minute))
		assert.Equal(t, []uint64{5}, log.follows)
		assert.Zero(t, log.reads)
	})
}

func TestAFollowerResumesAfterALogFailure(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "support")
		synctest.Wait()
		log.fail(errors.New("unavailable"))
		log.append("support")
		time.Sleep(4 * retryDelay) // virtual
		log.fail(nil)
		start := time.Now()
		r := reader(t, f, 2, event.Filter{})
		assert.Equal(t, []uint64{3}, next(t, r, time.Minute).sequences)
		assert.LessOrEqual(t, time.Since(start), retryDelay)
		log.append("support")
		assert.Equal(t, []uint64{4}, next(t, r, time.Minute).sequences)

		log.mu.Lock()
		defer log.mu.Unlock()
		assert.Equal(t, uint64(0), log.follows[0])
		for _, position := range log.follows[1:] {
			assert.Equal(t, uint64(2), position)
		}
		assert.Zero(t, log.reads, "all events must come from the ring")
	})
}

func TestALogFailureAtTheStartDelaysReady(t *testing.T) {
	log := newMemoryLog(records(1, 3)...)
	log.newest = errors.New("unavailable")
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
		assert.Equal(t, uint64(3), f.tail.Load().head)
	})
}

func TestAReaderThatStartsBeforeRunMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newMemoryLog(records(1, 3)...)
		f := New(log, Config{})
		responses := make(chan *event.Response)
		start := time.Now()
		go func() {
			response, err := reader(t, f, 1, event.Filter{}).Next(time.Minute)
			assert.NoError(t, err)
			responses <- response
		}()
		synctest.Wait()
		go func() { assert.NoError(t, f.Run(t.Context())) }()
		assert.Equal(t, []uint64{2, 3}, read(t, <-responses).sequences)
		assert.Zero(t, time.Since(start))
	})
}

func TestRunEndsWithItsContext(t *testing.T) {
	for name, spoil := range map[string]func(*memoryLog){
		"a log that works":          func(*memoryLog) {},
		"a log that is unavailable": func(l *memoryLog) { l.newest = errors.New("unavailable") },
		"a log that always ends":    func(l *memoryLog) { l.follow = errors.New("unavailable") },
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

func TestAPositionOfTheRingIsFoundWithoutTheLog(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support", "support", "support")
		synctest.Wait()
		for position := range uint64(4) {
			found, err := f.seek(t.Context(), fmt.Sprint(position))
			require.NoError(t, err)
			assert.Equal(t, position, found)
		}
		assert.Equal(t, 1, log.seeks, "only for the position before all events")
		_, err := f.seek(t.Context(), "none")
		require.Error(t, err)
		log.change(func() { log.removed = 2 })
		_, err = f.seek(t.Context(), "1")
		require.ErrorIs(t, err, errExpired, "a removed event must not be served from memory")
	})
}

func TestPendingIncludesEventsThatTheRingLacks(t *testing.T) {
	log := newMemoryLog()
	running(t, log, 0, func(t *testing.T, f *Fanout) {
		log.append("support")
		synctest.Wait()
		log.fail(errors.New("unavailable"))
		log.append("support", "support")
		assert.Equal(t, batch{sequences: []uint64{}, position: 1, pending: 2}, next(t, reader(t, f, 1, event.Filter{}), 0))
		log.fail(nil)
	})
}

func TestReadersOfAReplacedLogEnd(t *testing.T) {
	log := newMemoryLog(records(1, 2*pageEvents)...)
	running(t, log, 1<<10, func(t *testing.T, f *Fanout) {
		waits := f.NewReader(t.Context(), 2*pageEvents, event.Filter{})
		defer waits.Close()
		pages := f.NewReader(t.Context(), 0, event.Filter{})
		defer pages.Close()
		next(t, pages, time.Minute)
		lists := f.NewReader(t.Context(), 2*pageEvents, event.Filter{})
		defer lists.Close()
		ended := make(chan error, 2)
		go func() {
			_, err := waits.Next(time.Hour)
			ended <- err
		}()
		go func() {
			_, err := lists.List(&event.Page{MaxEvents: 10, MaxBytes: 1 << 20}, time.Hour, 2*time.Hour)
			ended <- err
		}()
		synctest.Wait()

		log.change(func() {
			log.records = []event.Entry{record(1, "other", 0)}
			log.replaced, log.follow = true, errors.New("lost")
		})
		synctest.Wait()
		log.fail(nil)
		for range 2 {
			assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_LOG_REPLACED, fault.From(<-ended).Reason)
		}
		_, err := pages.Next(time.Minute)
		assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_LOG_REPLACED, fault.From(err).Reason)

		after := f.NewReader(t.Context(), 0, event.Filter{})
		defer after.Close()
		response, err := after.Next(time.Minute)
		require.NoError(t, err)
		assert.Equal(t, []uint64{1}, read(t, response).sequences, "neither the ring nor a page has old events")
		assert.EqualValues(t, 1, after.Position())
		log.append("other")
		assert.Equal(t, []uint64{2}, next(t, after, time.Minute).sequences)
	})
}
