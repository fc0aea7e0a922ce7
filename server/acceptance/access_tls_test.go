package acceptance

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
)

// rsaCertificate writes an RSA certificate, which the weakest ciphers need.
func rsaCertificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(t.TempDir(), name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	return write("cert.pem", "CERTIFICATE", der), write("key.pem", "PRIVATE KEY", keyDER)
}

func TestWeakTLSIsRejectedOnEveryPort(t *testing.T) {
	cert, key := rsaCertificate(t)
	g := Start(t, func(c *config.Config) { c.TLSCertFile, c.TLSKeyFile = cert, key })
	trusted := Trusting(t, cert)
	for name, tt := range map[string]struct {
		client   *tls.Config
		accepted bool
	}{
		"TLS 1.3": {&tls.Config{MinVersion: tls.VersionTLS13}, true},
		"TLS 1.2": {&tls.Config{MaxVersion: tls.VersionTLS12}, true},
		"TLS 1.1": {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, false},
		"TLS 1.0": {&tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}, false},
		// Recorded traffic could be decrypted with a key that leaks later.
		"a key exchange without forward secrecy": {&tls.Config{
			MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_128_GCM_SHA256},
		}, false},
		"a broken cipher": {&tls.Config{
			MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_RC4_128_SHA, tls.TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA},
		}, false},
	} {
		tt.client.RootCAs = trusted
		for port, addr := range map[string]string{"gRPC": g.GRPC, "HTTP": g.HTTP, "webhook": g.Webhook, "admin": g.Admin} {
			conn, err := (&tls.Dialer{Config: tt.client}).DialContext(t.Context(), "tcp", addr)
			if tt.accepted {
				require.NoError(t, err, "%s on the %s port", name, port)
				require.NoError(t, conn.Close())
				continue
			}
			if !assert.Error(t, err, "%s on the %s port", name, port) {
				require.NoError(t, conn.Close())
			}
		}
	}
}
