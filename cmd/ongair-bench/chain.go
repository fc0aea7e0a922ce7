package main

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// link is an event of the bare server, encoded once for all streams.
type link struct {
	// record is the event as an element of SubscribeResponse.events, cursor the
	// response's own one, frame both: a whole response. They are interfaces here,
	// since making one of a slice costs an allocation.
	record, cursor mem.Buffer
	frame          mem.BufferSlice

	// In a contiguous chain there is no frame, and the record is chunk[start:end],
	// with its neighbours before and behind.
	chunk      []byte
	start, end int

	next atomic.Pointer[link]
	// linked is closed once next is set.
	linked chan struct{}
}

// chain is the events of the bare server: a linked list that streams walk at their
// own pace, without a lock. What all of them have passed, and the chain has let go
// of, is garbage.
type chain struct {
	// contiguous has the records in chunks, where neighbours lie end to end.
	contiguous bool
	maxBytes   int

	mu     sync.Mutex
	oldest *link // before the oldest event that new streams can have
	newest *link
	bytes  int
	chunk  []byte // the newest one, as far as it is used
}

// chunkBytes is the size of a chunk.
const chunkBytes = 256 << 10

func newChain(maxBytes int, contiguous bool) *chain {
	origin := &link{linked: make(chan struct{})}
	return &chain{oldest: origin, newest: origin, maxBytes: maxBytes, contiguous: contiguous}
}

// Field numbers of what the bare server makes: responses with a cursor as long as
// the gateway's, and events that are a body as it was posted, which comes to the
// gateway's size.
const (
	fieldEvents         protowire.Number = 1
	fieldResponseCursor protowire.Number = 2
	fieldRawBody        protowire.Number = 10
	fieldContent        protowire.Number = 2

	bareCursor = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// add makes an event of a body and wakes the streams.
func (c *chain) add(body []byte) {
	content := protowire.AppendBytes(protowire.AppendTag(nil, fieldContent, protowire.BytesType), body)
	e := protowire.AppendBytes(protowire.AppendTag(nil, fieldRawBody, protowire.BytesType), content)
	frame := protowire.AppendBytes(protowire.AppendTag(nil, fieldEvents, protowire.BytesType), e)
	size := len(frame)
	frame = protowire.AppendString(protowire.AppendTag(frame, fieldResponseCursor, protowire.BytesType), bareCursor)
	l := &link{cursor: mem.SliceBuffer(frame[size:]), linked: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.contiguous {
		c.place(l, frame[:size])
	} else {
		l.record = mem.SliceBuffer(frame[:size:size])
		l.frame = mem.BufferSlice{mem.SliceBuffer(frame)}
	}
	c.newest.next.Store(l)
	close(c.newest.linked)
	c.newest = l
	for c.bytes += size; c.bytes > c.maxBytes; {
		c.oldest = c.oldest.next.Load()
		c.bytes -= c.oldest.record.Len()
	}
}

// place puts a record behind the one before it, where there is room.
func (c *chain) place(l *link, record []byte) {
	if len(c.chunk)+len(record) > cap(c.chunk) {
		c.chunk = make([]byte, 0, max(chunkBytes, len(record)))
	}
	l.start = len(c.chunk)
	c.chunk = append(c.chunk, record...)
	l.end = len(c.chunk)
	l.chunk = c.chunk[:cap(c.chunk)]
	l.record = mem.SliceBuffer(l.chunk[l.start:l.end:l.end])
}

// ends returns the links before the first event and at the last one.
func (c *chain) ends() (oldest, newest *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.oldest, c.newest
}

// adjoins reports whether the record of l lies right behind that of before.
func (l *link) adjoins(before *link) bool {
	return l.chunk != nil && before.chunk != nil && &l.chunk[0] == &before.chunk[0] && l.start == before.end
}
