package server

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// tlsFiles is what is in the files that TLS is made of. It is immutable.
type tlsFiles struct {
	certificate tls.Certificate
	// clients are the authorities of client certificates; nil where none are asked for.
	clients *x509.CertPool
}

// loadTLS reads the files; nil where there is no TLS.
func (c *Config) loadTLS() (*tlsFiles, *Problem) {
	if c.TLSCertFile == "" {
		return nil, nil
	}
	certificate, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile)
	if err != nil {
		return nil, &Problem{"tls_cert", fmt.Sprintf("TLS certificate in %s and %s: %v", c.TLSCertFile, c.TLSKeyFile, err)}
	}
	files := &tlsFiles{certificate: certificate}
	if c.TLSClientCAFile == "" {
		return files, nil
	}
	pem, err := os.ReadFile(c.TLSClientCAFile)
	if err != nil {
		return nil, &Problem{"tls_client_ca", fmt.Sprintf("authorities of client certificates: %v", err)}
	}
	files.clients = x509.NewCertPool()
	if !files.clients.AppendCertsFromPEM(pem) {
		return nil, &Problem{"tls_client_ca", fmt.Sprintf("authorities of client certificates: %s has no certificate", c.TLSClientCAFile)}
	}
	return files, nil
}

// public is the configuration of the port that the internet reaches.
func (f *tlsFiles) public() *tls.Config {
	return &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{f.certificate},
		NextProtos:   []string{"h2", "http/1.1"},
	}
}

// callers is the configuration of the ports of callers, who may show a certificate.
func (f *tlsFiles) callers() *tls.Config {
	config := f.public()
	if f.clients != nil {
		config.ClientCAs, config.ClientAuth = f.clients, tls.VerifyClientCertIfGiven
	}
	return config
}

// tlsConfig returns the configuration of a port, which is made anew for each
// connection of what is in the files then; nil where there is no TLS.
func (s *Server) tlsConfig(of func(*tlsFiles) *tls.Config) *tls.Config {
	if s.cfg.TLSCertFile == "" {
		return nil
	}
	config := of(s.tls.Load())
	config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return of(s.tls.Load()), nil }
	return config
}
