package webhook

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestALargeWebhookWithoutRoomIsToBeRetried(t *testing.T) {
	var lines logBuffer
	log := &memoryLog{}
	h := New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()})
	url := serve(t, h) + Path(testChannel, testSecret)
	release, err := h.bodies.Reserve(t.Context(), 16<<20)
	require.NoError(t, err)
	large := append([]byte(form+"&more="), bytes.Repeat([]byte("x"), 100_000)...)
	// A compressed body may inflate to a large one.
	t.Run("while there is no room", func(t *testing.T) {
		for name, body := range map[string][]byte{"large": large, "compressed": gzipped(t, []byte(form))} {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // each waits for 5 s
				response := post(t, url, formType, body)
				assert.Equal(t, http.StatusServiceUnavailable, response.status)
				assert.Equal(t, "1", response.header.Get("Retry-After"))
			})
		}
		assert.Equal(t, http.StatusOK, post(t, url, formType, []byte(form)).status, "a small body is accepted")
	})
	assertWarned(t, &lines, map[string]any{"channel": testChannel, "status": 503.0, "error": "too many large bodies at a time"})
	release()
	for range 20 { // more than there is room for
		for _, body := range [][]byte{large, gzipped(t, []byte(form))} {
			assert.Equal(t, http.StatusOK, post(t, url, formType, body).status)
		}
	}
}
