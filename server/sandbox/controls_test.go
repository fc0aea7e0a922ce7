package sandbox

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAnyWebhookIsTriggeredByteForByte(t *testing.T) {
	url, webhooks := receiver(t, http.StatusAccepted)
	s, baseURL := start(t, Config{WebhookURL: url})
	for name, want := range map[string]posted{
		"a form in its order":     {formType, "b=1&a=2&b=3&&=&c=%zz&d=+%2B+"},
		"a form with a charset":   {formType + "; charset=utf-8", "text=%E2%82%AC"},
		"bytes that are not text": {formType, "text=\xff\x00\xfe"},
		"JSON":                    {"application/json", `{"id": 1, "text": null}`},
		"nonsense":                {"nonsense;;", "---"},
		"nothing":                 {formType, ""},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := exchange(t, http.MethodPost, baseURL+"/_sandbox/webhooks", want.contentType, want.body)
			assert.Equal(t, http.StatusOK, status)
			assert.JSONEq(t, `{"status":202}`, answer)
			assert.Equal(t, want, receive(t, webhooks))
			deliveries := s.Deliveries()
			last := deliveries[len(deliveries)-1]
			assert.Equal(t, want, posted{last.ContentType, string(last.Body)})
			assert.Equal(t, http.StatusAccepted, last.Status)
			assert.True(t, last.Triggered)
		})
	}
	status, _ := exchange(t, http.MethodPost, baseURL+"/_sandbox/webhooks", "", "a=b")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, posted{formType, "a=b"}, receive(t, webhooks), "the default Content-Type is a form")
	assert.Empty(t, s.Requests(), "controls are not listed")
}

func TestATriggeredFormIsListedWithItsFields(t *testing.T) {
	url, _ := receiver(t, http.StatusOK)
	s := New(Config{Token: token, WebhookURL: url})
	status, _ := control(s, http.MethodPost, "/webhooks", "b=1&a=2&b=3")
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, []Field{{"b", "1"}, {"a", "2"}, {"b", "3"}}, s.Deliveries()[0].Fields)
}

func TestAFailedTriggerReturnsItsReason(t *testing.T) {
	unreachable := httptest.NewServer(nil)
	unreachable.Close()
	for name, tt := range map[string]struct {
		url, body string
		status    int
		reason    string
	}{
		"without a webhook URL": {"", "a=b", http.StatusConflict, "sandbox: no webhook URL is configured"},
		"no listener":           {unreachable.URL, "a=b", http.StatusBadGateway, "connection refused"},
		"a body beyond 10 MiB":  {webhookURL, strings.Repeat("x", maxBody+1), http.StatusRequestEntityTooLarge, "larger than 10 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			status, answer := control(New(Config{Token: token, WebhookURL: tt.url}), http.MethodPost, "/webhooks", tt.body)
			assert.Equal(t, tt.status, status)
			assert.Contains(t, answer, tt.reason)
		})
	}
}

// control sends a request for a control to the handler.
func control(s *Sandbox, method, path, body string) (status int, answer string) {
	recorder := httptest.NewRecorder()
	s.Handler().ServeHTTP(recorder, httptest.NewRequest(method, controlPath+path, strings.NewReader(body)))
	return recorder.Code, recorder.Body.String()
}

func TestTheListsAreShownAsJSON(t *testing.T) {
	s := New(Config{Token: token})
	for path, empty := range map[string]string{
		"/requests": `[]`, "/deliveries": `[]`, "/faults": `[]`,
		"/state":    `{"contacts":[],"conversations":[],"messages":[]}`,
		"/auth":     `{"forms":["colon","equals","query","form"]}`,
		"/webhooks": `{"receipts":false,"as":[]}`,
	} {
		status, answer := control(s, http.MethodGet, path, "")
		assert.Equal(t, http.StatusOK, status)
		assert.JSONEq(t, empty, answer, path)
	}

	_, _ = ask(s, "/send", hello)
	_, answer := control(s, http.MethodGet, "/requests", "")
	var requests []Request
	require.NoError(t, json.Unmarshal([]byte(answer), &requests))
	require.Len(t, requests, 1)
	assert.Equal(t, hello, string(requests[0].Body))
	assert.Equal(t, s.Requests()[0].Params, requests[0].Params)
	assert.Contains(t, answer, hello, "readable as it arrived")
	for _, key := range []string{"method", "path", "raw_query", "header", "body", "params", "status", "time"} {
		assert.Contains(t, answer, `"`+key+`"`)
	}
	_, answer = control(s, http.MethodGet, "/state", "")
	assert.Contains(t, answer, `"external_contact_id": "+254722200200"`)

	status, _ := control(s, http.MethodDelete, "/requests", "")
	assert.Equal(t, http.StatusNoContent, status)
	assert.Empty(t, s.Requests())
}

func TestFaultsAreSetShownAndRemoved(t *testing.T) {
	s := New(Config{Token: token})
	const list = `[
		{"path":"/send","times":2,"delay":"1.5s","status":429,"headers":{"Retry-After":"1"},"body":"{}","effect":true},
		{"connection":"hang"}]`
	status, answer := control(s, http.MethodPut, "/faults", list)
	assert.Equal(t, http.StatusOK, status, answer)
	assert.JSONEq(t, list, answer)
	assert.Equal(t, []Fault{
		{
			Path: "/send", Times: 2, Delay: 1500 * time.Millisecond, Status: 429,
			Headers: map[string]string{"Retry-After": "1"}, Body: "{}", Effect: true,
		},
		{Connection: Hang},
	}, s.faults.current())
	_, answer = control(s, http.MethodGet, "/faults", "")
	assert.JSONEq(t, list, answer)
	status, _ = control(s, http.MethodDelete, "/faults", "")
	assert.Equal(t, http.StatusNoContent, status)
	assert.Empty(t, s.faults.current())
}

func TestAnInvalidControlIsRejectedAndChangesNothing(t *testing.T) {
	for name, tt := range map[string]struct{ path, body, reason string }{
		"a fault with an unknown field":       {"/faults", `[{"tmes":1,"status":500}]`, `unknown field \"tmes\"`},
		"a fault outside a list":              {"/faults", `{"status":500}`, "cannot unmarshal object"},
		"a fault that does nothing":           {"/faults", `[{"path":"/send"}]`, "invalid body: a fault requires a delay, a status or a connection"},
		"a fault with a bad delay":            {"/faults", `[{"delay":"soon"}]`, `invalid body: invalid delay \"soon\": use a duration such as 1.5s`},
		"a fault with a delay as a number":    {"/faults", `[{"delay":5}]`, "cannot unmarshal number"},
		"a fault with a negative delay":       {"/faults", `[{"delay":"-1s"}]`, "negative"},
		"a fault with negative times":         {"/faults", `[{"times":-1,"status":500}]`, "negative"},
		"a fault with a status out of range":  {"/faults", `[{"status":101}]`, "not between 200 and 599"},
		"a fault with a body and no status":   {"/faults", `[{"body":"x"}]`, "invalid body: headers and body require a status"},
		"a fault with an unknown connection":  {"/faults", `[{"connection":"drop"}]`, `unknown connection \"drop\"`},
		"a fault with a path without a slash": {"/faults", `[{"path":"send","status":500}]`, "begin with a slash"},
		"an empty body of faults":             {"/faults", ``, "invalid body: the body is empty"},
		"two lists of faults":                 {"/faults", `[] []`, "invalid body: unexpected data after the JSON value"},
		"faults beyond 32 MiB":                {"/faults", strings.Repeat(" ", maxControlBody+1), "too large"},
		"an unknown form of the token":        {"/auth", `{"forms":["cookie"]}`, `unknown form \"cookie\"`},
		"an unknown field beside the forms":   {"/auth", `{"form":["colon"]}`, `unknown field \"form\"`},
		"no setting of the webhooks":          {"/webhooks", `{}`, `the fields \"receipts\" and \"as\" are missing: set at least one`},
		"an unknown odd form":                 {"/webhooks", `{"as":["bom","bomb"]}`, `unknown form \"bomb\": use no-type, `},
		"odd forms that exclude each other":   {"/webhooks", `{"as":["bom","utf16"],"receipts":true}`, `forms \"bom\" and \"utf16\" cannot be combined`},
		"an unknown setting of the webhooks":  {"/webhooks", `{"receipt":true}`, `unknown field \"receipt\"`},
		"neither forms nor tokens":            {"/auth", `{}`, `the fields \"forms\" and \"tokens\" are missing: set at least one`},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token})
			s.SetFaults(Fault{Status: 500})
			s.SetAuthForms(AuthQuery)
			status, answer := control(s, http.MethodPut, tt.path, tt.body)
			if tt.reason == "too large" {
				assert.Equal(t, http.StatusRequestEntityTooLarge, status)
			} else {
				assert.Equal(t, http.StatusBadRequest, status)
				assert.Contains(t, answer, tt.reason)
			}
			assert.Equal(t, []Fault{{Status: 500}}, s.faults.current())
			assert.Equal(t, []AuthForm{AuthQuery}, s.auth.accepted())
		})
	}
}

func TestTheFormsOfTheTokenAreSetByAControl(t *testing.T) {
	s := New(Config{Token: token})
	status, answer := control(s, http.MethodPut, "/auth", `{"forms":["equals","form"]}`)
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"forms":["equals","form"]}`, answer)
	status, _ = ask(s, "/send", hello)
	assert.Equal(t, http.StatusUnauthorized, status)
}

func TestTheTokensAreSetByAControl(t *testing.T) {
	s := New(Config{Token: token})
	s.SetAuthForms(AuthField)
	for _, tt := range []struct {
		tokens           string
		oldToken, newOne int
	}{
		{`["new","` + token + `"]`, http.StatusOK, http.StatusOK},
		{`["new"]`, http.StatusUnauthorized, http.StatusOK},
		{`[]`, http.StatusUnauthorized, http.StatusUnauthorized},
		{`[""]`, http.StatusUnauthorized, http.StatusUnauthorized},
	} {
		status, answer := control(s, http.MethodPut, "/auth", `{"tokens":`+tt.tokens+`}`)
		assert.Equal(t, http.StatusOK, status)
		assert.JSONEq(t, `{"forms":["form"]}`, answer, "the forms do not change, and tokens are not shown")
		status, _ = ask(s, "/send", "external_id=a&text=Hello&token="+token)
		assert.Equal(t, tt.oldToken, status, tt.tokens)
		status, _ = ask(s, "/send", "external_id=a&text=Hello&token=new")
		assert.Equal(t, tt.newOne, status, tt.tokens)
		status, _ = ask(s, "/send", "external_id=a&text=Hello&token=")
		assert.Equal(t, http.StatusUnauthorized, status)
	}
}

func TestThePageDescribesTheControlsWithExamplesForItsAddress(t *testing.T) {
	_, baseURL := start(t, Config{})
	for _, path := range []string{"/_sandbox/", "/_sandbox"} {
		status, page := exchange(t, http.MethodGet, baseURL+path, "", "")
		assert.Equal(t, http.StatusOK, status)
		assert.Contains(t, page, "curl -X PUT "+baseURL+"/_sandbox/faults")
		assert.NotContains(t, page, "HOST")
		assert.NotContains(t, page, "TYPES")
		assert.NotContains(t, page, "FORMS")
		for _, f := range oddForms() {
			assert.Regexp(t, "(?m)^  "+string(f.name)+"  +"+regexp.QuoteMeta(f.about)+"$", page)
		}
		for _, name := range webhookTypes() {
			assert.Contains(t, page, "  "+name+"\n")
		}
	}
	status, _ := exchange(t, http.MethodPost, baseURL+"/_sandbox/requests", "", "")
	assert.Equal(t, http.StatusMethodNotAllowed, status)
	status, _ = exchange(t, http.MethodGet, baseURL+"/_sandbox/unknown", "", "")
	assert.Equal(t, http.StatusNotFound, status)
}
