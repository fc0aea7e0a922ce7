package servertest

import (
	"context"
	"sync"
	"testing"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/servertest/programs"
	"github.com/ongair/ongair-gateway/server/servertest/proxytest"
)

// Behind returns a transport whose subscriptions pass through a reverse proxy with its default
// settings. Each gateway gets a proxy until the end of the test. Without the program, the test is
// skipped as by programs.Skip.
func Behind(t *testing.T, proxy string, transport Transport) Transport {
	t.Helper()
	programs.Require(t, proxy)
	return &behind{Transport: transport, t: t, proxy: proxy, of: map[string]Endpoints{}}
}

// behind is a transport through a proxy.
type behind struct {
	Transport
	t     *testing.T
	proxy string

	mu sync.Mutex
	of map[string]Endpoints // the proxy of each gateway, by the gateway's HTTP address
}

func (b *behind) String() string { return b.Transport.String() + " behind " + b.proxy }

// Subscribe implements Transport.
func (b *behind) Subscribe(ctx context.Context, e Endpoints, req *ongairv1.SubscribeRequest, handle func(*ongairv1.SubscribeResponse) error) error {
	return b.Transport.Subscribe(ctx, b.endpoints(e), req, handle)
}

// endpoints returns the addresses of the proxy of a gateway, and starts it if necessary.
func (b *behind) endpoints(e Endpoints) Endpoints {
	b.mu.Lock()
	defer b.mu.Unlock()
	if proxied, ok := b.of[e.HTTP]; ok {
		return proxied
	}
	proxied := e
	proxied.HTTP = proxytest.HTTP(b.t, b.proxy, e.HTTP, "")
	proxied.GRPC = proxytest.GRPC(b.t, b.proxy, e.GRPC)
	b.of[e.HTTP] = proxied
	return proxied
}
