package api

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"slices"

	"buf.build/go/protovalidate"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors"
	grpcauth "github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/auth"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/logging"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/selector"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
)

// MaxRequestBytes is the largest request that is read: every field at its bound
// fits several times.
const MaxRequestBytes = 1 << 20

// ServerConfig is what a gRPC server around a Service is made of.
type ServerConfig struct {
	// Service is served. It may be served by several servers.
	Service *Service
	// Health is served as grpc.health.v1. Its statuses are the caller's to set.
	Health *health.Server
	// Authenticator knows the callers.
	Authenticator *auth.Authenticator
	// TLS is used where it is not nil.
	TLS *tls.Config
	// Logger gets a line for every call that failed, and at debug level for
	// every call.
	Logger *slog.Logger
}

// NewServer returns a gRPC server with the service, health and reflection.
func NewServer(cfg ServerConfig) (*grpc.Server, error) {
	validator, err := protovalidate.New(protovalidate.WithMessages(
		&ongairv1.SendRequest{}, &ongairv1.SendImageRequest{}, &ongairv1.SendDocumentRequest{},
		&ongairv1.CreateTicketRequest{}, &ongairv1.SubscribeRequest{},
	))
	if err != nil {
		return nil, err
	}
	logger := callLogger(cfg.Logger)
	logOptions := []logging.Option{
		logging.WithLogOnEvents(logging.FinishCall),
		logging.WithLevels(logLevel),
		logging.WithErrorFields(logFields),
		logging.WithDisableLoggingFields(logging.SystemTag[0], logging.ComponentFieldKey),
	}
	recovered := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		return panicked(ctx, cfg.Logger, p)
	})
	notHealth := selector.MatchFunc(func(_ context.Context, c interceptors.CallMeta) bool { return !isHealth(c.FullMethod()) })
	streams := &streams{authenticator: cfg.Authenticator, validator: validator, log: cfg.Logger, lines: logger}

	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(MaxRequestBytes),
		grpc.ChainUnaryInterceptor(
			logging.UnaryServerInterceptor(logger, logOptions...),
			explainUnary,
			recovery.UnaryServerInterceptor(recovered),
			selector.UnaryServerInterceptor(grpcauth.UnaryServerInterceptor(cfg.Authenticator.Authenticate), notHealth),
			requestIDFromMetadata,
			validateUnary(validator),
		),
		grpc.StreamInterceptor(streams.intercept),
		grpc.UnknownServiceHandler(unknownMethod),
	}
	if cfg.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(cfg.TLS)))
	}
	server := grpc.NewServer(options...)
	ongairv1.RegisterOngairServiceServer(server, cfg.Service)
	healthv1.RegisterHealthServer(server, cfg.Health)
	reflection.Register(server)
	return server, nil
}

// unknownMethod answers calls of methods that do not exist. It comes after the
// interceptors, so that a caller without credentials learns nothing.
func unknownMethod(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return fault.New(ongairv1.ErrorReason_ERROR_REASON_METHOD_UNKNOWN, "there is no method %s", method)
}

func explainUnary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	response, err := handler(ctx, req)
	err = explain(err)
	f, ok := errors.AsType[*fault.Fault](err)
	if ok && f.Reason == ongairv1.ErrorReason_ERROR_REASON_INTERNAL && f.Effect == fault.EffectNotApplicable &&
		requestIDField(req) != nil {
		// A defect in a sending call: before or after the message went out, nobody
		// knows.
		unknown := *f
		unknown.Effect = fault.EffectUnknown
		err = &unknown
	}
	return response, err
}

// explain makes sure that every error has a status of our making, or of gRPC's
// own. A fault is taken out of what is wrapped around it: grpc-go would give the
// whole text, which is not for callers, as the status's message.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*fault.Fault](err); ok {
		return f
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	return fault.From(err)
}

// callLogger passes the lines of the logging interceptor on to log, without the
// error's text: it holds what the caller is told, and that can be Ongair's own
// words, with a phone number in them. logFields has what an operator needs.
func callLogger(log *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(ctx context.Context, level logging.Level, msg string, fields ...any) {
		if i := slices.Index(fields, any("grpc.error")); i >= 0 {
			fields = slices.Delete(fields, i, i+2)
		}
		log.Log(ctx, slog.Level(level), msg, fields...)
	})
}

// logFields are what the log says of an error that was explained.
func logFields(err error) logging.Fields {
	f, ok := errors.AsType[*fault.Fault](err)
	if !ok {
		return logging.Fields{"cause", err.Error()} // gRPC's own, of a broken stream for example
	}
	fields := logging.Fields{"reason", fault.ReasonName(f.Reason)}
	if f.Effect != fault.EffectNotApplicable {
		fields = append(fields, "effect", string(f.Effect))
	}
	if f.Cause != nil {
		fields = append(fields, "cause", f.Cause.Error())
	}
	return fields
}

// logLevel says how loud the end of a call is: what an operator should look into
// is a warning or an error, what a caller did wrong is for information, and what
// went well, or was given up, is for debugging.
func logLevel(code codes.Code) logging.Level {
	switch code {
	case codes.OK, codes.Canceled:
		return logging.LevelDebug
	case codes.Internal, codes.DataLoss:
		return logging.LevelError
	case codes.Unavailable, codes.Unknown, codes.ResourceExhausted, codes.DeadlineExceeded, codes.FailedPrecondition:
		return logging.LevelWarn
	default:
		return logging.LevelInfo
	}
}
