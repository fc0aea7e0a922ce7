package config

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/storage"
)

// What a configuration has to keep to.
const (
	minSecretLength = 22
	maxSecretLength = 256
	minAPIKeyLength = 16

	// minRequestIDAge is longer than any call, its claim's grace and a try again.
	minRequestIDAge = 2 * time.Minute
	// minRetentionAge and minDuplicateWindow are the shortest that JetStream takes.
	minRetentionAge    = 100 * time.Millisecond
	minDuplicateWindow = 100 * time.Millisecond
	// minRetentionBytes holds the largest event: with less, no webhook of that size could
	// ever be taken.
	minRetentionBytes = storage.MaxPayload
	// maxEncryptionKeys are the one from now on, and the one before.
	maxEncryptionKeys = 2
)

// Check returns everything that is wrong with the configuration, as Problems: what New
// and Reload refuse. It reads the files of TLS, and touches nothing else of the machine.
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
		problems.Add("channels", "no channel is configured: set ONGAIR_TOKEN and ONGAIR_WEBHOOK_SECRET, name channels in the config file, or try --sandbox")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Channels)) {
		if !isName(name) {
			problems.Add(SettingName("channels", name), "a name is 1 to 64 letters, digits, _ and -")
		}
		c.Channels[name].check(name, problems)
	}
}

// check adds what is wrong with the channel of a name.
func (c Channel) check(name string, problems *Problems) {
	fail := func(key, format string, args ...any) {
		problems.Add(SettingName("channels", name, key), format, args...)
	}
	if c.BaseURL != "" {
		if !strings.HasPrefix(c.BaseURL, "http://") && !strings.HasPrefix(c.BaseURL, "https://") {
			fail("base_url", "wants http:// or https:// before the host")
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
		fail("previous_webhook_secret", "is the same as webhook_secret: a new one has to take its place first")
	}
	if c.WebhookUsername != "" && c.WebhookPassword == "" {
		fail("webhook_username", "goes together with webhook_password: set both or neither")
	}
	if c.WebhookPassword != "" && c.WebhookUsername == "" {
		fail("webhook_password", "goes together with webhook_username: set both or neither")
	}
	if strings.Contains(c.WebhookUsername, ":") {
		fail("webhook_username", "cannot have a colon, which ends a user name")
	}
	if c.PreviousWebhookPassword != "" && c.WebhookPassword == "" {
		fail("previous_webhook_password", "needs a new one beside it, as webhook_password")
	}
	if c.PreviousWebhookPassword != "" && c.PreviousWebhookPassword == c.WebhookPassword {
		fail("previous_webhook_password", "is the same as webhook_password: a new one has to take its place first")
	}
	if c.MaxInFlight < 0 {
		fail("max_in_flight", "cannot be negative")
	}
	if c.MaxRate < 0 {
		fail("max_rate", "cannot be negative")
	}
}

// isWebhookSecret reports whether a text can be the secret of a webhook's path.
func isWebhookSecret(text string) bool {
	return len(text) >= minSecretLength && len(text) <= maxSecretLength && consistsOf(text, isWordCharacter)
}

// portAddr is the address of a port.
type portAddr struct{ setting, addr, host, port string }

// ports are the addresses of all ports, but for those that cannot be taken apart.
func (c *Config) ports(problems *Problems) (all []portAddr) {
	for _, p := range []portAddr{
		{setting: "grpc_addr", addr: c.GRPCAddr},
		{setting: "http_addr", addr: c.HTTPAddr},
		{setting: "webhook_addr", addr: c.WebhookAddr},
		{setting: "admin_addr", addr: c.AdminAddr},
	} {
		var err error
		if p.host, p.port, err = net.SplitHostPort(p.addr); err == nil {
			_, err = net.DefaultResolver.LookupPort(context.Background(), "tcp", p.port) // which asks nobody
		}
		if err != nil {
			problems.Add(p.setting, "%q is no address: want HOST:PORT, as in %s", p.addr, DefaultGRPCAddr)
			continue
		}
		all = append(all, p)
	}
	return all
}

// takes reports whether a port leaves no room for another one.
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
			problems.Add(port.setting, "%s can be reached from other machines, and no caller is configured: set ONGAIR_GATEWAY_API_KEY, name callers in the config file, or listen on 127.0.0.1", port.addr)
		}
	}
	if c.MaxConnections < 1 {
		problems.Add("max_connections", "cannot be %d", c.MaxConnections)
	}
}

func (c *Config) checkTLS(problems *Problems) {
	switch {
	case c.TLSCertFile == "" && c.TLSKeyFile != "":
		problems.Add("tls_key", "a TLS certificate and its key go together: set both files or neither")
	case c.TLSCertFile != "" && c.TLSKeyFile == "":
		problems.Add("tls_cert", "a TLS certificate and its key go together: set both files or neither")
	case c.TLSClientCAFile != "" && c.TLSCertFile == "":
		problems.Add("tls_client_ca", "client certificates need a TLS certificate of the gateway's own")
	default:
		if _, err := c.loadTLS(); err != nil {
			problems.Add(err.Setting, "%s", err.Says)
		}
	}
}

func (c *Config) checkLog(problems *Problems) {
	if c.NATSURL == "" && c.DataDir == "" {
		problems.Add("data_dir", "the log has no place: set the data directory or the NATS URL")
	}
	for server := range strings.SplitSeq(c.NATSURL, ",") {
		if c.NATSURL != "" && !isNATSURL(strings.TrimSpace(server)) {
			// It is not shown: it may have a password.
			problems.Add("nats_url", "want nats://HOST:PORT, or several with commas between them, special characters in a password percent-encoded")
			break
		}
	}
	if c.RetentionAge != 0 && c.RetentionAge < minRetentionAge {
		problems.Add("retention_age", "is %s: it has to be %s or more", c.RetentionAge, minRetentionAge)
	}
	if c.RetentionBytes != 0 && c.RetentionBytes < minRetentionBytes {
		problems.Add("retention_bytes", "is %d: it has to be %d MiB or more, to hold a large webhook", c.RetentionBytes, minRetentionBytes>>20)
	}
	if c.DuplicateWindow != 0 && c.DuplicateWindow < minDuplicateWindow {
		problems.Add("duplicate_window", "is %s: it has to be %s or more", c.DuplicateWindow, minDuplicateWindow)
	}
	if c.RequestIDAge != 0 && c.RequestIDAge < minRequestIDAge {
		problems.Add("request_id_age", "is %s: it has to be %s or more", c.RequestIDAge, minRequestIDAge)
	}
	c.checkEncryption(problems)
}

func (c *Config) checkEncryption(problems *Problems) {
	const setting = "encryption_key_file"
	if len(c.EncryptionKeys) > 0 && c.NATSURL != "" {
		problems.Add(setting, "is for the embedded log: what is on a NATS server is encrypted there")
	}
	if len(c.EncryptionKeys) > maxEncryptionKeys {
		problems.Add(setting, "has %d keys: want one without spaces, and in a second line the one before it, if there is one", len(c.EncryptionKeys))
		return
	}
	for i, key := range c.EncryptionKeys {
		if length := len(key); length < storage.MinKeyLength {
			problems.Add(setting, "key %d has %d characters: it has to have %d or more", i+1, length, storage.MinKeyLength)
		}
		if i > 0 && key == c.EncryptionKeys[0] {
			problems.Add(setting, "has the same key twice: the second line is for the one before")
		}
	}
}

// isNATSURL reports whether the NATS client takes the URL of a server.
func isNATSURL(text string) bool {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	return err == nil && slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) && u.Hostname() != ""
}

// Warnings are what may be meant, and is a mistake more often.
func (c Config) Warnings() (problems Problems) {
	c.setDefaults()
	if !isLoopback(c.AdminAddr) {
		problems.Add("admin_addr", "%s can be reached from other machines, and whoever reaches it can take profiles: it is made for loopback or a private network", c.AdminAddr)
	}
	for _, addr := range []string{c.GRPCAddr, c.HTTPAddr} {
		if c.CallerCount() == 0 && !isLoopback(addr) {
			problems.Add("insecure_no_authentication", "%s can be reached from other machines, and nobody is asked for a key", addr)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Channels)) {
		if u, err := url.Parse(c.Channels[name].BaseURL); err == nil && u.Scheme == "http" && !isLoopback(net.JoinHostPort(u.Hostname(), "80")) {
			problems.Add(SettingName("channels", name, "base_url"), "http:// to another machine shows the channel's token to the network: want https://")
		}
	}
	if files, err := c.loadTLS(); err == nil && files != nil {
		if end := files.Certificate.Leaf.NotAfter; time.Now().After(end) {
			problems.Add("tls_cert", "%s: the certificate expired at %s", c.TLSCertFile, end.UTC().Format(time.RFC3339))
		}
	}
	return problems
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
