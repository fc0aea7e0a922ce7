package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// withKeys has one caller, who may do everything, with API keys.
func withKeys(keys ...string) func(*server.Config) {
	return func(c *server.Config) { c.Callers = map[string]auth.Caller{"billing": auth.Unrestricted(keys...)} }
}

// withSecrets has the webhook secret of the channel, and the one before.
func withSecrets(secret, previous string) func(*server.Config) {
	return func(c *server.Config) {
		channel := c.Channels[Channel]
		channel.WebhookSecret, channel.PreviousWebhookSecret = secret, previous
		c.Channels[Channel] = channel
	}
}

// TestSecretsAreReplacedUnderLoad replaces the key of a caller and the secret of the
// webhooks over and over, each with a time in which two are valid, while calls are
// made and webhooks come in with whichever is the current one. No call fails, no
// webhook is refused, and no stream ends.
func TestSecretsAreReplacedUnderLoad(t *testing.T) {
	key := func(n int64) string { return fmt.Sprintf("ogk_the-key-of-the-tests-%d", n) }
	secret := func(n int64) string { return fmt.Sprintf("the-secret-of-the-webhooks-%d", n) }
	g, r := Start(t, withKeys(key(0)), withSecrets(secret(0), "")), NewRecorder(t)
	as := func(n int64) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key(n)} }
	for _, transport := range Transports() {
		r.Subscribe("from the start, "+transport.String(), transport, as(0), &ongairv1.SubscribeRequest{})
	}
	conn, err := Dial(Endpoints{GRPC: g.GRPC})
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	client := ongairv1.NewOngairServiceClient(conn)

	var current atomic.Int64
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var calls, webhooks atomic.Int64
	for worker := range 4 {
		wg.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key(current.Load()))
				_, err := client.Send(ctx, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
				assert.NoError(t, err)
				calls.Add(1)
				url := "http://" + g.Webhook + webhook.Path(Channel, secret(current.Load()))
				assert.Equal(t, http.StatusOK, r.Post(url, Channel, received(worker*1_000_000+n, "Hi")...))
				webhooks.Add(1)
			}
		})
	}
	rounds := int64(Rounds(20, 500))
	for n := int64(1); n <= rounds; n++ {
		before := calls.Load()
		// The first stream's key stays, so that the stream may.
		require.NoError(t, g.Reload(func(c *server.Config) {
			withKeys(key(0), key(n-1), key(n))(c)
			withSecrets(secret(n), secret(n-1))(c)
			if n == 1 {
				withKeys(key(0), key(1))(c)
			}
		}))
		current.Store(n)
		require.Eventually(t, func() bool { return calls.Load() > before+8 }, 10*time.Second, time.Millisecond)
	}
	stop()
	wg.Wait()
	t.Logf("%d calls and %d webhooks over %d replacements", calls.Load(), webhooks.Load(), rounds)
	r.Verify(as(rounds))

	require.NoError(t, g.Reload(func(c *server.Config) { withSecrets(secret(rounds), "")(c) }))
	url := "http://" + g.Webhook + webhook.Path(Channel, secret(rounds-1))
	assert.Equal(t, http.StatusNotFound, NewRecorder(t).Post(url, Channel, received(0, "Hi")...), "the grace of the old secret is over")
}

// Each field is either taken by a reload or says that it needs a restart.
func TestEverySettingIsReloadedOrNeedsARestart(t *testing.T) {
	var reloaded []string
	for field := range reflect.TypeFor[server.Config]().Fields() {
		if _, fixed := field.Tag.Lookup("restart"); !fixed {
			reloaded = append(reloaded, field.Name)
		}
	}
	assert.Equal(t, []string{
		"APIKey", "Callers", "Channels", "WebhookAllowFrom", "TrustedProxies", "EncryptionKeys", "Logger",
	}, reloaded)
}

func encryptionKey(n int) string { return fmt.Sprintf("the-encryption-key-of-the-tests-%d", n) }

func TestTheEncryptionKeyIsReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	with := func(keys ...string) func(*server.Config) {
		return func(c *server.Config) { c.DataDir, c.EncryptionKeys = dir, keys }
	}
	g, r := Start(t, with(encryptionKey(0))), NewRecorder(t)
	r.Subscribe("from the start", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	load, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	var posted atomic.Int64
	for worker := range 4 {
		wg.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				assert.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(worker*1_000_000+n, "Hi")...))
				posted.Add(1)
			}
		})
	}
	rounds := Rounds(10, 200)
	for n := range rounds {
		before := posted.Load()
		require.NoError(t, g.Reload(with(encryptionKey(n+1), encryptionKey(n))))
		require.Eventually(t, func() bool { return posted.Load() > before+8 }, 10*time.Second, time.Millisecond)
	}
	stop()
	wg.Wait()
	r.HangUp()
	with(encryptionKey(rounds))(&g.Config)
	r.Verify(g.Restart(t).Endpoints())
}

func TestAStreamEndsWithTheReasonForWhichItsCallerLostIt(t *testing.T) {
	onEachTransport(t, func(t *testing.T, transport Transport) {
		for name, tt := range map[string]struct {
			change func(*server.Config)
			reason string
		}{
			"its key is gone": {func(c *server.Config) { delete(c.Callers, "billing") }, "CREDENTIALS_INVALID"},
			"the action": {func(c *server.Config) {
				billing := c.Callers["billing"]
				billing.Actions = []auth.Action{auth.ActionSend}
				c.Callers["billing"] = billing
			}, "FORBIDDEN"},
			"the channel": {func(c *server.Config) {
				billing := c.Callers["billing"]
				billing.Channels = []string{"sales"}
				c.Callers["billing"] = billing
			}, "FORBIDDEN"},
		} {
			t.Run(name, func(t *testing.T) {
				g, r := Start(t, twoChannels), NewRecorder(t)
				as := func(key string) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key} }
				auditor := r.Subscribe("auditor", transport, as(auditorKey), &ongairv1.SubscribeRequest{})
				billing := NewRecorder(t).Subscribe("billing", transport, as(billingKey), &ongairv1.SubscribeRequest{})
				require.NoError(t, g.Reload(tt.change))
				assert.Equal(t, tt.reason, reasonOf(billing.Err()))
				require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...))
				assert.Len(t, auditor.Events(1), 1, "another caller's stream goes on")
			})
		}
	})
}

func TestAnOpenGatewayThatGetsCallersEndsItsStreams(t *testing.T) {
	g := Start(t)
	s := NewRecorder(t).Subscribe("anonymous", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	require.NoError(t, g.Reload(withKeys(billingKey)))
	assert.Equal(t, "CREDENTIALS_MISSING", reasonOf(s.Err()))
}

func TestAReloadThatIsWrongChangesNothing(t *testing.T) {
	g := Start(t, withKeys(billingKey))
	for name, tt := range map[string]struct {
		change func(*server.Config)
		says   string
	}{
		"a caller without rights": {func(c *server.Config) { c.Callers = map[string]auth.Caller{"new": {}} }, "caller new"},
		"no callers":              {func(c *server.Config) { c.Callers = nil }, "all callers"},
		"no channels":             {func(c *server.Config) { c.Channels = nil }, "no channel"},
		"a channel that cannot be": {func(c *server.Config) {
			c.Channels["new"] = server.Channel{BaseURL: "ftp://x", Token: "t", WebhookSecret: Secret}
		}, "channel new"},
		"another data directory": {func(c *server.Config) { c.DataDir += "-2" }, "data_dir needs a restart"},
		"an encryption key":      {func(c *server.Config) { c.EncryptionKeys = []string{encryptionKey(1)} }, "encryption key"},
		"another port":           {func(c *server.Config) { c.GRPCAddr = "127.0.0.1:1" }, "grpc_addr needs a restart"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, g.Reload(func(c *server.Config) {
				withSecrets("a-secret-that-must-not-come", "")(c)
				tt.change(c)
			}), tt.says)
			url := "http://" + g.Webhook + webhook.Path(Channel, "a-secret-that-must-not-come")
			assert.Equal(t, http.StatusNotFound, NewRecorder(t).Post(url, Channel, received(1, "Hi")...))
		})
	}
	_, s, _ := sendOverGRPC(t, Endpoints{GRPC: g.GRPC, APIKey: billingKey}, 10*time.Second, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hi"})
	assert.NoError(t, s.Err())
}

func TestAReloadKeepsTheCircuitOfAChannelThatStaysAsItIs(t *testing.T) {
	g := Start(t)
	g.Sandbox.SetFaults(sandbox.Fault{Status: 500})
	send := func(channel string) string {
		_, s, _ := sendOverGRPC(t, g.Endpoints(), 10*time.Second, &ongairv1.SendRequest{Channel: channel, ExternalId: Contact, Text: "Hi"})
		return reasonOf(s.Err())
	}
	for range 20 {
		send(Channel)
	}
	require.Equal(t, "ONGAIR_CIRCUIT_OPEN", send(Channel))
	require.NoError(t, g.Reload(func(c *server.Config) { c.Channels["sales"] = c.Channels[Channel] }))
	assert.Equal(t, "ONGAIR_CIRCUIT_OPEN", send(Channel))
	assert.Equal(t, "ONGAIR_FAILED", send("sales"), "a new channel begins anew")
}

// A certificate is replaced while calls are made, each on a connection of its own.
func TestACertificateIsReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	cert, key := Certificate(t, dir)
	g := Start(t, func(c *server.Config) { c.TLSCertFile, c.TLSKeyFile = cert, key })
	trusted := x509.NewCertPool()
	trust := func() {
		pem, err := os.ReadFile(cert)
		require.NoError(t, err)
		require.True(t, trusted.AppendCertsFromPEM(pem))
	}
	trust()
	dial := func() *grpc.ClientConn {
		conn, err := Dial(g.Endpoints(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: trusted.Clone()})))
		require.NoError(t, err)
		return conn
	}
	// serial returns that of the certificate that a port has now.
	serial := func(addr string) string {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: trusted.Clone()}}).DialContext(t.Context(), "tcp", addr)
		require.NoError(t, err)
		defer func() { assert.NoError(t, conn.Close()) }()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	ports := []string{g.GRPC, g.HTTP, g.Webhook, g.Admin}

	standing := dial()
	defer func() { assert.NoError(t, standing.Close()) }()
	stream, err := ongairv1.NewOngairServiceClient(standing).Subscribe(t.Context(), &ongairv1.SubscribeRequest{
		HeartbeatInterval: durationpb.New(100 * time.Millisecond),
	})
	require.NoError(t, err)
	for range 5 {
		before := serial(g.GRPC)
		Certificate(t, dir)
		trust()
		for _, port := range ports {
			assert.Equal(t, before, serial(port), "nothing changes by itself")
		}
		require.NoError(t, g.Reload(func(*server.Config) {}))
		for _, port := range ports {
			assert.NotEqual(t, before, serial(port))
		}
		conn := dial()
		_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		_, err = ongairv1.NewOngairServiceClient(standing).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		require.NoError(t, err, "a connection that stands goes on")
		_, err = stream.Recv()
		require.NoError(t, err)
	}

	// Half of a pair is no reason to fall over.
	now := serial(g.GRPC)
	require.NoError(t, os.WriteFile(key, []byte("half a key"), 0o600))
	require.ErrorContains(t, g.Reload(func(*server.Config) {}), "TLS certificate")
	assert.Equal(t, now, serial(g.GRPC))
}
