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

// tally has the facts of a response that the load needs.
type tally struct {
	// sampled means that the times in the events are read.
	sampled bool
	// since is the earliest time of the events that are read.
	since *atomic.Int64

	// events is the number of events in the last response.
	events int64
	// latencies are those of all sampled events since they were last taken.
	latencies []time.Duration
}

// countingCodec encodes requests as protobuf and counts the events of responses without
// decoding them, so that a thousand streams cost little.
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
	defer func() { _ = r.Close() }() // never fails
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
