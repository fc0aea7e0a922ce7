// Package rest is the HTTP port: every RPC as REST/JSON, through grpc-gateway.
//
// A request is admitted at its headers by the Gate that both ports share, before its body
// is read. It then becomes a gRPC call on a connection in memory, so it passes through the
// same validation and logging as a call over gRPC. What this package adds is what
// grpc-gateway's defaults lack: unknown fields, unknown query parameters and
// trailing bytes are refused instead of ignored (request.go), a wrong value is answered
// with what its field takes (query.go, decode.go, values.go), a wrong method is
// 405, every error is a google.rpc.Status with details and the HTTP status of
// its reason (errors.go), and a stream that fails before its first response says
// so in its status code (stream.go).
//
// JSON has the proto's own field names, as Ongair's API does; requests may also
// use lowerCamelCase. A stream is NDJSON: a line {"result":…} for each response,
// and {"error":…} as the last one where it fails, with the cursor to continue from. No
// answer may be stored by a cache, and no line of a stream held back by a proxy.
package rest

import (
	"context"
	"net/http"
	"net/textproto"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// headers are the only metadata that cross over, both ways, beside Authorization,
// which grpc-gateway passes on by itself.
const (
	idempotencyKey     = "Idempotency-Key"
	idempotentReplayed = "Idempotent-Replayed"
)

// Gate admits requests (api.RequestGate).
type Gate interface {
	// Admit admits a request that is a call of an RPC, until done is called. The call has to
	// have the metadata. The gate calls interrupt when the writing of the answer has to end.
	Admit(r *http.Request, rpc string, interrupt func()) (md metadata.MD, done func(), err error)
}

// New returns the handler of the HTTP port, which makes its calls on conn and reads the bodies
// of requests with bodies. It is safe for concurrent use.
func New(ctx context.Context, conn grpc.ClientConnInterface, gate Gate, bodies *listen.Bodies) (http.Handler, error) {
	routes, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	if err != nil {
		return nil, err
	}
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newMarshaler()),
		runtime.WithIncomingHeaderMatcher(only(idempotencyKey)),
		runtime.WithMetadata(admitted),
		runtime.WithOutgoingHeaderMatcher(only(idempotentReplayed)),
		runtime.WithOutgoingTrailerMatcher(only()),
		runtime.WithErrorHandler(routes.writeError),
		runtime.WithStreamErrorHandler(streamError),
		// A form that a web page posts to a GET route would otherwise be taken for
		// a GET, and X-HTTP-Method-Override believed.
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	client := eagerStreams{ongairv1.NewOngairServiceClient(conn)}
	if err := ongairv1.RegisterOngairServiceHandlerClient(ctx, mux, client); err != nil {
		return nil, err
	}
	// A page of another origin, in the browser of someone who can reach this port,
	// must not be able to send messages: on loopback there is no key to stop it.
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_CROSS_ORIGIN,
			"a browser made this request for a page of another origin"))
	}))
	return withWriteTimeout(withoutCaching(limitHeaders(sameOrigin.Handler(routes.handler(gate, bodies, mux))))), nil
}

// withoutCaching keeps caches from storing what next answers: a page of events is a
// customer's, and an error may be over by the next request.
func withoutCaching(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, req)
	})
}

// only matches the given HTTP headers and no other, in both directions.
func only(names ...string) runtime.HeaderMatcherFunc {
	return func(name string) (string, bool) {
		for _, n := range names {
			if textproto.CanonicalMIMEHeaderKey(name) == n {
				return n, true
			}
		}
		return "", false
	}
}

// marshaler is grpc-gateway's JSON with our options, and NDJSON for streams.
type marshaler struct {
	*runtime.JSONPb
}

func newMarshaler() marshaler {
	return marshaler{&runtime.JSONPb{
		MarshalOptions: protojson.MarshalOptions{
			UseProtoNames:     true,
			EmitDefaultValues: true,
		},
		// Unmarshalling refuses unknown fields: the zero value of its option.
	}}
}

// Marshal returns v as JSON and a newline, so that a line of a stream is one write, and one
// chunk.
func (m marshaler) Marshal(v any) ([]byte, error) {
	line, err := m.JSONPb.Marshal(v)
	return append(line, '\n'), err
}

// Delimiter is what grpc-gateway writes after each line, which has its newline already.
func (marshaler) Delimiter() []byte { return nil }

// StreamContentType is the content type of a stream.
func (marshaler) StreamContentType(any) string { return "application/x-ndjson" }
