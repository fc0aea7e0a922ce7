package acceptance

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// Otherwise a client could keep a connection for minutes after one request.
func TestAFullPortClosesAnIdleConnection(t *testing.T) {
	dir := t.TempDir()
	cert, key := Certificate(t, dir)
	trusted := Trusting(t, cert)
	plain := Start(t, func(c *config.Config) { c.MaxConnections = 3 })
	secured := Start(t, func(c *config.Config) { c.MaxConnections, c.TLSCertFile, c.TLSKeyFile = 3, cert, key })
	for name, tt := range map[string]struct {
		addr   string
		config *tls.Config
	}{
		"webhooks":          {plain.Webhook, nil},
		"calls":             {plain.HTTP, nil},
		"operators":         {plain.Admin, nil},
		"webhooks over TLS": {secured.Webhook, &tls.Config{RootCAs: trusted, ServerName: "127.0.0.1", NextProtos: []string{"http/1.1"}}},
		"calls over HTTP/2": {secured.HTTP, &tls.Config{RootCAs: trusted, ServerName: "127.0.0.1", NextProtos: []string{"h2"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// connect returns a function that makes a request, each time on the same connection.
			connect := func() (request func() error) {
				dialed := false
				dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
					if dialed {
						return nil, errors.New("the connection was closed")
					}
					dialed = true
					conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", tt.addr)
					if err != nil || tt.config == nil {
						return conn, err
					}
					return tls.Client(conn, tt.config), nil
				}
				transport := &http.Transport{DialContext: dial, DialTLSContext: dial, ForceAttemptHTTP2: true}
				t.Cleanup(transport.CloseIdleConnections)
				client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
				scheme := "http"
				if tt.config != nil {
					scheme = "https"
				}
				return func() error {
					req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, scheme+"://x/nothing", http.NoBody)
					require.NoError(t, err)
					response, err := client.Do(req)
					if err != nil {
						return err
					}
					_, err = io.Copy(io.Discard, response.Body)
					require.NoError(t, err)
					assert.Equal(t, tt.config != nil && tt.config.NextProtos[0] == "h2", response.ProtoMajor == 2)
					return response.Body.Close()
				}
			}
			requests := []func() error{connect(), connect(), connect()}
			for _, request := range requests {
				require.NoError(t, request())
			}
			require.NoError(t, connect()(), "a fourth connection, of three")
			closed := 0
			for _, request := range requests {
				if request() != nil {
					closed++
				}
			}
			assert.Equal(t, 1, closed)
		})
	}
}
