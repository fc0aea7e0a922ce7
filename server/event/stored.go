package event

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// storedChecksum is the number of the field behind a stored event, reserved in
// the proto: a fixed32 with the CRC-32C of all bytes before it. So what the log
// holds is a protobuf message that any tool can read.
const (
	storedChecksum protowire.Number = 1000
	checksumBytes                   = 2 + 4 // its tag and its value
)

// ErrNotAnEvent is what Verify answers for bytes that Marshal did not make.
var ErrNotAnEvent = errors.New("not an event that the gateway stored")

// Marshal returns the event as the log stores it: without a cursor, whatever e
// has there, and with a checksum. It fails for an event that subscribers could
// not decode, which is one with text that is not UTF-8.
func Marshal(e *ongairv1.Event) ([]byte, error) {
	if e.GetCursor() != "" {
		e = proto.CloneOf(e)
		e.Cursor = ""
	}
	stored, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 0, proto.Size(e)+checksumBytes), e)
	if err != nil {
		return nil, fmt.Errorf("event %s does not marshal: %w", e.GetId(), err)
	}
	sum := crc32.Checksum(stored, castagnoli())
	stored = protowire.AppendTag(stored, storedChecksum, protowire.Fixed32Type)
	return protowire.AppendFixed32(stored, sum), nil
}

// Verify returns the encoded event in what the log stores, and its checksum. It accepts what
// Marshal made and nothing else, at a hundredth of the price of decoding it. The event is a
// part of stored.
func Verify(stored []byte) (event []byte, checksum uint32, err error) {
	end := len(stored) - checksumBytes
	if end <= 0 {
		return nil, 0, ErrNotAnEvent
	}
	event = stored[:end:end]
	number, kind, n := protowire.ConsumeTag(stored[end:])
	if n != checksumBytes-4 || number != storedChecksum || kind != protowire.Fixed32Type {
		return nil, 0, ErrNotAnEvent
	}
	checksum = binary.LittleEndian.Uint32(stored[end+n:])
	if checksum != crc32.Checksum(event, castagnoli()) {
		return nil, 0, ErrNotAnEvent
	}
	return event, checksum, nil
}

// ReceiveTime returns when an encoded event was received, as Verify returns the event,
// without decoding the rest. It is 1970-01-01 for an event without a time.
func ReceiveTime(event []byte) (time.Time, error) {
	var received timestamppb.Timestamp
	err := eachBytes(event, 0, func(number protowire.Number, value span) error {
		if number != eventReceiveTime {
			return nil
		}
		return proto.Unmarshal(event[value.start:value.end], &received)
	})
	return received.AsTime(), err
}

// castagnoli is the polynomial that processors have an instruction for.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }
