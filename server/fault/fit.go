package fault

import (
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	// MaxTrailerBytes bounds the encoded trailers of an error. HTTP/2 clients commonly accept 8
	// KiB. If there are more, Python and Java report a reset stream in place of the error.
	MaxTrailerBytes = 4 << 10
	// MaxViolations bounds the violations of an error.
	MaxViolations = 20

	// maxTextBytes bounds each text of an error: its message, and the fields, descriptions
	// and metadata values of its details.
	maxTextBytes = 512
	// minTextBytes is the lowest bound to which the texts of an error are cut if it has many.
	minTextBytes = 32
)

// fitted returns the status of a fault. If its trailers would exceed MaxTrailerBytes, it has
// fewer violations and shorter texts.
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
			return s // unreachable: a fault has few metadata
		}
	}
}

// trailerBytes returns the size of the trailers that grpc-go sends for a status. HTTP/2 adds 32
// bytes to each header field (RFC 9113, 6.5.2). The trailers of a call without a response
// include its headers.
func trailerBytes(s *status.Status) int {
	const fields = len(":status"+"200"+"content-type"+"application/grpc"+"grpc-status"+"16"+"grpc-message"+"grpc-status-details-bin") + 5*32
	return fields + percentEncodedLen(s.Message()) + base64.RawStdEncoding.EncodedLen(proto.Size(s.Proto()))
}

// percentEncodedLen returns the length of a grpc-message. A byte that is not printable ASCII,
// and the percent sign, take three bytes.
func percentEncodedLen(s string) int {
	n := len(s)
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' || s[i] == '%' {
			n += 2
		}
	}
	return n
}

// text returns s as valid UTF-8, cut to at most limit bytes.
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
