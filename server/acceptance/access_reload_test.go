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

// withKeys has one caller, who may do everything, with API keys.
func withKeys(keys ...string) func(*config.Config) {
	return func(c *config.Config) { c.Callers = map[string]auth.Caller{"billing": auth.Unrestricted(keys...)} }
}

// withSecrets has the webhook secret of the channel, and the one before.
func withSecrets(secret, previous string) func(*config.Config) {
	return func(c *config.Config) {
		channel := c.Channels[Channel]
		channel.WebhookSecret, channel.PreviousWebhookSecret = secret, previous
		c.Channels[Channel] = channel
	}
}

// load is workers that do something over and over, with the secrets of a generation.
type load struct {
	t       *testing.T
	current atomic.Int64
	// done is with which generation each last did it, and times how often all did.
	done    []atomic.Int64
	times   atomic.Int64
	stopped atomic.Bool
	wg      sync.WaitGroup
}

// work has workers do something, each time with an id of its own, until stop.
func work(t *testing.T, workers int, do func(id int, generation int64)) *load {
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

// use has the workers use a generation, and waits until all have.
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

// verifyNoneEnded is Verify, which also takes streams that ended with a reason, where
// each has to go on.
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

// callREST calls over REST, and returns the HTTP status; 0 where there was no answer.
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
	_, err = io.Copy(io.Discard, response.Body) // so that the connection is used again
	assert.NoError(t, err)
	assert.NoError(t, response.Body.Close())
	return response.StatusCode
}

// TestSecretsAreReplacedUnderLoad replaces the key of a caller, the secret and the
// password of the webhooks and the channel's token over and over, each with a time in
// which two are valid, while calls are made and webhooks come in with whichever is the
// current one. No call fails, no webhook is refused, and no stream ends.
func TestSecretsAreReplacedUnderLoad(t *testing.T) {
	key := func(n int64) string { return fmt.Sprintf("ogk_the-key-of-the-tests-%d", n) }
	secret := func(n int64) string { return fmt.Sprintf("the-secret-of-the-webhooks-%d", n) }
	password := func(n int64) string { return fmt.Sprintf("the-password-of-the-webhooks-%d", n) }
	token := func(n int64) string { return fmt.Sprintf("the-token-of-the-channel-%d", n) }
	const none = -1
	// Of none there is no previous one.
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

	load := work(t, 4, func(id int, n int64) {
		assert.NoError(t, callGRPC(n))
		assert.Equal(t, http.StatusOK, callREST(t, as(n)))
		assert.Equal(t, http.StatusOK, r.Post(urlOf(n, n), Channel, received(id, "Hi")...))
	})
	rounds := int64(Rounds(20, 500))
	for n := int64(1); n <= rounds; n++ {
		g.Sandbox.SetTokens(token(n-1), token(n))
		// The streams' key stays, so that they may.
		keys := []string{key(0), key(n - 1), key(n)}
		if n == 1 {
			keys = keys[1:]
		}
		require.NoError(t, g.Reload(func(c *config.Config) {
			withKeys(keys...)(c)
			withChannel(n, n-1)(c)
		}))
		load.use(n)
		g.Sandbox.SetTokens(token(n)) // nobody needs the one before any more
	}
	previous := rounds - 1
	assert.NoError(t, callGRPC(previous), "within the grace")
	assert.Equal(t, http.StatusOK, r.Post(urlOf(previous, previous), Channel, received(-1, "Hi")...), "within the grace")
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
	load := work(t, 4, func(id int, _ int64) {
		// With a request_id, since its outcome is written to the same disk.
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
		why    string
		change func(*config.Config)
		status int
	}{
		{"anybody may", func(*config.Config) {}, http.StatusOK},
		{"others may", func(c *config.Config) { c.WebhookAllowFrom = networks("203.0.113.0/24") }, http.StatusNotFound},
		{"a proxy is believed", func(c *config.Config) { c.TrustedProxies = networks("127.0.0.0/8") }, http.StatusOK},
		{"the proxy speaks for somebody who may not", func(c *config.Config) { c.WebhookAllowFrom = networks("127.0.0.0/8") }, http.StatusNotFound},
		{"it is believed no more", func(c *config.Config) { c.TrustedProxies = nil }, http.StatusOK},
	} {
		require.NoError(t, g.Reload(step.change))
		assert.Equal(t, step.status, post(), step.why)
	}
}

func TestAReloadReplacesTheEncryptionKeyThatTheStartCouldNot(t *testing.T) {
	dir := t.TempDir()
	with := func(keys ...string) func(*config.Config) {
		return func(c *config.Config) { c.DataDir, c.EncryptionKeys = dir, keys }
	}
	g := Start(t, with(encryptionKey(0)))
	inTheWay := filepath.Join(dir, "encryption.new")
	require.NoError(t, os.Mkdir(inTheWay, 0o700))
	both := with(encryptionKey(1), encryptionKey(0))
	both(&g.Config)
	g = g.Restart(t)
	require.ErrorContains(t, g.Reload(both), "encryption key")
	require.NoError(t, os.Remove(inTheWay))
	require.NoError(t, g.Reload(both), "the configuration is what it was, the directory is not")
	with(encryptionKey(1))(&g.Config)
	g.Restart(t)
}

func TestAStreamEndsWithTheReasonForWhichItsCallerLostIt(t *testing.T) {
	onEachStream(t, func(t *testing.T, transport Transport) {
		for name, tt := range map[string]struct {
			change func(*config.Config)
			reason string
		}{
			"its key is gone": {func(c *config.Config) { delete(c.Callers, "billing") }, "CREDENTIALS_INVALID"},
			"the action": {func(c *config.Config) {
				billing := c.Callers["billing"]
				billing.Actions = []auth.Action{auth.ActionSend}
				c.Callers["billing"] = billing
			}, "FORBIDDEN"},
			"the channel": {func(c *config.Config) {
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
				assert.Len(t, auditor.Events(1), 1, "another caller's stream goes on")
				r.Verify(as(auditorKey))
			})
		}
	})
}

func TestConfiguringCallersEndsTheStreamsOfAnOpenGateway(t *testing.T) {
	g, r := Start(t), NewRecorder(t)
	s := r.Subscribe("anonymous", OverGRPC{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
	require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...))
	s.Events(1)
	require.NoError(t, g.Reload(withKeys(billingKey)))
	assert.Equal(t, "CREDENTIALS_MISSING", reasonOf(s.Err()))
	r.Verify(Endpoints{GRPC: g.GRPC, APIKey: billingKey})
}

func TestAReloadThatIsWrongChangesNothing(t *testing.T) {
	g := Start(t, withKeys(billingKey))
	for name, tt := range map[string]struct {
		change func(*config.Config)
		says   string
	}{
		"a caller without rights": {func(c *config.Config) { c.Callers = map[string]auth.Caller{"new": {}} }, "callers.new"},
		"no callers":              {func(c *config.Config) { c.Callers = nil }, "all callers"},
		"no channels":             {func(c *config.Config) { c.Channels = nil }, "no channel"},
		"a channel that cannot be": {func(c *config.Config) {
			c.Channels["new"] = config.Channel{BaseURL: "ftp://x", Token: "t", WebhookSecret: Secret}
		}, "channels.new"},
		"another data directory": {func(c *config.Config) { c.DataDir += "-2" }, "data_dir requires a restart"},
		"an encryption key":      {func(c *config.Config) { c.EncryptionKeys = []string{encryptionKey(1)} }, "encryption key"},
		"another port":           {func(c *config.Config) { c.GRPCAddr = "127.0.0.1:1" }, "grpc_addr requires a restart"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, g.Reload(func(c *config.Config) {
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
	require.NoError(t, g.Reload(func(c *config.Config) { c.Channels["sales"] = c.Channels[Channel] }))
	assert.Equal(t, "ONGAIR_CIRCUIT_OPEN", send(Channel))
	assert.Equal(t, "ONGAIR_FAILED", send("sales"), "a new channel begins anew")
}

// secureURL is where the webhooks of a gateway with a certificate go.
func secureURL(g *Gateway) string { return "https" + strings.TrimPrefix(g.WebhookURL(Channel), "http") }

// The names of a caller's certificates, and the authority that signs them, are replaced
// over and over, each with a time in which two are valid, while calls are made on
// connections of their own. No call fails, and no stream ends.
func TestClientCertificatesAreReplacedUnderLoad(t *testing.T) {
	dir := t.TempDir()
	cert, key := Certificate(t, dir)
	trusted := Trusting(t, cert)
	name := func(n int64) string { return fmt.Sprintf("spiffe://mesh/billing/%d", n) }
	clients := filepath.Join(dir, "clients.pem")
	believe := func(authorities ...*Authority) {
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
	believe(authority)
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
	standing := r.Subscribe("on a connection that stands", OverGRPC{}, as(authority.Client(t, []string{name(0)}, nil)), &ongairv1.SubscribeRequest{})
	first := authority.Client(t, []string{name(0)}, nil)
	certificates := []tls.Certificate{first}
	var mu sync.Mutex
	certificate := func(n int64) tls.Certificate {
		mu.Lock()
		defer mu.Unlock()
		return certificates[n]
	}
	load := work(t, 2, func(_ int, n int64) {
		conn := dial(certificate(n))
		_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		assert.NoError(t, err)
		assert.NoError(t, conn.Close())
	})
	for n := int64(1); n <= int64(Rounds(10, 200)); n++ {
		next := NewAuthority(t)
		believe(authority, next)
		names := withNames(0, n-1, n) // the stream's name stays, so that the stream may
		if n == 1 {
			names = withNames(0, 1)
		}
		require.NoError(t, g.Reload(names))
		mu.Lock()
		certificates = append(certificates, next.Client(t, []string{name(n)}, nil))
		mu.Unlock()
		load.use(n)
		believe(next)
		require.NoError(t, g.Reload(names))
		require.Equal(t, http.StatusOK, r.Post(secureURL(g), Channel, received(int(n), "Hi")...))
		standing.Events(int(n))
		authority = next
	}
	load.stop()
	r.Verify(as(certificate(int64(Rounds(10, 200)))))
	conn := dial(first)
	defer func() { assert.NoError(t, conn.Close()) }()
	_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
	assert.Equal(t, codes.Unavailable, status.Code(err), "nobody vouches for it any more")
}

// A certificate is replaced while calls are made, each on a connection of its own.
func TestACertificateIsReplacedUnderLoad(t *testing.T) {
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
	var streams []*Subscription
	for _, transport := range []Transport{OverConnection{ClientConn: standing}, OverNDJSON{}} {
		streams = append(streams, r.Subscribe("standing", transport, at(), &ongairv1.SubscribeRequest{}))
	}
	for n := range 5 {
		before := serial(g.GRPC)
		Certificate(t, dir)
		trust()
		for _, port := range ports {
			assert.Equal(t, before, serial(port), "nothing changes by itself")
		}
		require.NoError(t, g.Reload(func(*config.Config) {}))
		for _, port := range ports {
			assert.NotEqual(t, before, serial(port))
		}
		conn := dial()
		_, err := ongairv1.NewOngairServiceClient(conn).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		_, err = ongairv1.NewOngairServiceClient(standing).Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello"})
		require.NoError(t, err, "a connection that stands goes on")
		require.Equal(t, http.StatusOK, r.Post(secureURL(g), Channel, received(n, "Hi")...))
		for _, stream := range streams {
			stream.Events(n + 1)
		}
	}

	// Half of a pair is no reason to fall over.
	now := serial(g.GRPC)
	require.NoError(t, os.WriteFile(key, []byte("half a key"), 0o600))
	require.ErrorContains(t, g.Reload(func(*config.Config) {}), "TLS certificate")
	assert.Equal(t, now, serial(g.GRPC))
	r.Verify(at())
}
