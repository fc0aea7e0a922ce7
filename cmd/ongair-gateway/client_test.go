package main

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// deadlineServer sends the time left until the deadline of each call.
type deadlineServer struct {
	ongairv1.UnimplementedOngairServiceServer
	left chan time.Duration
}

func (c *deadlineServer) ListEvents(ctx context.Context, _ *ongairv1.ListEventsRequest) (*ongairv1.ListEventsResponse, error) {
	return &ongairv1.ListEventsResponse{}, c.record(ctx)
}

func (c *deadlineServer) Send(ctx context.Context, _ *ongairv1.SendRequest) (*ongairv1.SendResponse, error) {
	return &ongairv1.SendResponse{}, c.record(ctx)
}

func (c *deadlineServer) record(ctx context.Context) error {
	deadline, ok := ctx.Deadline()
	if !ok {
		return errors.New("the call has no deadline")
	}
	c.left <- time.Until(deadline)
	return nil
}

func TestEveryCallHasADeadline(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server, calls := grpc.NewServer(), &deadlineServer{left: make(chan time.Duration, 1)}
	ongairv1.RegisterOngairServiceServer(server, calls)
	go func() { _ = server.Serve(listener) }() // until it is stopped
	t.Cleanup(server.Stop)
	got := command(t, nil, "send", "--addr", listener.Addr().String(), "--external-id", Contact, "--text", "Hello")
	require.Zero(t, got.code, got.errOut)
	assert.LessOrEqual(t, <-calls.left, callTimeout)
	got = command(t, nil, "list-events", "--addr", listener.Addr().String(), "--wait", "1h")
	require.Zero(t, got.code, got.errOut)
	left := <-calls.left
	assert.Greater(t, left, callTimeout, "the wait is added")
	assert.LessOrEqual(t, left, time.Hour+callTimeout)
}
