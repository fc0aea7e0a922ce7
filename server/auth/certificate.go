package auth

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// dnsPrefix is the prefix of a host name, which distinguishes it from a URI.
const dnsPrefix = "dns:"

// CertificateNames returns the names in a verified client certificate: its URIs, such as a
// SPIFFE id, and its host names. It leaves out the common name, which no authority checks,
// and names that no caller can have (ParseCertificateName).
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

// printable reports whether a name is printable ASCII without spaces, which is what gRPC
// metadata can carry.
func printable(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' })
}

// ParseCertificateName returns a configured name in the form of CertificateNames. It fails if
// no certificate can have the name.
func ParseCertificateName(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, dnsPrefix); ok {
		if name == "" || !printable(name) {
			return "", fmt.Errorf("invalid host name in %q: use printable ASCII", text)
		}
		return dnsPrefix + strings.ToLower(name), nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" || u.Host == "" {
		return "", fmt.Errorf("invalid certificate name %q: use a URI such as spiffe://mesh/billing, or dns: and a host name", text)
	}
	name := u.String()
	if !printable(name) || !printable(u.Host) || slices.Contains(strings.Split(u.Host, "."), "") || u.Scheme+":" == dnsPrefix {
		return "", fmt.Errorf("invalid URI %q", text)
	}
	return name, nil
}
