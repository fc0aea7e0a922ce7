package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// probeTimeout bounds the TLS probe of a server.
const probeTimeout = 3 * time.Second

// Advice for a server that uses another protocol than the command.
const (
	adviceTLS      = "the server uses TLS: use --tls or --tls-ca"
	adviceClear    = "the server does not use TLS: remove --tls, --tls-ca, --tls-cert and --tls-key"
	adviceHTTPPort = "this looks like an HTTP port: the gRPC port is 9090 by default"
)

// advisedError is an error with advice.
type advisedError struct {
	error
	advice string
}

func (e advisedError) Unwrap() error { return e.error }

// diagnose adds advice to the error of a call if the server uses another protocol. It probes the
// server, because many servers close the connection without an answer and gRPC's error does not
// name the protocol.
func (f clientFlags) diagnose(ctx context.Context, err error) error {
	s := statusOf(err)
	if s == nil {
		return err
	}
	contains := func(text string) bool { return strings.Contains(s.Message(), text) }
	switch noPreface, noHandshake := contains("error reading server preface"), contains("does not look like a TLS handshake"); {
	case noPreface, noHandshake:
		answer := f.probe(ctx)
		switch {
		case isTLS(answer):
			return advisedError{err, adviceTLS}
		case bytes.HasPrefix(answer, []byte("HTTP/")), contains("looked like an HTTP/1.1 header"):
			return advisedError{err, adviceHTTPPort}
		case noHandshake:
			return advisedError{err, adviceClear}
		}
	case s.Code() == codes.Unimplemented && contains("unexpected HTTP status code"), contains("missing selected ALPN property"):
		return advisedError{err, adviceHTTPPort}
	}
	return err
}

// probe starts a TLS handshake with the server and returns its answer.
func (f clientFlags) probe(ctx context.Context) []byte {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", f.Addr)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close() }() // the answer is recorded
	host, _, _ := net.SplitHostPort(f.Addr)
	recorder := &recordingConn{Conn: conn}
	config := &tls.Config{
		ServerName: host, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // no data is sent
	}
	_ = tls.Client(recorder, config).HandshakeContext(ctx) // only the recorded answer matters
	return recorder.read
}

// recordingConn records the bytes that are read from it.
type recordingConn struct {
	net.Conn
	read []byte
}

func (c *recordingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read = append(c.read, b[:n]...)
	return n, err
}

// isTLS reports whether an answer begins with a TLS record of a handshake or an alert.
func isTLS(answer []byte) bool {
	const alert, handshake, majorVersion = 0x15, 0x16, 3
	return len(answer) > 1 && (answer[0] == alert || answer[0] == handshake) && answer[1] == majorVersion
}
