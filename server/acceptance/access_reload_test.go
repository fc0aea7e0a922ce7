package acceptance

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// withKeys configures one unrestricted caller with API keys.
func withKeys(keys ...string) func(*config.Config) {
	return func(c *config.Config) { c.Callers = map[string]auth.Caller{"billing": auth.Unrestricted(keys...)} }
}

// withSecrets sets the current and the previous webhook secret of the channel.
func withSecrets(secret, previous string) func(*config.Config) {
	return func(c *config.Config) {
		channel := c.Channels[Channel]
		channel.WebhookSecret, channel.PreviousWebhookSecret = secret, previous
		c.Channels[Channel] = channel
	}
}

// load is a set of workers that repeat an action with the secrets of a generation.
type load struct {
	t       *testing.T
	current atomic.Int64
	// done has the generation of each worker's last action. times counts the actions of all.
	done    []atomic.Int64
	times   atomic.Int64
	stopped atomic.Bool
	wg      sync.WaitGroup
}

// startLoad starts workers that call do until stop, each time with a unique id.
func startLoad(t *testing.T, workers int, do func(id int, generation int64)) *load {
	t.Helper()
	l := &load{t: t, done: make([]atomic.Int64, workers)}
	t.Cleanup(l.stop)
	for worker := range workers {
		l.wg.Go(func() {
			for n := 0; !l.stopped.Load(); n++ {
				generation := l.current.Load()
				do(worker*1_000_000+n, generation)
				l.times.Add(1)
				l.done[worker].Store(generation)
			}
		})
	}
	return l
}

// use makes the workers use a generation, and waits until all have used it.
func (l *load) use(generation int64) {
	l.t.Helper()
	l.current.Store(generation)
	require.Eventually(l.t, func() bool {
		for i := range l.done {
			if l.done[i].Load() < generation {
				return false
			}
		}
		return true
	}, 30*time.Second, time.Millisecond)
}

func (l *load) stop() {
	l.stopped.Store(true)
	l.wg.Wait()
}

// subscribeAll subscribes over every transport.
func subscribeAll(r *Recorder, at Endpoints) (all []*Subscription) {
	for _, transport := range Transports() {
		all = append(all, r.Subscribe("from the start, "+transport.String(), transport, at, &ongairv1.SubscribeRequest{}))
	}
	return all
}

// verifyNoneEnded calls Verify, and fails the test if a stream has ended. Verify alone accepts
// streams that ended with a reason.
func verifyNoneEnded(t *testing.T, r *Recorder, at Endpoints, all []*Subscription) {
	t.Helper()
	r.CatchUp(at)
	for _, s := range all {
		if !s.Runs() {
			require.NoError(t, s.Err(), "a stream ended")
		}
	}
	r.Verify(at)
}

// callREST makes a call over REST, and returns the HTTP status, or 0 without an answer.
func callREST(t *testing.T, at Endpoints) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at.HTTP+"/v1/messages:send",
		strings.NewReader(`{"external_id":"`+Contact+`","text":"Hello"}`))
	if !assert.NoError(t, err) {
		return 0
	}
	if at.APIKey != "" {
		request.Header.Set("Authorization", "Bearer "+at.APIKey)
	}
	response, err := http.DefaultClient.Do(request)
	if !assert.NoError(t, err) {
		return 0
	}
	_, err = io.Copy(io.Discard, response.Body) // so that the connection is reused
	assert.NoError(t, err)
	assert.NoError(t, response.Body.Close())
	return response.StatusCode
}

// TestSecretsAreReplacedUnderLoad replaces a caller's key, the webhook secret and password, and the
// channel's token repeatedly. During each replacement two are valid. Meanwhile calls and webhooks
// use the current ones. No call fails, no webhook is rejected, and no stream ends.
func TestSecretsAreReplacedUnderLoad(t *testing.T) {
	key := func(n int64) string { return fmt.Sprintf("ogk_the-key-of-the-tests-%d", n) }
	secret := func(n int64) string { return fmt.Sprintf("the-secret-of-the-webhooks-%d", n) }
	password := func(n int64) string { return fmt.Sprintf("the-password-of-the-webhooks-%d", n) }
	token := func(n int64) string { return fmt.Sprintf("the-token-of-the-channel-%d", n) }
	const none = -1
	// previous may be none.
	withChannel := func(n, previous int64) func(*config.Config) {
		return func(c *config.Config) {
			channel := c.Channels[Channel]
			channel.WebhookUsername, channel.WebhookPassword, channel.PreviousWebhookPassword = "ongair", password(n), ""
			channel.WebhookSecret, channel.PreviousWebhookSecret = secret(n), ""
			if previous != none {
				channel.PreviousWebhookSecret, channel.PreviousWebhookPassword = secret(previous), password(previous)
			}
			channel.Token = token(n)
			c.Channels[Channel] = channel
			c.APIKey = "all-" + key(n)
		}
	}
	g, r := Start(t, withKeys(key(0)), withChannel(0, none)), NewRecorder(t)
	g.Sandbox.SetTokens(token(0))
	urlOf := func(secretOf, passwordOf int64) string {
		return "http://ongair:" + password(passwordOf) + "@" + g.Webhook + webhook.Path(Channel, secret(secretOf))
	}
	as := func(n int64) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key(n)} }
	streams := subscribeAll(r, as(0))
	conn, err := Dial(Endpoints{GRPC: g.GRPC})
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	callGRPC := func(n int64) error {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key(n))
		_, err := ongairv1.NewOngairServiceClient(conn).Send(ctx, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		return err
	}

	load := startLoad(t, 4, func(id int, n int64) {
		assert.NoError(t, callGRPC(n))
		assert.Equal(t, http.StatusOK, callREST(t, as(n)))
		assert.Equal(t, http.StatusOK, r.Post(urlOf(n, n), Channel, received(id, "Hi")...))
	})
	rounds := int64(Rounds(20, 500))
	for n := int64(1); n <= rounds; n++ {
		g.Sandbox.SetTokens(token(n-1), token(n))
		// The key of the streams stays valid, so that they continue.
		keys := []string{key(0), key(n - 1), key(n)}
		if n == 1 {
			keys = keys[1:]
		}
		require.NoError(t, g.Reload(func(c *config.Config) {
			withKeys(keys...)(c)
			withChannel(n, n-1)(c)
		}))
		load.use(n)
		g.Sandbox.SetTokens(token(n)) // the previous one is unused
	}
	previous := rounds - 1
	assert.NoError(t, callGRPC(previous), "during the grace")
	assert.Equal(t, http.StatusOK, r.Post(urlOf(previous, previous), Channel, received(-1, "Hi")...), "during the grace")
	require.NoError(t, g.Reload(func(c *config.Config) {
		withKeys(key(0), key(rounds))(c)
		withChannel(rounds, none)(c)
	}))
	assert.Equal(t, "CREDENTIALS_INVALID", reasonOf(callGRPC(previous)), "after the grace")
	assert.Equal(t, http.StatusUnauthorized, callREST(t, as(previous)), "after the grace")
	for _, old := range []string{urlOf(previous, rounds), urlOf(rounds, previous)} {
		assert.Equal(t, http.StatusNotFound, NewRecorder(t).Post(old, Channel, received(0, "Hi")...), "after the grace")
	}
	load.stop()
	t.Logf("%d calls and webhooks over %d replacements", load.times.Load(), rounds)
	verifyNoneEnded(t, r, as(rounds), streams)
}

func TestEverySettingIsReloadedOrNeedsARestart(t *testing.T) {
	for field := range reflect.TypeFor[config.Config]().Fields() {
		_, reloaded := field.Tag.Lookup("reload")
		_, fixed := field.Tag.Lookup("restart")
		assert.True(t, reloaded != fixed || field.Name == "Logger", field.Name)
	}
}

func encryptionKey(n int) string { return fmt.Sprintf("the-encryption-key-of-the-tests-%d", n) }

func TestTheEncryptionKeyIsReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	with := func(keys ...string) func(*config.Config) {
		return func(c *config.Config) { c.DataDir, c.EncryptionKeys = dir, keys }
	}
	g, r := Start(t, with(encryptionKey(0))), NewRecorder(t)
	at := g.Endpoints()
	streams := subscribeAll(r, at)
	conn, err := Dial(at)
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	load := startLoad(t, 4, func(id int, _ int64) {
		// With a request_id, because its outcome is written to the same disk.
		_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{
			RequestId: strconv.Itoa(id), ExternalId: Contact, Text: "Hello",
		})
		assert.NoError(t, err)
		assert.Equal(t, http.StatusOK, callREST(t, at))
		assert.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(id, "Hi")...))
	})
	rounds := Rounds(10, 200)
	for n := range rounds {
		require.NoError(t, g.Reload(with(encryptionKey(n+1), encryptionKey(n))))
		load.use(int64(n + 1))
	}
	load.stop()
	verifyNoneEnded(t, r, at, streams)
	with(encryptionKey(rounds))(&g.Config)
	r.Verify(g.Restart(t).Endpoints())
}

func TestSendersOfWebhooksAreReloaded(t *testing.T) {
	g := Start(t)
	post := func() int {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.WebhookURL(Channel), strings.NewReader("a=b"))
		require.NoError(t, err)
		request.Header.Set("X-Forwarded-For", "203.0.113.9")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	networks := func(one string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(one)} }
	for _, step := range []struct {
		name   string
		change func(*config.Config)
		status int
	}{
		{"any sender is allowed", func(*config.Config) {}, http.StatusOK},
		{"the sender's network is not allowed", func(c *config.Config) { c.WebhookAllowFrom = networks("203.0.113.0/24") }, http.StatusNotFound},
		{"the proxy is trusted, and its client is allowed", func(c *config.Config) { c.TrustedProxies = networks("127.0.0.0/8") }, http.StatusOK},
		{"the client of the proxy is not allowed", func(c *config.Config) { c.WebhookAllowFrom = networks("127.0.0.0/8") }, http.StatusNotFound},
		{"the proxy is not trusted", func(c *config.Config) { c.TrustedProxies = nil }, http.StatusOK},
	} {
		require.NoError(t, g.Reload(step.change))
		assert.Equal(t, step.status, post(), step.name)
	}
}

func TestAReloadRetriesAFailedReplacementOfTheEncryptionKey(t *testing.T) {
	dir := t.TempDir()
	with := func(keys ...string) func(*config.Config) {
		return func(c *config.Config) { c.DataDir, c.EncryptionKeys = dir, keys }
	}
	g := Start(t, with(encryptionKey(0)))
	obstacle := filepath.Join(dir, "encryption.new")
	require.NoError(t, os.Mkdir(obstacle, 0o700))
	both := with(encryptionKey(1), encryptionKey(0))
	both(&g.Config)
	g = g.Restart(t)
	require.ErrorContains(t, g.Reload(both), "encryption key")
	require.NoError(t, os.Remove(obstacle))
	require.NoError(t, g.Reload(both), "the same configuration is applied again")
	with(encryptionKey(1))(&g.Config)
	g.Restart(t)
}

func TestAStreamEndsWithAReasonIfItsCallerLosesAccess(t *testing.T) {
	onEachStream(t, func(t *testing.T, transport Transport) {
		for name, tt := range map[string]struct {
			change func(*config.Config)
			reason string
		}{
			"its caller is removed": {func(c *config.Config) { delete(c.Callers, "billing") }, "CREDENTIALS_INVALID"},
			"its caller loses the action": {func(c *config.Config) {
				billing := c.Callers["billing"]
				billing.Actions = []auth.Action{auth.ActionSend}
				c.Callers["billing"] = billing
			}, "FORBIDDEN"},
			"its caller loses the channel": {func(c *config.Config) {
				billing := c.Callers["billing"]
				billing.Channels = []string{"sales"}
				c.Callers["billing"] = billing
			}, "FORBIDDEN"},
		} {
			t.Run(name, func(t *testing.T) {
				g, r := Start(t, twoChannels), NewRecorder(t)
				as := func(key string) Endpoints { return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, APIKey: key} }
				auditor := r.Subscribe("auditor", transport, as(auditorKey), &ongairv1.SubscribeRequest{})
				billing := r.Subscribe("billing", Unnamed{Transport: transport}, as(billingKey), &ongairv1.SubscribeRequest{Channels: []string{Channel}})
				require.NoError(t, g.Reload(tt.change))
				assert.Equal(t, tt.reason, reasonOf(billing.Err()))
				require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...))
				assert.Len(t, auditor.Events(1), 1, "another caller's stream continues")
				r.Verify(as(auditorKey))
			})
		}
	})
}

func TestConfiguringCallersEndsAnonymousStreams(t *testing.T) {
	g, r := Start(t), NewRecorder(t)
	s := r.Subscribe("anonymous", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...))
	s.Events(1)
	require.NoError(t, g.Reload(withKeys(billingKey)))
	assert.Equal(t, "CREDENTIALS_MISSING", reasonOf(s.Err()))
	r.Verify(Endpoints{GRPC: g.GRPC, APIKey: billingKey})
}

func TestAnInvalidReloadChangesNothing(t *testing.T) {
	g := Start(t, withKeys(billingKey))
	for name, tt := range map[string]struct {
		change  func(*config.Config)
		message string
	}{
		"a caller without rights": {func(c *config.Config) { c.Callers = map[string]auth.Caller{"new": {}} }, "callers.new"},
		"no callers":              {func(c *config.Config) { c.Callers = nil }, "all callers"},
		"no channels":             {func(c *config.Config) { c.Channels = nil }, "no channel"},
		"an invalid channel": {func(c *config.Config) {
			c.Channels["new"] = config.Channel{BaseURL: "ftp://x", Token: "t", WebhookSecret: Secret}
		}, "channels.new"},
		"another data directory": {func(c *config.Config) { c.DataDir += "-2" }, "data_dir requires a restart"},
		"an encryption key":      {func(c *config.Config) { c.EncryptionKeys = []string{encryptionKey(1)} }, "encryption key"},
		"another port":           {func(c *config.Config) { c.GRPCAddr = "127.0.0.1:1" }, "grpc_addr requires a restart"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, g.Reload(func(c *config.Config) {
				withSecrets("a-secret-that-must-not-apply", "")(c)
				tt.change(c)
			}), tt.message)
			url := "http://" + g.Webhook + webhook.Path(Channel, "a-secret-that-must-not-apply")
			assert.Equal(t, http.StatusNotFound, NewRecorder(t).Post(url, Channel, received(1, "Hi")...))
		})
	}
	_, s, _ := sendOverGRPC(t, Endpoints{GRPC: g.GRPC, APIKey: billingKey}, 10*time.Second, &ongairv1.SendRequest{ExternalId: Contact, Text: "Hi"})
	assert.NoError(t, s.Err())
}

func TestAReloadKeepsTheCircuitOfAnUnchangedChannel(t *testing.T) {
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
	require.NoError(t, g.Reload(func(c *config.Config) { c.Channels["sales"] = c.Channels[Channel] }))
	assert.Equal(t, "ONGAIR_CIRCUIT_OPEN", send(Channel))
	assert.Equal(t, "ONGAIR_FAILED", send("sales"), "a new channel has a closed circuit")
}

// secureURL returns the URL for webhooks of a gateway with a certificate.
func secureURL(g *Gateway) string { return "https" + strings.TrimPrefix(g.WebhookURL(Channel), "http") }

// The names and the authority of a caller's certificates are replaced repeatedly. During each
// replacement two are valid. Meanwhile each call opens a new connection. No call fails, and no
// stream ends.
func TestClientCertificatesAreReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	cert, key := Certificate(t, dir)
	trusted := Trusting(t, cert)
	name := func(n int64) string { return fmt.Sprintf("spiffe://mesh/billing/%d", n) }
	clients := filepath.Join(dir, "clients.pem")
	trustClientsOf := func(authorities ...*Authority) {
		var all []byte
		for _, a := range authorities {
			one, err := os.ReadFile(a.File(t, t.TempDir()))
			require.NoError(t, err)
			all = append(all, one...)
		}
		require.NoError(t, os.WriteFile(clients, all, 0o600))
	}
	withNames := func(numbers ...int64) func(*config.Config) {
		return func(c *config.Config) {
			caller := auth.Unrestricted()
			for _, n := range numbers {
				caller.Certificates = append(caller.Certificates, name(n))
			}
			c.Callers = map[string]auth.Caller{"billing": caller}
		}
	}
	authority := NewAuthority(t)
	trustClientsOf(authority)
	g, r := Start(t, func(c *config.Config) {
		c.TLSCertFile, c.TLSKeyFile, c.TLSClientCAFile = cert, key, clients
		withNames(0)(c)
	}), NewRecorder(t)
	r.Trust(trusted)
	as := func(certificate tls.Certificate) Endpoints {
		return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, TLS: &tls.Config{RootCAs: trusted, Certificates: []tls.Certificate{certificate}}}
	}
	dial := func(certificate tls.Certificate) *grpc.ClientConn {
		conn, err := Dial(as(certificate))
		require.NoError(t, err)
		return conn
	}
	stream := r.Subscribe("on an existing connection", OverGRPC{}, as(authority.Client(t, []string{name(0)}, nil)), &ongairv1.SubscribeRequest{})
	first := authority.Client(t, []string{name(0)}, nil)
	certificates := []tls.Certificate{first}
	var mu sync.Mutex
	certificate := func(n int64) tls.Certificate {
		mu.Lock()
		defer mu.Unlock()
		return certificates[n]
	}
	load := startLoad(t, 2, func(_ int, n int64) {
		conn := dial(certificate(n))
		_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		assert.NoError(t, err)
		assert.NoError(t, conn.Close())
	})
	for n := int64(1); n <= int64(Rounds(10, 200)); n++ {
		next := NewAuthority(t)
		trustClientsOf(authority, next)
		names := withNames(0, n-1, n) // the name of the stream stays valid, so that it continues
		if n == 1 {
			names = withNames(0, 1)
		}
		require.NoError(t, g.Reload(names))
		mu.Lock()
		certificates = append(certificates, next.Client(t, []string{name(n)}, nil))
		mu.Unlock()
		load.use(n)
		trustClientsOf(next)
		require.NoError(t, g.Reload(names))
		require.Equal(t, http.StatusOK, r.Post(secureURL(g), Channel, received(int(n), "Hi")...))
		stream.Events(int(n))
		authority = next
	}
	load.stop()
	r.Verify(as(certificate(int64(Rounds(10, 200)))))
	conn := dial(first)
	defer func() { assert.NoError(t, conn.Close()) }()
	_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
	assert.Equal(t, codes.Unavailable, status.Code(err), "its authority is not trusted any more")
}

// A reload replaces the certificate for new connections. Existing connections and streams continue.
func TestACertificateIsReplacedByAReload(t *testing.T) {
	dir := t.TempDir()
	cert, key := Certificate(t, dir)
	g, r := Start(t, func(c *config.Config) { c.TLSCertFile, c.TLSKeyFile = cert, key }), NewRecorder(t)
	trusted := x509.NewCertPool()
	trust := func() {
		pem, err := os.ReadFile(cert)
		require.NoError(t, err)
		require.True(t, trusted.AppendCertsFromPEM(pem))
		r.Trust(trusted.Clone())
	}
	trust()
	at := func() Endpoints {
		return Endpoints{GRPC: g.GRPC, HTTP: g.HTTP, TLS: &tls.Config{RootCAs: trusted.Clone()}}
	}
	dial := func() *grpc.ClientConn {
		conn, err := Dial(at())
		require.NoError(t, err)
		return conn
	}
	// serial returns the serial number of a port's current certificate.
	serial := func(addr string) string {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: trusted.Clone()}}).DialContext(t.Context(), "tcp", addr)
		require.NoError(t, err)
		defer func() { assert.NoError(t, conn.Close()) }()
		return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	ports := []string{g.GRPC, g.HTTP, g.Webhook, g.Admin}

	existing := dial()
	defer func() { assert.NoError(t, existing.Close()) }()
	var streams []*Subscription
	for _, transport := range []Transport{OverConnection{ClientConn: existing}, OverNDJSON{}} {
		streams = append(streams, r.Subscribe("existing", transport, at(), &ongairv1.SubscribeRequest{}))
	}
	for n := range 5 {
		before := serial(g.GRPC)
		Certificate(t, dir)
		trust()
		for _, port := range ports {
			assert.Equal(t, before, serial(port), "only a reload replaces the certificate")
		}
		require.NoError(t, g.Reload(func(*config.Config) {}))
		for _, port := range ports {
			assert.NotEqual(t, before, serial(port))
		}
		conn := dial()
		_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		_, err = ongairv1.NewOngairServiceClient(existing).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		require.NoError(t, err, "an existing connection continues")
		require.Equal(t, http.StatusOK, r.Post(secureURL(g), Channel, received(n, "Hi")...))
		for _, stream := range streams {
			stream.Events(n + 1)
		}
	}

	// An invalid key fails the reload, and the gateway keeps its certificate.
	now := serial(g.GRPC)
	require.NoError(t, os.WriteFile(key, []byte("half a key"), 0o600))
	require.ErrorContains(t, g.Reload(func(*config.Config) {}), "TLS certificate")
	assert.Equal(t, now, serial(g.GRPC))
	r.Verify(at())
}
