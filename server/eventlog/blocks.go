package eventlog

import (
	"context"
	"sync"
	"time"

	"github.com/ongair/ongair-gateway/server/storage"
)

// The sequences of the log are divided into blocks. A Log remembers of each block that a
// search for a time looked at when its first and its latest event were received. So the
// events of a busy minute are read once, and not by each of many subscribers.
//
// A block that is complete does not change, unless the log is replaced by an older copy that
// grows on. So the checksum of an event is remembered beside the times: if the event is still
// there, so is all that was before it.
const (
	// blockEvents is how many sequences a block has. To search a block takes about 1 ms.
	blockEvents = 256
	// blockBytes bounds what is read at once.
	blockBytes = 1 << 20
	// maxBlocks bounds how many blocks are remembered, in about 10 MB.
	maxBlocks = 1 << 16
)

// blockOf returns the number of the block of a sequence.
func blockOf(sequence uint64) uint64 { return (sequence - 1) / blockEvents }

// firstOf returns the first sequence of a block.
func firstOf(number uint64) uint64 { return number*blockEvents + 1 }

// mark identifies an event in the histories of a log; the zero value is none.
type mark struct {
	sequence uint64
	checksum uint32
}

// moment is an event, and a time that has to do with it.
type moment struct {
	mark
	received time.Time
}

// startOf returns the first event from the beginning of a block on. ok is false if the
// replica that was asked has none.
func (l *Log) startOf(ctx context.Context, number uint64) (start moment, ok bool, err error) {
	return l.starts.get(ctx, number, func() (start moment, ok bool, err error) {
		next := firstOf(number)
		// Almost always the first entry is an event.
		for entries := 1; ; entries = blockEvents {
			from := next
			err := l.readRun(ctx, from, entries, func(sequence uint64, data []byte) bool {
				next = sequence + 1
				start, ok = momentOf(sequence, data)
				return !ok
			})
			if err != nil || ok || next == from {
				return start, ok, err
			}
		}
	})
}

// latestOf returns the last event of a block, with the time when the latest of all its events
// was received; the zero value for a block without events. ok is false if the replica that
// was asked does not have the whole block.
func (l *Log) latestOf(ctx context.Context, number uint64) (latest moment, ok bool, err error) {
	return l.latest.get(ctx, number, func() (latest moment, ok bool, err error) {
		next, end := firstOf(number), firstOf(number+1)
		for next < end {
			from := next
			err := l.readRun(ctx, from, int(end-from), func(sequence uint64, data []byte) bool {
				next = sequence + 1
				if e, isEvent := momentOf(sequence, data); isEvent && sequence < end {
					latest.mark = e.mark
					if e.received.After(latest.received) {
						latest.received = e.received
					}
				}
				return next < end
			})
			if err != nil || next == from {
				return moment{}, false, err
			}
		}
		return latest, true, nil
	})
}

// readRun calls each with the entries from a sequence on, until it returns false: so many or
// fewer.
func (l *Log) readRun(ctx context.Context, from uint64, entries int, each func(sequence uint64, data []byte) bool) error {
	req := storage.ReadRequest{From: from, MaxMessages: entries, MaxBytes: blockBytes, Bare: true}
	run := make([][]byte, 0, entries)
	end, err := l.read(ctx, req, func(_ uint64, data []byte) bool {
		run = append(run, data)
		return true
	})
	if err != nil || len(run) == 0 {
		return err
	}
	if end.Last-from+1 != uint64(len(run)) {
		// Sequences are missing, so they have to be read, too. That takes twice as long.
		req.Bare = false
		_, err := l.read(ctx, req, each)
		return err
	}
	for i, data := range run {
		if !each(from+uint64(i), data) {
			break
		}
	}
	return nil
}

// memo remembers a value for each of many blocks. Its methods are safe for concurrent use.
type memo struct {
	// reading is held while a value is read, so that each is read once.
	reading chan struct{}

	mu    sync.Mutex
	known map[uint64]moment
}

func newMemo() memo {
	return memo{reading: make(chan struct{}, 1), known: map[uint64]moment{}}
}

// get returns the value of a block. If it is not known it is read, and remembered if read
// says that it is complete.
func (m *memo) get(ctx context.Context, number uint64, read func() (value moment, complete bool, err error)) (moment, bool, error) {
	if value, ok := m.look(number); ok {
		return value, true, nil
	}
	select {
	case m.reading <- struct{}{}:
		defer func() { <-m.reading }()
	case <-ctx.Done():
		return moment{}, false, unavailable("read", ctx.Err())
	}
	if value, ok := m.look(number); ok {
		return value, true, nil
	}
	value, complete, err := read()
	if err == nil && complete {
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.known) == maxBlocks {
			clear(m.known)
		}
		m.known[number] = value
	}
	return value, complete, err
}

func (m *memo) look(number uint64) (moment, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.known[number]
	return value, ok
}

func (m *memo) clear() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.known)
}
