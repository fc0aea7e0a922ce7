package webhook

import (
	"cmp"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/unicode"

	"github.com/ongair/ongair-gateway/server/listen"
)

// maxTripled is the longest text that may become three times as long when it is decoded, as
// Thai does from one byte a character.
const maxTripled = 64 << 10

// decodeText returns a body decoded, if it is in UTF-16, or if it is JSON in the charset that
// its label names. exact is true if it was not decoded.
//
// Forms and multipart forms are not decoded here: their values are, one by one, so that the
// exact bytes of each can be kept (decodeValues).
func decodeText(body []byte, name string) (text []byte, exact bool) {
	if order, ok := utf16Order(body); ok {
		if decoded, err := unicode.UTF16(order, unicode.UseBOM).NewDecoder().Bytes(body[:len(body)&^1]); err == nil {
			return decoded, false
		}
	}
	if trimmed := trimLeading(body); len(trimmed) > 0 && strings.IndexByte("{[\"", trimmed[0]) >= 0 && !utf8.Valid(body) {
		if decoded, err := decode(name, string(body)); err == nil {
			return []byte(decoded), false
		}
	}
	return body, true
}

// utf16Order returns the byte order of a body in UTF-16: that of its byte order mark, or that
// of its first character, which is ASCII in a webhook.
func utf16Order(body []byte) (order unicode.Endianness, ok bool) {
	if len(body) < 2 {
		return unicode.LittleEndian, false
	}
	even := len(body)%2 == 0
	switch first, second := body[0], body[1]; {
	case first == 0xff && second == 0xfe, even && first != 0 && second == 0:
		return unicode.LittleEndian, true
	case first == 0xfe && second == 0xff, even && first == 0 && second != 0:
		return unicode.BigEndian, true
	}
	return unicode.LittleEndian, false
}

// decodeValues decodes the values that are not UTF-8 from a charset, or from that of their own
// label. A value that is UTF-8 is left alone, whatever the label says, unless it is ASCII with
// the escape sequences of ISO-2022.
func decodeValues(found []field, name string) {
	for i := range found {
		f := &found[i]
		escapes := strings.Contains(f.value, "\x1b") && strings.IndexFunc(f.value, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
		if utf8.ValidString(f.value) && !escapes {
			continue
		}
		if text, err := decode(cmp.Or(f.charset, name), f.value); err == nil && text != f.value {
			f.text = text
		}
	}
}

// decode decodes text from a charset. It fails for a charset that is not known, for UTF-8,
// and if the text is not in it.
func decode(name, text string) (string, error) {
	known, canonical := charset.Lookup(strings.TrimSpace(name))
	if known == nil || known == encoding.Nop || known == encoding.Replacement || canonical == "utf-8" {
		return "", errNotFields
	}
	decoded, err := known.NewDecoder().String(text)
	switch {
	case err != nil:
	case strings.ContainsRune(decoded, utf8.RuneError):
		err = errNotFields
	case len(text) > maxTripled && len(decoded) > 2*len(text):
		err = listen.ErrBodyTooLarge // for the log, with the exact bytes beside it
	}
	return decoded, err
}
