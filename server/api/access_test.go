package api

import (
	"io"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/types/known/emptypb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const billingKey = "billing-key-0123456789"

// Every method that the server has is asked for without a key: what is denied is
// everything that is not named here.
func TestEveryMethodAsksForAKeyExceptHealth(t *testing.T) {
	upstream := &fakeOngair{}
	g := start(t, sends(upstream), withCallers(map[string]string{"billing": billingKey}))
	methods := 0
	for service, info := range g.server.GetServiceInfo() {
		for _, method := range info.Methods {
			methods++
			name := "/" + service + "/" + method.Name
			t.Run(name, func(t *testing.T) {
				if service == healthv1.Health_ServiceDesc.ServiceName {
					return // asked below
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
					_ = stream.SendMsg(&emptypb.Empty{}) // fails where the answer was faster
					require.NoError(t, stream.CloseSend())
					requireFault(t, stream.RecvMsg(&emptypb.Empty{}), want)
				}
			})
		}
	}
	assert.GreaterOrEqual(t, methods, 5+2+2, "the service's own, health and reflection")
	assert.Empty(t, upstream.taken())
}

func TestHealthNeverAsksForAKey(t *testing.T) {
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

func TestACallerWithItsKeyGetsIn(t *testing.T) {
	g := start(t, sends(&fakeOngair{}), withCallers(map[string]string{"billing": billingKey}))
	ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+billingKey)
	for name, req := range minimal() {
		_, err := g.invoke(ctx, req)
		require.NoError(t, err, name)
	}
}

func TestAnOpenGatewayAsksForNoKey(t *testing.T) {
	_, err := start(t, sends(&fakeOngair{})).invoke(withinTest(t), minimal()["Send"])
	require.NoError(t, err)
}
