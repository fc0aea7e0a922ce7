package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/ongair"
)

func TestEverySendingRouteAcceptsBothSpellings(t *testing.T) {
	thread := true
	g := start(t)
	for _, tt := range []struct {
		path, snake, camel, response string
		want                         any
	}{
		{"/v1/messages:send",
			`{"external_id":"42","text":"Habari 👋","external_contact_id":"43","thread":true}`,
			`{"externalId":"42","text":"Habari \ud83d\udc4b","externalContactId":"43","thread":true}`,
			`{"id":"35345432","conversation_id":"22","replayed":false}`,
			ongair.Text{ExternalID: "42", Text: "Habari 👋", ExternalContactID: "43", Thread: &thread}},
		{"/v1/messages:sendImage",
			`{"external_id":"42","image":"https://example.com/a.png","content_type":"image/png","text":"caption"}`,
			`{"externalId":"42","image":"https://example.com/a.png","contentType":"image/png","text":"caption"}`,
			`{"id":"35345432","conversation_id":"22","replayed":false}`,
			ongair.Image{ExternalID: "42", Image: "https://example.com/a.png", ContentType: "image/png", Text: "caption"}},
		{"/v1/messages:sendDocument",
			`{"external_id":"42","file_url":"https://example.com/a.pdf","content_type":"text/csv","caption":"caption"}`,
			`{"externalId":"42","fileUrl":"https://example.com/a.pdf","contentType":"text/csv","caption":"caption"}`,
			`{"id":"35345432","conversation_id":"22","replayed":false}`,
			ongair.Document{ExternalID: "42", FileURL: "https://example.com/a.pdf", ContentType: "text/csv", Caption: "caption"}},
		{"/v1/tickets",
			`{"external_id":"42","message_id":"m-1","direction":"DIRECTION_OUT","profile_picture_url":"https://example.com/a"}`,
			`{"externalId":"42","messageId":"m-1","direction":2,"profilePictureUrl":"https://example.com/a"}`,
			`{"conversation_id":"22","replayed":false}`,
			ongair.Ticket{ExternalID: "42", MessageID: "m-1", Direction: "OUT", ProfilePictureURL: "https://example.com/a"}},
	} {
		t.Run(tt.path, func(t *testing.T) {
			for _, body := range []string{tt.snake, tt.camel, " \n" + tt.snake + "\n "} {
				got := g.do(t, http.MethodPost, tt.path, body)
				require.Equal(t, http.StatusOK, got.status, got.body)
				assert.Equal(t, "application/json", got.header.Get("Content-Type"))
				assert.JSONEq(t, tt.response, got.body)
				assert.Equal(t, []any{tt.want}, g.taken())
			}
		})
	}
}

func TestAnInvalidRequestIsRejected(t *testing.T) {
	const invalid, tooLarge = ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST, ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE
	g := start(t)
	for _, tt := range []struct {
		name, body string
		reason     ongairv1.ErrorReason
		says       string
	}{
		{"an unknown field", `{"external_id":"42","text":"hi","txt":"hi"}`, invalid, "txt"},
		{"a field in another case", `{"external_id":"42","Text":"hi"}`, invalid, "Text"},
		{"a field twice", `{"external_id":"42","text":"hi","text":"ho"}`, invalid, "duplicate"},
		{"a field in both spellings", `{"external_id":"42","externalId":"42","text":"hi"}`, invalid, "duplicate"},
		{"a value of another type", `{"external_id":42,"text":"hi"}`, invalid, "42"},
		{"garbage after the object", sendBody + " and more", invalid, "not JSON"},
		{"a second object after it", sendBody + sendBody, invalid, "not JSON"},
		{"a truncated object", sendBody[:20], invalid, "not JSON"},
		{"an array", "[" + sendBody + "]", invalid, ""},
		{"null", "null", invalid, ""},
		{"a form", "external_id=42&text=hi", invalid, "not JSON"},
		{"a text that is not UTF-8", "{\"external_id\":\"42\",\"text\":\"\xff\"}", invalid, ""},
		{"a field whose name is not UTF-8", "{\"\xff\":\"42\"}", invalid, ""},
		{"a lone surrogate", `{"external_id":"42","text":"\ud800"}`, invalid, ""},
		{"a text over 1 MiB", `{"external_id":"42","text":"` + strings.Repeat("x", listen.MaxBodyBytes) + `"}`, tooLarge, "1048576"},
		{"one byte over 1 MiB", sendBody + strings.Repeat(" ", listen.MaxBodyBytes+1-len(sendBody)), tooLarge, "1048576"},
		{"spaces over 1 MiB", sendBody + strings.Repeat(" ", listen.MaxBodyBytes), tooLarge, "1048576"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := requireError(t, g.do(t, http.MethodPost, sendPath, tt.body, "Content-Type", "application/json"), tt.reason)
			assert.Contains(t, s.Message(), tt.says)
			assert.Empty(t, g.taken())
		})
	}
	for name, body := range map[string]string{"an empty body": "", "spaces": " \n", "an empty object": "{}"} {
		assert.Equal(t, []string{"external_id", "text"}, violations(t, g.do(t, http.MethodPost, sendPath, body)), name)
	}
	body := sendBody + strings.Repeat(" ", listen.MaxBodyBytes-len(sendBody))
	assert.Equal(t, http.StatusOK, g.do(t, http.MethodPost, sendPath, body).status, "a body of exactly 1 MiB")
}

// counted is a body that counts the bytes read.
type counted struct {
	io.Reader
	read int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.read += n
	return n, err
}

func TestABodyThatIsTooLargeIsNotReadBeyondTheLimit(t *testing.T) {
	const size = 64 << 20
	handler, err := New(t.Context(), Config{Requests: openRequests{}, Bodies: listen.NewBodies()}) // no call is ever made
	require.NoError(t, err)
	for name, length := range map[string]int64{"with a length": size, "in chunks": -1} {
		for _, tt := range []struct {
			method, path string
			status, most int
		}{
			{http.MethodPost, sendPath, http.StatusRequestEntityTooLarge, listen.MaxBodyBytes + 1},
			{http.MethodGet, subscribePath, http.StatusRequestEntityTooLarge, listen.MaxBodyBytes + 1},
			{http.MethodGet, sendPath, http.StatusMethodNotAllowed, 0},
			{http.MethodPost, "/v1/nothing", http.StatusNotFound, 0},
		} {
			body := &counted{Reader: bytes.NewReader(make([]byte, size))}
			request := httptest.NewRequestWithContext(t.Context(), tt.method, tt.path, body)
			request.ContentLength = length
			answer := httptest.NewRecorder()
			handler.ServeHTTP(answer, request)
			assert.Equal(t, tt.status, answer.Code, "%s %s %s", tt.method, tt.path, name)
			assert.LessOrEqual(t, body.read, tt.most, "%s %s %s", tt.method, tt.path, name)
		}
	}
}

func TestAnInvalidQueryIsRejected(t *testing.T) {
	g := start(t, withLog(t))
	for _, tt := range []struct {
		name, query string
		want        []string
	}{
		{"an unknown parameter", "?channel=support", []string{"channel"}},
		{"several unknown parameters, in order", "?zebra=1&channels=support&apple=2", []string{"apple", "zebra"}},
		{"a part of a field", "?start_time.seconds=1", []string{"start_time.seconds"}},
		{"a single value twice", "?cursor=a&cursor=b", []string{"cursor"}},
		{"a single value in both spellings", "?start_time=2026-01-01T00:00:00Z&startTime=2026-01-02T00:00:00Z", []string{"start_time"}},
		{"a list in both spellings", "?event_types=1&eventTypes=2", []string{"event_types"}},
		{"an unknown enum value", "?position=FIRST", []string{"position"}},
		{"an invalid time", "?start_time=yesterday", []string{"start_time"}},
		{"an invalid duration", "?heartbeat_interval=often", []string{"heartbeat_interval"}},
		{"a duration out of bounds", "?heartbeat_interval=0.01s", []string{"heartbeat_interval"}},
		{"an empty value", "?position=", []string{"position"}},
		{"an empty cursor", "?cursor=", []string{"cursor"}},
		{"a list with commas", "?channels=support,sales", []string{"channels[0]"}},
		{"a value that is not UTF-8", "?channels=%ff", []string{"channels"}},
		{"a name that is not UTF-8", "?%ff=1", []string{"\ufffd"}},
		{"several invalid parameters", "?heartbeat_interval=often&position=FIRST&x=y", []string{"heartbeat_interval", "position", "x"}},
		{"a malformed escape", "?channels=%zz", nil},
		{"a semicolon", "?channels=a;b", nil},
		{"two start parameters", "?position=POSITION_EARLIEST&cursor=x", []string{"position"}},
		{"an unknown enum value in a list", "?event_types=MessageReceived&event_types=Message", []string{"event_types[1]"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, violations(t, g.do(t, http.MethodGet, subscribePath+tt.query, "")))
		})
	}
	t.Run("a body", func(t *testing.T) {
		requireError(t, g.do(t, http.MethodGet, subscribePath, `{"channels":["support"]}`), ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	})
	t.Run("a query on a route with a body", func(t *testing.T) {
		assert.Equal(t, []string{"text"}, violations(t, g.do(t, http.MethodPost, sendPath+"?text=hi", sendBody)))
		assert.Empty(t, g.taken())
	})
}

func TestAnUnknownPathIsNotFound(t *testing.T) {
	g := start(t)
	for _, path := range []string{"/x", "/v1", "/v1/messages", "/v1/messages:recall", "/v1/messages:Send", "/v1/ticket", "/healthz"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodOptions} {
			requireError(t, g.do(t, method, path, ""), ongairv1.ErrorReason_ERROR_REASON_ROUTE_UNKNOWN)
		}
	}
}

func TestAnotherMethodIsNotAllowed(t *testing.T) {
	g := start(t)
	for path, allowed := range map[string]string{
		sendPath: "POST", "/v1/messages:sendImage": "POST", "/v1/messages:sendDocument": "POST", "/v1/tickets": "POST", "/v1/events": "GET",
		subscribePath: "GET, POST",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"} {
			if strings.Contains(allowed, method) {
				continue
			}
			got := g.do(t, method, path, sendBody)
			requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED)
			assert.Equal(t, allowed, got.header.Get("Allow"), "%s %s", method, path)
		}
		got := g.do(t, http.MethodHead, path, "")
		assert.Equal(t, http.StatusMethodNotAllowed, got.status)
		assert.Equal(t, allowed, got.header.Get("Allow"))
		assert.Empty(t, got.body)
	}
	assert.Empty(t, g.taken())
}

// A path that grpc-gateway routes must be checked as that route. Here the check rejects the query.
func TestNoSpellingOfAPathBypassesTheChecks(t *testing.T) {
	g := start(t, withLog(t))
	for _, path := range []string{
		"/v1/messages%3Asend", "/v1/messages%3asend", "/v1/m%65ssages:send", "/v1%2Fmessages:send", "//v1/messages:send",
		"/v1//messages:send", "/v1/messages:send/", "/v1/./messages:send", "/v1/x/../messages:send", "/v1/messages:send%00",
		"/v1/messages:send%20", "/v1/messages:send;a=b", "/v1/messages/:send", "/v1/:send", "/V1/messages:send", "/v1/messages:send:send",
		"/v1/messages%253Asend", "/v1/tickets:send", "/v1/tickets:", "/v1/tickets/", "/v1/%74ickets", "/v1/events%3Asubscribe",
		"/ongair.v1.OngairService/Send", "/v1/messages:send#x",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			for _, query := range []string{"?unknown=1", ""} {
				got := g.do(t, method, path+query, sendBody+" garbage")
				assert.Contains(t, []int{400, 404, 405}, got.status, "%s %s", method, path+query)
				requireStatusOfAny(t, got)
			}
		}
	}
	assert.Empty(t, g.taken())
	got := g.do(t, http.MethodPost, "/v1/messages%3Asend", sendBody)
	assert.Equal(t, http.StatusOK, got.status, "an escaped colon matches a colon")
}

func requireStatusOfAny(t *testing.T, got answer) {
	t.Helper()
	var body struct {
		Details []struct{ Reason string }
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &body), got.body)
	require.NotEmpty(t, body.Details)
	assert.NotEmpty(t, body.Details[0].Reason)
}

func TestNeitherAFormNorAHeaderChangesTheMethod(t *testing.T) {
	g := start(t, withLog(t))
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	override := []string{"X-HTTP-Method-Override", "GET"}
	for name, header := range map[string][]string{"form": form, "header": override, "both": append(form, override...)} {
		got := g.do(t, http.MethodPost, "/v1/events", "position=POSITION_EARLIEST", header...)
		requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED)
		assert.Equal(t, "GET", got.header.Get("Allow"), name)
	}
	got := g.do(t, http.MethodGet, sendPath, "", "X-HTTP-Method-Override", "POST")
	requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED)
	assert.Empty(t, g.taken())
}

func TestACrossOriginPageCannotSend(t *testing.T) {
	g := start(t)
	own := g.url
	for _, tt := range []struct {
		name    string
		header  []string
		refused bool
	}{
		{"curl", nil, false},
		{"a page of this origin", []string{"Sec-Fetch-Site", "same-origin", "Origin", own}, false},
		{"a user who types the address", []string{"Sec-Fetch-Site", "none"}, false},
		{"an old browser on this origin", []string{"Origin", own}, false},
		{"a page of another site", []string{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, true},
		{"a page of the same site", []string{"Sec-Fetch-Site", "same-site", "Origin", "http://127.0.0.1:1"}, true},
		{"an old browser on another origin", []string{"Origin", "https://evil.example"}, true},
		{"a page without an origin", []string{"Origin", "null"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := g.send(t, append(tt.header, "Content-Type", "text/plain")...)
			if !tt.refused {
				assert.Equal(t, http.StatusOK, got.status, got.body)
				assert.Len(t, g.taken(), 1)
				return
			}
			requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CROSS_ORIGIN)
			assert.Empty(t, got.header.Get("Access-Control-Allow-Origin"))
			assert.Empty(t, g.taken())
		})
	}
}

func TestAnIdempotencyKeyIsTheRequestID(t *testing.T) {
	g := start(t)
	for _, header := range []string{"Idempotency-Key", "idempotency-key"} {
		for _, value := range []string{"r-1", `"r-1"`} {
			g.keys = nil
			got := g.send(t, header, value)
			require.Equal(t, http.StatusOK, got.status, got.body)
			require.Len(t, g.keys, 1)
			assert.Equal(t, "r-1", g.keys[0].RequestID)
			assert.Empty(t, got.header.Values("Idempotent-Replayed"))
		}
	}
	g.taken()
	for name, header := range map[string][]string{
		"twice":      {"Idempotency-Key", "r-1", "Idempotency-Key", "r-2"},
		"empty":      {"Idempotency-Key", ""},
		"not ASCII":  {"Idempotency-Key", "é"},
		"not UTF-8":  {"Idempotency-Key", "\xff"},
		"with a tab": {"Idempotency-Key", "a\tb"},
		"one of two": {"Idempotency-Key", "r-1", "Idempotency-Key", "é"},
		"too long":   {"Idempotency-Key", strings.Repeat("r", 129)},
	} {
		assert.Equal(t, []string{"request_id"}, violations(t, g.send(t, header...)), name)
		assert.Empty(t, g.taken(), name)
	}
	both := g.do(t, http.MethodPost, sendPath, `{"external_id":"42","text":"hi","request_id":"r-2"}`, "Idempotency-Key", "r-1")
	assert.Equal(t, []string{"request_id"}, violations(t, both))
}

func TestAReplayedAnswerIsMarked(t *testing.T) {
	g := start(t)
	g.replayed = true
	got := g.send(t, "Idempotency-Key", "r-1")
	require.Equal(t, http.StatusOK, got.status)
	assert.Equal(t, []string{"true"}, got.header.Values("Idempotent-Replayed"))
	assert.JSONEq(t, `{"id":"35345432","conversation_id":"22","replayed":true}`, got.body)
}

func TestAFaultOfEveryReasonHasItsStatus(t *testing.T) {
	g := start(t, withLog(t))
	for number, name := range ongairv1.ErrorReason_name {
		reason := ongairv1.ErrorReason(number)
		if reason == ongairv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
			continue
		}
		t.Run(name, func(t *testing.T) {
			f := &fault.Fault{
				Reason: reason, Message: "public message", Effect: fault.EffectNone, RetryAfter: 1500 * time.Millisecond,
				Metadata: map[string]string{"upstream_status": "502"}, Cause: fmt.Errorf("hidden"),
			}
			g.answer = func(context.Context) (ongair.Receipt, error) { return ongair.Receipt{}, f }
			g.log.fault = f
			for route, got := range map[string]answer{
				"a call": g.send(t), "a stream": g.do(t, http.MethodGet, subscribePath, ""),
			} {
				s := requireError(t, got, reason)
				assert.Equal(t, "public message", s.Message(), route)
				assert.Equal(t, map[string]string{"effect": "none", "upstream_status": "502"}, fault.Info(s).GetMetadata(), route)
				assert.Equal(t, "2", got.header.Get("Retry-After"), route)
				assert.NotContains(t, got.body, "hidden")
				unauthenticated := ""
				if fault.Code(reason) == codes.Unauthenticated {
					unauthenticated = "Bearer"
				}
				assert.Equal(t, unauthenticated, got.header.Get("WWW-Authenticate"), route)
				assert.Empty(t, got.header.Get("Idempotent-Replayed"))
			}
		})
	}
}

func TestRetryAfterIsInWholeSecondsRoundedUp(t *testing.T) {
	g := start(t)
	for after, want := range map[time.Duration]string{
		0: "", time.Millisecond: "1", time.Second: "1", time.Second + 1: "2", 2 * time.Minute: "120",
	} {
		g.answer = func(context.Context) (ongair.Receipt, error) {
			return ongair.Receipt{}, &fault.Fault{Reason: ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED, RetryAfter: after}
		}
		assert.Equal(t, want, g.send(t).header.Get("Retry-After"), after)
	}
}

// Errors of the connection in memory have no reason.
func TestAnErrorWithoutAReasonGetsOne(t *testing.T) {
	for code, reason := range map[codes.Code]ongairv1.ErrorReason{
		codes.Unavailable:      ongairv1.ErrorReason_ERROR_REASON_OUTCOME_UNKNOWN,
		codes.DeadlineExceeded: ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED,
		codes.Canceled:         ongairv1.ErrorReason_ERROR_REASON_CANCELLED,
		codes.Internal:         ongairv1.ErrorReason_ERROR_REASON_INTERNAL,
		codes.Unknown:          ongairv1.ErrorReason_ERROR_REASON_INTERNAL,
	} {
		t.Run(code.String(), func(t *testing.T) {
			g := start(t)
			g.spy.ClientConnInterface = brokenConn{status.Error(code, "hidden")}
			sent := g.send(t)
			s := requireError(t, sent, reason)
			assert.Equal(t, "unknown", fault.Info(s).GetMetadata()["effect"], "the message may have been sent")
			assert.NotContains(t, sent.body, "hidden")
			assert.Equal(t, "", sent.header.Get("Retry-After"), "a retry may send it twice")
			page := g.do(t, http.MethodGet, "/v1/events", "")
			if code == codes.Unavailable {
				reason = ongairv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN
			}
			assert.Empty(t, fault.Info(requireError(t, page, reason)).GetMetadata()["effect"])
			assert.NotContains(t, page.body, "hidden")
		})
	}
}

type brokenConn struct{ err error }

func (c brokenConn) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return c.err }

func (c brokenConn) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, c.err
}

func TestOnlyTheCredentialHeadersAreForwarded(t *testing.T) {
	g := start(t, withCaller)
	got := g.send(t)
	requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING)
	for _, wrong := range []string{"Bearer wrong", "Basic x", "", "Bearer \xff"} {
		assert.Equal(t, http.StatusUnauthorized, g.send(t, "Authorization", wrong).status, wrong)
	}
	assert.Equal(t, http.StatusUnauthorized, g.send(t, "Grpc-Metadata-Authorization", "Bearer "+apiKey).status)
	assert.Equal(t, http.StatusUnauthorized, g.send(t, "Authorization", "Bearer "+apiKey, "Authorization", "Bearer "+apiKey).status)
	assert.Equal(t, http.StatusUnauthorized, g.do(t, http.MethodGet, subscribePath, "").status)
	assert.Empty(t, g.taken())

	got = g.send(t, "Authorization", "Bearer "+apiKey, "Idempotency-Key", "r-1",
		"Grpc-Metadata-X-Injected", "1", "Grpc-Metadata-Idempotency-Key", "r-2", "Grpcgateway-X", "1", "X-Anything", "1", "Cookie", "a=b",
		"X-Request-Id", "1", "Grpc-Trace-Bin", "AA==", "Te", "trailers", "Content-Type", "application/json", "Accept", "text/html",
		"Forwarded", "for=1.2.3.4")
	require.Equal(t, http.StatusOK, got.status, got.body)
	md := g.spy.last()
	for key := range md {
		// The last three are added by grpc-gateway and this package.
		assert.Contains(t, []string{"authorization", "idempotency-key", "x-forwarded-host", "x-forwarded-for", "ongair-gateway-call"}, key)
	}
	assert.Equal(t, []string{"r-1"}, md.Get("idempotency-key"))
	for name := range got.header {
		assert.False(t, strings.HasPrefix(name, "Grpc"), name)
	}
	assert.Empty(t, got.header.Values("Trailer"))
}

func TestAHeaderSetsADeadlineWithinTheLimit(t *testing.T) {
	g := start(t)
	var left time.Duration
	g.answer = func(ctx context.Context) (ongair.Receipt, error) {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return ongair.Receipt{}, nil
	}
	for timeout, want := range map[string]time.Duration{"": 15 * time.Second, "5S": 5 * time.Second, "2M": time.Minute, "99H": time.Minute} {
		var header []string
		if timeout != "" {
			header = []string{"Grpc-Timeout", timeout}
		}
		require.Equal(t, http.StatusOK, g.send(t, header...).status)
		assert.LessOrEqual(t, left, want, timeout)
		assert.Greater(t, left, want-4*time.Second, timeout)
	}
	for _, malformed := range []string{"soon", "5", "S", "5s"} {
		requireError(t, g.send(t, "Grpc-Timeout", malformed), ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST)
	}
}

func TestAnExpiredDeadlineReportsTheEffect(t *testing.T) {
	g := start(t)
	g.answer = func(ctx context.Context) (ongair.Receipt, error) {
		<-ctx.Done()
		f := fault.From(ctx.Err())
		f.Effect = fault.EffectUnknown
		return ongair.Receipt{}, f
	}
	s := requireError(t, g.send(t, "Grpc-Timeout", "100m"), ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED)
	assert.Equal(t, "unknown", fault.Info(s).GetMetadata()["effect"])
}

// An error of the in-memory connection has no reason. Only a sending call has an effect.
func TestAnErrorWithoutAReasonHasAnUnknownEffectIfTheCallSends(t *testing.T) {
	found, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	require.NoError(t, err)
	effects := map[string]string{}
	for _, route := range listRoutes(found) {
		method, path, _ := strings.Cut(route, " ")
		w := httptest.NewRecorder()
		found.writeError(t.Context(), nil, nil, w, httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody),
			status.Error(codes.Internal, "the connection broke"))
		effects[route] = fault.Info(requireStatus(t, w.Body.String(), ongairv1.ErrorReason_ERROR_REASON_INTERNAL)).GetMetadata()["effect"]
	}
	assert.Equal(t, map[string]string{
		"POST /v1/messages:send": "unknown", "POST /v1/messages:sendImage": "unknown", "POST /v1/messages:sendDocument": "unknown",
		"POST /v1/tickets": "unknown", "GET /v1/events": "", "GET /v1/events:subscribe": "", "POST /v1/events:subscribe": "",
		"POST /v1/events:createStreamTicket": "",
	}, effects)
}

func TestTheRoutesMatchTheProto(t *testing.T) {
	found, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"POST /v1/messages:send", "POST /v1/messages:sendImage", "POST /v1/messages:sendDocument", "POST /v1/tickets",
		"GET /v1/events", "GET /v1/events:subscribe", "POST /v1/events:subscribe", "POST /v1/events:createStreamTicket",
	}, listRoutes(found))
	g := start(t, withCaller, withLog(t))
	for _, listed := range listRoutes(found) {
		method, path, _ := strings.Cut(listed, " ")
		got := g.do(t, method, path, map[string]string{"POST": "{}"}[method])
		assert.Equal(t, strconv.Itoa(http.StatusUnauthorized), strconv.Itoa(got.status), "%s is not denied by default", listed)
	}
}

func listRoutes(found routes) (listed []string) {
	for path, methods := range found {
		for method := range methods {
			listed = append(listed, method+" "+path)
		}
	}
	return listed
}

// openRequests admits every request. A subscription ends with the result of stream.
type openRequests struct {
	stream func(r *http.Request, send func(*event.Response) error) error
}

func (openRequests) Admit(*http.Request, string) (metadata.MD, func(), error) {
	return nil, func() {}, nil
}

func (o openRequests) Subscribe(r *http.Request, _ string, receive func(*ongairv1.SubscribeRequest) error, send func(*event.Response) error, _ func()) error {
	if err := receive(&ongairv1.SubscribeRequest{}); err != nil || o.stream == nil {
		return err
	}
	return o.stream(r, send)
}

// closedRequests admits no request.
type closedRequests struct{}

func (closedRequests) Admit(*http.Request, string) (metadata.MD, func(), error) {
	return nil, nil, fault.New(ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING, "no credentials")
}

func (c closedRequests) Subscribe(*http.Request, string, func(*ongairv1.SubscribeRequest) error, func(*event.Response) error, func()) error {
	_, _, err := c.Admit(nil, "")
	return err
}

func TestABodyIsNotReadBeforeItsRequestIsAdmitted(t *testing.T) {
	handler, err := New(t.Context(), Config{Requests: closedRequests{}, Bodies: listen.NewBodies()}) // no call is ever made
	require.NoError(t, err)
	for _, route := range []string{"POST /v1/messages:send", "POST /v1/events:subscribe", "GET /v1/events"} {
		method, path, _ := strings.Cut(route, " ")
		body := &counted{Reader: bytes.NewReader(make([]byte, 1000))}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), method, path, body))
		assert.Equal(t, http.StatusUnauthorized, answer.Code, route)
		assert.Zero(t, body.read, route)
	}
}

// No route is reached that grpc-gateway may have in addition.
func TestOnlyRoutesOfRPCsAreReached(t *testing.T) {
	found, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	require.NoError(t, err)
	var reached []string
	reach := func(r *http.Request) { reached = append(reached, r.Method+" "+r.URL.Path) }
	streams := openRequests{func(r *http.Request, _ func(*event.Response) error) error { reach(r); return nil }}
	handler := found.handler(streams, listen.NewBodies(), http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { reach(r) }))
	paths := []string{"/", "/v1", "/v1/messages", "/metrics", "/debug/pprof/", "/openapi.json", "/ongair.v1.OngairService/Send"}
	want := listRoutes(found)
	for path := range found {
		paths = append(paths, path, path+"/", path+":x", path+"/x")
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO"} {
			handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), method, path, http.NoBody))
		}
	}
	assert.ElementsMatch(t, want, reached)
}
