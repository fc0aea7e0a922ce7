package acceptance

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"fmt"
	"io"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// endless is an endless body. sent counts the bytes that were read.
type endless struct{ sent atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.sent.Add(int64(len(p)))
	return len(p), nil
}

// maxInTransit bounds the bytes of a body that the gateway reads or the buffers of both sides hold.
// A hostile body is much larger.
const maxInTransit = 32 << 20

// raw sends bytes to a port. It returns the status of the answer, or 0 without one, and the number
// of bytes sent. The other side may close the connection early.
func raw(t *testing.T, addr string, content io.Reader) (status int, sent int64) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	var sending sync.WaitGroup
	sending.Go(func() { sent, _ = io.Copy(conn, content) })
	if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		status = response.StatusCode
		_ = response.Body.Close() // closed with the connection
	}
	_ = conn.Close() // may be closed already
	sending.Wait()
	return status, sent
}

// A hostile webhook with the secret gets the expected status, and at most one event. One without
// the secret gets a 404 at once. The gateway still works.
func TestHostileWebhooks(t *testing.T) {
	g, r := Start(t), NewRecorder(t)
	path, wrong := webhook.Path(Channel, Secret), webhook.Path(Channel, "not-the-secret-of-the-tests")
	head := func(path string, headers ...string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + strings.Join(headers, "\r\n") + "\r\n\r\n"
	}
	sized := func(path, contentType string, body []byte, more ...string) io.Reader {
		headers := append(more, "Content-Type: "+contentType, fmt.Sprint("Content-Length: ", len(body)))
		return io.MultiReader(strings.NewReader(head(path, headers...)), bytes.NewReader(body))
	}
	const form = "application/x-www-form-urlencoded"
	var keys strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&keys, "key%d=%d&", i, i)
	}
	var parts bytes.Buffer
	bomb := multipart.NewWriter(&parts)
	for i := range 8000 {
		require.NoError(t, bomb.WriteField(fmt.Sprint("part", i), "x"))
	}
	require.NoError(t, bomb.Close())
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, err := zip.Write(make([]byte, 50<<20))
	require.NoError(t, err)
	require.NoError(t, zip.Close())
	chunked := func(path string, body io.Reader) io.Reader {
		// 2000 chunks of 64 KiB are 131 MB.
		chunk := &bytes.Buffer{}
		fmt.Fprintf(chunk, "%x\r\n", 64<<10)
		_, _ = io.CopyN(chunk, body, 64<<10) // it has no end
		chunk.WriteString("\r\n")
		content := []io.Reader{strings.NewReader(head(path, "Content-Type: "+form, "Transfer-Encoding: chunked"))}
		for range 2000 {
			content = append(content, bytes.NewReader(chunk.Bytes()))
		}
		return io.MultiReader(content...)
	}

	for _, tt := range []struct {
		name    string
		content io.Reader
		status  int
		// event has the fields of the event, if any.
		event []Field
	}{
		{"a form with 10,000 keys", sized(path, form, []byte(keys.String())), http.StatusOK, RawBody(form, keys.String())},
		{"a multipart form of 8,000 parts", sized(path, bomb.FormDataContentType(), parts.Bytes()), http.StatusOK, RawBody(bomb.FormDataContentType(), parts.String())},
		{"a truncated multipart form", sized(path, bomb.FormDataContentType(), parts.Bytes()[:1000]), http.StatusOK, RawBody(bomb.FormDataContentType(), parts.String()[:1000])},
		{"a gzip bomb", sized(path, form, zipped.Bytes(), "Content-Encoding: gzip"), http.StatusRequestEntityTooLarge, nil},
		{"a body of 100 MB", io.MultiReader(strings.NewReader(head(path, "Content-Type: "+form, "Content-Length: 104857600")), io.LimitReader(&endless{}, 100<<20)), http.StatusRequestEntityTooLarge, nil},
		{"an endless body", chunked(path, &endless{}), http.StatusRequestEntityTooLarge, nil},
		{"endless headers", io.MultiReader(strings.NewReader("POST "+path+" HTTP/1.1\r\nHost: x\r\nX: "), io.LimitReader(&endless{}, 1<<20)), http.StatusRequestHeaderFieldsTooLarge, nil},
		{"an invalid length", strings.NewReader(head(path, "Content-Length: -1")), http.StatusBadRequest, nil},
		{"two lengths", strings.NewReader(head(path, "Content-Length: 3", "Content-Length: 4") + "a=b"), http.StatusBadRequest, nil},
		{"a length and chunks", strings.NewReader(head(path, "Content-Length: 3", "Transfer-Encoding: chunked", "Content-Type: "+form) + "3\r\na=b\r\n0\r\n\r\n"), http.StatusOK, Form("a", "b")},
		{"not HTTP", strings.NewReader("hello\r\n\r\n"), http.StatusBadRequest, nil},
		{"HTTP/2 without TLS", strings.NewReader("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, nil},
		{"a body of 100 MB without the secret", io.MultiReader(strings.NewReader(head(wrong, "Content-Length: 104857600")), io.LimitReader(&endless{}, 100<<20)), http.StatusNotFound, nil},
		{"an endless body without the secret", chunked(wrong, &endless{}), http.StatusNotFound, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, sent := raw(t, g.Webhook, tt.content)
			assert.Less(t, sent, int64(maxInTransit))
			if tt.status == 0 {
				assert.NotEqual(t, http.StatusOK, status)
			} else {
				assert.Equal(t, tt.status, status)
			}
		})
		if tt.event != nil {
			r.RecordPost(Post{Channel: Channel, Fields: tt.event, Status: tt.status})
		}
	}
	require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...), "the gateway still works")
	r.Subscribe("all", OverGRPC{}, g.Endpoints(), earliest())
	r.Verify(g.Endpoints()) // each webhook has at most one event, and each event is whole
}

func TestHostileWebhooksOverHTTP2(t *testing.T) {
	cert, key := Certificate(t, t.TempDir())
	g := Start(t, func(c *config.Config) { c.TLSCertFile, c.TLSKeyFile = cert, key })
	trusted := Trusting(t, cert)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: time.Minute}
	const unknown, large = -1, 100 << 20
	right, wrong := webhook.Path(Channel, Secret), webhook.Path(Channel, "not-the-secret-of-the-tests")
	for name, tt := range map[string]struct {
		path, encoding string
		length         int64
		status         int
	}{
		"a body of 100 MB":                    {right, "", large, http.StatusRequestEntityTooLarge},
		"an endless body":                     {right, "", unknown, http.StatusRequestEntityTooLarge},
		"an endless gzip":                     {right, "gzip", unknown, http.StatusRequestEntityTooLarge},
		"a body of 100 MB without the secret": {wrong, "", large, http.StatusNotFound},
		"an endless body without the secret":  {wrong, "", unknown, http.StatusNotFound},
		"an endless gzip without the secret":  {wrong, "gzip", unknown, http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			body := &endless{}
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.Webhook+tt.path, body)
			require.NoError(t, err)
			request.ContentLength = tt.length
			if tt.encoding != "" {
				request.Header.Set("Content-Encoding", tt.encoding)
			}
			response, err := client.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, 2, response.ProtoMajor)
			assert.Equal(t, tt.status, response.StatusCode)
			assert.Less(t, body.sent.Load(), int64(maxInTransit))
		})
	}
	response, err := client.Post("https://"+g.Webhook+right, "application/x-www-form-urlencoded", strings.NewReader("a=b"))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode, "the gateway still works")
}
