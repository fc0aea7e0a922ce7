package admission

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

const billingKey = "the-key-of-billing-for-tests"

// named returns a different key for each name.
func named(name string) ConnKey {
	hash := sha256.Sum256([]byte(name))
	return ConnKey{port: PortGRPC, remote: netip.AddrPortFrom(netip.AddrFrom16([16]byte(hash[:16])), 1)}
}

// limited returns a principal with the limits most.
func limited(t *testing.T, name string, most auth.Limits) auth.Principal {
	t.Helper()
	caller := auth.Unrestricted(billingKey)
	caller.Limits = most
	p, err := auth.New(map[string]auth.Caller{name: caller}).Authenticate([]string{"Bearer " + billingKey}, nil)
	require.NoError(t, err)
	return p
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

func TestConcurrentCallsOfACallerAreLimited(t *testing.T) {
	l, billing, crm := &limits{}, limited(t, "billing", auth.Limits{MaxInFlight: 2}), limited(t, "crm", auth.Limits{MaxInFlight: 2})
	first, err := l.call(billing, ConnKey{})
	require.NoError(t, err)
	_, err = l.call(billing, ConnKey{})
	require.NoError(t, err)
	_, err = l.call(billing, ConnKey{})
	assertLimit(t, err, "in_flight")
	_, err = l.call(crm, ConnKey{})
	require.NoError(t, err, "another caller has its own limit")
	first()
	_, err = l.call(billing, ConnKey{})
	require.NoError(t, err, "a place must be released")
}

func TestStreamsOfACallerAreLimited(t *testing.T) {
	l, billing := &limits{}, limited(t, "billing", auth.Limits{MaxStreams: 1, MaxInFlight: 1})
	done, err := l.stream(billing, ConnKey{})
	require.NoError(t, err)
	_, err = l.stream(billing, ConnKey{})
	assertLimit(t, err, "streams")
	_, err = l.call(billing, ConnKey{})
	require.NoError(t, err, "calls are counted separately")
	done()
	_, err = l.stream(billing, ConnKey{})
	require.NoError(t, err)
}

func TestTheRateOfACallerIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, billing := &limits{}, limited(t, "billing", auth.Limits{MaxRate: 10})
		took := func() (n int) {
			for {
				done, err := l.call(billing, ConnKey{})
				if err != nil {
					f := assertLimit(t, err, "rate")
					assert.LessOrEqual(t, f.RetryAfter, 100*time.Millisecond)
					return n
				}
				done()
				n++
			}
		}
		assert.Equal(t, 10, took(), "a burst of one second")
		time.Sleep(500 * time.Millisecond)
		assert.Equal(t, 5, took())
		// A higher limit applies immediately.
		billing = limited(t, "billing", auth.Limits{MaxRate: 20})
		assert.Equal(t, 20, took())
	})
}

func TestHealthWatchesAreLimited(t *testing.T) {
	l := &limits{}
	watch := func(n int) (done func(), err error) { return l.watch(named(fmt.Sprint(n))) } // each on its own connection
	for n := range MaxWatches - 1 {
		_, err := watch(n)
		require.NoError(t, err)
	}
	done, err := watch(MaxWatches)
	require.NoError(t, err)
	_, err = watch(MaxWatches + 1)
	assertLimit(t, err, "watches")
	_, err = l.check(named("another"))
	require.NoError(t, err, "watches must not count as checks")
	done()
	_, err = watch(MaxWatches + 1)
	require.NoError(t, err)
}

func TestTheDefaultLimitsAllowABusyCaller(t *testing.T) {
	most, ok := limited(t, "billing", auth.Limits{}).Limits()
	assert.True(t, ok)
	assert.Greater(t, most.MaxRate, 1000.0)
	assert.Greater(t, most.MaxInFlight, 256)
	assert.Greater(t, most.MaxStreams, 256)
	assert.Greater(t, most.MaxConnections, 256)
}

func TestTheAnonymousCallerHasNoLimits(t *testing.T) {
	l := &limits{}
	for range 10 * auth.DefaultMaxInFlight {
		_, err := l.call(auth.Principal{}, ConnKey{})
		require.NoError(t, err)
		_, err = l.stream(auth.Principal{}, ConnKey{})
		require.NoError(t, err)
	}
}
