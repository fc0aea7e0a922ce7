package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// namesOf returns the names of a certificate for text, which is a URI or a host name after dns:. The
// name is encoded unchanged. namesOf fails if Go cannot parse the certificate.
func namesOf(t *testing.T, text string) ([]string, error) {
	t.Helper()
	tag := 6 // RFC 5280, 4.2.1.6: uniformResourceIdentifier
	if host, ok := strings.CutPrefix(text, dnsPrefix); ok {
		tag, text = 2, host
	}
	alternative, err := asn1.Marshal([]asn1.RawValue{{Tag: tag, Class: asn1.ClassContextSpecific, Bytes: []byte(text)}})
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:    big.NewInt(1),
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: alternative}},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return CertificateNames(&tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{certificate}}}), nil
}

func TestANameMatchesItsCertificate(t *testing.T) {
	for text, in := range map[string]string{ // configured name to name in the certificate
		"spiffe://mesh/ns/billing/sa/api": "spiffe://mesh/ns/billing/sa/api",
		"SPIFFE://mesh/billing":           "spiffe://mesh/billing",
		"spiffe://mesh/billing":           "SPIFFE://mesh/billing",
		"spiffe://mesh/bill ing":          "spiffe://mesh/bill%20ing",
		"spiffe://mesh/bill%20ing":        "spiffe://mesh/bill ing",
		"spiffe://mesh/b%69lling":         "spiffe://mesh/b%69lling",
		"spiffe://mesh/h\u00e9":           "spiffe://mesh/h%C3%A9",
		"https://mesh:8080/billing?a=b#c": "https://mesh:8080/billing?a=b#c",
		"dns:crm.internal":                "dns:CRM.internal",
		"dns:CRM.internal":                "dns:crm.internal",
		"dns:*.internal":                  "dns:*.internal",
	} {
		name, err := ParseCertificateName(text)
		require.NoError(t, err, text)
		names, err := namesOf(t, in)
		require.NoError(t, err, in)
		assert.Equal(t, []string{name}, names, text)
	}
}

// A name that no certificate can have is a configuration error.
func TestAnImpossibleNameIsRejected(t *testing.T) {
	for _, text := range []string{
		"", "billing", "/billing", "urn:billing", "spiffe:///billing", "spiffe://mesh/\x01",
		"spiffe://m\u00e9sh/billing", "spiffe://mesh./billing", "spiffe://me..sh/billing", "DNS:crm.internal", "DNS://crm/internal",
		"dns:", "dns:crm internal", "dns:crm.internal\n", "dns:crm.int\u00e9rnal",
	} {
		_, err := ParseCertificateName(text)
		require.Error(t, err, "%q", text)
	}
}

// The names are forwarded as metadata, which cannot contain such characters.
func TestInvalidCertificateNamesAreIgnored(t *testing.T) {
	for _, in := range []string{"dns:crm\x01internal", "dns:crm internal", "dns:\n", "urn:a\u007f", "dns:crm.internal\x00"} {
		names, err := namesOf(t, in)
		if err != nil {
			continue // Go cannot parse it
		}
		assert.Empty(t, names, "%q", in)
	}
}
