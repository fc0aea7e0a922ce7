package acceptance

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// callPath makes a call on an exact path, without a gRPC library. It returns the gRPC status, or the
// error with which the server ended the stream. headers replace the default ones of their names.
func callPath(t *testing.T, addr, path string, headers ...hpack.HeaderField) string {
	t.Helper()
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer func() { _ = conn.Close() }() // may be closed already
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	defaults := slices.DeleteFunc([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "x"}, {Name: ":path", Value: path},
		{Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	}, func(f hpack.HeaderField) bool {
		return slices.ContainsFunc(headers, func(given hpack.HeaderField) bool { return given.Name == f.Name })
	})
	for _, f := range append(defaults, headers...) {
		require.NoError(t, encoder.WriteField(f))
	}
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))
	message, err := proto.Marshal(&ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
	require.NoError(t, err)
	require.NoError(t, framer.WriteData(1, true, append([]byte{0, 0, 0, 0, byte(len(message))}, message...)))
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			if errors.Is(err, io.EOF) {
				return "the connection ended"
			}
			require.NoError(t, err)
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				if field.Name == "grpc-status" {
					return field.Value
				}
			}
		case *http2.RSTStreamFrame:
			return f.ErrCode.String()
		case *http2.GoAwayFrame:
			return f.ErrCode.String()
		case *http2.SettingsFrame:
			if !f.IsAck() {
				require.NoError(t, framer.WriteSettingsAck())
			}
		}
	}
}

// grpc-go once called the handler for a path without the leading slash, which bypassed checks of the
// path.
func TestNoSpellingOfAMethodBypassesTheKey(t *testing.T) {
	g := Start(t, withKeys(billingKey))
	const ok, unauthenticated, unimplemented = "0", "16", "12"
	key := hpack.HeaderField{Name: "authorization", Value: "Bearer " + billingKey}
	assert.Equal(t, ok, callPath(t, g.GRPC, "/ongair.v1.OngairService/Send", key), "the correct path with a key works")
	require.Len(t, g.Sandbox.Requests(), 1)
	assert.Equal(t, unauthenticated, callPath(t, g.GRPC, "/ongair.v1.OngairService/Send"))
	for _, path := range []string{
		"ongair.v1.OngairService/Send", "//ongair.v1.OngairService/Send", "/ongair.v1.OngairService//Send",
		"/ongair.v1.OngairService/Send/", "/ongair.v1.OngairService/Send?x", "/Ongair.V1.OngairService/Send", "Send", "*",
		"/grpc.health.v1.Health/../ongair.v1.OngairService/Send", "/grpc.health.v1.Health/Send",
		"/ongair.v1.OngairService/grpc.health.v1.Health/Check",
	} {
		status := callPath(t, g.GRPC, path)
		assert.NotEqual(t, ok, status, path)
		assert.Contains(t, []string{unauthenticated, unimplemented, "PROTOCOL_ERROR"}, status, path)
	}
	assert.Len(t, g.Sandbox.Requests(), 1)
}

func TestNoContentTypeBypassesTheKey(t *testing.T) {
	g := Start(t, withKeys(billingKey))
	types := []string{"application/json", "text/plain", "application/x-www-form-urlencoded", "application/grpc-web", "application/grpc+json", "application/grpcx", ""}
	for _, contentType := range types {
		header := hpack.HeaderField{Name: "content-type", Value: contentType}
		status := callPath(t, g.GRPC, "/ongair.v1.OngairService/Send", header)
		assert.Contains(t, []string{"3", "16", "PROTOCOL_ERROR"}, status, "%q over gRPC", contentType)

		for _, key := range []string{"", "Bearer wrong"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.HTTP+"/v1/messages:send",
				strings.NewReader(`{"external_id":"`+Contact+`","text":"Hello"}`))
			require.NoError(t, err)
			request.Header["Content-Type"] = []string{contentType}
			if key != "" {
				request.Header.Set("Authorization", key)
			}
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, http.StatusUnauthorized, response.StatusCode, "%q over REST", contentType)
		}
	}
	assert.Empty(t, g.Sandbox.Requests())
	// A call that is not gRPC is rejected even with the key.
	key := hpack.HeaderField{Name: "authorization", Value: "Bearer " + billingKey}
	json := hpack.HeaderField{Name: "content-type", Value: "application/json"}
	assert.NotEqual(t, "0", callPath(t, g.GRPC, "/ongair.v1.OngairService/Send", json, key))
	assert.Empty(t, g.Sandbox.Requests())
}
