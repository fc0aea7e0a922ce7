package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"mime"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

func TestEveryCallSendsTheDocumentedRequest(t *testing.T) {
	box, url := silentSandbox(t)
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir())
	for _, tt := range []struct {
		name        string
		args        []string
		path        string
		contentType string
		params      map[string]string
		prints      string
	}{
		{
			"text", []string{"send", "--text", "Hello & goodbye"},
			"/api/v1/base/send", "application/json",
			map[string]string{"external_id": Contact, "external_contact_id": Contact, "text": "Hello & goodbye"},
			`"id":`,
		},
		{
			"text on a thread", []string{"send", "--text", "Hello", "--thread", "--external-contact-id", "wxid_1"},
			"/api/v1/base/send", "application/json",
			map[string]string{"external_id": Contact, "external_contact_id": "wxid_1", "text": "Hello", "thread": "true"},
			`"id":`,
		},
		{
			"image", []string{"send-image", "--image", "https://example.com/i.png", "--content-type", "image/png", "--text", "Look", "--no-thread"},
			"/api/v1/base/send_image", "multipart/form-data",
			map[string]string{
				"external_id": Contact, "external_contact_id": Contact, "image": "https://example.com/i.png",
				"content_type": "image/png", "text": "Look", "thread": "false",
			},
			`"id":`,
		},
		{
			"document", []string{"send-document", "--file-url", "https://example.com/d.pdf", "--caption", "Your invoice"},
			"/api/v1/base/send_document", "multipart/form-data",
			map[string]string{
				"external_id": Contact, "file_url": "https://example.com/d.pdf", "content_type": "application/pdf", "caption": "Your invoice",
			},
			`"id":`,
		},
		{
			"ticket", []string{"create-ticket", "--message-id", "m-1", "--name", "Asha Njeri", "--direction", "out", "--text", "Hi", "--email", "asha@example.com", "--phone-number", "+254722200200", "--profile-picture-url", "https://example.com/p.jpg"},
			"/api/v1/base/create_conversation", "application/json",
			map[string]string{
				"external_id": Contact, "external_contact_id": Contact, "message_id": "m-1", "name": "Asha Njeri", "direction": "OUT",
				"text": "Hi", "email": "asha@example.com", "phone_number": "+254722200200", "profile_picture_url": "https://example.com/p.jpg",
			},
			`"conversation_id":`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := command(t, []string{"ONGAIR_GATEWAY_ADDR=" + g.GRPC}, append(tt.args, "--external-id", Contact)...)
			require.Zero(t, got.code, got.errOut)
			assert.Contains(t, got.out, tt.prints)
			assert.True(t, json.Valid([]byte(got.out)), got.out)
			requests := box.Requests()
			last := requests[len(requests)-1]
			assert.Equal(t, http.MethodPost, last.Method)
			assert.Equal(t, tt.path, last.Path)
			mediaType, _, err := mime.ParseMediaType(last.Header.Get("Content-Type"))
			require.NoError(t, err)
			assert.Equal(t, tt.contentType, mediaType)
			assert.Equal(t, tt.params, last.Params)
			assert.Equal(t, "Token token:"+Token, last.Header.Get("Authorization"))
			assert.Empty(t, last.Header.Get("Idempotency-Key"))
		})
	}
}

func TestExitCodesOfAllErrors(t *testing.T) {
	box, url := silentSandbox(t)
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir())
	dead, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, dead.Close())
	for _, tt := range []struct {
		name string
		args []string
		set  *sandbox.Fault
		code int
		want string
	}{
		{"sent", []string{"--external-id", Contact, "--text", "Hello"}, nil, exitOK, ""},
		{"a missing flag", []string{"--text", "Hello"}, nil, exitUsage, "--external-id"},
		{"a bad field", []string{"--external-id", strings.Repeat("1", 257), "--text", "Hello"}, nil, exitUsage, "INVALID_REQUEST: external_id"},
		{"a contact that does not exist", []string{"--external-id", "+254705865640", "--text", "Hello"}, nil, exitRejected, "ONGAIR_REFUSED"},
		{"throttled", []string{"--external-id", Contact, "--text", "Hello"}, &sandbox.Fault{Status: 429}, exitUnavailable, "ONGAIR_THROTTLED"},
		{"no gateway", []string{"--addr", dead.Addr().String(), "--external-id", Contact, "--text", "Hello"}, nil, exitUnavailable, "connection refused"},
		{"a connection that breaks", []string{"--addr", abortingServer(t), "--external-id", Contact, "--text", "Hello"}, nil, exitUnknown, "error reading from server"},
		{"no port", []string{"--addr", "localhost", "--external-id", Contact, "--text", "Hello"}, nil, exitUsage, "HOST:PORT"},
		{"a URL", []string{"--addr", "http://localhost:9090", "--external-id", Contact, "--text", "Hello"}, nil, exitUsage, "HOST:PORT"},
		{"Ongair failed", []string{"--external-id", Contact, "--text", "Hello"}, &sandbox.Fault{Status: 500}, exitUnknown, "ONGAIR_FAILED"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			box.SetFaults()
			if tt.set != nil {
				box.SetFaults(*tt.set)
			}
			got := command(t, []string{"ONGAIR_GATEWAY_ADDR=" + g.GRPC}, append([]string{"send"}, tt.args...)...)
			assert.Equal(t, tt.code, got.code, got.errOut)
			assert.Contains(t, got.errOut, tt.want)
		})
	}
}

// abortingServer returns the address of a gRPC server that stops during its first call.
func abortingServer(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var server *grpc.Server
	server = grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, call grpc.ServerStream) error {
		go server.Stop()
		<-call.Context().Done()
		return nil
	}))
	go func() { _ = server.Serve(listener) }() // until it is stopped
	return listener.Addr().String()
}

func TestACallWithTheSameRequestIDIsSentOnce(t *testing.T) {
	box, url := silentSandbox(t)
	env, dir := oneChannel(url), t.TempDir()
	g := serve(t, env, "--data-dir", dir)
	send := func(text string) result {
		return command(t, nil, "send", "--addr", g.GRPC, "--external-id", Contact, "--text", text, "--request-id", "order 1017: shipped")
	}
	first := send("Hello")
	require.Zero(t, first.code, first.errOut)
	g.kill()
	g = serve(t, env, "--data-dir", dir)
	again := send("Hello")
	require.Zero(t, again.code, again.errOut)
	assert.Equal(t, strings.Replace(first.out, `"replayed":false`, `"replayed":true`, 1), again.out)
	other := send("Goodbye")
	assert.Equal(t, exitUsage, other.code)
	assert.Contains(t, other.errOut, "IDEMPOTENCY_KEY_REUSED")
	assert.Len(t, box.Requests(), 1)
}

func TestTailResumesAfterARestartOfTheGateway(t *testing.T) {
	_, url := silentSandbox(t)
	env, dir, r := oneChannel(url), t.TempDir(), NewRecorder(t)
	g := serve(t, env, "--data-dir", dir)
	tail := start(t, nil, "tail", "--addr", g.GRPC, "--from", "earliest", "--output", "json")
	r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(1, "before")...)
	tail.waitFor(t, "the first event", func() bool { return strings.Count(tail.out(), "\n") == 1 })
	g.kill()
	tail.waitFor(t, "reconnecting", func() bool { return strings.Contains(tail.errOut(), "reconnecting") })
	g = serve(t, env, "--data-dir", dir, "--grpc-addr", g.GRPC)
	r.Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel, received(2, "after")...)
	tail.waitFor(t, "the second event", func() bool { return strings.Count(tail.out(), "\n") >= 2 })
	assert.Zero(t, tail.stop(t))
	lines := strings.Split(strings.TrimSuffix(tail.out(), "\n"), "\n")
	require.Len(t, lines, 2, "each event once")
	assert.Contains(t, lines[0], `"text":"before"`)
	assert.Contains(t, lines[1], `"text":"after"`)

	var e struct{ Cursor string }
	require.NoError(t, json.Unmarshal([]byte(lines[0]), &e))
	resumed := start(t, nil, "tail", "--addr", g.GRPC, "--from", e.Cursor)
	resumed.waitFor(t, "the event after the cursor", func() bool { return strings.Contains(resumed.out(), "after") })
	assert.NotContains(t, resumed.out(), "before")
	filtered := start(t, nil, "tail", "--addr", g.GRPC, "--from", "2020-01-01T00:00:00Z", "--event-types", "message_received")
	filtered.waitFor(t, "both events", func() bool { return strings.Count(filtered.out(), "\n") == 2 })
}

func TestTailPrintsAFatalError(t *testing.T) {
	g := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--from", "yesterday"}, exitUsage, "CURSOR_MALFORMED"},
		{[]string{"--channels", "nowhere"}, exitRejected, "CHANNEL_UNKNOWN"},
		{[]string{"--event-types", "no_such"}, exitUsage, "no_such"},
		{[]string{"--output", "xml"}, exitUsage, "xml"},
	} {
		got := command(t, []string{"ONGAIR_GATEWAY_ADDR=" + g.GRPC}, append([]string{"tail"}, tt.args...)...)
		assert.Equal(t, tt.code, got.code, tt.args)
		assert.Contains(t, got.errOut, tt.want)
	}
}

func TestTailEscapesControlCharacters(t *testing.T) {
	_, url := silentSandbox(t)
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir())
	NewRecorder(t).Post(g.webhookURL(config.DefaultChannel), config.DefaultChannel,
		Form("notification_type", "\x1b[2JType", "external_contact_id", "a\nb", "x\x1b", "\x1b[31mred")...)
	tail := start(t, nil, "tail", "--addr", g.GRPC, "--from", "earliest")
	tail.waitFor(t, "the event", func() bool { return strings.HasSuffix(tail.out(), "\n") })
	assert.NotContains(t, tail.out(), "\x1b")
	assert.Equal(t, 1, strings.Count(tail.out(), "\n"))
}

func TestAKeyAndTLSProtectTheCallersPorts(t *testing.T) {
	cert, key := Certificate(t, t.TempDir())
	const apiKey = "a-key-for-tests-only"
	g := serve(t, []string{"ONGAIR_GATEWAY_API_KEY=" + apiKey}, "--sandbox", "--sandbox-addr=127.0.0.1:0", "--tls-cert", cert, "--tls-key", key)
	args := []string{"send", "--addr", g.GRPC, "--external-id", Contact, "--text", "Hello"}
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no TLS", []string{"--api-key", apiKey}, exitUnavailable, "--tls-ca"},
		{"an untrusted certificate", []string{"--tls", "--api-key", apiKey}, exitUnavailable, "certificate"},
		{"no key", []string{"--tls-ca", cert}, exitRejected, "CREDENTIALS_MISSING"},
		{"a wrong key", []string{"--tls-ca", cert, "--api-key", apiKey + "!"}, exitRejected, "CREDENTIALS_INVALID"},
		{"the key", []string{"--tls-ca", cert, "--api-key", apiKey}, exitOK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := command(t, nil, append(args, tt.args...)...)
			assert.Equal(t, tt.code, got.code, got.errOut)
			assert.Contains(t, got.errOut, tt.want)
		})
	}
	// The sandbox posts its webhooks over TLS.
	tail := start(t, []string{"ONGAIR_GATEWAY_API_KEY=" + apiKey}, "tail", "--addr", g.GRPC, "--tls-ca", cert, "--from", "earliest")
	tail.waitFor(t, "the message", func() bool { return strings.Contains(tail.out(), "MessageSent") })
}

func TestACertificateReplacesAKey(t *testing.T) {
	dir := t.TempDir()
	authority := NewAuthority(t)
	cert, key := Certificate(t, dir)
	write := func(name, kind string, der []byte) (path string) {
		path = filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	client := authority.Client(t, []string{"spiffe://mesh/billing"}, nil)
	der, err := x509.MarshalPKCS8PrivateKey(client.PrivateKey)
	require.NoError(t, err)
	clientCert, clientKey := write("client.pem", "CERTIFICATE", client.Certificate[0]), write("client-key.pem", "PRIVATE KEY", der)
	config := filepath.Join(dir, "gateway.yaml")
	require.NoError(t, os.WriteFile(config, []byte(`callers: {billing: {certificates: ["spiffe://mesh/billing"], actions: [send], channels: ["*"]}}`), 0o600))
	g := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0", "--config", config,
		"--tls-cert", cert, "--tls-key", key, "--tls-client-ca", authority.File(t, dir))
	send := []string{"send", "--addr", g.GRPC, "--external-id", Contact, "--text", "Hello", "--tls-ca", cert}
	got := command(t, nil, append(send, "--tls-cert", clientCert, "--tls-key", clientKey)...)
	assert.Equal(t, exitOK, got.code, got.errOut)
	got = command(t, nil, send...)
	assert.Equal(t, exitRejected, got.code, got.errOut)
	got = command(t, nil, append(send, "--tls-cert", clientCert)...)
	assert.Equal(t, exitUsage, got.code, got.errOut)
}
