package ongair

import (
	"net/http"
	"net/http/httptrace"
	"sync/atomic"

	"github.com/ongair/ongair-gateway/server/fault"
)

// progress tracks with net/http/httptrace how far one POST got. Its fields are atomic because
// callbacks run on the transport's goroutines, even after RoundTrip returned.
//
// It never misses a write. A request is buffered, so the callback of the first header field comes
// before the first byte. Without a callback nothing was written. After a callback something may
// have been.
//
// HTTP/1's RoundTrip writes nothing after it returned an error, because it first waits for the
// goroutine that writes (persistConn.mapRoundTripError). The result of effect is then final.
type progress struct {
	traced  atomic.Bool
	written atomic.Bool
}

func (p *progress) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// A second GetConn in one RoundTrip means that net/http takes another connection. For a
		// POST over HTTP/1 it does so only if the connection before was pooled and not one byte was
		// written to it (persistConn.shouldRetryRequest). So earlier writes do not count.
		GetConn: func(string) {
			p.traced.Store(true)
			p.written.Store(false)
		},
		WroteHeaderField: func(string, []string) { p.written.Store(true) },
		WroteHeaders:     func() { p.written.Store(true) },
		WroteRequest:     func(httptrace.WroteRequestInfo) { p.written.Store(true) },
	}
}

// effect returns the known effect of a POST for which transport returned an error.
func (p *progress) effect(transport http.RoundTripper) fault.Effect {
	// An http.Transport can fail before GetConn, for example on its proxy setting. Any other
	// transport may not report to httptrace at all.
	if _, ok := transport.(*http.Transport); !ok && !p.traced.Load() {
		return fault.EffectUnknown
	}
	if p.written.Load() {
		return fault.EffectUnknown
	}
	return fault.EffectNone
}
