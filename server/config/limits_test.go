package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/auth"
)

// nested returns levels of maps, each a line that is indented more than the one before.
func nested(levels int) string {
	var b strings.Builder
	for i := range levels {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// bomb returns anchors of which each repeats the one before ten times.
func bomb(levels int) string {
	b := "x0: &x0 [\"0123456789\"]\n"
	for i := range levels {
		b += fmt.Sprintf("x%d: &x%d [%s]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*x%d,", i), 10))
	}
	return b
}

func TestAConfigFileThatWouldTakeTooMuchIsRejected(t *testing.T) {
	const (
		deep    = "lists and maps are nested more than 32 levels deep"
		itself  = "an alias refers to a value that contains it"
		large   = "larger than 1.0 MiB"
		aliases = "is larger than 8.0 MiB after its aliases and variables are expanded"
	)
	t.Setenv("LONG", strings.Repeat("x", 100_000))
	for _, tt := range []struct{ name, file, says string }{
		{"200 kB of brackets", strings.Repeat("[", 200_000), "FILE:1:33: " + deep},
		{"200 kB of braces", strings.Repeat("{a: ", 50_000), deep},
		{"brackets and braces by turns", strings.Repeat("[{a: ", 50_000), deep},
		{"lists in lists on a line", strings.Repeat("- ", 100_000), deep},
		{"keys that are keys of maps", strings.Repeat("? ", 100_000), deep},
		{"lists that are keys", strings.Repeat("? - ", 50_000), deep},
		{"lists with anchors", strings.Repeat("- &a\n", 1) + strings.Repeat("[&a ", 50_000), deep},
		{"lists with tags", strings.Repeat("[!a ", 50_000), deep},
		{"indentation", nested(1000), "FILE:33:"},
		{"33 levels", "unknown: " + strings.Repeat("[", 32) + "x" + strings.Repeat("]", 32), deep},
		{"20 levels of lines and 20 of brackets", nested(20) + strings.Repeat(" ", 30) + strings.Repeat("[", 20) + "x" + strings.Repeat("]", 20), deep},

		{"a map that is merged into itself", "channels:\n  a: &a\n    <<: *a\n", "FILE:3: " + itself},
		{"a map in which it stands", "channels: &a\n  a: *a\n", "FILE:2: " + itself},
		{"a list in which it stands", "trusted_proxies: &a [*a]", "FILE:1: " + itself},
		{"a map far below which it stands", "callers: &a\n  b: &b\n    actions: [*b]\n    channels: [{c: *a}]\n", "FILE:3: " + itself},
		{"a key that is the map", "&a\n? *a\n: b\n", itself},
		{"a file in which it stands", "&a {channels: *a}", itself},
		{"an anchor that is used before it is there, of the other", "x: &a [*b]\ny: &b [*a]\nx2: &b {<<: *b}", "FILE:3: " + itself},

		{"aliases of aliases", bomb(9) + "trusted_proxies: *x9", "trusted_proxies: must be a list of single values"},
		{"a long list in each of many callers", "trusted_proxies: &l [" + strings.Repeat("c,", 50_000) + "]\ncallers:\n" + numbered("  %d: {channels: *l}\n", 10_000), aliases},
		{"a long text many times", "data_dir: &t \"" + strings.Repeat("x", 500_000) + "\"\ncallers: {a: {channels: [" + strings.Repeat("*t,", 50_000) + "]}}", aliases},
		{"a long text many times in a list of networks", "data_dir: &t \"" + strings.Repeat("x", 500_000) + "\"\ntrusted_proxies: [" + strings.Repeat("*t,", 90_000) + "]", aliases},
		{"a variable many times", "data_dir: \"" + strings.Repeat("${LONG}", 90_000) + "\"", aliases},
		{"maps that are merged into the next one", "callers:\n  0: &c0 {max_rate: 1}\n" + merges(20_000), aliases},

		{"more than 1 MiB", "data_dir: x\n#" + strings.Repeat(" ", 1<<20), "config file: read FILE: " + large},
		{"90,000 callers", "callers:\n" + numbered("  c%d: {key_hashes: [\"sha256:0123456789\"], actions: [send]}\n", 90_000), large},
		{"a NUL byte", "data_dir: a\x00b", "config file FILE: control characters are not allowed"},
		{"1 MiB of commas", "{" + strings.Repeat("a,", 1<<19-1) + "}", "config file FILE has more than 100,000 commas and closing brackets"},
		{"1 MiB of empty lists", "[" + strings.Repeat("[]", 1<<19-1) + "]", "config file FILE has more than 100,000 commas and closing brackets"},
		{"as many entries as are allowed", "trusted_proxies: [" + strings.Repeat("a,", maxEntries-1) + "]", "there are more problems, which are not listed"},
		{"many documents", strings.Repeat("---\n", 50_000) + "data_dir: x\n---\ndata_dir: y", "a second YAML document"},
		{"a variable without an end in a long text", "data_dir: \"" + strings.Repeat("${", 100_000) + "\"", "has a ${ without a }"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeFile(t, "gateway.yaml", tt.file)
			_, err := Load(Source{File: path})
			require.ErrorContains(t, err, strings.ReplaceAll(tt.says, "FILE", path))
			assert.Less(t, len(err.Error()), 32<<10)
		})
	}
}

// numbered returns a form of text with the numbers from 0 on.
func numbered(form string, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, form, i)
	}
	return b.String()
}

// merges returns callers into which the one before is merged.
func merges(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "  %d: &c%d {<<: *c%d}\n", i+1, i+1, i)
	}
	return b.String()
}

func TestAConfigFileIsAcceptedUpToItsLimits(t *testing.T) {
	hash := auth.HashKey("key").String()
	channel := "channels: {a: {token: t, webhook_secret: a-secret-for-tests-only}}\n"
	comment := "#" + strings.Repeat(" ", maxFile-len(channel)-1)
	for name, file := range map[string]string{
		"1 MiB":            channel + comment,
		"JSON":             `{"channels": {"a": {"token": "t", "webhook_secret": "a-secret-for-tests-only"}}}`,
		"lines of Windows": strings.ReplaceAll("\ufeff"+channel+"callers:\n  a:\n    key_hashes: ["+hash+"]\n    actions: [send]\n    channels: [a]\n", "\n", "\r\n"),
		"aliases in aliases": channel + "callers:\n  a: &a {key_hashes: [" + hash + "], actions: &x [send], channels: &c [a]}\n" +
			"  b: {<<: *a, key_hashes: [" + auth.HashKey("other").String() + "], actions: *x, channels: *c}\n",
		"empty documents after it": channel + "---\n---\n",
		"one that ends":            channel + "...\n",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Source{File: writeFile(t, "gateway.yaml", file)})
			require.NoError(t, err)
		})
	}
	_, err := Load(Source{File: writeFile(t, "gateway.yaml", channel+"unknown: "+strings.Repeat("[", 31)+"x"+strings.Repeat("]", 31))})
	require.ErrorContains(t, err, "unknown: unknown setting")
	assert.NotContains(t, err.Error(), "nested")
}

func TestOfVeryManyProblemsSomeAreListed(t *testing.T) {
	for name, file := range map[string]string{
		"in the file":  numbered("u%d: x\n", 80_000),
		"in the rules": "callers:\n" + numbered(" %d:\n", 90_000),
	} {
		path := writeFile(t, "gateway.yaml", file)
		_, err := Load(Source{File: path})
		require.Error(t, err, name)
		lines := strings.Split(err.Error(), "\n")
		require.Len(t, lines, maxProblems+1, name)
		assert.Contains(t, err.Error(), path+":2: ", name)
		assert.Equal(t, "there are more problems, which are not listed", lines[maxProblems], name)
	}
}

func TestAMistakeIsPlacedWhereItIsWrittenAlsoBehindAnAlias(t *testing.T) {
	path := writeFile(t, "gateway.yaml", `
channels: {a: {token: t, webhook_secret: a-secret-for-tests-only}}
callers:
  a: &a
    key_hashes:
      - ogk_secret
    actions: [send]
    channels: [a]
  "b.c":
    <<: *a
    max_rate:
      none
  d: *a
`)
	_, err := Load(Source{File: path})
	require.Error(t, err)
	var at []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		place, _, _ := strings.Cut(strings.TrimPrefix(line, path), ": ")
		setting, _, _ := strings.Cut(line[len(path)+len(place)+2:], ": ")
		at = append(at, place+" "+setting)
	}
	assert.Equal(t, []string{
		":6 callers.a.key_hashes.1", `:6 callers."b.c".key_hashes.1`, ":6 callers.d.key_hashes.1",
		`:11 callers."b.c".max_rate`,
	}, at)
}

// What a caller costs is the same however many there are, and little.
func TestTheWorkOfAConfigurationGrowsWithItsCallers(t *testing.T) {
	allocations := func(callers int) float64 {
		file := "channels: {a: {token: t, webhook_secret: a-secret-for-tests-only}}\ncallers:\n"
		for i := range callers {
			file += fmt.Sprintf("  c%d: {key_hashes: [%s], certificates: [\"dns:c%d.internal\"], actions: [send], channels: [a]}\n", i, auth.HashKey(fmt.Sprint(i)), i)
		}
		path := writeFile(t, "gateway.yaml", file+"tls_client_ca: nowhere\n")
		return testing.AllocsPerRun(1, func() {
			_, err := Load(Source{File: path})
			assert.ErrorContains(t, err, "requires tls_cert and tls_key")
			assert.NotContains(t, err.Error(), "\n")
		})
	}
	few, many := allocations(200), allocations(2000)
	t.Logf("%.0f allocations for a caller", many/2000)
	assert.Less(t, many/few, 12.0)
	assert.Less(t, many/2000, 120.0, "for a caller")
}
