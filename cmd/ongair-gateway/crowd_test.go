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

// crowd is many subscribers of one gateway, some of whom do not read. A Recorder
// would keep every event for each of them; these keep how many there were, and a
// hash of their ids in order, which is the same for all that saw the same.
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
	// ids has all of them, where it is not nil.
	ids map[string]struct{}
	// caughtUp is how many events there were when a response last had none.
	caughtUp int
}

// posters is how many webhooks are under way at once: more gain little.
const posters = 64

// join subscribes readers over gRPC, and others who do not read over gRPC, and
// every tenth, but at least one, over REST, where each costs the gateway most.
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

// saw returns how many events there were until the stream had no more to say, and
// what they were.
func (m *member) saw() (events int, hash uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.caughtUp, m.hash.Sum64()
}

// post posts notifications with the ids from first up to end.
func (c *crowd) post(t *testing.T, first, end int, text string) {
	t.Helper()
	var next, refused atomic.Int64
	next.Store(int64(first))
	var wg sync.WaitGroup
	for range posters {
		wg.Go(func() {
			for id := next.Add(1); id <= int64(end); id = next.Add(1) {
				body := "notification_type=MessageReceived&external_contact_id=wxid_1&text=" + text + "&id=" + strconv.FormatInt(id, 10)
				response, err := c.client.Post(c.webhookURL(config.DefaultChannel), "application/x-www-form-urlencoded", strings.NewReader(body))
				if err != nil {
					refused.Add(1)
					continue
				}
				_, _ = io.Copy(io.Discard, response.Body) // so that the connection is used again
				_ = response.Body.Close()                 // read to its end
				if response.StatusCode != http.StatusOK {
					refused.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Zero(t, refused.Load())
}

// await waits until members have seen n events and are told that there are no
// more, and fails unless they are those that the first reader saw, in its order.
func (c *crowd) await(t *testing.T, members []*member, n int) {
	t.Helper()
	behind := func() string {
		for i, m := range members {
			if events, _ := m.saw(); events != n {
				return fmt.Sprintf("%d of %d has %d events, want %d", i, len(members), events, n)
			}
		}
		return ""
	}
	// A thousand of them take a while on a loaded machine.
	if !assert.Eventually(t, func() bool { return behind() == "" }, 5*time.Minute, 10*time.Millisecond) {
		require.FailNow(t, behind())
	}
	_, want := c.readers[0].saw()
	for i, m := range members {
		_, hash := m.saw()
		require.Equal(t, want, hash, "%d of %d has other events, or another order", i, len(members))
	}
}

// recorded returns a recorder of what post posted, up to end, with a subscription to all
// of it, whose events have to be what the first reader saw. It keeps each of them several
// times: 1 GB for 500,000 small ones.
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
	assert.Equal(t, want, hash.Sum64(), "the log has other events than were seen, or another order")
	return r
}

const beat = 100 * time.Millisecond

// overGRPC subscribes, and returns what waits for the next response.
func overGRPC(ctx context.Context, t *testing.T, g *gateway) (next func() ([]string, error)) {
	t.Helper()
	conn, err := Dial(g.endpoints())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	req := &ongairv1.SubscribeRequest{HeartbeatInterval: durationpb.New(beat)}
	stream, err := ongairv1.NewOngairServiceClient(conn).Subscribe(ctx, req, grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	require.NoError(t, err)
	_, err = stream.Header() // which comes with the first response: the stream has begun
	require.NoError(t, err)
	return func() ([]string, error) {
		var response raw
		if err := stream.RecvMsg(&response); err != nil {
			return nil, err
		}
		return idsOf(response)
	}
}

// overNDJSON is overGRPC over REST.
func overNDJSON(ctx context.Context, t *testing.T, g *gateway) (next func() ([]string, error)) {
	t.Helper()
	url := fmt.Sprintf("http://%s/v1/events:subscribe?heartbeat_interval=%gs", g.HTTP, beat.Seconds())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	require.NoError(t, err)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	require.NoError(t, err)
	t.Cleanup(func() { _ = response.Body.Close() }) // the subscription is over
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

// raw is a response that is not decoded: a crowd in one process has no time for it.
type raw []byte

// rawCodec is protobuf, except for raw.
type rawCodec struct{ encoding.CodecV2 }

// Unmarshal copies into a *raw.
func (c rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*raw)
	if !ok {
		return c.CodecV2.Unmarshal(data, v)
	}
	*r = data.Materialize()
	return nil
}

// idsOf returns the ids of the events of a response: the fields 1 of its fields 1.
func idsOf(response []byte) (ids []string, err error) {
	err = eachFieldOne(response, func(event []byte) error {
		return eachFieldOne(event, func(id []byte) error {
			ids = append(ids, string(id))
			return nil
		})
	})
	return ids, err
}

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
