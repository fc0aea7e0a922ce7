package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/ongair"
	"github.com/ongair/ongair-gateway/server/telemetry"
)

func configuration(t *testing.T) string { return document(t, "docs/configuration.md") }

func document(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile("../../" + path)
	require.NoError(t, err)
	return string(b)
}

// fenced returns the code blocks of a language in a Markdown document.
func fenced(markdown, language string) []string {
	var blocks []string
	for _, match := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(markdown, -1) {
		blocks = append(blocks, strings.TrimSpace(match[1]))
	}
	return blocks
}

// paste runs a command line of a document and checks that it succeeds. It ends a command that
// streams after the first MessageReceived.
func paste(t *testing.T, g *gateway, line string) {
	t.Helper()
	tool, _, _ := strings.Cut(line, " ")
	path := os.Getenv("PATH")
	switch tool {
	case "go":
		line = strings.Replace(line, "go run ./cmd/ongair-gateway", binary, 1)
	case "grpcurl":
		bin, err := filepath.Abs("../../tools/bin")
		require.NoError(t, err)
		path = bin + string(os.PathListSeparator) + path
		if _, err := os.Stat(filepath.Join(bin, tool)); err != nil {
			t.Skip("tools/bin/grpcurl is missing: run make tools")
		}
	default:
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: install it", tool)
		}
	}
	streams := regexp.MustCompile(`ubscribe| tail `).MatchString(line)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	cmd.Env = append(environment([]string{"ONGAIR_GATEWAY_ADDR=" + g.GRPC}), "PATH="+path)
	out := &notifyingBuilder{done: func(text string) bool { return strings.Contains(text, "MessageReceived") }}
	if streams {
		out.then = cancel
	}
	cmd.Stdout = out
	var errOut strings.Builder
	cmd.Stderr = &errOut
	err := cmd.Run()
	if streams {
		assert.True(t, out.done(out.String()), "%s\n%s\n%s", line, out, &errOut)
		return
	}
	require.NoError(t, err, "%s\n%s\n%s", line, out, &errOut)
	assert.NotContains(t, out.String(), `"code":`, line)
}

// notifyingBuilder calls then after each write for which done returns true.
type notifyingBuilder struct {
	strings.Builder
	done func(string) bool
	then func()
}

func (s *notifyingBuilder) Write(b []byte) (int, error) {
	n, err := s.Builder.Write(b)
	if s.then != nil && s.done(s.String()) {
		s.then()
	}
	return n, err
}

// sandboxed starts a gateway with a sandbox. The streams of the gateway have events.
func sandboxed(t *testing.T) (g *gateway, sandboxAddr string) {
	t.Helper()
	g = serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	g.waitFor(t, "the examples", func() bool { return strings.Contains(g.out(), "_sandbox/\n") })
	sandboxAddr = regexp.MustCompile(`http://(\S+)/_sandbox/\n`).FindStringSubmatch(g.out())[1]
	// This creates events for the commands that stream.
	command(t, nil, "send", "--addr", g.GRPC, "--external-id", "+254722200200", "--text", "Hi")
	return g, sandboxAddr
}

func TestTheCommandsOfTheDocumentsWorkAsPasted(t *testing.T) {
	g, sandboxAddr := sandboxed(t)
	actualAddrs := strings.NewReplacer(
		config.DefaultGRPCAddr, g.GRPC, config.DefaultHTTPAddr, g.HTTP, config.DefaultWebhookAddr, g.Webhook,
		defaultSandboxAddr, sandboxAddr,
	)
	for path, least := range map[string]int{"README.md": 5, "docs/calls.md": 12, "docs/sandbox.md": 5} {
		commands := 0
		for _, line := range fenced(document(t, path), "sh") {
			if line == "go run ./cmd/ongair-gateway serve --sandbox" || line == "go test ./..." {
				continue // the gateway that this test has started, and this test
			}
			commands++
			t.Run(path+" "+line, func(t *testing.T) { paste(t, g, actualAddrs.Replace(line)) })
		}
		assert.GreaterOrEqual(t, commands, least, path)
	}
}

func TestTheCommandsThatServePrintsWorkAsPasted(t *testing.T) {
	g, _ := sandboxed(t)
	commands := 0
	for line := range strings.Lines(g.out()) {
		line = strings.TrimSpace(line)
		if tool, _, _ := strings.Cut(line, " "); tool != "ongair-gateway" && tool != "curl" && tool != "grpcurl" {
			continue
		}
		commands++
		line = regexp.MustCompile(`^ongair-gateway`).ReplaceAllString(line, "go run ./cmd/ongair-gateway")
		t.Run(line, func(t *testing.T) { paste(t, g, line) })
	}
	assert.Equal(t, 7, commands)
}

func TestTheConfigurationTableMatchesTheFlags(t *testing.T) {
	// The help of a flag ends with its default in parentheses, if it has one.
	type setting struct{ env, defaultValue string }
	documented, actual := map[string]setting{}, map[string]setting{}
	for row := range strings.Lines(configuration(t)) {
		cells := strings.Split(row, "|")
		for i := range cells {
			cells[i] = strings.Trim(cells[i], " `\n")
		}
		if len(cells) != 6 || !regexp.MustCompile(`^--[a-z]`).MatchString(cells[1]) {
			continue
		}
		flag, key := strings.TrimPrefix(cells[1], "--"), cells[3]
		value, _, _ := strings.Cut(cells[4], "`, or ") // an alternative is described in words
		documented[flag] = setting{env: cells[2], defaultValue: value}
		if key != "" {
			assert.Equal(t, strings.ReplaceAll(flag, "-", "_"), key, "the key in the file is the name of the flag")
			assert.Contains(t, serveCmd{}.source().Flags, key)
		}
	}
	parser, err := kong.New(&cli{})
	require.NoError(t, err)
	for _, command := range parser.Model.Children {
		if command.Name != "serve" {
			continue
		}
		for _, flag := range command.Flags {
			s := setting{env: strings.Join(flag.Envs, " ")}
			if match := regexp.MustCompile(`\(([^ )]+)[^)]*\)\.$`).FindStringSubmatch(flag.Help); match != nil {
				s.defaultValue = strings.TrimSuffix(match[1], ",")
			}
			assert.Equal(t, "ONGAIR_GATEWAY_"+strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")), s.env)
			// The table describes a default that is not a value in words.
			if s.defaultValue == "" {
				s.defaultValue = documented[flag.Name].defaultValue
				assert.Regexp(t, "^(the embedded log|no TLS|anybody|none|)$", s.defaultValue, flag.Name)
			}
			actual[flag.Name] = s
		}
	}
	assert.Equal(t, actual, documented)
	for flag, value := range map[string]string{
		"grpc-addr": config.DefaultGRPCAddr, "http-addr": config.DefaultHTTPAddr, "webhook-addr": config.DefaultWebhookAddr,
		"admin-addr": config.DefaultAdminAddr, "sandbox-addr": defaultSandboxAddr, "log-format": telemetry.FormatText,
		"retention-age": "168h", "retention-bytes": "10GiB", "duplicate-window": "2m", "request-id-age": "24h", "grace": config.DefaultGrace.String(),
	} {
		assert.Equal(t, value, documented[flag].defaultValue, flag)
	}
	assert.Equal(t, 168*time.Hour, config.DefaultRetentionAge)
	assert.EqualValues(t, 10<<30, config.DefaultRetentionBytes)
	assert.Equal(t, 2*time.Minute, config.DefaultDuplicateWindow)
	assert.Equal(t, 24*time.Hour, config.DefaultRequestIDAge)
	for _, row := range []string{
		fmt.Sprintf("| `callers.NAME.max_rate` | `%d` calls a second |", auth.DefaultMaxRate),
		fmt.Sprintf("| `callers.NAME.max_in_flight` | `%d` calls at once |", auth.DefaultMaxInFlight),
		fmt.Sprintf("| `callers.NAME.max_streams` | `%d` subscriptions at once |", auth.DefaultMaxStreams),
		fmt.Sprintf("| `callers.NAME.max_connections` | `%d` connections at once |", auth.DefaultMaxConnections),
	} {
		assert.Contains(t, configuration(t), row)
	}
	assert.Contains(t, configuration(t), fmt.Sprintf("| `channels.NAME.max_in_flight` | `%d` calls at once |", ongair.DefaultMaxInFlight))
}

// A name without a folder is in the last folder that is named in its line.
func TestFilesNamedInCONTRIBUTINGExist(t *testing.T) {
	names := 0
	for line := range strings.Lines(document(t, "CONTRIBUTING.md")) {
		folder := ""
		for _, match := range regexp.MustCompile("`([^` ]+)`").FindAllStringSubmatch(line, -1) {
			name := match[1]
			switch {
			case regexp.MustCompile(`^(server|cmd|proto|gen|tools|docs)(/|$)`).MatchString(name):
				folder = name
				if strings.Contains(filepath.Base(name), ".") {
					folder = filepath.Dir(name)
				}
			case folder != "" && strings.HasSuffix(name, ".go") && !strings.Contains(name, "/"):
				name = filepath.Join(folder, name)
			default:
				continue
			}
			found, err := filepath.Glob(filepath.Join("..", "..", name) + "*")
			require.NoError(t, err)
			assert.NotEmpty(t, found, "%s, in: %s", name, line)
			names++
		}
	}
	assert.Greater(t, names, 60)
}
