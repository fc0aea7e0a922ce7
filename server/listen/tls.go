package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// TLS is what the TLS of the ports is made of. It is immutable.
type TLS struct {
	// Certificate is the gateway's own.
	Certificate tls.Certificate
	// ClientCAs are the authorities of client certificates; nil if none are asked for.
	ClientCAs *x509.CertPool
}

// ReadCertPool reads the certificate authorities in a PEM file.
func ReadCertPool(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return ParseCertPool(path, pem)
}

// ParseCertPool returns the certificate authorities in PEM, which was read from a file.
func ParseCertPool(path string, pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no PEM certificate", path)
	}
	return pool, nil
}

// Public returns the configuration of a port that asks for no client certificate.
func (t *TLS) Public() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{t.Certificate},
		NextProtos:   []string{"h2", "http/1.1"},
	}
}

// Callers returns the configuration of a port whose clients may show a certificate.
func (t *TLS) Callers() *tls.Config {
	config := t.Public()
	if t.ClientCAs != nil {
		config.ClientCAs, config.ClientAuth = t.ClientCAs, tls.VerifyClientCertIfGiven
	}
	return config
}

// ReplaceableTLS is the TLS of ports that serve. A connection has what is current when it
// is made. The zero value has no TLS. It is safe for concurrent use.
type ReplaceableTLS struct{ current atomic.Pointer[TLS] }

// Replace replaces the TLS of connections from now on. Nil means none, and MUST only be
// given before Config.
func (r *ReplaceableTLS) Replace(t *TLS) { r.current.Store(t) }

// Config returns the configuration of a port, which is either (*TLS).Public or
// (*TLS).Callers; nil if there is no TLS.
func (r *ReplaceableTLS) Config(of func(*TLS) *tls.Config) *tls.Config {
	current := r.current.Load()
	if current == nil {
		return nil
	}
	config := of(current)
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return of(r.current.Load()), nil }
	return config
}
