package event

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// DefaultTextBytes is the default bound of Texts: at 700 bytes an event, nearly 50,000 events.
const DefaultTextBytes = 32 << 20

// Texts encodes responses as the text formats of REST streams: Server-Sent Events and JSON. An
// event is encoded when the first stream needs it, and all streams share the result. Texts keeps
// the newest encodings up to a number of bytes, and encodes an older event again. Its methods are
// safe for concurrent use.
type Texts struct {
	maxBytes int

	mu    sync.Mutex
	kept  []keptText // oldest first
	bytes int
}

type keptText struct {
	of   *text
	size int
}

// NewTexts returns a Texts that keeps at most maxBytes.
func NewTexts(maxBytes int) *Texts { return &Texts{maxBytes: maxBytes} }

// text is the place for the encoding of an event. Copies of its record share it.
type text struct {
	encoding sync.Mutex
	message  atomic.Pointer[message]
}

// message is an event as a message of a stream of Server-Sent Events.
type message struct {
	sse []byte
	// json is the part of sse with the event as JSON.
	json []byte
}

// Types of Server-Sent Events that notification types MUST NOT have: EventSource uses the first
// two itself, and the gateway the third.
const (
	sseOpen  = "open"
	sseError = "error"
	// SSEEnd is the type of the last message of a stream that the gateway ends.
	SSEEnd = "end"
)

// AppendSSE appends a response as Server-Sent Events. Each event is a message: its id is the
// event's cursor, its type the notification type, and its data the event as JSON. A documented
// type has the name of TypeName, and a reserved one is left out. If the response's cursor is
// after its last event, a message without data follows, with that cursor as its id. It advances
// the client's last event id.
func (t *Texts) AppendSSE(dst []byte, r *Response) ([]byte, error) {
	var last []byte
	for _, run := range r.runs {
		for i := range run.records {
			m, err := t.message(run, i)
			if err != nil {
				return dst, err
			}
			dst = append(dst, m.sse...)
			last = run.cursor(i)
		}
	}
	if bytes.Equal(last, r.cursor) {
		return dst, nil
	}
	dst = append(dst, "id: "...)
	dst = append(dst, cursorValue(r.cursor)...)
	return append(dst, "\n\n"...), nil
}

// AppendJSON appends a response as the JSON of a SubscribeResponse, on one line.
func (t *Texts) AppendJSON(dst []byte, r *Response) ([]byte, error) {
	dst = append(dst, `{"events":[`...)
	for _, run := range r.runs {
		for i := range run.records {
			m, err := t.message(run, i)
			if err != nil {
				return dst, err
			}
			if dst[len(dst)-1] != '[' {
				dst = append(dst, ',')
			}
			dst = append(dst, m.json...)
		}
	}
	dst = append(dst, `],"cursor":"`...) // a cursor needs no escapes
	dst = append(dst, cursorValue(r.cursor)...)
	dst = append(dst, `","pending":`...)
	dst = strconv.AppendUint(dst, r.after, 10)
	return append(dst, '}'), nil
}

// cursorValue returns the value of a cursor's field.
func cursorValue(field []byte) []byte {
	_, _, tag := protowire.ConsumeTag(field)
	value, _ := protowire.ConsumeBytes(field[tag:])
	return value
}

// message returns the encoding of the event i of a segment.
func (t *Texts) message(s Segment, i int) (*message, error) {
	r := &s.records[i]
	if m := r.text.message.Load(); m != nil {
		return m, nil
	}
	r.text.encoding.Lock()
	defer r.text.encoding.Unlock()
	if m := r.text.message.Load(); m != nil {
		return m, nil
	}
	m, err := newMessage(s, r)
	if err != nil {
		return nil, fmt.Errorf("event %d as JSON: %w", r.sequence, err)
	}
	r.text.message.Store(m)
	t.keep(r.text, len(m.sse))
	return m, nil
}

// keep counts an encoding, and drops the oldest ones beyond maxBytes.
func (t *Texts) keep(of *text, size int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, keptText{of, size})
	t.bytes += size
	for t.bytes > t.maxBytes {
		t.bytes -= t.kept[0].size
		t.kept[0].of.message.Store(nil)
		t.kept[0] = keptText{}
		t.kept = t.kept[1:]
	}
}

func newMessage(s Segment, r *record) (*message, error) {
	_, _, tag := protowire.ConsumeTag(s.wire[r.start:r.end])
	encoded, _ := protowire.ConsumeBytes(s.wire[int(r.start)+tag : r.end])
	e := &ongairv1.Event{}
	if err := proto.Unmarshal(encoded, e); err != nil {
		return nil, err
	}
	spaced, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(e)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(len(spaced) + len(e.GetCursor()) + len(e.GetNotificationType()) + len("id: \nevent: \ndata: \n\n"))
	b.WriteString("id: " + e.GetCursor() + "\n")
	if name := sseType(e.GetNotificationType()); name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	start := b.Len()
	if err := json.Compact(&b, spaced); err != nil { // protojson adds spaces at random
		return nil, err
	}
	end := b.Len()
	b.WriteString("\n\n")
	return &message{sse: b.Bytes(), json: b.Bytes()[start:end:end]}, nil
}

// sseType returns the type of the message of a notification type, without line breaks. It returns
// an empty string, which clients read as "message", for a reserved type.
func sseType(notificationType string) string {
	name := cmp.Or(TypeName(TypeOf(notificationType)), notificationType)
	name = strings.NewReplacer("\r", " ", "\n", " ").Replace(name)
	switch name {
	case sseOpen, sseError, SSEEnd:
		return ""
	}
	return name
}
