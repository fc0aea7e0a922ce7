package main

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// sendTo makes a call to a gateway, which may be killed meanwhile, and returns its status, too.
func sendTo(t *testing.T, g *gateway, channel, id string, timeout time.Duration) (Call, *status.Status) {
	t.Helper()
	call := Call{RequestID: id, Text: "text of " + id}
	conn, err := Dial(g.endpoints())
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	response, err := ongairv1.NewOngairServiceClient(conn).Send(ctx,
		&ongairv1.SendRequest{Channel: channel, ExternalId: Contact, Text: call.Text, RequestId: id})
	call.MessageID, call.Replayed, call.Err = response.GetId(), response.GetReplayed(), err
	return call, status.Convert(err)
}

func reasonOf(s *status.Status) string { return fault.ReasonName(fault.ReasonOf(s)) }

// TestAKilledGatewaySendsNoCallTwice kills it at any point of calls that are spread
// over more time than one takes, and makes each of them again: on the gateway that
// starts in its place, or on another replica.
func TestAKilledGatewaySendsNoCallTwice(t *testing.T) {
	const calls, atOnce, apart, upstream = 30, 10, 2 * time.Millisecond, 20 * time.Millisecond
	for _, home := range homes() {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			box, url := silentSandbox(t)
			box.SetFaults(sandbox.Fault{Path: "/send", Delay: upstream})
			args, replica := emptyLog(t, home), home == external // which another gateway can be on, too
			g := serve(t, oneChannel(url), args...)
			other := g
			if replica {
				other = serve(t, oneChannel(url), args...)
			}
			r, random := NewRecorder(t), Random(t)
			seen := map[string]int{}
			// An answer whose storing is cut off is not replayed: it takes more rounds where
			// that happened to all that were answered.
			rounds := Rounds(3, 100)
			for round := 0; round < rounds || seen["answered, then replayed"] == 0 && round < 10*rounds; round++ {
				first, next := make([]Call, calls), make(chan int)
				var wg sync.WaitGroup
				for range atOnce {
					wg.Go(func() {
						for i := range next {
							first[i], _ = sendTo(t, g, config.DefaultChannel, fmt.Sprintf("%d-%d", round, i), patience)
						}
					})
				}
				pace := time.NewTicker(apart) // or all would be at the same point
				kill := atOnce + 1 + random.IntN(calls-atOnce-1)
				for i := range kill {
					<-pace.C
					next <- i
				}
				// Some are answered, up to atOnce are at any point, and the last were not made.
				<-time.After(time.Duration(random.Int64N(int64(2 * upstream))))
				g.kill()
				for i := kill; i < calls; i++ {
					next <- i
				}
				close(next)
				wg.Wait()
				pace.Stop()
				g = serve(t, oneChannel(url), args...)
				if !replica {
					other = g
				}
				for i := range calls {
					again, s := sendTo(t, other, config.DefaultChannel, first[i].RequestID, patience)
					r.RecordCall(again)
					if first[i].Err == nil { // otherwise the kill ended it, without a reason
						r.RecordCall(first[i])
					}
					switch {
					case i >= kill:
						require.NoError(t, again.Err)
						assert.False(t, again.Replayed, "it was not made before")
					case again.Err == nil && again.Replayed && first[i].Err == nil:
						seen["answered, then replayed"]++
					case again.Err == nil && again.Replayed:
						seen["not answered, then replayed"]++
					case again.Err == nil:
						assert.Error(t, first[i].Err, "what was answered is not made again")
						seen["not made, then made"]++
					default:
						// The claim stands, also where the kill came between an answer and the storing
						// of it. Nobody knows until its deadline and its grace, and then nobody ever will
						// (TestACallThatAKillInterruptedIsNeverMadeAgain).
						assert.Equal(t, "IDEMPOTENCY_IN_FLIGHT", reasonOf(s))
						seen["never made again"]++
					}
				}
			}
			t.Log(seen)
			assert.Positive(t, seen["answered, then replayed"])
			r.RecordUpstream(box)
			r.Verify(other.endpoints())
		})
	}
}

// silentTLS is an Ongair that takes connections, keeps them, and does not answer their TLS
// handshakes. A call that has connected has its claim, and has posted nothing.
func silentTLS(t *testing.T) (url string, connected <-chan net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	conns := make(chan net.Conn, 100)
	go func() {
		defer close(conns)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conns <- conn
		}
	}()
	t.Cleanup(func() {
		assert.NoError(t, listener.Close())
		for conn := range conns {
			_ = conn.Close() // the gateway was killed
		}
	})
	return "https://" + listener.Addr().String(), conns
}

// TestACallThatAKillInterruptedIsNeverMadeAgain kills a gateway for certain between the
// claim of a call and its POST, and between its POST and the record of its outcome. Who
// asks afterwards cannot know which it was, nor whether another replica still makes it,
// and is told to wait until nobody can; then that nobody knows.
func TestACallThatAKillInterruptedIsNeverMadeAgain(t *testing.T) {
	const (
		timeout = 2 * time.Second
		grace   = 10 * time.Second // of a claim, after its call's deadline
	)
	for _, home := range homes() {
		t.Run(home, func(t *testing.T) {
			t.Parallel()
			box, url := silentSandbox(t)
			box.SetFaults(sandbox.Fault{Path: "/send", Connection: sandbox.Hang})
			tlsURL, connected := silentTLS(t)
			config := "channels:\n"
			urls := map[string]string{"posted": url, "connecting": tlsURL}
			for channel, url := range urls {
				config += fmt.Sprintf("  %s: {base_url: %q, token: %s, webhook_secret: %s}\n", channel, url, Token, secretOf(channel))
			}
			args, replica := emptyLog(t, home), home == external // which another gateway can be on, too
			args = append(args, "--config", writeFile(t, "gateway.yaml", config))
			g := serve(t, nil, args...)
			asked := map[string]*gateway{}
			if replica {
				asked["another replica"] = serve(t, nil, args...)
			}
			r := NewRecorder(t)
			began := time.Now()
			var first sync.WaitGroup
			defer first.Wait() // where the test fails before the kill
			for channel := range urls {
				first.Go(func() {
					_, s := sendTo(t, g, channel, "a call on "+channel, timeout)
					// The kill ends it, and not its deadline, after which its outcome would be recorded.
					assert.Equal(t, codes.Unavailable, s.Code(), channel)
				})
			}
			require.Eventually(t, func() bool { return len(connected) == 1 && len(box.Requests()) == 1 }, patience, time.Millisecond)
			g.kill()
			first.Wait()
			asked["its successor"] = serve(t, nil, args...)

			ask := func(g *gateway, channel string) *status.Status {
				call, s := sendTo(t, g, channel, "a call on "+channel, timeout)
				r.RecordCall(call)
				return s
			}
			// Everybody asks during the claims' time, and as often as they are told to.
			type question struct{ who, channel string }
			open := map[question]bool{}
			for who := range asked {
				for channel := range urls {
					open[question{who, channel}] = true
				}
			}
			inFlight := map[question]int{}
			for len(open) > 0 {
				var again time.Duration
				for q := range open {
					s := ask(asked[q.who], q.channel)
					if reasonOf(s) == "IDEMPOTENCY_IN_FLIGHT" {
						inFlight[q]++
						again = retryDelay(s)
						require.Positive(t, again)
						require.Less(t, time.Since(began), timeout+grace+patience)
						continue
					}
					assert.Equal(t, "OUTCOME_UNKNOWN", reasonOf(s), "%v: %s", q, s.Message())
					assert.Greater(t, time.Since(began), grace, "%v: its call may run", q)
					assert.Positive(t, inFlight[q], "%v", q)
					delete(open, q)
				}
				<-time.After(again)
			}
			for channel := range urls {
				for who, g := range asked {
					assert.Equal(t, "OUTCOME_UNKNOWN", reasonOf(ask(g, channel)), "%s, for good", who)
				}
			}
			assert.Len(t, box.Requests(), 1)
			assert.Len(t, connected, 1)
			r.RecordUpstream(box)
			r.Verify(asked["its successor"].endpoints())
		})
	}
}

// retryDelay is how long an error says to wait before the call is made again; 0 where it does not.
func retryDelay(s *status.Status) time.Duration {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
