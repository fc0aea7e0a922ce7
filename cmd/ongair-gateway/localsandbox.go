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
	// webhookTimeout is how long the sandbox waits for the gateway's answer.
	webhookTimeout = 30 * time.Second
)

// localSandbox is the Ongair of `serve --sandbox`. It listens before the gateway
// is made, which needs its address, and starts after, since it needs the
// gateway's.
type localSandbox struct {
	listener net.Listener
	token    string
	sandbox  *sandbox.Sandbox
}

// newLocalSandbox listens on addr; without one on the usual port, or on any free
// one where another sandbox has that.
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

// close gives the port back; the sandbox's own end does so, too.
func (b *localSandbox) close() { _ = b.listener.Close() }

// start makes the sandbox, which posts its webhooks to the gateway.
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

// webhookClient trusts the gateway's own certificate, whatever name it is for:
// it goes to a port that this process has open.
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
		// Replaced by the check below, which leaves out the name alone.
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

// randomSecret returns a token or webhook secret of 130 bits or more.
func randomSecret() string { return rand.Text() }

// printExamples prints commands that work as they are, in another terminal.
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
		// Named, not shown: what is printed here is likely to be logged.
		grpcFlags += ` --api-key "$ONGAIR_GATEWAY_API_KEY"`
		curlFlags += `-H "Authorization: Bearer $ONGAIR_GATEWAY_API_KEY" `
		grpcurlFlags += `-H "authorization: Bearer $ONGAIR_GATEWAY_API_KEY" `
	}
	command := "go run ./cmd/ongair-gateway"
	if _, err := os.Stat("cmd/ongair-gateway"); err != nil {
		command = "ongair-gateway"
	}
	_, _ = fmt.Fprintf(out, // a user who closed stdout does not want to know
		`Ongair Gateway is running, with a sandbox in Ongair's place. In other terminals:

  # watch what happens
  %[1]s tail%[2]s --from earliest

  # send a text; the contact answers it
  %[1]s send%[2]s --external-id +254722200200 --text "Hello"

  # the same over REST, and the stream as one JSON object a line
  curl %[3]s-H 'Content-Type: application/json' -d '{"external_id":"+254722200200","text":"Hello"}' %[5]s%[6]s/v1/messages:send
  curl %[3]s-N '%[5]s%[6]s/v1/events:subscribe?position=POSITION_EARLIEST'

  # the same with grpcurl
  grpcurl %[4]s-d '{"external_id":"+254722200200","text":"Hello"}' %[7]s ongair.v1.OngairService/Send

  # be Ongair: post a webhook, or make the sandbox post one
  curl -d 'notification_type=MessageReceived' -d id=1 -d text=Hi --data-urlencode 'external_contact_id=+254722200200' %[3]s%[5]s%[8]s%[9]s
  curl -d 'notification_type=TicketStatusUpdated' -d conversation_id=22 -d status=Closed %[10]s/_sandbox/webhooks

What else the sandbox can do: curl %[10]s/_sandbox/
`,
		command, grpcFlags, curlFlags, grpcurlFlags, scheme(cfg), addrs.HTTP, addrs.GRPC, addrs.Webhook,
		webhook.Path(config.DefaultChannel, secret), sandboxURL)
}
