package main

import (
	"encoding/json"
	"fmt"

	"github.com/ongair/ongair-gateway/server/auth"
)

// keysCmd has the commands for API keys.
type keysCmd struct {
	New keysNewCmd `cmd:"" help:"Create an API key, and its hash for the config file."`
}

type keysNewCmd struct {
	Output string `enum:"text,json" default:"text" help:"Output format: text or json (text)."`
}

// Run prints a new key and its hash. The key is not stored.
func (c keysNewCmd) Run(s streams) error {
	key := auth.NewKey()
	hash := auth.HashKey(key).String()
	if c.Output == "json" {
		return json.NewEncoder(s.out).Encode(map[string]string{"key": key, "hash": hash})
	}
	_, err := fmt.Fprintf(s.out, "API key, for the caller:         %s\nkey_hashes, in the config file:  %s\n", key, hash)
	return err
}
