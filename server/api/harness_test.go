package api

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/admission"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/listen/listentest"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/servertest/syncbuffer"
	"github.com/ongair/ongair-gateway/server/streamticket"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeOngair is an Upstream that records its calls. It returns the result of answer, or receipt if
// answer is nil.
type fakeOngair struct {
	answer func(ctx context.Context) (ongair.Receipt, error)

	mu    sync.Mutex
	calls []any
}

var receipt = ongair.Receipt{ID: "35345432", ConversationID: "22"}

func (f *fakeOngair) take(ctx context.Context, call any) (ongair.Receipt, error) {
	f.mu.Lock()
	f.calls = append(f.calls, call)
	f.mu.Unlock()
	if f.answer != nil {
		return f.answer(ctx)
	}
	return receipt, nil
}

func (f *fakeOngair) Send(ctx context.Context, m ongair.Text) (ongair.Receipt, error) {
	return f.take(ctx, m)
}

func (f *fakeOngair) SendImage(ctx context.Context, m ongair.Image) (ongair.Receipt, error) {
	return f.take(ctx, m)
}

func (f *fakeOngair) SendDocument(ctx context.Context, m ongair.Document) (ongair.Receipt, error) {
	return f.take(ctx, m)
}

func (f *fakeOngair) CreateTicket(ctx context.Context, m ongair.Ticket) (ongair.Receipt, error) {
	return f.take(ctx, m)
}

// taken returns the calls since the previous taken.
func (f *fakeOngair) taken() []any {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := f.calls
	f.calls = nil
	return calls
}

// fakeOnce records its keys and requests. It makes the call, or runs do if do is not nil.
type fakeOnce struct {
	do func(ctx context.Context, response proto.Message, call func(context.Context) error) (bool, error)

	keys     []idempotency.Key
	requests []proto.Message
}

func (f *fakeOnce) Do(ctx context.Context, key idempotency.Key, request, response proto.Message,
	call func(context.Context) error,
) (bool, error) {
	f.keys, f.requests = append(f.keys, key), append(f.requests, request)
	if f.do != nil {
		return f.do(ctx, response, call)
	}
	return false, call(ctx)
}

// gateway is a server with its service and a client.
type gateway struct {
	ongairv1.OngairServiceClient
	service *Service
	server  *grpc.Server
	conn    *grpc.ClientConn
	lines   *logBuffer
}

// options change the defaults of start.
type options struct {
	callers map[string]auth.Caller
	dial    []grpc.DialOption
}

// start runs a gateway over bufconn until the test ends.
func start(t *testing.T, cfg Config, change ...func(*options)) *gateway {
	t.Helper()
	var o options
	for _, c := range change {
		c(&o)
	}
	g := &gateway{service: NewService(cfg), lines: &logBuffer{}}
	var err error
	g.server, err = NewServer(ServerConfig{
		Service: g.service,
		Health:  health.NewServer(),
		Gate:    admission.New(auth.New(o.callers)),
		Logger:  slog.New(slog.NewTextHandler(g.lines, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	g.conn = listentest.ServeGRPC(t, g.server, o.dial...)
	g.OngairServiceClient = ongairv1.NewOngairServiceClient(g.conn)
	return g
}

// withCallers configures callers without restrictions. It maps names to keys.
func withCallers(keys map[string]string) func(*options) {
	return func(o *options) {
		o.callers = map[string]auth.Caller{}
		for name, key := range keys {
			o.callers[name] = auth.Unrestricted(key)
		}
	}
}

// sends returns the configuration of a service with one channel and no log.
func sends(upstream Upstream) Config {
	return Config{Channels: map[string]Upstream{"support": upstream}, Once: &fakeOnce{}, Tickets: newTickets()}
}

// invoke calls the sending method of req.
func (g *gateway) invoke(ctx context.Context, req proto.Message, opts ...grpc.CallOption) (proto.Message, error) {
	method := sendingMethods[reflect.TypeOf(req)]
	response := proto.Clone(method.response)
	err := g.conn.Invoke(ctx, "/ongair.v1.OngairService/"+method.name, req, response, opts...)
	return response, err
}

// sendingMethods maps request types to sending RPCs.
var sendingMethods = map[reflect.Type]struct {
	name     string
	response proto.Message
}{
	reflect.TypeFor[*ongairv1.SendRequest]():         {"Send", &ongairv1.SendResponse{}},
	reflect.TypeFor[*ongairv1.SendImageRequest]():    {"SendImage", &ongairv1.SendImageResponse{}},
	reflect.TypeFor[*ongairv1.SendDocumentRequest](): {"SendDocument", &ongairv1.SendDocumentResponse{}},
	reflect.TypeFor[*ongairv1.CreateTicketRequest](): {"CreateTicket", &ongairv1.CreateTicketResponse{}},
}

// minimal returns a valid request for each sending RPC, with only the required fields.
func minimal() map[string]proto.Message {
	return map[string]proto.Message{
		"Send":         &ongairv1.SendRequest{ExternalId: "+254722200200", Text: "Habari"},
		"SendImage":    &ongairv1.SendImageRequest{ExternalId: "+254722200200", Image: "https://example.com/a.png", ContentType: "image/png"},
		"SendDocument": &ongairv1.SendDocumentRequest{ExternalId: "+254722200200", FileUrl: "https://example.com/a.pdf"},
		"CreateTicket": &ongairv1.CreateTicketRequest{ExternalId: "+254722200200", MessageId: "m-1"},
	}
}

// set returns a copy of req with a string field set to value.
func set(req proto.Message, field, value string) proto.Message {
	m := proto.Clone(req).ProtoReflect()
	f := m.Descriptor().Fields().ByTextName(field)
	m.Set(f, valueOf(value))
	return m.Interface()
}

func withinTest(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// requireFault requires an error with a reason and the code of that reason.
func requireFault(t *testing.T, err error, reason ongairv1.ErrorReason) *status.Status {
	t.Helper()
	require.Error(t, err)
	s := status.Convert(err)
	require.Equal(t, reason, fault.ReasonOf(s), s.Proto())
	require.Equal(t, fault.Code(reason), s.Code())
	return s
}

// detail returns the first detail of type T, or nil.
func detail[T any](s *status.Status) T {
	for _, d := range s.Details() {
		if found, ok := d.(T); ok {
			return found
		}
	}
	var none T
	return none
}

// violations returns the fields that err reports as invalid.
func violations(t *testing.T, err error) []string {
	t.Helper()
	s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	require.Equal(t, codes.InvalidArgument, s.Code())
	var fields []string
	for _, v := range detail[*errdetails.BadRequest](s).GetFieldViolations() {
		assert.NotEmpty(t, v.GetDescription(), v.GetField())
		fields = append(fields, v.GetField())
	}
	return fields
}

// logBuffer collects log lines.
type logBuffer struct{ syncbuffer.Buffer }

// waitFor waits until one line of the log contains all of the texts. A line is written after the
// caller gets the answer.
func (b *logBuffer) waitFor(t *testing.T, texts ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for line := range strings.Lines(b.String()) {
			found := true
			for _, text := range texts {
				found = found && strings.Contains(line, text)
			}
			if found {
				return true
			}
		}
		return false
	}, 10*time.Second, time.Millisecond, "no log line contains %q:\n%s", texts, b)
}

// newTickets returns tickets with a constant key.
func newTickets() *streamticket.Tickets {
	tickets, err := streamticket.New(make([]byte, 32))
	if err != nil {
		panic(err)
	}
	return tickets
}
