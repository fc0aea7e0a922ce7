package config

import (
	"maps"
	"slices"
	"strings"

	"github.com/ongair/ongair-gateway/server/auth"
)

// defaultCaller is the name of the caller that has Config.APIKey.
const defaultCaller = "default"

// checkCallers adds what is wrong with the callers.
func (c *Config) checkCallers(problems *Problems) {
	for _, key := range []struct{ setting, value string }{{"api_key", c.APIKey}, {"previous_api_key", c.PreviousAPIKey}} {
		if key.value != "" && !isAPIKey(key.value) {
			problems.Add(key.setting, "must be 16 or more printable characters without spaces")
		}
	}
	if c.PreviousAPIKey != "" && c.APIKey == "" {
		problems.Add("previous_api_key", "needs a new one beside it, as api_key")
	}
	if c.PreviousAPIKey != "" && c.PreviousAPIKey == c.APIKey {
		problems.Add("previous_api_key", "is the same as api_key: a new one has to take its place first")
	}
	// Of each key and certificate, who has it.
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
			problems.Add(SettingName("callers", name), "a name is 1 to 64 letters, digits, _ and -")
		}
		if name == defaultCaller && c.APIKey != "" {
			problems.Add(SettingName("callers", name), "ONGAIR_GATEWAY_API_KEY or api_key makes a caller of this name, too")
		}
		if len(caller.KeyHashes) == 0 && len(caller.Certificates) == 0 {
			fail("key_hashes", "caller %s has neither key_hashes, of which `ongair-gateway keys new` makes one, nor certificates", name)
		}
		if len(caller.Certificates) > 0 && c.TLSClientCAFile == "" {
			fail("certificates", "tls_client_ca is not set: nobody would vouch for them")
		}
		if len(caller.Actions) == 0 {
			fail("actions", "caller %s may do nothing: give it actions", name)
		}
		if len(caller.Channels) == 0 {
			fail("channels", "caller %s may use no channel: give it channels, or %q for all", name, auth.AllChannels)
		}
		if min(caller.MaxInFlight, caller.MaxStreams, caller.MaxConnections) < 0 || caller.MaxRate < 0 {
			problems.Add(SettingName("callers", name), "its limits cannot be negative")
		}
		for _, channel := range caller.Channels {
			if _, ok := c.Channels[channel]; !ok && channel != auth.AllChannels {
				fail("channels", "there is no channel %q", channel)
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
				fail("certificates", "%s has a *: names are compared whole, and so it would let nobody in", certificate)
			}
			if other, taken := certificates[certificate]; taken {
				fail("certificates", "%s %s", certificate, alsoOf(other, name))
			}
			certificates[certificate] = name
		}
	}
}

// isAPIKey reports whether a text can be an API key.
func isAPIKey(text string) bool {
	return len(text) >= minAPIKeyLength && consistsOf(text, func(r rune) bool { return r >= '!' && r <= '~' })
}

// alsoOf says where a caller's credential is, too.
func alsoOf(other, name string) string {
	if other == name {
		return "is there twice"
	}
	return "is also one of caller " + other
}
