package main

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestTailEndsASilentConnectionAndResumesOnANewOne(t *testing.T) {
	testSilence(t, func(_ *gateway, r *relay) (end func()) {
		r.drop()
		return func() {}
	})
}

// testSilence tests that tail resumes after a silence. silence starts the silence and returns a
// function that ends it.
func testSilence(t *testing.T, silence func(*gateway, *relay) (end func())) {
	t.Helper()
	t.Parallel()
	_, url := silentSandbox(t)
	g, r := serve(t, oneChannel(url), "--data-dir", t.TempDir()), NewRecorder(t)
	between := newRelay(t, g.GRPC)
	tail := start(t, nil, "tail", "--addr", between.addr, "--from", "earliest", "--output", "json", "--heartbeat-interval", "500ms")
	post := func(id int, text string) {
		r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(id, text)...)
	}
	post(1, "before")
	tail.waitFor(t, "the first event", func() bool { return strings.Count(tail.out(), "\n") == 1 })
	end := silence(g, between)
	tail.waitFor(t, "reconnecting", func() bool { return strings.Contains(tail.errOut(), "reconnecting: no response for 2s\n") })
	end()
	post(2, "after")
	tail.waitFor(t, "the second event", func() bool { return strings.Count(tail.out(), "\n") == 2 })
	assert.Zero(t, tail.stop(t))
	before, after, _ := strings.Cut(tail.out(), "\n")
	assert.Contains(t, before, `"text":"before"`)
	assert.Contains(t, after, `"text":"after"`)
	assert.GreaterOrEqual(t, between.accepted.Load(), int32(2), "connections")
}

// relay is a proxy that can stop forwarding without closing its connections.
type relay struct {
	addr     string
	accepted atomic.Int32
	mu       sync.Mutex
	// dropped is closed when the current connections must not forward any more. New connections
	// have a new channel.
	dropped chan struct{}
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{addr: listener.Addr().String(), dropped: make(chan struct{})}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.accepted.Add(1)
			onward, err := net.Dial("tcp", target)
			if !assert.NoError(t, err) {
				return
			}
			r.mu.Lock()
			dropped := r.dropped
			r.mu.Unlock()
			t.Cleanup(func() { _ = conn.Close(); _ = onward.Close() })
			running.Go(func() { forward(conn, onward, dropped) })
			running.Go(func() { forward(onward, conn, dropped) })
		}
	})
	t.Cleanup(func() { assert.NoError(t, listener.Close()) })
	return r
}

// drop drops all further bytes of the current connections.
func (r *relay) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.dropped)
	r.dropped = make(chan struct{})
}

// forward copies from one connection to another until one of them ends, and then closes the
// other. After dropped is closed, it drops the bytes.
func forward(from, to net.Conn, dropped <-chan struct{}) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-dropped:
			continue
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// fakeGateway is a gateway whose subscriptions a test defines.
type fakeGateway struct {
	ongairv1.UnimplementedOngairServiceServer
	// serve serves subscription n. The first is 0.
	serve func(n int, req *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error
	begun atomic.Int32
}

func (s *fakeGateway) Subscribe(req *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
	return s.serve(int(s.begun.Add(1))-1, req, stream)
}

// runTail runs `tail --output json` on a fake gateway. wrap may change the client's connections.
// stop ends tail. wait waits for its end and returns its stderr and error.
func runTail(t *testing.T, c tailCmd, out io.Writer, s *fakeGateway, wrap func(net.Conn) net.Conn) (stop context.CancelFunc, wait func() (stderr string, err error)) {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	server := grpc.NewServer()
	ongairv1.RegisterOngairServiceServer(server, s)
	go func() { _ = server.Serve(listener) }() // until it is stopped
	ctx, stop := context.WithCancel(t.Context())
	var errOut strings.Builder
	ended := make(chan error, 1)
	c.Addr, c.From, c.Output = "127.0.0.1:9090", "latest", "json"
	go func() {
		ended <- c.run(ctx, streams{out, &errOut}, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			conn, err := listener.DialContext(ctx)
			if err != nil {
				return nil, err
			}
			return wrap(conn), nil
		}))
	}()
	return stop, func() (string, error) {
		defer server.Stop()
		err := <-ended
		return errOut.String(), err
	}
}

func unchanged(conn net.Conn) net.Conn { return conn }

// eventNamed returns a response with one event, whose id is also its cursor.
func eventNamed(id string) *ongairv1.SubscribeResponse {
	return &ongairv1.SubscribeResponse{Cursor: id, Events: []*ongairv1.Event{{Id: id}}}
}

// A proxy may keep the connection and answer pings after its gateway has failed.
func TestTailEndsASilentStreamWhoseConnectionLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var began [3]time.Time
		var starts [3]string
		done := make(chan struct{})
		var out strings.Builder
		stop, wait := runTail(t, tailCmd{HeartbeatInterval: 15 * time.Second}, &out, &fakeGateway{
			serve: func(n int, req *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
				assert.Equal(t, 15*time.Second, req.GetHeartbeatInterval().AsDuration())
				began[n], starts[n] = time.Now(), req.GetCursor()
				switch n {
				case 0: // one event, a heartbeat just in time, and nothing more
					assert.NoError(t, stream.Send(eventNamed("one")))
					<-time.After(29 * time.Second)
					assert.NoError(t, stream.Send(&ongairv1.SubscribeResponse{Cursor: "two"}))
				case 1: // nothing at all
				case 2:
					assert.NoError(t, stream.Send(eventNamed("three")))
					close(done)
				}
				<-stream.Context().Done()
				return nil
			},
		}, unchanged)
		<-done
		synctest.Wait()
		stop()
		errOut, err := wait()
		require.NoError(t, err)
		assert.Equal(t, strings.Repeat("ongair-gateway: connection lost, reconnecting: no response for 30s\n", 2), errOut)
		assert.Equal(t, [3]string{"", "two", "two"}, starts, "the cursor is kept")
		assert.Equal(t, 59*time.Second+minReconnectDelay, began[1].Sub(began[0]))
		assert.Equal(t, 30*time.Second+2*minReconnectDelay, began[2].Sub(began[1]))
		assert.Equal(t, 2, strings.Count(out.String(), "\n"), "each event once")
	})
}

func TestTailThatNeverGetsAResponseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, wait := runTail(t, tailCmd{HeartbeatInterval: 15 * time.Second}, io.Discard, &fakeGateway{
			serve: func(_ int, _ *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
				<-stream.Context().Done()
				return nil
			},
		}, unchanged)
		_, err := wait()
		assert.Equal(t, exitUnavailable, exitCode(err))
		assert.Equal(t, "no response for 30s", describe(err))
	})
}

// A pager reads one page, and then nothing until a key is pressed.
func TestABlockedStdoutIsNotSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pager, stdout := io.Pipe()
		stop, wait := runTail(t, tailCmd{HeartbeatInterval: 15 * time.Second}, stdout, &fakeGateway{
			serve: func(_ int, _ *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
				for stream.Context().Err() == nil {
					assert.NoError(t, stream.Send(eventNamed("one")))
					select {
					case <-stream.Context().Done():
					case <-time.After(15 * time.Second):
					}
				}
				return nil
			},
		}, unchanged)
		<-time.After(time.Hour)
		got := make([]byte, 1)
		for range 1000 {
			_, err := pager.Read(got)
			require.NoError(t, err)
		}
		stop()
		require.NoError(t, pager.Close())
		errOut, err := wait()
		require.NoError(t, err)
		assert.Empty(t, errOut)
	})
}

// deafConn is a connection that drops all writes after silent is closed.
type deafConn struct {
	net.Conn
	silent chan struct{}
}

func (c deafConn) Write(b []byte) (int, error) {
	select {
	case <-c.silent:
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func TestKeepaliveEndsADeadConnectionBeforeTwoLongHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := make(chan struct{})
		var began [2]time.Time
		done := make(chan struct{})
		stop, wait := runTail(t, tailCmd{HeartbeatInterval: 5 * time.Minute}, io.Discard, &fakeGateway{
			serve: func(n int, _ *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
				began[n] = time.Now()
				assert.NoError(t, stream.Send(eventNamed("one")))
				close([]chan struct{}{silent, done}[n])
				<-stream.Context().Done()
				return nil
			},
		}, func(conn net.Conn) net.Conn {
			select {
			case <-silent:
				return conn
			default:
				return deafConn{conn, silent}
			}
		})
		<-done
		stop()
		errOut, err := wait()
		require.NoError(t, err)
		assert.Contains(t, errOut, "keepalive ping failed")
		assert.LessOrEqual(t, began[1].Sub(began[0]), time.Minute)
	})
}

// Proxies end streams with various statuses.
func TestTailResumesAfterAProxyEndsItsStream(t *testing.T) {
	ends := []error{
		nil,
		status.Error(codes.Unavailable, "upstream connect error"),
		status.Error(codes.Canceled, "stream reset"),
		status.Error(codes.DeadlineExceeded, "stream timeout"),
		status.Error(codes.Internal, "reset"),
		status.Error(codes.Unknown, "OK: HTTP status code 200; missing trailers"),
	}
	synctest.Test(t, func(t *testing.T) {
		_, wait := runTail(t, tailCmd{HeartbeatInterval: 15 * time.Second}, io.Discard, &fakeGateway{
			serve: func(n int, _ *ongairv1.SubscribeRequest, stream grpc.ServerStreamingServer[ongairv1.SubscribeResponse]) error {
				assert.NoError(t, stream.Send(eventNamed("one")))
				if n < len(ends) {
					return ends[n]
				}
				return status.Error(codes.PermissionDenied, "the caller has no permission any more")
			},
		}, unchanged)
		errOut, err := wait()
		assert.Equal(t, exitRejected, exitCode(err))
		assert.Equal(t, len(ends), strings.Count(errOut, "reconnecting"), errOut)
	})
}
