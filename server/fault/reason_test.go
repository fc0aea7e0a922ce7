package fault

import (
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// eachReason calls f for every reason but the one that is never sent.
func eachReason(f func(ongairv1.ErrorReason)) {
	for number := range ongairv1.ErrorReason_name {
		if reason := ongairv1.ErrorReason(number); reason != ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			f(reason)
		}
	}
}

// canonical is the mapping in the comments of google.rpc.Code.
func canonical(code codes.Code) int {
	return map[codes.Code]int{
		codes.Canceled:           statusClientClosedRequest,
		codes.Unknown:            http.StatusInternalServerError,
		codes.InvalidArgument:    http.StatusBadRequest,
		codes.DeadlineExceeded:   http.StatusGatewayTimeout,
		codes.NotFound:           http.StatusNotFound,
		codes.AlreadyExists:      http.StatusConflict,
		codes.PermissionDenied:   http.StatusForbidden,
		codes.Unauthenticated:    http.StatusUnauthorized,
		codes.ResourceExhausted:  http.StatusTooManyRequests,
		codes.FailedPrecondition: http.StatusBadRequest,
		codes.Aborted:            http.StatusConflict,
		codes.OutOfRange:         http.StatusBadRequest,
		codes.Unimplemented:      http.StatusNotImplemented,
		codes.Internal:           http.StatusInternalServerError,
		codes.Unavailable:        http.StatusServiceUnavailable,
		codes.DataLoss:           http.StatusInternalServerError,
	}[code]
}

func TestTheHTTPStatusIsThatOfTheCodeOrMorePrecise(t *testing.T) {
	saysMore := map[ongairv1.ErrorReason]int{
		ongairv1.ErrorReason_ERROR_REASON_IDEMPOTENCY_KEY_REUSED: http.StatusUnprocessableEntity,
		ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE:      http.StatusRequestEntityTooLarge,
		ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED:     http.StatusMethodNotAllowed,
		ongairv1.ErrorReason_ERROR_REASON_CURSOR_EXPIRED:         http.StatusGone,
	}
	eachReason(func(reason ongairv1.ErrorReason) {
		want := canonical(Code(reason))
		if more, ok := saysMore[reason]; ok {
			want = more
		}
		assert.Equal(t, want, HTTPStatus(reason), reason)
	})
}

func TestEveryReasonHasItsRow(t *testing.T) {
	eachReason(func(reason ongairv1.ErrorReason) {
		internal := reason == ongairv1.ErrorReason_ERROR_REASON_INTERNAL
		assert.Equal(t, internal, Code(reason) == codes.Internal, "%s has the code of a defect", reason)
		assert.NotEqual(t, codes.OK, Code(reason), reason)
	})
	assert.Equal(t, codes.Internal, Code(12345), "a reason that nobody knows is a defect")
	assert.Equal(t, http.StatusInternalServerError, HTTPStatus(12345))
}

func TestAReasonWithAnUnknownEffectIsNotUnavailable(t *testing.T) {
	mayHave := 0
	for reason, comment := range protoComments(t) {
		if strings.Contains(comment, "may have been sent") {
			mayHave++
			assert.NotEqual(t, codes.Unavailable, Code(reason), reason)
			assert.Contains(t, document(t)[ReasonName(reason)].effect, "unknown", reason)
		}
	}
	assert.GreaterOrEqual(t, mayHave, 6, "the proto says so of the failures of Ongair and of the deadlines")
}

// protoComments are the comments of the enum's values, each as one line.
func protoComments(t *testing.T) map[ongairv1.ErrorReason]string {
	t.Helper()
	source, err := os.ReadFile("../../proto/ongair/v1/error_reason.proto")
	require.NoError(t, err)
	comments := map[ongairv1.ErrorReason]string{}
	var comment []string
	for line := range strings.Lines(string(source)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "//"); ok {
			comment = append(comment, strings.TrimSpace(text))
			continue
		}
		name, _, _ := strings.Cut(line, " ")
		if number, ok := ongairv1.ErrorReason_value[name]; ok {
			comments[ongairv1.ErrorReason(number)] = strings.Join(comment, " ")
		}
		comment = nil
	}
	require.Len(t, comments, len(ongairv1.ErrorReason_name))
	return comments
}

// documented is a row of docs/errors.md.
type documented struct{ code, http, effect, retry, text string }

// document reads the tables of docs/errors.md, by reason.
func document(t *testing.T) map[string]documented {
	t.Helper()
	rows := map[string]documented{}
	for line := range strings.Lines(readDocument(t)) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|\n"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(cells) == 2 {
			continue // a reason of a violation
		}
		require.Len(t, cells, 6, line)
		reason := strings.Trim(cells[0], "`")
		require.NotContains(t, rows, reason, "has two rows")
		rows[reason] = documented{strings.Trim(cells[1], "`"), cells[2], cells[3], cells[4], cells[5]}
	}
	return rows
}

func readDocument(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/errors.md")
	require.NoError(t, err)
	return string(text)
}

// codeName is the name of a code as google.rpc.Code spells it.
func codeName(t *testing.T, code codes.Code) string {
	t.Helper()
	for _, name := range []string{
		"CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
		"RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
		"DATA_LOSS", "UNAUTHENTICATED",
	} {
		var c codes.Code
		require.NoError(t, c.UnmarshalJSON([]byte(strconv.Quote(name))))
		if c == code {
			return name
		}
	}
	t.Fatalf("code %s has no name", code)
	return ""
}

func TestTheDocumentHasTheTableOfReasons(t *testing.T) {
	rows := document(t)
	eachReason(func(reason ongairv1.ErrorReason) {
		row, ok := rows[ReasonName(reason)]
		if !assert.True(t, ok, "docs/errors.md has no row for %s", reason) {
			return
		}
		assert.Equal(t, codeName(t, Code(reason)), row.code, reason)
		assert.Equal(t, strconv.Itoa(HTTPStatus(reason)), row.http, reason)
		assert.NotEmpty(t, row.effect, reason)
		assert.NotEmpty(t, row.retry, reason)
		assert.NotEmpty(t, row.text, reason)
		delete(rows, ReasonName(reason))
	})
	assert.Empty(t, rows, "docs/errors.md has rows for reasons that do not exist")
}

func TestTheDocumentListsTheReasonsOfViolations(t *testing.T) {
	text := readDocument(t)
	for _, reason := range []string{ViolationMalformed, ViolationRepeated, ViolationConflict, ViolationUnknown} {
		assert.Contains(t, text, "\n| `"+reason+"` | ")
	}
}

func TestTheDocumentHasAnExampleOfEveryReason(t *testing.T) {
	rows := document(t)
	for _, block := range regexp.MustCompile("(?s)\n\\|[^\n]*\n\n```json\n(.*?)```").FindAllStringSubmatch(readDocument(t), -1) {
		for example := range strings.Lines(block[1]) {
			var p spb.Status
			require.NoError(t, protojson.Unmarshal([]byte(example), &p), example)
			s := status.FromProto(&p)
			reason := ReasonOf(s)
			row, ok := rows[ReasonName(reason)]
			require.True(t, ok, "one example for each reason: %s", example)
			delete(rows, ReasonName(reason))
			assert.Equal(t, Code(reason), s.Code(), reason)
			if effect := Info(s).GetMetadata()["effect"]; effect != "" {
				assert.Contains(t, row.effect, effect, reason)
			} else {
				assert.Contains(t, row.effect, "–", reason)
			}
			repeatable := slices.ContainsFunc(s.Details(), func(detail any) bool {
				_, ok := detail.(*errdetails.RetryInfo)
				return ok
			})
			assert.Equal(t, strings.HasPrefix(row.retry, "yes"), repeatable, "%s: %s", reason, row.retry)
		}
	}
	assert.Empty(t, rows, "docs/errors.md has no example of these")
}
