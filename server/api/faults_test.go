package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/ongair"
)

func failing(err error) *fakeOngair {
	return &fakeOngair{answer: func(context.Context) (ongair.Receipt, error) { return ongair.Receipt{}, err }}
}

func TestAFaultOfEveryReasonArrivesWithoutItsCause(t *testing.T) {
	var err error
	g := start(t, sends(&fakeOngair{answer: func(context.Context) (ongair.Receipt, error) { return ongair.Receipt{}, err }}))
	for number, name := range ongairv1.ErrorReason_name {
		reason := ongairv1.ErrorReason(number)
		if reason == ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			continue
		}
		t.Run(name, func(t *testing.T) {
			for _, effect := range []fault.Effect{fault.EffectNone, fault.EffectUnknown} {
				err = &fault.Fault{
					Reason: reason, Message: "public message", Effect: effect, RetryAfter: 1500 * time.Millisecond,
					Metadata: map[string]string{"upstream_status": "502"}, Cause: errors.New("hidden cause"),
				}
				_, got := g.invoke(withinTest(t), minimal()["Send"])
				s := requireFault(t, got, reason)
				assert.Equal(t, "public message", s.Message())
				assert.Equal(t, map[string]string{"effect": string(effect), "upstream_status": "502"}, fault.Info(s).GetMetadata())
				assert.Equal(t, 1500*time.Millisecond, detail[*errdetails.RetryInfo](s).GetRetryDelay().AsDuration())
				assert.NotContains(t, s.Proto().String(), "hidden")
				g.lines.waitFor(t, "reason="+fault.ReasonName(reason), "effect="+string(effect), "upstream_status=502", `cause="hidden cause"`)
			}
		})
	}
}

func TestTheCauseOfAWrappedErrorIsNotReturned(t *testing.T) {
	refused := fault.New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, "refused")
	refused.Effect = fault.EffectNone
	refused.Cause = errors.New("hidden cause")
	for _, tt := range []struct {
		name   string
		err    error
		reason ongairv1.ErrorReason
		effect string
	}{
		{"a fault in another error", fmt.Errorf("hidden: %w", refused), ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, "none"},
		{"a fault joined with another error", errors.Join(errors.New("hidden"), refused), ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, "none"},
		{"an error of unknown kind", errors.New("hidden"), ongairv1.ErrorReason_ERROR_REASON_INTERNAL, "unknown"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := start(t, sends(failing(tt.err)))
			for name, req := range minimal() {
				_, err := g.invoke(withinTest(t), req)
				s := requireFault(t, err, tt.reason)
				assert.NotContains(t, s.Proto().String(), "hidden", name)
				assert.Equal(t, tt.effect, fault.Info(s).GetMetadata()["effect"], name)
			}
		})
	}
}

func TestAPanicIsAnErrorOfOneCall(t *testing.T) {
	panics := true
	g := start(t, sends(&fakeOngair{answer: func(context.Context) (ongair.Receipt, error) {
		if panics {
			panic("a defect")
		}
		return receipt, nil
	}}))
	for name, req := range minimal() {
		panics = true
		_, err := g.invoke(withinTest(t), req)
		s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_INTERNAL)
		assert.NotContains(t, s.Proto().String(), "defect")
		assert.Equal(t, "unknown", fault.Info(s).GetMetadata()["effect"], "the message may have been sent")
		g.lines.waitFor(t, "a call panicked", "a defect", "api.(*Service)."+name)

		panics = false
		_, err = g.invoke(withinTest(t), req)
		require.NoError(t, err, "the server keeps running")
	}
}

func TestAPanicInAStreamIsAnErrorOfThatStream(t *testing.T) {
	g := start(t, Config{Channels: map[string]Upstream{"support": &fakeOngair{}}}) // without a log, Subscribe panics
	stream, err := g.Subscribe(withinTest(t), &ongairv1.SubscribeRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_INTERNAL)
	g.lines.waitFor(t, "a call panicked", "api.(*Service).Subscribe")
	_, err = g.invoke(withinTest(t), minimal()["Send"])
	require.NoError(t, err, "the server keeps running")
}

func TestAnUnknownMethodIsUnimplemented(t *testing.T) {
	g := start(t, sends(&fakeOngair{}), withCallers(map[string]string{"billing": "billing-key-0123456789"}))
	for _, method := range []string{
		"/ongair.v1.OngairService/Recall", "/ongair.v2.OngairService/Send", "/nothing/at-all", "/ongair.v1.OngairService/send",
	} {
		err := g.conn.Invoke(withinTest(t), method, minimal()["Send"], &ongairv1.SendResponse{})
		requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING)
		ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer billing-key-0123456789")
		err = g.conn.Invoke(ctx, method, minimal()["Send"], &ongairv1.SendResponse{})
		s := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_METHOD_UNKNOWN)
		assert.Contains(t, s.Message(), method)
	}
}

func TestAMessageThatIsTooLargeIsRejected(t *testing.T) {
	upstream := &fakeOngair{}
	g := start(t, sends(upstream))
	_, err := g.Send(withinTest(t), &ongairv1.SendRequest{ExternalId: "42", Text: string(make([]byte, listen.MaxBodyBytes))})
	require.ErrorContains(t, err, codes.ResourceExhausted.String())
	assert.Empty(t, upstream.taken())
	_, err = g.Send(withinTest(t), minimal()["Send"].(*ongairv1.SendRequest))
	require.NoError(t, err)
}

func TestTheLogHasTheOutcomeOfACallAndNoContents(t *testing.T) {
	const canary = "canary254722200200"
	refused := fault.New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, "Ongair says: no contact %s", canary)
	refused.Effect = fault.EffectNone
	for _, upstream := range []*fakeOngair{{}, failing(refused)} {
		g := start(t, sends(upstream), withCallers(map[string]string{"billing": canary + "-key"}))
		ctx := metadata.AppendToOutgoingContext(withinTest(t), "authorization", "Bearer "+canary+"-key", MetadataIdempotencyKey, canary)
		for name, req := range minimal() {
			fields := req.ProtoReflect().Descriptor().Fields()
			for _, field := range []string{"external_id", "external_contact_id", "text", "caption", "name", "phone_number", "message_id"} {
				if fields.ByTextName(field) != nil {
					req = set(req, field, canary)
				}
			}
			_, _ = g.invoke(ctx, req)
			_, _ = g.invoke(withinTest(t), req)
			_, _ = g.invoke(ctx, set(req, "channel", "?"+canary))
			g.lines.waitFor(t, "grpc.method="+name, "reason=INVALID_REQUEST")
		}
		assert.NotContains(t, g.lines.String(), "canary")
	}
}

func TestTheLevelOfALogLineDependsOnTheReason(t *testing.T) {
	for _, tt := range []struct {
		name  string
		err   error
		level slog.Level
	}{
		{"a success", nil, slog.LevelDebug},
		{"an invalid request", fault.Invalid(), slog.LevelInfo},
		{"a failure of Ongair", fault.New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED, "failed"), slog.LevelWarn},
		{"a defect", errors.New("defect"), slog.LevelError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			upstream := &fakeOngair{}
			if tt.err != nil {
				upstream = failing(tt.err)
			}
			g := start(t, sends(upstream))
			_, _ = g.invoke(withinTest(t), minimal()["Send"])
			g.lines.waitFor(t, "level="+tt.level.String(), "grpc.method=Send", "grpc.service=ongair.v1.OngairService")
		})
	}
}

func TestAnErrorFromGRPCKeepsItsCode(t *testing.T) {
	g := start(t, sends(&fakeOngair{}))
	stream, err := g.conn.NewStream(withinTest(t), &grpc.StreamDesc{ServerStreams: true}, "/ongair.v1.OngairService/Subscribe")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&ongairv1.SendRequest{ExternalId: string(make([]byte, listen.MaxBodyBytes))}))
	err = stream.RecvMsg(&ongairv1.SubscribeResponse{})
	require.ErrorContains(t, err, codes.ResourceExhausted.String())
	g.lines.waitFor(t, "grpc.code=ResourceExhausted", "cause=")
	assert.NotContains(t, g.lines.String(), "INTERNAL", "the gateway has no defect")
}

// An operator searches for the channel with an invalid token and for denied actions.
func TestTheLogLineOfACallHasItsAttributes(t *testing.T) {
	f := fault.New(ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN, "no")
	f.Metadata = map[string]string{"action": "send"}
	g := start(t, sends(failing(f)))
	_, err := g.invoke(withinTest(t), set(minimal()["Send"], "channel", "support"))
	require.Error(t, err)
	g.lines.waitFor(t, "reason=FORBIDDEN", "channel=support", "action=send")
}

func TestAFloodOfFailuresIsThrottledByReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines bytes.Buffer
		c := newCalls(nil, slog.New(slog.NewTextHandler(&lines, nil)))
		flood := func(reason ongairv1.ErrorReason) (logged int) {
			before := bytes.Count(lines.Bytes(), []byte("\n"))
			for range 1000 {
				c.logEnd(t.Context(), ended{fullMethod: "/ongair.v1.OngairService/Send", err: fault.New(reason, "no")})
			}
			return bytes.Count(lines.Bytes(), []byte("\n")) - before
		}
		assert.Equal(t, 100, flood(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_UNREACHABLE))
		assert.Equal(t, 100, flood(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_BUSY), "another reason is logged, too")
		time.Sleep(time.Second)
		assert.Equal(t, 10, flood(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_UNREACHABLE))
		assert.Contains(t, lines.String(), "suppressed=900")
	})
}
