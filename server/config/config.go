// Package config has every setting of the gateway in one place: what there is, defaults,
// where settings are read from, what is wrong with them, and what a reload may change.
//
// Load reads settings from flags, which beat environment variables, which beat the config
// file, which beats the defaults. It returns everything that is wrong at once, each with
// its place: a line of the file, a flag or a variable. Check has the rules; they are the
// same wherever a setting comes from, and a Config that was not loaded is checked by them,
// too. Nothing in an error or a warning is a secret.
//
// A running gateway reads what somebody writes at any time, so that everything is bounded:
// the bytes of each file, the nesting of the YAML, what its aliases and variables are written
// out, and the problems that are listed. The work grows in proportion to the file.
// Loaded remembers the state of each file from before it was read. FilesChanged compares
// these states, so that nothing has to be read while no file changes.
package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"time"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/eventlog"
	"github.com/ongair/ongair-gateway/server/idempotency"
	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// Defaults of Config.
const (
	DefaultGRPCAddr    = "127.0.0.1:9090"
	DefaultHTTPAddr    = "127.0.0.1:8080"
	DefaultWebhookAddr = "127.0.0.1:8081"
	DefaultAdminAddr   = "127.0.0.1:9091"
	// DefaultGrace is less than the 10 s after which docker stop kills.
	DefaultGrace = 9 * time.Second

	DefaultRetentionAge    = eventlog.DefaultRetentionAge
	DefaultRetentionBytes  = eventlog.DefaultRetentionBytes
	DefaultDuplicateWindow = eventlog.DefaultDuplicateWindow
	DefaultRequestIDAge    = idempotency.DefaultKeep
)

// Config of a gateway. What has a tag "restart" is fixed while it runs, what has a tag
// "reload" may change; the tag is its name in the config file.
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
	// means that there is none. PreviousAPIKey is valid, too, while callers are given the
	// new one.
	APIKey         string `reload:"api_key"`
	PreviousAPIKey string `reload:"previous_api_key"`
	// Callers are further ones, by name. Without any caller the gateway is open, which
	// is allowed on loopback alone, unless InsecureNoAuthentication says otherwise.
	Callers                  map[string]auth.Caller `reload:"callers"`
	InsecureNoAuthentication bool                   `restart:"insecure_no_authentication"`
	// Channels are Ongair's, by name. At least one is required.
	Channels map[string]Channel `reload:"channels"`

	// WebhookAllowFrom are the networks that webhooks may come from; empty means all.
	// TrustedProxies are the ones whose X-Forwarded-For is believed.
	WebhookAllowFrom []netip.Prefix `reload:"webhook_allow_from"`
	TrustedProxies   []netip.Prefix `reload:"trusted_proxies"`

	// NATSURL is the JetStream that the log is kept on. Empty embeds one.
	NATSURL string `restart:"nats_url"`
	// DataDir is the directory of the embedded one.
	DataDir string `restart:"data_dir"`
	// EncryptionKeys, at most two and of 32 characters or more each, encrypt what is in DataDir, which has
	// to be a new one at the first start with a key: the first from now on, and any may be
	// what it was encrypted with.
	EncryptionKeys []string `reload:"encryption_key_file"`
	// RetentionAge, of 100 ms or more, and RetentionBytes, of 4 MiB or more, bound the log;
	// zero means its defaults.
	RetentionAge   time.Duration `restart:"retention_age"`
	RetentionBytes int64         `restart:"retention_bytes"`
	// DuplicateWindow is how long a message notification's id is remembered, to
	// drop its redeliveries: at least 100 ms, in about 165 bytes of memory an id. A restart
	// knows the ids again of what is stored, but not of what retention has removed.
	// Zero means the log's default; what is above RetentionAge counts as that.
	DuplicateWindow time.Duration `restart:"duplicate_window"`
	// RequestIDAge is how long the outcome of a call is kept under its request_id: at
	// least 2 minutes, so that it outlives the longest call. Zero means the default.
	RequestIDAge time.Duration `restart:"request_id_age"`
	// MaxConnections is how many connections each port has open at a time. Zero means
	// 16,384. What is above a quarter of the files that the process may have open counts
	// as that.
	MaxConnections int `restart:"max_connections"`
	// Grace is how long a stop waits for calls that are running: those that are not over
	// then are told whether they may have been made. Zero means the
	// default.
	Grace time.Duration `restart:"grace"`
	// LogLevel and LogFormat are how Logger, which is required, writes: whoever made it has
	// it follow a level that changed.
	LogLevel  slog.Level `reload:"log_level"`
	LogFormat string     `restart:"log_format"`
	Logger    *slog.Logger
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

// DefaultBaseURL is where Ongair is.
const DefaultBaseURL = "https://ongair.im"

// setDefaults fills in the settings that are not set.
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
		c.MaxConnections = listen.DefaultMaxConnections
	}
	c.MaxConnections = min(c.MaxConnections, listen.MaxConnections())
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
}

// WithDefaults returns the configuration with its defaults filled in.
func (c Config) WithDefaults() Config {
	c.setDefaults()
	return c
}

// AllCallers returns the callers, and the one that has APIKey.
func (c *Config) AllCallers() map[string]auth.Caller {
	callers := maps.Clone(c.Callers)
	if c.APIKey != "" {
		if callers == nil {
			callers = map[string]auth.Caller{}
		}
		keys := []string{c.APIKey}
		if c.PreviousAPIKey != "" {
			keys = append(keys, c.PreviousAPIKey)
		}
		callers[defaultCaller] = auth.Unrestricted(keys...)
	}
	return callers
}

// CallerCount returns how many callers there are; none means that the gateway is open.
func (c *Config) CallerCount() int {
	if _, named := c.Callers[defaultCaller]; c.APIKey != "" && !named {
		return len(c.Callers) + 1
	}
	return len(c.Callers)
}

// MaxStreams returns how many calls and streams a gRPC connection has at a time: as many
// as any caller may have, and at least the defaults. It is that high so that the limits of
// a caller, which return a reason, apply first; beyond it a client waits. It is fixed while
// the gateway runs: a caller that is given more needs another connection.
func (c *Config) MaxStreams() uint32 {
	most := uint64(auth.DefaultMaxStreams + auth.DefaultMaxInFlight)
	for _, caller := range c.Callers {
		streams, calls := cmp.Or(caller.MaxStreams, auth.DefaultMaxStreams), cmp.Or(caller.MaxInFlight, auth.DefaultMaxInFlight)
		most = max(most, uint64(streams)+uint64(calls)) // Check refuses negative ones
	}
	return uint32(min(most, math.MaxUint32))
}

// LoadTLS reads the files of TLS. It returns nil if there are none.
func (c *Config) LoadTLS() (*listen.TLS, error) {
	files, problem := c.loadTLS()
	if problem != nil {
		return nil, Problems{*problem}
	}
	return files, nil
}

func (c *Config) loadTLS() (*listen.TLS, *Problem) {
	if c.TLSCertFile == "" {
		return nil, nil
	}
	certificate, err := readCertificate(c.TLSCertFile, c.TLSKeyFile)
	if err != nil {
		return nil, &Problem{"tls_cert", fmt.Sprintf("TLS certificate in %s and %s: %v", c.TLSCertFile, c.TLSKeyFile, err)}
	}
	files := &listen.TLS{Certificate: certificate}
	if c.TLSClientCAFile == "" {
		return files, nil
	}
	authorities, err := readFile(c.TLSClientCAFile, maxFile)
	if err == nil {
		files.ClientCAs, err = listen.ParseCertPool(c.TLSClientCAFile, authorities)
	}
	if err != nil {
		return nil, &Problem{"tls_client_ca", fmt.Sprintf("authorities of client certificates: %v", err)}
	}
	return files, nil
}

// readCertificate is tls.LoadX509KeyPair with bounds.
func readCertificate(certFile, keyFile string) (tls.Certificate, error) {
	cert, err := readFile(certFile, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := readFile(keyFile, maxFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}
