package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"
)

// formFields splits an urlencoded form into at most maxCount fields, in order. It does not fail on
// an invalid escape: the percent sign then stands for itself, as in browsers (WHATWG URL,
// percent-decode). whole is false in this case, because "%zz" and "%25zz" give the same field.
func formFields(body []byte, maxCount int) (found []field, whole bool, err error) {
	whole = true
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		if len(found) == maxCount {
			return nil, false, errTooManyFields
		}
		name, value, _ := strings.Cut(pair, "=")
		decodedName, okName := unescape(name)
		decodedValue, okValue := unescape(value)
		whole = whole && okName && okValue
		if len(found) == 0 {
			decodedName = string(trimLeading([]byte(decodedName))) // split trims only what is not escaped
		}
		found = append(found, field{name: decodedName, value: decodedValue})
	}
	return found, whole, nil
}

// unescape decodes percent escapes and "+". strict is false if an escape was invalid.
func unescape(s string) (decoded string, strict bool) {
	if decoded, err := url.QueryUnescape(s); err == nil {
		return decoded, true
	}
	var b strings.Builder
	for len(s) > 0 {
		n := 1
		if s[0] == '%' && len(s) >= 3 {
			n = 3
		}
		if part, err := url.QueryUnescape(s[:n]); err == nil {
			b.WriteString(part)
		} else {
			n = 1
			b.WriteByte(s[0])
		}
		s = s[n:]
	}
	return b.String(), false
}

// jsonFields splits a JSON object into fields, in order, with duplicates. A string becomes its
// text. Every other value stays JSON.
func jsonFields(body []byte) (found []field, whole bool, err error) {
	// The decoder would replace each invalid byte with three bytes, which could make an event too
	// large for the log. Replace each run of them with one character first.
	body = bytes.ToValidUTF8(body, []byte(replacement))
	whole = true
	dec := json.NewDecoder(bytes.NewReader(body))
	if _, err := dec.Token(); err != nil { // the opening brace
		return nil, false, errJSON
	}
	for dec.More() {
		if len(found) == maxFields {
			return nil, false, errTooManyFields
		}
		name, err := dec.Token()
		if err != nil {
			return nil, false, errJSON
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, false, errJSON
		}
		// A key is always a string.
		f := field{name: name.(string), value: string(raw), null: string(raw) == "null"}
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &f.value); err != nil {
				return nil, false, errJSON
			}
		}
		// U+FFFD also stands for a lone surrogate escape.
		whole = whole && !strings.ContainsRune(f.name+f.value, utf8.RuneError)
		found = append(found, f)
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, false, errJSON
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, false, errJSON
	}
	return found, whole, nil
}

// multipartFields splits a multipart form into fields, in order. It skips parts without a name and
// parts with a file. whole is true only if the fields, encoded again, make the same body. They do
// not if the form is cut off, or has more in a part's header, before the first part or after the
// last part.
func multipartFields(boundary string, body []byte) (found []field, whole bool, err error) {
	if boundary == "" {
		return nil, false, errNotFields
	}
	var again bytes.Buffer
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		// NextPart would silently decode quoted-printable.
		part, err := parts.NextRawPart()
		if errors.Is(err, io.EOF) {
			again.WriteString("--" + boundary + "--")
			rest, ok := bytes.CutPrefix(body, again.Bytes())
			return found, ok && (len(rest) == 0 || string(rest) == "\r\n" || string(rest) == "\n"), nil
		}
		if err != nil {
			return nil, false, errMultipart
		}
		if len(found) == maxFields {
			return nil, false, errTooManyFields
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, false, errMultipart
		}
		name := part.FormName()
		if name == "" || part.FileName() != "" {
			continue
		}
		fmt.Fprintf(&again, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", boundary, name, value)
		found = append(found, field{name: name, value: string(value), charset: labelOf(part.Header.Get("Content-Type")).charset})
	}
}

// innerJSON returns the element of a JSON array of one, or the text of a JSON string.
func innerJSON(body []byte) (inner []byte, ok bool) {
	var elements []json.RawMessage
	if json.Unmarshal(body, &elements) == nil && len(elements) == 1 {
		return elements[0], true
	}
	var text string
	if json.Unmarshal(body, &text) == nil {
		return []byte(text), true
	}
	return nil, false
}
