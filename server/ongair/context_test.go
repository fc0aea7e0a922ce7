package ongair

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	deadlineExceeded = ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED
	cancelled        = ongairv1.ErrorReason_ERROR_REASON_CANCELLED
)

// endable is a context whose deadline expires when end is called.
type endable struct {
	context.Context
	done  chan struct{}
	ended atomic.Bool
}

func newEndable(t *testing.T) *endable {
	t.Helper()
	return &endable{Context: t.Context(), done: make(chan struct{})}
}

func (e *endable) Done() <-chan struct{} { return e.done }

func (e *endable) Err() error {
	if e.ended.Load() {
		return context.DeadlineExceeded
	}
	return nil
}

func (e *endable) end() {
	e.ended.Store(true)
	close(e.done)
}

// The server sees the end of the connection only if the client closes it when its context ends.
func TestAContextThatEndsWhileOngairHasTheCall(t *testing.T) {
	for name, begin := range map[string]string{
		"before an answer":               "",
		"within the header":              "HTTP/1.1 200 OK\r\nConte",
		"after the header of a success":  "HTTP/1.1 200 OK\r\nContent-Length: 54\r\n\r\n",
		"within the body of a success":   keptAlive[:len(keptAlive)-1],
		"within an informational answer": "HTTP/1.1 103 Early Hints\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			begun, ended := make(chan struct{}), make(chan error)
			client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
				reader := bufio.NewReader(conn)
				readRequest(reader)
				_, _ = io.WriteString(conn, begin)
				begun <- struct{}{}
				_, err := reader.ReadByte()
				ended <- err
			}))

			deadline := newEndable(t)
			go func() {
				<-begun
				deadline.end()
			}()
			_, err := client.Send(deadline, Text{ExternalID: testContact, Text: testText})
			f := requireFault(t, err, deadlineExceeded, fault.EffectUnknown)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, "the deadline passed; the message may have been sent", f.Message)
			require.Error(t, <-ended)

			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-begun
				cancel(errors.New("private cause"))
			}()
			_, err = client.Send(ctx, Text{ExternalID: testContact, Text: testText})
			f = requireFault(t, err, cancelled, fault.EffectUnknown)
			require.ErrorIs(t, err, context.Canceled)
			assert.Equal(t, "the caller cancelled the call; the message may have been sent", f.Message)
			require.Error(t, <-ended)
		})
	}
}

func TestALateAnswerEndsWithTheDeadline(t *testing.T) {
	ended := make(chan error, 1)
	client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
		reader := bufio.NewReader(conn)
		readRequest(reader)
		_, err := reader.ReadByte()
		ended <- err
	}))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second) // long enough to write the request on a busy machine
	defer cancel()
	_, err := client.Send(ctx, Text{ExternalID: testContact, Text: testText})
	requireFault(t, err, deadlineExceeded, fault.EffectUnknown)
	require.Error(t, <-ended)
}

func TestARequestThatOngairDoesNotReadEndsWithTheDeadline(t *testing.T) {
	begun, release := make(chan struct{}), make(chan struct{})
	client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
		_, _ = conn.Read(make([]byte, 1))
		close(begun)
		<-release
	}))
	defer close(release)
	ctx := newEndable(t)
	go func() {
		<-begun
		ctx.end()
	}()
	_, err := client.Send(ctx, Text{ExternalID: testContact, Text: strings.Repeat("x", 16<<20)})
	requireFault(t, err, deadlineExceeded, fault.EffectUnknown)
}

func TestAContextThatEndsBeforeAnythingIsWritten(t *testing.T) {
	dialling, release := make(chan struct{}), make(chan struct{})
	transport := NewTransport()
	transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		dialling <- struct{}{}
		<-release
		return nil, errors.New("released")
	}
	defer close(release)
	client := newClient(t, "http://127.0.0.1:1", func(c *Config) { c.Transport = transport })

	t.Run("by a deadline while connecting", func(t *testing.T) {
		ctx := newEndable(t)
		go func() {
			<-dialling
			ctx.end()
		}()
		_, err := client.Send(ctx, Text{})
		f := requireFault(t, err, deadlineExceeded, fault.EffectNone)
		assert.Equal(t, "the deadline passed; nothing was sent", f.Message)
		assert.Zero(t, f.RetryAfter)
	})
	t.Run("by a cancellation while connecting", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-dialling
			cancel()
		}()
		_, err := client.Send(ctx, Text{})
		f := requireFault(t, err, cancelled, fault.EffectNone)
		assert.Equal(t, "the caller cancelled the call; nothing was sent", f.Message)
	})
	t.Run("by a cancellation before the call", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("private cause"))
		_, err := client.Send(ctx, Text{})
		requireFault(t, err, cancelled, fault.EffectNone)
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("by a deadline before the call", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 0)
		defer cancel()
		_, err := client.Send(ctx, Text{})
		requireFault(t, err, deadlineExceeded, fault.EffectNone)
	})
}

// A timeout of the dialer matches context.DeadlineExceeded, although the caller's deadline has not
// passed.
func TestATimeoutOfTheDialerIsNotTheCallersDeadline(t *testing.T) {
	transport := NewTransport()
	transport.DialContext = (&net.Dialer{Deadline: time.Unix(1, 0)}).DialContext
	_, err := send(t, newClient(t, "http://127.0.0.1:1", func(c *Config) { c.Transport = transport }))
	f := requireFault(t, err, unreachable, fault.EffectNone)
	assert.ErrorIs(t, f.Cause, context.DeadlineExceeded)
}

func TestACallThatIsCancelledBetweenTheFormsOfTheTokenSentNothing(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &account{accepts: equals}
	transport := NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	client := newClient(t, serve(t, a.ServeHTTP), func(c *Config) {
		c.Transport = roundTripper(func(r *http.Request) (*http.Response, error) {
			response, err := transport.RoundTrip(r)
			cancel()
			return response, err
		})
	})
	_, err := client.Send(ctx, Text{ExternalID: testContact, Text: testText})
	requireFault(t, err, cancelled, fault.EffectNone)
	assert.Equal(t, []string{colon}, a.change(""))
}
