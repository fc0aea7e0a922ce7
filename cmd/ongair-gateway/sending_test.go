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

// sendTo makes a call to a gateway and also returns its status. The gateway may be killed during
// the call.
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

// TestAKilledGatewaySendsNoCallTwice kills a gateway during calls. The calls are spread over more
// time than one call takes, so that the kill hits any point of a call. It then repeats each call on
// the restarted gateway or on another replica.
func TestAKilledGatewaySendsNoCallTwice(t *testing.T) {
	const calls, atOnce, apart, upstream = 30, 10, 2 * time.Millisecond, 20 * time.Millisecond
	for _, storage := range storages() {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			box, url := silentSandbox(t)
			box.SetFaults(sandbox.Fault{Path: "/send", Delay: upstream})
			args, replica := emptyLog(t, storage), storage == external // two gateways can share it
			g := serve(t, oneChannel(url), args...)
			other := g
			if replica {
				other = serve(t, oneChannel(url), args...)
			}
			r, random := NewRecorder(t), Random(t)
			seen := map[string]int{}
			// An answer is not replayed if the kill interrupts its storing. More rounds follow if
			// that happened to all answers.
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
				pace := time.NewTicker(apart) // so that the calls are at different points
				kill := atOnce + 1 + random.IntN(calls-atOnce-1)
				for i := range kill {
					<-pace.C
					next <- i
				}
				// Some calls are answered, up to atOnce are in flight, and the last are not made.
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
					if first[i].Err == nil { // otherwise the kill ended it without a reason
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
						assert.Error(t, first[i].Err, "an answered call is not made again")
						seen["not made, then made"]++
					default:
						// The claim remains, also if the kill came between the answer and its storing.
						// The outcome is unknown during the claim's deadline and grace, and also
						// afterwards (TestAnInterruptedCallIsNeverMadeAgain).
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

// silentTLS starts a server that accepts connections and does not answer their TLS handshakes. A
// call that has connected to it has a claim, but has posted nothing.
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

// TestAnInterruptedCallIsNeverMadeAgain kills a gateway at two points of a call: between its claim
// and its POST, and between its POST and the record of its outcome. A gateway that gets the call
// again cannot distinguish these, nor know whether another replica still makes the call. It
// returns IDEMPOTENCY_IN_FLIGHT until no replica can make the call, and then OUTCOME_UNKNOWN.
func TestAnInterruptedCallIsNeverMadeAgain(t *testing.T) {
	const (
		timeout = 2 * time.Second
		grace   = 10 * time.Second // of a claim, after its call's deadline
	)
	for _, storage := range storages() {
		t.Run(storage, func(t *testing.T) {
			t.Parallel()
			box, url := silentSandbox(t)
			box.SetFaults(sandbox.Fault{Path: "/send", Connection: sandbox.Hang})
			tlsURL, connected := silentTLS(t)
			config := "channels:\n"
			urls := map[string]string{"posted": url, "connecting": tlsURL}
			for channel, url := range urls {
				config += fmt.Sprintf("  %s: {base_url: %q, token: %s, webhook_secret: %s}\n", channel, url, Token, secretOf(channel))
			}
			args, replica := emptyLog(t, storage), storage == external // two gateways can share it
			args = append(args, "--config", writeFile(t, "gateway.yaml", config))
			g := serve(t, nil, args...)
			gateways := map[string]*gateway{}
			if replica {
				gateways["another replica"] = serve(t, nil, args...)
			}
			r := NewRecorder(t)
			began := time.Now()
			var first sync.WaitGroup
			defer first.Wait() // if the test fails before the kill
			for channel := range urls {
				first.Go(func() {
					_, s := sendTo(t, g, channel, "a call on "+channel, timeout)
					// The kill ends the call before its deadline. After that, its outcome would be recorded.
					assert.Equal(t, codes.Unavailable, s.Code(), channel)
				})
			}
			require.Eventually(t, func() bool { return len(connected) == 1 && len(box.Requests()) == 1 }, patience, time.Millisecond)
			g.kill()
			first.Wait()
			gateways["the restarted gateway"] = serve(t, nil, args...)

			repeat := func(g *gateway, channel string) *status.Status {
				call, s := sendTo(t, g, channel, "a call on "+channel, timeout)
				r.RecordCall(call)
				return s
			}
			// Repeat each call on each gateway, at the delays of its errors, until its claim expires.
			type pair struct{ gateway, channel string }
			open := map[pair]bool{}
			for name := range gateways {
				for channel := range urls {
					open[pair{name, channel}] = true
				}
			}
			inFlight := map[pair]int{}
			for len(open) > 0 {
				var again time.Duration
				for p := range open {
					s := repeat(gateways[p.gateway], p.channel)
					if reasonOf(s) == "IDEMPOTENCY_IN_FLIGHT" {
						inFlight[p]++
						again = retryDelay(s)
						require.Positive(t, again)
						require.Less(t, time.Since(began), timeout+grace+patience)
						continue
					}
					assert.Equal(t, "OUTCOME_UNKNOWN", reasonOf(s), "%v: %s", p, s.Message())
					assert.Greater(t, time.Since(began), grace, "%v: the call may still run", p)
					assert.Positive(t, inFlight[p], "%v", p)
					delete(open, p)
				}
				<-time.After(again)
			}
			for channel := range urls {
				for name, g := range gateways {
					assert.Equal(t, "OUTCOME_UNKNOWN", reasonOf(repeat(g, channel)), "%s, after the claim", name)
				}
			}
			assert.Len(t, box.Requests(), 1)
			assert.Len(t, connected, 1)
			r.RecordUpstream(box)
			r.Verify(gateways["the restarted gateway"].endpoints())
		})
	}
}

// retryDelay returns the retry delay of an error, or 0 if it has none.
func retryDelay(s *status.Status) time.Duration {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
