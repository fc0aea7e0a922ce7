package api

import (
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
)

// Requests handles requests to the HTTP port. It admits them before their bodies are read, and
// logs the ones that it rejects. A unary RPC is then called on the connection in memory. A
// subscription is served here, because its responses are encoded as text for all streams at once.
// It is safe for concurrent use.
type Requests struct {
	service *Service
	calls   *calls
}

// NewRequests returns the Requests of a service. The gRPC server on the connection in memory MUST
// have the same Gate (ServerConfig.InMemory).
func NewRequests(service *Service, gate *admission.Gate, log *slog.Logger) (*Requests, error) {
	validator, err := service.validator()
	if err != nil {
		return nil, err
	}
	c := newCalls(gate, log)
	c.validator = validator
	return &Requests{service, c}, nil
}

// fullMethodOf returns the full name of an RPC of the service.
func fullMethodOf(rpc string) string {
	return "/" + ongairv1.OngairService_ServiceDesc.ServiceName + "/" + rpc
}

// Admit admits a request that calls a unary RPC, until done is called. The call on the connection
// in memory MUST have the metadata.
func (h *Requests) Admit(r *http.Request, rpc string) (md metadata.MD, done func(), err error) {
	start := time.Now()
	call, err := h.calls.gate.Admit(requestOf(fullMethodOf(rpc), false, admission.OriginOfRequest(r), r.Header.Values("Authorization")))
	if err != nil {
		h.calls.logEnd(r.Context(), ended{fullMethodOf(rpc), "unary", start, call, "", err})
		return nil, nil, err
	}
	md, release := h.calls.gate.Hold(call)
	return md, func() { release(); call.Done() }, nil
}

// Subscribe serves a subscription. It admits the request by its ticket, or by its headers if
// ticket is empty. Then it calls receive to decode it, and send with each response, the first
// one at once. When the gateway ends the stream and send is blocked, it calls interrupt, and
// send MUST return soon. Subscribe returns the reason for the end.
func (h *Requests) Subscribe(r *http.Request, ticket string, receive func(*ongairv1.SubscribeRequest) error, send func(*event.Response) error, interrupt func()) (err error) {
	const rpc = "Subscribe"
	start, ctx := time.Now(), r.Context()
	var call *admission.Call
	defer func() {
		if p := recover(); p != nil {
			err = h.calls.panicked(ctx, p)
		}
		channel := channelOf(err)
		err = explain(err)
		h.calls.logEnd(ctx, ended{fullMethodOf(rpc), "server_stream", start, call, channel, err})
	}()
	var filters *ongairv1.SubscribeRequest
	admit := requestOf(fullMethodOf(rpc), true, admission.OriginOfRequest(r), r.Header.Values("Authorization"))
	if ticket != "" {
		admit.Authenticate = func() (p auth.Principal, err error) {
			p, filters, err = h.service.ticketOf(ticket)
			return p, err
		}
	}
	if call, err = h.calls.gate.Admit(admit); err != nil {
		return err
	}
	defer call.Done()
	req := &ongairv1.SubscribeRequest{}
	if err := runOnNewStack(func() error {
		if err := receive(req); err != nil {
			return err
		}
		if err := validate(h.calls.validator, req); err != nil {
			return err
		}
		return applyTicket(req, filters)
	}); err != nil {
		return err
	}
	return h.service.stream(auth.NewContext(ctx, call.Principal), req, func(error) { interrupt() }, send)
}

// applyTicket sets the filters of a request to those of its ticket, if it has one.
func applyTicket(req, filters *ongairv1.SubscribeRequest) error {
	if filters == nil {
		return nil
	}
	var violations []fault.Violation
	req.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if field.IsList() {
			violations = append(violations, fault.Violation{
				Field: string(field.Name()), Description: "the ticket has the filters", Reason: fault.ViolationConflict,
			})
		}
		return true
	})
	if violations != nil {
		return fault.Invalid(violations...)
	}
	proto.Merge(req, filters)
	return nil
}
