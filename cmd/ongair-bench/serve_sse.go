package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/mem"

	"github.com/ongair/ongair-gateway/server/fanout"
)

// serveSSECmd is the simplest fan-out of Server-Sent Events: a net/http handler that walks the
// chain, without a queue, lock or timer. It has no log, filters, cursors or heartbeats. Messages
// are encoded once and shared.
type serveSSECmd struct {
	Send string `required:"" enum:"messages,batches"`
}

// oneMessage flushes each message. The other way is batches, which flushes the backlog of a stream
// at once, as the gateway does.
const oneMessage = "messages"

// Run serves until stdin ends.
func (c *serveSSECmd) Run(ctx context.Context, io stdio) error {
	ctx = untilClosed(ctx, io.in)
	events := newChain(fanout.DefaultRingBytes, false)
	walk := walkMessages
	if c.Send == batches {
		walk = walkMessageBatches(&sync.Pool{New: func() any { return new([]byte) }})
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{ReadHeaderTimeout: postTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = bareSSE(r.Context(), w, events, walk) // the client has left
	})}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	context.AfterFunc(ctx, func() { _ = server.Close() }) // the process ends
	group.Go(func() error {
		return servePosts(ctx, func(_ context.Context, body []byte) error {
			events.addMessage(body)
			return nil
		}, func(url string) error {
			return announce(io.out, addresses{HTTP: listener.Addr().String(), Post: url})
		})
	})
	return group.Wait()
}

// Parts of a message before and after the posted body, which needs no escapes in JSON. A message is
// about as large as the gateway's.
const (
	messageHead = "id: " + bareCursor + "\nevent: MessageReceived\ndata: " +
		`{"id":"00000000000000000000000000000000","cursor":"` + bareCursor + `","channel":"bench",` +
		`"receive_time":"2026-01-01T00:00:00.000000000Z","notification_type":"MessageReceived","raw_body":{"content":"`
	messageTail = `"},"fields":[]}` + "\n\n"
)

// addMessage creates an event from a body, as a message of Server-Sent Events, and wakes the
// streams.
func (c *chain) addMessage(body []byte) {
	message := make([]byte, 0, len(messageHead)+len(body)+len(messageTail))
	message = append(append(append(message, messageHead...), body...), messageTail...)
	l := &link{record: mem.SliceBuffer(message), linked: make(chan struct{})}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.push(l)
}

// bareSSE serves one stream. It starts after the newest event.
func bareSSE(ctx context.Context, w http.ResponseWriter, events *chain, walk func(context.Context, func([]byte) error, *link) error) error {
	_, at := events.ends()
	w.Header().Set("Content-Type", typeSSE)
	controller := http.NewResponseController(w)
	send := func(messages []byte) error {
		if _, err := w.Write(messages); err != nil {
			return err
		}
		return controller.Flush()
	}
	// Send the first message at once, as the gateway does.
	if err := send([]byte("id: " + bareCursor + "\n\n")); err != nil {
		return err
	}
	return walk(ctx, send, at)
}

// walkMessages sends each message by itself.
func walkMessages(ctx context.Context, send func([]byte) error, at *link) error {
	for {
		next := at.next.Load()
		if next == nil {
			if err := at.wait(ctx); err != nil {
				return err
			}
			continue
		}
		at = next
		if err := send(at.record.ReadOnlyData()); err != nil {
			return err
		}
	}
}

// walkMessageBatches returns a function that sends the backlog of a stream in batches. Its buffers
// are from a pool, so that waiting streams have none.
func walkMessageBatches(buffers *sync.Pool) func(context.Context, func([]byte) error, *link) error {
	return func(ctx context.Context, send func([]byte) error, at *link) error {
		for {
			if at.next.Load() == nil {
				if err := at.wait(ctx); err != nil {
					return err
				}
			}
			buffer := buffers.Get().(*[]byte)
			batch := (*buffer)[:0]
			for next := at.next.Load(); next != nil && len(batch) < bareBatchBytes; next = at.next.Load() {
				at = next
				batch = append(batch, at.record.ReadOnlyData()...)
			}
			*buffer = batch
			err := send(batch)
			buffers.Put(buffer)
			if err != nil {
				return err
			}
		}
	}
}

// startSSE starts a bare server of Server-Sent Events that sends in the given way.
func (r *runner) startSSE(send string) func(context.Context) (*process, error) {
	return func(ctx context.Context) (*process, error) { return r.start(ctx, "serve-sse", "--send", send) }
}
