package acceptance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// sender makes a Send call over one transport. It returns the response, its status and, over REST,
// the HTTP status.
type sender func(t *testing.T, at Endpoints, timeout time.Duration, req *ongairv1.SendRequest) (*ongairv1.SendResponse, *status.Status, int)

func senders() map[string]sender {
	return map[string]sender{"gRPC": sendOverGRPC, "REST": sendOverREST}
}

// deadlineForGateway is a context that sends a deadline to the gateway. The client waits longer, so
// that the gateway reports the end of a call even on a busy machine.
type deadlineForGateway struct {
	context.Context
	deadline time.Time
}

func (d deadlineForGateway) Deadline() (time.Time, bool) { return d.deadline, true }

func sendOverGRPC(t *testing.T, at Endpoints, timeout time.Duration, req *ongairv1.SendRequest) (*ongairv1.SendResponse, *status.Status, int) {
	t.Helper()
	conn, err := Dial(at)
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), timeout+10*time.Second)
	defer cancel()
	response, err := ongairv1.NewOngairServiceClient(conn).Send(deadlineForGateway{ctx, time.Now().Add(timeout)}, req)
	return response, status.Convert(err), 0
}

func sendOverREST(t *testing.T, at Endpoints, timeout time.Duration, req *ongairv1.SendRequest) (*ongairv1.SendResponse, *status.Status, int) {
	t.Helper()
	body, err := protojson.Marshal(req)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at.HTTP+"/v1/messages:send", bytes.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Grpc-Timeout", fmt.Sprintf("%dm", timeout.Milliseconds()))
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer func() { assert.NoError(t, answer.Body.Close()) }()
	var content bytes.Buffer
	_, err = content.ReadFrom(answer.Body)
	require.NoError(t, err)
	response := &ongairv1.SendResponse{}
	if answer.StatusCode == http.StatusOK {
		require.NoError(t, protojson.Unmarshal(content.Bytes(), response))
		return response, nil, answer.StatusCode
	}
	s := &spb.Status{}
	require.NoError(t, protojson.Unmarshal(content.Bytes(), s), content.String())
	if info := retryInfo(status.FromProto(s)); info != nil {
		seconds := info.GetRetryDelay().AsDuration().Seconds()
		assert.Equal(t, fmt.Sprint(int(seconds+0.999)), answer.Header.Get("Retry-After"))
	} else {
		assert.Empty(t, answer.Header.Get("Retry-After"))
	}
	return response, status.FromProto(s), answer.StatusCode
}

func retryInfo(s *status.Status) *errdetails.RetryInfo {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info
		}
	}
	return nil
}

// fakeOngair listens in Ongair's place, and calls accept with each connection.
func fakeOngair(t *testing.T, accept func(net.Conn)) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				accept(conn)
				_ = conn.Close() // if accept did not
			})
		}
	})
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		wg.Wait()
	})
	return "http://" + listener.Addr().String()
}

// TestEveryWayACallCanEndHasOneReason is the matrix of what can happen to a call,
// on the level of what is on the socket, over gRPC and REST, with and without a
// request_id. Where a message may have been sent there is one POST and never another,
// not even when the same request_id comes again.
func TestEveryWayACallCanEndHasOneReason(t *testing.T) {
	const page = "<html><body>502 Bad Gateway</body></html>"
	html := map[string]string{"Content-Type": "text/html"}
	type row struct {
		name string
		// faults are the sandbox's. upstream, if set, replaces the sandbox.
		faults   []sandbox.Fault
		upstream func(t *testing.T) (url string)
		timeout  time.Duration // 10 s if not set

		reason string // empty for success
		code   codes.Code
		http   int
		effect fault.Effect
		// posts is the number of POSTs of one call.
		posts int
		// retry means that the error has a RetryInfo.
		retry bool
	}
	always := func(f sandbox.Fault) []sandbox.Fault { return []sandbox.Fault{f} }
	for _, tt := range []row{
		{name: "an answer", http: 200, posts: 1},
		{
			name: "a refused connection", reason: "ONGAIR_UNREACHABLE", code: codes.Unavailable, http: 503, effect: fault.EffectNone, retry: true,
			upstream: func(t *testing.T) string {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				require.NoError(t, listener.Close())
				return "http://" + listener.Addr().String()
			},
		},
		{
			name: "a TLS handshake that never ends", reason: "DEADLINE_EXCEEDED", code: codes.DeadlineExceeded, http: 504, effect: fault.EffectNone,
			timeout: time.Second, // the gateway answers a tenth of it earlier, before REST times out with an unknown effect
			upstream: func(t *testing.T) string {
				url := fakeOngair(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }) // until the gateway closes it
				return strings.Replace(url, "http:", "https:", 1)
			},
		},
		{
			name: "an HTTP server where TLS is expected", reason: "ONGAIR_UNREACHABLE", code: codes.Unavailable, http: 503, effect: fault.EffectNone, retry: true,
			upstream: func(t *testing.T) string {
				url := fakeOngair(t, func(conn net.Conn) {
					_, _ = conn.Read(make([]byte, 1<<20))
					_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
				})
				return strings.Replace(url, "http:", "https:", 1)
			},
		},
		{
			// Over TLS the gateway writes the request only after the handshake. Without TLS it may be
			// writing when the reset arrives, which server/ongair/connection_test.go tests.
			name: "a reset before the request", reason: "ONGAIR_UNREACHABLE", code: codes.Unavailable, http: 503, effect: fault.EffectNone, retry: true,
			upstream: func(t *testing.T) string {
				url := fakeOngair(t, func(conn net.Conn) { assert.NoError(t, conn.(*net.TCPConn).SetLinger(0)) })
				return strings.Replace(url, "http:", "https:", 1)
			},
		},
		{
			name: "a reset after the request", faults: always(sandbox.Fault{Connection: sandbox.ResetBeforeAnswer}),
			reason: "ONGAIR_CONNECTION_LOST", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "a connection closed after the request", faults: always(sandbox.Fault{Connection: sandbox.CloseBeforeAnswer, Effect: true}),
			reason: "ONGAIR_CONNECTION_LOST", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "half an answer", faults: always(sandbox.Fault{Connection: sandbox.HalfAnswer}),
			reason: "ONGAIR_CONNECTION_LOST", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "an answer after the deadline", faults: always(sandbox.Fault{Delay: 10 * time.Second, Effect: true}), timeout: 300 * time.Millisecond,
			reason: "DEADLINE_EXCEEDED", code: codes.DeadlineExceeded, http: 504, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "no answer", faults: always(sandbox.Fault{Connection: sandbox.Hang}), timeout: 300 * time.Millisecond,
			reason: "DEADLINE_EXCEEDED", code: codes.DeadlineExceeded, http: 504, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "429 without a delay", faults: always(sandbox.Fault{Status: 429}),
			reason: "ONGAIR_THROTTLED", code: codes.ResourceExhausted, http: 429, effect: fault.EffectNone, posts: 1, retry: true,
		},
		{
			name: "429 with a delay beyond the deadline", faults: always(sandbox.Fault{Status: 429, Headers: map[string]string{"Retry-After": "60"}}),
			reason: "ONGAIR_THROTTLED", code: codes.ResourceExhausted, http: 429, effect: fault.EffectNone, posts: 1, retry: true,
		},
		{
			name: "429 with a delay of 1 s", faults: always(sandbox.Fault{Status: 429, Headers: map[string]string{"Retry-After": "1"}, Times: 1}),
			http: 200, posts: 2,
		},
		{
			name: "503 with a delay of 1 s", faults: always(sandbox.Fault{Status: 503, Headers: map[string]string{"Retry-After": "1"}, Times: 1}),
			http: 200, posts: 2,
		},
		{
			name: "503 with a delay beyond the deadline", faults: always(sandbox.Fault{Status: 503, Headers: map[string]string{"Retry-After": "60"}}),
			reason: "ONGAIR_THROTTLED", code: codes.ResourceExhausted, http: 429, effect: fault.EffectNone, posts: 1, retry: true,
		},
		{
			name: "503 without a delay", faults: always(sandbox.Fault{Status: 503, Headers: html, Body: page, Effect: true}),
			reason: "ONGAIR_FAILED", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "503 with an invalid delay", faults: always(sandbox.Fault{Status: 503, Headers: map[string]string{"Retry-After": "soon"}, Effect: true}),
			reason: "ONGAIR_FAILED", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "500", faults: always(sandbox.Fault{Status: 500, Effect: true}),
			reason: "ONGAIR_FAILED", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "502 with HTML", faults: always(sandbox.Fault{Status: 502, Headers: html, Body: page}),
			reason: "ONGAIR_FAILED", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "504", faults: always(sandbox.Fault{Status: 504, Effect: true}),
			reason: "ONGAIR_FAILED", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "200 with HTML", faults: always(sandbox.Fault{Status: 200, Headers: html, Body: page}),
			reason: "ONGAIR_ANSWER_UNREADABLE", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "200 without a body", faults: always(sandbox.Fault{Status: 200}),
			reason: "ONGAIR_ANSWER_UNREADABLE", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "200 with sent: false", faults: always(sandbox.Fault{Status: 200, Body: `{"sent":false}`}),
			reason: "ONGAIR_REFUSED", code: codes.FailedPrecondition, http: 400, effect: fault.EffectNone, posts: 1,
		},
		{
			name: "10 MB of nonsense", faults: always(sandbox.Fault{Status: 200, Headers: html, Body: strings.Repeat("nonsense\n", 10<<20/9)}),
			reason: "ONGAIR_ANSWER_UNREADABLE", code: codes.Unknown, http: 500, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "a redirect", faults: always(sandbox.Fault{Status: 307, Headers: map[string]string{"Location": "https://app.ongair.im/"}}),
			reason: "ONGAIR_REDIRECTED", code: codes.FailedPrecondition, http: 400, effect: fault.EffectUnknown, posts: 1,
		},
		{
			name: "422", faults: always(sandbox.Fault{Status: 422, Body: `{"error":"no such contact"}`}),
			reason: "ONGAIR_REFUSED", code: codes.FailedPrecondition, http: 400, effect: fault.EffectNone, posts: 1,
		},
		{
			name: "401 in both forms of the token", faults: always(sandbox.Fault{Status: 401, Body: `{"error":"Invalid API Token"}`}),
			reason: "ONGAIR_TOKEN_REJECTED", code: codes.FailedPrecondition, http: 400, effect: fault.EffectNone, posts: 2,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			g := Start(t, func(c *config.Config) {
				if tt.upstream != nil {
					channel := c.Channels[Channel]
					channel.BaseURL = tt.upstream(t)
					c.Channels[Channel] = channel
				}
			})
			if tt.timeout == 0 {
				tt.timeout = 10 * time.Second
			}
			for transport, send := range senders() {
				check := func(s *status.Status, httpStatus int, reason string) {
					t.Helper()
					assert.Equal(t, reason, fault.ReasonName(fault.ReasonOf(s)), "%s: %s", transport, s.Message())
					if reason != tt.reason {
						return
					}
					assert.Equal(t, tt.code, s.Code(), transport)
					assert.Equal(t, string(tt.effect), fault.Info(s).GetMetadata()["effect"], transport)
					assert.Equal(t, tt.retry, retryInfo(s) != nil, transport)
					if transport == "REST" {
						assert.Equal(t, tt.http, httpStatus)
					}
				}
				for _, keyed := range []bool{false, true} {
					req := &ongairv1.SendRequest{ExternalId: Contact, Text: fmt.Sprintf("%s, keyed %t", transport, keyed)}
					if keyed {
						req.RequestId = transport
					}
					posts := func() (n int) {
						for _, r := range g.Sandbox.Requests() {
							if r.Params["text"] == req.GetText() {
								n++
							}
						}
						return n
					}
					g.Sandbox.SetFaults(tt.faults...)
					response, s, httpStatus := send(t, g.Endpoints(), tt.timeout, req)
					assert.Equal(t, tt.posts, posts(), transport)
					if tt.reason == "" {
						require.Nil(t, s.Err())
						assert.NotEmpty(t, response.GetId())
					} else {
						check(s, httpStatus, tt.reason)
					}
					if !keyed {
						continue
					}
					// Repeat the call. It is replayed, sent again, or rejected.
					again, s, httpStatus := send(t, g.Endpoints(), tt.timeout, req)
					switch {
					case tt.reason == "":
						require.Nil(t, s.Err())
						assert.True(t, again.GetReplayed())
						assert.Equal(t, response.GetId(), again.GetId())
						assert.Equal(t, tt.posts, posts(), transport)
					case tt.effect == fault.EffectUnknown:
						check(s, httpStatus, "OUTCOME_UNKNOWN")
						assert.Equal(t, tt.posts, posts(), "no second POST")
					default:
						check(s, httpStatus, tt.reason)
						assert.Equal(t, 2*tt.posts, posts(), transport)
					}
				}
			}
		})
	}
}

func TestACancelledCallEndsTheCallToOngair(t *testing.T) {
	g := Start(t)
	g.Sandbox.SetFaults(sandbox.Fault{Connection: sandbox.Hang})
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	req := &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello", RequestId: "1"}
	go func() {
		_, err := ongairv1.NewOngairServiceClient(conn).Send(ctx, req)
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(g.Sandbox.Requests()) == 1 }, 10*time.Second, time.Millisecond)
	cancel()
	assert.Equal(t, codes.Canceled, status.Code(<-ended))
	// A later call with the same request_id learns that the outcome is unknown.
	require.Eventually(t, func() bool {
		_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), req)
		return reasonOf(err) == "OUTCOME_UNKNOWN"
	}, 10*time.Second, 10*time.Millisecond)
	assert.Len(t, g.Sandbox.Requests(), 1)
}

// A channel whose Ongair does not answer is flooded with calls. Calls of another channel succeed.
// The flooded channel rejects calls at once.
func TestADeadChannelDoesNotAffectOthers(t *testing.T) {
	dead := make(chan struct{})
	closeAll := sync.OnceFunc(func() { close(dead) })
	defer closeAll() // also if the test fails, because fakeOngair waits for its connections
	g := Start(t, func(c *config.Config) {
		url := fakeOngair(t, func(net.Conn) { <-dead })
		c.Channels["dead"] = config.Channel{BaseURL: url, Token: Token, WebhookSecret: Secret, MaxInFlight: 50}
	})
	conn, err := Dial(g.Endpoints())
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	client := ongairv1.NewOngairServiceClient(conn)
	var flood sync.WaitGroup
	reasons := make(chan string, 500)
	for range cap(reasons) {
		flood.Go(func() {
			_, err := client.Send(t.Context(), &ongairv1.SendRequest{Channel: "dead", ExternalId: Contact, Text: "Hello"})
			reasons <- reasonOf(err)
		})
	}
	for range 100 {
		_, err := client.Send(t.Context(), &ongairv1.SendRequest{Channel: Channel, ExternalId: Contact, Text: "Hello"})
		require.NoError(t, err)
	}
	const share = 34 // one caller's share of 50 in flight
	require.Eventually(t, func() bool { return len(reasons) == cap(reasons)-share }, 10*time.Second, time.Millisecond,
		"all calls that are not in flight are rejected")
	closeAll()
	flood.Wait()
	close(reasons)
	seen := map[string]int{}
	for reason := range reasons {
		seen[reason]++
	}
	assert.Equal(t, map[string]int{"CHANNEL_BUSY": cap(reasons) - share, "ONGAIR_CONNECTION_LOST": share}, seen)
	_, err = client.Send(t.Context(), &ongairv1.SendRequest{Channel: "dead", ExternalId: Contact, Text: "Hello"})
	assert.Equal(t, "ONGAIR_CIRCUIT_OPEN", reasonOf(err), "%v", seen)
	assert.Len(t, g.Sandbox.Requests(), 100)
}

// Half of the calls are made over REST.
func TestAThousandCallsWithOneIDOverTwoGatewaysAreOnePOST(t *testing.T) {
	const calls = 1000
	_, first, second := replicas(t)
	first.Sandbox.SetFaults(sandbox.Fault{Delay: 300 * time.Millisecond})
	body, err := json.Marshal(map[string]string{"external_id": Contact, "text": "Hello", "request_id": "the one"})
	require.NoError(t, err)
	httpClient := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 100, MaxConnsPerHost: 100}}
	defer httpClient.CloseIdleConnections()

	type outcome struct {
		id, reason string
	}
	overGRPC := func(client ongairv1.OngairServiceClient) outcome {
		response, err := client.Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello", RequestId: "the one"})
		return outcome{response.GetId(), reasonOf(err)}
	}
	overREST := func(g *Gateway) outcome {
		response, err := httpClient.Post("http://"+g.HTTP+"/v1/messages:send", "application/json", bytes.NewReader(body))
		if !assert.NoError(t, err) {
			return outcome{}
		}
		defer func() { _ = response.Body.Close() }() // read to its end
		var answer struct {
			ID      string
			Details []struct{ Reason string }
		}
		assert.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
		if response.StatusCode == http.StatusOK {
			return outcome{answer.ID, "UNSPECIFIED"}
		}
		assert.Equal(t, http.StatusConflict, response.StatusCode)
		return outcome{"", answer.Details[0].Reason}
	}
	var clients []ongairv1.OngairServiceClient
	for _, g := range []*Gateway{first, second} {
		conn, err := Dial(g.Endpoints())
		require.NoError(t, err)
		defer func() { assert.NoError(t, conn.Close()) }()
		clients = append(clients, ongairv1.NewOngairServiceClient(conn))
	}

	for round := range 2 {
		outcomes := make(chan outcome, calls)
		var wg sync.WaitGroup
		for i := range calls {
			wg.Go(func() {
				if g := []*Gateway{first, second}[i%2]; i%4 < 2 {
					outcomes <- overREST(g)
				} else {
					outcomes <- overGRPC(clients[i%2])
				}
			})
		}
		wg.Wait()
		close(outcomes)
		seen := map[outcome]int{}
		id := ""
		for o := range outcomes {
			seen[o]++
			if o.id != "" {
				id = o.id
			}
		}
		answered, inFlight := seen[outcome{id, "UNSPECIFIED"}], seen[outcome{"", "IDEMPOTENCY_IN_FLIGHT"}]
		assert.Equal(t, calls, answered+inFlight, "%v", seen)
		assert.Positive(t, answered)
		if round > 0 {
			assert.Equal(t, calls, answered, "all calls are replayed when the first has ended")
		}
	}
	assert.Len(t, first.Sandbox.Requests(), 1)
	assert.Empty(t, second.Sandbox.Requests())
}

// NATS is killed while calls are in flight, and starts again after outcomes could not be stored.
// Then all calls are repeated on the other gateway, which has no outcome in memory.
func TestSuccessfulCallsAreReplayedAfterAnOutageOfNATS(t *testing.T) {
	const calls, atOnce = 1200, 256
	nats, first, second := replicas(t)
	first.Sandbox.SetFaults(sandbox.Fault{Delay: 10 * time.Millisecond, Effect: true})
	send := func(g *Gateway) func(call int) (*ongairv1.SendResponse, string) {
		conn, err := Dial(g.Endpoints())
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, conn.Close()) })
		return func(call int) (*ongairv1.SendResponse, string) {
			id := fmt.Sprint(call)
			response, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(),
				&ongairv1.SendRequest{ExternalId: Contact, Text: id, RequestId: id})
			return response, reasonOf(err)
		}
	}
	var next, succeeded, failed atomic.Int32
	var sending sync.WaitGroup
	answered := make([]*ongairv1.SendResponse, calls) // nil if it failed
	sendTo := send(first)
	for range atOnce {
		sending.Go(func() {
			for call := next.Add(1) - 1; call < calls; call = next.Add(1) - 1 {
				response, reason := sendTo(int(call))
				if reason == "UNSPECIFIED" {
					answered[call] = response
					succeeded.Add(1)
				} else if assert.Equal(t, "LOG_UNAVAILABLE", reason) {
					failed.Add(1)
				}
			}
		})
	}
	require.Eventually(t, func() bool { return succeeded.Load() > calls/4 }, 30*time.Second, time.Millisecond)
	nats.Stop()
	require.Eventually(t, func() bool { return failed.Load() > 0 }, 30*time.Second, time.Millisecond)
	nats.Start(t)
	sending.Wait()

	repeat := send(second)
	for call := range calls {
		var response *ongairv1.SendResponse
		var reason string
		require.Eventually(t, func() bool {
			response, reason = repeat(call)
			return reason != "LOG_UNAVAILABLE" && reason != "IDEMPOTENCY_IN_FLIGHT"
		}, time.Minute, 10*time.Millisecond, "call %d", call)
		if assert.Equal(t, "UNSPECIFIED", reason, "call %d, which succeeded: %t", call, answered[call] != nil) && answered[call] != nil {
			assert.True(t, response.GetReplayed())
			assert.Equal(t, answered[call].GetId(), response.GetId())
		}
	}
	posts := map[string]int{}
	for _, r := range first.Sandbox.Requests() {
		posts[r.Params["text"]]++
	}
	assert.Len(t, posts, calls)
	for text, n := range posts {
		assert.Equal(t, 1, n, "call %s", text)
	}
}
