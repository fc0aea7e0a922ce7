package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sync/errgroup"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

// defaultChannel is the name of the channel that is configured without a file.
const defaultChannel = "default"

// serveCmd has a flag for each setting. A flag beats its environment variable,
// which beats the file, which beats the default; so no flag has a default of
// kong's, which could not be told from a flag that was given.
//
// Secrets are no flags, which everyone on the machine could read: they come from
// the environment (ONGAIR_TOKEN, ONGAIR_WEBHOOK_SECRET, ONGAIR_GATEWAY_API_KEY)
// or from the file.
type serveCmd struct {
	Config string `env:"ONGAIR_GATEWAY_CONFIG" placeholder:"FILE" help:"YAML file with channels and settings."`

	Sandbox     bool   `env:"ONGAIR_GATEWAY_SANDBOX" help:"Run against an Ongair in this process, to try things out."`
	SandboxAddr string `env:"ONGAIR_GATEWAY_SANDBOX_ADDR" placeholder:"HOST:PORT" help:"Where the sandbox listens (127.0.0.1:4010, or any free port where that is taken)."`

	DataDir           string `env:"ONGAIR_GATEWAY_DATA_DIR" placeholder:"DIR" help:"Where the event log is (ongair-data)."`
	EncryptionKeyFile string `env:"ONGAIR_GATEWAY_ENCRYPTION_KEY_FILE" placeholder:"FILE" help:"Encrypt the event log, from its beginning on, with the key in this file, of 32 characters or more; an older one may be in a second line."`
	NATSURL           string `env:"ONGAIR_GATEWAY_NATS_URL" name:"nats-url" placeholder:"URL" help:"Keep the event log on this NATS server instead."`
	RetentionAge      string `env:"ONGAIR_GATEWAY_RETENTION_AGE" placeholder:"DURATION" help:"How long events are kept (168h)."`
	RetentionBytes    string `env:"ONGAIR_GATEWAY_RETENTION_BYTES" placeholder:"SIZE" help:"How much is kept, as in 10GiB (10GiB)."`
	DuplicateWindow   string `env:"ONGAIR_GATEWAY_DUPLICATE_WINDOW" placeholder:"DURATION" help:"How long a message's id is remembered, to drop its redeliveries; an id takes about 165 bytes of memory (2m)."`
	RequestIDAge      string `env:"ONGAIR_GATEWAY_REQUEST_ID_AGE" name:"request-id-age" placeholder:"DURATION" help:"How long the outcome of a call is kept under its request_id (24h)."`

	GRPCAddr    string `env:"ONGAIR_GATEWAY_GRPC_ADDR" name:"grpc-addr" placeholder:"HOST:PORT" help:"gRPC port (127.0.0.1:9090)."`
	HTTPAddr    string `env:"ONGAIR_GATEWAY_HTTP_ADDR" name:"http-addr" placeholder:"HOST:PORT" help:"HTTP port (127.0.0.1:8080)."`
	WebhookAddr string `env:"ONGAIR_GATEWAY_WEBHOOK_ADDR" placeholder:"HOST:PORT" help:"Webhook port, the one to expose (127.0.0.1:8081)."`
	AdminAddr   string `env:"ONGAIR_GATEWAY_ADMIN_ADDR" placeholder:"HOST:PORT" help:"Health and debugging port (127.0.0.1:9091)."`

	TLSCert     string `env:"ONGAIR_GATEWAY_TLS_CERT" name:"tls-cert" placeholder:"FILE" help:"PEM certificate: with it all ports speak TLS."`
	TLSKey      string `env:"ONGAIR_GATEWAY_TLS_KEY" name:"tls-key" placeholder:"FILE" help:"PEM key of the certificate."`
	TLSClientCA string `env:"ONGAIR_GATEWAY_TLS_CLIENT_CA" name:"tls-client-ca" placeholder:"FILE" help:"PEM authorities of client certificates, by which callers may be known."`

	WebhookAllowFrom string `env:"ONGAIR_GATEWAY_WEBHOOK_ALLOW_FROM" placeholder:"NETWORKS" help:"The networks that webhooks may come from, separated by commas."`
	TrustedProxies   string `env:"ONGAIR_GATEWAY_TRUSTED_PROXIES" placeholder:"NETWORKS" help:"The proxies whose X-Forwarded-For is believed, separated by commas."`

	MaxConnections string `env:"ONGAIR_GATEWAY_MAX_CONNECTIONS" placeholder:"N" help:"How many connections each port has open at a time; others wait (16384, and a quarter of the files that the process may have open at most)."`

	InsecureNoAuthentication string `env:"ONGAIR_GATEWAY_INSECURE_NO_AUTHENTICATION" placeholder:"BOOL" help:"Listen beyond this machine without asking anybody for a key: whoever reaches the gateway reads and writes to your customers (false)."`

	LogLevel  string `env:"ONGAIR_GATEWAY_LOG_LEVEL" placeholder:"LEVEL" help:"debug, info, warn or error (info)."`
	LogFormat string `env:"ONGAIR_GATEWAY_LOG_FORMAT" placeholder:"FORMAT" help:"text or json (text)."`
}

// Run runs the gateway until ctx ends.
func (c serveCmd) Run(ctx context.Context, s streams) error {
	cfg, logLevel, logFormat, err := c.settings()
	if err != nil {
		return usageError{err}
	}
	cfg.Logger, err = telemetry.NewLogger(s.err, logLevel, logFormat)
	if err != nil {
		return usageError{err}
	}
	if c.Sandbox {
		return serveWithSandbox(ctx, s, cfg, c.SandboxAddr)
	}
	before, err := c.load(cfg.Logger)
	if err != nil {
		return usageError{err}
	}
	gateway, err := server.New(before.cfg)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	ended, end := context.WithCancel(groupCtx)
	group.Go(func() error {
		defer end()
		return gateway.Run(groupCtx)
	})
	group.Go(func() error {
		c.reload(ended, gateway, before)
		return nil
	})
	return group.Wait()
}

// settings merges flags and environment, which kong has merged already, with the
// file and the defaults.
func (c serveCmd) settings() (cfg server.Config, logLevel, logFormat string, err error) {
	var file configFile
	if c.Config != "" {
		if file, err = readConfigFile(c.Config); err != nil {
			return cfg, "", "", err
		}
	}
	cfg = server.Config{
		GRPCAddr:        cmp.Or(c.GRPCAddr, string(file.GRPCAddr)),
		HTTPAddr:        cmp.Or(c.HTTPAddr, string(file.HTTPAddr)),
		WebhookAddr:     cmp.Or(c.WebhookAddr, string(file.WebhookAddr)),
		AdminAddr:       cmp.Or(c.AdminAddr, string(file.AdminAddr)),
		TLSCertFile:     cmp.Or(c.TLSCert, string(file.TLSCert)),
		TLSKeyFile:      cmp.Or(c.TLSKey, string(file.TLSKey)),
		TLSClientCAFile: cmp.Or(c.TLSClientCA, string(file.TLSClientCA)),
		NATSURL:         cmp.Or(c.NATSURL, string(file.NATSURL)),
		DataDir:         cmp.Or(c.DataDir, string(file.DataDir)),
		APIKey:          os.Getenv("ONGAIR_GATEWAY_API_KEY"),
	}
	encryptionKeys, err := text("").resolve("encryption_key_file", cmp.Or(text(c.EncryptionKeyFile), file.EncryptionKey))
	if err != nil {
		return cfg, "", "", err
	}
	if encryptionKeys != "" {
		cfg.EncryptionKeys = strings.Fields(encryptionKeys)
	}
	if cfg.DataDir == "" && !c.Sandbox {
		cfg.DataDir = "ongair-data"
	}
	if cfg.APIKey == "" {
		if cfg.APIKey, err = file.APIKey.resolve("api_key", file.APIKeyFile); err != nil {
			return cfg, "", "", err
		}
	}
	for _, d := range []struct {
		name, value, example string
		setting              *time.Duration
	}{
		{"retention age", cmp.Or(c.RetentionAge, string(file.RetentionAge)), "168h", &cfg.RetentionAge},
		{"duplicate window", cmp.Or(c.DuplicateWindow, string(file.DuplicateWindow)), "2m", &cfg.DuplicateWindow},
		{"request ID age", cmp.Or(c.RequestIDAge, string(file.RequestIDAge)), "24h", &cfg.RequestIDAge},
	} {
		if d.value == "" {
			continue
		}
		if *d.setting, err = time.ParseDuration(d.value); err != nil || *d.setting <= 0 {
			return cfg, "", "", fmt.Errorf("%s %q: want a duration as in %s", d.name, d.value, d.example)
		}
	}
	if size := cmp.Or(c.RetentionBytes, string(file.RetentionBytes)); size != "" {
		bytes, err := humanize.ParseBytes(size)
		if err != nil || bytes == 0 || bytes > 1<<62 {
			return cfg, "", "", fmt.Errorf("retention bytes %q: want a size as in 10GiB", size)
		}
		cfg.RetentionBytes = int64(bytes)
	}
	if err := cmp.Or(text(c.MaxConnections), file.MaxConnections).count("max connections", &cfg.MaxConnections); err != nil {
		return cfg, "", "", err
	}
	if insecure := cmp.Or(c.InsecureNoAuthentication, string(file.InsecureNoAuthentication)); insecure != "" {
		if cfg.InsecureNoAuthentication, err = strconv.ParseBool(insecure); err != nil {
			return cfg, "", "", fmt.Errorf("insecure no authentication %q: want true or false", insecure)
		}
	}
	if cfg.WebhookAllowFrom, err = networks("webhook allow from", cmp.Or(c.WebhookAllowFrom, string(file.WebhookAllowFrom))); err != nil {
		return cfg, "", "", err
	}
	if cfg.TrustedProxies, err = networks("trusted proxies", cmp.Or(c.TrustedProxies, string(file.TrustedProxies))); err != nil {
		return cfg, "", "", err
	}
	for name, in := range file.Callers {
		caller, err := in.caller()
		if err != nil {
			return cfg, "", "", fmt.Errorf("caller %s: %w", name, err)
		}
		if cfg.Callers == nil {
			cfg.Callers = map[string]auth.Caller{}
		}
		cfg.Callers[name] = caller
	}
	if cfg.Channels, err = c.channels(file); err != nil {
		return cfg, "", "", err
	}
	return cfg, cmp.Or(c.LogLevel, string(file.LogLevel), "info"), cmp.Or(c.LogFormat, string(file.LogFormat), telemetry.FormatText), nil
}

// channels are those of the file and the one of the environment.
func (c serveCmd) channels(file configFile) (map[string]server.Channel, error) {
	channels := map[string]server.Channel{}
	for name, in := range file.Channels {
		channel, err := in.channel()
		if err != nil {
			return nil, fmt.Errorf("channel %s: %w", name, err)
		}
		channels[name] = channel
	}
	if c.Sandbox {
		if len(channels) > 0 {
			return nil, fmt.Errorf("--sandbox makes its own channel: leave the channels out of %s", c.Config)
		}
		// The token of a real account stays out of it, even where it is set.
		return map[string]server.Channel{defaultChannel: {WebhookSecret: os.Getenv("ONGAIR_WEBHOOK_SECRET")}}, nil
	}
	fromEnv := server.Channel{
		BaseURL:       os.Getenv("ONGAIR_BASE_URL"),
		Token:         os.Getenv("ONGAIR_TOKEN"),
		WebhookSecret: os.Getenv("ONGAIR_WEBHOOK_SECRET"),

		PreviousWebhookSecret: os.Getenv("ONGAIR_PREVIOUS_WEBHOOK_SECRET"),
	}
	if fromEnv.Token != "" || fromEnv.WebhookSecret != "" {
		if _, taken := channels[defaultChannel]; taken {
			return nil, fmt.Errorf("channel %q is both in %s and in the environment", defaultChannel, c.Config)
		}
		channels[defaultChannel] = fromEnv
	}
	return channels, nil
}

// serveWithSandbox runs a gateway and an Ongair for it, and prints how to try
// them.
func serveWithSandbox(ctx context.Context, s streams, cfg server.Config, sandboxAddr string) error {
	if cfg.DataDir == "" && cfg.NATSURL == "" {
		dir, err := os.MkdirTemp("", "ongair-gateway-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // what is left is in the system's temporary folder
		cfg.DataDir = dir
	}
	box, err := newLocalSandbox(ctx, sandboxAddr)
	if err != nil {
		return err
	}
	defer box.close()
	channel := cfg.Channels[defaultChannel]
	channel.BaseURL, channel.Token = box.url(), box.token
	channel.WebhookSecret = cmp.Or(channel.WebhookSecret, randomSecret())
	cfg.Channels[defaultChannel] = channel
	gateway, err := server.New(cfg)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error { return gateway.Run(groupCtx) })
	group.Go(func() error {
		select {
		case <-groupCtx.Done():
			return nil
		case <-gateway.Ready():
		}
		if err := box.start(cfg, gateway.Addresses(), channel.WebhookSecret); err != nil {
			return err
		}
		printTryOut(s.out, cfg, gateway.Addresses(), box.url(), channel.WebhookSecret)
		return box.sandbox.Run(groupCtx, box.listener)
	})
	return group.Wait()
}
