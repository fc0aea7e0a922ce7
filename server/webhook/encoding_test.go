package webhook

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/listen"
)

// deflated returns body compressed by the writer of newWriter.
func deflated[W io.WriteCloser](t *testing.T, newWriter func(io.Writer) W, body []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := newWriter(&out)
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func gzipped(t *testing.T, body []byte) []byte { return deflated(t, gzip.NewWriter, body) }

func bareDeflate(w io.Writer) *flate.Writer {
	fw, _ := flate.NewWriter(w, flate.BestSpeed) // fails only for an unknown level
	return fw
}

func TestACompressedBodyIsInflated(t *testing.T) {
	body := []byte(form)
	for _, tt := range []struct {
		name, encoding string
		body           []byte
	}{
		{"gzip", "gzip", gzipped(t, body)},
		{"gzip in another case", " GZIP ", gzipped(t, body)},
		{"x-gzip", "x-gzip", gzipped(t, body)},
		{"gzip without a header", "", gzipped(t, body)},
		{"gzip header without gzip", "gzip", body},
		{"deflate", "deflate", deflated(t, zlib.NewWriter, body)},
		{"deflate without zlib's header", "deflate", deflated(t, bareDeflate, body)},
		{"deflate header without deflate", "deflate", body},
		{"deflate header on JSON that could be bare deflate", "deflate",
			[]byte(`[{"id":7,"text":"hi","notification_type":"MessageReceived"}]`)},
		{"gzip named deflate", "deflate", gzipped(t, body)},
		{"gzip with an unknown encoding", "utf-8", gzipped(t, body)},
		{"gzip as identity", "identity", gzipped(t, body)},
		{"twice", "deflate, gzip", gzipped(t, deflated(t, zlib.NewWriter, body))},
		{"identity", "Identity", body},
		{"gzip of the largest body", "gzip", gzipped(t, append(append([]byte(form), "&a="...), make([]byte, listen.MaxBodyBytes-len(form)-3)...))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines logBuffer
			log := &memoryLog{}
			url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()}))
			response := post(t, url+Path(testChannel, testSecret), formType, tt.body, func(r *http.Request) {
				if tt.encoding != "" {
					r.Header.Set("Content-Encoding", tt.encoding)
				}
			})
			require.Equal(t, http.StatusOK, response.status)
			require.Len(t, log.appended(), 1)
			assert.Equal(t, "hi", log.appended()[0].GetMessageReceived().GetText())
			if tt.body[0] != '[' { // the body of an array is always kept
				assert.Nil(t, log.appended()[0].GetRawBody())
			}
			assert.NotContains(t, lines.String(), "WARN")
		})
	}
}

func TestABodyThatCannotBeInflatedIsKept(t *testing.T) {
	whole := gzipped(t, []byte(form))
	for _, tt := range []struct {
		name, encoding string
		body           []byte
	}{
		{"an unknown encoding", "br", []byte("\x8b\x02\x80abc\x03")},
		{"truncated gzip", "gzip", whole[:len(whole)-6]},
		{"gzip with a damaged checksum", "gzip", append(bytes.Clone(whole[:len(whole)-8]), "12345678"...)},
		{"deflate with more after its end", "deflate", append(deflated(t, zlib.NewWriter, []byte(form)), "&text=lost"...)},
		{"bare deflate with more after its end", "deflate", append(deflated(t, bareDeflate, []byte(form)), "&text=lost"...)},
		{"three encodings", "gzip, gzip, gzip", gzipped(t, gzipped(t, whole))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines logBuffer
			log := &memoryLog{}
			url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: lines.logger()}))
			response := post(t, url+Path(testChannel, testSecret), formType, tt.body, func(r *http.Request) { r.Header.Set("Content-Encoding", tt.encoding) })
			require.Equal(t, http.StatusOK, response.status)
			require.Len(t, log.appended(), 1)
			checkWhole(t, formType, tt.body, log.appended()[0])
			assertWarned(t, &lines, map[string]any{"channel": testChannel, "problem": errEncoding.Error()})
		})
	}
}

func TestABodyThatInflatesBeyondTheLimitIsRejected(t *testing.T) {
	tooLarge := make([]byte, listen.MaxBodyBytes+1)
	for name, body := range map[string][]byte{
		"gzip": gzipped(t, tooLarge), "gzip, gzip": gzipped(t, gzipped(t, make([]byte, 64<<20))), "deflate": deflated(t, zlib.NewWriter, tooLarge),
	} {
		log := &memoryLog{}
		url := serve(t, New(Config{Access: Access{Channels: channels}, Log: log, Logger: discard}))
		response := post(t, url+Path(testChannel, testSecret), formType, body, func(r *http.Request) { r.Header.Set("Content-Encoding", name) })
		assert.Equal(t, http.StatusRequestEntityTooLarge, response.status, name)
		assert.Empty(t, log.appended(), name)
	}
}
