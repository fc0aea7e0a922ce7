package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
)

// dnsPrefix is before a host name of a certificate, to tell it from a URI.
const dnsPrefix = "dns:"

// CertificateNames returns the names in a client certificate that was verified: its
// URIs, such as a SPIFFE id, and its host names. The common name is none: nobody has
// checked what is in it.
func CertificateNames(state *tls.ConnectionState) (names []string) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return nil
	}
	certificate := state.VerifiedChains[0][0]
	for _, uri := range certificate.URIs {
		if name := uri.String(); !strings.HasPrefix(strings.ToLower(name), dnsPrefix) { // or it would look like a host name
			names = append(names, name)
		}
	}
	for _, name := range certificate.DNSNames {
		names = append(names, dnsPrefix+strings.ToLower(name))
	}
	return names
}

// PeerNames returns the names of the certificate with which a gRPC call came.
func PeerNames(ctx context.Context) []string {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	return CertificateNames(&info.State)
}

// MetadataNames is the metadata with which the HTTP port tells the names of a
// certificate. It is believed on the connection in memory alone (ForwardedNames), on
// which nobody else can write.
const MetadataNames = "ongair-gateway-certificate-names"

// ForwardedNames returns the names that the HTTP port found.
func ForwardedNames(ctx context.Context) []string {
	return metadata.ValueFromIncomingContext(ctx, MetadataNames)
}

// ParseCertificateName returns a name as CertificateNames has it.
func ParseCertificateName(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, dnsPrefix); ok {
		if name == "" {
			return "", errors.New("it has no host name")
		}
		return dnsPrefix + strings.ToLower(name), nil
	}
	if u, err := url.Parse(text); err != nil || u.Scheme == "" || u.Host == "" {
		return "", fmt.Errorf("%q is neither a URI, as in spiffe://mesh/billing, nor dns: and a host name", text)
	}
	return text, nil
}
