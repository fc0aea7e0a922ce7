package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/programs"
)

// A client in TypeScript, with types of openapi-typescript, compiles in strict mode and calls the
// gateway. Its source and the versions of its packages are in testdata/typescript.
func TestATypeScriptClientOfTheOpenAPIDocumentWorks(t *testing.T) {
	dir, err := filepath.Abs("testdata/typescript")
	require.NoError(t, err)
	in := func(name string) string { return filepath.Join(dir, name) }
	node := programs.Require(t, "node")
	installed := install(t, node, []string{in("package.json"), in("package-lock.json")},
		[]string{"npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"},
	)
	const key = "the-key-of-the-typescript-client"
	g := serve(t, []string{"ONGAIR_GATEWAY_API_KEY=" + key}, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	client := t.TempDir()
	copyFiles(t, client, in("package.json"), in("tsconfig.json"), in("client.ts"))
	require.NoError(t, os.Symlink(filepath.Join(installed, "node_modules"), filepath.Join(client, "node_modules")))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"node_modules/openapi-typescript/bin/cli.js", "http://" + g.HTTP + "/openapi.json", "--output", "schema.ts"},
		{"node_modules/typescript/bin/tsc"},
		{"out/client.js", "http://" + g.HTTP, key},
	} {
		run := exec.CommandContext(ctx, node, args...)
		run.Dir, run.Env = client, environment(nil)
		out, err := run.CombinedOutput()
		require.NoError(t, err, "%s\n%s", args, out)
	}
}
