package rest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/gen"
	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// schemas validates JSON with the schemas of the OpenAPI document.
type schemas struct{ *jsonschema.Compiler }

// openAPIURL is the name under which the compiler has the document.
const openAPIURL = "http://gateway/openapi.json"

func newSchemas(t *testing.T) schemas {
	t.Helper()
	s := schemas{jsonschema.NewCompiler()}
	s.DefaultDraft(jsonschema.Draft2020)
	require.NoError(t, s.AddResource(openAPIURL, decode(t, string(gen.OpenAPIJSON()))))
	return s
}

func decode(t *testing.T, text string) any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err, text)
	return value
}

// validate returns why a text is not of a schema, or nil. path leads to the schema.
func (s schemas) validate(t *testing.T, text string, path ...string) error {
	t.Helper()
	pointer := "#"
	for _, name := range path {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
	}
	schema, err := s.Compile(openAPIURL + pointer)
	require.NoError(t, err)
	return schema.Validate(decode(t, text))
}

// requireAnswer requires that an answer is as the document has it.
func (s schemas) requireAnswer(t *testing.T, method, path string, got answer) {
	t.Helper()
	responses := readOpenAPI(t).Paths[path][strings.ToLower(method)].Responses
	code := strconv.Itoa(got.status)
	require.Contains(t, responses, code, "%s %s: %s", method, path, got.body)
	mediaType := got.header.Get("Content-Type")
	require.NoError(t, s.validate(t, got.body, "paths", path, strings.ToLower(method), "responses", code, "content", mediaType, "schema"), got.body)
}

func TestTheOpenAPIDocumentIsValid(t *testing.T) {
	official, err := os.ReadFile("testdata/openapi-3.1.schema.json")
	require.NoError(t, err)
	s := newSchemas(t)
	require.NoError(t, s.AddResource("http://gateway/openapi-3.1", decode(t, string(official))))
	schema, err := s.Compile("http://gateway/openapi-3.1")
	require.NoError(t, err)
	require.NoError(t, schema.Validate(decode(t, string(gen.OpenAPIJSON()))))
	for name := range readOpenAPI(t).Components.Schemas { // which also resolves their references
		_, err := s.Compile(openAPIURL + "#/components/schemas/" + name)
		require.NoError(t, err)
	}
}

func TestAnswersAreAsTheOpenAPIDocumentHasThem(t *testing.T) {
	s, g, key := newSchemas(t), start(t, withLog(t), withCaller), []string{"Authorization", "Bearer " + apiKey}
	g.add(t, "support", "Habari 👋")
	for _, notificationType := range []string{"TicketStatusUpdated", "Unheard", ""} {
		g.addType(t, notificationType)
	}
	const tickets = "/v1/events:createStreamTicket"
	for name, tt := range map[string]struct {
		method, path, query, body string
		header                    []string
		status                    int
	}{
		"a text":                       {"POST", sendPath, "", sendBody, key, 200},
		"a page":                       {"GET", "/v1/events", "", "", key, 200},
		"a page without events":        {"GET", "/v1/events", "?notification_types=Other", "", key, 200},
		"a ticket":                     {"POST", tickets, "", "", key, 200},
		"no key":                       {"POST", sendPath, "", sendBody, nil, 401},
		"another key":                  {"GET", "/v1/events", "", "", []string{"Authorization", "Bearer x"}, 401},
		"fields that are missing":      {"POST", sendPath, "", "{}", key, 400},
		"a body that is not JSON":      {"POST", "/v1/tickets", "", "x", key, 400},
		"an unknown channel":           {"POST", sendPath, "", `{"external_id":"42","text":"hi","channel":"x"}`, key, 404},
		"a cursor that is none":        {"GET", "/v1/events", "?cursor=x", "", key, 400},
		"a parameter without a name":   {"GET", "/v1/events", "?=x", "", key, 400},
		"a stream without a key":       {"GET", subscribePath, "", "", nil, 401},
		"a stream from no cursor":      {"POST", subscribePath, "", `{"cursor":"x"}`, key, 400},
		"a ticket that is none":        {"GET", subscribePath, "?ticket=x", "", nil, 401},
		"a page of another origin":     {"POST", sendPath, "", sendBody, append([]string{"Origin", pageOrigin}, key...), 403},
		"headers that are too large":   {"GET", "/v1/events", "", "", append([]string{"X", strings.Repeat("x", 17<<10)}, key...), 431},
		"a body that is too large":     {"POST", sendPath, "", strings.Repeat(" ", 2<<20), key, 413},
		"a ticket for unknown filters": {"POST", tickets, "", `{"channels":["x"]}`, key, 404},
	} {
		t.Run(name, func(t *testing.T) {
			got := g.do(t, tt.method, tt.path+tt.query, tt.body, tt.header...)
			require.Equal(t, tt.status, got.status, got.body)
			s.requireAnswer(t, tt.method, tt.path, got)
		})
	}
	for number := range ongairv1.ErrorReason_name { // also the reasons that need a broken Ongair or log
		reason := ongairv1.ErrorReason(number)
		code := strconv.Itoa(fault.HTTPStatus(reason))
		if _, ok := readOpenAPI(t).Paths[sendPath]["post"].Responses[code]; !ok || number == 0 {
			continue
		}
		for _, effect := range []fault.Effect{fault.EffectNotApplicable, fault.EffectNone, fault.EffectUnknown} {
			f := fault.New(reason, "message")
			f.Effect, f.RetryAfter, f.Metadata = effect, fault.RestartDelay/4, map[string]string{"limit": "rate"}
			f.Violations = []fault.Violation{{Field: "text", Description: "is empty", Reason: "STRING_MIN_BYTES"}}
			w := httptest.NewRecorder()
			write(w, f)
			s.requireAnswer(t, http.MethodPost, sendPath, answer{w.Code, w.Header(), w.Body.String()})
		}
	}
}

func TestStreamsAreAsTheOpenAPIDocumentHasThem(t *testing.T) {
	s, g := newSchemas(t), start(t, withLog(t))
	g.add(t, "support", "Habari 👋")
	for _, notificationType := range []string{"TicketStatusUpdated", "Unheard", ""} {
		g.addType(t, notificationType)
	}
	const query, body = "?position=POSITION_EARLIEST&heartbeat_interval=0.1s", `{"position":"POSITION_EARLIEST","heartbeat_interval":"0.1s"}`
	open := func(method, mediaType string) *lines {
		target, body := subscribePath, body
		if method == http.MethodGet {
			target, body = subscribePath+query, ""
		}
		stream := g.openStream(t, method, target, body, "Accept", mediaType, "Content-Type", "application/json")
		require.Equal(t, mediaType, stream.response.Header.Get("Content-Type"))
		return stream
	}
	requireLine := func(method string, ndjson *lines) {
		s.requireAnswer(t, method, subscribePath, answer{200, ndjson.response.Header, ndjson.scanner.Text()})
	}
	// requireData requires a schema of the data of the next message with data of Server-Sent Events, and
	// returns the message's type.
	requireData := func(sse *lines, schema string) (messageType string) {
		for sse.scanner.Scan() {
			if name, ok := strings.CutPrefix(sse.scanner.Text(), "event: "); ok {
				messageType = name
			}
			if data, ok := strings.CutPrefix(sse.scanner.Text(), "data: "); ok {
				require.NoError(t, s.validate(t, data, "components", "schemas", schema))
				return messageType
			}
		}
		require.FailNow(t, "the stream ended")
		return ""
	}
	methods := []string{http.MethodGet, http.MethodPost}
	var ndjson, sse []*lines
	for _, method := range methods {
		ndjson, sse = append(ndjson, open(method, typeNDJSON)), append(sse, open(method, typeSSE))
	}
	for i, method := range methods {
		for range 2 { // the events and a heartbeat
			require.True(t, ndjson[i].scanner.Scan())
			requireLine(method, ndjson[i])
		}
		for _, want := range []string{"MessageReceived", "TicketStatusUpdated", "Unheard", ""} {
			assert.Equal(t, want, requireData(sse[i], "ongair.v1.Event"))
		}
	}
	g.service.Drain()
	for i, method := range methods {
		last := ""
		for ndjson[i].scanner.Scan() {
			requireLine(method, ndjson[i])
			last = ndjson[i].scanner.Text()
		}
		assert.Contains(t, last, `{"error":`)
		assert.Equal(t, "end", requireData(sse[i], "google.rpc.Status"))
	}
}

// The document accepts the bodies that the gateway accepts and no other, except for what lenient has.
func TestTheOpenAPIDocumentAndTheGatewayAcceptTheSameBodies(t *testing.T) {
	s, g, key := newSchemas(t), start(t, withCaller), []string{"Authorization", "Bearer " + apiKey}
	text := func(length int) string { return strings.Repeat("x", length) }
	many := func(length int, value any) []any { return slices.Repeat([]any{value}, length) }
	values := []any{
		"https://example.com/a", "ftp://example.com/a", "image/png", "image/gif", "text/csv", "a b", "a\nb", "café", "asha@example.com",
		"DIRECTION_IN", "DIRECTION_UNSPECIFIED", "DIRECTION_UP", "EVENT_TYPE_MESSAGE_SENT", true, 1.5, 7, nil, map[string]any{},
		[]any{}, []any{""}, []any{"x"}, []any{text(256)}, []any{text(257)}, []any{text(65)}, []any{"EVENT_TYPE_MESSAGE_SENT"},
		[]any{"EVENT_TYPE_UNSPECIFIED"}, []any{"EVENT_TYPE_OTHER"}, many(100, "x"), many(101, "x"), many(1000, "x"), many(1001, "x"),
		many(100, "EVENT_TYPE_MESSAGE_SENT"), many(101, "EVENT_TYPE_MESSAGE_SENT"),
	}
	for _, length := range []int{0, 1, 64, 65, 128, 129, 255, 256, 257, 1024, 1025, 65536, 65537} {
		values = append(values, text(length))
	}
	for _, length := range []int{2048, 2049} {
		values = append(values, "https://example.com/"+text(length-len("https://example.com/")))
	}
	found, err := routesOf(ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService"))
	require.NoError(t, err)
	compared := 0
	for path, methods := range readOpenAPI(t).Paths {
		target, ok := found[path][http.MethodPost]
		if !ok || target.streams {
			continue
		}
		names := []string{"unknown"}
		for i := range target.input.Descriptor().Fields().Len() {
			names = append(names, string(target.input.Descriptor().Fields().Get(i).Name()))
		}
		for _, name := range names {
			for _, value := range append(values, absent{}) {
				body := map[string]any{}
				require.NoError(t, json.Unmarshal(methods["post"].RequestBody.Content["application/json"].Example, &body))
				if _, ok := value.(absent); ok {
					delete(body, name)
				} else {
					body[name] = value
				}
				if lenient(name, value) {
					continue
				}
				encoded, err := json.Marshal(body)
				require.NoError(t, err)
				documented := s.validate(t, string(encoded), "paths", path, "post", "requestBody", "content", "application/json", "schema")
				got := g.do(t, http.MethodPost, path, string(encoded), key...)
				accepted := got.status != http.StatusBadRequest // another channel is 404
				compared++
				assert.Equal(t, accepted, documented == nil, "%s: %s is %.60v: %.200s; %v", path, name, value, got.body, documented)
			}
		}
	}
	assert.Greater(t, compared, 1000)
}

// absent is the value of a field that a body does not have.
type absent struct{}

// lenient reports whether the gateway and the document differ about a value by intention. The gateway
// takes a null as an absent field, and numbers of enums. A format is no rule in JSON Schema.
func lenient(name string, value any) bool {
	switch value.(type) {
	case nil:
		return true
	case int, float64:
		return name == "direction"
	}
	return slices.Contains([]string{"email", "profile_picture_url", "image", "file_url"}, name)
}

// The document accepts the parameters that the gateway accepts and no other, one at a time.
func TestTheOpenAPIDocumentAndTheGatewayAcceptTheSameParameters(t *testing.T) {
	s, g := newSchemas(t), start(t, withLog(t))
	text := func(length int) string { return strings.Repeat("x", length) }
	values := []string{
		"", "x", text(64), text(65), text(128), text(129), text(256), text(257), "a b", "POSITION_EARLIEST", "POSITION_LATEST", "POSITION_MIDDLE",
		"EVENT_TYPE_MESSAGE_SENT", "EVENT_TYPE_UNSPECIFIED", "0", "1", "1000", "1001", "-1", "1.5", "0.1s", "0s", "-1s", "PT1S", "2026-01-31T12:00:00Z",
	}
	for i, parameter := range readOpenAPI(t).Paths["/v1/events"]["get"].Parameters {
		for _, value := range values {
			encoded, err := json.Marshal(value)
			require.NoError(t, err)
			if number := regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`); parameter.Name == "page_size" && number.MatchString(value) {
				encoded = []byte(value)
			}
			if parameter.Schema["type"] == "array" {
				encoded = slices.Concat([]byte("["), encoded, []byte("]"))
			}
			isEnum := parameter.Name == "position" || parameter.Name == "event_types"
			if isEnum && len(value) == 1 || parameter.Name == "wait" && value == "0" || parameter.Name == "start_time" {
				continue // the gateway accepts numbers of enums and 0 as a duration, and a format is no rule
			}
			documented := s.validate(t, string(encoded), "paths", "/v1/events", "get", "parameters", strconv.Itoa(i), "schema")
			got := g.do(t, http.MethodGet, "/v1/events?"+url.Values{parameter.Name: {value}}.Encode(), "")
			accepted := got.status != http.StatusBadRequest || strings.Contains(got.body, "CURSOR_")
			assert.Equal(t, accepted, documented == nil, "%s is %.60q: %.200s; %v", parameter.Name, value, got.body, documented)
		}
	}
}

func TestExamplesOfParametersAreAccepted(t *testing.T) {
	s, g := newSchemas(t), start(t, withLog(t))
	g.add(t, "support", "Habari 👋")
	for path, methods := range readOpenAPI(t).Paths {
		query := url.Values{}
		for _, parameter := range methods["get"].Parameters {
			if parameter.Example != nil {
				query.Set(parameter.Name, fmt.Sprint(parameter.Example))
			}
		}
		switch {
		case methods["get"].Responses == nil:
		case path == subscribePath:
			require.Len(t, g.stream(t, "?"+query.Encode()).result(t).GetEvents(), 1)
		default:
			require.NotEmpty(t, query)
			got := g.do(t, http.MethodGet, path+"?"+query.Encode(), "")
			require.Contains(t, got.body, "Habari")
			s.requireAnswer(t, http.MethodGet, path, got)
		}
	}
}
