package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync/atomic"
)

// TLS has the certificates of the ports. It is immutable.
type TLS struct {
	// Certificate is the gateway's certificate.
	Certificate tls.Certificate
	// ClientCAs are the authorities of client certificates. Nil means that none are requested.
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

// ParseCertPool returns the certificate authorities in the PEM text of a file.
func ParseCertPool(path string, pem []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no PEM certificate", path)
	}
	return pool, nil
}

// Public returns the configuration of a port that requests no client certificate.
func (t *TLS) Public() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{t.Certificate},
		NextProtos:   []string{"h2", "http/1.1"},
	}
}

// Callers returns the configuration of a port whose clients may present a certificate.
func (t *TLS) Callers() *tls.Config {
	config := t.Public()
	if t.ClientCAs != nil {
		config.ClientCAs, config.ClientAuth = t.ClientCAs, tls.VerifyClientCertIfGiven
	}
	return config
}

// ReplaceableTLS is TLS that can be replaced while ports use it. New connections use the
// current one. The zero value has no TLS. It is safe for concurrent use.
type ReplaceableTLS struct{ current atomic.Pointer[TLS] }

// Replace sets the TLS of new connections. Nil means no TLS and MUST NOT be given after Config
// was called.
func (r *ReplaceableTLS) Replace(t *TLS) { r.current.Store(t) }

// Config returns the configuration of a port, or nil without TLS. of is (*TLS).Public or
// (*TLS).Callers.
func (r *ReplaceableTLS) Config(of func(*TLS) *tls.Config) *tls.Config {
	current := r.current.Load()
	if current == nil {
		return nil
	}
	config := of(current)
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return of(r.current.Load()), nil }
	return config
}
