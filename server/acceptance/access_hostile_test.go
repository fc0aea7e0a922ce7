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

// endless is a body without an end.
type endless struct{ sent atomic.Int64 }

func (e *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	e.sent.Add(int64(len(p)))
	return len(p), nil
}

// mostOnTheWay is more than the gateway reads of a body and the buffers of both systems
// hold, and much less than a hostile body has.
const mostOnTheWay = 32 << 20

// raw sends bytes to a port and returns the status of what is answered, 0 where
// nothing is, and how many bytes went out. An end of the connection by the other side
// while it sends is fine.
func raw(t *testing.T, addr string, content io.Reader) (status int, sent int64) {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	var sending sync.WaitGroup
	sending.Go(func() { sent, _ = io.Copy(conn, content) })
	if response, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
		status = response.StatusCode
		_ = response.Body.Close() // the connection goes with it
	}
	_ = conn.Close() // whatever state it is in
	sending.Wait()
	return status, sent
}

// Whoever sends such a thing with the secret gets a clear status, and one event or
// none; whoever does not have it gets a 404 at once; and the gateway goes on.
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
		// Chunks of 64 KiB, for ever.
		chunk := &bytes.Buffer{}
		fmt.Fprintf(chunk, "%x\r\n", 64<<10)
		_, _ = io.CopyN(chunk, body, 64<<10) // it has no end
		chunk.WriteString("\r\n")
		content := []io.Reader{strings.NewReader(head(path, "Content-Type: "+form, "Transfer-Encoding: chunked"))}
		for range 2000 { // 128 MB
			content = append(content, bytes.NewReader(chunk.Bytes()))
		}
		return io.MultiReader(content...)
	}

	for _, tt := range []struct {
		name    string
		content io.Reader
		status  int
		// event is what the event has, where there is one.
		event []Field
	}{
		{"a form with 10,000 keys", sized(path, form, []byte(keys.String())), http.StatusOK, RawBody(form, keys.String())},
		{"a multipart form of 8,000 parts", sized(path, bomb.FormDataContentType(), parts.Bytes()), http.StatusOK, RawBody(bomb.FormDataContentType(), parts.String())},
		{"a multipart form without an end", sized(path, bomb.FormDataContentType(), parts.Bytes()[:1000]), http.StatusOK, RawBody(bomb.FormDataContentType(), parts.String()[:1000])},
		{"an archive that grows", sized(path, form, zipped.Bytes(), "Content-Encoding: gzip"), http.StatusRequestEntityTooLarge, nil},
		{"a body of 100 MB", io.MultiReader(strings.NewReader(head(path, "Content-Type: "+form, "Content-Length: 104857600")), io.LimitReader(&endless{}, 100<<20)), http.StatusRequestEntityTooLarge, nil},
		{"a body without an end", chunked(path, &endless{}), http.StatusRequestEntityTooLarge, nil},
		{"headers without an end", io.MultiReader(strings.NewReader("POST "+path+" HTTP/1.1\r\nHost: x\r\nX: "), io.LimitReader(&endless{}, 1<<20)), http.StatusRequestHeaderFieldsTooLarge, nil},
		{"a length that is none", strings.NewReader(head(path, "Content-Length: -1")), http.StatusBadRequest, nil},
		{"two lengths", strings.NewReader(head(path, "Content-Length: 3", "Content-Length: 4") + "a=b"), http.StatusBadRequest, nil},
		{"a length and chunks", strings.NewReader(head(path, "Content-Length: 3", "Transfer-Encoding: chunked", "Content-Type: "+form) + "3\r\na=b\r\n0\r\n\r\n"), http.StatusOK, Form("a", "b")},
		{"no HTTP", strings.NewReader("hello\r\n\r\n"), http.StatusBadRequest, nil},
		{"HTTP/2 in clear", strings.NewReader("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 0, nil},
		{"a body of 100 MB without the secret", io.MultiReader(strings.NewReader(head(wrong, "Content-Length: 104857600")), io.LimitReader(&endless{}, 100<<20)), http.StatusNotFound, nil},
		{"a body without an end or a secret", chunked(wrong, &endless{}), http.StatusNotFound, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, sent := raw(t, g.Webhook, tt.content)
			assert.Less(t, sent, int64(mostOnTheWay))
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
	require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...), "the gateway goes on")
	r.Subscribe("all", OverGRPC{}, g.Endpoints(), earliest())
	r.Verify(g.Endpoints()) // one event or none of each, and each whole
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
		"a body of 100 MB":                      {right, "", large, http.StatusRequestEntityTooLarge},
		"a body without an end":                 {right, "", unknown, http.StatusRequestEntityTooLarge},
		"an archive without an end":             {right, "gzip", unknown, http.StatusRequestEntityTooLarge},
		"a body of 100 MB without the secret":   {wrong, "", large, http.StatusNotFound},
		"a body without an end or a secret":     {wrong, "", unknown, http.StatusNotFound},
		"an archive without an end or a secret": {wrong, "gzip", unknown, http.StatusNotFound},
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
			assert.Less(t, body.sent.Load(), int64(mostOnTheWay))
		})
	}
	response, err := client.Post("https://"+g.Webhook+right, "application/x-www-form-urlencoded", strings.NewReader("a=b"))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Equal(t, http.StatusOK, response.StatusCode, "the gateway goes on")
}
