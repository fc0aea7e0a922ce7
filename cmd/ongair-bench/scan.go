package main

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
)

// Tags of SubscribeResponse and ListEventsResponse, which have the same fields: field number and wire
// type. They never change.
const (
	tagEvents  = 1<<3 | 2
	tagCursor  = 2<<3 | 2
	tagPending = 3 << 3
)

// tally receives the facts of a response that the load needs.
type tally struct {
	// sampled means that latencies are measured.
	sampled bool
	// since is the earliest sending time of the events that are sampled, in Unix nanoseconds.
	since *atomic.Int64

	// events is the number of events in the last response. cursor and pending are its other fields.
	events  int64
	cursor  []byte
	pending uint64
	// latencies has the latencies of all sampled events so far.
	latencies []time.Duration
}

// countingCodec encodes requests as protobuf. It counts the events of responses without decoding
// them, so that a thousand streams cost little.
type countingCodec struct {
	encoding.CodecV2
}

// Unmarshal counts the events of data if v is a *tally.
func (c countingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	t, ok := v.(*tally)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if t.sampled {
		t.sample(data.Materialize())
	}
	return t.scan(data)
}

// sample adds the latency of each event in encoded events.
func (t *tally) sample(encoded []byte) {
	now, since := time.Now().UnixNano(), t.since.Load()
	eachStamp(encoded, func(sent int64) {
		if sent >= since {
			t.latencies = append(t.latencies, time.Duration(now-sent))
		}
	})
}

// scan reads an encoded response.
func (t *tally) scan(data mem.BufferSlice) error {
	t.events, t.cursor, t.pending = 0, t.cursor[:0], 0
	r := data.Reader()
	defer func() { _ = r.Close() }() // never fails
	for {
		tag, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		value, err := readVarint(r)
		if err != nil {
			return err
		}
		switch tag {
		case tagEvents:
			t.events++
			_, err = r.Discard(int(value))
		case tagCursor:
			if value > uint64(r.Remaining()) {
				return io.ErrUnexpectedEOF
			}
			t.cursor = append(t.cursor, make([]byte, value)...)
			_, err = io.ReadFull(r, t.cursor)
		case tagPending:
			t.pending = value
		default:
			err = fmt.Errorf("unknown tag %d in a response", tag)
		}
		if err != nil {
			return err
		}
	}
}

func readVarint(r io.ByteReader) (value uint64, err error) {
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.ReadByte()
		if err != nil {
			return 0, err
		}
		value |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return value, nil
		}
	}
	return 0, errors.New("varint too long")
}
