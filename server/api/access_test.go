package api

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

const billingKey = "billing-key-0123456789"

// The test calls every registered method without a valid key. Only health may be called.
func TestEveryMethodRequiresAKeyExceptHealth(t *testing.T) {
	upstream := &fakeOngair{}
	g := start(t, sends(upstream), withCallers(map[string]string{"billing": billingKey}))
	methods := 0
	for service, info := range g.server.GetServiceInfo() {
		for _, method := range info.Methods {
			methods++
			name := "/" + service + "/" + method.Name
			t.Run(name, func(t *testing.T) {
				if service == healthv1.Health_ServiceDesc.ServiceName {
					return // tested below
				}
				for credentials, want := range map[string]ongairv1.ErrorReason{
					"":                            ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING,
					"Bearer wrong-key-0123456789": ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID,
					"Basic " + billingKey:         ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID,
					"Bearer " + billingKey[:10]:   ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID,
				} {
					ctx := withinTest(t)
					if credentials != "" {
						ctx = metadata.AppendToOutgoingContext(ctx, "authorization", credentials)
					}
					stream, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name)
					require.NoError(t, err)
					_ = stream.SendMsg(&emptypb.Empty{}) // fails if the answer arrives first
					require.NoError(t, stream.CloseSend())
					requireFault(t, stream.RecvMsg(&emptypb.Empty{}), want)
				}
			})
		}
	}
	assert.GreaterOrEqual(t, methods, 5+2+2, "methods of the service, health and reflection")
	assert.Empty(t, upstream.taken())
}

func TestHealthNeverRequiresAKey(t *testing.T) {
	g := start(t, sends(&fakeOngair{}), withCallers(map[string]string{"billing": billingKey}))
	client := healthv1.NewHealthClient(g.conn)
	answer, err := client.Check(withinTest(t), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_SERVING, answer.GetStatus())
	watch, err := client.Watch(withinTest(t), &healthv1.HealthCheckRequest{})
	require.NoError(t, err)
	answer, err = watch.Recv()
	require.NoError(t, err)
	assert.Equal(t, healthv1.HealthCheckResponse_SERVING, answer.GetStatus())
}

func TestReflectionListsTheServicesToACaller(t *testing.T) {
	g := start(t, sends(&fakeOngair{}), withCallers(map[string]string{"billing": billingKey}))
	ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
	stream, err := reflectionv1.NewServerReflectionClient(g.conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
	}))
	answer, err := stream.Recv()
	require.NoError(t, err)
	var names []string
	for _, service := range answer.GetListServicesResponse().GetService() {
		names = append(names, service.GetName())
	}
	assert.Contains(t, names, "ongair.v1.OngairService")
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
}

func TestACallerWithItsKeyIsAdmitted(t *testing.T) {
	g := start(t, sends(&fakeOngair{}), withCallers(map[string]string{"billing": billingKey}))
	ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
	for name, req := range minimal() {
		_, err := g.invoke(ctx, req)
		require.NoError(t, err, name)
	}
}

func TestAnOpenGatewayRequiresNoKey(t *testing.T) {
	_, err := start(t, sends(&fakeOngair{})).invoke(withinTest(t), minimal()["Send"])
	require.NoError(t, err)
}

// Callers with one action each call every RPC of the service. An RPC that actionOf does not know is
// denied to all of them.
func TestEveryMethodRequiresItsAction(t *testing.T) {
	allows := map[string]auth.Action{
		"Send": auth.ActionSend, "SendImage": auth.ActionSend, "SendDocument": auth.ActionSend,
		"CreateTicket": auth.ActionTickets, "Subscribe": auth.ActionSubscribe, "ListEvents": auth.ActionSubscribe, "CreateStreamTicket": auth.ActionSubscribe,
	}
	service := ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService")
	assert.Equal(t, service.Methods().Len(), len(allows))
	for _, action := range append(auth.Actions(), "") {
		caller := auth.Unrestricted(billingKey)
		caller.Actions = []auth.Action{action}
		g := start(t, sends(&fakeOngair{}), func(o *options) { o.callers = map[string]auth.Caller{"billing": caller} })
		for i := range service.Methods().Len() {
			method := service.Methods().Get(i)
			t.Run(string(action)+" "+string(method.Name()), func(t *testing.T) {
				ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
				desc := &grpc.StreamDesc{ServerStreams: method.IsStreamingServer()}
				stream, err := g.conn.NewStream(ctx, desc, "/"+string(service.FullName())+"/"+string(method.Name()))
				require.NoError(t, err)
				_ = stream.SendMsg(&emptypb.Empty{}) // fails if the answer arrives first
				require.NoError(t, stream.CloseSend())
				err = stream.RecvMsg(&emptypb.Empty{})
				if allows[string(method.Name())] == action {
					assert.NotEqual(t, ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, fault.ReasonOf(status.Convert(err)))
					return
				}
				s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN)
				assert.Equal(t, codes.PermissionDenied, s.Code())
				g.lines.waitFor(t, "grpc.method="+string(method.Name()), "caller=billing", "reason=FORBIDDEN")
			})
		}
	}
}

func TestANewMethodIsDeniedUntilItHasAnAction(t *testing.T) {
	for _, method := range []string{"Recall", "send", ""} {
		assert.NotContains(t, auth.Actions(), actionOf(method))
	}
}

func TestACallerMayUseOnlyItsChannels(t *testing.T) {
	support, sales := &fakeOngair{}, &fakeOngair{}
	caller := auth.Unrestricted(billingKey)
	caller.Channels = []string{"support"}
	cfg := Config{Channels: map[string]Upstream{"support": support, "sales": sales}, Once: &fakeOnce{}}
	g := start(t, cfg, func(o *options) { o.callers = map[string]auth.Caller{"billing": caller} })
	ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
	for name, req := range minimal() {
		_, err := g.invoke(ctx, req)
		require.NoError(t, err, "%s: a caller's only channel needs no name", name)
		_, err = g.invoke(ctx, set(req, "channel", "support"))
		require.NoError(t, err, name)
		for _, other := range []string{"sales", "unknown"} {
			_, err = g.invoke(ctx, set(req, "channel", other))
			s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN)
			assert.Equal(t, map[string]string{"channel": other}, fault.Info(s).GetMetadata())
		}
	}
	assert.Empty(t, sales.taken())
	stream, err := g.Subscribe(ctx, &ongairv1.SubscribeRequest{Channels: []string{"support", "sales"}})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN)
}
