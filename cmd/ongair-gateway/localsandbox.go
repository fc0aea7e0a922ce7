package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/sandbox"
	"github.com/ongair/ongair-gateway/server/webhook"
)

const (
	defaultSandboxAddr = "127.0.0.1:4010"
	// webhookTimeout bounds each webhook request of the sandbox.
	webhookTimeout = 30 * time.Second
)

// localSandbox is the sandbox of `serve --sandbox`. It listens before the gateway is created,
// because the gateway needs the sandbox's address. It starts after the gateway, because it needs
// the gateway's address.
type localSandbox struct {
	listener net.Listener
	token    string
	sandbox  *sandbox.Sandbox
}

// newLocalSandbox listens on addr. If addr is empty, it listens on the default port, or on a
// free port if that is in use.
func newLocalSandbox(ctx context.Context, addr string) (*localSandbox, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", cmp.Or(addr, defaultSandboxAddr))
	if err != nil && addr == "" {
		listener, err = config.Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, fmt.Errorf("sandbox port: %w", err)
	}
	return &localSandbox{listener: listener, token: randomSecret()}, nil
}

func (b *localSandbox) url() string { return "http://" + b.listener.Addr().String() }

// close closes the listener. Stopping the sandbox also closes it.
func (b *localSandbox) close() { _ = b.listener.Close() }

// start creates a sandbox that posts its webhooks to the gateway.
func (b *localSandbox) start(cfg config.Config, addrs server.Addresses, secret string) error {
	client, err := webhookClient(cfg.TLSCertFile)
	if err != nil {
		return err
	}
	b.sandbox = sandbox.New(sandbox.Config{
		Token:      b.token,
		WebhookURL: scheme(cfg) + addrs.Webhook + webhook.Path(config.DefaultChannel, secret),
		HTTPClient: client,
		Logger:     cfg.Logger.With(slog.String("part", "sandbox")),
	})
	return nil
}

// webhookClient returns a client that trusts the gateway's certificate for any host name. This
// is safe, because it connects only to a port of this process.
func webhookClient(certFile string) (*http.Client, error) {
	client := &http.Client{Timeout: webhookTimeout}
	if certFile == "" {
		return client, nil
	}
	roots, err := listen.ReadCertPool(certFile)
	if err != nil {
		return nil, err
	}
	client.Transport = &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12,
		// VerifyConnection verifies the certificate, but not the host name.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies.
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		},
	}}
	return client, nil
}

func scheme(cfg config.Config) string {
	if cfg.TLSCertFile != "" {
		return "https://"
	}
	return "http://"
}

// randomSecret returns a token or webhook secret of at least 130 bits.
func randomSecret() string { return rand.Text() }

// printExamples prints commands that can be pasted into another terminal.
func printExamples(out io.Writer, cfg config.Config, addrs server.Addresses, sandboxURL, secret string) {
	grpcFlags, curlFlags, grpcurlFlags := "", "", "-plaintext "
	if addrs.GRPC != config.DefaultGRPCAddr {
		grpcFlags += " --addr " + addrs.GRPC
	}
	if cfg.TLSCertFile != "" {
		grpcFlags += " --tls-ca " + cfg.TLSCertFile
		curlFlags = "--cacert " + cfg.TLSCertFile + " "
		grpcurlFlags = "-cacert " + cfg.TLSCertFile + " "
	}
	if cfg.APIKey != "" {
		// The key is not printed, because this output may be logged.
		grpcFlags += ` --api-key "$ONGAIR_GATEWAY_API_KEY"`
		curlFlags += `-H "Authorization: Bearer $ONGAIR_GATEWAY_API_KEY" `
		grpcurlFlags += `-H "authorization: Bearer $ONGAIR_GATEWAY_API_KEY" `
	}
	command := "go run ./cmd/ongair-gateway"
	if _, err := os.Stat("cmd/ongair-gateway"); err != nil {
		command = "ongair-gateway"
	}
	_, _ = fmt.Fprintf(out, // stdout may be closed
		`Ongair Gateway is running with a sandbox instead of Ongair. In other terminals:

  # print events as they arrive
  %[1]s tail%[2]s --from earliest

  # send a text, which the simulated contact answers
  %[1]s send%[2]s --external-id +254722200200 --text "Hello"

  # send and subscribe over REST, with one JSON object per line
  curl %[3]s-H 'Content-Type: application/json' -d '{"external_id":"+254722200200","text":"Hello"}' %[5]s%[6]s/v1/messages:send
  curl %[3]s-N '%[5]s%[6]s/v1/events:subscribe?position=earliest'

  # send with grpcurl
  grpcurl %[4]s-d '{"external_id":"+254722200200","text":"Hello"}' %[7]s ongair.v1.OngairService/Send

  # post a webhook as Ongair does, or let the sandbox post one
  curl -d 'notification_type=MessageReceived' -d id=1 -d text=Hi --data-urlencode 'external_contact_id=+254722200200' %[3]s%[5]s%[8]s%[9]s
  curl -d 'notification_type=TicketStatusUpdated' -d conversation_id=22 -d status=Closed %[10]s/_sandbox/webhooks

All functions of the sandbox: curl %[10]s/_sandbox/
`,
		command, grpcFlags, curlFlags, grpcurlFlags, scheme(cfg), addrs.HTTP, addrs.GRPC, addrs.Webhook,
		webhook.Path(config.DefaultChannel, secret), sandboxURL)
}
