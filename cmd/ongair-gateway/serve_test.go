package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	defer response.Body.Close()
	b, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(b)
}

func received(id int, text string) []Field {
	return Form("notification_type", "MessageReceived", "id", strconv.Itoa(id), "text", text, "name", "Asha Njeri", "external_contact_id", Contact)
}

func fromCursor(cursor string) *ongairv1.SubscribeRequest {
	return &ongairv1.SubscribeRequest{Start: &ongairv1.SubscribeRequest_Cursor{Cursor: cursor}}
}

// TestAKilledGatewayLosesNoAcknowledgedEvent kills a gateway under load, after a random number of
// webhooks and at any point of a batch.
func TestAKilledGatewayLosesNoAcknowledgedEvent(t *testing.T) {
	for _, storage := range storages() {
		for _, transport := range Transports() {
			t.Run(storage+" "+transport.String(), func(t *testing.T) {
				t.Parallel()
				killRepeatedly(t, emptyLog(t, storage), transport)
			})
		}
	}
}

// killRepeatedly kills a gateway with a log while webhooks arrive. A subscriber resumes after each
// kill.
func killRepeatedly(t *testing.T, log []string, transport Transport) {
	t.Helper()
	const senders = 64
	_, url := silentSandbox(t)
	env, r, random := oneChannel(url), NewRecorder(t), Random(t)
	cursor, posted := "", 0
	var inFlight atomic.Int64
	for round := range Rounds(3, 100) {
		g := serve(t, env, log...)
		req := fromCursor(cursor)
		if round == 0 {
			req = &ongairv1.SubscribeRequest{}
		}
		s := r.Subscribe(fmt.Sprint("round ", round), transport, g.endpoints(), req)
		var wg sync.WaitGroup
		next := make(chan int)
		for range senders {
			wg.Go(func() {
				for id := range next {
					inFlight.Add(1)
					r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(id, "Hi")...)
					inFlight.Add(-1)
				}
			})
		}
		for range 1 + random.IntN(600) {
			next <- posted
			posted++
		}
		// A batch and its sync take some milliseconds.
		<-time.After(time.Duration(random.Int64N(int64(5 * time.Millisecond))))
		t.Logf("round %d: killed with %d webhooks in flight", round, inFlight.Load())
		g.kill()
		close(next)
		wg.Wait()
		s.Killed()
		cursor = s.Cursor()
	}
	g := serve(t, env, log...)
	r.Subscribe("after all rounds", transport, g.endpoints(), fromCursor(cursor))
	r.Verify(g.endpoints())
	assert.Zero(t, g.stop(t))
}

func TestAnInterruptedWebhookIsStoredOnceWhenItIsRedelivered(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*testing.T, *gateway)
	}{
		{"SIGTERM", func(t *testing.T, g *gateway) { g.terminate(t) }},
		{"SIGKILL", func(_ *testing.T, g *gateway) { g.kill() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, url := silentSandbox(t)
			env, dir, r := oneChannel(url), t.TempDir(), NewRecorder(t)
			g := serve(t, env, "--data-dir", dir)
			const webhooks = 300
			answered := make(chan int, webhooks)
			var wg sync.WaitGroup
			for id := range webhooks {
				wg.Go(func() {
					answered <- r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(id+1, "Hi")...)
				})
			}
			for range webhooks / 4 {
				assert.Equal(t, http.StatusOK, <-answered)
			}
			tt.end(t, g)
			wg.Wait()
			r.HangUp()
			g.wait(t)

			g = serve(t, env, "--data-dir", dir)
			for id := range webhooks {
				require.Equal(t, http.StatusOK, r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(id+1, "Hi")...))
			}
			s := r.Subscribe("all", OverGRPC{}, g.endpoints(), &ongairv1.SubscribeRequest{
				Start: &ongairv1.SubscribeRequest_Position{Position: ongairv1.Position_POSITION_EARLIEST},
			})
			r.Verify(g.endpoints())
			assert.Equal(t, webhooks, len(s.Events(webhooks)))
		})
	}
}

func TestServeWithASandboxNeedsNoConfiguration(t *testing.T) {
	g := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	g.waitFor(t, "the examples", func() bool { return strings.Contains(g.out(), "_sandbox/\n") })
	tail := start(t, nil, "tail", "--addr", g.GRPC, "--from", "earliest", "--output", "json")
	sent := command(t, nil, "send", "--addr", g.GRPC, "--external-id", Contact, "--text", "Hello")
	require.Zero(t, sent.code, sent.errOut)
	assert.Regexp(t, `^\{"id":"\d+","conversation_id":"\d+","replayed":false\}\n$`, sent.out)
	tail.waitFor(t, "the message and its answer", func() bool { return strings.Count(tail.out(), "\n") >= 2 })
	lines := strings.Split(tail.out(), "\n")
	assert.Contains(t, lines[0], `"notification_type":"MessageSent"`)
	assert.Contains(t, lines[0], `"text":"Hello"`)
	assert.Contains(t, lines[1], `"notification_type":"MessageReceived"`)
	assert.Zero(t, tail.stop(t))
	assert.Zero(t, g.stop(t))
	assert.NoDirExists(t, filepath.Join(g.cmd.Dir, "ongair-data"), "the data is in a temporary folder")
}

func TestHealthAndReadiness(t *testing.T) {
	g := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	for _, path := range []string{"/livez", "/readyz"} {
		status, body := get(t, "http://"+g.Admin+path)
		assert.Equal(t, http.StatusOK, status, path)
		assert.Equal(t, "ok\n", body, path)
	}
	for _, other := range []string{g.Webhook, g.HTTP} {
		status, _ := get(t, "http://"+other+"/livez")
		assert.Equal(t, http.StatusNotFound, status, "only the admin port serves health checks")
	}
}

func TestAFailedStartPrintsItsReasonInOneLine(t *testing.T) {
	inUse, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer inUse.Close()
	_, url := silentSandbox(t)
	dir := t.TempDir()
	serve(t, oneChannel(url), "--data-dir", dir)
	file := func(content string) string { return writeFile(t, "gateway.yaml", content) }
	for _, tt := range []struct {
		name string
		env  []string
		args []string
		code int
		want string
	}{
		{"no channel", nil, nil, exitUsage, "channels: no channel is configured: set ONGAIR_TOKEN"},
		{"no token", []string{"ONGAIR_WEBHOOK_SECRET=" + Secret}, nil, exitUsage, "ONGAIR_TOKEN: channel default has no token"},
		{"a short webhook secret", []string{"ONGAIR_TOKEN=x", "ONGAIR_WEBHOOK_SECRET=short"}, nil, exitUsage, "ONGAIR_WEBHOOK_SECRET: must be 22 to 256"},
		{"an invalid base URL", append(oneChannel("ftp://ongair.im"), "X=1"), nil, exitUsage, "ONGAIR_BASE_URL: must begin with http:// or https://"},
		{"a data directory in use", oneChannel(url), []string{"--data-dir", dir}, exitFailed, dir + " is in use by another process"},
		{"a data directory that is a file", oneChannel(url), []string{"--data-dir", file("x")}, exitFailed, "not a directory"},
		{"a port in use", oneChannel(url), []string{"--http-addr", inUse.Addr().String()}, exitFailed, "HTTP port: listen tcp " + inUse.Addr().String()},
		{"an exposed address without a key", oneChannel(url), []string{"--grpc-addr", "0.0.0.0:0"}, exitUsage, "--grpc-addr: 0.0.0.0:0 is reachable from other machines"},
		{"a short API key", append(oneChannel(url), "ONGAIR_GATEWAY_API_KEY=short"), nil, exitUsage, "ONGAIR_GATEWAY_API_KEY: must be 16 or more"},
		{"a certificate without a key", oneChannel(url), []string{"--tls-cert", file("x")}, exitUsage, "--tls-cert: tls_cert and tls_key require each other"},
		{"an invalid certificate", oneChannel(url), []string{"--tls-cert", file("x"), "--tls-key", file("x")}, exitUsage, "--tls-cert: TLS certificate in "},
		{"no config file", nil, []string{"--config", "/no/such/file"}, exitUsage, "/no/such/file"},
		{"an invalid config file", nil, []string{"--config", file("channels: [")}, exitUsage, "gateway.yaml:2:1: did not find expected node content"},
		{"an unknown setting", nil, []string{"--config", file("channels: {a: {token: x, webhook_secret: " + Secret + "}}\nchanels: {}\n")}, exitUsage, "gateway.yaml:2: chanels: unknown setting"},
		{"an unset variable", nil, []string{"--config", file("channels:\n  a:\n    token: ${NOWHERE}\n    webhook_secret: " + Secret)}, exitUsage, "gateway.yaml:3: channels.a.token: environment variable NOWHERE is not set"},
		{"a missing secret file", nil, []string{"--config", file("channels:\n  a:\n    token_file: /no/such/secret\n    webhook_secret: " + Secret)}, exitUsage, "gateway.yaml:3: channels.a.token_file (/no/such/secret): cannot be read"},
		{"an unknown flag", nil, []string{"--no-such-flag"}, exitUsage, "--no-such-flag"},
		{"an invalid log level", oneChannel(url), []string{"--log-level", "loud"}, exitUsage, `--log-level: invalid log level "loud"`},
		{"an invalid retention age", oneChannel(url), []string{"--retention-age", "a week"}, exitUsage, `--retention-age: invalid duration "a week"`},
		{"an invalid duplicate window", oneChannel(url), []string{"--duplicate-window", "0s"}, exitUsage, `--duplicate-window: invalid duration "0s"`},
		{"a short duplicate window", oneChannel(url), []string{"--duplicate-window", "99ms"}, exitUsage, "--duplicate-window: 99ms is too short: use 100ms or more"},
		{"an invalid variable", append(oneChannel(url), "ONGAIR_GATEWAY_RETENTION_AGE=a week"), nil, exitUsage, `ONGAIR_GATEWAY_RETENTION_AGE: invalid duration "a week"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"serve"}, freePorts()...)
			if !strings.Contains(strings.Join(tt.args, " "), "--data-dir") {
				args = append(args, "--data-dir", t.TempDir())
			}
			got := command(t, tt.env, append(args, tt.args...)...)
			assert.Equal(t, tt.code, got.code)
			assert.Contains(t, got.errOut, tt.want)
			assert.Empty(t, got.out)
			message := strings.TrimSuffix(got.errOut, "Run \"ongair-gateway --help\" for usage.\n")
			assert.Equal(t, 1, strings.Count(message, "\n"), "one line: %s", message)
		})
	}
}

func TestSeveralChannelsInAFile(t *testing.T) {
	box, url := silentSandbox(t)
	token := writeFile(t, "token", Token+"\n")
	config := writeFile(t, "gateway.yaml", fmt.Sprintf(`
channels:
  support: {base_url: %[1]s, token: "${A_TOKEN}", webhook_secret: %[2]s-1}
  sales: {base_url: %[1]s/api/v1/base/, token_file: %[3]s, webhook_secret: %[2]s-2, auth_form: equals}
`, url, Secret, token))
	g := serve(t, []string{"A_TOKEN=" + Token}, "--config", config, "--data-dir", t.TempDir())

	none := command(t, nil, "send", "--addr", g.GRPC, "--external-id", Contact, "--text", "Hello")
	assert.Equal(t, exitUsage, none.code)
	assert.Contains(t, none.errOut, "CHANNEL_REQUIRED")
	unknown := command(t, nil, "send", "--addr", g.GRPC, "--channel", "nowhere", "--external-id", Contact, "--text", "Hello")
	assert.Equal(t, exitRejected, unknown.code)
	assert.Contains(t, unknown.errOut, "CHANNEL_UNKNOWN")
	for _, channel := range []string{"support", "sales"} {
		sent := command(t, nil, "send", "--addr", g.GRPC, "--channel", channel, "--external-id", Contact, "--text", "Hello")
		assert.Zero(t, sent.code, sent.errOut)
	}
	requests := box.Requests()
	require.Len(t, requests, 2)
	assert.Equal(t, "Token token:"+Token, requests[0].Header.Get("Authorization"))
	assert.Equal(t, "Token token="+Token, requests[1].Header.Get("Authorization"))
	assert.Equal(t, "/api/v1/base/send", requests[1].Path)
}
