package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // registers the codec that rawCodec wraps
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// crowd is many subscribers of one gateway. Stalled subscribers do not read. To save memory,
// a subscriber keeps only the number of its events and a hash of their ids in order. Subscribers
// with the same events have the same hash.
type crowd struct {
	*gateway
	readers, stalled []*member
	reading          sync.WaitGroup
	client           *http.Client
}

// member is one subscriber.
type member struct {
	// next returns the ids of the events of the next response.
	next func() ([]string, error)

	mu     sync.Mutex
	events int
	hash   maphash.Hash
	// ids has the ids of all events, unless it is nil.
	ids map[string]struct{}
	// caughtUp is the number of events before the last response without events.
	caughtUp int
}

// posters is the number of concurrent webhooks. A higher number is hardly faster.
const posters = 64

// join subscribes readers, which use gRPC, and stalled subscribers. Every tenth stalled
// subscriber, from the second on, uses REST, where it costs the gateway most.
func join(t *testing.T, g *gateway, readers, stalled int) *crowd {
	t.Helper()
	c := &crowd{gateway: g, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: posters}}}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(func() {
		cancel()
		c.reading.Wait()
		c.client.CloseIdleConnections()
	})
	seed := maphash.MakeSeed()
	newMember := func(next func() ([]string, error)) *member {
		m := &member{next: next}
		m.hash.SetSeed(seed)
		return m
	}
	for range readers {
		m := newMember(overGRPC(ctx, t, g))
		c.readers = append(c.readers, m)
		c.reading.Go(m.read)
	}
	for i := range stalled {
		next := overGRPC
		if i%10 == 1 {
			next = overNDJSON
		}
		c.stalled = append(c.stalled, newMember(next(ctx, t, g)))
	}
	c.readers[0].mu.Lock()
	defer c.readers[0].mu.Unlock()
	c.readers[0].ids = map[string]struct{}{}
	return c
}

// read reads until the stream ends.
func (m *member) read() {
	for {
		ids, err := m.next()
		if err != nil {
			return
		}
		m.mu.Lock()
		for _, id := range ids {
			_, _ = m.hash.WriteString(id) // never fails
			if m.ids != nil {
				m.ids[id] = struct{}{}
			}
		}
		if m.events += len(ids); len(ids) == 0 {
			m.caughtUp = m.events
		}
		m.mu.Unlock()
	}
}

// saw returns the number of events before the last response without events, and the hash of
// all events.
func (m *member) saw() (events int, hash uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.caughtUp, m.hash.Sum64()
}

// post posts notifications with the ids first+1 to end.
func (c *crowd) post(t *testing.T, first, end int, text string) {
	t.Helper()
	var next, failed atomic.Int64
	next.Store(int64(first))
	var wg sync.WaitGroup
	for range posters {
		wg.Go(func() {
			for id := next.Add(1); id <= int64(end); id = next.Add(1) {
				body := "notification_type=MessageReceived&external_contact_id=wxid_1&text=" + text + "&id=" + strconv.FormatInt(id, 10)
				response, err := c.client.Post(c.webhookURL(config.DefaultChannel), "application/x-www-form-urlencoded", strings.NewReader(body))
				if err != nil {
					failed.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, response.Body) // allows reuse of the connection
				_ = response.Body.Close()                 // the body was read
				if response.StatusCode != http.StatusOK {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, failed.Load())
}

// await waits until each of the members has n events and then a response without events. It
// fails unless they have the first reader's events in the same order.
func (c *crowd) await(t *testing.T, members []*member, n int) {
	t.Helper()
	behind := func() string {
		for i, m := range members {
			if events, _ := m.saw(); events != n {
				return fmt.Sprintf("member %d of %d has %d events, want %d", i, len(members), events, n)
			}
		}
		return ""
	}
	// A thousand members take minutes on a loaded machine.
	if !assert.Eventually(t, func() bool { return behind() == "" }, 5*time.Minute, 10*time.Millisecond) {
		require.FailNow(t, behind())
	}
	_, want := c.readers[0].saw()
	for i, m := range members {
		_, hash := m.saw()
		require.Equal(t, want, hash, "member %d of %d has different events or a different order", i, len(members))
	}
}

// recorded returns a Recorder with the webhooks that post posted, up to end, and a subscription
// to all events. It asserts that those are the first reader's events. The Recorder keeps several
// copies of each event: 1 GB for 500,000 small ones.
func (c *crowd) recorded(t *testing.T, end int, text string) *Recorder {
	t.Helper()
	r := NewRecorder(t)
	for i := range end {
		r.RecordPost(Post{Channel: config.DefaultChannel, Status: http.StatusOK, Fields: Form("notification_type", "MessageReceived",
			"external_contact_id", "wxid_1", "text", text, "id", strconv.Itoa(i+1))})
	}
	all := r.Subscribe("all", OverGRPC{}, c.endpoints(), &ongairv1.SubscribeRequest{
		Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
	})
	var hash maphash.Hash
	hash.SetSeed(c.readers[0].hash.Seed())
	for _, e := range all.Events(end) {
		_, _ = hash.WriteString(e.GetId()) // never fails
	}
	_, want := c.readers[0].saw()
	assert.Equal(t, want, hash.Sum64(), "the log has different events or a different order")
	return r
}

// heartbeat is the interval of heartbeats.
const heartbeat = 100 * time.Millisecond

// overGRPC subscribes and returns a function that returns the ids of the next response.
func overGRPC(ctx context.Context, t *testing.T, g *gateway) (next func() ([]string, error)) {
	t.Helper()
	conn, err := Dial(g.endpoints())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	req := &ongairv1.SubscribeRequest{HeartbeatInterval: durationpb.New(heartbeat)}
	stream, err := ongairv1.NewOngairServiceClient(conn).Subscribe(ctx, req, grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	require.NoError(t, err)
	_, err = stream.Header() // received once the subscription has started
	require.NoError(t, err)
	return func() ([]string, error) {
		var response raw
		if err := stream.RecvMsg(&response); err != nil {
			return nil, err
		}
		return idsOf(response)
	}
}

// overNDJSON does the same over REST.
func overNDJSON(ctx context.Context, t *testing.T, g *gateway) (next func() ([]string, error)) {
	t.Helper()
	url := fmt.Sprintf("http://%s/v1/events:subscribe?heartbeat_interval=%gs", g.HTTP, heartbeat.Seconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() }) // the subscription has ended
	require.Equal(t, http.StatusOK, response.StatusCode)
	lines := json.NewDecoder(response.Body)
	return func() ([]string, error) {
		var line struct {
			Result struct{ Events []struct{ ID string } }
		}
		if err := lines.Decode(&line); err != nil {
			return nil, err
		}
		var ids []string
		for _, e := range line.Result.Events {
			ids = append(ids, e.ID)
		}
		return ids, nil
	}
}

// raw is an encoded response. Decoding the responses of a whole crowd would take too long.
type raw []byte

// rawCodec is the protobuf codec, except that it does not decode raw.
type rawCodec struct{ encoding.CodecV2 }

// Unmarshal copies data if v is a *raw.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*raw)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	*r = data.Materialize()
	return nil
}

// idsOf returns the ids of the events of a response. Field 1 of a response is an event, and
// field 1 of an event is its id.
func idsOf(response []byte) (ids []string, err error) {
	err = eachFieldOne(response, func(event []byte) error {
		return eachFieldOne(event, func(id []byte) error {
			ids = append(ids, string(id))
			return nil
		})
	})
	return ids, err
}

// eachFieldOne calls do with the bytes of each field 1 of a message.
func eachFieldOne(message []byte, do func([]byte) error) error {
	for len(message) > 0 {
		number, kind, size := protowire.ConsumeField(message)
		if size < 0 {
			return protowire.ParseError(size)
		}
		if number == 1 && kind == protowire.BytesType {
			_, _, tag := protowire.ConsumeTag(message)
			value, _ := protowire.ConsumeBytes(message[tag:])
			if err := do(value); err != nil {
				return err
			}
		}
		message = message[size:]
	}
	return nil
}
