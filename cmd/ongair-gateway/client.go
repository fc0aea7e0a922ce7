package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/listen"
)

const (
	// maxResponseBytes bounds a response. The responses of a gateway are smaller.
	maxResponseBytes = 8 << 20
	// keepaliveInterval and keepaliveTimeout detect a dead or frozen gateway during a call.
	// Gateways allow a ping every 5 s.
	keepaliveInterval = 20 * time.Second
	keepaliveTimeout  = 20 * time.Second
	// callTimeout bounds a call. A wait that the call requests is added to it. It is longer
	// than the gateway's default deadline of 15 s.
	callTimeout = 20 * time.Second
)

// clientFlags are the flags for the connection to a gateway.
type clientFlags struct {
	Addr    string `env:"ONGAIR_GATEWAY_ADDR" default:"127.0.0.1:9090" placeholder:"HOST:PORT" help:"The gateway's gRPC address (${default})."`
	APIKey  string `env:"ONGAIR_GATEWAY_API_KEY" name:"api-key" placeholder:"KEY" help:"The caller's API key. Prefer the environment variable, because other processes can see flags."`
	TLS     bool   `name:"tls" help:"Use TLS, with the system's certificate authorities."`
	TLSCA   string `name:"tls-ca" placeholder:"FILE" help:"Use TLS, with the certificate authorities in this PEM file."`
	TLSCert string `name:"tls-cert" placeholder:"FILE" help:"The caller's TLS certificate, in a PEM file."`
	TLSKey  string `name:"tls-key" placeholder:"FILE" help:"The key of the certificate, in a PEM file."`
}

// dial returns a connection to the gateway. It connects at the first call. The caller MUST
// close it. dial reads the files of the flags each time, so that a new connection uses renewed
// certificates.
func (f clientFlags) dial(more ...grpc.DialOption) (*grpc.ClientConn, error) {
	if _, port, err := net.SplitHostPort(f.Addr); err != nil || port == "" {
		return nil, usageError{fmt.Errorf("--addr: invalid address %q: use HOST:PORT", f.Addr)}
	}
	transport, err := f.transport()
	if err != nil {
		return nil, usageError{err}
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxResponseBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveInterval, Timeout: keepaliveTimeout}),
		grpc.WithUserAgent("ongair-gateway-cli/" + version()),
	}
	if f.APIKey != "" {
		options = append(options, grpc.WithPerRPCCredentials(bearer(f.APIKey)))
	}
	conn, err := grpc.NewClient(f.Addr, append(options, more...)...)
	if err != nil {
		return nil, usageError{fmt.Errorf("--addr: %w", err)}
	}
	return conn, nil
}

// transport returns the transport credentials of a connection.
func (f clientFlags) transport() (credentials.TransportCredentials, error) {
	if !f.TLS && f.TLSCA == "" && f.TLSCert == "" && f.TLSKey == "" {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.TLSCA != "" {
		var err error
		if config.RootCAs, err = listen.ReadCertPool(f.TLSCA); err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
	}
	if f.TLSCert != "" || f.TLSKey != "" {
		certificate, err := tls.LoadX509KeyPair(f.TLSCert, f.TLSKey)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert and --tls-key: %w", err)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return credentials.NewTLS(config), nil
}

// bearer sends an API key with every call.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity returns false, because a gateway on loopback or behind a mesh proxy
// may require a key without TLS.
func (b bearer) RequireTransportSecurity() bool { return false }

// call makes one call and prints its response as a line of JSON. wait is the time that the call
// may wait in the gateway.
func call[Req, Resp proto.Message](ctx context.Context, f clientFlags, out io.Writer, wait time.Duration, req Req,
	rpc func(ongairv1.OngairServiceClient, context.Context, Req, ...grpc.CallOption) (Resp, error),
) error {
	conn, err := f.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the call has ended
	timed, cancel := context.WithTimeout(ctx, max(wait, 0)+callTimeout)
	defer cancel()
	var server peer.Peer
	response, err := rpc(ongairv1.NewOngairServiceClient(conn), timed, req, grpc.Peer(&server))
	if err != nil {
		err = f.diagnose(ctx, err)
		_, sends := any(req).(interface{ GetRequestId() string })
		if sends && server.Addr != nil {
			return sentError{err}
		}
		return err
	}
	return printJSON(out, response)
}

// sentError is the error of a sending call that the gateway may have received.
type sentError struct{ error }

func (e sentError) Unwrap() error { return e.error }

// printJSON prints a message as one line of JSON, with the proto's field names.
func printJSON(out io.Writer, m proto.Message) error {
	b, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
	if err != nil {
		return err
	}
	// protojson adds random spaces. Encoding its output again removes them, so that scripts can
	// compare lines.
	return json.NewEncoder(out).Encode(json.RawMessage(b))
}
