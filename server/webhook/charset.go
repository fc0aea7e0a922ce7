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

// maxTripled is the longest text that may become three times as long when it is decoded. Thai does,
// from one byte a character.
const maxTripled = 64 << 10

// decodeText decodes a body in UTF-16, or in JSON and the charset name. exact is true if it returns
// the body unchanged.
//
// It does not decode forms and multipart forms. decodeValues decodes their values one by one, so
// that the exact bytes of each can be stored.
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

// utf16Order returns the byte order of a body in UTF-16. It uses the byte order mark, or the first
// character, which is ASCII in a webhook.
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

// decodeValues decodes the values that are not UTF-8 from their own charset, or from the charset
// name. It does not change values in UTF-8, except ASCII with escape sequences of ISO-2022.
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

// decode decodes text from the charset name. It fails if the charset is unknown or UTF-8, or if the
// text is invalid in it.
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
		err = listen.ErrBodyTooLarge // too large for the log beside the exact bytes
	}
	return decoded, err
}
