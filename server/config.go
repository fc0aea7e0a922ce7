package server

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/jetstream"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// Defaults of Config.
const (
	DefaultGRPCAddr    = "127.0.0.1:9090"
	DefaultHTTPAddr    = "127.0.0.1:8080"
	DefaultWebhookAddr = "127.0.0.1:8081"
	DefaultAdminAddr   = "127.0.0.1:9091"
	DefaultGrace       = 10 * time.Second

	DefaultRetentionAge    = eventlog.DefaultRetentionAge
	DefaultRetentionBytes  = eventlog.DefaultRetentionBytes
	DefaultDuplicateWindow = eventlog.DefaultDuplicateWindow
	DefaultRequestIDAge    = idempotency.DefaultKeep
)

// Config of a gateway. What has a tag "restart" is fixed while it runs; the tag is its
// name in the config file.
type Config struct {
	// Addresses to listen on, host:port each; port 0 takes a free one. Empty
	// means the default, which is on loopback.
	GRPCAddr    string `restart:"grpc_addr"`
	HTTPAddr    string `restart:"http_addr"`
	WebhookAddr string `restart:"webhook_addr"`
	AdminAddr   string `restart:"admin_addr"`
	// TLSCertFile and TLSKeyFile are PEM files. With them all ports speak TLS.
	TLSCertFile string `restart:"tls_cert"`
	TLSKeyFile  string `restart:"tls_key"`
	// TLSClientCAFile is a PEM file of the authorities whose client certificates are
	// believed on the gRPC and HTTP ports. Certificates stay optional: a caller may have
	// a key instead.
	TLSClientCAFile string `restart:"tls_client_ca"`
	// APIKey is the key of a caller named "default", who may do everything. Empty
	// means that there is none.
	APIKey string
	// Callers are further ones, by name. Without any caller the gateway is open, which
	// is allowed on loopback alone, unless InsecureNoAuthentication says otherwise.
	Callers                  map[string]auth.Caller
	InsecureNoAuthentication bool `restart:"insecure_no_authentication"`
	// Channels are Ongair's, by name. At least one is required.
	Channels map[string]Channel

	// WebhookAllowFrom are the networks that webhooks may come from; empty means all.
	// TrustedProxies are the ones whose X-Forwarded-For is believed.
	WebhookAllowFrom, TrustedProxies []netip.Prefix

	// NATSURL is the JetStream that the log is kept on. Empty embeds one.
	NATSURL string `restart:"nats_url"`
	// DataDir is the directory of the embedded one.
	DataDir string `restart:"data_dir"`
	// EncryptionKeys, of 32 characters or more each, encrypt what is in DataDir, which has
	// to be a new one at the first start with a key: the first from now on, and any may be
	// what it was encrypted with.
	EncryptionKeys []string
	// RetentionAge and RetentionBytes bound the log; zero means its defaults.
	RetentionAge   time.Duration `restart:"retention_age"`
	RetentionBytes int64         `restart:"retention_bytes"`
	// DuplicateWindow is how long a message notification's id is remembered, to
	// drop its redeliveries: at least 100 ms, in about 165 bytes of memory an id.
	// Zero means the log's default; what is above RetentionAge counts as that.
	DuplicateWindow time.Duration `restart:"duplicate_window"`
	// RequestIDAge is how long the outcome of a call is kept under its request_id: at
	// least 2 minutes, so that it outlives the longest call. Zero means the default.
	RequestIDAge time.Duration `restart:"request_id_age"`
	// MaxConnections is how many connections each port has open at a time. Zero means
	// 16,384. What is above a quarter of the files that the process may have open counts
	// as that.
	MaxConnections int `restart:"max_connections"`
	// Grace is how long a stop waits for calls that are running. Zero means the
	// default.
	Grace time.Duration `restart:"the grace period"`
	// Logger is required.
	Logger *slog.Logger
}

// Channel is one channel of an Ongair account.
type Channel struct {
	// BaseURL is Ongair's scheme, host and port. Empty means DefaultBaseURL.
	BaseURL string
	// Token is the channel's API token.
	Token string
	// WebhookSecret is the last part of the webhook's path: 22 to 256 characters
	// of letters, digits, "_" and "-".
	WebhookSecret string
	// PreviousWebhookSecret is valid, too, while the new one is given to Ongair.
	PreviousWebhookSecret string
	// WebhookUsername and WebhookPassword, where they are not both empty, are asked
	// for as HTTP basic authentication.
	// PreviousWebhookPassword is valid, too, while the new one is given to Ongair.
	WebhookUsername, WebhookPassword, PreviousWebhookPassword string
	// AuthForm pins the form of the Authorization header.
	AuthForm ongair.AuthForm
	// MaxInFlight bounds the calls that are with Ongair at once; zero means
	// ongair.DefaultMaxInFlight. MaxRate bounds the calls a second; zero means no
	// bound.
	MaxInFlight int
	MaxRate     float64
}

// minRequestIDAge is longer than any call, its claim's grace and a try again.
const minRequestIDAge = 2 * time.Minute

// minDuplicateWindow is the shortest window that JetStream takes.
const minDuplicateWindow = 100 * time.Millisecond

// DefaultBaseURL is where Ongair is.
const DefaultBaseURL = "https://ongair.im"

const (
	channelNamePattern   = `^[A-Za-z0-9_-]{1,64}$`
	webhookSecretPattern = `^[A-Za-z0-9_-]{22,256}$`
	apiKeyPattern        = `^[!-~]{16,}$`
)

func (c *Config) setDefaults() {
	for _, d := range []struct {
		addr         *string
		defaultValue string
	}{
		{&c.GRPCAddr, DefaultGRPCAddr},
		{&c.HTTPAddr, DefaultHTTPAddr},
		{&c.WebhookAddr, DefaultWebhookAddr},
		{&c.AdminAddr, DefaultAdminAddr},
	} {
		if *d.addr == "" {
			*d.addr = d.defaultValue
		}
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = defaultMaxConnections
	}
	c.MaxConnections = min(c.MaxConnections, mostConnections())
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
}

// check returns everything that is wrong with the configuration.
func (c *Config) check() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Channels) == 0 {
		fail("no channel is configured: set ONGAIR_TOKEN and ONGAIR_WEBHOOK_SECRET, name channels in the config file, or try --sandbox")
	}
	for name, channel := range c.Channels {
		if !regexp.MustCompile(channelNamePattern).MatchString(name) {
			fail("channel %q: a name is 1 to 64 letters, digits, _ and -", name)
		}
		if channel.Token == "" {
			fail("channel %s has no token", name)
		}
		if !regexp.MustCompile(webhookSecretPattern).MatchString(channel.WebhookSecret) {
			fail("channel %s: the webhook secret must be 22 to 256 letters, digits, _ and - (it has %d characters)",
				name, len(channel.WebhookSecret))
		}
		if previous := channel.PreviousWebhookSecret; previous != "" && !regexp.MustCompile(webhookSecretPattern).MatchString(previous) {
			fail("channel %s: the previous webhook secret must be 22 to 256 letters, digits, _ and - (it has %d characters)",
				name, len(previous))
		}
		if channel.PreviousWebhookPassword != "" && channel.WebhookPassword == "" {
			fail("channel %s: a previous webhook password needs a new one beside it", name)
		}
		if strings.Contains(channel.WebhookUsername, ":") {
			fail("channel %s: the webhook user name cannot have a colon, which ends it", name)
		}
	}
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		fail("a TLS certificate and its key go together: set both files or neither")
	}
	if c.APIKey != "" && !regexp.MustCompile(apiKeyPattern).MatchString(c.APIKey) {
		fail("the API key must be 16 or more printable characters without spaces")
	}
	if c.TLSClientCAFile != "" && c.TLSCertFile == "" {
		fail("client certificates need a TLS certificate of the gateway's own")
	}
	errs = append(errs, c.checkCallers()...)
	for _, addr := range []string{c.GRPCAddr, c.HTTPAddr} {
		if c.CallerCount() == 0 && !c.InsecureNoAuthentication && !isLoopback(addr) {
			fail("%s can be reached from other machines, and no caller is configured: set ONGAIR_GATEWAY_API_KEY, name callers in the config file, or listen on 127.0.0.1", addr)
		}
	}
	if c.MaxConnections < 1 {
		fail("the most connections of a port cannot be %d", c.MaxConnections)
	}
	if c.DuplicateWindow != 0 && c.DuplicateWindow < minDuplicateWindow {
		fail("the duplicate window is %s: it has to be %s or more", c.DuplicateWindow, minDuplicateWindow)
	}
	if c.RequestIDAge != 0 && c.RequestIDAge < minRequestIDAge {
		fail("the request ID age is %s: it has to be %s or more", c.RequestIDAge, minRequestIDAge)
	}
	for _, key := range c.EncryptionKeys {
		if length := len(key); length < jetstream.MinKeyLength {
			fail("an encryption key has %d characters: it has to have %d or more", length, jetstream.MinKeyLength)
		}
	}
	if len(c.EncryptionKeys) > 0 && c.NATSURL != "" {
		fail("the encryption key is for the embedded log: what is on a NATS server is encrypted there")
	}
	if c.NATSURL == "" && c.DataDir == "" {
		fail("the log has no place: set the data directory or the NATS URL")
	}
	return errors.Join(errs...)
}

// isLoopback reports whether only this machine can connect to addr.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}
