package listen_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// answerTo returns the answer of a server to the headers of a request.
func answerTo(t *testing.T, server *listen.HTTPServer, request string) (code int, body string) {
	t.Helper()
	conn := serveInMemory(t, server)
	require.NoError(t, conn.SetDeadline(time.Now().Add(30*time.Second)))
	go func() { _, _ = io.WriteString(conn, request) }() // ends when the server has read, or closed the connection
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	read, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode, string(read)
}

// padded is a request whose request line and headers have a size, most of it the value of
// a header, or the query.
func padded(method, path, where string, size int) string {
	form := method + " " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Padding: %s\r\n\r\n"
	if where == "the URL" {
		form = method + " " + path + "?channels=%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	}
	if where == "many headers" {
		var many strings.Builder
		for i := 0; many.Len() < size-500; i++ {
			fmt.Fprintf(&many, "X-%d: 1\r\n", i)
		}
		form = strings.Replace(form, "X-Padding", many.String()+"X-Padding", 1)
	}
	return strings.Replace(form, "%s", strings.Repeat("x", size-len(form)+len("%s")), 1)
}

func TestHeadersThatAreTooLargeAreAnsweredWithAReason(t *testing.T) {
	for _, where := range []string{"a header", "the URL", "many headers"} {
		for _, tt := range []struct{ size, code int }{
			{listen.MaxHeaderBytes, http.StatusOK},
			{listen.MaxHeaderBytes + 1, http.StatusRequestHeaderFieldsTooLarge},
			{listen.MaxReadHeaderBytes, http.StatusRequestHeaderFieldsTooLarge},
		} {
			t.Run(fmt.Sprint(where, " of ", tt.size), func(t *testing.T) {
				request := padded(http.MethodGet, "/v1/events", where, tt.size)
				require.Len(t, request, tt.size)
				code, body := answerTo(t, restServer(t), request)
				require.Equal(t, tt.code, code, body)
				if code == http.StatusOK {
					return
				}
				var p spb.Status
				require.NoError(t, protojson.Unmarshal([]byte(body), &p), body)
				assert.Equal(t, ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE, fault.ReasonOf(status.FromProto(&p)))
				assert.Contains(t, p.GetMessage(), "16384")
			})
		}
	}
	code, _ := answerTo(t, restServer(t), padded(http.MethodGet, "/v1/events", "a header", 2*listen.MaxReadHeaderBytes))
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, code, "which net/http says")
}

// keptWebhooks is a log that keeps what it takes.
type keptWebhooks struct{ events []*ongairv1.Event }

func (k *keptWebhooks) Append(_ context.Context, e *ongairv1.Event) (bool, error) {
	k.events = append(k.events, e)
	return true, nil
}

// A webhook that is refused may be lost for good, and its fields may be in the URL.
func TestAWebhookMayHaveLargeHeaders(t *testing.T) {
	for _, where := range []string{"a header", "the URL", "many headers"} {
		t.Run(where, func(t *testing.T) {
			log := &keptWebhooks{}
			request := padded(http.MethodPost, webhook.Path("default", slowSecret), where, listen.MaxReadHeaderBytes)
			code, body := answerTo(t, webhookServer(log), request)
			require.Equal(t, http.StatusOK, code, body)
			require.Len(t, log.events, 1)
			if where == "the URL" {
				require.Len(t, log.events[0].GetFields(), 1)
				assert.Greater(t, len(log.events[0].GetFields()[0].GetValue()), listen.MaxReadHeaderBytes-200)
			}
		})
	}
}
