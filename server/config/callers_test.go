package config

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/ongair/ongair-gateway/server/auth"
)

// A client keeps back what is beyond that, and is told nothing.
func TestAConnectionHasAllThatACallerMayHave(t *testing.T) {
	const usual = auth.DefaultMaxStreams + auth.DefaultMaxInFlight
	for name, tt := range map[string]struct {
		limits []auth.Limits
		want   uint32
	}{
		"nobody":                  {nil, usual},
		"a caller without limits": {[]auth.Limits{{}}, usual},
		"one with lower ones":     {[]auth.Limits{{MaxStreams: 1, MaxInFlight: 1}}, usual},
		"one with more streams":   {[]auth.Limits{{}, {MaxStreams: 50_000}, {MaxStreams: 20_000}}, 50_000 + auth.DefaultMaxInFlight},
		"one with more calls":     {[]auth.Limits{{MaxInFlight: 5000}}, auth.DefaultMaxStreams + 5000},
		"more than HTTP/2 has":    {[]auth.Limits{{MaxInFlight: math.MaxInt, MaxStreams: math.MaxInt}}, math.MaxUint32},
	} {
		cfg := Config{APIKey: "key", Callers: map[string]auth.Caller{}}
		for i, limits := range tt.limits {
			caller := auth.Unrestricted()
			caller.Limits = limits
			cfg.Callers[string(rune('a'+i))] = caller
		}
		assert.Equal(t, tt.want, cfg.MaxStreams(), name)
	}
}
