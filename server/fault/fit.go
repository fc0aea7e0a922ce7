package fault

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// MaxTrailerBytes bounds the encoded trailers of an error. HTTP/2 clients commonly accept
	// 8 KiB. Beyond it, Python and Java report a stream reset, and no error at all.
	MaxTrailerBytes = 4 << 10
	// MaxViolations bounds the violations of an error.
	MaxViolations = 20

	// maxTextBytes bounds each text of an error: its message, and the fields, descriptions
	// and metadata values of its details.
	maxTextBytes = 512
	// minTextBytes is the bound of texts in an error that has many of them.
	minTextBytes = 32
)

// fitted returns the status of a fault, with shorter texts and fewer violations if its
// trailers would have more than MaxTrailerBytes.
func (f *Fault) fitted() *status.Status {
	violations, textBytes := min(len(f.Violations), MaxViolations), maxTextBytes
	for {
		s := f.status(violations, textBytes)
		switch {
		case trailerBytes(s) <= MaxTrailerBytes:
			return s
		case violations > 1:
			violations--
		case textBytes > minTextBytes:
			textBytes /= 2
		default:
			return s // never: a fault has a few metadata
		}
	}
}

// trailerBytes returns the size of the trailers that grpc-go makes of a status, as HTTP/2
// counts it: 32 bytes more for each header field (RFC 9113, 6.5.2). The trailers of a call
// without a response have its headers, too.
func trailerBytes(s *status.Status) int {
	const fields = len(":status"+"200"+"content-type"+"application/grpc"+"grpc-status"+"16"+"grpc-message"+"grpc-status-details-bin") + 5*32
	return fields + percentEncodedLen(s.Message()) + base64.RawStdEncoding.EncodedLen(proto.Size(s.Proto()))
}

// percentEncodedLen returns the length of a grpc-message: what is not printable ASCII, and
// the percent sign, takes three bytes for each one.
func percentEncodedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '%' {
			n += 2
		}
	}
	return n
}

// text returns s as valid UTF-8, at most limit bytes of it.
func text(s string, limit int) string {
	const more = "…"
	if len(s) > limit {
		end := limit - len(more)
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + more
	}
	return strings.ToValidUTF8(s, string(utf8.RuneError))
}
