package fault

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const secretCause = "dial tcp 10.1.2.3: token meowmeowmeow"

func TestAStatusHasOnlyPublicInformation(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fault   *Fault
		code    codes.Code
		message string
		details []proto.Message
	}{
		{
			name:    "a reason and a message are enough",
			fault:   New(ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN, "no channel %q", "sales"),
			code:    codes.NotFound,
			message: `no channel "sales"`,
			details: []proto.Message{&errdetails.ErrorInfo{Reason: "CHANNEL_UNKNOWN", Domain: "gateway.ongair.im"}},
		},
		{
			name: "the effect is among the metadata, and advice is a detail",
			fault: &Fault{
				Reason:     ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED,
				Message:    "slow down",
				Effect:     EffectNone,
				RetryAfter: 1500 * time.Millisecond,
				Metadata:   map[string]string{"upstream_status": "429"},
			},
			code:    codes.ResourceExhausted,
			message: "slow down",
			details: []proto.Message{
				&errdetails.ErrorInfo{
					Reason: "ONGAIR_THROTTLED", Domain: "gateway.ongair.im",
					Metadata: map[string]string{"effect": "none", "upstream_status": "429"},
				},
				&errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)},
			},
		},
		{
			name:    "each bad field is a violation, and the first one is the message",
			fault:   Invalid(Violation{"text", "is empty", "STRING_MIN_BYTES"}, Violation{"external_id", "is too long", "STRING_MAX_BYTES"}),
			code:    codes.InvalidArgument,
			message: "text: is empty (and 1 more)",
			details: []proto.Message{
				&errdetails.ErrorInfo{Reason: "INVALID_REQUEST", Domain: "gateway.ongair.im"},
				&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
					{Field: "text", Description: "is empty", Reason: "STRING_MIN_BYTES"},
					{Field: "external_id", Description: "is too long", Reason: "STRING_MAX_BYTES"},
				}},
			},
		},
		{
			name:    "one bad field is the message alone",
			fault:   Invalid(Violation{"text", "is empty", ViolationMalformed}),
			code:    codes.InvalidArgument,
			message: "text: is empty",
			details: []proto.Message{
				&errdetails.ErrorInfo{Reason: "INVALID_REQUEST", Domain: "gateway.ongair.im"},
				&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
					{Field: "text", Description: "is empty", Reason: "MALFORMED"},
				}},
			},
		},
		{
			name:    "an invalid request need not name a field",
			fault:   Invalid(),
			code:    codes.InvalidArgument,
			message: "the request is invalid",
			details: []proto.Message{&errdetails.ErrorInfo{Reason: "INVALID_REQUEST", Domain: "gateway.ongair.im"}},
		},
		{
			name: "what is not UTF-8 costs no detail",
			fault: &Fault{
				Reason:     ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
				Message:    "bad \xff\xfe byte",
				RetryAfter: time.Second,
				Metadata:   map[string]string{"k\xff": "v\xc3"},
				Violations: []Violation{{"f\xff", "d\xff", ""}},
			},
			code:    codes.InvalidArgument,
			message: "bad \ufffd byte",
			details: []proto.Message{
				&errdetails.ErrorInfo{
					Reason: "INVALID_REQUEST", Domain: "gateway.ongair.im", Metadata: map[string]string{"k\ufffd": "v\ufffd"},
				},
				&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
					{Field: "f\ufffd", Description: "d\ufffd"},
				}},
				&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := tt.fault.GRPCStatus()
			assert.Equal(t, tt.code, s.Code())
			assert.Equal(t, tt.message, s.Message())
			var details []proto.Message
			for _, detail := range s.Details() {
				details = append(details, detail.(proto.Message))
			}
			assert.Empty(t, cmp.Diff(tt.details, details, protocmp.Transform()))
			_, err := proto.Marshal(s.Proto())
			require.NoError(t, err)
		})
	}
}

func TestTheCauseIsForTheLogAndNotForTheCaller(t *testing.T) {
	f := New(ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, "come again")
	f.Cause = errors.New(secretCause)
	assert.Equal(t, "LOG_UNAVAILABLE: come again: "+secretCause, f.Error())
	require.ErrorIs(t, f, f.Cause)
	assert.NotContains(t, f.GRPCStatus().Proto().String(), "meow")

	internal := From(errors.New(secretCause))
	assert.Contains(t, internal.Error(), secretCause)
	assert.NotContains(t, internal.GRPCStatus().Proto().String(), "meow")
}

func TestAFaultWithoutACauseHasReasonAndMessage(t *testing.T) {
	assert.Equal(t, "CURSOR_AHEAD: too far", New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD, "too far").Error())
}

func TestAStatusLeavesTheFaultAsItIs(t *testing.T) {
	f := New(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED, "failed")
	f.Effect, f.Metadata = EffectUnknown, map[string]string{"upstream_status": "500"}
	f.GRPCStatus()
	assert.Equal(t, map[string]string{"upstream_status": "500"}, f.Metadata)
}

func TestFrom(t *testing.T) {
	known := New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN, "of another log")
	for _, tt := range []struct {
		name string
		err  error
		want ongairv1.ErrorReason
	}{
		{"a fault", known, ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN},
		{"a wrapped fault", fmt.Errorf("read: %w", known), ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN},
		{"a fault among others", errors.Join(errors.New("close"), known), ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN},
		{"a fault whose cause is the end of a context", func() error {
			f := New(ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, "come again")
			f.Cause = context.DeadlineExceeded
			return f
		}(), ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE},
		{"a cancelled context", fmt.Errorf("append: %w", context.Canceled), ongairv1.ErrorReason_ERROR_REASON_CANCELLED},
		{"a passed deadline", fmt.Errorf("append: %w", context.DeadlineExceeded), ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED},
		{"a status of others", status.Error(codes.NotFound, "?"), ongairv1.ErrorReason_ERROR_REASON_INTERNAL},
		{"anything else", errors.New("?"), ongairv1.ErrorReason_ERROR_REASON_INTERNAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := From(tt.err)
			assert.Equal(t, tt.want, f.Reason)
			if _, isFault := errors.AsType[*Fault](tt.err); !isFault {
				assert.Equal(t, tt.err, f.Cause)
			}
		})
	}
	assert.Nil(t, From(nil))
}

func TestAReasonIsFoundInAStatusOfOurDomainAlone(t *testing.T) {
	ours := New(ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED, "gone").GRPCStatus()
	assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED, ReasonOf(ours))
	assert.Equal(t, "CURSOR_EXPIRED", Info(ours).GetReason())

	theirs, err := status.New(codes.OutOfRange, "gone").
		WithDetails(&errdetails.ErrorInfo{Reason: "CURSOR_EXPIRED", Domain: "example.com"})
	require.NoError(t, err)
	newer, err := status.New(codes.OutOfRange, "gone").
		WithDetails(&errdetails.ErrorInfo{Reason: "OF_A_LATER_RELEASE", Domain: Domain})
	require.NoError(t, err)
	for name, s := range map[string]*status.Status{
		"no details": status.New(codes.OutOfRange, "gone"), "another domain": theirs, "an unknown reason": newer, "none": nil,
	} {
		assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED, ReasonOf(s), name)
	}
}
