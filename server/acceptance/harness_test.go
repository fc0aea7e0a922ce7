// Package acceptance tests the guarantees of a whole gateway, on real ports, with a sandbox
// instead of Ongair. The name of a file begins with its subject:
//
//   - delivery: every subscriber gets every event, in order and once.
//   - storage: an event that was answered 200 survives crashes and faults of the disk.
//   - sending: a call reaches Ongair once, and every error states its effect.
//   - access: only known callers are admitted, within their limits.
//   - mesh: replicas, clusters and stops.
//
// Tests of streams run over every transport, with the embedded log and a log on NATS
// (harness_test.go).
package acceptance

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/servertest/proxytest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// newLog creates an empty log, and returns the configuration of a gateway that uses it.
type newLog func(*testing.T) func(*config.Config)

// embedded is the log of a gateway by default.
func embedded(*testing.T) func(*config.Config) { return func(*config.Config) {} }

// external is a log on a NATS server.
func external(t *testing.T) func(*config.Config) {
	t.Helper()
	url := storagetest.Serve(t, nil).URL()
	return func(c *config.Config) { c.NATSURL, c.DataDir = url, "" }
}

// onCluster is a log on three NATS servers.
func onCluster(t *testing.T) func(*config.Config) {
	t.Helper()
	cluster := storagetest.ServeCluster(t)
	first := Start(t, func(c *config.Config) { c.NATSURL, c.DataDir = cluster.URL(), "" })
	first.Stop() // it has created the streams
	cluster.Replicate(t)
	return func(c *config.Config) { c.NATSURL, c.DataDir = cluster.URL(), "" }
}

// onEachLog runs a test of the contract of streams with every kind of log. A cluster is one of them in
// long runs.
func onEachLog(t *testing.T, test func(*testing.T, newLog)) {
	t.Helper()
	logs := map[string]newLog{"embedded": embedded, "external": external}
	if Rounds(0, 1) > 0 {
		logs["cluster"] = onCluster
	}
	for name, log := range logs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, log)
		})
	}
}

// onEachTransport runs a test of the contract of streams over every transport, and over pages.
func onEachTransport(t *testing.T, test func(*testing.T, Transport)) {
	t.Helper()
	onEach(t, append(Transports(), OverPages{}), test)
}

// onEachStream runs a test over every transport, except for pages.
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

// onEachLogAndTransport runs a test of the contract of streams with every kind of log over every
// transport and over pages. It also runs it over every transport behind every proxy.
func onEachLogAndTransport(t *testing.T, test func(*testing.T, newLog, Transport)) {
	t.Helper()
	onEachLog(t, func(t *testing.T, log newLog) {
		onEachTransport(t, func(t *testing.T, transport Transport) { test(t, log, transport) })
	})
	for _, proxy := range proxytest.All() {
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
