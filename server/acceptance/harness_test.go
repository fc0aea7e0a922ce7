// Package acceptance tests the promises of a whole gateway, on real ports, with a sandbox in
// Ongair's place. The name of a file begins with what is promised:
//
//   - delivery: every subscriber gets every event, in order and once;
//   - storage: what was answered 200 survives crashes, full disks and faulty ones;
//   - sending: a call reaches Ongair once, and every failure says what is known;
//   - access: only callers get in, within their limits, whatever clients do;
//   - mesh: several replicas, clusters, and stops.
//
// Tests of streams run over every transport and on both homes of the log (harness_test.go).
package acceptance

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// home makes a place for a log, an empty one each time, and returns what has a
// gateway keep its log there.
type home func(*testing.T) func(*config.Config)

// embedded is what a gateway has that is told nothing.
func embedded(*testing.T) func(*config.Config) { return func(*config.Config) {} }

// external is a NATS server.
func external(t *testing.T) func(*config.Config) {
	t.Helper()
	url := storagetest.Serve(t, nil).URL()
	return func(c *config.Config) { c.NATSURL, c.DataDir = url, "" }
}

// onEachHome runs a test of the contract of streams on every home of the log.
func onEachHome(t *testing.T, test func(*testing.T, home)) {
	t.Helper()
	for name, log := range map[string]home{"embedded": embedded, "external": external} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, log)
		})
	}
}

// onEachTransport runs a test of the contract of streams over every transport, and over
// pages.
func onEachTransport(t *testing.T, test func(*testing.T, Transport)) {
	t.Helper()
	onEach(t, append(Transports(), OverPages{}), test)
}

// onEachStream runs a test of what only a stream promises over every transport that has one.
func onEachStream(t *testing.T, test func(*testing.T, Transport)) {
	t.Helper()
	onEach(t, Transports(), test)
}

func onEach(t *testing.T, transports []Transport, test func(*testing.T, Transport)) {
	t.Helper()
	for _, transport := range transports {
		t.Run(transport.String(), func(t *testing.T) {
			t.Parallel()
			test(t, transport)
		})
	}
}

// onEachHomeAndTransport runs a test of the contract of streams on every home of the log over
// every transport, and over every stream behind every proxy.
func onEachHomeAndTransport(t *testing.T, test func(*testing.T, home, Transport)) {
	t.Helper()
	onEachHome(t, func(t *testing.T, log home) {
		onEachTransport(t, func(t *testing.T, transport Transport) { test(t, log, transport) })
	})
	for _, proxy := range Proxies() {
		t.Run("behind "+proxy, func(t *testing.T) {
			t.Parallel()
			onEachStream(t, func(t *testing.T, transport Transport) { test(t, embedded, Behind(t, proxy, transport)) })
		})
	}
}

// getStatus returns the status of a page.
func getStatus(t *testing.T, url string) int {
	t.Helper()
	response, err := http.Get(url)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}
