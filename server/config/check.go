package config

import (
	"context"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/storage"
)

// Bounds of settings.
const (
	minSecretLength = 22
	maxSecretLength = 256
	minAPIKeyLength = 16

	// minRequestIDAge is longer than a call, the grace of its claim and a retry together.
	minRequestIDAge = 2 * time.Minute
	// minRetentionAge and minDuplicateWindow are the minimums of JetStream.
	minRetentionAge    = 100 * time.Millisecond
	minDuplicateWindow = 100 * time.Millisecond
	// minRetentionBytes is the maximum size of an event. A log with a smaller limit could not
	// store such an event.
	minRetentionBytes = storage.MaxPayload
	// maxEncryptionKeys is the maximum number of encryption keys, which are the current key and
	// the previous key.
	maxEncryptionKeys = 2
)

// Check returns all problems of the configuration as Problems. New and Reload reject a
// configuration with problems. The TLS files are the only files that Check reads.
func (c Config) Check() error {
	c.setDefaults()
	var problems Problems
	c.checkChannels(&problems)
	c.checkCallers(&problems)
	c.checkPorts(&problems)
	c.checkTLS(&problems)
	c.checkLog(&problems)
	return problems.err()
}

func (c *Config) checkChannels(problems *Problems) {
	if len(c.Channels) == 0 {
		problems.Add("channels", "no channel is configured: set ONGAIR_TOKEN and ONGAIR_WEBHOOK_SECRET, add channels to the config file, or use --sandbox")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Channels)) {
		if !isName(name) {
			problems.Add(SettingName("channels", name), "invalid name: use 1 to 64 letters, digits, _ or -")
		}
		c.Channels[name].check(name, problems)
	}
}

// check adds the problems of a channel.
func (c Channel) check(name string, problems *Problems) {
	fail := func(key, format string, args ...any) {
		problems.Add(SettingName("channels", name, key), format, args...)
	}
	if c.BaseURL != "" {
		if !strings.HasPrefix(c.BaseURL, "http://") && !strings.HasPrefix(c.BaseURL, "https://") {
			fail("base_url", "must begin with http:// or https://")
		} else if _, err := ongair.New(ongair.Config{BaseURL: c.BaseURL, Token: "any"}); err != nil {
			fail("base_url", "%v", err)
		}
	}
	if c.Token == "" {
		fail("token", "channel %s has no token", name)
	} else if _, err := ongair.New(ongair.Config{BaseURL: DefaultBaseURL, Token: c.Token}); err != nil {
		fail("token", "%v", err)
	}
	if c.WebhookSecret == "" {
		fail("webhook_secret", "channel %s has no webhook secret", name)
	}
	for _, secret := range []struct{ key, value string }{
		{"webhook_secret", c.WebhookSecret}, {"previous_webhook_secret", c.PreviousWebhookSecret},
	} {
		if secret.value != "" && !isWebhookSecret(secret.value) {
			fail(secret.key, "must be 22 to 256 letters, digits, _ and - (it has %d characters)", len(secret.value))
		}
	}
	if c.PreviousWebhookSecret != "" && c.PreviousWebhookSecret == c.WebhookSecret {
		fail("previous_webhook_secret", "must differ from webhook_secret")
	}
	if c.WebhookUsername != "" && c.WebhookPassword == "" {
		fail("webhook_username", "requires webhook_password: set both or neither")
	}
	if c.WebhookPassword != "" && c.WebhookUsername == "" {
		fail("webhook_password", "requires webhook_username: set both or neither")
	}
	if strings.Contains(c.WebhookUsername, ":") {
		fail("webhook_username", "must not contain a colon")
	}
	if c.PreviousWebhookPassword != "" && c.WebhookPassword == "" {
		fail("previous_webhook_password", "requires webhook_password")
	}
	if c.PreviousWebhookPassword != "" && c.PreviousWebhookPassword == c.WebhookPassword {
		fail("previous_webhook_password", "must differ from webhook_password")
	}
	if c.MaxInFlight < 0 {
		fail("max_in_flight", "must not be negative")
	}
	if c.MaxRate < 0 {
		fail("max_rate", "must not be negative")
	}
}

// isWebhookSecret reports whether text is a valid webhook secret.
func isWebhookSecret(text string) bool {
	return len(text) >= minSecretLength && len(text) <= maxSecretLength && consistsOf(text, isWordCharacter)
}

// portAddr is the address of a port.
type portAddr struct{ setting, addr, host, port string }

// ports returns the addresses that are valid, and adds a problem for each invalid one.
func (c *Config) ports(problems *Problems) (all []portAddr) {
	for _, p := range []portAddr{
		{setting: "grpc_addr", addr: c.GRPCAddr},
		{setting: "http_addr", addr: c.HTTPAddr},
		{setting: "webhook_addr", addr: c.WebhookAddr},
		{setting: "admin_addr", addr: c.AdminAddr},
	} {
		var err error
		if p.host, p.port, err = net.SplitHostPort(p.addr); err == nil {
			_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", p.port) // without a DNS query
		}
		if err != nil {
			problems.Add(p.setting, "invalid address %q: use HOST:PORT, as in %s", p.addr, DefaultGRPCAddr)
			continue
		}
		all = append(all, p)
	}
	return all
}

// takes reports whether p uses the same address as other, so that other could not listen.
func (p portAddr) takes(other portAddr) bool {
	host := func(p portAddr) string {
		ip, err := netip.ParseAddr(p.host)
		switch {
		case p.host == "" || err == nil && ip.IsUnspecified():
			return "" // every address
		case p.host == "localhost":
			return "127.0.0.1"
		}
		return p.host
	}
	mine, its := host(p), host(other)
	return p.port == other.port && p.port != "0" && (mine == its || mine == "" || its == "")
}

func (c *Config) checkPorts(problems *Problems) {
	ports := c.ports(problems)
	for i, port := range ports {
		for _, before := range ports[:i] {
			if before.takes(port) {
				problems.Add(port.setting, "%s is taken by %s", port.addr, before.setting)
				break
			}
		}
		if (port.setting == "grpc_addr" || port.setting == "http_addr") &&
			c.CallerCount() == 0 && !c.InsecureNoAuthentication && !isLoopback(port.addr) {
			problems.Add(port.setting, "%s is reachable from other machines, and no caller is configured: set ONGAIR_GATEWAY_API_KEY, add callers to the config file, or listen on 127.0.0.1", port.addr)
		}
	}
	for _, origin := range c.CORSOrigins {
		if err := http.NewCrossOriginProtection().AddTrustedOrigin(origin); err != nil {
			problems.Add("cors_origins", "invalid origin %q: use a scheme and a host, such as https://app.example.com", origin)
		}
	}
	if c.MaxConnections < 1 {
		problems.Add("max_connections", "must be 1 or more")
	}
}

func (c *Config) checkTLS(problems *Problems) {
	switch {
	case c.TLSCertFile == "" && c.TLSKeyFile != "":
		problems.Add("tls_key", "tls_cert and tls_key require each other: set both or neither")
	case c.TLSCertFile != "" && c.TLSKeyFile == "":
		problems.Add("tls_cert", "tls_cert and tls_key require each other: set both or neither")
	case c.TLSClientCAFile != "" && c.TLSCertFile == "":
		problems.Add("tls_client_ca", "requires tls_cert and tls_key")
	default:
		if _, err := c.loadTLS(); err != nil {
			problems.Add(err.Setting, "%s", err.Says)
		}
	}
}

func (c *Config) checkLog(problems *Problems) {
	if c.NATSURL == "" && c.DataDir == "" {
		problems.Add("data_dir", "the log has no location: set data_dir or nats_url")
	}
	c.checkNATS(problems)
	if c.RetentionAge != 0 && c.RetentionAge < minRetentionAge {
		problems.Add("retention_age", "%s is too short: use %s or more", c.RetentionAge, minRetentionAge)
	}
	if c.RetentionBytes != 0 && c.RetentionBytes < minRetentionBytes {
		problems.Add("retention_bytes", "%d is too small: use %d MiB or more, the size of the largest webhook", c.RetentionBytes, minRetentionBytes>>20)
	}
	if c.DuplicateWindow != 0 && c.DuplicateWindow < minDuplicateWindow {
		problems.Add("duplicate_window", "%s is too short: use %s or more", c.DuplicateWindow, minDuplicateWindow)
	}
	if c.RequestIDAge != 0 && c.RequestIDAge < minRequestIDAge {
		problems.Add("request_id_age", "%s is too short: use %s or more", c.RequestIDAge, minRequestIDAge)
	}
	c.checkEncryption(problems)
}

func (c *Config) checkEncryption(problems *Problems) {
	const setting = "encryption_key_file"
	if len(c.EncryptionKeys) > 0 && c.NATSURL != "" {
		problems.Add(setting, "applies only to the embedded log: configure encryption on the NATS server")
	}
	if len(c.EncryptionKeys) > maxEncryptionKeys {
		problems.Add(setting, "has %d keys: use one line with the key, without spaces, and optionally a second line with the previous key", len(c.EncryptionKeys))
		return
	}
	for i, key := range c.EncryptionKeys {
		if length := len(key); length < storage.MinKeyLength {
			problems.Add(setting, "key %d has %d characters: use %d or more", i+1, length, storage.MinKeyLength)
		}
		if i > 0 && key == c.EncryptionKeys[0] {
			problems.Add(setting, "has the same key twice: the second line is for the previous key")
		}
	}
}

// isNATSURL reports whether the NATS client accepts the URL of a server.
func isNATSURL(text string) bool {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	return err == nil && slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) && u.Hostname() != ""
}

// Warnings returns problems that do not make the configuration invalid.
func (c Config) Warnings() (problems Problems) {
	c.setDefaults()
	if !isLoopback(c.AdminAddr) {
		problems.Add("admin_addr", "%s is reachable from other machines, and its clients can take profiles: use loopback or a private network", c.AdminAddr)
	}
	for _, addr := range []string{c.GRPCAddr, c.HTTPAddr} {
		if c.CallerCount() == 0 && !isLoopback(addr) {
			problems.Add("insecure_no_authentication", "%s is reachable from other machines without a key", addr)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Channels)) {
		if u, err := url.Parse(c.Channels[name].BaseURL); err == nil && u.Scheme == "http" && !isLoopback(net.JoinHostPort(u.Hostname(), "80")) {
			problems.Add(SettingName("channels", name, "base_url"), "http:// exposes the channel's token to the network: use https://")
		}
	}
	if files, err := c.loadTLS(); err == nil && files != nil {
		if end := files.Certificate.Leaf.NotAfter; time.Now().After(end) {
			problems.Add("tls_cert", "%s: the certificate expired at %s", c.TLSCertFile, end.UTC().Format(time.RFC3339))
		}
	}
	return problems
}

// isLoopback reports whether addr is reachable from this machine only.
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
