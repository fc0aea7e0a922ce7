package webhook

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

const form = "notification_type=MessageReceived&id=7&text=hi"

func TestAWebhookIsAnsweredWith200OnceItIsStored(t *testing.T) {
	answer := &observedWriter{ResponseRecorder: httptest.NewRecorder()}
	appended := false
	log := &memoryLog{before: func(context.Context) error {
		assert.False(t, answer.begun, "the answer was sent before the event was stored")
		appended = true
		return nil
	}}
	request := httptest.NewRequest(http.MethodPost, Path(testChannel, testSecret), strings.NewReader(form))
	New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}).ServeHTTP(answer, request)
	assert.True(t, appended)
	assert.Equal(t, http.StatusOK, answer.Code)
	assert.Empty(t, answer.Body.String())
}

// observedWriter records whether an answer has begun.
type observedWriter struct {
	*httptest.ResponseRecorder
	begun bool
}

func (w *observedWriter) WriteHeader(status int) {
	w.begun = true
	w.ResponseRecorder.WriteHeader(status)
}

func (w *observedWriter) Write(p []byte) (int, error) {
	w.begun = true
	return w.ResponseRecorder.Write(p)
}

func TestADuplicateIsAnsweredWith200(t *testing.T) {
	log := &memoryLog{}
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard})) + Path(testChannel, testSecret)
	for range 2 {
		assert.Equal(t, http.StatusOK, post(t, url, formType, []byte(form)).status)
	}
	assert.Len(t, log.appended(), 1)
}

func TestAWebhookIsToBeRetriedIfTheLogFails(t *testing.T) {
	delayed := fault.New(ongairv1.ErrorReason_ERROR_REASON_LOG_UNAVAILABLE, "no room")
	delayed.RetryAfter = 2500 * time.Millisecond
	for _, tt := range []struct {
		name       string
		err        error
		retryAfter string
	}{
		{"with the fault's delay, rounded up", delayed, "3"},
		{"with the delay of a wrapped fault", fmt.Errorf("append: %w", delayed), "3"},
		{"without a delay", errors.New("disk on fire"), "1"},
		{"by a timeout", context.DeadlineExceeded, "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines logBuffer
			log := &memoryLog{before: func(context.Context) error { return tt.err }}
			url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()}))
			response := post(t, url+Path(testChannel, testSecret), formType, []byte(form))
			assert.Equal(t, http.StatusServiceUnavailable, response.status)
			assert.Equal(t, tt.retryAfter, response.header.Get("Retry-After"))
			assertWarned(t, &lines, map[string]any{"channel": testChannel, "status": 503.0, "error": tt.err.Error()})
		})
	}
}

// assertWarned asserts that the log has a warning with the fields.
func assertWarned(t *testing.T, lines *logBuffer, fields map[string]any) {
	t.Helper()
	for line := range strings.Lines(lines.String()) {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		if record["level"] != "WARN" {
			continue
		}
		for key, want := range fields {
			assert.Equal(t, want, record[key], key)
		}
		return
	}
	assert.Fail(t, "no such warning", lines.String())
}

func TestErrorDetailsRequireTheSecret(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		status int
		header http.Header
		warned map[string]any
	}{
		{"another method", func(r *http.Request) { r.Method = http.MethodPut }, http.StatusMethodNotAllowed,
			http.Header{"Allow": {"POST"}}, map[string]any{"method": "PUT"}},
		{"a GET", func(r *http.Request) { r.Method = http.MethodGet }, http.StatusMethodNotAllowed,
			http.Header{"Allow": {"POST"}}, map[string]any{"method": "GET"}},
		{"a body that is too large", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, listen.MaxBodyBytes+1))), listen.MaxBodyBytes+1
		}, http.StatusRequestEntityTooLarge, nil, map[string]any{"limit_bytes": float64(listen.MaxBodyBytes)}},
		{"a chunked body that is too large", func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(make([]byte, listen.MaxBodyBytes+1))), -1
		}, http.StatusRequestEntityTooLarge, nil, map[string]any{"limit_bytes": float64(listen.MaxBodyBytes)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines logBuffer
			log := &memoryLog{}
			url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()}))
			response := post(t, url+Path(testChannel, testSecret), formType, []byte(form), tt.change)
			assert.Equal(t, tt.status, response.status)
			for key, want := range tt.header {
				assert.Equal(t, want, response.header[key])
			}
			tt.warned["channel"], tt.warned["status"] = testChannel, float64(tt.status)
			assertWarned(t, &lines, tt.warned)

			lines = logBuffer{}
			response = post(t, url+Path(testChannel, "wrong-secret-0123456789"), formType, []byte(form), tt.change)
			assert.Equal(t, http.StatusNotFound, response.status)
			assert.Equal(t, 1, strings.Count(lines.String(), "\n"), "once a minute, so that a client without the secret cannot flood the log")
			assert.NotContains(t, lines.String(), "refused")
			assert.Empty(t, log.appended())
		})
	}
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
	h := New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: discard})
	for name, length := range map[string]int64{"with a length": size, "in chunks": -1} {
		for secret, want := range map[string]struct{ status, most int }{
			testSecret:                {http.StatusRequestEntityTooLarge, listen.MaxBodyBytes + 1},
			"wrong-secret-0123456789": {http.StatusNotFound, 0},
		} {
			body := &counted{Reader: bytes.NewReader(make([]byte, size))}
			status := ask(t, h, Path(testChannel, secret), func(r *http.Request) { r.Body, r.ContentLength = io.NopCloser(body), length })
			assert.Equal(t, want.status, status, name)
			assert.LessOrEqual(t, body.read, want.most, name)
		}
	}
}

func TestABodyOfExactlyTheLimitIsAccepted(t *testing.T) {
	log := &memoryLog{}
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard})) + Path(testChannel, testSecret)
	body := append([]byte("text="), bytes.Repeat([]byte("a"), listen.MaxBodyBytes-5)...)
	require.Equal(t, http.StatusOK, post(t, url, formType, body).status)
	assert.Len(t, log.appended()[0].GetFields()[0].GetValue(), listen.MaxBodyBytes-5)
}

func TestTheIdentityEncodingIsIgnored(t *testing.T) {
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: discard})) + Path(testChannel, testSecret)
	response := post(t, url, formType, []byte(form), func(r *http.Request) { r.Header.Set("Content-Encoding", "Identity") })
	assert.Equal(t, http.StatusOK, response.status)
}

func TestEachChannelHasItsOwnSecret(t *testing.T) {
	log := &memoryLog{}
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}))
	for channel, c := range channels {
		require.Equal(t, http.StatusOK, post(t, url+Path(channel, c.Secret), formType, []byte(form)).status)
		assert.Equal(t, channel, log.appended()[len(log.appended())-1].GetChannel())
	}
	response := post(t, url+Path(testChannel, channels["sales"].Secret), formType, []byte(form))
	assert.Equal(t, http.StatusNotFound, response.status)
}

func TestExtraSlashesAndTrailingWhiteSpaceAreIgnored(t *testing.T) {
	log := &memoryLog{}
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}))
	right := Path(testChannel, testSecret)
	for i, path := range []string{
		right, right + "/", right + "//", "/" + right, "//" + right, "///webhooks///support///" + testSecret + "///",
		right + "%20", right + "%20%20", right + "%0A", right + "%0d%0a", right + "%09/", right + "/%20", right + "%C2%A0", right + "%20%E2%80%8B/", right + "%EF%BB%BF", right + "/%20/?x=y",
	} {
		request := "POST " + path + " HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 3\r\n\r\na=b"
		conn := dial(t, url)
		_, err := io.WriteString(conn, request)
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		require.NoError(t, err)
		assert.Contains(t, string(answer), "HTTP/1.1 200 OK", path)
		assert.Len(t, log.appended(), i+1, path)
	}
}

// Without the secret, the answer is byte for byte that of a server without webhooks.
func TestAWrongSecretIsNotFound(t *testing.T) {
	log := &memoryLog{}
	gateway := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}))
	nothing := serve(t, http.HandlerFunc(http.NotFound))
	right := Path(testChannel, testSecret)
	paths := []string{
		"/", "/webhooks", "/webhooks/", "/webhooks//", "/webhooks/support", "/webhooks/support/", "/webhooks/support//",
		"/healthz", "/v1/messages:send", "/metrics",
		Path(testChannel, "wrong"), Path(testChannel, testSecret+"x"), Path(testChannel, testSecret[1:]),
		Path(testChannel, strings.ToUpper(testSecret)), Path(testChannel, channels["sales"].Secret),
		Path("unknown", testSecret), Path("", testSecret), Path("Support", testSecret),
		right + "/more", right + "%00", right + ";", right + "x%20", "/v1" + right, right + right, "/webhooks/" + testChannel + right,
		"/webhooks/./support/" + testSecret, "/webhooks/x/../support/" + testSecret,
		"/webhooks/support%2F" + testSecret, "/webhooks%2Fsupport/" + testSecret, "/webhooks/suppor%74/" + testSecret,
		"/Webhooks/support/" + testSecret, "/webhooks/" + testSecret, "/webhooks/" + testSecret + "/" + testChannel,
		"/webhooks/support/?" + testSecret,
	}
	for _, method := range []string{"POST", "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FOO"} {
		t.Run(method, func(t *testing.T) {
			for _, path := range paths {
				for _, rest := range []string{
					"Content-Length: 3\r\n\r\na=b",
					"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\na=b",
					"Transfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n",
				} {
					request := method + " " + path + " HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n" + rest
					assert.Equal(t, exchange(t, nothing, request), exchange(t, gateway, request), "%s %s", method, path)
				}
			}
		})
	}
	assert.Empty(t, log.appended())
}

// net/http rejects a path without a leading slash. The handler must reject it as well.
func TestAPathWithoutItsPrefixIsNotFound(t *testing.T) {
	log := &memoryLog{}
	for _, path := range []string{testChannel + "/" + testSecret, ""} {
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form))
		request.URL.Path = path
		answer := httptest.NewRecorder()
		New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}).ServeHTTP(answer, request)
		assert.Equal(t, http.StatusNotFound, answer.Code, path)
	}
	assert.Empty(t, log.appended())
}

func TestAWrongSecretWithABodyThatIsTooLargeIsNotFound(t *testing.T) {
	gateway := serve(t, New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: discard}))
	nothing := serve(t, http.HandlerFunc(http.NotFound))
	request := "POST " + Path(testChannel, "wrong") + " HTTP/1.1\r\nHost: gateway\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
	assert.Equal(t, exchange(t, nothing, request), exchange(t, gateway, request))
}

var date = regexp.MustCompile(`(?m)^Date: .*$`)

// exchange sends a raw request and returns the answer without its Date header.
func exchange(t *testing.T, url, request string) string {
	t.Helper()
	conn := dial(t, url)
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Contains(t, string(answer), "404 Not Found")
	return date.ReplaceAllString(string(answer), "Date: now")
}

func dial(t *testing.T, url string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	return conn.(*net.TCPConn)
}

func TestAnIncompleteBodyIsNotStored(t *testing.T) {
	head := "POST " + Path(testChannel, testSecret) + " HTTP/1.1\r\nHost: gateway\r\nContent-Type: " + formType + "\r\n"
	for name, request := range map[string]string{
		"shorter than its Content-Length":   head + "Content-Length: 1000\r\n\r\n" + form,
		"without the last chunk":            head + "Transfer-Encoding: chunked\r\n\r\n2e\r\n" + form + "\r\n",
		"with a truncated chunk":            head + "Transfer-Encoding: chunked\r\n\r\nff\r\n" + form,
		"with a malformed chunk":            head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n" + form,
		"without any of its Content-Length": head + "Content-Length: 46\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			var lines logBuffer
			log := &memoryLog{}
			url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()}))
			conn := dial(t, url)
			_, err := io.WriteString(conn, request)
			require.NoError(t, err)
			require.NoError(t, conn.CloseWrite())
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer response.Body.Close()
			assert.Equal(t, http.StatusBadRequest, response.StatusCode)
			assert.Empty(t, log.appended())
			assertWarned(t, &lines, map[string]any{"channel": testChannel, "status": 400.0})
			assert.NotContains(t, lines.String(), "text=hi")
		})
	}
}

func TestASenderThatDisconnectsDoesNotStopTheAppend(t *testing.T) {
	stored := make(chan error)
	var requests = make(chan context.Context, 1)
	log := &memoryLog{before: func(ctx context.Context) error {
		<-(<-requests).Done() // the server has noticed the disconnect
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) > appendTimeout {
			stored <- fmt.Errorf("the wait for the log is not bounded: %v", deadline)
		}
		stored <- ctx.Err()
		return nil
	}}
	handler := New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard})
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Context()
		handler.ServeHTTP(w, r)
	}))
	conn := dial(t, url)
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gateway\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s",
		Path(testChannel, testSecret), formType, len(form), form)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, <-stored)
	require.Eventually(t, func() bool { return len(log.appended()) == 1 }, 10*time.Second, time.Millisecond)
}

func TestTheLogHasNeitherTheSecretNorTheBody(t *testing.T) {
	const canary = "canary+254722200200"
	var lines logBuffer
	log := &memoryLog{}
	server := httptest.NewUnstartedServer(New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()}))
	server.Config.ErrorLog = slogToStandard(&lines)
	server.Start()
	defer server.Close()
	url := server.URL + Path(testChannel, testSecret)
	bodies := map[string]string{
		formType:                        "notification_type=" + canary + "&" + canary + "=" + canary,
		"application/json":              `{"notification_type":"MessageReceived","id":"` + canary + `","text":"` + canary + `"}`,
		"multipart/form-data; boundary": canary,
		canary:                          canary,
	}
	for _, field := range []string{"id", "name", "text", "external_contact_id", "conversation_id", "status", "account_type", "image"} {
		for _, kind := range []string{"MessageSent", "MessageReceived", "ImageReceived", "TicketStatusUpdated", canary} {
			bodies[formType+"; x="+field+kind[:1]+kind[7:9]] = "notification_type=" + kind + "&" + field + "=" + canary
		}
	}
	for contentType, body := range bodies {
		post(t, url, contentType, []byte(body))
		post(t, url, contentType, []byte(body), func(r *http.Request) { r.Method = http.MethodPut })
		post(t, url+"wrong", contentType, []byte(body))
	}
	log.before = func(context.Context) error { return errors.New("no room") }
	for contentType, body := range bodies {
		post(t, url, contentType, []byte(body))
	}
	post(t, url, formType, bytes.Repeat([]byte(canary), listen.MaxBodyBytes/len(canary)+1))
	assert.Contains(t, lines.String(), "webhook stored")
	assert.Contains(t, lines.String(), "webhook rejected")
	assert.NotContains(t, lines.String(), "canary")
}

func TestIDs(t *testing.T) {
	id := func(channel, contentType, body string) string {
		e, _ := parse(channel, posted{contentType: contentType, body: []byte(body)})
		return e.GetId()
	}
	form := func(body string) string { return id("support", formType, body) }
	const received = "notification_type=MessageReceived&id=7&text=Yes"
	for name, same := range map[string]string{
		"again":                         form(received),
		"with the contact's name":       form(received + "&name=Asha"),
		"with the fields in any order":  form("text=Yes&id=7&notification_type=MessageReceived"),
		"with white space in the type":  form("notification_type=+MessageReceived%0D%0A&id=7&text=Yes"),
		"with the type in another case": form("notification_type=messagereceived&id=7&text=Yes"),
		"with white space in the id":    form("notification_type=MessageReceived&id=7+&text=Yes"),
		"as JSON, with a number":        id("support", "application/json", `{"notification_type":"MessageReceived","id":7,"text":"Yes"}`),
	} {
		assert.Equal(t, form(received), same, name)
	}
	for name, other := range map[string]string{
		"of another channel":       id("sales", formType, received),
		"of another type":          form("notification_type=ImageReceived&id=7&text=Yes"),
		"with another id":          form("notification_type=MessageReceived&id=70&text=Yes"),
		"with another text":        form("notification_type=MessageReceived&id=7&text=No"),
		"with an additional field": form(received + "&caption=x"),
		"with a field twice":       form(received + "&text=Yes"),
		"with an id before its id": form("id=6&" + received),
		"from another contact":     form(received + "&external_contact_id=1"),
		"with a text of null":      id("support", "application/json", `{"notification_type":"MessageReceived","id":7,"text":null}`),
		"with bytes that are not":  form(received + "%ff"),
	} {
		assert.NotEqual(t, form(received), other, name)
	}
	for name, two := range map[string][2]string{
		"the last value counts":                         {"&text=a&text=b", "&text=b&text=a"},
		"a quote in a value differs from one in a name": {"&text=b%3D%22c", "&text%3D%22b=c"},
		"an invalid id is ignored":                      {"", "&id=5"},
	} {
		const same = "notification_type=MessageReceived"
		assert.NotEqual(t, form(same+two[0]+"&id=7"), form(same+two[1]+"&id=7"), name)
	}
	assert.NotEqual(t, form(received+"%ff"), form(received+"%fe"), "texts with different bytes must have different ids")
	for name, body := range map[string]string{
		"a ticket update":              "notification_type=TicketStatusUpdated&id=7&status=Closed",
		"a receipt":                    "notification_type=DeliveryReceipt&id=7",
		"a location":                   "notification_type=LocationReceived&id=7",
		"no type":                      "id=7",
		"an empty id":                  "notification_type=MessageReceived&id=",
		"no id":                        "notification_type=MessageReceived",
		"an id of zero":                "notification_type=MessageReceived&id=0",
		"an id of zeros":               "notification_type=MessageReceived&id=000",
		"an id of null":                "notification_type=MessageReceived&id=null",
		"an undefined id":              "notification_type=MessageReceived&id=undefined",
		"a negative id":                "notification_type=MessageReceived&id=-1",
		"an id of a space":             "notification_type=MessageReceived&id=+",
		"a false id":                   `{"notification_type":"MessageReceived","id":false}`,
		"an id of an object":           `{"notification_type":"MessageReceived","id":{}}`,
		"an id with a fraction":        `{"notification_type":"MessageReceived","id":1.5}`,
		"an id with an exponent":       `{"notification_type":"MessageReceived","id":1e3}`,
		"an empty last id":             received + "&id=",
		"a JSON null":                  `{"notification_type":"MessageReceived","id":null}`,
		"a body that cannot be parsed": `{"notification_type":"MessageReceived","id":7`,
		"nothing":                      "",
		"a thousand and one field":     received + strings.Repeat("&a", 999),
	} {
		assert.NotEqual(t, form(body), form(body), "%s must get a new id each time", name)
	}
}

// Clients use a new boundary for each request, and some add headers to each part.
func TestAMultipartFormWithAnotherBoundaryIsADuplicate(t *testing.T) {
	id := func(boundary, text string) string {
		part := "--" + boundary + "\r\nContent-Disposition: form-data; name=%q\r\nContent-Type: text/plain\r\n\r\n%s\r\n"
		body := fmt.Sprintf(part+part+part+"--%s--\r\n", "notification_type", "MessageReceived", "id", "7", "text", text, boundary)
		e, _ := parse(testChannel, posted{contentType: "multipart/form-data; boundary=" + boundary, body: []byte(body)})
		require.NotNil(t, e.GetRawBody(), "no field contains the headers of the parts")
		return e.GetId()
	}
	assert.Equal(t, id("b0undary", "Yes"), id("an0ther", "Yes"))
	assert.NotEqual(t, id("b0undary", "Yes"), id("b0undary", "No"))
}

func TestQueryFieldsPrecedeBodyFields(t *testing.T) {
	const all = "notification_type=MessageReceived&id=7&text=hi"
	for _, tt := range []struct {
		name, query, contentType, body, text, fields string
		kept                                         bool
	}{
		{"only the query", all, "", "", "hi", "", false},
		{"an additional field", all + "&source=crm", "", "", "hi", "source=crm", false},
		{"the query with a form", "source=crm", formType, all, "hi", "source=crm", false},
		{"the query with JSON", "source=crm", "application/json", `{"notification_type":"MessageReceived","id":7,"text":"hi"}`, "hi", "source=crm", false},
		{"a field in both", "text=query", formType, all, "hi", "text=query", false},
		{"the type in the query", "notification_type=MessageReceived", formType, "id=7&text=hi", "hi", "", false},
		{"the type in the query and a webhook in the body", "notification_type=MessageReceived", formType, `id=7&text=hi&data={"notification_type":"TicketStatusUpdated"}`,
			"hi", `data={"notification_type":"TicketStatusUpdated"}`, false},
		{"the query with a malformed body", all, "application/json", "{", "hi", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			log := &memoryLog{}
			url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}))
			require.Equal(t, http.StatusOK, post(t, url+Path(testChannel, testSecret)+"?"+tt.query, tt.contentType, []byte(tt.body)).status)
			e := log.appended()[0]
			assert.Equal(t, "7", e.GetMessageReceived().GetId())
			assert.Equal(t, tt.text, e.GetMessageReceived().GetText())
			var fields []string
			for _, f := range e.GetFields() {
				fields = append(fields, f.GetName()+"="+f.GetValue())
			}
			assert.Equal(t, tt.fields, strings.Join(fields, "&"))
			assert.Equal(t, tt.kept, e.GetRawBody() != nil)
		})
	}
}

func TestEveryFieldOfAQueryIsKept(t *testing.T) {
	e, problem := parse(testChannel, posted{query: strings.Repeat("a&", maxFields+1) + "conversation_id=7", contentType: formType, body: []byte(form)})
	assert.Empty(t, problem)
	assert.Equal(t, "7", e.GetConversationId())
	assert.Len(t, e.GetFields(), maxFields+1)
}

// Errors of net/http quote malformed input.
func TestMalformedBodyContentIsNotLogged(t *testing.T) {
	var lines logBuffer
	url := serve(t, New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: lines.logger()}))
	conn := dial(t, url)
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: gateway\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\nwhat a customer wrote\r\n\r\n",
		Path(testChannel, testSecret))
	require.NoError(t, err)
	status, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, status, "400")
	assertWarned(t, &lines, map[string]any{"channel": testChannel, "error": "the body is malformed"})
	assert.NotContains(t, lines.String(), "customer")
}

func TestPath(t *testing.T) {
	assert.Equal(t, "/webhooks/support/s3cret", Path("support", "s3cret"))
}
