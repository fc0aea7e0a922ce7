package api

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress requests with it
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

const (
	// HandshakeTimeout bounds the handshake of a connection.
	HandshakeTimeout = 10 * time.Second
	// idleTimeout ends a connection without calls. Its client opens another one when it needs
	// it.
	idleTimeout = 5 * time.Minute
	// minPingInterval is the shortest interval of a client's keepalive pings. A client whose
	// pings arrive more often loses its connection and its calls. Clients are told to use 5 s
	// or more: such pings do not arrive exactly 5 s apart, and three early ones are enough to
	// lose the connection. grpc-go's default of 5 minutes is longer than what clients and
	// proxies commonly use.
	minPingInterval = 4 * time.Second
)

// ServerConfig configures the gRPC server of a Service.
type ServerConfig struct {
	// Service is the service. Several servers may serve it.
	Service *Service
	// Health is served as grpc.health.v1. NewServer does not change its statuses.
	Health *health.Server
	// Gate admits the calls.
	Gate *admission.Gate
	// InMemory means that the server serves the connection in memory, whose calls the
	// RequestGate of the HTTP port has admitted.
	InMemory bool
	// Running counts the unary calls whose message has arrived. It may be nil.
	Running *listen.Running
	// TLS is the TLS configuration. Nil means clear text.
	TLS *tls.Config
	// MaxStreams is the number of calls and streams of a connection at a time. Its client
	// delays further ones. Zero means no bound.
	MaxStreams uint32
	// Logger logs each call that failed, and at debug level each call.
	Logger *slog.Logger
}

// NewServer returns a gRPC server with the service, health and reflection.
func NewServer(cfg ServerConfig) (*grpc.Server, error) {
	validator, err := cfg.Service.validator()
	if err != nil {
		return nil, err
	}
	c := newCalls(cfg.Gate, cfg.Logger)
	c.inMemory, c.validator = cfg.InMemory, validator
	c.running = cmp.Or(cfg.Running, &listen.Running{})
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(listen.MaxBodyBytes),
		grpc.MaxHeaderListSize(listen.MaxMetadataBytes),
		grpc.ConnectionTimeout(HandshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPingInterval, PermitWithoutStream: true}),
		grpc.StreamInterceptor(c.stream),
		grpc.UnknownServiceHandler(unknownMethod),
	}
	if cfg.MaxStreams > 0 {
		options = append(options, grpc.MaxConcurrentStreams(cfg.MaxStreams))
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(c.wrapUnary(ongairv1.OngairService_ServiceDesc), cfg.Service)
	server.RegisterService(c.wrapUnary(healthv1.Health_ServiceDesc), cfg.Health)
	reflection.Register(server)
	return server, nil
}

// unknownMethod answers calls of unknown methods. It runs after the interceptors, so callers
// without credentials do not learn which methods exist.
func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_METHOD_UNKNOWN, "unknown method %s", method)
}
