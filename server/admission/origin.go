package admission

import (
	"context"
	"net"
	"net/http"
	"net/netip"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/ongair/ongair-gateway/server/auth"
)

// Port is a port that accepts calls.
type Port uint8

// The ports of callers.
const (
	PortGRPC Port = iota + 1
	PortHTTP
)

// ConnKey identifies an open connection. It has both addresses, because a port that listens
// on several addresses may have the same remote address on each.
type ConnKey struct {
	port          Port
	local, remote netip.AddrPort
}

// keyOf returns the key of a connection.
func keyOf(port Port, local, remote net.Addr) ConnKey {
	return ConnKey{port, addrPort(local), addrPort(remote)}
}

// addrPort returns the address of a TCP connection; the zero value for any other.
func addrPort(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	return unmapped(tcp.AddrPort())
}

func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Origin identifies the connection and client of a call.
type Origin struct {
	// Connection is the connection of the call.
	Connection ConnKey
	// CertificateNames are the names in the verified client certificate.
	CertificateNames []string
}

// Remote returns the client's address, for logs. It is empty if unknown.
func (o Origin) Remote() string {
	if !o.Connection.remote.IsValid() {
		return ""
	}
	return o.Connection.remote.String()
}

// OriginOfCall returns the origin of a call on the gRPC port.
func OriginOfCall(ctx context.Context) Origin {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Origin{}
	}
	origin := Origin{Connection: keyOf(PortGRPC, p.LocalAddr, p.Addr)}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		origin.CertificateNames = auth.CertificateNames(&info.State)
	}
	return origin
}

// OriginOfRequest returns the origin of a request to the HTTP port.
func OriginOfRequest(r *http.Request) Origin {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	remote, _ := netip.ParseAddrPort(r.RemoteAddr) // net/http writes it
	return Origin{
		Connection:       ConnKey{PortHTTP, addrPort(local), unmapped(remote)},
		CertificateNames: auth.CertificateNames(r.TLS),
	}
}
