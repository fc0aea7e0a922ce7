// Package rest is the HTTP port: every RPC as REST/JSON.
//
// A request is admitted by its headers, with the limits of both ports, before its body is read.
//
// # Unary calls
//
// A unary call becomes a gRPC call on a connection in memory, through grpc-gateway, with the same
// validation and logging as a call over gRPC. This package changes what grpc-gateway does by default:
//
//   - Headers over 16 KiB are rejected with a reason (headers.go).
//   - Query parameters and enums may be written as people do. A wrong value is answered with what the
//     field takes (query.go, decode.go, values.go).
//   - Unknown fields, unknown query parameters and trailing bytes are rejected (request.go).
//   - A wrong method is answered 405.
//   - Every error is a google.rpc.Status with details, under the HTTP status of its reason
//     (errors.go).
//   - No answer may be cached.
//
// JSON has the field names of the proto, as Ongair's API does. Requests may also use lowerCamelCase.
//
// # Pages
//
// The OpenAPI document, an interactive reference and a page at the root need no credentials
// (docs.go).
//
// # Streams
//
// Subscribe reads the feed without gRPC (subscribe.go). The header Accept selects the format:
//
//   - NDJSON: a line {"result":…} for each response, and {"error":…} as the last line if the gateway
//     ends the stream.
//   - Server-Sent Events: a message for each event, whose id is the cursor. A heartbeat is a message
//     without data, which advances the client's last event id. If the gateway ends the stream, the
//     last message has the type "end" and the error.
//
// An event is encoded as JSON once for all streams (event.Texts). A stream that fails before its
// first response is answered with the status of its error.
package rest

import (
	"context"
	"net/http"
	"net/textproto"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"github.com/rs/cors"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// Headers that become metadata and the other way round, in addition to Authorization, which
// grpc-gateway forwards by itself.
const (
	idempotencyKey     = "Idempotency-Key"
	idempotentReplayed = "Idempotent-Replayed"
)

// Requests admits requests and serves subscriptions (api.Requests).
type Requests interface {
	// Admit admits a request that calls a unary RPC, until done is called. The call MUST have the
	// metadata.
	Admit(r *http.Request, rpc string) (md metadata.MD, done func(), err error)
	// Subscribe serves a subscription: it admits the request by its ticket, or by its headers if
	// ticket is empty. It decodes the request with receive, and calls send with each response. It
	// calls interrupt when a blocked send has to end.
	Subscribe(r *http.Request, ticket string, receive func(*ongairv1.SubscribeRequest) error, send func(*event.Response) error, interrupt func()) error
}

// Config configures the HTTP port. All fields are required except CORSOrigins.
type Config struct {
	// Conn is the connection for unary calls.
	Conn grpc.ClientConnInterface
	// Requests admits requests and serves subscriptions.
	Requests Requests
	// Bodies reads the bodies of requests.
	Bodies *listen.Bodies
	// CORSOrigins are the origins of web pages that may call the gateway, in addition to its own.
	CORSOrigins []string
}

// New returns the handler of the HTTP port. It is safe for concurrent use.
func New(ctx context.Context, cfg Config) (http.Handler, error) {
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
		// Otherwise a form that is posted to a GET route would be a GET, and
		// X-HTTP-Method-Override would be obeyed.
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
	if err := ongairv1.RegisterOngairServiceHandlerClient(ctx, mux, ongairv1.NewOngairServiceClient(cfg.Conn)); err != nil {
		return nil, err
	}
	// A web page of another origin must not be able to send messages. On loopback there may be no
	// key that prevents it.
	sameOrigin := http.NewCrossOriginProtection()
	sameOrigin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		write(w, fault.New(ongairv1.ErrorReason_ERROR_REASON_CROSS_ORIGIN,
			"a browser made this request for a page of another origin"))
	}))
	for _, origin := range cfg.CORSOrigins {
		if err := sameOrigin.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	handler := limitHeaders(withPages(sameOrigin.Handler(routes.handler(cfg.Requests, cfg.Bodies, mux))))
	return withoutCaching(allowOrigins(cfg.CORSOrigins, handler)), nil
}

// allowOrigins answers the preflight requests of browsers for pages of some origins, and lets those
// pages read the answers. No cookie is a credential, so the pages need none.
func allowOrigins(origins []string, next http.Handler) http.Handler {
	if len(origins) == 0 {
		return next // package cors would allow all
	}
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: []string{http.MethodGet, http.MethodPost},
		AllowedHeaders: []string{"Accept", "Authorization", "Content-Type", idempotencyKey, lastEventID},
		ExposedHeaders: []string{idempotentReplayed, "Retry-After"},
		MaxAge:         600,
	}).Handler(next)
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

// marshaler is grpc-gateway's JSON with our options.
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

// Marshal returns v as JSON and a newline.
func (m marshaler) Marshal(v any) ([]byte, error) {
	line, err := m.JSONPb.Marshal(v)
	return append(line, '\n'), err
}
