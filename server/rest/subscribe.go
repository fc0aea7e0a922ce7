package rest

import (
	"errors"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/grpc-ecosystem/grpc-gateway/v2/utilities"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

const (
	typeNDJSON = "application/x-ndjson"
	typeSSE    = "text/event-stream"

	// ticketParameter is the parameter of the URL with a stream ticket.
	ticketParameter = "ticket"
	// lastEventID is the header with which EventSource resumes.
	lastEventID = "Last-Event-ID"

	// minRetry and maxRetry bound the delay after which clients of Server-Sent Events reconnect.
	// Each stream gets a random one, so that the clients of a gateway that restarts do not
	// return at the same moment.
	minRetry = time.Second
	maxRetry = 2 * time.Second
)

// subscriptions serves the streams.
type subscriptions struct {
	requests Requests
	bodies   *listen.Bodies
	texts    *event.Texts
	decoder  marshaler
	streams  listen.Streams
}

func newSubscriptions(requests Requests, bodies *listen.Bodies) *subscriptions {
	return &subscriptions{requests: requests, bodies: bodies, texts: event.NewTexts(event.DefaultTextBytes), decoder: newMarshaler()}
}

// serve serves a stream, as Server-Sent Events or NDJSON. An error before the first response is
// answered with its status. A later one is the last line or message of the stream.
func (s *subscriptions) serve(w http.ResponseWriter, req *http.Request, target route) {
	req, ticket := takeTicket(req)
	err := s.streams.Serve(w, req, func(req *http.Request, answer *listen.Stream) error {
		stream := &stream{answer, s.texts, acceptsSSE(req.Header)}
		receive := func(m *ongairv1.SubscribeRequest) error { return s.receive(w, req, target, m) }
		err := s.requests.Subscribe(req, ticket, receive, stream.send, answer.Interrupt)
		if err != nil && answer.Begun() {
			stream.end(err)
		}
		return err
	})
	if err != nil {
		reject(w, req, explain(err, fault.EffectNotApplicable))
	}
}

// receive decodes the request of a subscription. A Last-Event-ID replaces the start of the
// request, because EventSource reconnects to the same URL.
func (s *subscriptions) receive(w http.ResponseWriter, req *http.Request, target route, m *ongairv1.SubscribeRequest) error {
	if err := target.checkQuery(req); err != nil {
		return err
	}
	release, invalid := checkBody(s.bodies, w, req)
	defer release()
	if invalid != nil {
		return invalid
	}
	if req.Method == http.MethodGet {
		if err := runtime.PopulateQueryParameters(m, req.URL.Query(), &utilities.DoubleArray{}); err != nil {
			return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "%s", err)
		}
	} else if err := s.decoder.NewDecoder(req.Body).Decode(m); err != nil && !errors.Is(err, io.EOF) {
		return fault.New(ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, "%s", err)
	}
	if cursor := req.Header.Get(lastEventID); cursor != "" {
		m.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: cursor}
	}
	return nil
}

// takeTicket returns the stream ticket of a request, and the request without it. A ticket is only a
// parameter of the URL, because EventSource sends nothing else.
func takeTicket(req *http.Request) (*http.Request, string) {
	query, err := url.ParseQuery(req.URL.RawQuery)
	tickets := query[ticketParameter]
	if err != nil || len(tickets) != 1 {
		return req, "" // checkQuery rejects the others
	}
	query.Del(ticketParameter)
	without, address := *req, *req.URL
	address.RawQuery = query.Encode()
	without.URL = &address
	return &without, tickets[0]
}

// acceptsSSE reports whether a client prefers Server-Sent Events to NDJSON.
func acceptsSSE(header http.Header) bool {
	quality := map[string]float64{}
	for value := range strings.SplitSeq(strings.Join(header.Values("Accept"), ","), ",") {
		mediaType, params, err := mime.ParseMediaType(value)
		if err != nil {
			continue
		}
		q, err := strconv.ParseFloat(params["q"], 64)
		if err != nil {
			q = 1
		}
		quality[mediaType] = max(quality[mediaType], q)
	}
	return quality[typeSSE] > max(quality[typeNDJSON], quality["application/json"])
}

// stream is the answer to a subscription.
type stream struct {
	*listen.Stream
	texts *event.Texts
	sse   bool
}

// send sends a response.
func (s *stream) send(r *event.Response) error {
	first := !s.Begun()
	if first {
		s.setHeader()
	}
	return s.Send(func(b []byte) (_ []byte, err error) {
		if s.sse {
			if first {
				b = appendRetry(b, minRetry+jitter(maxRetry-minRetry))
			}
			return s.texts.AppendSSE(b, r)
		}
		b = append(b, `{"result":`...)
		if b, err = s.texts.AppendJSON(b, r); err != nil {
			return b, err
		}
		return append(b, "}\n"...), nil
	})
}

// setHeader sets the header of the answer. No proxy may delay the stream: nginx buffers an answer
// unless X-Accel-Buffering is no, and other proxies buffer it to compress it.
func (s *stream) setHeader() {
	header := s.Header()
	header.Set("Content-Type", typeNDJSON)
	if s.sse {
		header.Set("Content-Type", typeSSE)
	}
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no")
}

// end sends the error that ends the stream.
func (s *stream) end(err error) {
	p := status.Convert(explain(err, fault.EffectNotApplicable))
	_ = s.Send(func(b []byte) ([]byte, error) { // fails if the client has left
		text, err := statusJSON(p)
		if err != nil {
			return nil, err // never: write marshals the same messages
		}
		if !s.sse {
			return append(append(append(b, `{"error":`...), text...), "}\n"...), nil
		}
		b = append(b, "event: "+event.SSEEnd+"\n"...)
		if delay, ok := retryDelay(p); ok {
			b = appendRetry(b, delay+jitter(delay))
		}
		return append(append(append(b, "data: "...), text...), "\n\n"...), nil
	})
}

// jitter returns a random duration below d.
func jitter(d time.Duration) time.Duration {
	return rand.N(max(d, time.Nanosecond)) //nolint:gosec // it spreads clients, and protects nothing
}

// appendRetry appends the delay after which a client of Server-Sent Events reconnects.
func appendRetry(b []byte, delay time.Duration) []byte {
	b = strconv.AppendInt(append(b, "retry: "...), delay.Milliseconds(), 10)
	return append(b, '\n')
}
