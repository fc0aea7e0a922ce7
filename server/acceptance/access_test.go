package acceptance

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/servertest/syncbuffer"
)

const (
	auditorKey = "ogk_auditor-key-of-the-tests"
	billingKey = "ogk_billing-key-of-the-tests"
)

// twoChannels configures another channel, an unrestricted caller, and a caller that may only
// subscribe to the first channel.
func twoChannels(c *config.Config) {
	c.Channels["sales"] = c.Channels[Channel]
	c.Callers = map[string]auth.Caller{
		"auditor": auth.Unrestricted(auditorKey),
		"billing": {
			KeyHashes: []auth.KeyHash{auth.HashKey(billingKey)},
			Actions:   []auth.Action{auth.ActionSubscribe},
			Channels:  []string{Channel},
		},
	}
}

func TestASubscriberGetsOnlyEventsOfItsChannels(t *testing.T) {
	onEachTransport(t, func(t *testing.T, transport Transport) {
		g, r := Start(t, twoChannels), NewRecorder(t)
		as := func(key string) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key} }
		billing := r.Subscribe("billing", Unnamed{Transport: transport}, as(billingKey), &ongairv1.SubscribeRequest{Channels: []string{Channel}})
		for n := range 20 {
			channel := []string{Channel, "sales"}[n%2]
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(channel), channel, received(n, "Hi")...))
		}
		auditor := r.Subscribe("auditor", transport, as(auditorKey), earliest())
		assert.Len(t, auditor.Events(20), 20)
		cursor := auditor.Cursor()
		for i, e := range billing.Events(10) {
			assert.Equal(t, Channel, e.GetChannel())
			assert.Equal(t, fmt.Sprint(2*i), e.GetMessageReceived().GetId())
		}
		billing.Settle(cursor)
		assert.Len(t, billing.Events(10), 10, "events of the other channel are hidden, not late")

		// A cursor of another caller gives no access to its channels.
		req := from(auditor.Events(20)[9].GetCursor())
		req.Channels = []string{Channel}
		again := r.Subscribe("billing from the auditor's cursor", Unnamed{Transport: transport}, as(billingKey), req)
		for _, e := range again.Events(5) {
			assert.Equal(t, Channel, e.GetChannel())
		}
		err := subscribeRejected(t, r, "billing of sales", transport, as(billingKey), &ongairv1.SubscribeRequest{Channels: []string{"sales"}})
		assert.Equal(t, "FORBIDDEN", reasonOf(err))
		r.Verify(as(auditorKey))
	})
}

// Every route of the HTTP port rejects calls without a key, with an unknown key, and of a caller
// that may only subscribe to another channel.
func TestEveryRouteRequiresAuthentication(t *testing.T) {
	g := Start(t, twoChannels)
	routes := []struct{ method, path, salesQuery, salesBody string }{
		{method: http.MethodPost, path: "/v1/messages:send"},
		{method: http.MethodPost, path: "/v1/messages:sendImage"},
		{method: http.MethodPost, path: "/v1/messages:sendDocument"},
		{method: http.MethodPost, path: "/v1/tickets"},
		{method: http.MethodGet, path: "/v1/events", salesQuery: "?channels=sales"},
		{method: http.MethodGet, path: "/v1/events:subscribe", salesQuery: "?channels=sales"},
		{method: http.MethodPost, path: "/v1/events:subscribe", salesBody: `{"channels":["sales"]}`},
		{method: http.MethodPost, path: "/v1/events:createStreamTicket", salesBody: `{"channels":["sales"]}`},
	}
	service := ongairv1.File_ongair_v1_ongair_service_proto.Services().ByName("OngairService")
	assert.Len(t, routes, service.Methods().Len()+1, "Subscribe has two routes")
	for _, route := range routes {
		path := route.path
		for key, want := range map[string]int{"": http.StatusUnauthorized, "wrong": http.StatusUnauthorized, billingKey: http.StatusForbidden} {
			if key == billingKey {
				path += route.salesQuery
			}
			req, err := http.NewRequestWithContext(t.Context(), route.method, "http://"+g.HTTP+path, strings.NewReader(route.salesBody))
			require.NoError(t, err)
			if key != "" {
				req.Header.Set("Authorization", "Bearer "+key)
			}
			response, err := http.DefaultClient.Do(req)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, want, response.StatusCode, "%s with key %q", path, key)
		}
	}
	assert.Empty(t, g.Sandbox.Requests())
}

// A certificate identifies its caller over gRPC and REST. Forged metadata does not.
func TestACertificateIsACredential(t *testing.T) {
	dir := t.TempDir()
	cert, key := Certificate(t, dir)
	authority, unknown := NewAuthority(t), NewAuthority(t)
	const spiffe = "spiffe://mesh/ns/billing/sa/api"
	g := Start(t, func(c *config.Config) {
		c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = cert, key, authority.File(t, dir)
		billing, crm := auth.Unrestricted(billingKey), auth.Unrestricted()
		billing.Certificates, crm.Certificates = []string{spiffe}, []string{"dns:crm.internal"}
		billing.Actions = []auth.Action{auth.ActionSend}
		crm.Actions = []auth.Action{auth.ActionTickets}
		c.Callers = map[string]auth.Caller{"billing": billing, "crm": crm}
	})
	trusted := Trusting(t, cert)
	// callHeader marks a call that the HTTP port admitted, on the in-memory connection.
	const callHeader = "ongair-gateway-call"
	forged := metadata.Pairs(callHeader, "1")

	for _, tt := range []struct {
		name        string
		certificate []tls.Certificate
		key         string
		forge       bool
		reason      string
	}{
		{"a SPIFFE id", []tls.Certificate{authority.Client(t, []string{spiffe}, nil)}, "", false, "UNSPECIFIED"},
		{"one of several names", []tls.Certificate{authority.Client(t, []string{"spiffe://mesh/other", spiffe}, []string{"x"})}, "", false, "UNSPECIFIED"},
		{"a host name of a caller that may not send", []tls.Certificate{authority.Client(t, nil, []string{"CRM.internal"})}, "", false, "FORBIDDEN"},
		{"a host name that looks like the id", []tls.Certificate{authority.Client(t, nil, []string{"mesh"})}, "", false, "CREDENTIALS_INVALID"},
		{"an unknown name", []tls.Certificate{authority.Client(t, []string{spiffe + "/x"}, nil)}, "", false, "CREDENTIALS_INVALID"},
		{"a URI that looks like a host name", []tls.Certificate{authority.Client(t, []string{"dns:crm.internal"}, nil)}, "", false, "CREDENTIALS_MISSING"},
		{"a name that metadata cannot carry", []tls.Certificate{authority.Client(t, nil, []string{"crm\x01internal"})}, "", false, "CREDENTIALS_MISSING"},
		{"no name", []tls.Certificate{authority.Client(t, nil, nil)}, "", false, "CREDENTIALS_MISSING"},
		{"no certificate", nil, "", false, "CREDENTIALS_MISSING"},
		{"no certificate, and the metadata of an admitted call", nil, "", true, "CREDENTIALS_MISSING"},
		{"a key", nil, billingKey, false, "UNSPECIFIED"},
		{"a key and the certificate of another caller", []tls.Certificate{authority.Client(t, nil, []string{"crm.internal"})}, billingKey, false, "UNSPECIFIED"},
		{"an unknown key and a certificate", []tls.Certificate{authority.Client(t, []string{spiffe}, nil)}, "wrong", false, "CREDENTIALS_INVALID"},
		{"a certificate of an unknown authority", []tls.Certificate{unknown.Client(t, []string{spiffe}, nil)}, "", false, "handshake"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config := &tls.Config{
				RootCAs: trusted,
				// Send the certificate even if the gateway does not name its authority.
				GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if len(tt.certificate) == 0 {
						return &tls.Certificate{}, nil
					}
					return &tt.certificate[0], nil
				},
			}
			conn, err := Dial(Endpoints{GRPC: g.GRPC, APIKey: tt.key}, grpc.WithTransportCredentials(credentials.NewTLS(config)))
			require.NoError(t, err)
			defer func() { assert.NoError(t, conn.Close()) }()
			ctx := t.Context()
			if tt.forge {
				ctx = metadata.NewOutgoingContext(ctx, forged)
			}
			_, err = ongairv1.NewOngairServiceClient(conn).Send(ctx, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})

			client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
			req, reqErr := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+g.HTTP+"/v1/messages:send",
				strings.NewReader(`{"external_id":"`+Contact+`","text":"Hello"}`))
			require.NoError(t, reqErr)
			if tt.key != "" {
				req.Header.Set("Authorization", "Bearer "+tt.key)
			}
			if tt.forge {
				for _, name := range []string{callHeader, "Grpc-Metadata-" + callHeader} {
					req.Header.Set(name, "1")
				}
			}
			response, httpErr := client.Do(req)
			if tt.reason == "handshake" {
				require.Error(t, err)
				assert.Equal(t, codes.Unavailable, status.Code(err))
				require.Error(t, httpErr)
				return
			}
			assert.Equal(t, tt.reason, reasonOf(err))
			require.NoError(t, httpErr)
			require.NoError(t, response.Body.Close())
			want := map[string]int{
				"UNSPECIFIED": http.StatusOK, "FORBIDDEN": http.StatusForbidden,
				"CREDENTIALS_INVALID": http.StatusUnauthorized, "CREDENTIALS_MISSING": http.StatusUnauthorized,
			}[tt.reason]
			assert.Equal(t, want, response.StatusCode)
		})
	}

	// The webhook port does not request a client certificate.
	conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: trusted, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		t.Error("the webhook port requested a client certificate")
		return &tls.Certificate{}, nil
	}}}).DialContext(t.Context(), "tcp", g.Webhook)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// A limit of a caller applies to all transports together. A reload changes it.
func TestALimitIsSharedByGRPCAndREST(t *testing.T) {
	limit := func(streams int) func(*config.Config) {
		return func(c *config.Config) {
			caller := auth.Unrestricted(billingKey)
			caller.MaxStreams = streams
			c.Callers = map[string]auth.Caller{"billing": caller}
		}
	}
	g := Start(t, limit(2))
	at := Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: billingKey}
	r := NewRecorder(t)
	for _, transport := range Transports() {
		r.Subscribe("within "+transport.String(), transport, at, &ongairv1.SubscribeRequest{})
	}
	for _, transport := range Transports() {
		beyond := NewRecorder(t).Subscribe("beyond", transport, at, &ongairv1.SubscribeRequest{})
		assert.Equal(t, "CALLER_LIMITED", reasonOf(beyond.Err()), transport)
	}
	require.NoError(t, g.Reload(limit(3)))
	r.Subscribe("within a larger limit", OverGRPC{}, at, &ongairv1.SubscribeRequest{})
	require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...))
	require.NoError(t, g.Reload(limit(10)))
	r.Verify(at)
}

// A call on a connection beyond the caller's limit is rejected, on either port, until another
// connection ends.
func TestALimitOfConnectionsIsSharedByGRPCAndREST(t *testing.T) {
	g := Start(t, func(c *config.Config) {
		caller := auth.Unrestricted(billingKey)
		caller.MaxConnections = 2
		c.Callers = map[string]auth.Caller{"billing": caller, "auditor": auth.Unrestricted(auditorKey)}
	})
	// overGRPC and overREST return a function that makes calls on a new connection, and one that
	// closes the connection.
	overGRPC := func(key string) (call func() string, end func()) {
		conn, err := Dial(Endpoints{GRPC: g.GRPC, APIKey: key})
		require.NoError(t, err)
		call = func() string {
			for {
				_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
				if status.Code(err) != codes.Unavailable { // which a call gets while the gateway closes a connection beyond the limit
					return reasonOf(err)
				}
			}
		}
		return call, sync.OnceFunc(func() { assert.NoError(t, conn.Close()) })
	}
	overREST := func(key string) (call func() string, end func()) {
		transport := &http.Transport{}
		call = func() string {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+g.HTTP+"/v1/messages:send",
				strings.NewReader(`{"external_id":"`+Contact+`","text":"Hello"}`))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+key)
			response, err := transport.RoundTrip(req)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			if response.StatusCode == http.StatusOK {
				return reasonOf(nil)
			}
			assert.Contains(t, string(body), `"limit":"connections"`)
			assert.True(t, response.Close, "the next call needs another connection")
			return "CALLER_LIMITED"
		}
		return call, transport.CloseIdleConnections
	}
	const ok, limited = "UNSPECIFIED", "CALLER_LIMITED"
	first, endFirst := overGRPC(billingKey)
	second, endSecond := overREST(billingKey)
	third, endThird := overGRPC(billingKey)
	fourth, endFourth := overREST(billingKey)
	other, endOther := overREST(auditorKey)
	for _, end := range []func(){endFirst, endSecond, endThird, endFourth, endOther} {
		defer end()
	}
	for range 2 {
		assert.Equal(t, ok, first())
		assert.Equal(t, ok, second())
		assert.Equal(t, limited, third())
		assert.Equal(t, limited, fourth())
		assert.Equal(t, ok, other())
	}
	endFirst()
	require.Eventually(t, func() bool { return fourth() == ok }, 10*time.Second, 10*time.Millisecond)
	assert.Equal(t, limited, third())
	endSecond()
	require.Eventually(t, func() bool { return third() == ok }, 10*time.Second, 10*time.Millisecond)
}

// The calls in flight of one caller leave room for another caller of the channel.
func TestAFloodingCallerDoesNotStarveOthersOfItsChannel(t *testing.T) {
	g := Start(t, func(c *config.Config) {
		channel := c.Channels[Channel]
		channel.MaxInFlight = 9
		c.Channels[Channel] = channel
		c.Callers = map[string]auth.Caller{"billing": auth.Unrestricted(billingKey), "auditor": auth.Unrestricted(auditorKey)}
	})
	g.Sandbox.SetFaults(sandbox.Fault{Delay: 3 * time.Second})
	send := func(key string) error {
		conn, err := Dial(Endpoints{GRPC: g.GRPC, APIKey: key})
		require.NoError(t, err)
		defer func() { assert.NoError(t, conn.Close()) }()
		_, err = ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		return err
	}
	var flood sync.WaitGroup
	for range 30 {
		flood.Go(func() { _ = send(billingKey) }) // most are rejected
	}
	require.Eventually(t, func() bool { return len(g.Sandbox.Requests()) >= 6 }, 10*time.Second, 10*time.Millisecond)
	assert.NoError(t, send(auditorKey))
	flood.Wait()
}

// Connections beyond a caller's limit must not fill the port.
func TestACallerOverItsLimitDoesNotBlockOthers(t *testing.T) {
	const most = 4
	g := Start(t, func(c *config.Config) {
		c.MaxConnections = most
		flooding := auth.Unrestricted(billingKey)
		flooding.MaxConnections = 1
		c.Callers = map[string]auth.Caller{"flooding": flooding, "auditor": auth.Unrestricted(auditorKey)}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	// Both call on a new connection, and leave it open.
	for name, call := range map[string]func(key string) (done bool){
		"gRPC": func(key string) bool {
			conn, err := Dial(Endpoints{GRPC: g.GRPC, APIKey: key})
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, conn.Close()) })
			_, err = ongairv1.NewOngairServiceClient(conn).Send(ctx, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
			require.Contains(t, []codes.Code{codes.OK, codes.ResourceExhausted}, status.Code(err), err)
			return err == nil
		},
		"REST": func(key string) bool {
			transport := &http.Transport{}
			t.Cleanup(transport.CloseIdleConnections)
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.HTTP+"/v1/messages:send",
				strings.NewReader(`{"external_id":"`+Contact+`","text":"Hello"}`))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+key)
			response, err := transport.RoundTrip(req)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			return response.StatusCode == http.StatusOK
		},
	} {
		admitted := 0
		for range most {
			if call(billingKey) {
				admitted++
			}
		}
		assert.LessOrEqual(t, admitted, 1, name)
		assert.True(t, call(auditorKey), name)
	}
}

// The address identifies a client that guesses keys.
func TestARejectedCallIsLoggedWithItsAddress(t *testing.T) {
	lines := &syncbuffer.Buffer{}
	g := Start(t, twoChannels, func(c *config.Config) { c.Logger = slog.New(slog.NewTextHandler(lines, nil)) })
	for transport, send := range senders() {
		_, s, _ := send(t, Endpoints{GRPC: g.GRPC, HTTP: g.HTTP}, time.Minute, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		require.Equal(t, codes.Unauthenticated, s.Code(), transport)
	}
	require.Eventually(t, func() bool {
		return strings.Count(lines.String(), "peer.address=127.0.0.1:") == 2
	}, 10*time.Second, time.Millisecond, "%s", lines)
}
