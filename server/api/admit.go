package api

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// admit admits a call at its headers. A call on the connection in memory was admitted by
// the HTTP port.
func (c *calls) admit(ctx context.Context, fullMethod string, stream bool) (*admission.Call, error) {
	if !c.inMemory {
		return c.gate.Admit(requestOf(fullMethod, stream, admission.OriginOfCall(ctx), metadata.ValueFromIncomingContext(ctx, "authorization")))
	}
	call, ok := c.gate.Held(ctx)
	if !ok {
		return nil, fault.New(ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "the gateway failed; its log says why")
	}
	return call, nil
}

// done ends a call that admit admitted. The HTTP port ends its own.
func (c *calls) done(call *admission.Call) {
	if !c.inMemory {
		call.Done()
	}
}

// requestOf returns what a call of a method asks for.
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
	// Every caller may use reflection, and learn that a method does not exist.
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

// actionOf returns the action that an RPC is. An RPC that is missing here is an action that
// no caller may do.
func actionOf(method string) auth.Action {
	switch method {
	case "Send", "SendImage", "SendDocument":
		return auth.ActionSend
	case "CreateTicket":
		return auth.ActionTickets
	case "ListEvents", "Subscribe":
		return auth.ActionSubscribe
	}
	return auth.Action("call " + method)
}

// RequestGate admits requests to the HTTP port, before their bodies are read, and logs those
// that it rejects. It is safe for concurrent use.
type RequestGate struct{ calls *calls }

// NewRequestGate returns the gate of the HTTP port. The gRPC server on the connection in
// memory MUST have the same gate (ServerConfig.InMemory).
func NewRequestGate(gate *admission.Gate, log *slog.Logger) *RequestGate {
	return &RequestGate{newCalls(gate, log)}
}

// Admit admits a request that is a call of an RPC, until done is called. The metadata tells
// the connection in memory about it. When the gateway ends a stream, it calls interrupt: what
// is then written of the answer MUST end soon, although the client may not read it.
func (g *RequestGate) Admit(r *http.Request, rpc string, interrupt func()) (md metadata.MD, done func(), err error) {
	start := time.Now()
	fullMethod := "/" + ongairv1.OngairService_ServiceDesc.ServiceName + "/" + rpc
	stream := streams(rpc)
	call, err := g.calls.gate.Admit(requestOf(fullMethod, stream, admission.OriginOfRequest(r), r.Header.Values("Authorization")))
	if err != nil {
		kind := "unary"
		if stream {
			kind = "server_stream"
		}
		g.calls.logEnd(r.Context(), ended{fullMethod, kind, start, call, "", err})
		return nil, nil, err
	}
	call.OnInterrupt(interrupt)
	md, release := g.calls.gate.Hold(call)
	return md, func() { release(); call.Done() }, nil
}
