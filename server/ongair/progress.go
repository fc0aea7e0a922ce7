package ongair

import (
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/ongair/ongair-gateway/server/fault"
)

// progress is how far one POST got, as net/http/httptrace tells it. Its fields
// are atomic, since callbacks run on the transport's goroutines, also after
// RoundTrip returned.
//
// It errs on the side of "written". The callback of the first header field comes
// before any byte leaves, since a request goes through a buffer first. So no
// callback means that nothing was written; a callback means that something may
// have been.
//
// Nothing is written after HTTP/1's RoundTrip returned an error: it waits for the
// connection's writing goroutine before (persistConn.mapRoundTripError). So what
// effect reads then is final.
type progress struct {
	traced  atomic.Bool
	written atomic.Bool
}

func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// A second GetConn in one RoundTrip is net/http taking another connection.
		// For a POST over HTTP/1 it does so only where the one before was pooled and
		// took not one byte (persistConn.shouldRetryRequest). So whatever was noted
		// before did not count.
		GetConn: func(string) {
			p.traced.Store(true)
			p.written.Store(false)
		},
		WroteHeaderField: func(string, []string) { p.written.Store(true) },
		WroteHeaders:     func() { p.written.Store(true) },
		WroteRequest:     func(httptrace.WroteRequestInfo) { p.written.Store(true) },
	}
}

// effect says what is known of a POST for which transport returned an error.
func (p *progress) effect(transport http.RoundTripper) fault.Effect {
	// An http.Transport can fail before GetConn, on its proxy setting for example.
	// From any other, silence says nothing.
	if _, ok := transport.(*http.Transport); !ok && !p.traced.Load() {
		return fault.EffectUnknown
	}
	if p.written.Load() {
		return fault.EffectUnknown
	}
	return fault.EffectNone
}
