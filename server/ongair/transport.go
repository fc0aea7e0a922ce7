package ongair

import (
	"net"
	"net/http"
	"time"
)

const (
	// dialTimeout and tlsHandshakeTimeout bound how long a host that drops packets
	// can hold a call: together less than the 15 s that a send without a deadline
	// is given, so that the caller learns that nothing was sent.
	dialTimeout         = 5 * time.Second
	tlsHandshakeTimeout = 5 * time.Second

	// keepAliveInterval notices a peer that vanished under a waiting call.
	keepAliveInterval = 15 * time.Second

	// maxIdleConnsPerHost is the number of calls in flight that a channel is allowed
	// by default: with net/http's default of 2, a burst would leave all but two of its
	// connections closed, and the next one pay for as many handshakes.
	maxIdleConnsPerHost = DefaultMaxInFlight

	// idleConnTimeout is below the shortest idle limit that is common in servers:
	// 5 s, of Apache and Node. A request that meets the server's close half way
	// ends with an unknown effect and cannot be repeated, which is worse than a
	// handshake for a channel that sends less than once in 4 s.
	idleConnTimeout = 4 * time.Second

	// maxHeaderBytes bounds the header of an answer; net/http's default is 10 MiB.
	maxHeaderBytes = 64 << 10
)

// NewTransport returns a transport tuned for Ongair: up to 512 idle connections
// per host, kept for 4 s; 5 s to connect and 5 s for TLS; answers' headers of at
// most 64 KiB; the proxy of the environment (http.ProxyFromEnvironment). It has
// no limit on connections, since a queue here would only look like a slow
// Ongair, and none on the time to answer, which is the context's.
//
// It speaks HTTP/1.1 alone. Over HTTP/2, net/http repeats a POST whose stream the
// server ended with PROTOCOL_ERROR, which does not say that nothing was done; and
// one broken connection would leave all calls of a host with an unknown effect.
//
// It asks for no compression: answers are too small to gain by it, and the bound
// on an answer is then a bound on what crosses the network.
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
