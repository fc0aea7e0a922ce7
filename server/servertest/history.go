// Package servertest is what tests of a whole gateway share: a gateway in this
// process with real ports (gateway.go), subscribers over each transport
// (subscriber.go), a recorder of all that happens (recorder.go), and the
// guarantees of the gateway as functions over what was recorded (guarantees.go).
//
// The pattern is that of etcd's robustness tests: a test does what it is about,
// while a Recorder notes what was posted, what was answered and what each
// subscriber saw, and ends with Verify, which asks every guarantee whether it
// held. What a test asserts of its own comes on top.
package servertest

import (
	"slices"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// History is what happened. The guarantees are functions over it.
type History struct {
	// Posts are the webhooks, in no particular order.
	Posts []Post
	// Log is the whole log in its order, as an unfiltered subscriber from
	// POSITION_EARLIEST saw it at the end.
	Log []*ongairv1.Event
	// Streams are the subscriptions.
	Streams []Stream
	// Calls are the sending calls, and Upstream the texts that Ongair received,
	// each as often as it did.
	Calls    []Call
	Upstream []string
}

// Post is one webhook.
type Post struct {
	// Channel is the channel whose path it was posted to.
	Channel string
	// Fields are those of a form, in order, or a RawBody.
	Fields []Field
	// Status is what was answered; 0 where there was no answer.
	Status int
}

// Field is one field of a form.
type Field struct{ Name, Value string }

// Form returns fields from names and values in turn.
func Form(namesAndValues ...string) []Field {
	var fields []Field
	for pair := range slices.Chunk(namesAndValues, 2) {
		fields = append(fields, Field{pair[0], pair[1]})
	}
	return fields
}

// RawBody returns what stands for the fields of a body that the gateway keeps as it is.
func RawBody(contentType, content string) []Field {
	return Form("a body of type "+contentType, content)
}

// acked reports whether the sender was told that the webhook is safe.
func (p Post) acked() bool { return p.Status == 200 }

// Stream is one subscription.
type Stream struct {
	// Name says in failures which one it is.
	Name string
	// Request is what was asked for.
	Request *ongairv1.SubscribeRequest
	// Responses are all that came, in order.
	Responses []*ongairv1.SubscribeResponse
	// Err is how the gateway ended it; nil where the test did.
	Err error
	// Killed says that the test killed the gateway, which then could say nothing.
	Killed bool
	// Settled says that the test waited for it to reach the end of the log.
	Settled bool
	// Stalled says that the test did not read it for a while, or at all, on purpose.
	Stalled bool
	// Left says that the test ended it before the end of the log mattered.
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

// Call is one sending call. Its text is its own: no other call has it, except
// with the same request_id.
type Call struct {
	RequestID, Text string
	// MessageID and Replayed are of its response.
	MessageID string
	Replayed  bool
	// Err is its error.
	Err error
}
