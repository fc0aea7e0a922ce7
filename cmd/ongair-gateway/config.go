package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/token"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/ongair"
)

// configFile is the YAML file: the settings of `serve` under the names of its
// flags with underscores, and the channels. An unknown key is an error.
type configFile struct {
	DataDir         text `yaml:"data_dir"`
	EncryptionKey   text `yaml:"encryption_key_file"`
	NATSURL         text `yaml:"nats_url"`
	RetentionAge    text `yaml:"retention_age"`
	RetentionBytes  text `yaml:"retention_bytes"`
	DuplicateWindow text `yaml:"duplicate_window"`
	RequestIDAge    text `yaml:"request_id_age"`
	GRPCAddr        text `yaml:"grpc_addr"`
	HTTPAddr        text `yaml:"http_addr"`
	WebhookAddr     text `yaml:"webhook_addr"`
	AdminAddr       text `yaml:"admin_addr"`
	TLSCert         text `yaml:"tls_cert"`
	TLSKey          text `yaml:"tls_key"`
	TLSClientCA     text `yaml:"tls_client_ca"`
	MaxConnections  text `yaml:"max_connections"`
	LogLevel        text `yaml:"log_level"`
	LogFormat       text `yaml:"log_format"`

	APIKey     text `yaml:"api_key"`
	APIKeyFile text `yaml:"api_key_file"`

	InsecureNoAuthentication text `yaml:"insecure_no_authentication"`

	WebhookAllowFrom text `yaml:"webhook_allow_from"`
	TrustedProxies   text `yaml:"trusted_proxies"`

	Callers  map[string]callerConfig  `yaml:"callers"`
	Channels map[string]channelConfig `yaml:"channels"`
}

type channelConfig struct {
	BaseURL             text `yaml:"base_url"`
	Token               text `yaml:"token"`
	TokenFile           text `yaml:"token_file"`
	WebhookSecret       text `yaml:"webhook_secret"`
	WebhookSecretFile   text `yaml:"webhook_secret_file"`
	PreviousSecret      text `yaml:"previous_webhook_secret"`
	PreviousSecretFile  text `yaml:"previous_webhook_secret_file"`
	WebhookUsername     text `yaml:"webhook_username"`
	WebhookPassword     text `yaml:"webhook_password"`
	WebhookPasswordFile text `yaml:"webhook_password_file"`

	PreviousPassword     text `yaml:"previous_webhook_password"`
	PreviousPasswordFile text `yaml:"previous_webhook_password_file"`

	AuthForm    text `yaml:"auth_form"`
	MaxInFlight text `yaml:"max_in_flight"`
	MaxRate     text `yaml:"max_rate"`
}

// networks reads a list of networks, as in "10.0.0.0/8, 2001:db8::/32". A single
// address is a network, too.
func networks(name, list string) (all []netip.Prefix, err error) {
	for _, text := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			address, addressErr := netip.ParseAddr(text)
			if addressErr != nil {
				return nil, fmt.Errorf("%s: %q is no network: want some as in 10.0.0.0/8", name, text)
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		all = append(all, network.Masked())
	}
	return all, nil
}

type callerConfig struct {
	KeyHashes    []text `yaml:"key_hashes"`
	Certificates []text `yaml:"certificates"`
	Actions      []text `yaml:"actions"`
	Channels     []text `yaml:"channels"`
	MaxRate      text   `yaml:"max_rate"`
	MaxInFlight  text   `yaml:"max_in_flight"`
	MaxStreams   text   `yaml:"max_streams"`

	MaxConnections text `yaml:"max_connections"`
}

// count sets a limit of so many, if there is one.
func (t text) count(name string, limit *int) (err error) {
	if t == "" {
		return nil
	}
	if *limit, err = strconv.Atoi(string(t)); err != nil || *limit < 1 {
		return fmt.Errorf("%s %q: want a number, 1 or more", name, t)
	}
	return nil
}

// perSecond sets a limit of so many a second, if there is one.
func (t text) perSecond(name string, limit *float64) (err error) {
	if t == "" {
		return nil
	}
	if *limit, err = strconv.ParseFloat(string(t), 64); err != nil || !(*limit > 0) || math.IsInf(*limit, 0) {
		return fmt.Errorf("%s %q: want calls a second, as in 20 or 0.5", name, t)
	}
	return nil
}

// caller returns what is configured of a caller.
func (c callerConfig) caller() (caller auth.Caller, err error) {
	for i, in := range c.KeyHashes {
		hash, err := auth.ParseKeyHash(string(in))
		if err != nil {
			return caller, fmt.Errorf("key_hashes, number %d: %w", i+1, err)
		}
		caller.KeyHashes = append(caller.KeyHashes, hash)
	}
	for _, in := range c.Certificates {
		name, err := auth.ParseCertificateName(string(in))
		if err != nil {
			return caller, fmt.Errorf("certificates: %w", err)
		}
		caller.Certificates = append(caller.Certificates, name)
	}
	for _, in := range c.Actions {
		action, err := auth.ParseAction(string(in))
		if err != nil {
			return caller, fmt.Errorf("actions: %w", err)
		}
		caller.Actions = append(caller.Actions, action)
	}
	for _, in := range c.Channels {
		caller.Channels = append(caller.Channels, string(in))
	}
	err = cmp.Or(
		c.MaxRate.perSecond("max_rate", &caller.MaxRate),
		c.MaxInFlight.count("max_in_flight", &caller.MaxInFlight),
		c.MaxStreams.count("max_streams", &caller.MaxStreams),
		c.MaxConnections.count("max_connections", &caller.MaxConnections),
	)
	return caller, err
}

// channel returns what is configured of a channel.
func (c channelConfig) channel() (server.Channel, error) {
	channel := server.Channel{BaseURL: string(c.BaseURL), WebhookUsername: string(c.WebhookUsername)}
	var err error
	for _, secret := range []struct {
		name        string
		value, file text
		setting     *string
	}{
		{"token", c.Token, c.TokenFile, &channel.Token},
		{"webhook_secret", c.WebhookSecret, c.WebhookSecretFile, &channel.WebhookSecret},
		{"previous_webhook_secret", c.PreviousSecret, c.PreviousSecretFile, &channel.PreviousWebhookSecret},
		{"previous_webhook_password", c.PreviousPassword, c.PreviousPasswordFile, &channel.PreviousWebhookPassword},
		{"webhook_password", c.WebhookPassword, c.WebhookPasswordFile, &channel.WebhookPassword},
	} {
		if *secret.setting, err = secret.value.resolve(secret.name, secret.file); err != nil {
			return channel, err
		}
	}
	if channel.AuthForm, err = ongair.ParseAuthForm(cmp.Or(string(c.AuthForm), ongair.AuthAuto.String())); err != nil {
		return channel, fmt.Errorf("auth_form: %w", err)
	}
	err = cmp.Or(
		c.MaxInFlight.count("max_in_flight", &channel.MaxInFlight),
		c.MaxRate.perSecond("max_rate", &channel.MaxRate),
	)
	return channel, err
}

// text is a value in which ${NAME} stands for an environment variable. It is
// replaced after the YAML is parsed, so that no value can change the structure.
type text string

// UnmarshalYAML replaces the variables. One that is not set is an error, since
// an empty secret or address would mean something else.
func (t *text) UnmarshalYAML(b []byte) error {
	var raw string
	if err := yaml.Unmarshal(b, &raw); err != nil {
		return err
	}
	var missing []string
	replaced := regexp.MustCompile(`\$\{([^}]*)\}`).ReplaceAllStringFunc(raw, func(ref string) string {
		name := ref[2 : len(ref)-1]
		value, ok := os.LookupEnv(name)
		if !ok {
			missing = append(missing, name)
		}
		return value
	})
	if missing != nil {
		return fmt.Errorf("environment variable %s is not set", strings.Join(missing, ", "))
	}
	*t = text(replaced)
	return nil
}

// resolve returns a secret that is given by value or by file, of which what
// surrounds it in white space is left out.
func (t text) resolve(name string, file text) (string, error) {
	if file == "" {
		return string(t), nil
	}
	if t != "" {
		return "", fmt.Errorf("%s is given twice, by value and by file", name)
	}
	b, err := os.ReadFile(string(file))
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	secret := strings.TrimSpace(string(b))
	if secret == "" {
		// A file that is being written, or a mount that failed: to take it for "none" could
		// open what it is to close.
		return "", fmt.Errorf("%s: %s is empty", name, file)
	}
	return secret, nil
}

// readConfigFile reads the file. Its errors name the file and, where it has one,
// the line and column, and never show a line, which may hold a secret.
func readConfigFile(path string) (configFile, error) {
	var file configFile
	b, err := os.ReadFile(path)
	if err != nil {
		return file, fmt.Errorf("config file: %w", err)
	}
	if len(bytes.TrimSpace(b)) == 0 {
		return file, fmt.Errorf("config file %s is empty", path)
	}
	if err := yaml.UnmarshalWithOptions(b, &file, yaml.Strict()); err != nil {
		if syntax, ok := errors.AsType[yaml.Error](err); ok {
			return file, fmt.Errorf("config file %s: %s", path, withoutValues(syntax))
		}
		return file, fmt.Errorf("config file %s: %w", path, err)
	}
	return file, nil
}

// withoutValues says what is wrong with a file, and where. What an error quotes may be a
// secret, or a part of it, that should have been in quotes: one that begins with "*" is
// called an alias, and what is after a comma between braces a key. So only a key is named,
// which a colon follows.
func withoutValues(err yaml.Error) string {
	said := err.FormatError(false, false)
	unknown, ok := errors.AsType[*yaml.UnknownFieldError](err)
	if ok && unknown.Token.NextType() == token.MappingValueType {
		return said
	}
	return regexp.MustCompile(`(?s)".*"`).ReplaceAllString(said, `"…"`)
}
