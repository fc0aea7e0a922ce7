package servertest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/sandbox"
)

// patience bounds every wait of a test. Only a failing test reaches it, even on a loaded machine.
const patience = 30 * time.Second

// heartbeat is the default heartbeat interval of subscriptions. It is short, so that cursors
// advance within a test.
const heartbeat = 100 * time.Millisecond

// Recorder records the webhooks, calls and streams of a test. Its methods are safe for concurrent
// use.
type Recorder struct {
	t             T
	client        *http.Client
	mu            sync.Mutex
	history       History
	subscriptions []*Subscription
}

// NewRecorder returns a recorder for a test.
func NewRecorder(t T) *Recorder {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &Recorder{t: t, client: &http.Client{Transport: transport, Timeout: patience}}
}

// Post posts a webhook as a form and returns the status, or 0 without an answer.
func (r *Recorder) Post(webhookURL, channel string, fields ...Field) int {
	pairs := make([]string, len(fields))
	for i, f := range fields {
		Given(f.Value)
		pairs[i] = url.QueryEscape(f.Name) + "=" + url.QueryEscape(f.Value)
	}
	status := 0
	response, err := r.client.Post(webhookURL, "application/x-www-form-urlencoded", strings.NewReader(strings.Join(pairs, "&"))) //nolint:noctx // bounded by the client
	if err == nil {
		status = response.StatusCode
		_, _ = io.Copy(io.Discard, response.Body) // so that the connection is reused
		_ = response.Body.Close()                 // read to its end
	}
	r.RecordPost(Post{Channel: channel, Fields: fields, Status: status})
	return status
}

// RecordPost records a webhook that the test posted itself.
func (r *Recorder) RecordPost(p Post) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Posts = append(r.history.Posts, p)
}

// Trust makes Post use TLS and trust these authorities.
func (r *Recorder) Trust(authorities *x509.CertPool) {
	r.client.CloseIdleConnections()
	r.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities}, DisableKeepAlives: true}
}

// HangUp closes idle connections. A gateway that stops waits 5 s for a connection that has had no
// request.
func (r *Recorder) HangUp() { r.client.CloseIdleConnections() }

// RecordDeliveries records the webhooks that a sandbox posted.
func (r *Recorder) RecordDeliveries(channel string, box *sandbox.Sandbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range box.Deliveries() {
		post := Post{Channel: channel, Status: d.Status}
		for _, f := range d.Fields {
			post.Fields = append(post.Fields, Field{f.Name, f.Value})
		}
		r.history.Posts = append(r.history.Posts, post)
	}
}

// RecordCall records a sending call.
func (r *Recorder) RecordCall(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.Calls = append(r.history.Calls, c)
}

// RecordUpstream records the texts that a sandbox received.
func (r *Recorder) RecordUpstream(box *sandbox.Sandbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, request := range box.Requests() {
		r.history.Upstream = append(r.history.Upstream, request.Params["text"])
	}
}

// Subscription is a recorded subscription.
type Subscription struct {
	t      T
	cancel context.CancelFunc
	ended  chan struct{}

	mu      sync.Mutex
	stream  Stream
	changed chan struct{} // closed and replaced at each change
	stall   chan struct{} // closed at its end, nil while the subscriber reads
}

// Subscribe starts a subscription. It returns after the first response or at the end of the stream.
func (r *Recorder) Subscribe(name string, transport Transport, at Endpoints, req *ongairv1.SubscribeRequest) *Subscription {
	r.t.Helper()
	if req.GetHeartbeatInterval() == nil {
		req.HeartbeatInterval = durationpb.New(heartbeat)
	}
	Given(at.APIKey)
	givenMessage(req)
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	s := &Subscription{
		t:       r.t,
		cancel:  cancel,
		ended:   make(chan struct{}),
		stream:  Stream{Name: name + " over " + transport.String(), Request: req},
		changed: make(chan struct{}),
	}
	r.t.Cleanup(s.Stop)
	r.mu.Lock()
	r.subscriptions = append(r.subscriptions, s)
	r.mu.Unlock()
	go func() {
		defer close(s.ended)
		err := transport.Subscribe(ctx, at, req, func(response *ongairv1.SubscribeResponse) error {
			s.change(func(stream *Stream) { stream.Responses = append(stream.Responses, response) })
			s.waitOutStall(ctx)
			return nil
		})
		if ctx.Err() == nil {
			s.change(func(stream *Stream) { stream.Err = err })
		}
	}()
	s.wait("got no first response", func(stream Stream) bool { return len(stream.Responses) > 0 || stream.Err != nil })
	return s
}

func (s *Subscription) change(f func(*Stream)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stream)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Subscription) snapshot() (Stream, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream, s.changed
}

// wait waits until done reports true, and returns the stream. The test fails with failure if the
// stream ends before that, or after patience.
func (s *Subscription) wait(failure string, done func(Stream) bool) Stream {
	s.t.Helper()
	timeout := time.After(patience)
	for {
		stream, changed := s.snapshot()
		if done(stream) {
			return stream
		}
		select {
		case <-changed:
		case <-s.ended:
			if stream, _ := s.snapshot(); done(stream) {
				return stream
			}
			require.FailNow(s.t, failure, "stream %s ended: %v", stream.Name, stream.Err)
		case <-timeout:
			// Also logged, because rapid drops failures that do not repeat.
			s.t.Logf("%s: stream %s has %d events", failure, stream.Name, len(stream.events()))
			require.FailNow(s.t, failure, "stream %s has %d events", stream.Name, len(stream.events()))
		}
	}
}

// Events waits for n events and returns all that were received.
func (s *Subscription) Events(n int) []*ongairv1.Event {
	s.t.Helper()
	return s.wait("too few events", func(stream Stream) bool { return len(stream.events()) >= n }).events()
}

// Settle waits until the stream is at the end of the log, and marks it as settled.
func (s *Subscription) Settle(last string) {
	s.t.Helper()
	s.waitForCursor(last)
	s.change(func(stream *Stream) { stream.Settled = true })
}

func (s *Subscription) waitForCursor(cursor string) {
	s.t.Helper()
	s.wait("did not reach the end of the log", func(stream Stream) bool {
		n := len(stream.Responses)
		return n > 0 && stream.Responses[n-1].GetCursor() == cursor
	})
}

// Cursor returns the last received cursor.
func (s *Subscription) Cursor() string {
	s.t.Helper()
	stream, _ := s.snapshot()
	require.NotEmpty(s.t, stream.Responses, "stream %s ended: %v", stream.Name, stream.Err)
	return stream.Responses[len(stream.Responses)-1].GetCursor()
}

// Empty reports whether no response was received, so that there is no cursor.
func (s *Subscription) Empty() bool {
	stream, _ := s.snapshot()
	return len(stream.Responses) == 0
}

// Err waits for the end of the stream and returns its error.
func (s *Subscription) Err() error {
	s.t.Helper()
	return s.wait("the stream did not end", func(stream Stream) bool { return stream.Err != nil }).Err
}

// Stall makes the subscriber stop reading after the next response. Later responses fill buffers
// and then block the gateway.
func (s *Subscription) Stall() {
	s.change(func(stream *Stream) {
		stream.Stalled = true
		if s.stall == nil {
			s.stall = make(chan struct{})
		}
	})
}

// ReadOn ends a stall, if any.
func (s *Subscription) ReadOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stall != nil {
		close(s.stall)
		s.stall = nil
	}
}

// Stalls reports whether the subscriber is stalled.
func (s *Subscription) Stalls() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stall != nil
}

func (s *Subscription) waitOutStall(ctx context.Context) {
	s.mu.Lock()
	stall := s.stall
	s.mu.Unlock()
	if stall == nil {
		return
	}
	select {
	case <-stall:
	case <-ctx.Done():
	}
}

// Killed waits for the end of a stream whose gateway the test has killed. Responses that
// arrived before a stall are read first.
func (s *Subscription) Killed() {
	s.ReadOn()
	<-s.ended
	s.change(func(stream *Stream) { stream.Killed = true })
}

// Stop ends the subscription from the client's side.
func (s *Subscription) Stop() {
	s.end()
	s.change(func(stream *Stream) { stream.Left = true })
}

func (s *Subscription) end() {
	s.cancel()
	<-s.ended
}

// Runs reports whether the stream has not ended.
func (s *Subscription) Runs() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

// running returns the subscriptions that have not ended.
func (r *Recorder) running() []*Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(r.subscriptions), func(s *Subscription) bool { return !s.Runs() })
}

// CatchUp waits until all running subscriptions that are not stalled have reached the current
// end of the log.
func (r *Recorder) CatchUp(at Endpoints) {
	r.t.Helper()
	_, last := readLog(r.t, at, &ongairv1.SubscribeRequest{})
	for _, s := range r.running() {
		if !s.Stalls() {
			s.waitForCursor(last)
		}
	}
}

// Verify reads the log of a gateway, waits until the running subscriptions have reached its
// end, and checks all guarantees. Stalled subscriptions continue after the others have arrived.
// Tests with streams end with Verify.
func (r *Recorder) Verify(at Endpoints) {
	r.t.Helper()
	log, last := readLog(r.t, at, &ongairv1.SubscribeRequest{
		Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
	})
	for _, s := range r.running() {
		if !s.Stalls() {
			s.Settle(last)
		}
	}
	for _, s := range r.running() {
		s.ReadOn()
		s.Settle(last)
	}
	r.HangUp()
	r.mu.Lock()
	history := r.history
	subscriptions := r.subscriptions
	r.mu.Unlock()
	history.Log = log
	for _, s := range subscriptions {
		s.end()
		stream, _ := s.snapshot()
		history.Streams = append(history.Streams, stream)
	}
	for _, g := range Guarantees() {
		assert.NoError(r.t, g.Check(&history), "%s: %s", g.Name, g.Sentence)
	}
}

// readLog returns the log from the start of a request, and the cursor at its end.
func readLog(t T, at Endpoints, req *ongairv1.SubscribeRequest) (log []*ongairv1.Event, last string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
	defer cancel()
	req.HeartbeatInterval = durationpb.New(heartbeat)
	caughtUp := errors.New("caught up")
	err := OverGRPC{}.Subscribe(ctx, at, req, func(response *ongairv1.SubscribeResponse) error {
		log, last = append(log, response.GetEvents()...), response.GetCursor()
		if response.GetPending() == 0 && len(response.GetEvents()) == 0 {
			return caughtUp
		}
		return nil
	})
	require.ErrorIs(t, err, caughtUp)
	return log, last
}
