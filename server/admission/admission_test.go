package admission

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

func gateOf(most auth.Limits, actions ...auth.Action) *Gate {
	caller := auth.Unrestricted(billingKey)
	caller.Limits, caller.Actions = most, actions
	return New(auth.New(map[string]auth.Caller{"billing": caller}))
}

func TestACallIsAdmittedByItsHeaders(t *testing.T) {
	key := []string{"Bearer " + billingKey}
	for name, tt := range map[string]struct {
		req    Request
		reason ongairv1.ErrorReason
		caller string
	}{
		"an allowed caller":          {Request{Authorization: key, Action: auth.ActionSend}, 0, "billing"},
		"a caller without an action": {Request{Authorization: key}, 0, "billing"},
		"no credential":              {Request{Action: auth.ActionSend}, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING, ""},
		"an unknown key":             {Request{Authorization: []string{"Bearer x"}}, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID, ""},
		"a denied caller": {
			Request{Authorization: key, Action: auth.ActionTickets}, ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, "billing",
		},
		"health":         {Request{Kind: HealthCheck}, 0, ""},
		"a health watch": {Request{Kind: HealthWatch}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			call, err := gateOf(auth.Limits{}, auth.ActionSend).Admit(tt.req)
			defer call.Done()
			assert.Equal(t, tt.caller, call.Principal.Name, "the log needs the caller")
			if tt.reason == 0 {
				require.NoError(t, err)
				return
			}
			require.Error(t, err)
			assert.Equal(t, tt.reason, fault.From(err).Reason)
		})
	}
}

func TestACallThatBecomesAStreamCountsAsAStream(t *testing.T) {
	g := gateOf(auth.Limits{MaxInFlight: 1, MaxStreams: 1}, auth.ActionSubscribe)
	req := Request{Authorization: []string{"Bearer " + billingKey}, Action: auth.ActionSubscribe}
	poll, err := g.Admit(req)
	require.NoError(t, err)
	_, err = g.Admit(req)
	assertLimit(t, err, "in_flight")
	require.NoError(t, poll.MakeStream())
	call, err := g.Admit(req)
	require.NoError(t, err, "the poll no longer counts as a call")
	assertLimit(t, call.MakeStream(), "streams")
	again, err := g.Admit(req)
	require.NoError(t, err, "a call that cannot become a stream releases its place")
	poll.Done()
	require.NoError(t, again.MakeStream(), "the first stream must release its place")
	poll.Done()
	require.NoError(t, poll.MakeStream(), "a call that is done takes no place")
	again.Done()
	assert.Zero(t, g.limits.callers["billing"].streams)
	assert.Zero(t, g.limits.callers["billing"].calls)
}

func TestAHeldCallIsFoundByItsMetadata(t *testing.T) {
	g := gateOf(auth.Limits{}, auth.ActionSend)
	first, err := g.Admit(Request{Authorization: []string{"Bearer " + billingKey}})
	require.NoError(t, err)
	second, err := g.Admit(Request{Authorization: []string{"Bearer " + billingKey}})
	require.NoError(t, err)
	md, release := g.Hold(first)
	other, releaseOther := g.Hold(second)
	defer releaseOther()
	held, ok := g.Held(metadata.NewIncomingContext(t.Context(), md))
	require.True(t, ok)
	assert.Same(t, first, held)
	held, ok = g.Held(metadata.NewIncomingContext(t.Context(), other))
	require.True(t, ok)
	assert.Same(t, second, held)
	release()
	_, ok = g.Held(metadata.NewIncomingContext(t.Context(), md))
	assert.False(t, ok)
	_, ok = g.Held(t.Context())
	assert.False(t, ok)
}
