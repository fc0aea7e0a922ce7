package auth

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// dnsPrefix is before a host name of a certificate, to tell it from a URI.
const dnsPrefix = "dns:"

// CertificateNames returns the names in a client certificate that was verified: its
// URIs, such as a SPIFFE id, and its host names. The common name is none: nobody has
// checked what is in it. Nor is what no caller can have (ParseCertificateName).
func CertificateNames(state *tls.ConnectionState) (names []string) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	certificate := state.VerifiedChains[0][0]
	for _, uri := range certificate.URIs {
		if name := uri.String(); printable(name) && !strings.HasPrefix(strings.ToLower(name), dnsPrefix) { // or it would look like a host name
			names = append(names, name)
		}
	}
	for _, name := range certificate.DNSNames {
		if printable(name) {
			names = append(names, dnsPrefix+strings.ToLower(name))
		}
	}
	return names
}

// printable reports whether a name is of printable ASCII without spaces, as those that mean
// something are, and as metadata can carry.
func printable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' })
}

// Origin is where a call comes from.
type Origin struct {
	// Names are those of its client certificate (CertificateNames).
	Names []string
	// Connection tells its connection from all others that are open (ConnectionOn).
	Connection string
}

// Remote returns the address on the other side of the connection.
func (o Origin) Remote() string { return o.Connection[strings.LastIndexByte(o.Connection, ' ')+1:] }

// The ports on which calls come.
const (
	PortGRPC = "gRPC"
	PortHTTP = "HTTP"
)

// ConnectionOn returns how a connection on a port is told from all others that are open:
// by both addresses, since a port that listens on several may have one remote address on
// each of them.
func ConnectionOn(port string, local, remote net.Addr) string {
	name := make([]byte, 0, 96) // for each call: net.TCPAddr's String would allocate several times
	name = append(append(name, port...), ' ')
	name = append(appendAddr(name, local), ' ')
	return string(appendAddr(name, remote))
}

// appendAddr appends what the address's String returns.
func appendAddr(b []byte, addr net.Addr) []byte {
	switch addr := addr.(type) {
	case nil:
		return b
	case *net.TCPAddr:
		a := addr.AddrPort()
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).AppendTo(b)
	default:
		return append(b, addr.String()...)
	}
}

// remoteAddr is that of an http.Request.
type remoteAddr string

func (remoteAddr) Network() string  { return "tcp" }
func (a remoteAddr) String() string { return string(a) }

// PeerOrigin returns the origin of a call on the gRPC port.
func PeerOrigin(ctx context.Context) Origin {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Origin{}
	}
	origin := Origin{Connection: ConnectionOn(PortGRPC, p.LocalAddr, p.Addr)}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		origin.Names = CertificateNames(&info.State)
	}
	return origin
}

// What the HTTP port tells of a call's origin, as metadata. It is believed on the
// connection in memory alone (ForwardedOrigin), on which nobody else can write.
const (
	MetadataNames      = "ongair-gateway-certificate-names"
	MetadataConnection = "ongair-gateway-connection"
)

// Forwarded returns the metadata that tell of the origin of a request to the HTTP port.
func Forwarded(r *http.Request) metadata.MD {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	forwarded := metadata.MD{MetadataConnection: {ConnectionOn(PortHTTP, local, remoteAddr(r.RemoteAddr))}}
	if names := CertificateNames(r.TLS); len(names) > 0 {
		forwarded[MetadataNames] = names
	}
	return forwarded
}

// ForwardedOrigin returns the origin that Forwarded told.
func ForwardedOrigin(ctx context.Context) Origin {
	return Origin{
		Names:      metadata.ValueFromIncomingContext(ctx, MetadataNames),
		Connection: strings.Join(metadata.ValueFromIncomingContext(ctx, MetadataConnection), ""),
	}
}

// ParseCertificateName returns a name as CertificateNames has it. It fails where no
// certificate has such a name.
func ParseCertificateName(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, dnsPrefix); ok {
		if name == "" || !printable(name) {
			return "", fmt.Errorf("%q has no host name: one of a certificate is of printable ASCII", text)
		}
		return dnsPrefix + strings.ToLower(name), nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "", fmt.Errorf("%q is neither a URI, as in spiffe://mesh/billing, nor dns: and a host name", text)
	}
	name := u.String()
	if !printable(name) || !printable(u.Host) || slices.Contains(strings.Split(u.Host, "."), "") || u.Scheme+":" == dnsPrefix {
		return "", fmt.Errorf("%q is a URI that no certificate has", text)
	}
	return name, nil
}
