package jetstreamtest

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/jetstream"
)

// Cluster is a cluster of NATS servers. Its methods are for the goroutine of the
// test.
type Cluster struct {
	Servers []*Server
}

// ServeCluster starts three servers, and returns once they have a leader.
func ServeCluster(t *testing.T) *Cluster {
	t.Helper()
	const size = 3
	ports := freePorts(t, size)
	var routes []string
	for _, port := range ports {
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", port))
	}
	c := &Cluster{}
	for i, port := range ports {
		c.Servers = append(c.Servers, newServer(t, func(o *server.Options) {
			o.ServerName = fmt.Sprint("server-", i)
			o.Cluster = server.ClusterOpts{Name: "tests", Host: "127.0.0.1", Port: port}
			o.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		}))
	}
	for _, s := range c.Servers {
		s.Start(t)
		t.Cleanup(s.Stop)
	}
	require.Eventually(t, func() bool { return c.leader() != nil }, startTimeout, 10*time.Millisecond, "the cluster has no leader")
	return c
}

// URL is what clients connect to: any of the servers.
func (c *Cluster) URL() string {
	var urls []string
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// leader returns the server that places streams, once all others follow it.
func (c *Cluster) leader() *Server {
	for _, s := range c.Servers {
		if s.running.JetStreamIsLeader() && len(s.running.JetStreamClusterPeers()) == len(c.Servers) {
			return s
		}
	}
	return nil
}

// LeaderOf returns the server that leads a stream; nil while none does.
func (c *Cluster) LeaderOf(stream string) *Server {
	for _, s := range c.Servers {
		if s.running.JetStreamIsStreamLeader(server.DEFAULT_GLOBAL_ACCOUNT, stream) {
			return s
		}
	}
	return nil
}

// Replicate gives every stream three replicas, as an operator does, and returns
// their names.
func (c *Cluster) Replicate(t *testing.T) (names []string) {
	t.Helper()
	api := c.open(t).API()
	streams := api.ListStreams(t.Context())
	for info := range streams.Info() {
		info.Config.Replicas = len(c.Servers)
		_, err := api.UpdateStream(t.Context(), info.Config)
		require.NoError(t, err)
		names = append(names, info.Config.Name)
	}
	require.NoError(t, streams.Err())
	return names
}

// CatchUp waits until every server has what the leader of a stream has, which MUST NOT be
// nothing. Nothing may be stored meanwhile.
func (c *Cluster) CatchUp(t *testing.T, stream string) {
	t.Helper()
	require.Eventually(t, func() bool {
		leader := c.LeaderOf(stream)
		if leader == nil {
			return false
		}
		last := leader.lastOf(stream)
		return last > 0 && !slices.ContainsFunc(c.Servers, func(s *Server) bool { return s.lastOf(stream) != last })
	}, startTimeout, 10*time.Millisecond, "the replicas of %s differ", stream)
}

// StepDown has the leader of a stream give way to another one.
func (c *Cluster) StepDown(t *testing.T, stream string) {
	t.Helper()
	conn := c.open(t).Conn()
	require.Eventually(t, func() bool {
		// Nobody answers while there is no leader.
		_, err := conn.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, time.Second)
		return err == nil
	}, startTimeout, 10*time.Millisecond)
}

func (c *Cluster) open(t *testing.T) *jetstream.JetStream {
	t.Helper()
	return (&Home{config: jetstream.Config{URL: c.URL()}}).Open(t)
}

// freePorts returns ports on which nobody listened a moment ago: the servers of a
// cluster have to know each other's before they start.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer func() { _ = listener.Close() }() // the server will
		ports = append(ports, listener.Addr().(*net.TCPAddr).Port)
	}
	return ports
}
