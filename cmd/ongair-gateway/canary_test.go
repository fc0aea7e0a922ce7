package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// secretVariable are the names of variables with secrets. Those with a path are others.
var secretVariable = regexp.MustCompile(`(TOKEN|SECRET|PASSWORD|API_KEY)$`)

// secretValue finds the secrets in a config file, also in one that is no YAML.
var secretValue = regexp.MustCompile(`\b(?:` + strings.Join(config.SecretKeys(), "|") + `)\s*:[ \t]*([^,}\n]*)`)

// writeFile writes a new file for the gateway.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewriteFile(t, path, content)
	return path
}

// rewriteFile writes a file for the gateway, whose secrets are not to be seen: those of a
// config file, and all that is in another one.
func rewriteFile(t *testing.T, path, content string) {
	t.Helper()
	if filepath.Ext(path) == ".yaml" {
		for _, match := range secretValue.FindAllStringSubmatch(content, -1) {
			Given(strings.Trim(match[1], ` "'[]`))
		}
	} else {
		Given(strings.Fields(content)...)
	}
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

// assertDiscreet asserts that what a command wrote has nothing in it that a gateway was
// given.
func assertDiscreet(t T, args []string, out, errOut string) {
	t.Helper()
	switch args[0] {
	case "serve":
		if slices.Contains(args, "--sandbox") {
			out = withoutSandbox(t, out)
		}
		assert.Empty(t, out, "serve has nothing to say on stdout")
	case "config":
	case "tail":
		out = "" // events
	default:
		return // what a client is told of its own message, and new keys
	}
	AssertNoCanary(t, out+errOut)
}

// tryOut is what `serve --sandbox` prints, from its first line to its last.
var tryOut = regexp.MustCompile(`(?s)^Ongair Gateway is running with .*\nAll functions of the sandbox: \S+ \S+\n$`)

// withoutSandbox takes out of the output what a sandbox is announced with. It has the
// contact of the examples, and the webhook's path with its secret, which works for nothing
// but this process, to be pasted: these two alone, and nowhere else.
func withoutSandbox(t T, out string) string {
	t.Helper()
	said := tryOut.FindString(out)
	said = strings.ReplaceAll(said, Contact, "CONTACT")
	path := regexp.MustCompile(`/webhooks/` + config.DefaultChannel + `/([\w-]+)`)
	if match := path.FindStringSubmatch(said); match != nil {
		Given(match[1])
	}
	AssertNoCanary(t, path.ReplaceAllString(said, "WEBHOOK"))
	return tryOut.ReplaceAllString(out, "")
}
