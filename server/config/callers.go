package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/ongair/ongair-gateway/server/auth"
)

// defaultCaller is the name of the caller with Config.APIKey.
const defaultCaller = "default"

// checkCallers adds the problems of the callers.
func (c *Config) checkCallers(problems *Problems) {
	for _, key := range []struct{ setting, value string }{{"api_key", c.APIKey}, {"previous_api_key", c.PreviousAPIKey}} {
		if key.value != "" && !isAPIKey(key.value) {
			problems.Add(key.setting, "must be 16 or more printable characters without spaces")
		}
	}
	if c.PreviousAPIKey != "" && c.APIKey == "" {
		problems.Add("previous_api_key", "requires api_key")
	}
	if c.PreviousAPIKey != "" && c.PreviousAPIKey == c.APIKey {
		problems.Add("previous_api_key", "must differ from api_key")
	}
	// These maps have the name of the caller for each key and each certificate.
	keys, certificates := map[auth.KeyHash]string{}, map[string]string{}
	for _, key := range []string{c.APIKey, c.PreviousAPIKey} {
		if key != "" {
			keys[auth.HashKey(key)] = defaultCaller
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Callers)) {
		caller := c.Callers[name]
		fail := func(key, format string, args ...any) {
			problems.Add(SettingName("callers", name, key), format, args...)
		}
		if !isName(name) {
			problems.Add(SettingName("callers", name), "invalid name: use 1 to 64 letters, digits, _ or -")
		}
		if name == defaultCaller && c.APIKey != "" {
			problems.Add(SettingName("callers", name), "the caller of api_key and ONGAIR_GATEWAY_API_KEY already has this name")
		}
		if len(caller.KeyHashes) == 0 && len(caller.Certificates) == 0 {
			fail("key_hashes", "caller %s has neither key_hashes nor certificates: create a key with `ongair-gateway keys new`", name)
		}
		if len(caller.Certificates) > 0 && c.TLSClientCAFile == "" {
			fail("certificates", "requires tls_client_ca")
		}
		if len(caller.Actions) == 0 {
			fail("actions", "caller %s has no actions", name)
		}
		if len(caller.Channels) == 0 {
			fail("channels", "caller %s has no channels: list them, or use %q for all", name, auth.AllChannels)
		}
		if min(caller.MaxInFlight, caller.MaxStreams, caller.MaxConnections) < 0 || caller.MaxRate < 0 {
			problems.Add(SettingName("callers", name), "limits must not be negative")
		}
		for _, channel := range caller.Channels {
			if _, ok := c.Channels[channel]; !ok && channel != auth.AllChannels {
				fail("channels", "unknown channel %q", channel)
			}
		}
		for i, hash := range caller.KeyHashes {
			if other, taken := keys[hash]; taken {
				fail("key_hashes", "number %d %s", i+1, alsoOf(other, name))
			}
			keys[hash] = name
		}
		for _, certificate := range caller.Certificates {
			if strings.Contains(certificate, "*") {
				fail("certificates", "%s has a wildcard, which is not supported: use whole names", certificate)
			}
			if other, taken := certificates[certificate]; taken {
				fail("certificates", "%s %s", certificate, alsoOf(other, name))
			}
			certificates[certificate] = name
		}
	}
}

// isAPIKey reports whether text is a valid API key.
func isAPIKey(text string) bool {
	return len(text) >= minAPIKeyLength && consistsOf(text, func(r rune) bool { return r >= '!' && r <= '~' })
}

// alsoOf returns the problem of a credential that is configured twice, for two callers or for the
// same one.
func alsoOf(other, name string) string {
	if other == name {
		return "is a duplicate"
	}
	return "is already used by caller " + other
}
