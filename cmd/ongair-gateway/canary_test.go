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

// secretVariable matches the names of variables that contain secrets. Variables that contain a
// path to a secret do not match.
var secretVariable = regexp.MustCompile(`(TOKEN|SECRET|PASSWORD|API_KEY)$`)

// secretValue matches the secrets in a config file, even if the file is not valid YAML.
var secretValue = regexp.MustCompile(`\b(?:` + strings.Join(config.SecretKeys(), "|") + `)\s*:[ \t]*([^,}\n]*)`)

// writeFile writes a new file for the gateway.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewriteFile(t, path, content)
	return path
}

// rewriteFile writes a file for the gateway and records its secrets. The secrets are the secret
// settings of a config file (.yaml), and every word of any other file.
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

// assertNoSecrets asserts that the output of a command contains no secret or content that a
// gateway received.
func assertNoSecrets(t T, args []string, out, errOut string) {
	t.Helper()
	switch args[0] {
	case "serve":
		if slices.Contains(args, "--sandbox") {
			out = removeSandboxExamples(t, out)
		}
		assert.Empty(t, out, "serve writes nothing to stdout")
	case "config":
	case "tail":
		out = "" // events
	default:
		return // responses to the caller's own calls, and new keys
	}
	AssertNoCanary(t, out+errOut)
}

// sandboxExamples matches the examples that `serve --sandbox` prints.
var sandboxExamples = regexp.MustCompile(`(?s)^Ongair Gateway is running with .*\nAll functions of the sandbox: \S+ \S+\n$`)

// removeSandboxExamples removes the examples of `serve --sandbox` from the output. The examples
// may contain a contact and the webhook's path with its secret, which is valid only for this
// process. They must contain no other secret, and that secret must not occur elsewhere.
func removeSandboxExamples(t T, out string) string {
	t.Helper()
	examples := sandboxExamples.FindString(out)
	examples = strings.ReplaceAll(examples, Contact, "CONTACT")
	path := regexp.MustCompile(`/webhooks/` + config.DefaultChannel + `/([\w-]+)`)
	if match := path.FindStringSubmatch(examples); match != nil {
		Given(match[1])
	}
	AssertNoCanary(t, path.ReplaceAllString(examples, "WEBHOOK"))
	return sandboxExamples.ReplaceAllString(out, "")
}
