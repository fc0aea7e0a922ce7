package api

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/testing/protocmp"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestARequestReachesOngairUnchanged(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name     string
		request  proto.Message
		upstream any
		response proto.Message
	}{
		{"a text with everything",
			&ongairv1.SendRequest{
				ExternalId: "+254722200200", Text: "Habari 👋\n", ExternalContactId: "254722200200", Thread: &no,
			},
			ongair.Text{ExternalID: "+254722200200", Text: "Habari 👋\n", ExternalContactID: "254722200200", Thread: &no},
			&ongairv1.SendResponse{Id: "35345432", ConversationId: "22"}},
		{"a text with only required fields", minimal()["Send"],
			ongair.Text{ExternalID: "+254722200200", Text: "Habari"},
			&ongairv1.SendResponse{Id: "35345432", ConversationId: "22"}},
		{"an image with everything",
			&ongairv1.SendImageRequest{
				ExternalId: "42", Image: "http://example.com/a.jpg?b=c", ContentType: "image/jpeg", ExternalContactId: "43",
				Text: "caption", Thread: &yes,
			},
			ongair.Image{
				ExternalID: "42", Image: "http://example.com/a.jpg?b=c", ContentType: "image/jpeg", ExternalContactID: "43",
				Text: "caption", Thread: &yes,
			},
			&ongairv1.SendImageResponse{Id: "35345432", ConversationId: "22"}},
		{"a document with everything",
			&ongairv1.SendDocumentRequest{
				ExternalId: "42", FileUrl: "https://example.com/a.csv", ContentType: "text/csv", Caption: "caption",
				ExternalContactId: "43", Thread: &yes,
			},
			ongair.Document{
				ExternalID: "42", FileURL: "https://example.com/a.csv", ContentType: "text/csv", Caption: "caption",
				ExternalContactID: "43", Thread: &yes,
			},
			&ongairv1.SendDocumentResponse{Id: "35345432", ConversationId: "22"}},
		{"a ticket with everything",
			&ongairv1.CreateTicketRequest{
				ExternalId: "42", MessageId: "m-1", ExternalContactId: "43", Name: "Asha", Direction: ongairv1.Direction_DIRECTION_OUT,
				Text: "text", ProfilePictureUrl: "https://example.com/a.png", Email: "asha@example.com", PhoneNumber: "+254722200200",
			},
			ongair.Ticket{
				ExternalID: "42", MessageID: "m-1", ExternalContactID: "43", Name: "Asha", Direction: "OUT",
				Text: "text", ProfilePictureURL: "https://example.com/a.png", Email: "asha@example.com", PhoneNumber: "+254722200200",
			},
			&ongairv1.CreateTicketResponse{ConversationId: "22"}},
		{"a ticket from the contact",
			&ongairv1.CreateTicketRequest{ExternalId: "42", MessageId: "m-1", Direction: ongairv1.Direction_DIRECTION_IN},
			ongair.Ticket{ExternalID: "42", MessageID: "m-1", Direction: "IN"},
			&ongairv1.CreateTicketResponse{ConversationId: "22"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			upstream := &fakeOngair{}
			got, err := start(t, sends(upstream)).invoke(withinTest(t), tt.request)
			require.NoError(t, err)
			assert.Empty(t, cmp.Diff(tt.response, got, protocmp.Transform()))
			assert.Equal(t, []any{tt.upstream}, upstream.taken())
		})
	}
}

// Two calls that differ in any one field must differ in the request to Ongair, the channel or the key.
func TestEveryFieldOfARequestIsForwarded(t *testing.T) {
	upstreams := map[string]*fakeOngair{"support": {}, "sales": {}}
	once := &fakeOnce{}
	g := start(t, Config{Channels: map[string]Upstream{"support": upstreams["support"], "sales": upstreams["sales"]}, Once: once})
	effect := func(t *testing.T, req proto.Message) string {
		t.Helper()
		_, err := g.invoke(withinTest(t), req)
		require.NoError(t, err)
		defer func() { once.keys = nil }()
		return fmt.Sprintf("%s %s %+v", describe(upstreams["support"].taken()), describe(upstreams["sales"].taken()), once.keys)
	}
	for name, req := range minimal() {
		full := proto.Clone(req).ProtoReflect()
		fields := full.Descriptor().Fields()
		for i := range fields.Len() {
			full.Set(fields.Get(i), sample(fields.Get(i), 0))
		}
		before := effect(t, full.Interface())
		require.Equal(t, before, effect(t, full.Interface()))
		for i := range fields.Len() {
			t.Run(name+" "+fields.Get(i).TextName(), func(t *testing.T) {
				changed := proto.Clone(full.Interface()).ProtoReflect()
				changed.Set(fields.Get(i), sample(fields.Get(i), 1))
				assert.NotEqual(t, before, effect(t, changed.Interface()))
			})
		}
	}
}

// describe formats calls and dereferences their pointers.
func describe(calls []any) string {
	var b strings.Builder
	for _, call := range calls {
		thread := ""
		switch c := call.(type) {
		case ongair.Text:
			thread, c.Thread = fmt.Sprint(*c.Thread), nil
			call = c
		case ongair.Image:
			thread, c.Thread = fmt.Sprint(*c.Thread), nil
			call = c
		case ongair.Document:
			thread, c.Thread = fmt.Sprint(*c.Thread), nil
			call = c
		}
		fmt.Fprintf(&b, "%+v %s", call, thread)
	}
	return b.String()
}

// sample returns one of two valid values of a field.
func sample(field protoreflect.FieldDescriptor, which int) protoreflect.Value {
	text := func(values ...string) protoreflect.Value { return valueOf(values[which]) }
	if field.Kind() == protoreflect.BoolKind {
		return protoreflect.ValueOfBool(which == 0)
	}
	if field.Kind() == protoreflect.EnumKind {
		return protoreflect.ValueOfEnum(protoreflect.EnumNumber(which + 1))
	}
	switch field.TextName() {
	case "channel":
		return text("support", "sales")
	case "image", "file_url", "profile_picture_url":
		return text("https://example.com/a", "https://example.com/b")
	case "content_type":
		return text("image/png", "image/jpeg")
	case "email":
		return text("a@example.com", "b@example.com")
	}
	return text(field.TextName()+"-a", field.TextName()+"-b")
}

func valueOf(s string) protoreflect.Value { return protoreflect.ValueOfString(s) }

func TestEveryFieldOfAResponseIsReturned(t *testing.T) {
	cfg := sends(&fakeOngair{})
	cfg.Once = &fakeOnce{do: func(ctx context.Context, _ proto.Message, call func(context.Context) error) (bool, error) {
		return true, call(ctx)
	}}
	g := start(t, cfg)
	for name, req := range minimal() {
		got, err := g.invoke(withinTest(t), set(req, "request_id", "r-1"))
		require.NoError(t, err)
		fields := got.ProtoReflect().Descriptor().Fields()
		for i := range fields.Len() {
			assert.True(t, got.ProtoReflect().Has(fields.Get(i)), "%s: %s", name, fields.Get(i).TextName())
		}
	}
}

func TestAReplayedAnswerHasAHeader(t *testing.T) {
	for replayed, want := range map[bool][]string{true: {"true"}, false: nil} {
		cfg := sends(&fakeOngair{})
		cfg.Once = &fakeOnce{do: func(context.Context, proto.Message, func(context.Context) error) (bool, error) {
			return replayed, nil
		}}
		g := start(t, cfg)
		for name, req := range minimal() {
			var header, trailer metadata.MD
			_, err := g.invoke(withinTest(t), set(req, "request_id", "r-1"), grpc.Header(&header), grpc.Trailer(&trailer))
			require.NoError(t, err)
			assert.Equal(t, want, header.Get(MetadataReplayed), name)
			assert.Empty(t, trailer.Get(MetadataReplayed), name)
		}
	}
}

func TestAFailureIsNotMarkedAsReplayed(t *testing.T) {
	unknown := fault.New(ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN, "unknown")
	unknown.Effect = fault.EffectUnknown
	cfg := sends(&fakeOngair{})
	cfg.Once = &fakeOnce{do: func(context.Context, proto.Message, func(context.Context) error) (bool, error) { return true, unknown }}
	var header metadata.MD
	_, err := start(t, cfg).invoke(withinTest(t), set(minimal()["Send"], "request_id", "r-1"), grpc.Header(&header))
	s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN)
	assert.Equal(t, "unknown", fault.Info(s).GetMetadata()["effect"])
	assert.Empty(t, header.Get(MetadataReplayed))
}

func TestACallInProgressIsNotRepeated(t *testing.T) {
	store, err := idempotency.Open(t.Context(), storagetest.Embedded(t).Open(t), idempotency.Config{})
	require.NoError(t, err)
	defer store.Wait()
	running, finish := make(chan struct{}), make(chan struct{})
	upstream := &fakeOngair{answer: func(context.Context) (ongair.Receipt, error) {
		close(running)
		<-finish
		return receipt, nil
	}}
	cfg := sends(upstream)
	cfg.Once = store
	g := start(t, cfg)
	req := set(minimal()["Send"], "request_id", "r-1")
	first := make(chan error, 1)
	go func() {
		_, err := g.invoke(withinTest(t), req)
		first <- err
	}()
	<-running
	_, err = g.invoke(withinTest(t), req)
	s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT)
	assert.Equal(t, time.Second, detail[*errdetails.RetryInfo](s).GetRetryDelay().AsDuration())
	close(finish)
	require.NoError(t, <-first)

	again, err := g.invoke(withinTest(t), req)
	require.NoError(t, err)
	assert.Empty(t, cmp.Diff(&ongairv1.SendResponse{Id: "35345432", ConversationId: "22", Replayed: true}, again, protocmp.Transform()))
	_, err = g.invoke(withinTest(t), set(req, "text", "another"))
	s = requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED)
	assert.Equal(t, "none", fault.Info(s).GetMetadata()["effect"])
	assert.Len(t, upstream.taken(), 1)
}

func TestAKeyedCallIsIdentifiedByCallerChannelMethodAndID(t *testing.T) {
	once := &fakeOnce{}
	cfg := sends(&fakeOngair{})
	cfg.Once = once
	g := start(t, cfg, withCallers(map[string]string{"billing": "billing-key-0123456789"}))
	ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer billing-key-0123456789")
	for name, req := range minimal() {
		once.keys, once.requests = nil, nil
		_, err := g.invoke(ctx, set(req, "request_id", "r-1"))
		require.NoError(t, err)
		_, err = g.invoke(ctx, set(set(req, "request_id", "r-1"), "channel", "support"))
		require.NoError(t, err)
		key := idempotency.Key{Caller: "billing", Channel: "support", Method: name, RequestID: "r-1"}
		assert.Equal(t, []idempotency.Key{key, key}, once.keys, "the key of the only channel is the same with and without a name")
		for _, got := range once.requests {
			assert.Empty(t, cmp.Diff(req, got, protocmp.Transform()), "the stored request must be the one that is sent")
		}
	}
}

func TestACallWithoutAnIDIsNeverReplayed(t *testing.T) {
	once := &fakeOnce{}
	upstream := &fakeOngair{}
	cfg := sends(upstream)
	cfg.Once = once
	g := start(t, cfg)
	for range 2 {
		_, err := g.invoke(withinTest(t), minimal()["Send"])
		require.NoError(t, err)
	}
	assert.Empty(t, once.keys)
	assert.Len(t, upstream.taken(), 2)
}

func TestTheChannelOfACall(t *testing.T) {
	for _, tt := range []struct {
		name     string
		channels []string
		given    string
		reason   ongairv1.ErrorReason
		want     string
	}{
		{"is the only one if the call names none", []string{"support"}, "", 0, "support"},
		{"is the only one by its name", []string{"support"}, "support", 0, "support"},
		{"is the named one of several", []string{"sales", "support"}, "sales", 0, "sales"},
		{"is required if there are several", []string{"sales", "support"}, "", ongairv1.ErrorReason_ERROR_REASON_CHANNEL_REQUIRED, ""},
		{"is unknown if it is not configured", []string{"support"}, "sales", ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN, ""},
		{"is unknown in another case", []string{"support"}, "Support", ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			upstreams, channels := map[string]*fakeOngair{}, map[string]Upstream{}
			for _, name := range tt.channels {
				upstreams[name] = &fakeOngair{}
				channels[name] = upstreams[name]
			}
			g := start(t, Config{Channels: channels, Once: &fakeOnce{}})
			for method, req := range minimal() {
				_, err := g.invoke(withinTest(t), set(req, "channel", tt.given))
				if tt.reason != 0 {
					s := requireFault(t, err, tt.reason)
					if tt.reason == ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN {
						assert.Equal(t, tt.given, fault.Info(s).GetMetadata()["channel"])
					}
				} else {
					require.NoError(t, err, method)
				}
				for name, upstream := range upstreams {
					assert.Equal(t, name == tt.want, len(upstream.taken()) == 1, "%s through %s", method, name)
				}
			}
		})
	}
}

func TestACallHasADeadlineWithinALimit(t *testing.T) {
	for _, tt := range []struct {
		name      string
		timeout   time.Duration
		requestID string
		want      time.Duration
	}{
		{"without one", 0, "", DefaultSendTimeout},
		{"without one, under a request_id", 0, "r-1", DefaultSendTimeout},
		{"with a short one", 5 * time.Second, "", 5 * time.Second},
		{"with a short one, under a request_id", 5 * time.Second, "r-1", 5 * time.Second},
		{"with a longer one than the default", 40 * time.Second, "", 40 * time.Second},
		{"with one that is too long", time.Hour, "", MaxSendTimeout},
		{"with one that is too long, under a request_id", time.Hour, "r-1", MaxSendTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var left time.Duration
			g := start(t, sends(&fakeOngair{answer: func(ctx context.Context) (ongair.Receipt, error) {
				deadline, ok := ctx.Deadline()
				assert.True(t, ok)
				left = time.Until(deadline)
				return receipt, nil
			}}))
			for name, req := range minimal() {
				ctx := t.Context()
				if tt.timeout > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tt.timeout)
					defer cancel()
				}
				_, err := g.invoke(ctx, set(req, "request_id", tt.requestID))
				require.NoError(t, err)
				assert.LessOrEqual(t, left, tt.want, name)
				if tt.timeout == tt.want {
					assert.LessOrEqual(t, left, tt.want-AnswerTime(tt.want), "%s: the call must end in time to answer the caller", name)
				}
				assert.Greater(t, left, tt.want-4*time.Second, name)
			}
		})
	}
}

func TestACallerThatCancelsEndsTheCallToOngair(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	g := start(t, sends(&fakeOngair{answer: func(ctx context.Context) (ongair.Receipt, error) {
		cancel()
		<-ctx.Done()
		ended <- ctx.Err()
		return ongair.Receipt{}, ctx.Err()
	}}))
	_, err := g.invoke(ctx, minimal()["Send"])
	assert.Equal(t, codes.Canceled, status.Code(err))
	assert.Equal(t, context.Canceled, <-ended)
}
