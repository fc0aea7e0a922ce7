// Package servertest provides the parts that tests of a whole gateway share: a gateway in this
// process with real ports (gateway.go), subscribers over each transport (subscriber.go), a
// recorder (recorder.go), and the gateway's guarantees as functions over a recording
// (guarantees.go).
//
// It follows etcd's robustness tests. During a test a Recorder records the webhooks, their
// statuses and the responses of each subscriber. At the end Verify checks all guarantees. A test
// may assert more.
package servertest

import (
	"slices"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// History is a recording. The guarantees are functions over it.
type History struct {
	// Posts are the webhooks, in no particular order.
	Posts []Post
	// Log is the whole log in order, as an unfiltered subscriber from POSITION_EARLIEST
	// received it at the end.
	Log []*ongairv1.Event
	// Streams are the subscriptions.
	Streams []Stream
	// Calls are the sending calls. Upstream are the texts that Ongair received, with repetitions.
	Calls    []Call
	Upstream []string
}

// Post is one webhook.
type Post struct {
	// Channel is the channel whose path it was posted to.
	Channel string
	// Fields are the fields of a form in order, or a RawBody.
	Fields []Field
	// Status is the answered status, or 0 without an answer.
	Status int
}

// Field is one field of a form.
type Field struct{ Name, Value string }

// Form returns fields from alternating names and values.
func Form(namesAndValues ...string) []Field {
	var fields []Field
	for pair := range slices.Chunk(namesAndValues, 2) {
		fields = append(fields, Field{pair[0], pair[1]})
	}
	return fields
}

// RawBody returns the fields that represent a body that the gateway stores unparsed.
func RawBody(contentType, content string) []Field {
	return Form("a body of type "+contentType, content)
}

// acked reports whether the sender got a 200.
func (p Post) acked() bool { return p.Status == 200 }

// Stream is one subscription.
type Stream struct {
	// Name identifies the stream in failures.
	Name string
	// Request is the request of the stream.
	Request *ongairv1.SubscribeRequest
	// Responses are all responses, in order.
	Responses []*ongairv1.SubscribeResponse
	// Err is the error with which the gateway ended the stream. It is nil if the test ended it.
	Err error
	// Killed means that the test killed the gateway, which could send no reason.
	Killed bool
	// Settled means that the test waited for the stream to reach the end of the log.
	Settled bool
	// Stalled means that the test paused or stopped reading on purpose.
	Stalled bool
	// Left means that the test ended the stream before the end of the log.
	Left bool
}

// events are all events of a stream.
func (s Stream) events() []*ongairv1.Event {
	var events []*ongairv1.Event
	for _, r := range s.Responses {
		events = append(events, r.GetEvents()...)
	}
	return events
}

// Call is a sending call. Only calls with the same request_id have the same text.
type Call struct {
	RequestID, Text string
	// MessageID and Replayed are from its response.
	MessageID string
	Replayed  bool
	// Err is its error.
	Err error
}
