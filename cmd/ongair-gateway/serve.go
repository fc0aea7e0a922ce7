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

// serveCmd has a flag for each setting. The order of precedence is flag, environment variable,
// config file, default. The flags have no defaults in kong, because those would take precedence
// over the config file.
//
// Secrets have no flags, because all users of the machine could read them. They come from the
// environment (ONGAIR_TOKEN, ONGAIR_WEBHOOK_SECRET, ONGAIR_GATEWAY_API_KEY and the variables for
// previous values) or from the config file.
type serveCmd struct {
	Config string `env:"ONGAIR_GATEWAY_CONFIG" placeholder:"FILE" help:"YAML file with channels and settings."`

	Sandbox     bool   `env:"ONGAIR_GATEWAY_SANDBOX" help:"Use a built-in sandbox instead of Ongair."`
	SandboxAddr string `env:"ONGAIR_GATEWAY_SANDBOX_ADDR" placeholder:"HOST:PORT" help:"Address of the sandbox (127.0.0.1:4010, or a free port if that is in use)."`

	DataDir           string `env:"ONGAIR_GATEWAY_DATA_DIR" placeholder:"DIR" help:"Directory of the event log (ongair-data)."`
	EncryptionKeyFile string `env:"ONGAIR_GATEWAY_ENCRYPTION_KEY_FILE" placeholder:"FILE" help:"File with the key that encrypts a new event log, of 32 or more characters. A second line may have the previous key."`
	NATSURL           string `env:"ONGAIR_GATEWAY_NATS_URL" name:"nats-url" placeholder:"URL" help:"Store the event log on this NATS server."`
	RetentionAge      string `env:"ONGAIR_GATEWAY_RETENTION_AGE" placeholder:"DURATION" help:"Time to keep events (168h)."`
	RetentionBytes    string `env:"ONGAIR_GATEWAY_RETENTION_BYTES" placeholder:"SIZE" help:"Maximum size of the event log (10GiB)."`
	DuplicateWindow   string `env:"ONGAIR_GATEWAY_DUPLICATE_WINDOW" placeholder:"DURATION" help:"Time to remember a message's id, to drop its redeliveries. Each id takes about 165 bytes of memory (2m)."`
	RequestIDAge      string `env:"ONGAIR_GATEWAY_REQUEST_ID_AGE" name:"request-id-age" placeholder:"DURATION" help:"Time to keep the outcome of a call with a request_id (24h)."`
	Grace             string `env:"ONGAIR_GATEWAY_GRACE" placeholder:"DURATION" help:"Time that a stop waits for running calls (9s)."`

	NATSCredentialsFile  string `env:"ONGAIR_GATEWAY_NATS_CREDENTIALS_FILE" name:"nats-credentials-file" placeholder:"FILE" help:"Credentials file of a NATS user, with its JWT and seed."`
	NATSNKeyFile         string `env:"ONGAIR_GATEWAY_NATS_NKEY_FILE" name:"nats-nkey-file" placeholder:"FILE" help:"File with the seed of an NKey for NATS."`
	NATSUsername         string `env:"ONGAIR_GATEWAY_NATS_USERNAME" name:"nats-username" placeholder:"NAME" help:"User name for NATS. Requires --nats-password-file."`
	NATSPasswordFile     string `env:"ONGAIR_GATEWAY_NATS_PASSWORD_FILE" name:"nats-password-file" placeholder:"FILE" help:"File with the password for NATS."`
	NATSTokenFile        string `env:"ONGAIR_GATEWAY_NATS_TOKEN_FILE" name:"nats-token-file" placeholder:"FILE" help:"File with a token for NATS."`
	NATSTLSCA            string `env:"ONGAIR_GATEWAY_NATS_TLS_CA" name:"nats-tls-ca" placeholder:"FILE" help:"PEM file with the authorities of the NATS server's certificate."`
	NATSTLSCert          string `env:"ONGAIR_GATEWAY_NATS_TLS_CERT" name:"nats-tls-cert" placeholder:"FILE" help:"PEM client certificate for NATS."`
	NATSTLSKey           string `env:"ONGAIR_GATEWAY_NATS_TLS_KEY" name:"nats-tls-key" placeholder:"FILE" help:"PEM key of the client certificate for NATS."`
	NATSDomain           string `env:"ONGAIR_GATEWAY_NATS_DOMAIN" name:"nats-domain" placeholder:"NAME" help:"JetStream domain of the event log."`
	NATSPrefix           string `env:"ONGAIR_GATEWAY_NATS_PREFIX" name:"nats-prefix" placeholder:"NAME" help:"Prefix of the names of all streams, buckets and subjects, so that several gateways can share a NATS account."`
	NATSReplicas         string `env:"ONGAIR_GATEWAY_NATS_REPLICAS" name:"nats-replicas" placeholder:"N" help:"Number of copies of the event log, 1 to 5. By default a stream keeps its number, and a new one has 1."`
	NATSPlacementCluster string `env:"ONGAIR_GATEWAY_NATS_PLACEMENT_CLUSTER" name:"nats-placement-cluster" placeholder:"NAME" help:"NATS cluster that stores the event log."`
	NATSPlacementTags    string `env:"ONGAIR_GATEWAY_NATS_PLACEMENT_TAGS" name:"nats-placement-tags" placeholder:"TAGS" help:"Tags of the NATS servers that store the event log, separated by commas."`

	GRPCAddr    string `env:"ONGAIR_GATEWAY_GRPC_ADDR" name:"grpc-addr" placeholder:"HOST:PORT" help:"Address of the gRPC port (127.0.0.1:9090)."`
	HTTPAddr    string `env:"ONGAIR_GATEWAY_HTTP_ADDR" name:"http-addr" placeholder:"HOST:PORT" help:"Address of the HTTP port (127.0.0.1:8080)."`
	WebhookAddr string `env:"ONGAIR_GATEWAY_WEBHOOK_ADDR" placeholder:"HOST:PORT" help:"Address of the webhook port, the only one to expose to the internet (127.0.0.1:8081)."`
	AdminAddr   string `env:"ONGAIR_GATEWAY_ADMIN_ADDR" placeholder:"HOST:PORT" help:"Address of the port for health and debugging (127.0.0.1:9091)."`

	TLSCert     string `env:"ONGAIR_GATEWAY_TLS_CERT" name:"tls-cert" placeholder:"FILE" help:"PEM certificate. If it is set, all ports use TLS."`
	TLSKey      string `env:"ONGAIR_GATEWAY_TLS_KEY" name:"tls-key" placeholder:"FILE" help:"PEM key of the certificate."`
	TLSClientCA string `env:"ONGAIR_GATEWAY_TLS_CLIENT_CA" name:"tls-client-ca" placeholder:"FILE" help:"PEM file with the authorities of client certificates, which identify callers."`

	WebhookAllowFrom string `env:"ONGAIR_GATEWAY_WEBHOOK_ALLOW_FROM" placeholder:"NETWORKS" help:"Networks that webhooks may come from, separated by commas."`
	TrustedProxies   string `env:"ONGAIR_GATEWAY_TRUSTED_PROXIES" placeholder:"NETWORKS" help:"Proxies whose X-Forwarded-For header is trusted, separated by commas."`
	CORSOrigins      string `env:"ONGAIR_GATEWAY_CORS_ORIGINS" name:"cors-origins" placeholder:"ORIGINS" help:"Origins of web pages that may call the HTTP port from a browser, such as https://app.example.com, separated by commas (none)."`

	MaxConnections string `env:"ONGAIR_GATEWAY_MAX_CONNECTIONS" placeholder:"N" help:"Maximum number of open connections of each port. More connections wait (16384, and at most a quarter of the limit of open files)."`

	InsecureNoAuthentication boolFlag `env:"ONGAIR_GATEWAY_INSECURE_NO_AUTHENTICATION" help:"Accept calls from other machines without a key. Every program that reaches the gateway can read messages and write to your customers (false)."`

	LogLevel  string `env:"ONGAIR_GATEWAY_LOG_LEVEL" placeholder:"LEVEL" help:"Log level: debug, info, warn or error (info)."`
	LogFormat string `env:"ONGAIR_GATEWAY_LOG_FORMAT" placeholder:"FORMAT" help:"Log format: text or json (text)."`
}

// source returns the source of the configuration.
func (c serveCmd) source() config.Source {
	return config.Source{
		File: c.Config,
		Flags: map[string]string{
			"data_dir":                   c.DataDir,
			"encryption_key_file":        c.EncryptionKeyFile,
			"nats_url":                   c.NATSURL,
			"nats_credentials_file":      c.NATSCredentialsFile,
			"nats_nkey_file":             c.NATSNKeyFile,
			"nats_username":              c.NATSUsername,
			"nats_password_file":         c.NATSPasswordFile,
			"nats_token_file":            c.NATSTokenFile,
			"nats_tls_ca":                c.NATSTLSCA,
			"nats_tls_cert":              c.NATSTLSCert,
			"nats_tls_key":               c.NATSTLSKey,
			"nats_domain":                c.NATSDomain,
			"nats_prefix":                c.NATSPrefix,
			"nats_replicas":              c.NATSReplicas,
			"nats_placement_cluster":     c.NATSPlacementCluster,
			"nats_placement_tags":        c.NATSPlacementTags,
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
			"cors_origins":               c.CORSOrigins,
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
	loaded, err := config.Load(c.source())
	if err != nil {
		return usageError{err}
	}
	level := &slog.LevelVar{}
	level.Set(loaded.Config.LogLevel)
	log, err := telemetry.NewLoggerFrom(s.err, level, loaded.Config.LogFormat)
	if err != nil {
		return usageError{err}
	}
	telemetry.RedirectGRPCLog(log)
	loaded.Config.Logger = log
	logWarnings(log, loaded)
	if c.Sandbox {
		return serveWithSandbox(ctx, s, loaded.Config, c.SandboxAddr, hangup)
	}
	gateway, err := server.New(loaded.Config)
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
		(&reloader{source: c.source(), gateway: gateway, level: level, log: log, current: loaded, last: loaded}).run(ended, hangup)
		return nil
	})
	return group.Wait()
}

// boolFlag is true if the flag is set without a value. It is empty if the flag is not set.
type boolFlag string

// Decode implements kong.MapperValue. It reads the value after "=", if any.
func (b *boolFlag) Decode(ctx *kong.DecodeContext) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		*b = "true"
		return nil
	}
	value, err := ctx.Scan.PopValue("true or false")
	*b = boolFlag(value.String())
	return err
}

// IsBool implements kong.BoolMapperValue. The flag does not require a value.
func (boolFlag) IsBool() bool { return true }

// serveWithSandbox runs a gateway with a sandbox, and prints examples.
func serveWithSandbox(ctx context.Context, s streams, cfg config.Config, sandboxAddr string, hangup hangups) error {
	if cfg.DataDir == "" && cfg.NATSURL == "" {
		dir, err := os.MkdirTemp("", "ongair-gateway-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }() // the directory is temporary anyway
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
				cfg.Logger.Info("configuration not reloaded: --sandbox requires a restart")
			}
		}
	})
	return group.Wait()
}
