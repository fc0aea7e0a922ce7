package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
)

// list calls ListEvents.
func (g *gateway) list(t *testing.T, req *ongairv1.ListEventsRequest) *ongairv1.ListEventsResponse {
	t.Helper()
	page, err := g.ListEvents(withinTest(t), req)
	require.NoError(t, err)
	return page
}

// nextPage continues from the cursor of a page.
func nextPage(page *ongairv1.ListEventsResponse, size int32) *ongairv1.ListEventsRequest {
	return &ongairv1.ListEventsRequest{Start: &ongairv1.ListEventsRequest_Cursor{Cursor: page.GetCursor()}, PageSize: size}
}

func TestPagesHaveEveryEventOnceInOrder(t *testing.T) {
	l := newLog(t)
	want := l.add(t, 25)
	g := start(t, l.config())
	page := g.list(t, &ongairv1.ListEventsRequest{PageSize: 10})
	assert.Equal(t, int32(15), page.GetPending())
	got := page.GetEvents()
	assert.Len(t, got, 10)
	for page.GetPending() > 0 {
		page = g.list(t, nextPage(page, 10))
		got = append(got, page.GetEvents()...)
	}
	requireEvents(t, want, got)
	assert.Equal(t, want[24].GetCursor(), page.GetCursor())
	end := g.list(t, nextPage(page, 10))
	assert.Empty(t, end.GetEvents())
	assert.Equal(t, page.GetCursor(), end.GetCursor(), "a page at the end of the log is empty and keeps its cursor")
}

func TestAPageHasAHundredEventsUnlessItsSizeIsSet(t *testing.T) {
	l := newLog(t)
	l.add(t, 101)
	g := start(t, l.config())
	assert.Len(t, g.list(t, &ongairv1.ListEventsRequest{}).GetEvents(), 100)
	assert.Len(t, g.list(t, &ongairv1.ListEventsRequest{PageSize: 1000}).GetEvents(), 101)
	for _, size := range []int32{-1, 1001} {
		_, err := g.ListEvents(withinTest(t), &ongairv1.ListEventsRequest{PageSize: size})
		requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	}
}

func TestAPageStartsAtTheRequestedPosition(t *testing.T) {
	l := newLog(t)
	old := l.add(t, 2)
	middle := time.Now()
	recent := l.add(t, 2)
	g := start(t, l.config())
	for name, tt := range map[string]struct {
		req  *ongairv1.ListEventsRequest
		want []*ongairv1.Event
	}{
		"no start: earliest": {&ongairv1.ListEventsRequest{}, append(old[:2:2], recent...)},
		"an unspecified position": {&ongairv1.ListEventsRequest{
			Start: &ongairv1.ListEventsRequest_Position{},
		}, append(old[:2:2], recent...)},
		"the earliest": {&ongairv1.ListEventsRequest{
			Start: &ongairv1.ListEventsRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
		}, append(old[:2:2], recent...)},
		"the latest": {&ongairv1.ListEventsRequest{
			Start: &ongairv1.ListEventsRequest_Position{Position: ongairv1.Position_POSITION_LATEST},
		}, nil},
		"a time": {&ongairv1.ListEventsRequest{
			Start: &ongairv1.ListEventsRequest_StartTime{StartTime: timestamppb.New(middle)},
		}, recent},
		"an event's cursor": {&ongairv1.ListEventsRequest{
			Start: &ongairv1.ListEventsRequest_Cursor{Cursor: old[0].GetCursor()},
		}, append([]*ongairv1.Event{old[1]}, recent...)},
	} {
		t.Run(name, func(t *testing.T) { requireEvents(t, tt.want, g.list(t, tt.req).GetEvents()) })
	}
	_, err := g.ListEvents(withinTest(t), &ongairv1.ListEventsRequest{Start: &ongairv1.ListEventsRequest_Cursor{Cursor: "x"}})
	requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED)
}

func TestAPageHasMatchingEventsAndACursorAfterTheOthers(t *testing.T) {
	l := newLog(t)
	l.add(t, 2)
	sales := l.add(t, 1, func(e *ongairv1.Event) { e.Channel = "sales" })
	hidden := l.add(t, 2)
	g := start(t, l.config())
	page := g.list(t, &ongairv1.ListEventsRequest{Channels: []string{"sales"}})
	requireEvents(t, sales, page.GetEvents())
	assert.Equal(t, hidden[1].GetCursor(), page.GetCursor())
	assert.Zero(t, page.GetPending())
}

func TestAPageIsAtMostAMebibyteOrOneEvent(t *testing.T) {
	l := newLog(t)
	text := func(bytes int) func(*ongairv1.Event) {
		return func(e *ongairv1.Event) { e.GetMessageReceived().Text = strings.Repeat("x", bytes) }
	}
	want := l.add(t, 3, text(600<<10))
	want = append(want, l.add(t, 1, text(2<<20))...)
	want = append(want, l.add(t, 2, text(1))...)
	g := start(t, l.config())
	var sizes []int
	page := &ongairv1.ListEventsResponse{Pending: 1}
	req := &ongairv1.ListEventsRequest{}
	var got []*ongairv1.Event
	for page.GetPending() > 0 {
		page = g.list(t, req)
		sizes = append(sizes, len(page.GetEvents()))
		got = append(got, page.GetEvents()...)
		req = nextPage(page, 0)
	}
	requireEvents(t, want, got)
	assert.Equal(t, []int{1, 1, 1, 1, 2}, sizes)
}

func TestALongPollEndsWithTheFirstEvent(t *testing.T) {
	l := newLog(t)
	g := start(t, l.config())
	req := &ongairv1.ListEventsRequest{Wait: durationpb.New(time.Minute)}
	started := time.Now()
	page := make(chan *ongairv1.ListEventsResponse, 1)
	go func() {
		got, err := g.ListEvents(withinTest(t), req)
		assert.NoError(t, err)
		page <- got
	}()
	g.waitForPolls(t, 1)
	want := l.add(t, 1)
	requireEvents(t, want, (<-page).GetEvents())
	assert.Less(t, time.Since(started), 30*time.Second)
}

// waitForPolls waits until n subscriptions are registered.
func (g *gateway) waitForPolls(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		g.service.mu.Lock()
		defer g.service.mu.Unlock()
		return len(g.service.subscriptions) == n
	}, 10*time.Second, time.Millisecond)
}

func TestALongPollWithoutEventsReturnsAnEmptyPage(t *testing.T) {
	l := newLog(t)
	old := l.add(t, 1)
	g := start(t, l.config())
	latest := &ongairv1.ListEventsRequest_Position{Position: ongairv1.Position_POSITION_LATEST}
	page := g.list(t, &ongairv1.ListEventsRequest{Start: latest, Wait: durationpb.New(50 * time.Millisecond)})
	assert.Empty(t, page.GetEvents())
	assert.Equal(t, old[0].GetCursor(), page.GetCursor())

	ctx, cancel := context.WithTimeout(withinTest(t), 3*time.Second)
	defer cancel()
	page, err := g.ListEvents(ctx, &ongairv1.ListEventsRequest{Start: latest, Wait: durationpb.New(time.Minute)})
	require.NoError(t, err, "the page is returned before the caller's deadline")
	assert.Empty(t, page.GetEvents())
}

func TestADrainAnswersALongPollWithAnEmptyPage(t *testing.T) {
	l := newLog(t)
	old := l.add(t, 1)
	g := start(t, l.config())
	page := make(chan *ongairv1.ListEventsResponse, 1)
	go func() {
		got, err := g.ListEvents(withinTest(t), &ongairv1.ListEventsRequest{
			Start: &ongairv1.ListEventsRequest_Position{Position: ongairv1.Position_POSITION_LATEST}, Wait: durationpb.New(time.Minute),
		})
		assert.NoError(t, err)
		page <- got
	}()
	g.waitForPolls(t, 1)
	drained := time.Now()
	g.service.Drain()
	got := <-page
	assert.Less(t, time.Since(drained), 10*time.Second, "a stop does not wait for the poll")
	assert.Empty(t, got.GetEvents())
	assert.Equal(t, old[0].GetCursor(), got.GetCursor())

	// A poll after the drain does not wait, but returns stored events.
	requireEvents(t, old, g.list(t, &ongairv1.ListEventsRequest{Wait: durationpb.New(time.Minute)}).GetEvents())
	assert.Empty(t, g.list(t, &ongairv1.ListEventsRequest{
		Start: &ongairv1.ListEventsRequest_Cursor{Cursor: got.GetCursor()}, Wait: durationpb.New(time.Minute),
	}).GetEvents())
}

func TestALongPollCountsAsAStreamAndNotAsACall(t *testing.T) {
	l := newLog(t)
	caller := auth.Unrestricted(billingKey)
	caller.Limits = auth.Limits{MaxInFlight: 1, MaxStreams: 1}
	g := start(t, l.config(), func(o *options) { o.callers = map[string]auth.Caller{"billing": caller} })
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey))
	polling := &ongairv1.ListEventsRequest{Wait: durationpb.New(time.Minute)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := g.ListEvents(ctx, polling)
		assert.Error(t, err)
	}()
	g.waitForPolls(t, 1)
	_, err := g.ListEvents(ctx, &ongairv1.ListEventsRequest{})
	require.NoError(t, err, "a call during the poll")
	_, err = g.ListEvents(ctx, polling)
	f := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED)
	assert.Contains(t, f.Message(), "streams")
	stream, err := g.Subscribe(ctx, &ongairv1.SubscribeRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED)
	_, err = g.ListEvents(ctx, &ongairv1.ListEventsRequest{})
	require.NoError(t, err, "a rejected poll releases its place as a call")
	cancel()
	<-ended
}

func TestALongPollEndsWhenItsCallerLosesItsRights(t *testing.T) {
	l := newLog(t)
	g := start(t, l.config())
	failed := make(chan error, 1)
	go func() {
		_, err := g.ListEvents(withinTest(t), &ongairv1.ListEventsRequest{Channels: []string{"sales"}, Wait: durationpb.New(time.Minute)})
		failed <- err
	}()
	g.waitForPolls(t, 1)
	g.service.Replace(map[string]Upstream{"support": &fakeOngair{}})
	requireFault(t, <-failed, ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN)
}
