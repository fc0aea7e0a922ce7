package ongair

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the golden requests in testdata/requests")

func TestRequestsOnTheWire(t *testing.T) {
	const contact, other = "+254722200200", "wxid_9f3"
	yes, no := true, false
	for name, call := range map[string]func(context.Context, *Client) (Receipt, error){
		"send_minimal": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.Send(ctx, Text{ExternalID: contact, Text: "Hello"})
		},
		"send_full": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.Send(ctx, Text{
				ExternalID: contact, ExternalContactID: other, Text: "5 < 6 & \"é\"\n\U0001f389", Thread: &yes,
			})
		},
		"send_image_minimal": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.SendImage(ctx, Image{
				ExternalID: contact, Image: "https://example.com/a.jpg", ContentType: "image/jpeg",
			})
		},
		"send_image_full": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.SendImage(ctx, Image{
				ExternalID: contact, ExternalContactID: other, Image: "https://example.com/a.png?b=c&d=e",
				ContentType: "image/png", Text: "Look: \U0001f408\r\n--fixed-boundary", Thread: &no,
			})
		},
		"send_document_minimal": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.SendDocument(ctx, Document{ExternalID: contact, FileURL: "https://example.com/a.pdf"})
		},
		"send_document_full": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.SendDocument(ctx, Document{
				ExternalID: contact, ExternalContactID: other, FileURL: "https://example.com/a.csv",
				ContentType: "text/csv", Caption: "Numbers", Thread: &yes,
			})
		},
		"create_conversation_minimal": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.CreateTicket(ctx, Ticket{ExternalID: contact, MessageID: "m-1"})
		},
		"create_conversation_full": func(ctx context.Context, c *Client) (Receipt, error) {
			return c.CreateTicket(ctx, Ticket{
				ExternalID: contact, ExternalContactID: other, MessageID: "m-2", Name: "Jane Wanjikũ", Direction: "OUT",
				Text: "Hi", ProfilePictureURL: "https://example.com/j.png", Email: "jane@example.com",
				PhoneNumber: "+254722200201",
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := captureRequest(t, call)
			golden := filepath.Join("testdata", "requests", name+".http")
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), string(got))
		})
	}
}

// captureRequest returns the bytes that a call writes to http://ongair.im. A listener on loopback
// receives them.
func captureRequest(t *testing.T, call func(context.Context, *Client) (Receipt, error)) []byte {
	t.Helper()
	captured := make(chan []byte, 1)
	address := strings.TrimPrefix(listen(t, func(conn *net.TCPConn, _ int) {
		var wire bytes.Buffer
		if readRequest(bufio.NewReader(io.TeeReader(conn, &wire))) {
			captured <- wire.Bytes()
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"+answerSent)
			_ = conn.Close()
		}
	}), "http://")
	transport := NewTransport()
	transport.Proxy = nil
	transport.DialContext = func(ctx context.Context, network, dialled string) (net.Conn, error) {
		assert.Equal(t, "ongair.im:80", dialled)
		var dialer net.Dialer
		return dialer.DialContext(ctx, network, address)
	}
	client := newClient(t, "http://ongair.im", func(c *Config) { c.Transport = transport })
	client.boundary = "fixed-boundary-of-tests"
	_, err := call(withinTest(t), client)
	require.NoError(t, err)
	return <-captured
}

func TestFormsHaveARandomBoundary(t *testing.T) {
	types := make(chan string, 2)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		assert.NoError(t, r.ParseMultipartForm(1<<20))
		assert.Equal(t, map[string][]string{
			"external_id": {testContact}, "file_url": {"https://example.com/a"}, "content_type": {"application/pdf"},
		}, r.MultipartForm.Value)
		types <- r.Header.Get("Content-Type")
		answering(http.StatusOK, "application/json", answerSent)(w, r)
	})
	client := newClient(t, url)
	for range 2 {
		_, err := client.SendDocument(withinTest(t), Document{ExternalID: testContact, FileURL: "https://example.com/a"})
		require.NoError(t, err)
	}
	assert.NotEqual(t, <-types, <-types)
}

func TestABodyThatCannotBeEncodedIsNotSent(t *testing.T) {
	client := newClient(t, unusedAddress(t))
	client.boundary = "not a boundary\x00"
	_, err := client.SendImage(withinTest(t), Image{})
	require.ErrorContains(t, err, "INTERNAL: the call to Ongair could not be encoded")
}
