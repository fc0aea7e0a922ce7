package admission

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"google.golang.org/grpc/peer"
)

// A connection has the same key when it is accepted and when a call arrives on it.
func TestAConnectionHasOneKeyForAllAddressTypes(t *testing.T) {
	local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}
	keys := map[ConnKey]bool{}
	remotes := []*net.TCPAddr{
		{IP: net.IPv4(203, 0, 113, 9), Port: 1},
		{IP: net.ParseIP("2001:db8::1"), Port: 65535},
		{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 2},
	}
	for _, remote := range remotes {
		want := keyOf(PortHTTP, local, remote)
		keys[want] = true
		short := *remote
		if v4 := remote.IP.To4(); v4 != nil {
			short.IP = v4
		}
		assert.Equal(t, want, keyOf(PortHTTP, local, &short))
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), http.LocalAddrContextKey, net.Addr(local)), http.MethodGet, "/", http.NoBody)
		r.RemoteAddr = remote.String()
		origin := OriginOfRequest(r)
		assert.Equal(t, want, origin.Connection)
		assert.Equal(t, remote.String(), origin.Remote())

		call := OriginOfCall(peer.NewContext(t.Context(), &peer.Peer{LocalAddr: local, Addr: remote}))
		assert.NotEqual(t, want, call.Connection, "the call is on another port")
		assert.Equal(t, keyOf(PortGRPC, local, remote), call.Connection)
	}
	assert.Len(t, keys, len(remotes))
	other := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 8080}
	assert.NotEqual(t, keyOf(PortHTTP, local, remotes[0]), keyOf(PortHTTP, other, remotes[0]), "the key must include the local address")
	assert.Empty(t, OriginOfCall(t.Context()).Remote())
}
