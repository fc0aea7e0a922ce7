package servertest

import (
	"context"
	"maps"
	"net"
	"os"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
	"github.com/ongair/ongair-gateway/server/telemetry"
	"github.com/ongair/ongair-gateway/server/webhook"
)

// The settings of the gateways of tests.
const (
	// Channel is the name of the channel.
	Channel = "support"
	// Secret is the webhook secret of every channel.
	Secret = "a-secret-for-tests-only"
	// Token is the API token of every channel.
	Token = "meowmeowmeow"
	// Contact is a contact's id.
	Contact = "+254722200200"
)

// stopTimeout bounds the start and the stop of a gateway. It is well above the grace.
const stopTimeout = 30 * time.Second

// Gateway is a gateway in this process, with real ports and a sandbox instead of Ongair.
type Gateway struct {
	server.Addresses
	// Sandbox is the sandbox of every channel.
	Sandbox *sandbox.Sandbox
	// Config is the gateway's configuration.
	Config config.Config

	stop   func()
	reload func(config.Config) error
}

// Reload reloads the gateway with a changed configuration. change receives a copy of the
// current one.
func (g *Gateway) Reload(change func(*config.Config)) error {
	cfg := g.Config
	cfg.Channels, cfg.Callers = maps.Clone(cfg.Channels), maps.Clone(cfg.Callers)
	change(&cfg)
	givenConfig(cfg)
	if err := g.reload(cfg); err != nil {
		return err
	}
	g.Config = cfg
	return nil
}

// Start starts a gateway with a silent sandbox, and stops both at the end of the test. edit may
// change the configuration. The default data directory is new.
func Start(t T, edit ...func(*config.Config)) *Gateway {
	t.Helper()
	box, url := StartSandbox(t, sandbox.Config{Silent: true})
	cfg := config.Config{
		GRPCAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", WebhookAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0",
		Channels: map[string]config.Channel{Channel: {BaseURL: url, Token: Token, WebhookSecret: Secret}},
		DataDir:  TempDir(t),
		Grace:    5 * time.Second,
	}
	for _, e := range edit {
		e(&cfg)
	}
	if cfg.Logger == nil {
		logger, err := telemetry.NewLogger(newCheckedLog(t), "info", telemetry.FormatText)
		require.NoError(t, err)
		cfg.Logger = logger
	}
	return run(t, cfg, box)
}

// Restart stops the gateway, and starts it again on the same data with other ports.
func (g *Gateway) Restart(t T) *Gateway {
	t.Helper()
	g.Stop()
	return run(t, g.Config, g.Sandbox)
}

// Stop stops the gateway. It may be called more than once.
func (g *Gateway) Stop() { g.stop() }

// WebhookURL returns the URL for a channel's webhooks.
func (g *Gateway) WebhookURL(channel string) string {
	return "http://" + g.Webhook + webhook.Path(channel, Secret)
}

func run(t T, cfg config.Config, box *sandbox.Sandbox) *Gateway {
	t.Helper()
	givenConfig(cfg)
	gateway, err := server.New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- gateway.Run(ctx) }()
	select {
	case <-gateway.Ready():
	case err := <-ended:
		cancel()
		require.NoError(t, err, "the gateway ended before it was ready")
	case <-time.After(stopTimeout):
		cancel()
		require.FailNow(t, "the gateway did not become ready")
	}
	g := &Gateway{Addresses: gateway.Addresses(), Sandbox: box, Config: cfg, stop: cancel, reload: gateway.Reload}
	stopped := false
	g.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			require.NoError(t, err, "the gateway stopped with an error")
		case <-time.After(stopTimeout):
			require.FailNow(t, "the gateway did not stop")
		}
	}
	t.Cleanup(g.stop)
	return g
}

// TempDir creates a directory that is removed at the end of the test.
func TempDir(t T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ongair-gateway-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	return dir
}

// StartSandbox starts a sandbox with Token on a free port and returns its base URL. It ends
// with the test.
func StartSandbox(t T, cfg sandbox.Config) (*sandbox.Sandbox, string) {
	t.Helper()
	cfg.Token = Token
	box := sandbox.New(cfg)
	given.watch(box)
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // listening on loopback does not block
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- box.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		given.unwatch(box)
		require.NoError(t, <-ended, "the sandbox stopped with an error")
	})
	return box, "http://" + listener.Addr().String()
}
