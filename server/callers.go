package server

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"

	"github.com/ongair/ongair-gateway/server/auth"
)

// defaultCaller is the name of the caller that has Config.APIKey.
const defaultCaller = "default"

// checkCallers returns everything that is wrong with the callers.
func (c *Config) checkCallers() (errs []error) {
	known, names := map[auth.KeyHash]string{}, map[string]string{}
	if c.APIKey != "" {
		known[auth.HashKey(c.APIKey)] = defaultCaller
	}
	for _, name := range slices.Sorted(maps.Keys(c.Callers)) {
		caller := c.Callers[name]
		fail := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("caller "+name+": "+format, args...))
		}
		if !regexp.MustCompile(channelNamePattern).MatchString(name) {
			errs = append(errs, fmt.Errorf("caller %q: a name is 1 to 64 letters, digits, _ and -", name))
			continue
		}
		if name == defaultCaller && c.APIKey != "" {
			fail("ONGAIR_GATEWAY_API_KEY or api_key makes a caller of this name, too")
		}
		if len(caller.KeyHashes) == 0 && len(caller.Certificates) == 0 {
			fail("it has neither key_hashes, of which `ongair-gateway keys new` makes one, nor certificates")
		}
		if len(caller.Certificates) > 0 && c.TLSClientCAFile == "" {
			fail("it has certificates, and tls_client_ca is not set: nobody would vouch for them")
		}
		if len(caller.Actions) == 0 {
			fail("it may do nothing: give it actions")
		}
		if len(caller.Channels) == 0 {
			fail("it may use no channel: give it channels, or %q for all", auth.AllChannels)
		}
		if min(caller.MaxInFlight, caller.MaxStreams, caller.MaxConnections) < 0 || caller.MaxRate < 0 {
			fail("its limits cannot be negative")
		}
		for _, channel := range caller.Channels {
			if _, ok := c.Channels[channel]; !ok && channel != auth.AllChannels {
				fail("there is no channel %q", channel)
			}
		}
		for _, hash := range caller.KeyHashes {
			if other, taken := known[hash]; taken {
				fail("a key of its is also one of caller %s", other)
			}
			known[hash] = name
		}
		for _, certificate := range caller.Certificates {
			if other, taken := names[certificate]; taken {
				fail("a certificate of its, %s, is also one of caller %s", certificate, other)
			}
			names[certificate] = name
		}
	}
	return errs
}

// callers are all callers.
func (c *Config) callers() map[string]auth.Caller {
	callers := maps.Clone(c.Callers)
	if c.APIKey != "" {
		if callers == nil {
			callers = map[string]auth.Caller{}
		}
		callers[defaultCaller] = auth.Unrestricted(c.APIKey)
	}
	return callers
}

// maxStreams is how many calls and streams a gRPC connection has at a time: all that any
// caller may have, and by default, so that it is its limits that say no, with a reason;
// beyond it a client waits. It is fixed while the gateway runs: a caller who is given more
// than that needs another connection.
func (c *Config) maxStreams() uint32 {
	most := uint64(auth.DefaultMaxStreams + auth.DefaultMaxInFlight)
	for _, caller := range c.Callers {
		streams, calls := cmp.Or(caller.MaxStreams, auth.DefaultMaxStreams), cmp.Or(caller.MaxInFlight, auth.DefaultMaxInFlight)
		most = max(most, uint64(streams)+uint64(calls)) // neither is negative, says check
	}
	return uint32(min(most, math.MaxUint32))
}

// CallerCount returns how many callers there are; none means that the gateway is open.
func (c *Config) CallerCount() int { return len(c.callers()) }
