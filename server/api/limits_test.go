package api

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/ongair"
)

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
	assert.Empty(t, upstream.taken(), "no call since the first")
	once.Do(func() { close(release) })
	require.NoError(t, <-ended)
	_, err = g.invoke(ctx, minimal()["Send"])
	require.NoError(t, err)
}

func TestMetadataIsBounded(t *testing.T) {
	g := start(t, sends(&fakeOngair{}))
	for size, code := range map[int]codes.Code{listen.MaxMetadataBytes / 2: codes.OK, 2 * listen.MaxMetadataBytes: codes.Internal} {
		ctx := metadata.AppendToOutgoingContext(withinTest(t), "large", strings.Repeat("x", size))
		_, err := g.invoke(ctx, minimal()["Send"])
		assert.Equal(t, code, status.Code(err), "gRPC rejects metadata over the limit: %v", err)
	}
}
