package rest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/api"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/fanout/fanouttest"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
	"github.com/ongair/ongair-gateway/server/streamticket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const apiKey = "billing-key-0123456789"

// gateway is an HTTP server in front of a real gRPC server, on loopback.
type gateway struct {
	url     string
	service *api.Service
	grpc    *grpc.Server
	spy     *spy
	bodies  *listen.Bodies
	// authenticator has the callers, channels the channels, and origins are allowed by CORS.
	authenticator *auth.Authenticator
	channels      map[string]api.Upstream
	origins       []string
	// answer returns Ongair's answer. If it is nil, Ongair returns a receipt.
	answer func(context.Context) (ongair.Receipt, error)
	// log is the log that Subscribe reads.
	log *logWithFault

	mu    sync.Mutex
	calls []any
	keys  []idempotency.Key
	// replayed is the result of Do.
	replayed bool
}

type option func(*gateway, map[string]auth.Caller)

// withCaller makes the gateway require apiKey.
func withCaller(_ *gateway, callers map[string]auth.Caller) {
	callers["billing"] = auth.Unrestricted(apiKey)
}

// withLog gives the gateway a real log.
func withLog(t *testing.T) option {
	return func(g *gateway, _ map[string]auth.Caller) {
		log, err := eventlog.Open(t.Context(), storagetest.Embedded(t).Open(t), eventlog.Config{})
		require.NoError(t, err)
		g.log.Log = log
	}
}

func start(t *testing.T, options ...option) *gateway {
	t.Helper()
	g := &gateway{log: &logWithFault{}, bodies: listen.NewBodies()}
	callers := map[string]auth.Caller{}
	for _, o := range options {
		o(g, callers)
	}
	tickets, err := streamticket.New(make([]byte, 32))
	require.NoError(t, err)
	g.authenticator, g.channels = auth.New(callers), map[string]api.Upstream{"support": g}
	cfg := api.Config{Channels: g.channels, Once: g, Tickets: tickets, Reauthenticate: g.authenticator.Reauthenticate}
	if g.log.Log != nil {
		cfg.Fanout = fanouttest.Run(t, g.log)
	}
	g.service = api.NewService(cfg)
	gate, discard := admission.New(g.authenticator), slog.New(slog.DiscardHandler)
	g.grpc, err = api.NewServer(api.ServerConfig{
		Service: g.service, Health: health.NewServer(), Gate: gate, InMemory: true, Logger: discard,
	})
	require.NoError(t, err)
	g.spy = &spy{ClientConnInterface: listentest.ServeGRPC(t, g.grpc)}
	requests, err := api.NewRequests(g.service, gate, discard)
	require.NoError(t, err)
	handler, err := New(t.Context(), Config{Conn: g.spy, Requests: requests, Bodies: g.bodies, CORSOrigins: g.origins})
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	g.url = server.URL
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return g
}

func (g *gateway) take(ctx context.Context, call any) (ongair.Receipt, error) {
	g.mu.Lock()
	g.calls = append(g.calls, call)
	g.mu.Unlock()
	if g.answer != nil {
		return g.answer(ctx)
	}
	return ongair.Receipt{ID: "35345432", ConversationID: "22"}, nil
}

func (g *gateway) Send(ctx context.Context, m ongair.Text) (ongair.Receipt, error) {
	return g.take(ctx, m)
}

func (g *gateway) SendImage(ctx context.Context, m ongair.Image) (ongair.Receipt, error) {
	return g.take(ctx, m)
}

func (g *gateway) SendDocument(ctx context.Context, m ongair.Document) (ongair.Receipt, error) {
	return g.take(ctx, m)
}

func (g *gateway) CreateTicket(ctx context.Context, m ongair.Ticket) (ongair.Receipt, error) {
	return g.take(ctx, m)
}

// Do implements api.Once.
func (g *gateway) Do(ctx context.Context, key idempotency.Key, _, _ proto.Message, call func(context.Context) error) (bool, error) {
	g.mu.Lock()
	g.keys = append(g.keys, key)
	g.mu.Unlock()
	return g.replayed, call(ctx)
}

// taken returns the calls to Ongair since the previous taken.
func (g *gateway) taken() []any {
	g.mu.Lock()
	defer g.mu.Unlock()
	calls := g.calls
	g.calls = nil
	return calls
}

// logWithFault is a log that returns fault if it is not nil.
type logWithFault struct {
	*eventlog.Log
	fault error
}

func (l *logWithFault) Latest(ctx context.Context) (uint64, error) {
	if l.fault != nil {
		return 0, l.fault
	}
	return l.Log.Latest(ctx)
}

// spy records the metadata and the contexts of the calls on a connection.
type spy struct {
	grpc.ClientConnInterface
	mu       sync.Mutex
	metadata metadata.MD
}

func (s *spy) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	s.keep(ctx)
	return s.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
}

func (s *spy) keep(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metadata, _ = metadata.FromOutgoingContext(ctx)
}

// last returns the metadata of the last call.
func (s *spy) last() metadata.MD {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.metadata
}

// answer is a complete HTTP response.
type answer struct {
	status int
	header http.Header
	body   string
}

// do sends a request. header alternates names and values.
func (g *gateway) do(t *testing.T, method, target, body string, header ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	response := g.open(t, ctx, method, target, body, header...)
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(read)}
}

func (g *gateway) open(t *testing.T, ctx context.Context, method, target, body string, header ...string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, g.url+target, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Add(header[i], header[i+1])
	}
	transport := &http.Transport{DisableKeepAlives: true}
	response, err := transport.RoundTrip(request) // does not follow redirects
	require.NoError(t, err)
	return response
}

// send sends the smallest valid request to the route of Send.
func (g *gateway) send(t *testing.T, header ...string) answer {
	t.Helper()
	return g.do(t, http.MethodPost, sendPath, sendBody, header...)
}

const (
	sendPath      = "/v1/messages:send"
	subscribePath = "/v1/events:subscribe"
	sendBody      = `{"external_id":"+254722200200","text":"Habari"}`
)

// requireError requires a google.rpc.Status with a reason and the HTTP status of that reason.
func requireError(t *testing.T, got answer, reason ongairv1.ErrorReason) *status.Status {
	t.Helper()
	require.Equal(t, fault.HTTPStatus(reason), got.status, got.body)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.Equal(t, "nosniff", got.header.Get("X-Content-Type-Options"))
	return requireStatus(t, got.body, reason)
}

func requireStatus(t *testing.T, body string, reason ongairv1.ErrorReason) *status.Status {
	t.Helper()
	var p spb.Status
	require.NoError(t, protojson.Unmarshal([]byte(body), &p), body)
	s := status.FromProto(&p)
	require.Equal(t, fault.Code(reason), s.Code(), body)
	require.Equal(t, reason, fault.ReasonOf(s), body)
	return s
}

// violations returns the fields that an answer reports as invalid.
func violations(t *testing.T, got answer) []string {
	t.Helper()
	var fields []string
	for _, detail := range requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST).Details() {
		if bad, ok := detail.(*errdetails.BadRequest); ok {
			for _, v := range bad.GetFieldViolations() {
				fields = append(fields, v.GetField())
			}
		}
	}
	return fields
}

// lines reads a stream line by line.
type lines struct {
	response *http.Response
	scanner  *bufio.Scanner
}

// stream opens a stream that is closed when the test ends.
func (g *gateway) stream(t *testing.T, query string) *lines {
	t.Helper()
	return g.openStream(t, http.MethodGet, subscribePath+query, "")
}

func (g *gateway) openStream(t *testing.T, method, target, body string, header ...string) *lines {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	response := g.open(t, ctx, method, target, body, header...)
	t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
	})
	require.Equal(t, http.StatusOK, response.StatusCode)
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, 8<<20)
	return &lines{response, scanner}
}

// next returns the only member of the next line.
func (l *lines) next(t *testing.T) (name string, value json.RawMessage) {
	t.Helper()
	require.True(t, l.scanner.Scan(), "the stream ended: %v", l.scanner.Err())
	var line map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(l.scanner.Bytes(), &line))
	require.Len(t, line, 1)
	for name, value = range line {
	}
	return name, value
}

// result returns the response in the next line.
func (l *lines) result(t *testing.T) *ongairv1.SubscribeResponse {
	t.Helper()
	name, value := l.next(t)
	require.Equal(t, "result", name, string(value))
	response := &ongairv1.SubscribeResponse{}
	require.NoError(t, protojson.Unmarshal(value, response))
	return response
}
