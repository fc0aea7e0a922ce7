package config

import (
	"cmp"
	"crypto/sha256"
	"io"
	"log/slog"
	"maps"
	"math"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

// DefaultChannel is the name of the channel that environment variables configure.
const DefaultChannel = "default"

// configFile is the YAML file. It has the channels, the callers and the settings of `serve`. The
// settings have the names of the flags, with underscores instead of hyphens. An unknown key is an
// error.
type configFile struct {
	DataDir         text `yaml:"data_dir"`
	EncryptionKey   text `yaml:"encryption_key_file"`
	RetentionAge    text `yaml:"retention_age"`
	RetentionBytes  text `yaml:"retention_bytes"`
	DuplicateWindow text `yaml:"duplicate_window"`
	RequestIDAge    text `yaml:"request_id_age"`
	Grace           text `yaml:"grace"`
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

	APIKey             text `yaml:"api_key"`
	APIKeyFile         text `yaml:"api_key_file"`
	PreviousAPIKey     text `yaml:"previous_api_key"`
	PreviousAPIKeyFile text `yaml:"previous_api_key_file"`

	InsecureNoAuthentication text `yaml:"insecure_no_authentication"`

	NATSURL              text `yaml:"nats_url"`
	NATSCredentialsFile  text `yaml:"nats_credentials_file"`
	NATSNKeyFile         text `yaml:"nats_nkey_file"`
	NATSUsername         text `yaml:"nats_username"`
	NATSPasswordFile     text `yaml:"nats_password_file"`
	NATSTokenFile        text `yaml:"nats_token_file"`
	NATSTLSCA            text `yaml:"nats_tls_ca"`
	NATSTLSCert          text `yaml:"nats_tls_cert"`
	NATSTLSKey           text `yaml:"nats_tls_key"`
	NATSDomain           text `yaml:"nats_domain"`
	NATSPrefix           text `yaml:"nats_prefix"`
	NATSReplicas         text `yaml:"nats_replicas"`
	NATSPlacementCluster text `yaml:"nats_placement_cluster"`
	NATSPlacementTags    list `yaml:"nats_placement_tags"`

	WebhookAllowFrom list `yaml:"webhook_allow_from"`
	TrustedProxies   list `yaml:"trusted_proxies"`
	CORSOrigins      list `yaml:"cors_origins"`

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

// SecretKeys returns the YAML keys whose values are secrets. These are the keys for which a key
// with the suffix _file exists. key_hashes is one too, because an API key may be put there by
// mistake.
func SecretKeys() []string {
	keys := []string{"key_hashes"}
	for _, in := range []reflect.Type{reflect.TypeFor[configFile](), reflect.TypeFor[channelConfig]()} {
		for field := range in.Fields() {
			if key, byFile := strings.CutSuffix(field.Tag.Get("yaml"), "_file"); byFile {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// Source is the input of Load. Load also reads the environment variables that have no flag.
type Source struct {
	// File is the path of the config file. Empty means none.
	File string
	// Flags has the values from flags and their environment variables. The map's keys are the
	// names of the settings in the config file. An empty value means that the setting is not set.
	Flags map[string]string
	// Running is true at a reload, while the gateway runs. A reload must not wait for a pipe, so
	// all files must be regular files. At a start the config file and the files of secrets may be
	// pipes. The TLS files may not, because they are read more than once.
	Running bool
	// Sandbox is true if the gateway runs with a built-in sandbox. The sandbox then provides the
	// channel and its token. No data directory is needed.
	Sandbox bool
}

// Loaded is a configuration with the places of its settings. It is immutable.
type Loaded struct {
	// Config is the configuration. Its Logger is not set.
	Config Config

	reading *reading
	// files has the hashes of the files whose names, but not contents, are in Config. Its keys
	// are the settings.
	files map[string][sha256.Size]byte
}

// Load reads a configuration and checks it. It fails with an Error that lists all problems.
func Load(source Source) (Loaded, error) {
	cfg, r, err := read(source)
	loaded := Loaded{Config: cfg, reading: r, files: r.hashFiles(cfg)}
	if err != nil {
		return loaded, Error{err.Error()}
	}
	checked := cfg
	if source.Sandbox {
		// The sandbox provides these later.
		channel := cfg.Channels[DefaultChannel]
		channel.Token, channel.WebhookSecret = "of the sandbox", cmp.Or(channel.WebhookSecret, strings.Repeat("x", minSecretLength))
		checked.Channels, checked.DataDir = map[string]Channel{DefaultChannel: channel}, cmp.Or(cfg.DataDir, os.TempDir())
	}
	r.check(checked)
	r.warnings = append(r.warnings, cfg.Warnings()...)
	return loaded, r.err()
}

// Warnings returns the warnings about a valid configuration, each with its place.
func (l Loaded) Warnings() []string { return l.reading.warnings.lines(l.reading.located) }

// Locate adds the place of each problem to an error of type Problems. It returns any other error
// unchanged.
func (l Loaded) Locate(err error) error { return l.reading.locate(err) }

// read does the same as Load, but does not validate.
func read(source Source) (cfg Config, r *reading, err error) {
	r = newReading(source)
	var file configFile
	if source.File != "" {
		if file, err = r.readConfigFile(); err != nil {
			return cfg, r, err
		}
	}
	pick := func(setting string, inFile text) string { return r.pick(setting, source.Flags[setting], inFile) }
	cfg = Config{
		GRPCAddr:        pick("grpc_addr", file.GRPCAddr),
		HTTPAddr:        pick("http_addr", file.HTTPAddr),
		WebhookAddr:     pick("webhook_addr", file.WebhookAddr),
		AdminAddr:       pick("admin_addr", file.AdminAddr),
		TLSCertFile:     pick("tls_cert", file.TLSCert),
		TLSKeyFile:      pick("tls_key", file.TLSKey),
		TLSClientCAFile: pick("tls_client_ca", file.TLSClientCA),
		DataDir:         pick("data_dir", file.DataDir),

		APIKey:         r.fromEnvironment("api_key", "ONGAIR_GATEWAY_API_KEY"),
		PreviousAPIKey: r.fromEnvironment("previous_api_key", "ONGAIR_GATEWAY_PREVIOUS_API_KEY"),
	}
	r.nats(&cfg, pick, file)
	if cfg.DataDir == "" && !source.Sandbox {
		cfg.DataDir = "ongair-data"
	}
	if cfg.TLSKeyFile != "" {
		r.warnOfReaders("tls_key", cfg.TLSKeyFile)
	}
	if keys := r.secret("encryption_key", "", pick("encryption_key_file", file.EncryptionKey)); keys != "" {
		cfg.EncryptionKeys = strings.Fields(keys)
	}
	if cfg.APIKey == "" {
		cfg.APIKey = r.secret("api_key", file.APIKey, string(file.APIKeyFile))
	}
	if cfg.PreviousAPIKey == "" {
		cfg.PreviousAPIKey = r.secret("previous_api_key", file.PreviousAPIKey, string(file.PreviousAPIKeyFile))
	}
	cfg.RetentionAge = r.duration("retention_age", pick("retention_age", file.RetentionAge), "168h")
	cfg.DuplicateWindow = r.duration("duplicate_window", pick("duplicate_window", file.DuplicateWindow), "2m")
	cfg.RequestIDAge = r.duration("request_id_age", pick("request_id_age", file.RequestIDAge), "24h")
	cfg.Grace = r.duration("grace", pick("grace", file.Grace), "25s")
	if size := pick("retention_bytes", file.RetentionBytes); size != "" {
		bytes, err := humanize.ParseBytes(size)
		if err != nil || bytes == 0 || bytes > 1<<62 {
			r.problems.Add("retention_bytes", "invalid size %q: use a size such as 10GiB", size)
		}
		cfg.RetentionBytes = int64(bytes)
	}
	cfg.MaxConnections = r.count("max_connections", pick("max_connections", file.MaxConnections))
	if insecure := pick("insecure_no_authentication", file.InsecureNoAuthentication); insecure != "" {
		if cfg.InsecureNoAuthentication, err = strconv.ParseBool(insecure); err != nil {
			r.problems.Add("insecure_no_authentication", "invalid value %q: use true or false", insecure)
		}
	}
	cfg.WebhookAllowFrom = r.networks("webhook_allow_from", pick("webhook_allow_from", text(file.WebhookAllowFrom)))
	cfg.TrustedProxies = r.networks("trusted_proxies", pick("trusted_proxies", text(file.TrustedProxies)))
	cfg.CORSOrigins = items(pick("cors_origins", text(file.CORSOrigins)))
	cfg.LogLevel, cfg.LogFormat = r.logging(pick("log_level", file.LogLevel), pick("log_format", file.LogFormat))
	for _, name := range slices.Sorted(maps.Keys(file.Callers)) {
		if cfg.Callers == nil {
			cfg.Callers = map[string]auth.Caller{}
		}
		cfg.Callers[name] = r.caller(name, file.Callers[name])
	}
	cfg.Channels = r.channels(file.Channels, source.Sandbox)
	return cfg, r, nil
}

// logging returns the level and format of the log.
func (r *reading) logging(level, format string) (slog.Level, string) {
	parsed, err := telemetry.ParseLevel(cmp.Or(level, "info"))
	if err != nil {
		r.problems.Add("log_level", "%v", err)
	}
	format = cmp.Or(format, telemetry.FormatText)
	if _, err := telemetry.NewLoggerFrom(io.Discard, parsed, format); err != nil {
		r.problems.Add("log_format", "%v", err)
	}
	return parsed, format
}

// items returns the items of a list, which are separated by commas or spaces.
func items(list string) []string {
	if list == "" {
		return nil
	}
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// networks reads a list of networks, such as "10.0.0.0/8, 2001:db8::/32". A single address is a
// network.
func (r *reading) networks(setting, list string) (all []netip.Prefix) {
	for _, text := range items(list) {
		network, err := netip.ParsePrefix(text)
		if err != nil {
			address, err := netip.ParseAddr(text)
			if err != nil {
				r.problems.Add(setting, "invalid network %q: use addresses or networks such as 10.0.0.0/8", text)
				continue
			}
			network = netip.PrefixFrom(address, address.BitLen())
		}
		all = append(all, network.Masked())
	}
	return all
}

// duration reads a duration. It returns zero if none is set.
func (r *reading) duration(setting, value, example string) time.Duration {
	if value == "" {
		return 0
	}
	duration, err := time.ParseDuration(value)
	if err != nil || duration <= 0 {
		r.problems.Add(setting, "invalid duration %q: use a positive one such as %s", value, example)
	}
	return duration
}

// count reads a limit of 1 or more. It returns zero if none is set.
func (r *reading) count(setting, value string) int {
	if value == "" {
		return 0
	}
	limit, err := strconv.Atoi(value)
	if err != nil || limit < 1 {
		r.problems.Add(setting, "invalid number %q: use 1 or more", value)
	}
	return limit
}

// perSecond reads a rate in calls per second. It returns zero if none is set.
func (r *reading) perSecond(setting, value string) float64 {
	if value == "" {
		return 0
	}
	limit, err := strconv.ParseFloat(value, 64)
	if err != nil || !(limit > 0) || math.IsInf(limit, 0) {
		r.problems.Add(setting, "invalid rate %q: use calls per second such as 20 or 0.5", value)
	}
	return limit
}

// caller reads the settings of a caller.
func (r *reading) caller(name string, c callerConfig) (caller auth.Caller) {
	setting := SettingName("callers", name)
	at := func(key string) string { return setting + "." + key }
	numbered := func(key string, i int) string { return at(key) + "." + strconv.Itoa(i+1) }
	for i, in := range c.KeyHashes {
		hash, err := auth.ParseKeyHash(string(in))
		if err != nil {
			r.problems.Add(numbered("key_hashes", i), "%v", err)
		}
		caller.KeyHashes = append(caller.KeyHashes, hash)
	}
	for i, in := range c.Certificates {
		name, err := auth.ParseCertificateName(string(in))
		if err != nil {
			r.problems.Add(numbered("certificates", i), "%v", err)
		}
		caller.Certificates = append(caller.Certificates, name)
	}
	for i, in := range c.Actions {
		action, err := auth.ParseAction(string(in))
		if err != nil {
			r.problems.Add(numbered("actions", i), "%v", err)
		}
		caller.Actions = append(caller.Actions, action)
	}
	for _, in := range c.Channels {
		caller.Channels = append(caller.Channels, string(in))
	}
	caller.MaxRate = r.perSecond(at("max_rate"), string(c.MaxRate))
	caller.MaxInFlight = r.count(at("max_in_flight"), string(c.MaxInFlight))
	caller.MaxStreams = r.count(at("max_streams"), string(c.MaxStreams))
	caller.MaxConnections = r.count(at("max_connections"), string(c.MaxConnections))
	return caller
}

// channel reads the settings of a channel.
func (r *reading) channel(name string, c channelConfig) Channel {
	setting := SettingName("channels", name)
	at := func(key string) string { return setting + "." + key }
	secret := func(key string, value, file text) string { return r.secret(at(key), value, string(file)) }
	form, err := ongair.ParseAuthForm(cmp.Or(string(c.AuthForm), ongair.AuthAuto.String()))
	if err != nil {
		r.problems.Add(at("auth_form"), "%v", err)
	}
	return Channel{
		BaseURL:                 string(c.BaseURL),
		Token:                   secret("token", c.Token, c.TokenFile),
		WebhookSecret:           secret("webhook_secret", c.WebhookSecret, c.WebhookSecretFile),
		PreviousWebhookSecret:   secret("previous_webhook_secret", c.PreviousSecret, c.PreviousSecretFile),
		WebhookUsername:         string(c.WebhookUsername),
		WebhookPassword:         secret("webhook_password", c.WebhookPassword, c.WebhookPasswordFile),
		PreviousWebhookPassword: secret("previous_webhook_password", c.PreviousPassword, c.PreviousPasswordFile),
		AuthForm:                form,
		MaxInFlight:             r.count(at("max_in_flight"), string(c.MaxInFlight)),
		MaxRate:                 r.perSecond(at("max_rate"), string(c.MaxRate)),
	}
}

// channels reads the channels of the file and of the environment.
func (r *reading) channels(inFile map[string]channelConfig, sandbox bool) map[string]Channel {
	if sandbox {
		if len(inFile) > 0 {
			r.problems.Add("channels", "--sandbox creates its own channel: remove the channels from %s", r.file)
		}
		// The token of a real account is ignored even if it is set.
		return map[string]Channel{DefaultChannel: {
			WebhookSecret: r.fromEnvironment("channels.default.webhook_secret", "ONGAIR_WEBHOOK_SECRET"),
		}}
	}
	channels := map[string]Channel{}
	for _, name := range slices.Sorted(maps.Keys(inFile)) {
		channels[name] = r.channel(name, inFile[name])
	}
	r.addChannelOfEnvironment(channels)
	r.checkSecretsOfTheirOwn(channels)
	return channels
}

// addChannelOfEnvironment adds the channel of the environment variables.
func (r *reading) addChannelOfEnvironment(channels map[string]Channel) {
	if os.Getenv("ONGAIR_TOKEN") == "" && os.Getenv("ONGAIR_WEBHOOK_SECRET") == "" {
		return
	}
	setting := SettingName("channels", DefaultChannel)
	if _, taken := channels[DefaultChannel]; taken {
		r.problems.Add(setting, "channel %q is configured both in %s and by environment variables", DefaultChannel, r.file)
		return
	}
	if len(channels) > 0 {
		r.warnings.Add(setting, "ONGAIR_TOKEN and ONGAIR_WEBHOOK_SECRET add this channel to those of %s", r.file)
	}
	read := func(key, variable string) string {
		r.given[setting+"."+key] = variable // also if it is not set, so that the error can name the variable
		return os.Getenv(variable)
	}
	channels[DefaultChannel] = Channel{
		BaseURL:               read("base_url", "ONGAIR_BASE_URL"),
		Token:                 read("token", "ONGAIR_TOKEN"),
		WebhookSecret:         read("webhook_secret", "ONGAIR_WEBHOOK_SECRET"),
		PreviousWebhookSecret: read("previous_webhook_secret", "ONGAIR_PREVIOUS_WEBHOOK_SECRET"),
	}
}

// checkSecretsOfTheirOwn checks that no two channels have the same webhook secret. Otherwise a
// sender that knows the path of one channel could post to another.
func (r *reading) checkSecretsOfTheirOwn(channels map[string]Channel) {
	known := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(channels)) {
		secret := channels[name].WebhookSecret
		if other, taken := known[secret]; taken && secret != "" {
			r.problems.Add(SettingName("channels", name, "webhook_secret"),
				"is also used by channel %s: use a different one for each channel", SettingName(other))
		}
		known[secret] = name
	}
}
