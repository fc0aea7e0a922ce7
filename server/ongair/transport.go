package ongair

import (
	"net"
	"net/http"
	"time"
)

const (
	// dialTimeout and tlsHandshakeTimeout bound how long a host that drops packets can delay a
	// call. Together they are less than the 15 s of a send without a deadline, so that the caller
	// learns that nothing was sent.
	dialTimeout         = 5 * time.Second
	tlsHandshakeTimeout = 5 * time.Second

	// keepAliveInterval is for detecting a peer that vanished during a call.
	keepAliveInterval = 15 * time.Second

	// maxIdleConnsPerHost is the default bound of a channel's calls in flight. With net/http's
	// default of 2, all but two connections of a burst would be closed, and the next burst would
	// need new handshakes.
	maxIdleConnsPerHost = DefaultMaxInFlight

	// idleConnTimeout is below the shortest idle timeout common in servers, the 5 s of Apache and
	// Node. If the server closes a connection during a request, the effect is unknown and the call
	// cannot be retried. That is worse than a handshake for a channel that sends less than once in
	// 4 s.
	idleConnTimeout = 4 * time.Second

	// maxHeaderBytes bounds the headers of an answer. net/http's default is 10 MiB.
	maxHeaderBytes = 64 << 10
)

// NewTransport returns a transport for Ongair:
//
//	idle connections     up to 512 per host, closed after 4 s
//	time to connect      5 s, and 5 s for TLS
//	headers of answers   up to 64 KiB
//	proxy                of the environment (http.ProxyFromEnvironment)
//	connections          unlimited, because a queue here would look like a slow Ongair
//	time to answer       unlimited; the context bounds it
//	protocol             HTTP/1.1 only
//	compression          off
//
// It does not use HTTP/2, because net/http would repeat a POST whose stream the server ended with
// PROTOCOL_ERROR, which does not mean that the POST had no effect. One broken connection would also
// leave all calls of a host with an unknown effect.
//
// It does not ask for compression, because answers are small. The bound of an answer then also
// bounds what crosses the network.
func NewTransport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	dialer := &net.Dialer{Timeout: dialTimeout, KeepAlive: keepAliveInterval}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    tlsHandshakeTimeout,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    maxIdleConnsPerHost,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              &protocols,
	}
}
