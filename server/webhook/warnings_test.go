package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// warnings returns the warnings in a log.
func warnings(t *testing.T, lines *logBuffer) (found []map[string]any) {
	t.Helper()
	for line := range strings.Lines(lines.String()) {
		var record map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		if record["level"] == "WARN" {
			found = append(found, record)
		}
	}
	return found
}

// postTo posts a webhook to the handler and returns the status.
func postTo(t *testing.T, h http.Handler, path, body string) int {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(body))
	request.Header.Set("Content-Type", formType)
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer.Code
}

func TestWebhooksThatNoFilterMatchesAreLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lines logBuffer
		h := New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: lines.logger()})
		right := Path(testChannel, testSecret)
		require.Equal(t, http.StatusOK, postTo(t, h, right, form))
		require.Empty(t, warnings(t, &lines))
		for _, body := range []string{`{"notification_type":`, "id=7", "garbage", ""} {
			require.Equal(t, http.StatusOK, postTo(t, h, right, body))
		}
		require.Equal(t, http.StatusOK, postTo(t, h, Path("sales", channels["sales"].Secret), "id=7"))
		time.Sleep(logInterval)
		require.Equal(t, http.StatusOK, postTo(t, h, right, "id=7"))
		found := warnings(t, &lines)
		require.Len(t, found, 3, "one warning for each channel, and one after a minute")
		assert.Equal(t, testChannel, found[0]["channel"])
		assert.Equal(t, "the JSON is cut off or malformed", found[0]["problem"], "the problem of the first webhook")
		assert.Equal(t, "sales", found[1]["channel"])
		assert.Equal(t, "no notification_type", found[1]["problem"])
		assert.InDelta(t, 3, found[2]["suppressed"], 0)
	})
}

func TestAnIDWithOtherContentIsLogged(t *testing.T) {
	var lines logBuffer
	log := &memoryLog{}
	h := New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()})
	for _, tt := range []struct {
		body             string
		stored, warnings int
	}{
		{form, 1, 0},
		{form, 1, 0},
		{form + "&name=Asha", 1, 0},
		{"notification_type=MessageSent&id=7&text=other", 2, 0},
		{"notification_type=MessageReceived&id=8&text=other", 3, 0},
		{"notification_type=MessageReceived&id=0&text=a", 4, 0},
		{"notification_type=MessageReceived&id=0&text=b", 5, 0},
		{"notification_type=TicketStatusUpdated&id=7&status=Open", 6, 0},
		{"notification_type=MessageReceived&id=7&text=another", 7, 1},
		{form, 7, 1}, // known ID, within the minute
	} {
		require.Equal(t, http.StatusOK, postTo(t, h, Path(testChannel, testSecret), tt.body), tt.body)
		assert.Len(t, log.appended(), tt.stored, tt.body)
		assert.Len(t, warnings(t, &lines), tt.warnings, tt.body)
	}
	assert.Equal(t, log.appended()[6].GetId(), warnings(t, &lines)[0]["event"])
}

func TestARightSecretInAWrongPathIsLogged(t *testing.T) {
	for _, path := range []string{
		"/webhook/support/SECRET", "/SECRET", "/webhooks/SECRET", "/webhooks/SECRET/support", "/v1/webhooks/support/SECRET",
		"/webhooks/Support/SECRET", "/webhooks/support/SECRET/more", "/webhooks/sales/SECRET", "/a/b/c/d/e/f/g/SECRET",
		"/webhooks/support/SECRET%20/x", "/gateway//webhooks/support/SECRET/",
	} {
		var lines logBuffer
		h := New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: lines.logger()})
		path = strings.ReplaceAll(path, "SECRET", testSecret)
		require.Equal(t, http.StatusNotFound, postTo(t, h, path, form), path)
		found := warnings(t, &lines)
		if strings.Contains(path, "%20/") { // not a secret
			require.NotContains(t, fmt.Sprint(found), "right secret, wrong path", path)
			continue
		}
		require.Len(t, found, 1, path)
		assert.Equal(t, testChannel, found[0]["channel"], path)
		assert.Contains(t, found[0]["wrong"], "right secret, wrong path", path)
		assert.NotContains(t, lines.String(), testSecret)
	}
	var lines logBuffer
	h := New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: lines.logger()})
	require.Equal(t, http.StatusNotFound, postTo(t, h, "/a/b/c/d/e/f/g/h/"+testSecret, form))
	assert.NotContains(t, lines.String(), "right secret, wrong path", "the secret is only searched in the first eight segments")
}

func TestAPreviousSecretInAWrongPathIsLogged(t *testing.T) {
	var lines logBuffer
	access := Access{Channels: map[string]Credentials{testChannel: {Secret: newSecret, Previous: oldSecret}}}
	h := New(Config{Access: access, Log: &memoryLog{}, Logger: lines.logger()})
	require.Equal(t, http.StatusNotFound, postTo(t, h, "/v1"+Path(testChannel, oldSecret), form))
	assert.Contains(t, lines.String(), "right secret, wrong path")
}

func TestAnUnknownTypeIsLoggedIfItIsAWord(t *testing.T) {
	for typ, want := range map[string]string{
		"MessageReceived": "MessageReceived", " messagereceived ": "MessageReceived", "VideoReceived": "VideoReceived",
		"Video Received": "", "Video1": "", strings.Repeat("a", 64): strings.Repeat("a", 64), strings.Repeat("a", 65): "", "Vidéo": "", "": "",
		"Video\nReceived": "",
	} {
		assert.Equal(t, want, loggable(typ), typ)
	}
}
