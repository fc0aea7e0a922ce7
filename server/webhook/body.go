package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/url"
	"strings"
	"unicode/utf8"
)

// maxFields is the most fields that a body is taken apart into. A body with more
// is no webhook of Ongair's, which documents nine.
const maxFields = 1000

// field is a name and a value as they arrived: bytes of any kind.
type field struct {
	name, value string
	// null is true for the null of JSON, which is no value: as an id it would make
	// one event of all that have none.
	null bool
}

var (
	errTooManyFields = errors.New("too many fields")
	errNotFields     = errors.New("not a body of fields")
)

// fields takes a body apart. whole is true where the fields say all of it; where
// they do not, or there are none, the body has to be kept beside them.
func fields(contentType string, body []byte) (_ []field, whole bool) {
	if len(body) == 0 {
		return nil, true
	}
	// Of a header that is malformed in its parameters alone the type still counts.
	mediaType, params, _ := mime.ParseMediaType(contentType)
	var found []field
	var err error
	switch {
	case mediaType == "multipart/form-data":
		found, whole, err = multipartFields(params["boundary"], body)
	case looksLikeJSON(body):
		// Whatever the header claims: no form starts with a brace.
		found, whole, err = jsonFields(body)
	case mediaType == "application/x-www-form-urlencoded", bytes.Contains(body, []byte("notification_type=")):
		found, whole, err = formFields(body)
	default:
		err = errNotFields
	}
	if err != nil {
		return nil, false
	}
	return found, whole
}

func looksLikeJSON(body []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
}

// formFields takes an urlencoded form apart, in order. It never fails on the
// encoding: a percent sign that starts no escape stands for itself, as browsers
// read it (WHATWG URL, percent-decode), but then the body is not whole, since
// "%zz" and "%25zz" give the same field.
func formFields(body []byte) (found []field, whole bool, err error) {
	whole = true
	for pair := range strings.SplitSeq(string(body), "&") {
		if pair == "" {
			continue
		}
		if len(found) == maxFields {
			return nil, false, errTooManyFields
		}
		name, value, _ := strings.Cut(pair, "=")
		decodedName, okName := unescape(name)
		decodedValue, okValue := unescape(value)
		whole = whole && okName && okValue
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
		return nil, false, err
	}
	for dec.More() {
		if len(found) == maxFields {
			return nil, false, errTooManyFields
		}
		name, err := dec.Token()
		if err != nil {
			return nil, false, err
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, false, err
		}
		// A key is always a string.
		f := field{name: name.(string), value: string(raw), null: string(raw) == "null"}
		if raw[0] == '"' {
			if err := json.Unmarshal(raw, &f.value); err != nil {
				return nil, false, err
			}
		}
		// U+FFFD also stands for a lone surrogate escape.
		whole = whole && !strings.ContainsRune(f.name+f.value, utf8.RuneError)
		found = append(found, f)
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, false, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, false, errNotFields
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
			return nil, false, err
		}
		if len(found) == maxFields {
			return nil, false, errTooManyFields
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return nil, false, err
		}
		name := part.FormName()
		if name == "" || part.FileName() != "" {
			continue
		}
		fmt.Fprintf(&again, "--%s\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", boundary, name, value)
		found = append(found, field{name: name, value: string(value)})
	}
}
