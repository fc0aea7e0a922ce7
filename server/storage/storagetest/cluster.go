package storagetest

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// Cluster is a cluster of NATS servers. One that is stopped has no time to hand over
// what it leads: the others notice after some seconds. Its methods are for the goroutine of the
// test.
type Cluster struct {
	Servers []*Server
}

// ServeCluster starts three servers, and returns once they have a leader.
func ServeCluster(t *testing.T) *Cluster {
	t.Helper()
	const tries = 3
	for range tries {
		c := newCluster(t)
		if !slices.ContainsFunc(c.Servers, func(s *Server) bool { return !s.start(t) }) {
			require.Eventually(t, c.complete, startTimeout, 10*time.Millisecond, "the cluster has no leader")
			return c
		}
		for _, s := range c.Servers {
			s.Stop() // another program has taken a port
		}
	}
	require.FailNow(t, "the cluster does not start")
	return nil
}

func newCluster(t *testing.T) *Cluster {
	t.Helper()
	const size = 3
	ports := freePorts(t, size)
	var routes []string
	for _, port := range ports {
		routes = append(routes, fmt.Sprintf("nats-route://127.0.0.1:%d", port))
	}
	c := &Cluster{}
	for i, port := range ports {
		c.Servers = append(c.Servers, newServer(t, Settings{
			"server_name": nameOf(i),
			"cluster":     Settings{"name": "tests", "listen": fmt.Sprint("127.0.0.1:", port), "routes": routes},
		}))
	}
	return c
}

// URL returns the URLs of the servers, for clients.
func (c *Cluster) URL() string {
	var urls []string
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

func nameOf(server int) string { return fmt.Sprint("server-", server) }

// jetStreamOf returns the state of a server's JetStream from its monitoring port.
type jetStreamOf struct {
	Meta struct {
		Leader   string
		Replicas []struct{ Current bool }
	} `json:"meta_cluster"`
	Accounts []struct {
		Streams []struct {
			Name    string
			Cluster struct{ Leader string }
			State   struct {
				LastSeq uint64 `json:"last_seq"`
			}
		} `json:"stream_detail"`
	} `json:"account_details"`
}

// ask returns what a server says; nothing, while it does not answer.
func (s *Server) ask() (answer jetStreamOf) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(s.ports.Monitoring[0] + "/jsz?streams=true") //nolint:noctx // on loopback, from a process that lives or does not
	if err != nil {
		return answer
	}
	defer func() { _ = response.Body.Close() }() // read or of no use
	_ = json.NewDecoder(response.Body).Decode(&answer)
	return answer
}

// complete reports whether one of the servers places streams, and all others follow
// it.
func (c *Cluster) complete() bool {
	for i, s := range c.Servers {
		meta, following := s.ask().Meta, 0
		for _, replica := range meta.Replicas {
			if replica.Current {
				following++
			}
		}
		if meta.Leader == nameOf(i) && following == len(c.Servers)-1 {
			return true
		}
	}
	return false
}

// LeaderOf returns the server that leads a stream; nil while none does.
func (c *Cluster) LeaderOf(stream string) *Server {
	for i, s := range c.Servers {
		for _, account := range s.ask().Accounts {
			for _, detail := range account.Streams {
				if detail.Name == stream && detail.Cluster.Leader == nameOf(i) {
					return s
				}
			}
		}
	}
	return nil
}

// lastOf returns the last sequence that a stream has on this server; 0 where it has none.
func (s *Server) lastOf(stream string) uint64 {
	for _, account := range s.ask().Accounts {
		for _, detail := range account.Streams {
			if detail.Name == stream {
				return detail.State.LastSeq
			}
		}
	}
	return 0
}

// Healthy reports whether every server runs and has caught up with its leaders.
func (c *Cluster) Healthy() bool {
	return !slices.ContainsFunc(c.Servers, func(s *Server) bool { return !s.healthy() })
}

// healthy reports whether a server runs and has caught up with its leaders.
func (s *Server) healthy() bool {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	response, err := client.Get(s.ports.Monitoring[0] + "/healthz") //nolint:noctx // it has a timeout
	if err != nil {
		return false
	}
	_ = response.Body.Close() // it is empty
	return response.StatusCode == http.StatusOK
}

// Replicate gives every stream three replicas, as an operator does, and returns
// their names.
func (c *Cluster) Replicate(t *testing.T) (names []string) {
	t.Helper()
	_, api := connect(t, c.URL())
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
	// Not Open, which asks the cluster something: nobody answers while it has no leader.
	conn, err := nats.Connect(c.URL())
	require.NoError(t, err)
	defer conn.Close()
	require.Eventually(t, func() bool {
		_, err := conn.Request("$JS.API.STREAM.LEADER.STEPDOWN."+stream, nil, time.Second)
		return err == nil
	}, startTimeout, 10*time.Millisecond)
}

// FreeAddress returns an address on loopback with a free port.
func FreeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprint("127.0.0.1:", freePorts(t, 1)[0])
}

// freePorts returns free ports, because the servers of a cluster have to know each other's
// ports before they start.
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
