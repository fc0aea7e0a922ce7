// Package config defines all settings of the gateway and their defaults. It reads and validates
// them. It also defines which settings a reload can change.
//
// Load reads settings in this order of precedence: flags, environment variables, the config file,
// defaults. It returns all problems at once. Each problem names its place, which is a line of the
// file, a flag or an environment variable. Check validates a Config, loaded or not. Errors and
// warnings contain no secrets.
//
// A running gateway reads these files again, possibly while they are edited. Therefore there are
// limits on the size of each file, the nesting of the YAML, the size after aliases and variables are
// expanded, and the number of listed problems. The work is proportional to the size of the file.
// Loaded stores the state that each file had just before it was read. FilesChanged compares these
// states, so that unchanged files are not read again.
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
	// DefaultGrace is less than the 10 s after which `docker stop` kills the process.
	DefaultGrace = 9 * time.Second

	DefaultRetentionAge    = eventlog.DefaultRetentionAge
	DefaultRetentionBytes  = eventlog.DefaultRetentionBytes
	DefaultDuplicateWindow = eventlog.DefaultDuplicateWindow
	DefaultRequestIDAge    = idempotency.DefaultKeep
)

// Config configures a gateway. Settings with the tag "restart" cannot change while it runs.
// Settings with the tag "reload" can. The tag is the name in the config file.
type Config struct {
	// GRPCAddr, HTTPAddr, WebhookAddr and AdminAddr are the addresses to listen on, HOST:PORT.
	// Port 0 means that the system chooses a free port. Empty means the default, which is on
	// loopback.
	GRPCAddr    string `restart:"grpc_addr"`
	HTTPAddr    string `restart:"http_addr"`
	WebhookAddr string `restart:"webhook_addr"`
	AdminAddr   string `restart:"admin_addr"`
	// TLSCertFile and TLSKeyFile are PEM files. If they are set, all ports use TLS.
	TLSCertFile string `restart:"tls_cert"`
	TLSKeyFile  string `restart:"tls_key"`
	// TLSClientCAFile is a PEM file with the authorities of client certificates on the gRPC and
	// HTTP ports. A client need not have a certificate, because it can send an API key instead.
	TLSClientCAFile string `restart:"tls_client_ca"`
	// APIKey is the key of a caller named "default", which has all rights. Empty means that
	// this caller does not exist. PreviousAPIKey is also valid, until all clients have the new
	// key.
	APIKey         string `reload:"api_key"`
	PreviousAPIKey string `reload:"previous_api_key"`
	// Callers are the other callers, by their names. If there is no caller at all, everybody may
	// call. That is allowed only on loopback, unless InsecureNoAuthentication is set.
	Callers                  map[string]auth.Caller `reload:"callers"`
	InsecureNoAuthentication bool                   `restart:"insecure_no_authentication"`
	// Channels are the channels of Ongair by name. At least one is required.
	Channels map[string]Channel `reload:"channels"`

	// WebhookAllowFrom are the networks that webhooks may come from. Empty means all.
	// TrustedProxies are the networks whose X-Forwarded-For is used.
	WebhookAllowFrom []netip.Prefix `reload:"webhook_allow_from"`
	TrustedProxies   []netip.Prefix `reload:"trusted_proxies"`
	// CORSOrigins are the origins of web pages that may call the HTTP port from a browser, such
	// as https://app.example.com. Empty means that only pages with the gateway's own origin may
	// call it.
	CORSOrigins []string `restart:"cors_origins"`

	// NATSURL is the URL of the NATS server with the log. Empty means an embedded one.
	NATSURL string `restart:"nats_url"`
	// NATSCredentialsFile (.creds), NATSNKeyFile (a seed), NATSUsername with NATSPasswordFile, and
	// NATSTokenFile are four ways to authenticate to NATS. At most one is set, and none if
	// NATSURL has credentials. The files are read at each connection.
	NATSCredentialsFile string `restart:"nats_credentials_file"`
	NATSNKeyFile        string `restart:"nats_nkey_file"`
	NATSUsername        string `restart:"nats_username"`
	NATSPasswordFile    string `restart:"nats_password_file"`
	NATSTokenFile       string `restart:"nats_token_file"`
	// NATSTLSCAFile has the authorities of the NATS server's certificate. NATSTLSCertFile and
	// NATSTLSKeyFile are the client certificate. They are PEM files, read at each connection.
	NATSTLSCAFile   string `restart:"nats_tls_ca"`
	NATSTLSCertFile string `restart:"nats_tls_cert"`
	NATSTLSKeyFile  string `restart:"nats_tls_key"`
	// NATSDomain is the JetStream domain of the log, and NATSPrefix the beginning of the names of
	// its streams, buckets and subjects. Both have at most 32 characters. Empty means none.
	NATSDomain string `restart:"nats_domain"`
	NATSPrefix string `restart:"nats_prefix"`
	// NATSReplicas is the number of copies of the log, 1 to 5. Zero means that a stream keeps
	// its number, and that a new one has 1.
	NATSReplicas int `restart:"nats_replicas"`
	// NATSPlacementCluster and NATSPlacementTags select the NATS servers with the log. Empty means
	// that a stream stays where it is.
	NATSPlacementCluster string   `restart:"nats_placement_cluster"`
	NATSPlacementTags    []string `restart:"nats_placement_tags"`
	// DataDir is the directory of the embedded NATS server.
	DataDir string `restart:"data_dir"`
	// EncryptionKeys are the keys with which DataDir is encrypted. At the first start with a key,
	// DataDir must be empty or must not exist. There are at most two, of 32 or more characters.
	// DataDir may be encrypted with either key at the start. From then on the first key is used.
	EncryptionKeys []string `reload:"encryption_key_file"`
	// RetentionAge, at least 100 ms, and RetentionBytes, at least 4 MiB, bound the log. Zero
	// means the default.
	RetentionAge   time.Duration `restart:"retention_age"`
	RetentionBytes int64         `restart:"retention_bytes"`
	// DuplicateWindow is the time for which the id of a message notification is remembered to
	// drop its redeliveries. It is at least 100 ms. Each id takes about 165 bytes of memory. A
	// restart restores the ids of stored events, but not of those that retention removed. Zero
	// means the default. The maximum is RetentionAge.
	DuplicateWindow time.Duration `restart:"duplicate_window"`
	// RequestIDAge is the time for which the outcome of a call is kept under its request_id. It
	// is at least 2 minutes, longer than any call. Zero means the default.
	RequestIDAge time.Duration `restart:"request_id_age"`
	// MaxConnections bounds the open connections of each port. Zero means 16,384. The maximum
	// is a quarter of the process' limit of open files.
	MaxConnections int `restart:"max_connections"`
	// Grace is the time for which a stop waits for running calls. If the stop ends a call, the
	// error of the call has the metadata "effect". Zero means the default.
	Grace time.Duration `restart:"grace"`
	// LogLevel and LogFormat configure Logger, which is required. The creator of Logger must
	// apply a changed LogLevel.
	LogLevel  slog.Level `reload:"log_level"`
	LogFormat string     `restart:"log_format"`
	Logger    *slog.Logger
}

// Channel configures one channel of an Ongair account.
type Channel struct {
	// BaseURL is the scheme, host and port of Ongair. Empty means DefaultBaseURL.
	BaseURL string
	// Token is the API token of the channel.
	Token string
	// WebhookSecret is the last part of the webhook's path: 22 to 256 letters, digits, "_" or
	// "-".
	WebhookSecret string
	// PreviousWebhookSecret is also valid, until Ongair has the new one.
	PreviousWebhookSecret string
	// WebhookUsername and WebhookPassword, if set, are required as HTTP basic authentication.
	// PreviousWebhookPassword is also valid, until Ongair has the new one.
	WebhookUsername, WebhookPassword, PreviousWebhookPassword string
	// AuthForm is the form of the Authorization header. With the zero value, the gateway detects
	// the form.
	AuthForm ongair.AuthForm
	// MaxInFlight bounds the concurrent calls to Ongair. Zero means ongair.DefaultMaxInFlight.
	// MaxRate bounds the calls per second. Zero means no bound.
	MaxInFlight int
	MaxRate     float64
}

// DefaultBaseURL is the base URL of Ongair.
const DefaultBaseURL = "https://ongair.im"

// setDefaults sets the defaults of settings that are not set.
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

// WithDefaults returns the configuration with its defaults.
func (c Config) WithDefaults() Config {
	c.setDefaults()
	return c
}

// AllCallers returns the callers, including the one with APIKey.
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

// CallerCount returns the number of callers. Zero means that the gateway is open.
func (c *Config) CallerCount() int {
	if _, named := c.Callers[defaultCaller]; c.APIKey != "" && !named {
		return len(c.Callers) + 1
	}
	return len(c.Callers)
}

// MaxStreams returns the maximum number of concurrent calls and streams on one gRPC connection.
// It is the highest sum of MaxStreams and MaxInFlight of any caller, and at least the sum of the
// defaults. It is so high that a caller reaches its own limits first, and gets an error with a
// reason. Above this number, a client library waits without an error. It does not change while
// the gateway runs. So if a reload raises a caller's limit, the caller may need a second
// connection to use all of it.
func (c *Config) MaxStreams() uint32 {
	most := uint64(auth.DefaultMaxStreams + auth.DefaultMaxInFlight)
	for _, caller := range c.Callers {
		streams, calls := cmp.Or(caller.MaxStreams, auth.DefaultMaxStreams), cmp.Or(caller.MaxInFlight, auth.DefaultMaxInFlight)
		most = max(most, uint64(streams)+uint64(calls)) // Check rejects negative limits
	}
	return uint32(min(most, math.MaxUint32))
}

// LoadTLS reads the TLS files. It returns nil if none are configured.
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

// readCertificate does the same as tls.LoadX509KeyPair, but limits the size of the files.
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
