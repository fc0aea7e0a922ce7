package config

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/ongair/ongair-gateway/server/listen"
	"github.com/ongair/ongair-gateway/server/storage"
)

// maxReplicas is JetStream's maximum of copies of a stream.
const maxReplicas = 5

// nats reads the settings of the NATS server, and checks the files that they name. The NATS client
// reads the files again at each connection. So they must be regular files.
func (r *reading) nats(cfg *Config, pick func(string, text) string, file configFile) {
	cfg.NATSURL = pick("nats_url", file.NATSURL)
	cfg.NATSCredentialsFile = pick("nats_credentials_file", file.NATSCredentialsFile)
	cfg.NATSNKeyFile = pick("nats_nkey_file", file.NATSNKeyFile)
	cfg.NATSUsername = pick("nats_username", file.NATSUsername)
	cfg.NATSPasswordFile = pick("nats_password_file", file.NATSPasswordFile)
	cfg.NATSTokenFile = pick("nats_token_file", file.NATSTokenFile)
	cfg.NATSTLSCAFile = pick("nats_tls_ca", file.NATSTLSCA)
	cfg.NATSTLSCertFile = pick("nats_tls_cert", file.NATSTLSCert)
	cfg.NATSTLSKeyFile = pick("nats_tls_key", file.NATSTLSKey)
	cfg.NATSDomain = pick("nats_domain", file.NATSDomain)
	cfg.NATSPrefix = pick("nats_prefix", file.NATSPrefix)
	cfg.NATSReplicas = r.count("nats_replicas", pick("nats_replicas", file.NATSReplicas))
	cfg.NATSPlacementCluster = pick("nats_placement_cluster", file.NATSPlacementCluster)
	cfg.NATSPlacementTags = items(pick("nats_placement_tags", text(file.NATSPlacementTags)))

	for _, secret := range []struct{ setting, path string }{
		{"nats_credentials_file", cfg.NATSCredentialsFile},
		{"nats_nkey_file", cfg.NATSNKeyFile},
		{"nats_password_file", cfg.NATSPasswordFile},
		{"nats_token_file", cfg.NATSTokenFile},
	} {
		if secret.path == "" {
			continue
		}
		r.files[secret.setting] = secret.path
		content, err := readFile(secret.path, maxSecret)
		switch {
		case err != nil:
			r.problems.Add(secret.setting, "cannot be read: %v", cause(err))
		case strings.TrimSpace(string(content)) == "":
			r.problems.Add(secret.setting, "is empty")
		default:
			r.warnOfReaders(secret.setting, secret.path)
		}
	}
	if cfg.NATSTLSKeyFile != "" {
		r.warnOfReaders("nats_tls_key", cfg.NATSTLSKeyFile)
	}
}

// natsToken is a token of a subject, and a part of the name of a stream.
var natsToken = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$`)

// checkNATS adds the problems of the settings of the NATS server.
func (c *Config) checkNATS(problems *Problems) {
	inURL := false
	for server := range strings.SplitSeq(c.NATSURL, ",") {
		if c.NATSURL != "" && !isNATSURL(strings.TrimSpace(server)) {
			// The URL is not shown, because it may have a password.
			problems.Add("nats_url", "invalid URL: use nats://HOST:PORT, or several separated by commas, and percent-encode special characters in a password")
			break
		}
		inURL = inURL || strings.Contains(server, "@")
	}
	if c.NATSURL == "" {
		for _, s := range c.natsSettings() {
			if s.value != "" {
				problems.Add(s.setting, "requires nats_url")
			}
		}
		return
	}
	c.checkNATSUser(inURL, problems)
	c.checkNATSTLS(problems)
	if c.NATSReplicas < 0 || c.NATSReplicas > maxReplicas {
		problems.Add("nats_replicas", "must be 1 to %d", maxReplicas)
	}
	for _, s := range []struct{ setting, value string }{{"nats_prefix", c.NATSPrefix}, {"nats_domain", c.NATSDomain}} {
		if s.value != "" && !natsToken.MatchString(s.value) {
			problems.Add(s.setting, "invalid name %.66q: use 1 to 32 letters, digits, _ or -, with a letter or digit first", s.value)
		}
	}
}

// natsSettings returns all settings that require nats_url, with their values.
func (c *Config) natsSettings() []struct{ setting, value string } {
	replicas := ""
	if c.NATSReplicas != 0 {
		replicas = strconv.Itoa(c.NATSReplicas)
	}
	return []struct{ setting, value string }{
		{"nats_credentials_file", c.NATSCredentialsFile},
		{"nats_nkey_file", c.NATSNKeyFile},
		{"nats_username", c.NATSUsername},
		{"nats_password_file", c.NATSPasswordFile},
		{"nats_token_file", c.NATSTokenFile},
		{"nats_tls_ca", c.NATSTLSCAFile},
		{"nats_tls_cert", c.NATSTLSCertFile},
		{"nats_tls_key", c.NATSTLSKeyFile},
		{"nats_domain", c.NATSDomain},
		{"nats_prefix", c.NATSPrefix},
		{"nats_replicas", replicas},
		{"nats_placement_cluster", c.NATSPlacementCluster},
		{"nats_placement_tags", strings.Join(c.NATSPlacementTags, ",")},
	}
}

// checkNATSUser checks that there is one identity.
func (c *Config) checkNATSUser(inURL bool, problems *Problems) {
	if c.NATSUsername != "" && c.NATSPasswordFile == "" {
		problems.Add("nats_username", "requires nats_password_file: set both or neither")
	}
	if c.NATSPasswordFile != "" && c.NATSUsername == "" {
		problems.Add("nats_password_file", "requires nats_username: set both or neither")
	}
	first := ""
	if inURL {
		first = "nats_url"
	}
	for _, s := range []struct{ setting, value string }{
		{"nats_credentials_file", c.NATSCredentialsFile},
		{"nats_nkey_file", c.NATSNKeyFile},
		{"nats_password_file", c.NATSPasswordFile},
		{"nats_token_file", c.NATSTokenFile},
	} {
		switch {
		case s.value == "":
		case first == "":
			first = s.setting
		default:
			problems.Add(s.setting, "%s already has the credentials for NATS: use one of them", first)
		}
	}
}

// checkNATSTLS checks the TLS files for NATS.
func (c *Config) checkNATSTLS(problems *Problems) {
	switch {
	case c.NATSTLSCertFile == "" && c.NATSTLSKeyFile != "":
		problems.Add("nats_tls_key", "nats_tls_cert and nats_tls_key require each other: set both or neither")
	case c.NATSTLSCertFile != "" && c.NATSTLSKeyFile == "":
		problems.Add("nats_tls_cert", "nats_tls_cert and nats_tls_key require each other: set both or neither")
	case c.NATSTLSCertFile != "":
		if _, err := readCertificate(c.NATSTLSCertFile, c.NATSTLSKeyFile); err != nil {
			problems.Add("nats_tls_cert", "TLS certificate in %s and %s: %v", c.NATSTLSCertFile, c.NATSTLSKeyFile, err)
		}
	}
	if c.NATSTLSCAFile != "" {
		authorities, err := readFile(c.NATSTLSCAFile, maxFile)
		if err == nil {
			_, err = listen.ParseCertPool(c.NATSTLSCAFile, authorities)
		}
		if err != nil {
			problems.Add("nats_tls_ca", "authorities of the NATS server's certificate: %v", err)
		}
	}
}

// External returns the settings for a storage on a NATS server.
func (c *Config) External() storage.External {
	return storage.External{
		CredentialsFile: c.NATSCredentialsFile, NKeyFile: c.NATSNKeyFile,
		Username: c.NATSUsername, PasswordFile: c.NATSPasswordFile, TokenFile: c.NATSTokenFile,
		CAFile: c.NATSTLSCAFile, CertFile: c.NATSTLSCertFile, KeyFile: c.NATSTLSKeyFile,
		Domain: c.NATSDomain, Prefix: c.NATSPrefix, Replicas: c.NATSReplicas,
		PlacementCluster: c.NATSPlacementCluster, PlacementTags: c.NATSPlacementTags,
	}
}
