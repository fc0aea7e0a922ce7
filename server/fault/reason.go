package fault

import (
	"net/http"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const reasonPrefix = "ERROR_REASON_"

// statusClientClosedRequest is nginx's status 499, which google.rpc.Code gives for CANCELLED.
// net/http has no constant for it.
const statusClientClosedRequest = 499

// Code returns the gRPC code of a reason. It returns codes.Internal for an unknown reason.
//
// Service meshes and clients retry UNAVAILABLE. A reason whose effect may be unknown MUST NOT
// have that code.
func Code(reason ongairv1.ErrorReason) codes.Code {
	code, _ := lookUp(reason)
	return code
}

// HTTPStatus returns the HTTP status of a reason over REST: the one that google.rpc.Code gives
// for its gRPC code, or a more precise one.
func HTTPStatus(reason ongairv1.ErrorReason) int {
	_, httpStatus := lookUp(reason)
	return httpStatus
}

// lookUp returns the gRPC code and the HTTP status of a reason. A test compares the table with
// docs/errors.md.
func lookUp(reason ongairv1.ErrorReason) (codes.Code, int) {
	switch reason {
	case ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
		ongairv1.ErrorReason_ERROR_REASON_CHANNEL_REQUIRED,
		ongairv1.ErrorReason_ERROR_REASON_CURSOR_MALFORMED:
		return codes.InvalidArgument, http.StatusBadRequest
	case ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED:
		return codes.InvalidArgument, http.StatusUnprocessableEntity
	case ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN,
		ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN:
		return codes.NotFound, http.StatusNotFound
	case ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING,
		ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID:
		return codes.Unauthenticated, http.StatusUnauthorized
	case ongairv1.ErrorReason_ERROR_REASON_CROSS_ORIGIN,
		ongairv1.ErrorReason_ERROR_REASON_FORBIDDEN:
		return codes.PermissionDenied, http.StatusForbidden
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_UNREACHABLE,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CIRCUIT_OPEN,
		ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE,
		ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		ongairv1.ErrorReason_ERROR_REASON_STREAM_MOVED:
		return codes.Unavailable, http.StatusServiceUnavailable
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_TOKEN_REJECTED,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REDIRECTED,
		ongairv1.ErrorReason_ERROR_REASON_CURSOR_FOREIGN,
		ongairv1.ErrorReason_ERROR_REASON_LOG_REPLACED:
		return codes.FailedPrecondition, http.StatusBadRequest
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED,
		ongairv1.ErrorReason_ERROR_REASON_CHANNEL_BUSY,
		ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED:
		return codes.ResourceExhausted, http.StatusTooManyRequests
	case ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE:
		return codes.ResourceExhausted, http.StatusRequestEntityTooLarge
	case ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_ANSWER_UNREADABLE,
		ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CONNECTION_LOST,
		ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN:
		return codes.Unknown, http.StatusInternalServerError
	case ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED:
		return codes.DeadlineExceeded, http.StatusGatewayTimeout
	case ongairv1.ErrorReason_ERROR_REASON_CANCELLED:
		return codes.Canceled, statusClientClosedRequest
	case ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_IN_FLIGHT:
		return codes.Aborted, http.StatusConflict
	case ongairv1.ErrorReason_ERROR_REASON_CURSOR_AHEAD:
		return codes.OutOfRange, http.StatusBadRequest
	case ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED:
		return codes.OutOfRange, http.StatusGone
	case ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED:
		return codes.Unimplemented, http.StatusMethodNotAllowed
	case ongairv1.ErrorReason_ERROR_REASON_METHOD_UNKNOWN:
		return codes.Unimplemented, http.StatusNotImplemented
	case ongairv1.ErrorReason_ERROR_REASON_INTERNAL,
		ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED:
		return codes.Internal, http.StatusInternalServerError
	}
	return codes.Internal, http.StatusInternalServerError
}

// ReasonName returns a reason without the enum's prefix, as it is in ErrorInfo.
func ReasonName(reason ongairv1.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), reasonPrefix)
}

// ReasonOf returns the reason of a status that a gateway returned. It returns
// ERROR_REASON_UNSPECIFIED for other statuses.
func ReasonOf(s *status.Status) ongairv1.ErrorReason {
	if info := Info(s); info != nil {
		return ongairv1.ErrorReason(ongairv1.ErrorReason_value[reasonPrefix+info.GetReason()])
	}
	return ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// Info returns the gateway's ErrorInfo of a status, or nil.
func Info(s *status.Status) *errdetails.ErrorInfo {
	for _, detail := range s.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == Domain {
			return info
		}
	}
	return nil
}
