// Package rest is the HTTP port: every RPC as REST/JSON, through grpc-gateway.
//
// A request becomes a gRPC call on a connection that the caller of New provides,
// so it passes through the same interceptors as a call over gRPC, and nothing
// about access or validation is decided here. What this package adds is what
// grpc-gateway's defaults lack: unknown fields, unknown query parameters and
// trailing bytes are refused instead of ignored (request.go), a wrong method is
// 405, every error is a google.rpc.Status with details and the HTTP status of
// its reason (errors.go), and a stream that fails before its first response says
// so in its status code (stream.go).
//
// JSON has the proto's own field names, as Ongair's API does; requests may also
// use lowerCamelCase. A stream is NDJSON: a line {"result":…} for each response,
// and {"error":…} as the last one where it fails.
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
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// MaxBody is the largest body that is read, in bytes.
const MaxBody = 1 << 20

// headers are the only metadata that cross over, both ways, beside Authorization,
// which grpc-gateway passes on by itself.
const (
	idempotencyKey     = "Idempotency-Key"
	idempotentReplayed = "Idempotent-Replayed"
)

// origin tells the gRPC server where a request comes from.
func origin(_ context.Context, r *http.Request) metadata.MD { return auth.Forwarded(r) }

// New returns the handler of the HTTP port, which makes its calls on conn. It is
// safe for concurrent use.
func New(ctx context.Context, conn grpc.ClientConnInterface) (http.Handler, error) {
	routes, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	if err != nil {
		return nil, err
	}
	mux := runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newMarshaler()),
		runtime.WithIncomingHeaderMatcher(only(idempotencyKey)),
		runtime.WithMetadata(origin),
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
	return boundAnswer(sameOrigin.Handler(routes.check(mux))), nil
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

// StreamContentType is the content type of a stream.
func (marshaler) StreamContentType(any) string { return "application/x-ndjson" }
