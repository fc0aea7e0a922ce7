package webhook

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/ongair/ongair-gateway/server/listen"
)

var errEncoding = errors.New("unknown or damaged content encoding")

// isGzip reports whether a body begins with the header of gzip.
func isGzip(body []byte) bool { return bytes.HasPrefix(body, []byte("\x1f\x8b\x08")) }

// inflate removes the content encodings of a body. It inflates with gzip if and only if a body
// begins with the header of gzip, whatever the Content-Encoding. The result has at most
// listen.MaxBodyBytes. inflate fails with listen.ErrBodyTooLarge, or with errEncoding if the body
// cannot be inflated and has to be stored as it is.
func inflate(encodings []string, body []byte) ([]byte, error) {
	names := strings.FieldsFunc(strings.ToLower(strings.Join(encodings, ",")), func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) > 2 {
		return nil, errEncoding // each may inflate a thousandfold
	}
	if len(names) == 0 {
		names = []string{"identity"}
	}
	for _, name := range slices.Backward(names) {
		var err error
		switch {
		case isGzip(body):
			body, err = inflateWith(func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }, body)
		case name == "identity", name == "gzip", name == "x-gzip": // a proxy inflated it and left the header
		case name == "deflate":
			body, err = inflateDeflate(body)
		default:
			err = errEncoding
		}
		if err != nil {
			return nil, err
		}
	}
	return body, nil
}

// inflateDeflate inflates zlib's format, which the standard requires, or bare deflate, which
// several clients send. A readable webhook is returned unchanged, because it may also be valid bare
// deflate.
func inflateDeflate(body []byte) ([]byte, error) {
	inflated, err := inflateWith(func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }, body)
	if !errors.Is(err, errEncoding) {
		return inflated, err
	}
	if found, _, err := readFields("", body, maxWrappings); err == nil && hasType(found) {
		return body, nil
	}
	return inflateWith(func(r io.Reader) (io.Reader, error) { return flate.NewReader(r), nil }, body)
}

// inflateWith inflates a body. It fails with errEncoding if bytes remain.
func inflateWith(open func(io.Reader) (io.Reader, error), body []byte) ([]byte, error) {
	compressed := bytes.NewReader(body)
	r, err := open(compressed)
	if err != nil {
		return nil, errEncoding
	}
	inflated, err := io.ReadAll(io.LimitReader(r, listen.MaxBodyBytes+1))
	switch {
	case len(inflated) > listen.MaxBodyBytes:
		return nil, listen.ErrBodyTooLarge
	case err != nil || compressed.Len() > 0:
		return nil, errEncoding
	}
	return inflated, nil
}
