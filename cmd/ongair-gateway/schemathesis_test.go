package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/servertest/programs"
)

// Schemathesis calls the gateway with valid and invalid requests, and checks the answers. Its
// settings and the findings that are no defects are in testdata/schemathesis.
func TestSchemathesisFindsNoDefect(t *testing.T) {
	dir, err := filepath.Abs("testdata/schemathesis")
	require.NoError(t, err)
	python := programs.Require(t, "python3")
	installed := install(t, python, []string{filepath.Join(dir, "requirements.txt")},
		[]string{python, "-m", "venv", "."},
		[]string{filepath.Join("bin", "python"), "-m", "pip", "install", "--quiet", "--requirement", "requirements.txt"},
	)
	const key = "the-key-of-schemathesis"
	g := serve(t, []string{"ONGAIR_GATEWAY_API_KEY=" + key}, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, filepath.Join(installed, "bin", "python"), "-m", "schemathesis.cli",
		"--config-file", filepath.Join(dir, "schemathesis.toml"), "run", "http://"+g.HTTP+"/openapi.json",
		"--header", "Authorization: Bearer "+key, "--max-examples", fmt.Sprint(Rounds(30, 500)), "--no-color")
	run.Dir = t.TempDir() // schemathesis writes to it
	run.Env = environment([]string{"PYTHONPATH=" + dir, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUTF8=1"})
	out, err := run.CombinedOutput()
	out = regexp.MustCompile(`(?m)^(.{1000}).*$`).ReplaceAll(out, []byte("$1…")) // testify prints no line as long as some URLs
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "Selected: 6/8", "all calls but the stream's two")
	assert.Contains(t, string(out), "Tested: 6")
}
