package event

import (
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Record is an event of the log, encoded for subscribers. It is immutable, and
// shared by every stream that sends it.
type Record struct {
	// Sequence is the event's position in the log.
	Sequence uint64
	// wire is one element of SubscribeResponse.events: tag, length, Event.
	wire []byte
	// buffer is wire as gRPC takes it, made once because it is sent often.
	buffer mem.Buffer
	// What filters compare, each a part of wire.
	channel, notificationType, externalID, conversationID []byte
}

// Field numbers of ongair.v1, which never change once published; a test compares
// them with the descriptors.
const (
	responseEvents  protowire.Number = 1
	responseCursor  protowire.Number = 2
	responsePending protowire.Number = 3

	eventCursor           protowire.Number = 2
	eventChannel          protowire.Number = 3
	eventNotificationType protowire.Number = 5
	eventContact          protowire.Number = 7
	eventConversationID   protowire.Number = 8

	contactExternalID protowire.Number = 1
)

// NewRecord makes the record of an event that the log stores as stored, at
// sequence, with the cursor right after it. It fails where stored is not an
// event: one that subscribers could not decode, or without an id.
func NewRecord(sequence uint64, stored []byte, cursor string) (*Record, error) {
	var e ongairv1.Event
	if err := proto.Unmarshal(stored, &e); err != nil {
		return nil, fmt.Errorf("the log's entry %d is not an event: %w", sequence, err)
	}
	if e.GetId() == "" {
		return nil, fmt.Errorf("the log's entry %d is not an event: it has no id", sequence)
	}
	size := len(stored) + protowire.SizeTag(eventCursor) + protowire.SizeBytes(len(cursor))
	wire := make([]byte, 0, protowire.SizeTag(responseEvents)+protowire.SizeBytes(size))
	wire = protowire.AppendTag(wire, responseEvents, protowire.BytesType)
	wire = protowire.AppendVarint(wire, uint64(size))
	body := len(wire)
	wire = append(wire, stored...)
	wire = protowire.AppendTag(wire, eventCursor, protowire.BytesType)
	wire = protowire.AppendString(wire, cursor)

	r := &Record{Sequence: sequence, wire: wire, buffer: mem.SliceBuffer(wire)}
	err := eachBytes(wire[body:], func(number protowire.Number, value []byte) error {
		switch number {
		case eventChannel:
			r.channel = value
		case eventNotificationType:
			r.notificationType = value
		case eventConversationID:
			r.conversationID = value
		case eventContact:
			return eachBytes(value, func(number protowire.Number, value []byte) error {
				if number == contactExternalID {
					r.externalID = value
				}
				return nil
			})
		default:
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("the log's entry %d is not an event: %w", sequence, err)
	}
	return r, nil
}

// Size is what the record takes in memory and in a response, in bytes.
func (r *Record) Size() int { return len(r.wire) }

// eachBytes calls f for every length-delimited field of a message.
func eachBytes(message []byte, f func(protowire.Number, []byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		message = message[n:]
		if kind != protowire.BytesType {
			n = protowire.ConsumeFieldValue(number, kind, message)
			if n < 0 {
				return protowire.ParseError(n)
			}
			message = message[n:]
			continue
		}
		value, n := protowire.ConsumeBytes(message)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if err := f(number, value); err != nil {
			return err
		}
		message = message[n:]
	}
	return nil
}
