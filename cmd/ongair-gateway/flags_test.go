package main

import (
	"reflect"
	"slices"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	. "github.com/ongair/ongair-gateway/server/servertest"
)

// parseFlags parses a command line and checks its flags.
func parseFlags(t *testing.T, args []string) error {
	t.Helper()
	parser, err := kong.New(&cli{})
	require.NoError(t, err)
	command, err := parser.Parse(args)
	if err != nil {
		return err
	}
	return rejectEmptyFlags(command)
}

// A flag is empty if a shell variable is unset. It must not select everything.
func TestEmptyFlagsAreRejected(t *testing.T) {
	parser, err := kong.New(&cli{})
	require.NoError(t, err)
	checked := 0
	var check func(path []string, node *kong.Node)
	check = func(path []string, node *kong.Node) {
		for _, child := range node.Children {
			check(append(slices.Clone(path), child.Name), child)
		}
		for _, flag := range node.Flags {
			if flag.IsBool() || flag.Tag.Has("emptyok") {
				continue
			}
			empty := [][]string{{"--" + flag.Name, ""}, {"--" + flag.Name + "="}}
			if flag.IsSlice() {
				for _, list := range []string{",", "a,", ",a", "a,,b", "a,b,"} {
					empty = append(empty, []string{"--" + flag.Name + "=" + list})
				}
				empty = append(empty, []string{"--" + flag.Name, "a", "--" + flag.Name, ""}, []string{"--" + flag.Name, "", "--" + flag.Name, "a"})
			}
			for _, args := range empty {
				args = append(slices.Clone(path), args...)
				for _, other := range node.Flags {
					if other.Required && other != flag {
						args = append(args, "--"+other.Name, "x")
					}
				}
				err := parseFlags(t, args)
				if !assert.Error(t, err, args) {
					continue
				}
				assert.Contains(t, err.Error(), "--"+flag.Name, args)
				if k := flag.Target.Kind(); k == reflect.String && flag.Enum == "" || k == reflect.Slice {
					assert.Contains(t, err.Error(), ": empty value: set one, or remove the flag", args)
				}
				checked++
			}
		}
	}
	check(nil, parser.Model.Node)
	assert.Greater(t, checked, 150)

	// The address has no listener. The commands must fail before they connect.
	for _, args := range [][]string{
		{"tail", "--addr", "127.0.0.1:1", "--external-contact-ids", ""},
		{"list-events", "--addr", "127.0.0.1:1", "--channels="},
		{"send", "--addr", "127.0.0.1:1", "--external-id", Contact, "--text", "Hello", "--request-id", ""},
		{"config", "check", "--encryption-key-file="},
	} {
		got := command(t, nil, args...)
		assert.Equal(t, exitUsage, got.code, args)
		assert.Contains(t, got.errOut, ": empty value: set one, or remove the flag\n", args)
	}
}

func TestOptionalTextsMayBeEmpty(t *testing.T) {
	box, url := silentSandbox(t)
	g := serve(t, oneChannel(url), "--data-dir", t.TempDir())
	for _, args := range [][]string{
		{"send-image", "--image", "https://example.com/i.png", "--content-type", "image/png", "--text", ""},
		{"send-document", "--file-url", "https://example.com/d.pdf", "--caption="},
		{"create-ticket", "--message-id", "1", "--name", "", "--text=", "--email", "", "--phone-number", "", "--profile-picture-url", ""},
	} {
		got := command(t, nil, append(args, "--addr", g.GRPC, "--external-id", Contact)...)
		assert.Zero(t, got.code, "%s: %s", args, got.errOut)
	}
	assert.Len(t, box.Requests(), 3)
}

func TestAValueThatOnlyLooksEmptyIsAccepted(t *testing.T) {
	for _, args := range [][]string{
		{"tail", "--channels", "a,b", "--external-contact-ids", `a\,,b`, "--conversation-ids=a=", "--notification-types", "="},
		{"send", "--external-id", " ", "--text", "a,,b", "--thread"},
		{"send", "--external-id=1", "--text==", "--no-thread"},
		{"tail", "--channels", "a", "--tls"},
	} {
		assert.NoError(t, parseFlags(t, args), args)
	}
}

func TestAnEmptyEnvironmentVariableIsIgnored(t *testing.T) {
	g := serve(t, nil, "--sandbox", "--sandbox-addr=127.0.0.1:0")
	got := command(t, []string{"ONGAIR_GATEWAY_API_KEY=", "ONGAIR_GATEWAY_ADDR=" + g.GRPC}, "list-events")
	assert.Zero(t, got.code, got.errOut)
}
