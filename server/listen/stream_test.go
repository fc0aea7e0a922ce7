package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/syncbuffer"
)

// text returns an appendTo of Stream.Send.
func text(s string) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) { return append(b, s...), nil }
}

// serving is an HTTPServer on loopback whose only answer is a stream.
type serving struct {
	*HTTPServer
	listener *Listener
	addr     string
	// fromServe gets the error of HTTPServer.Serve, and fromStreams those of Streams.Serve.
	fromServe, fromStreams chan error
}

// serveStreams serves until the test ends.
func serveStreams(t *testing.T, tlsConfig *tls.Config, serve func(*http.Request, *Stream) error) *serving {
	t.Helper()
	var streams Streams
	s := &serving{fromServe: make(chan error, 1), fromStreams: make(chan error, 100)}
	s.HTTPServer = NewHTTPServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		err := streams.Serve(w, req, serve)
		if err != nil {
			http.Error(w, err.Error(), http.StatusTeapot)
		}
		s.fromStreams <- err
	}), tlsConfig, 0, slog.New(slog.DiscardHandler))
	var err error
	s.listener, err = TCP(t.Context(), Config{Addr: "127.0.0.1:0", Name: "test", MaxConnections: 100, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	s.addr = s.listener.Addr().String()
	go func() { s.fromServe <- s.Serve(s.listener) }()
	t.Cleanup(func() {
		_ = s.Close()
		require.NoError(t, <-s.fromServe)
	})
	return s
}

// request sends a request and returns its connection.
func (s *serving) request(t *testing.T, version string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	_, err = fmt.Fprintf(conn, "GET / %s\r\nHost: x\r\n\r\n", version)
	require.NoError(t, err)
	return conn
}

// openConnections returns the number of connections that the port counts.
func (s *serving) openConnections() int {
	s.listener.mu.Lock()
	defer s.listener.mu.Unlock()
	return len(s.listener.open)
}

func TestAStreamIsWrittenInTheFormatOfItsHTTPVersion(t *testing.T) {
	s := serveStreams(t, nil, func(_ *http.Request, out *Stream) error {
		out.Header().Set("X-Test", "yes")
		for _, part := range []string{"one\n", strings.Repeat("x", 300), "\n"} {
			if err := out.Send(text(part)); err != nil {
				return err
			}
		}
		return nil
	})
	const tail = "Connection: close\r\n"
	for version, want := range map[string]string{
		"HTTP/1.1": tail + "Transfer-Encoding: chunked\r\nX-Test: yes\r\n\r\n4\r\none\n\r\n12c\r\n" + strings.Repeat("x", 300) + "\r\n1\r\n\n\r\n0\r\n\r\n",
		"HTTP/1.0": tail + "X-Test: yes\r\n\r\none\n" + strings.Repeat("x", 300) + "\n",
	} {
		t.Run(version, func(t *testing.T) {
			answer, err := io.ReadAll(s.request(t, version)) // until the gateway closes the connection
			require.NoError(t, err)
			status, rest, _ := strings.Cut(string(answer), "\r\n")
			date, rest, _ := strings.Cut(rest, "\r\n")
			assert.Equal(t, version+" 200 OK", status)
			assert.Contains(t, date, "Date: ")
			assert.Equal(t, want, rest)
			assert.NoError(t, <-s.fromStreams)
			assert.Eventually(t, func() bool { return s.openConnections() == 0 }, 10*time.Second, time.Millisecond)
		})
	}
}

func TestAStreamOverTLSIsTheSameOverHTTP1AndHTTP2(t *testing.T) {
	issued := httptest.NewUnstartedServer(nil)
	issued.StartTLS()
	defer issued.Close()
	for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(version, func(t *testing.T) {
			next := make(chan struct{})
			s := serveStreams(t, &tls.Config{Certificates: issued.TLS.Certificates}, func(_ *http.Request, out *Stream) error {
				if err := out.Send(text("one\n")); err != nil {
					return err
				}
				<-next
				return out.Send(text("two\n"))
			})
			transport := issued.Client().Transport.(*http.Transport).Clone()
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetHTTP1(version == "HTTP/1.1")
			transport.Protocols.SetHTTP2(version == "HTTP/2.0")
			defer transport.CloseIdleConnections()
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr, nil)
			require.NoError(t, err)
			response, err := transport.RoundTrip(request)
			require.NoError(t, err)
			assert.Equal(t, version, response.Proto)
			first := make([]byte, 4)
			_, err = io.ReadFull(response.Body, first)
			require.NoError(t, err)
			assert.Equal(t, "one\n", string(first), "a part comes at once")
			close(next)
			rest, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Equal(t, "two\n", string(rest))
			require.NoError(t, response.Body.Close())
		})
	}
}

func TestAnErrorBeforeTheFirstPartIsLeftToTheHandler(t *testing.T) {
	s := serveStreams(t, nil, func(_ *http.Request, out *Stream) error {
		encoding := errors.New("cannot encode")
		assert.ErrorIs(t, out.Send(func(b []byte) ([]byte, error) { return b, encoding }), encoding)
		assert.False(t, out.Begun())
		return encoding
	})
	response, err := http.Get("http://" + s.addr)
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusTeapot, response.StatusCode)
	assert.Equal(t, "cannot encode\n", string(body))
	http.DefaultClient.CloseIdleConnections()
}

func TestAClientThatLeavesEndsItsStream(t *testing.T) {
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("begun=%t", begun), func(t *testing.T) {
			waits, left := make(chan struct{}), make(chan struct{})
			s := serveStreams(t, nil, func(req *http.Request, out *Stream) error {
				if begun {
					assert.NoError(t, out.Send(text("one\n")))
				}
				close(waits)
				<-req.Context().Done()
				close(left)
				return req.Context().Err()
			})
			conn := s.request(t, "HTTP/1.1")
			<-waits
			require.NoError(t, conn.Close())
			<-left
			if begun {
				assert.NoError(t, <-s.fromStreams)
			} else {
				assert.ErrorIs(t, <-s.fromStreams, context.Canceled)
			}
		})
	}
}

// What a client sends after its request is no header of a next one, so it takes none of the places
// for large headers.
func TestWhatAClientSendsDuringAStreamIsIgnored(t *testing.T) {
	issued := httptest.NewUnstartedServer(nil)
	issued.StartTLS()
	defer issued.Close()
	secured := &tls.Config{Certificates: issued.TLS.Certificates}
	client := issued.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	client.ServerName = "example.com"
	for name, config := range map[string]*tls.Config{"clear text": nil, "TLS": secured} {
		t.Run(name, func(t *testing.T) {
			next := make(chan struct{})
			s := serveStreams(t, config, func(req *http.Request, out *Stream) error {
				if err := out.Send(text("one\n")); err != nil {
					return err
				}
				<-next
				if err := out.Send(text("two\n")); err != nil {
					return err
				}
				<-req.Context().Done()
				return nil
			})
			var conn net.Conn
			conn, err := net.Dial("tcp", s.addr)
			require.NoError(t, err)
			if config != nil {
				conn = tls.Client(conn, client)
			}
			defer func() { _ = conn.Close() }()
			require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
			_, err = io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
			require.NoError(t, err)
			answer := bufio.NewScanner(conn)
			for answer.Scan() && answer.Text() != "one" {
			}
			_, err = io.WriteString(conn, headers(16<<20)) // more than the kernel buffers
			require.NoError(t, err)
			assert.True(t, s.largeHeaders.TryAcquire(maxLargeHeaders), "it takes a place")
			close(next)
			require.True(t, answer.Scan(), "the stream ended: %v", answer.Err())
			assert.Equal(t, "two", answer.Text())
		})
	}
}

func TestAnInterruptedStreamThatIsNotReadEnds(t *testing.T) {
	blocked := make(chan *Stream, 1)
	s := serveStreams(t, nil, func(_ *http.Request, out *Stream) error {
		blocked <- out
		for {
			if err := out.Send(text(strings.Repeat("x", 1<<20))); err != nil {
				return err
			}
		}
	})
	conn := s.request(t, "HTTP/1.1") // and does not read
	out := <-blocked
	time.Sleep(100 * time.Millisecond) // until it is blocked, which does not matter
	out.Interrupt()
	require.Eventually(t, func() bool { return s.openConnections() == 0 }, 10*time.Second, time.Millisecond)
	answer, _ := io.ReadAll(conn)
	assert.False(t, bytes.HasSuffix(answer, []byte("0\r\n\r\n")), "the answer looks whole")
}

func TestAStopWaitsForStreams(t *testing.T) {
	sent, next := make(chan struct{}), make(chan struct{})
	s := serveStreams(t, nil, func(_ *http.Request, out *Stream) error {
		assert.NoError(t, out.Send(text("one\n")))
		close(sent)
		<-next
		return out.Send(text("two\n"))
	})
	conn := s.request(t, "HTTP/1.0")
	<-sent
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.Stop(t.Context())
	}()
	select {
	case <-stopped:
		require.Fail(t, "the stop did not wait for the stream")
	case <-time.After(300 * time.Millisecond):
	}
	close(next)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(string(answer), "one\ntwo\n"), string(answer))
	<-stopped
}

func TestAStopDoesNotWaitForEverForAStream(t *testing.T) {
	sent, next := make(chan struct{}), make(chan struct{})
	s := serveStreams(t, nil, func(_ *http.Request, out *Stream) error {
		assert.NoError(t, out.Send(text("one\n")))
		close(sent)
		<-next
		return nil
	})
	s.request(t, "HTTP/1.1")
	<-sent
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	s.Stop(ctx)
	close(next)
	require.Eventually(t, func() bool { return s.openConnections() == 0 }, 10*time.Second, time.Millisecond)
}

func TestAPanicEndsOnlyItsStream(t *testing.T) {
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("begun=%t", begun), func(t *testing.T) {
			var logged syncbuffer.Buffer
			s := serveStreams(t, nil, func(_ *http.Request, out *Stream) error {
				if begun {
					assert.NoError(t, out.Send(text("one\n")))
				}
				panic("a defect")
			})
			s.ErrorLog = log.New(&logged, "", 0)
			answer, _ := io.ReadAll(s.request(t, "HTTP/1.1"))
			assert.Equal(t, begun, strings.Contains(string(answer), "one\n"))
			assert.False(t, strings.HasSuffix(string(answer), "0\r\n\r\n"), "the answer looks whole")
			assert.Eventually(t, func() bool { return s.openConnections() == 0 }, 10*time.Second, time.Millisecond)
			assert.Eventually(t, func() bool { return strings.Contains(logged.String(), "a defect") }, 10*time.Second, time.Millisecond)
		})
	}
}
