package rest

import (
	"net/http"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// limitHeaders rejects requests whose request line and headers are over
// listen.MaxHeaderBytes.
func limitHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if headerBytes(req) > listen.MaxHeaderBytes {
			writeAs(w, http.StatusRequestHeaderFieldsTooLarge, fault.New(ongairv1.ErrorReason_ERROR_REASON_REQUEST_TOO_LARGE,
				"the URL and the headers are larger than %d bytes; filters that do not fit in a URL are the body of POST /v1/events:subscribe",
				listen.MaxHeaderBytes))
			return
		}
		next.ServeHTTP(w, req)
	})
}

// headerBytes returns the size of the request line and the headers, as HTTP/1.1 has them.
func headerBytes(req *http.Request) int {
	const colon, newline = len(": "), len("\r\n")
	size := len(req.Method) + len(" ") + len(req.RequestURI) + len(" ") + len(req.Proto) + newline
	size += len("Host") + colon + len(req.Host) + newline // which net/http takes out of Header
	for name, values := range req.Header {
		for _, value := range values {
			size += len(name) + colon + len(value) + newline
		}
	}
	return size + newline
}
