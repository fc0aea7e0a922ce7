package api

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// open starts a call that sends only its headers. The returned function waits for the call's error.
func (g *gateway) open(ctx context.Context, t *testing.T, method string) (ends func() error) {
	t.Helper()
	stream, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, method)
	require.NoError(t, err)
	return func() error { return stream.RecvMsg(&emptypb.Empty{}) }
}

// A rejected call must not use memory for its message.
func TestACallIsRejectedBeforeItsMessageArrives(t *testing.T) {
	caller := auth.Unrestricted(billingKey)
	caller.Actions = []auth.Action{auth.ActionTickets}
	g := start(t, sends(&fakeOngair{}), func(o *options) { o.callers = map[string]auth.Caller{"billing": caller} })
	for service, info := range g.server.GetServiceInfo() {
		for _, method := range info.Methods {
			name := "/" + service + "/" + method.Name
			if service == healthv1.Health_ServiceDesc.ServiceName {
				continue // requires no key
			}
			requireFault(t, g.open(withinTest(t), t, name)(), ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING)
			g.lines.waitFor(t, "grpc.method="+method.Name, "reason=CREDENTIALS_MISSING")
		}
	}
	withKey := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
	requireFault(t, g.open(withKey, t, "/ongair.v1.OngairService/Send")(), ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN)
}

func TestACallThatWaitsForItsMessageCounts(t *testing.T) {
	caller := auth.Unrestricted(billingKey)
	caller.MaxInFlight, caller.MaxStreams = 1, 1
	g := start(t, sends(&fakeOngair{}), func(o *options) { o.callers = map[string]auth.Caller{"billing": caller} })
	withKey := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
	for _, method := range []string{"/ongair.v1.OngairService/Send", "/ongair.v1.OngairService/Subscribe"} {
		t.Run(method, func(t *testing.T) {
			// The calls arrive one after the other on one connection, but are admitted in any order.
			ctx, cancel := context.WithCancel(withKey)
			defer cancel()
			ended := make(chan error, 2)
			for range 2 {
				ends := g.open(ctx, t, method)
				go func() { ended <- ends() }()
			}
			s := requireFault(t, <-ended, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED)
			assert.Equal(t, "none", fault.Info(s).GetMetadata()["effect"])
			cancel()
			require.Error(t, <-ended)
			require.Eventually(t, func() bool {
				stream, err := g.conn.NewStream(withKey, &grpc.StreamDesc{ServerStreams: true}, method)
				if err != nil || stream.SendMsg(&emptypb.Empty{}) != nil || stream.CloseSend() != nil {
					return false
				}
				err = stream.RecvMsg(&emptypb.Empty{})
				return fault.ReasonOf(status.Convert(err)) != ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED
			}, 10*time.Second, time.Millisecond, "a cancelled call must release its place")
		})
	}
}

func TestHealthCallsOfAConnectionAreLimited(t *testing.T) {
	for _, method := range []string{healthv1.Health_Check_FullMethodName, healthv1.Health_Watch_FullMethodName} {
		t.Run(method, func(t *testing.T) {
			g := start(t, sends(&fakeOngair{}))
			ctx, cancel := context.WithCancel(withinTest(t))
			ended := make(chan error, admission.MaxHealthCalls+1)
			for range admission.MaxHealthCalls + 1 {
				ends := g.open(ctx, t, method)
				go func() { ended <- ends() }()
			}
			s := requireFault(t, <-ended, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED)
			assert.Equal(t, "health_calls", fault.Info(s).GetMetadata()["limit"])
			cancel()
			for range admission.MaxHealthCalls {
				require.Error(t, <-ended)
			}
			require.Eventually(t, func() bool {
				_, err := healthv1.NewHealthClient(g.conn).Check(withinTest(t), &healthv1.HealthCheckRequest{})
				return err == nil
			}, 10*time.Second, time.Millisecond)
		})
	}
}

// A client's deadline may be long or missing.
func TestACallTimesOutWithoutItsMessage(t *testing.T) {
	for _, method := range []string{
		"/ongair.v1.OngairService/Send", "/ongair.v1.OngairService/Subscribe",
		healthv1.Health_Check_FullMethodName, healthv1.Health_Watch_FullMethodName,
		reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName,
	} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := start(t, sends(&fakeOngair{}))
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				began := time.Now()
				requireFault(t, g.open(ctx, t, method)(), ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
				assert.Equal(t, 30*time.Second, time.Since(began))
				synctest.Wait()
				assert.Contains(t, g.lines.String(), "reason=INVALID_REQUEST")
			})
		})
	}
}
