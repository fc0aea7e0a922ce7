// Package rest is the HTTP port: every RPC as REST/JSON, through grpc-gateway.
//
// A request is admitted by its headers, by the Gate of both ports, before its body is read. It then
// becomes a gRPC call on a connection in memory, with the same validation and logging as a call over
// gRPC. This package changes what grpc-gateway does by default:
//
//   - Headers over 16 KiB are rejected with a reason (headers.go).
//   - Query parameters and enums may be written as people do. A wrong value is answered with what the
//     field takes (query.go, decode.go, values.go).
//   - Unknown fields, unknown query parameters and trailing bytes are rejected (request.go).
//   - A wrong method is answered 405.
//   - Every error is a google.rpc.Status with details, under the HTTP status of its reason
//     (errors.go).
//   - A stream that fails before its first response fails with its status code (stream.go).
//   - No answer may be cached, and no proxy may buffer a stream (stream.go).
//
// JSON has the field names of the proto, as Ongair's API does. Requests may also use lowerCamelCase.
// A stream is NDJSON: a line {"result":…} for each response, and {"error":…} as the last line if it
// fails.
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

// Headers that become metadata and the other way round, in addition to Authorization, which
// grpc-gateway forwards by itself.
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
		// Otherwise a form that is posted to a GET route would be a GET, and
		// X-HTTP-Method-Override would be obeyed.
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	client := eagerStreams{ongairv1.NewOngairServiceClient(conn)}
	if err := ongairv1.RegisterOngairServiceHandlerClient(ctx, mux, client); err != nil {
		return nil, err
	}
	// A web page of another origin must not be able to send messages. On loopback there may be no
	// key that prevents it.
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_CROSS_ORIGIN,
			"a browser made this request for a page of another origin"))
	}))
	return withWriteTimeout(withoutCaching(limitHeaders(sameOrigin.Handler(routes.handler(gate, bodies, mux))))), nil
}

// withoutCaching prevents caches from storing answers: a page of events is private, and an error may
// be over by the next request.
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
