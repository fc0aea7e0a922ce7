package main

import (
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// link is an event of the bare server, encoded once for all streams.
type link struct {
	// record is the event as an element of SubscribeResponse.events. cursor is the cursor field of
	// the response. frame is the whole response. They are stored as mem.Buffer because converting a
	// slice to the interface allocates.
	record, cursor mem.Buffer
	frame          mem.BufferSlice

	// In a contiguous chain, frame is nil and record is chunk[start:end]. Records are next to each
	// other in the chunk.
	chunk      []byte
	start, end int

	next atomic.Pointer[link]
	// linked is closed once next is set.
	linked chan struct{}
}

// chain holds the events of the bare server: a linked list that each stream walks without a lock.
// An event becomes garbage when the chain has dropped it (maxBytes) and all streams have passed it.
type chain struct {
	// contiguous means that records are next to each other in chunks of chunkBytes.
	contiguous bool
	maxBytes   int // of the records that new streams can read

	mu     sync.Mutex
	oldest *link // precedes the oldest event that a new stream can read
	newest *link
	bytes  int    // of the records after oldest
	chunk  []byte // the used part of the newest chunk
}

// chunkBytes is the size of a chunk.
const chunkBytes = 256 << 10

func newChain(maxBytes int, contiguous bool) *chain {
	origin := &link{linked: make(chan struct{})}
	return &chain{oldest: origin, newest: origin, maxBytes: maxBytes, contiguous: contiguous}
}

// Field numbers of the bare server's responses. The cursor is as long as the gateway's. An event
// holds the posted body, and is about as large as the gateway's.
const (
	fieldEvents         protowire.Number = 1
	fieldResponseCursor protowire.Number = 2
	fieldRawBody        protowire.Number = 10
	fieldContent        protowire.Number = 2

	bareCursor = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
)

// add creates an event from a body and wakes the streams.
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
		c.appendRecord(l, frame[:size])
	} else {
		l.record = mem.SliceBuffer(frame[:size:size])
		l.frame = mem.BufferSlice{mem.SliceBuffer(frame)}
	}
	c.push(l)
}

// push appends a link and wakes the streams. c.mu MUST be held.
func (c *chain) push(l *link) {
	c.newest.next.Store(l)
	close(c.newest.linked)
	c.newest = l
	for c.bytes += l.record.Len(); c.bytes > c.maxBytes; {
		c.oldest = c.oldest.next.Load()
		c.bytes -= c.oldest.record.Len()
	}
}

// appendRecord appends a record to the newest chunk, or to a new one if there is no room.
func (c *chain) appendRecord(l *link, record []byte) {
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

// adjoins reports whether the record of l directly follows that of before.
func (l *link) adjoins(before *link) bool {
	return l.chunk != nil && before.chunk != nil && &l.chunk[0] == &before.chunk[0] && l.start == before.end
}
