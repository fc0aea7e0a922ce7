package main

import (
	"cmp"
	"context"
	"log/slog"
	"os"

	"github.com/alecthomas/kong"
	"golang.org/x/sync/errgroup"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

// serveCmd has a flag for each setting. A flag beats its environment variable,
// which beats the file, which beats the default; so no flag has a default of
// kong's, which could not be told from a flag that was given.
//
// Secrets are no flags, which everyone on the machine could read: they come from
// the environment (ONGAIR_TOKEN, ONGAIR_WEBHOOK_SECRET, ONGAIR_GATEWAY_API_KEY and
// their previous ones) or from the file.
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
	Grace             string `env:"ONGAIR_GATEWAY_GRACE" placeholder:"DURATION" help:"How long a stop waits for calls that are running (9s)."`

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

	InsecureNoAuthentication boolFlag `env:"ONGAIR_GATEWAY_INSECURE_NO_AUTHENTICATION" help:"Listen beyond this machine without asking anybody for a key: whoever reaches the gateway reads and writes to your customers (false)."`

	LogLevel  string `env:"ONGAIR_GATEWAY_LOG_LEVEL" placeholder:"LEVEL" help:"debug, info, warn or error (info)."`
	LogFormat string `env:"ONGAIR_GATEWAY_LOG_FORMAT" placeholder:"FORMAT" help:"text or json (text)."`
}

// source returns where the configuration is read from.
func (c serveCmd) source() config.Source {
	return config.Source{
		File: c.Config,
		Flags: map[string]string{
			"data_dir":                   c.DataDir,
			"encryption_key_file":        c.EncryptionKeyFile,
			"nats_url":                   c.NATSURL,
			"retention_age":              c.RetentionAge,
			"retention_bytes":            c.RetentionBytes,
			"duplicate_window":           c.DuplicateWindow,
			"request_id_age":             c.RequestIDAge,
			"grace":                      c.Grace,
			"grpc_addr":                  c.GRPCAddr,
			"http_addr":                  c.HTTPAddr,
			"webhook_addr":               c.WebhookAddr,
			"admin_addr":                 c.AdminAddr,
			"tls_cert":                   c.TLSCert,
			"tls_key":                    c.TLSKey,
			"tls_client_ca":              c.TLSClientCA,
			"webhook_allow_from":         c.WebhookAllowFrom,
			"trusted_proxies":            c.TrustedProxies,
			"max_connections":            c.MaxConnections,
			"insecure_no_authentication": string(c.InsecureNoAuthentication),
			"log_level":                  c.LogLevel,
			"log_format":                 c.LogFormat,
		},
		Sandbox: c.Sandbox,
	}
}

// Run runs the gateway until ctx ends.
func (c serveCmd) Run(ctx context.Context, s streams, hangup hangups) error {
	before, err := config.Load(c.source())
	if err != nil {
		return usageError{err}
	}
	level := &slog.LevelVar{}
	level.Set(before.Config.LogLevel)
	log, err := telemetry.NewLoggerFrom(s.err, level, before.Config.LogFormat)
	if err != nil {
		return usageError{err}
	}
	telemetry.RedirectGRPCLog(log)
	before.Config.Logger = log
	logWarnings(log, before)
	if c.Sandbox {
		return serveWithSandbox(ctx, s, before.Config, c.SandboxAddr, hangup)
	}
	gateway, err := server.New(before.Config)
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
		(&reloader{source: c.source(), gateway: gateway, level: level, log: log, before: before, last: before}).run(ended, hangup)
		return nil
	})
	return group.Wait()
}

// boolFlag is a flag that is true where it has no value, and empty where it is not given.
type boolFlag string

// Decode is kong's: it takes what is after a "=", if there is one.
func (b *boolFlag) Decode(ctx *kong.DecodeContext) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		*b = "true"
		return nil
	}
	value, err := ctx.Scan.PopValue("true or false")
	*b = boolFlag(value.String())
	return err
}

// IsBool tells kong that a value is not needed.
func (boolFlag) IsBool() bool { return true }

// serveWithSandbox runs a gateway and an Ongair for it, and prints how to try
// them.
func serveWithSandbox(ctx context.Context, s streams, cfg config.Config, sandboxAddr string, hangup hangups) error {
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
	channel := cfg.Channels[config.DefaultChannel]
	channel.BaseURL, channel.Token = box.url(), box.token
	channel.WebhookSecret = cmp.Or(channel.WebhookSecret, randomSecret())
	cfg.Channels[config.DefaultChannel] = channel
	gateway, err := server.New(cfg)
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
		select {
		case <-groupCtx.Done():
			return nil
		case <-gateway.Ready():
		}
		if err := box.start(cfg, gateway.Addresses(), channel.WebhookSecret); err != nil {
			return err
		}
		printExamples(s.out, cfg, gateway.Addresses(), box.url(), channel.WebhookSecret)
		return box.sandbox.Run(groupCtx, box.listener)
	})
	group.Go(func() error {
		for {
			select {
			case <-ended.Done():
				return nil
			case <-hangup:
				cfg.Logger.Info("nothing to reload: with --sandbox the configuration stays as it was at the start")
			}
		}
	})
	return group.Wait()
}
