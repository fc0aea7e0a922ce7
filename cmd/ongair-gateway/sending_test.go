package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/jetstream/jetstreamtest"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// sendTo makes a call to a gateway, which may be killed meanwhile.
func sendTo(t *testing.T, g *gateway, id string) (Call, string) {
	t.Helper()
	call := Call{RequestID: id, Text: "text of " + id}
	conn, err := Dial(g.endpoints())
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	response, err := ongairv1.NewOngairServiceClient(conn).Send(ctx,
		&ongairv1.SendRequest{ExternalId: Contact, Text: call.Text, RequestId: id})
	call.MessageID, call.Replayed, call.Err = response.GetId(), response.GetReplayed(), err
	return call, fault.ReasonName(fault.ReasonOf(status.Convert(err)))
}

// TestAKilledGatewaySendsNoCallTwice kills it at any point of calls that are spread
// over more time than one takes, and makes each of them again: on the gateway that
// starts in its place, or on another replica.
func TestAKilledGatewaySendsNoCallTwice(t *testing.T) {
	const calls, apart, upstream = 30, 2 * time.Millisecond, 20 * time.Millisecond
	for name, homes := range map[string]func(t *testing.T) (args []string, replica bool){
		"and its successor does not": func(t *testing.T) ([]string, bool) { return []string{"--data-dir", t.TempDir()}, false },
		"and another replica does not": func(t *testing.T) ([]string, bool) {
			return []string{"--nats-url", jetstreamtest.Serve(t, nil).URL()}, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			box, url := silentSandbox(t)
			box.SetFaults(sandbox.Fault{Path: "/send", Delay: upstream})
			args, replica := homes(t)
			g := serve(t, oneChannel(url), args...)
			other := g
			if replica {
				other = serve(t, oneChannel(url), args...)
			}
			r := NewRecorder(t)
			seen := map[string]int{}
			for round := range Rounds(3, 100) {
				first := make([]Call, calls)
				var wg sync.WaitGroup
				for i := range calls {
					wg.Go(func() {
						time.Sleep(time.Duration(i) * apart)
						first[i], _ = sendTo(t, g, fmt.Sprintf("%d-%d", round, i))
					})
				}
				time.Sleep(rand.N(calls*apart + 2*upstream))
				g.kill()
				wg.Wait()
				g = serve(t, oneChannel(url), args...)
				if !replica {
					other = g
				}
				for i := range calls {
					again, reason := sendTo(t, other, first[i].RequestID)
					r.RecordCall(again)
					if first[i].Err == nil { // otherwise the kill ended it, without a reason
						r.RecordCall(first[i])
					}
					switch {
					case again.Err == nil && again.Replayed && first[i].Err == nil:
						seen["answered, then replayed"]++
					case again.Err == nil && again.Replayed:
						seen["not answered, then replayed"]++
					case again.Err == nil:
						assert.Error(t, first[i].Err, "what was answered is not made again")
						seen["not made, then made"]++
					default:
						// The claim stands, also where the kill came between an answer and the storing
						// of it. Nobody knows until its deadline, and then nobody ever will.
						assert.Contains(t, []string{"IDEMPOTENCY_IN_FLIGHT", "OUTCOME_UNKNOWN"}, reason)
						seen["never made again: "+reason]++
					}
				}
			}
			t.Log(seen)
			assert.Positive(t, seen["answered, then replayed"])
			assert.Positive(t, seen["not made, then made"])
			r.RecordUpstream(box)
			r.Verify(other.endpoints())
		})
	}
}
