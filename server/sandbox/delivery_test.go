package sandbox

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWebhooksReachARealReceiver(t *testing.T) {
	url, webhooks := receiver(t, http.StatusOK)
	s, baseURL := start(t, quick(url))
	status, _ := call(t, baseURL, "/send", "external_id=%2B254722200200&text=Hello")
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, posted{formType, golden(t, "webhooks", "text_sent.form")}, receive(t, webhooks))
	assert.Equal(t, posted{formType, golden(t, "webhooks", "text_answered.form")}, receive(t, webhooks))
	require.Eventually(t, func() bool { return len(s.Deliveries()) == 2 }, 10*time.Second, time.Millisecond)
	for _, d := range s.Deliveries() {
		assert.Equal(t, http.StatusOK, d.Status)
		assert.Empty(t, d.Error)
		assert.False(t, d.Triggered)
		assert.Equal(t, "notification_type", d.Fields[0].Name)
	}
}

func TestADeliveryHasItsOutcome(t *testing.T) {
	unreachable := httptest.NewServer(nil)
	unreachable.Close()
	refusing, _ := receiver(t, http.StatusServiceUnavailable)
	redirecting := httptest.NewServer(http.RedirectHandler("/elsewhere", http.StatusFound))
	t.Cleanup(redirecting.Close)
	for name, tt := range map[string]struct {
		url    string
		status int
	}{
		"a receiver that rejects":  {refusing, http.StatusServiceUnavailable},
		"a redirect, not followed": {redirecting.URL, http.StatusFound},
		"no listener":              {unreachable.URL, 0},
		"an invalid URL":           {"http://[", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := New(Config{Token: token, WebhookURL: tt.url + "/secret"})
			status, err := s.Trigger(t.Context(), []Field{{"a", "b"}})
			assert.Equal(t, tt.status, status)
			deliveries := s.Deliveries()
			require.Len(t, deliveries, 1)
			assert.Equal(t, tt.status, deliveries[0].Status)
			assert.True(t, deliveries[0].Triggered)
			assert.Equal(t, []Field{{"a", "b"}}, deliveries[0].Fields)
			assert.Equal(t, "a=b", string(deliveries[0].Body))
			if tt.status != 0 {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, deliveries[0].Error)
			assert.NotContains(t, deliveries[0].Error, "secret")
		})
	}
}

func TestATriggerWithoutAWebhookURLFails(t *testing.T) {
	_, err := New(Config{Token: token}).Trigger(t.Context(), nil)
	assert.ErrorIs(t, err, ErrNoWebhookURL)
}

func TestATriggerEndsWithItsContext(t *testing.T) {
	entered := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
	}))
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-entered
		cancel()
	}()
	_, err := New(Config{Token: token, WebhookURL: server.URL}).Trigger(ctx, nil)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestAWebhookBeyondTheQueueBoundIsListedButNotPosted(t *testing.T) {
	s := New(Config{Token: token, WebhookURL: webhookURL})
	for range maxQueued {
		require.True(t, s.queue.push(time.Now(), func() []Field { return nil }))
	}
	status, _ := ask(s, "/create_conversation", "external_id=a&message_id=1")
	assert.Equal(t, http.StatusOK, status)
	deliveries := s.Deliveries()
	require.Len(t, deliveries, 1)
	assert.Equal(t, "not posted: the webhook queue is full", deliveries[0].Error)
	assert.Equal(t, Field{"notification_type", "TicketStatusUpdated"}, deliveries[0].Fields[0])
}

func TestRequestsAndDeliveriesSurviveJSON(t *testing.T) {
	for name, tt := range map[string]struct{ body, shown string }{
		"a readable body":   {"text=Hello", `"body":"text=Hello"`},
		"an empty body":     {"", `"body":""`},
		"an unreadable one": {"\xff\xfe", `"body_base64":"//4="`},
	} {
		t.Run(name, func(t *testing.T) {
			request := Request{
				Time: time.Unix(1, 0).UTC(), Method: "POST", Path: "/p", RawQuery: "q=1", Header: http.Header{"A": {"b"}},
				Body: []byte(tt.body), Params: map[string]string{"c": "d"}, Status: 200,
			}
			encoded, err := json.Marshal(request)
			require.NoError(t, err)
			assert.Contains(t, string(encoded), tt.shown)
			var decoded Request
			require.NoError(t, json.Unmarshal(encoded, &decoded))
			assert.Equal(t, request, decoded)

			delivery := Delivery{
				Time: time.Unix(1, 0).UTC(), ContentType: formType, Fields: []Field{{"a", "b"}}, Body: []byte(tt.body), Status: 200,
			}
			encoded, err = json.Marshal(delivery)
			require.NoError(t, err)
			assert.Contains(t, string(encoded), tt.shown)
			var again Delivery
			require.NoError(t, json.Unmarshal(encoded, &again))
			assert.Equal(t, delivery, again)
		})
	}
}
