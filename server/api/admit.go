package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// admit admits a call by its headers. The HTTP port has admitted the calls on the connection
// in memory.
func (c *calls) admit(ctx context.Context, fullMethod string, stream bool) (*admission.Call, error) {
	if !c.inMemory {
		return c.gate.Admit(requestOf(fullMethod, stream, admission.OriginOfCall(ctx), metadata.ValueFromIncomingContext(ctx, "authorization")))
	}
	call, ok := c.gate.Held(ctx)
	if !ok {
		return nil, fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "internal error: see the gateway's log")
	}
	return call, nil
}

// done releases a call that admit admitted. The HTTP port releases its own calls.
func (c *calls) done(call *admission.Call) {
	if !c.inMemory {
		call.Done()
	}
}

// requestOf returns the admission request of a call.
func requestOf(fullMethod string, stream bool, origin admission.Origin, authorization []string) admission.Request {
	req := admission.Request{Origin: origin, Authorization: authorization}
	service, method, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	health := service == healthv1.Health_ServiceDesc.ServiceName
	switch {
	case health && stream:
		req.Kind = admission.HealthWatch
	case health:
		req.Kind = admission.HealthCheck
	case stream:
		req.Kind = admission.Stream
	}
	// Every caller may use reflection and call unknown methods.
	if service == ongairv1.OngairService_ServiceDesc.ServiceName && exists(method) {
		req.Action = actionOf(method)
	}
	return req
}

// exists reports whether the service has an RPC.
func exists(method string) bool {
	service := ongairv1.OngairService_ServiceDesc
	return slices.ContainsFunc(service.Methods, func(m grpc.MethodDesc) bool { return m.MethodName == method }) || streams(method)
}

// streams reports whether an RPC of the service streams.
func streams(method string) bool {
	return slices.ContainsFunc(ongairv1.OngairService_ServiceDesc.Streams, func(s grpc.StreamDesc) bool { return s.StreamName == method })
}

// actionOf returns the action that an RPC requires. An RPC that is missing here requires an
// action that no caller has.
func actionOf(method string) auth.Action {
	switch method {
	case "Send", "SendImage", "SendDocument":
		return auth.ActionSend
	case "CreateTicket":
		return auth.ActionTickets
	case "ListEvents", "Subscribe", "CreateStreamTicket":
		return auth.ActionSubscribe
	}
	return auth.Action("call " + method)
}
