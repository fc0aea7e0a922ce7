package api

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// limited returns the principal of a caller with limits.
func limited(t *testing.T, name string, limits auth.Limits) auth.Principal {
	t.Helper()
	caller := auth.Unrestricted(billingKey)
	caller.Limits = limits
	ctx, err := auth.New(map[string]auth.Caller{name: caller}).Authenticate(
		metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+billingKey)), nil)
	require.NoError(t, err)
	return auth.FromContext(ctx)
}

func assertLimit(t *testing.T, err error, limit string) *fault.Fault {
	t.Helper()
	require.Error(t, err)
	f := fault.From(err)
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED, f.Reason)
	assert.Equal(t, fault.EffectNone, f.Effect)
	assert.Equal(t, map[string]string{"limit": limit}, f.Metadata)
	assert.Positive(t, f.RetryAfter)
	return f
}

func TestACallerHasItsShareOfCallsAtOnce(t *testing.T) {
	l, billing, crm := &Limits{}, limited(t, "billing", auth.Limits{MaxInFlight: 2}), limited(t, "crm", auth.Limits{MaxInFlight: 2})
	first, err := l.call(billing, "")
	require.NoError(t, err)
	_, err = l.call(billing, "")
	require.NoError(t, err)
	_, err = l.call(billing, "")
	assertLimit(t, err, "in_flight")
	_, err = l.call(crm, "")
	require.NoError(t, err, "another caller has its own")
	first()
	_, err = l.call(billing, "")
	require.NoError(t, err, "a place that was given back")
}

func TestACallerHasItsShareOfStreams(t *testing.T) {
	l, billing := &Limits{}, limited(t, "billing", auth.Limits{MaxStreams: 1, MaxInFlight: 1})
	done, err := l.stream(billing, "")
	require.NoError(t, err)
	_, err = l.stream(billing, "")
	assertLimit(t, err, "streams")
	_, err = l.call(billing, "")
	require.NoError(t, err, "calls are counted for themselves")
	done()
	_, err = l.stream(billing, "")
	require.NoError(t, err)
}

func TestACallerHasItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, billing := &Limits{}, limited(t, "billing", auth.Limits{MaxRate: 10})
		took := func() (n int) {
			for {
				done, err := l.call(billing, "")
				if err != nil {
					f := assertLimit(t, err, "rate")
					assert.LessOrEqual(t, f.RetryAfter, 100*time.Millisecond)
					return n
				}
				done()
				n++
			}
		}
		assert.Equal(t, 10, took(), "at once")
		time.Sleep(500 * time.Millisecond)
		assert.Equal(t, 5, took())
		// A caller that gets more has it from then on.
		billing = limited(t, "billing", auth.Limits{MaxRate: 20})
		assert.Equal(t, 20, took())
	})
}

func TestWhoWatchesTheHealthHasALimit(t *testing.T) {
	l := &Limits{}
	watch := func(n int) (done func(), err error) { return l.watch(fmt.Sprint(n)) } // each on a connection of its own
	for n := range maxWatches - 1 {
		_, err := watch(n)
		require.NoError(t, err)
	}
	done, err := watch(maxWatches)
	require.NoError(t, err)
	_, err = watch(maxWatches + 1)
	assertLimit(t, err, "watches")
	_, err = l.check("another")
	require.NoError(t, err, "who asks once is not kept out by who watches")
	done()
	_, err = watch(maxWatches + 1)
	require.NoError(t, err)
}

func TestTheDefaultsAreWellAboveWhatABusyCallerNeeds(t *testing.T) {
	limits, ok := limited(t, "billing", auth.Limits{}).Limits()
	assert.True(t, ok)
	assert.Greater(t, limits.MaxRate, 1000.0)
	assert.Greater(t, limits.MaxInFlight, 256)
	assert.Greater(t, limits.MaxStreams, 256)
	assert.Greater(t, limits.MaxConnections, 256)
}

func TestNobodyLimitsTheAnonymousOne(t *testing.T) {
	l := &Limits{}
	for range 10 * auth.DefaultMaxInFlight {
		_, err := l.call(auth.Principal{}, "")
		require.NoError(t, err)
		_, err = l.stream(auth.Principal{}, "")
		require.NoError(t, err)
	}
}

func TestACallBeyondALimitDoesNothing(t *testing.T) {
	release := make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(release) })
	upstream := &fakeOngair{answer: func(ctx context.Context) (ongair.Receipt, error) {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return receipt, nil
	}}
	caller := auth.Unrestricted(billingKey)
	caller.MaxInFlight = 1
	g := start(t, sends(upstream), func(o *options) { o.callers = map[string]auth.Caller{"billing": caller} })
	ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
	ended := make(chan error, 1)
	go func() {
		_, err := g.invoke(ctx, minimal()["Send"])
		ended <- err
	}()
	require.Eventually(t, func() bool { return len(upstream.taken()) == 1 }, 10*time.Second, time.Millisecond)
	_, err := g.invoke(ctx, minimal()["Send"])
	requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED)
	assert.Empty(t, upstream.taken(), "since the first one")
	once.Do(func() { close(release) })
	require.NoError(t, <-ended)
	_, err = g.invoke(ctx, minimal()["Send"])
	require.NoError(t, err)
}

func TestMetadataHasABound(t *testing.T) {
	g := start(t, sends(&fakeOngair{}))
	for size, code := range map[int]codes.Code{maxHeaderBytes / 2: codes.OK, 2 * maxHeaderBytes: codes.Internal} {
		ctx := metadata.AppendToOutgoingContext(withinTest(t), "large", strings.Repeat("x", size))
		_, err := g.invoke(ctx, minimal()["Send"])
		assert.Equal(t, code, status.Code(err), "gRPC says of itself that it is too much: %v", err)
	}
}
