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

var (
	// errTooLarge is a body that is larger than listen.MaxBodyBytes when it is inflated.
	errTooLarge = errors.New("body too large")
	errEncoding = errors.New("unknown or damaged content encoding")
)

// gzipMagic begins what is compressed with gzip.
const gzipMagic = "\x1f\x8b\x08"

// inflate returns a body without its content encodings, of at most listen.MaxBodyBytes. What
// begins as gzip is gzip, whatever the header says, and what does not is not. It fails with
// errTooLarge, or with errEncoding if a body cannot be inflated: it can still be kept.
func inflate(encodings []string, body []byte) ([]byte, error) {
	names := strings.FieldsFunc(strings.ToLower(strings.Join(encodings, ",")), func(r rune) bool { return r == ',' || r == ' ' })
	if len(names) == 0 && bytes.HasPrefix(body, []byte(gzipMagic)) {
		names = []string{"gzip"}
	}
	if len(names) > 2 {
		return nil, errEncoding // each may inflate a thousandfold
	}
	for _, name := range slices.Backward(names) {
		var err error
		switch name {
		case "identity":
		case "gzip", "x-gzip":
			if !bytes.HasPrefix(body, []byte(gzipMagic)) {
				continue // a proxy inflated it and left the header
			}
			body, err = inflateWith(func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }, body)
		case "deflate":
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

// inflateDeflate inflates zlib's format, as the standard has it, or bare deflate, as several
// clients send it. What is neither was not deflated, if it looks like a webhook.
func inflateDeflate(body []byte) ([]byte, error) {
	inflated, err := inflateWith(func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }, body)
	if errors.Is(err, errEncoding) {
		inflated, err = inflateWith(func(r io.Reader) (io.Reader, error) { return flate.NewReader(r), nil }, body)
	}
	if errors.Is(err, errEncoding) {
		if found, _, err := readFields("", body, maxWrappings); err == nil && hasType(found) {
			return body, nil
		}
	}
	return inflated, err
}

func inflateWith(open func(io.Reader) (io.Reader, error), body []byte) ([]byte, error) {
	r, err := open(bytes.NewReader(body))
	if err != nil {
		return nil, errEncoding
	}
	inflated, err := io.ReadAll(io.LimitReader(r, listen.MaxBodyBytes+1))
	switch {
	case len(inflated) > listen.MaxBodyBytes:
		return nil, errTooLarge
	case err != nil:
		return nil, errEncoding
	}
	return inflated, nil
}
