package acceptance

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// A client can open connections from one address and port to several addresses of the gateway, here
// of 127.0.0.0/8. Each is a connection towards the limit.
func TestConnectionsFromOneAddressToSeveralAreCountedSeparately(t *testing.T) {
	g := Start(t, func(c *config.Config) {
		c.GRPCAddr, c.HTTPAddr = "0.0.0.0:0", "0.0.0.0:0"
		caller, other := auth.Unrestricted(billingKey), auth.Unrestricted(auditorKey)
		caller.MaxConnections, other.MaxConnections = 1, 1
		c.Callers = map[string]auth.Caller{"grpc": caller, "rest": other}
	})
	for name, tt := range map[string]struct {
		addr string
		call func(conn net.Conn) (admitted bool)
	}{
		"gRPC": {g.GRPC, func(conn net.Conn) bool {
			client, err := Dial(Endpoints{GRPC: "passthrough:x", APIKey: billingKey},
				grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return conn, nil }))
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, client.Close()) })
			_, err = ongairv1.NewOngairServiceClient(client).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
			require.Contains(t, []codes.Code{codes.OK, codes.ResourceExhausted}, status.Code(err), err)
			return err == nil
		}},
		"REST": {g.HTTP, func(conn net.Conn) bool {
			transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
			t.Cleanup(transport.CloseIdleConnections)
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://x/v1/messages:send",
				strings.NewReader(`{"external_id":"`+Contact+`","text":"Hello"}`))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+auditorKey)
			response, err := transport.RoundTrip(req)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, response.Body) // otherwise the connection would close
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			return response.StatusCode == http.StatusOK
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, port, err := net.SplitHostPort(tt.addr)
			require.NoError(t, err)
			dialer := net.Dialer{
				LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)},
				Control: func(_, _ string, c syscall.RawConn) (err error) {
					controlErr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1) })
					require.NoError(t, controlErr)
					return err
				},
			}
			var admitted []bool
			for _, host := range []string{"127.0.0.1", "127.0.0.2"} {
				conn, err := dialer.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() }) // may be closed already
				dialer.LocalAddr = conn.LocalAddr()
				admitted = append(admitted, tt.call(conn))
			}
			assert.Equal(t, []bool{true, false}, admitted)
		})
	}
}
