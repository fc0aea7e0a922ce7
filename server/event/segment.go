package event

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Segment has consecutive events of the log, encoded for subscribers. The records of its events
// are next to each other, in the order of the log. Beside them are the fields that filters
// compare. A record is one element of SubscribeResponse.events, so any run of records is a part
// of a response.
//
// A Segment is an immutable value like a slice. Append returns a longer one that may share its
// memory. Other goroutines may read a Segment while one goroutine appends to it. Only the
// longest Segment MUST be appended to.
type Segment struct {
	wire    []byte
	records []record
}

// record has the place of an event in the wire of its segment, and of the fields that filters
// compare.
type record struct {
	sequence uint64
	// cursor is the place of the event's last field, its cursor.
	start, cursor, end uint32

	channel, notificationType, externalID, conversationID span
	// documented is the documented type, or unspecified.
	documented ongairv1.EventType
	// text has the event as REST streams send it, once one of them has needed it.
	text *text
}

// span is a part of a wire. It is empty for a missing field.
type span struct{ start, end uint32 }

// RecordOverhead is the memory of a record in addition to its bytes, in bytes. The texts of
// events are bounded by Texts.
const RecordOverhead = int(unsafe.Sizeof(record{}) + unsafe.Sizeof(text{}))

// Entry is an event of the log to be added to a segment.
type Entry struct {
	// Sequence is the event's position in the log.
	Sequence uint64
	// Event is the encoded event, as Verify returns it.
	Event []byte
	// Cursor is the position right after the event.
	Cursor string
}

// Field numbers of ongair.v1, which never change. A test compares them with the descriptors.
const (
	responseEvents  protowire.Number = 1
	responseCursor  protowire.Number = 2
	responsePending protowire.Number = 3

	// An event's cursor has the number of a response's. Response relies on that.
	eventCursor                            = responseCursor
	eventChannel          protowire.Number = 3
	eventReceiveTime      protowire.Number = 4
	eventNotificationType protowire.Number = 5
	eventContact          protowire.Number = 7
	eventConversationID   protowire.Number = 8

	contactExternalID protowire.Number = 1
)

// NewSegment returns an empty segment with room for a number of bytes.
func NewSegment(bytes int) Segment { return Segment{wire: make([]byte, 0, bytes)} }

// SegmentOf returns a segment of entries without spare memory.
func SegmentOf(entries []Entry) (Segment, error) {
	bytes := 0
	for i := range entries {
		bytes += entries[i].Size()
	}
	s := Segment{wire: make([]byte, 0, bytes), records: make([]record, 0, len(entries))}
	var err error
	for _, e := range entries {
		if s, err = s.Append(e); err != nil {
			return Segment{}, err
		}
	}
	return s, nil
}

// Size returns the bytes of the entry's record in a segment.
func (e *Entry) Size() int {
	return protowire.SizeTag(responseEvents) + protowire.SizeBytes(e.size())
}

// size returns the bytes of the event with its cursor.
func (e *Entry) size() int {
	return len(e.Event) + protowire.SizeTag(eventCursor) + protowire.SizeBytes(len(e.Cursor))
}

// Append returns the segment with one more event, which MUST come after all others. It fails if
// the entry is not an event.
func (s Segment) Append(e Entry) (Segment, error) {
	start := len(s.wire)
	wire := slices.Grow(s.wire, e.Size())
	wire = protowire.AppendTag(wire, responseEvents, protowire.BytesType)
	wire = protowire.AppendVarint(wire, uint64(e.size()))
	body := len(wire)
	wire = append(wire, e.Event...)
	cursor := len(wire)
	wire = protowire.AppendTag(wire, eventCursor, protowire.BytesType)
	wire = protowire.AppendString(wire, e.Cursor)

	r := record{sequence: e.Sequence, start: uint32(start), cursor: uint32(cursor), end: uint32(len(wire)), text: new(text)}
	if err := r.find(wire, body, len(wire)); err != nil {
		return s, fmt.Errorf("the log's entry %d: %w: %w", e.Sequence, ErrNotAnEvent, err)
	}
	return Segment{wire: wire, records: append(s.records, r)}, nil
}

// find sets the places of the fields that filters compare, in wire[start:end].
func (r *record) find(wire []byte, start, end int) error {
	return eachBytes(wire[:end], start, func(number protowire.Number, value span) error {
		switch number {
		case eventChannel:
			r.channel = value
		case eventNotificationType:
			r.notificationType = value
			r.documented = TypeOf(string(wire[value.start:value.end]))
		case eventConversationID:
			r.conversationID = value
		case eventContact:
			return eachBytes(wire[:value.end], int(value.start), func(number protowire.Number, value span) error {
				if number == contactExternalID {
					r.externalID = normalized(wire, value)
				}
				return nil
			})
		default:
		}
		return nil
	})
}

// normalized returns the part of a contact's id that filters compare.
func normalized(wire []byte, id span) span {
	value := string(wire[id.start:id.end])
	part := NormalizeContactID(value)
	start := id.start + uint32(strings.Index(value, part))
	return span{start, start + uint32(len(part))}
}

// eachBytes calls f with every length-delimited field of the message
// wire[start:].
func eachBytes(wire []byte, start int, f func(protowire.Number, span) error) error {
	for start < len(wire) {
		number, kind, n := protowire.ConsumeTag(wire[start:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		start += n
		n = protowire.ConsumeFieldValue(number, kind, wire[start:])
		if n < 0 {
			return protowire.ParseError(n)
		}
		end := start + n
		if kind == protowire.BytesType {
			_, prefix := protowire.ConsumeVarint(wire[start:])
			if err := f(number, span{uint32(start + prefix), uint32(end)}); err != nil {
				return err
			}
		}
		start = end
	}
	return nil
}

// Len returns the number of events.
func (s Segment) Len() int { return len(s.records) }

// Last returns the position after the newest event. The segment MUST NOT be empty.
func (s Segment) Last() uint64 { return s.records[len(s.records)-1].sequence }

// First returns the sequence of the oldest event. The segment MUST NOT be empty.
func (s Segment) First() uint64 { return s.records[0].sequence }

// Room returns the bytes of records that can be appended without moving the others.
func (s Segment) Room() int { return cap(s.wire) - len(s.wire) }

// Memory returns the bytes of memory that the segment keeps.
func (s Segment) Memory() int { return cap(s.wire) + cap(s.records)*RecordOverhead }

// After returns the part of the segment after a position.
func (s Segment) After(position uint64) Segment {
	if i := s.find(position + 1); i < len(s.records) {
		return Segment{wire: s.wire, records: s.records[i:]}
	}
	return Segment{}
}

// CursorAt returns the cursor right after an event. It is empty if the segment does not have
// the event.
func (s Segment) CursorAt(sequence uint64) string {
	i := s.find(sequence)
	if i == len(s.records) || s.records[i].sequence != sequence {
		return ""
	}
	return string(cursorValue(s.cursor(i)))
}

// find returns the index of the first event at or after a sequence.
func (s Segment) find(sequence uint64) int {
	// Sequences have no gaps, unless entries were skipped.
	if len(s.records) > 0 && s.First() <= sequence {
		if i := sequence - s.First(); i < uint64(len(s.records)) && s.records[i].sequence == sequence {
			return int(i)
		}
	}
	i, _ := slices.BinarySearchFunc(s.records, sequence, func(r record, sequence uint64) int {
		return cmp.Compare(r.sequence, sequence)
	})
	return i
}

// cursor returns the field with the cursor right after event i. It ends the event's record, and
// is the same field in a response.
func (s Segment) cursor(i int) []byte {
	r := s.records[i]
	return s.wire[r.cursor:r.end:r.end]
}
