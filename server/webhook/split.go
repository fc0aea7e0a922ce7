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

// formFields takes an urlencoded form of at most so many fields apart, in order. It never fails on the
// encoding: a percent sign that starts no escape stands for itself, as browsers
// read it (WHATWG URL, percent-decode), but then the body is not whole, since
// "%zz" and "%25zz" give the same field.
func formFields(body []byte, most int) (found []field, whole bool, err error) {
	whole = true
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		if len(found) == most {
			return nil, false, errTooManyFields
		}
		name, value, _ := strings.Cut(pair, "=")
		decodedName, okName := unescape(name)
		decodedValue, okValue := unescape(value)
		whole = whole && okName && okValue
		if len(found) == 0 {
			decodedName = string(trimLeading([]byte(decodedName))) // it was escaped
		}
		found = append(found, field{name: decodedName, value: decodedValue})
	}
	return found, whole, nil
}

// unescape decodes percent escapes and "+". strict is false where it met a
// percent sign that starts no escape.
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

// jsonFields takes a JSON object apart, in order, duplicates included: strings as
// they are, anything else as its JSON text.
func jsonFields(body []byte) (found []field, whole bool, err error) {
	// The decoder would make three bytes of each that is not UTF-8, and an event
	// that is too large for the log: a run of them becomes one character before.
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

// multipartFields takes a multipart form apart, in order. A part without a name
// and a part with a file are no fields. Put together again, the fields have to
// make the same body: else it says more than they do, in a part's header, before
// the first part or behind the last, or it was cut off.
func multipartFields(boundary string, body []byte) (found []field, whole bool, err error) {
	if boundary == "" {
		return nil, false, errNotFields
	}
	var again bytes.Buffer
	parts := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		// The raw part, because NextPart decodes quoted-printable on the quiet.
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

// innerJSON returns what a JSON array of one element holds, or what is written in a JSON
// string.
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
