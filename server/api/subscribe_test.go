package api

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/fanout"
	"github.com/ongair/ongair-gateway/server/fanout/fanouttest"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// testLog is a real log on an embedded JetStream, followed by a fanout.
type testLog struct {
	*eventlog.Log
	in     *storage.Storage
	fanout *fanout.Fanout
}

func newLog(t *testing.T) *testLog {
	t.Helper()
	in := storagetest.Embedded(t).Open(t)
	log, err := eventlog.Open(t.Context(), in, eventlog.Config{})
	require.NoError(t, err)
	return &testLog{Log: log, in: in, fanout: fanouttest.Run(t, log)}
}

func (l *testLog) config() Config {
	return Config{Channels: map[string]Upstream{"support": &fakeOngair{}, "sales": &fakeOngair{}}, Fanout: l.fanout}
}

// add appends n events and returns them as subscribers get them.
func (l *testLog) add(t *testing.T, n int, change ...func(*ongairv1.Event)) []*ongairv1.Event {
	t.Helper()
	var added []*ongairv1.Event
	for i := range n {
		e := &ongairv1.Event{
			Id:               event.RandomID(),
			Channel:          "support",
			ReceiveTime:      timestamppb.Now(),
			NotificationType: "MessageReceived",
			Contact:          &ongairv1.Contact{ExternalId: "+254722200200", Name: "Asha"},
			Payload:          &ongairv1.Event_MessageReceived{MessageReceived: &ongairv1.MessageReceived{Id: fmt.Sprint(i), Text: "Habari 👋"}},
			Fields:           []*ongairv1.WebhookField{{Name: "caption", RawValue: []byte{0xff}}},
		}
		for _, c := range change {
			c(e)
		}
		_, err := l.Append(t.Context(), e)
		require.NoError(t, err)
		latest, err := l.Latest(t.Context())
		require.NoError(t, err)
		e.Cursor, err = l.CursorOf(t.Context(), latest)
		require.NoError(t, err)
		added = append(added, e)
	}
	return added
}

// subscribe opens a stream. Without an interval in req, no heartbeat is sent during the test.
func (g *gateway) subscribe(t *testing.T, req *ongairv1.SubscribeRequest, opts ...grpc.CallOption) grpc.ServerStreamingClient[ongairv1.SubscribeResponse] {
	t.Helper()
	if req.GetHeartbeatInterval() == nil {
		req.HeartbeatInterval = durationpb.New(5 * time.Minute)
	}
	stream, err := g.Subscribe(withinTest(t), req, opts...)
	require.NoError(t, err)
	return stream
}

// receive reads responses until they contain n events.
func receive(t *testing.T, stream grpc.ServerStreamingClient[ongairv1.SubscribeResponse], n int) []*ongairv1.Event {
	t.Helper()
	var events []*ongairv1.Event
	for len(events) < n {
		response, err := stream.Recv()
		require.NoError(t, err)
		events = append(events, response.GetEvents()...)
	}
	return events
}

func requireEvents(t *testing.T, want, got []*ongairv1.Event) {
	t.Helper()
	require.Empty(t, cmp.Diff(want, got, protocmp.Transform()))
}

func from(position ongairv1.Position) *ongairv1.SubscribeRequest {
	return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Position{Position: position}}
}

func after(cursor string) *ongairv1.SubscribeRequest {
	return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Cursor{Cursor: cursor}}
}

func TestTheFirstResponseIsSentImmediately(t *testing.T) {
	l := newLog(t)
	g := start(t, l.config())
	first, err := g.subscribe(t, &ongairv1.SubscribeRequest{}).Recv()
	require.NoError(t, err)
	assert.Empty(t, first.GetEvents())
	assert.Equal(t, l.Cursor(0), first.GetCursor())
	assert.Zero(t, first.GetPending())

	added := l.add(t, 2)
	first, err = g.subscribe(t, &ongairv1.SubscribeRequest{}).Recv()
	require.NoError(t, err)
	assert.Empty(t, first.GetEvents())
	assert.Equal(t, added[1].GetCursor(), first.GetCursor())
}

func TestAHeartbeatIsAnEmptyResponseWithTheCursor(t *testing.T) {
	l := newLog(t)
	last := l.add(t, 3)[2]
	req := from(ongairv1.Position_POSITION_LATEST)
	req.HeartbeatInterval = durationpb.New(100 * time.Millisecond)
	stream := start(t, l.config()).subscribe(t, req)
	begin := time.Now()
	for range 3 {
		response, err := stream.Recv()
		require.NoError(t, err)
		assert.Empty(t, response.GetEvents())
		assert.Equal(t, last.GetCursor(), response.GetCursor())
	}
	assert.GreaterOrEqual(t, time.Since(begin), 190*time.Millisecond)
}

func TestAStreamStartsAtTheRequestedPosition(t *testing.T) {
	l := newLog(t)
	old := l.add(t, 2)
	// JetStream uses the same clock, and its timestamps are exact.
	between := time.Now()
	recent := l.add(t, 2)
	g := start(t, l.config())
	at := func(when time.Time) *ongairv1.SubscribeRequest {
		return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_StartTime{StartTime: timestamppb.New(when)}}
	}
	all := append(append([]*ongairv1.Event{}, old...), recent...)
	streams := map[string]struct {
		req  *ongairv1.SubscribeRequest
		want []*ongairv1.Event
	}{
		"earliest":                       {from(ongairv1.Position_POSITION_EARLIEST), all},
		"latest":                         {from(ongairv1.Position_POSITION_LATEST), nil},
		"unspecified":                    {from(ongairv1.Position_POSITION_UNSPECIFIED), nil},
		"no start":                       {&ongairv1.SubscribeRequest{}, nil},
		"the cursor of an event":         {after(old[0].GetCursor()), all[1:]},
		"the cursor of the newest event": {after(recent[1].GetCursor()), nil},
		"the cursor before all events":   {after(l.Cursor(0)), all},
		"a time before all events":       {at(time.Unix(0, 0)), all},
		"a time in between":              {at(between), recent},
		"a time in the future":           {at(time.Now().Add(time.Hour)), nil},
	}
	open := map[string]grpc.ServerStreamingClient[ongairv1.SubscribeResponse]{}
	for name, s := range streams {
		open[name] = g.subscribe(t, s.req)
		requireEvents(t, s.want, receive(t, open[name], len(s.want)))
		if len(s.want) == 0 {
			first, err := open[name].Recv()
			require.NoError(t, err)
			require.Empty(t, first.GetEvents(), name)
		}
	}
	next := l.add(t, 1)
	for name, stream := range open {
		t.Run(name, func(t *testing.T) { requireEvents(t, next, receive(t, stream, 1)) })
	}
}

func TestAFilterSelectsEvents(t *testing.T) {
	l := newLog(t)
	l.add(t, 1)
	sales := l.add(t, 1, func(e *ongairv1.Event) { e.Channel = "sales" })
	l.add(t, 1)
	req := from(ongairv1.Position_POSITION_EARLIEST)
	req.Channels = []string{"sales"}
	requireEvents(t, sales, receive(t, start(t, l.config()).subscribe(t, req), 1))
}

func TestACursorThatCannotBeServedIsRejectedWithItsReason(t *testing.T) {
	l, other := newLog(t), newLog(t)
	added := l.add(t, 3)
	g := start(t, l.config())
	for _, tt := range []struct {
		name   string
		cursor string
		reason ongairv1.ErrorReason
	}{
		{"an invalid cursor", "not-a-cursor", ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED},
		{"a truncated cursor", added[0].GetCursor()[1:], ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED},
		{"the cursor of another log", other.Cursor(1), ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN},
		{"a cursor beyond the end of the log", l.Cursor(99), ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := g.subscribe(t, after(tt.cursor)).Recv()
			requireFault(t, err, tt.reason)
		})
	}
	t.Run("a cursor before the oldest event", func(t *testing.T) {
		storagetest.Look(t, l.in).Stream(t, "ONGAIR_EVENTS").Remove(t, 3)
		_, err := g.subscribe(t, after(added[0].GetCursor())).Recv()
		s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED)
		assert.Equal(t, map[string]string{"oldest_cursor": l.Cursor(3), "lost_events": "2"}, fault.Info(s).GetMetadata())
		for _, oldest := range []string{l.Cursor(3), added[2].GetCursor()} {
			_, err = g.subscribe(t, after(oldest)).Recv()
			require.NoError(t, err, "the oldest cursor works")
		}
	})
}

func TestAnUnknownChannelCannotBeSubscribedTo(t *testing.T) {
	l := newLog(t)
	_, err := start(t, l.config()).subscribe(t, &ongairv1.SubscribeRequest{Channels: []string{"support", "marketing"}}).Recv()
	s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN)
	assert.Equal(t, "marketing", fault.Info(s).GetMetadata()["channel"])
}

func TestConcurrentSubscribersGetEveryEvent(t *testing.T) {
	l := newLog(t)
	g := start(t, l.config())
	want := l.add(t, 20)
	want = append(want, l.add(t, 1, func(e *ongairv1.Event) { e.NotificationType = strings.Repeat("long ", 100_000) })...)
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			var opts []grpc.CallOption
			if i%2 == 0 {
				opts = append(opts, grpc.UseCompressor("gzip"))
			}
			stream := g.subscribe(t, from(ongairv1.Position_POSITION_EARLIEST), opts...)
			assert.Empty(t, cmp.Diff(want, receive(t, stream, len(want)), protocmp.Transform()))
		})
	}
	group.Wait()
}

// compressions is a client's stats handler that records the compression of each answer.
type compressions struct {
	stats.Handler
	mu       sync.Mutex
	received []string
}

func (*compressions) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (*compressions) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (*compressions) HandleConn(context.Context, stats.ConnStats)                       {}

func (c *compressions) HandleRPC(_ context.Context, s stats.RPCStats) {
	if header, ok := s.(*stats.InHeader); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.received = append(c.received, header.Compression)
	}
}

// Compressing for each subscriber would cost what encoding once saves.
func TestAStreamIsNotCompressedIfItsRequestIs(t *testing.T) {
	l := newLog(t)
	answers := &compressions{}
	g := start(t, l.config(), func(o *options) {
		o.dial = []grpc.DialOption{grpc.WithStatsHandler(answers), grpc.WithDefaultCallOptions(grpc.UseCompressor("gzip"))}
	})
	_, err := g.subscribe(t, &ongairv1.SubscribeRequest{}).Recv()
	require.NoError(t, err)
	_, err = g.ListEvents(withinTest(t), &ongairv1.ListEventsRequest{})
	require.NoError(t, err)
	assert.Equal(t, []string{"identity", "gzip"}, answers.received)
}

func TestASubscriberThatReadsNothingDoesNotDelayOthers(t *testing.T) {
	l := newLog(t)
	g := start(t, l.config())
	stalled := g.subscribe(t, from(ongairv1.Position_POSITION_LATEST))
	_, err := stalled.Recv()
	require.NoError(t, err)
	reading := g.subscribe(t, from(ongairv1.Position_POSITION_LATEST))
	_, err = reading.Recv()
	require.NoError(t, err)
	// Send several times the flow control windows of the connection and the stream.
	var want []*ongairv1.Event
	for range 20 {
		added := l.add(t, 1, func(e *ongairv1.Event) { e.AccountType = strings.Repeat("x", 100_000) })
		requireEvents(t, added, receive(t, reading, 1))
		want = append(want, added...)
	}
	_, err = g.invoke(withinTest(t), set(minimal()["Send"], "channel", "support"))
	require.NoError(t, err)
	requireEvents(t, want, receive(t, stalled, len(want)))
}

// The stream of a client that does not read is blocked in a write.
func TestAStreamThatIsNotReadEndsWithAReasonAndACursor(t *testing.T) {
	for name, tt := range map[string]struct {
		end    func(*Service)
		reason ongairv1.ErrorReason
	}{
		"when its channel is removed": {
			func(s *Service) { s.Replace(map[string]Upstream{"sales": &fakeOngair{}}) }, ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN,
		},
		"at a drain": {(*Service).Drain, ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLog(t)
			g := start(t, l.config())
			stalled := g.subscribe(t, &ongairv1.SubscribeRequest{Channels: []string{"support"}})
			last, err := stalled.Recv()
			require.NoError(t, err)
			reading := g.subscribe(t, &ongairv1.SubscribeRequest{Channels: []string{"support"}})
			_, err = reading.Recv()
			require.NoError(t, err)
			for range 20 { // several times the flow control windows of the connection and the stream
				l.add(t, 1, func(e *ongairv1.Event) { e.AccountType = strings.Repeat("x", 100_000) })
				receive(t, reading, 1)
			}
			tt.end(g.service)
			require.Eventually(t, func() bool { return len(g.service.open()) == 0 }, 10*time.Second, 10*time.Millisecond)

			for err == nil {
				var response *ongairv1.SubscribeResponse
				if response, err = stalled.Recv(); err == nil {
					last = response
				}
			}
			s := requireFault(t, err, tt.reason)
			assert.Equal(t, last.GetCursor(), fault.Info(s).GetMetadata()["cursor"])
		})
	}
}

// A cursor must not be rejected again and must not hide a gap.
func TestAnErrorHasNoCursorIfItCannotBeContinuedFrom(t *testing.T) {
	l := newLog(t)
	last := l.add(t, 1)[0].GetCursor()
	service := NewService(l.config())
	sub := &subscription{}
	stopping := fault.Stopping(fault.EffectNotApplicable, "stop")
	assert.Equal(t, stopping, service.endOf(sub, stopping), "before the first response")
	sub.next.Store(2)
	for number := range ongairv1.ErrorReason_name {
		reason := ongairv1.ErrorReason(number)
		f := &fault.Fault{Reason: reason, Metadata: map[string]string{"oldest_cursor": "old"}, RetryAfter: time.Second}
		ended := fault.From(service.endOf(sub, f))
		assert.Equal(t, f.RetryAfter, ended.RetryAfter, reason)
		assert.Equal(t, "old", ended.Metadata["oldest_cursor"], reason)
		switch reason {
		case ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED, ongairv1.ErrorReason_ERROR_REASON_LOG_REPLACED,
			ongairv1.ErrorReason_ERROR_REASON_CANCELLED:
			assert.Empty(t, ended.Metadata["cursor"], reason)
		default:
			assert.NotEmpty(t, ended.Metadata["cursor"], reason)
			position, err := l.Position(ended.Metadata["cursor"])
			require.NoError(t, err)
			assert.EqualValues(t, 1, position, last)
		}
		assert.NotContains(t, f.Metadata, "cursor", "endOf must not modify its argument")
	}
}

func requireShutDown(t *testing.T, err error) {
	t.Helper()
	s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN)
	assert.Equal(t, fault.RestartDelay, detail[*errdetails.RetryInfo](s).GetRetryDelay().AsDuration())
}

func TestADrainEndsStreamsButNotCalls(t *testing.T) {
	l := newLog(t)
	g := start(t, l.config())
	stream := g.subscribe(t, &ongairv1.SubscribeRequest{})
	_, err := stream.Recv()
	require.NoError(t, err)
	g.service.Drain()
	g.service.Drain() // may be called again
	_, err = stream.Recv()
	requireShutDown(t, err)
	for _, req := range []*ongairv1.SubscribeRequest{{}, from(ongairv1.Position_POSITION_EARLIEST), after(l.Cursor(0))} {
		_, err = g.subscribe(t, req).Recv()
		requireShutDown(t, err)
	}
	_, err = g.invoke(withinTest(t), set(minimal()["Send"], "channel", "support"))
	require.NoError(t, err)
}

func TestAStreamThatStartsAfterADrainEndsWithoutReadingTheLog(t *testing.T) {
	l := newLog(t)
	queried := make(chan struct{})
	cfg := l.config()
	cfg.Fanout = fanout.New(waitingLog{l.Log, queried}, fanout.Config{})
	g := start(t, cfg)
	g.service.Drain()
	_, err := g.subscribe(t, &ongairv1.SubscribeRequest{}).Recv()
	requireShutDown(t, err)
	select {
	case <-queried:
		assert.Fail(t, "the log was queried")
	default:
	}
}

func TestADrainEndsAStreamThatIsFarBehind(t *testing.T) {
	g := start(t, Config{Channels: map[string]Upstream{"support": &fakeOngair{}}, Fanout: fanouttest.Run(t, endlessLog{})})
	stream := g.subscribe(t, from(ongairv1.Position_POSITION_EARLIEST))
	_, err := stream.Recv()
	require.NoError(t, err)
	g.service.Drain()
	for err == nil {
		_, err = stream.Recv()
	}
	requireShutDown(t, err)
}

// endlessLog has more events than a stream can read.
type endlessLog struct{ fanout.Log }

func (endlessLog) Earliest(context.Context) (uint64, error)    { return 0, nil }
func (endlessLog) Newest(context.Context, int) (uint64, error) { return math.MaxInt64, nil }

func (endlessLog) Head() uint64 { return math.MaxInt64 }

func (endlessLog) Reach(context.Context, uint64) error { return nil }

func (endlessLog) Cursor(position uint64) string { return fmt.Sprint(position) }

func (endlessLog) CursorOf(_ context.Context, position uint64) (string, error) {
	return fmt.Sprint(position), nil
}

func (endlessLog) Position(string) (uint64, error) { return 0, nil }

func (endlessLog) Seek(context.Context, string) (uint64, error) { return 0, nil }

func (endlessLog) ReadMatching(context.Context, uint64, string, string, int, int) (event.Segment, uint64, error) {
	return event.Segment{}, 0, errors.New("no filter is used")
}

func (endlessLog) Read(_ context.Context, position uint64, _, _ int) (event.Segment, error) {
	stored, err := event.Marshal(&ongairv1.Event{Id: fmt.Sprint(position)})
	if err != nil {
		return event.Segment{}, err
	}
	encoded, _, err := event.Verify(stored)
	if err != nil {
		return event.Segment{}, err
	}
	return event.SegmentOf([]event.Entry{{Sequence: position + 1, Event: encoded, Cursor: "c"}})
}

func (endlessLog) Follow(ctx context.Context, _ uint64, _ func(), _ func(event.Entry)) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestADrainEndsAStreamThatWaitsForTheLog(t *testing.T) {
	l := newLog(t)
	queried := make(chan struct{})
	cfg := l.config()
	cfg.Fanout = fanout.New(waitingLog{l.Log, queried}, fanout.Config{})
	g := start(t, cfg)
	stream := g.subscribe(t, &ongairv1.SubscribeRequest{})
	<-queried
	g.service.Drain()
	_, err := stream.Recv()
	requireShutDown(t, err)
}

// waitingLog blocks Latest until its context ends.
type waitingLog struct {
	fanout.Log
	queried chan struct{}
}

func (l waitingLog) Latest(ctx context.Context) (uint64, error) {
	close(l.queried)
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestALogFailureEndsAStreamWithItsReason(t *testing.T) {
	l := newLog(t)
	unavailable := fault.New(ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, "retry later")
	unavailable.RetryAfter = 2 * time.Second
	unavailable.Cause = errors.New("hidden")
	cfg := l.config()
	cfg.Fanout = fanout.New(failingLog{l.Log, unavailable}, fanout.Config{})
	_, err := start(t, cfg).subscribe(t, &ongairv1.SubscribeRequest{}).Recv()
	s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE)
	assert.Equal(t, 2*time.Second, detail[*errdetails.RetryInfo](s).GetRetryDelay().AsDuration())
	assert.NotContains(t, s.Proto().String(), "hidden")
}

type failingLog struct {
	fanout.Log
	err error
}

func (l failingLog) Latest(context.Context) (uint64, error) { return 0, l.err }

func TestASubscriberThatDisconnectsLeavesNothingBehind(t *testing.T) {
	l := newLog(t)
	g := start(t, l.config())
	ctx, cancel := context.WithCancel(withinTest(t))
	stream, err := g.Subscribe(ctx, &ongairv1.SubscribeRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	cancel()
	g.lines.waitFor(t, "level=DEBUG", "grpc.method=Subscribe", "grpc.code=Canceled", "reason=CANCELLED")
}
