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

// Tags of SubscribeResponse, which never change: field number and wire type.
const (
	tagEvents  = 1<<3 | 2
	tagCursor  = 2<<3 | 2
	tagPending = 3 << 3
)

// tally is what the load wants to know of a response.
type tally struct {
	// sampled says whether to look into the events.
	sampled bool
	// since is when the events that are looked into were sent, at the earliest.
	since *atomic.Int64

	// events is how many there were in the last response.
	events int64
	// latencies of all sampled events, until someone takes them.
	latencies []time.Duration
}

// countingCodec is protobuf for requests, and counts the events of a response
// without decoding them, so that a thousand streams cost as little as they can.
type countingCodec struct {
	encoding.CodecV2
}

// Unmarshal counts into a *tally.
func (c countingCodec) Unmarshal(data mem.BufferSlice, v any) error {
	t, ok := v.(*tally)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	if t.sampled {
		now, since := time.Now().UnixNano(), t.since.Load()
		eachStamp(data.Materialize(), func(sent int64) {
			if sent >= since {
				t.latencies = append(t.latencies, time.Duration(now-sent))
			}
		})
	}
	var err error
	t.events, err = countEvents(data)
	return err
}

// countEvents returns how many events an encoded SubscribeResponse has.
func countEvents(data mem.BufferSlice) (events int64, err error) {
	r := data.Reader()
	defer func() { _ = r.Close() }() // gives up references, never fails
	for {
		tag, err := r.ReadByte()
		if errors.Is(err, io.EOF) {
			return events, nil
		}
		if err != nil {
			return events, err
		}
		value, err := readVarint(r)
		if err != nil {
			return events, err
		}
		switch tag {
		case tagEvents:
			events++
			_, err = r.Discard(int(value))
		case tagCursor:
			_, err = r.Discard(int(value))
		case tagPending:
		default:
			err = fmt.Errorf("a response has an unknown tag %d", tag)
		}
		if err != nil {
			return events, err
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
	return 0, errors.New("a varint is too long")
}
