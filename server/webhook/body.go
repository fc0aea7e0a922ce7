package webhook

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"mime"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxFields bounds the fields of a parsed body. Ongair documents a dozen.
const maxFields = 1000

const (
	// maxWrappings bounds the nesting of bodies, such as JSON in a form.
	maxWrappings = 3
	// maxPreamble is the part of a body that is searched for the first part of a multipart
	// form.
	maxPreamble = 8 << 10
)

// typeField is the field that identifies a webhook.
const typeField = "notification_type"

// field is a name and a value as they arrived: bytes of any kind.
type field struct {
	name, value string
	// charset is the charset in the label of a part of a multipart form.
	charset string
	// text is the value decoded from its charset. It is empty if the value is UTF-8, or if its
	// charset is unknown.
	text string
	// null means that the value is JSON's null. It is not used as an id, because all events
	// without an id would be duplicates.
	null bool
}

var (
	errTooManyFields = errors.New("too many fields")
	errNotFields     = errors.New("not a form, JSON object or multipart form")
	// The parsers' errors are not used, because they may contain the posted text.
	errMultipart = errors.New("the multipart form is cut off or malformed")
	errJSON      = errors.New("the JSON is cut off or malformed")
)

// readFields takes a body apart. It decides what the body is by looking at it; the label,
// its Content-Type, breaks ties. whole is true if the fields represent all of the body. If
// they do not, or it fails, the body has to be kept beside them.
//
//   - White space, line breaks, question marks and a byte order mark before the content do
//     not count.
//   - A body in UTF-16 is decoded. Values that are not UTF-8 are decoded from the charset
//     that the label names.
//   - A part that begins with two hyphens and a header makes a multipart form, a brace or a
//     bracket JSON, and a name with an equals sign a form.
//   - A JSON array of one, JSON in a JSON string, and a webhook in one field of a form or an
//     object are taken out of their wrapping, which may be in another one: wrappings at most.
func readFields(contentType string, body []byte, wrappings int) (found []field, whole bool, err error) {
	if len(body) == 0 {
		return nil, true, nil
	}
	l := labelOf(contentType)
	text, exact := decodeText(body, l.charset)
	found, whole, err = split(l, text, wrappings)
	if err != nil {
		return nil, false, err
	}
	decodeValues(found, l.charset)
	return found, whole && exact, nil
}

// label is the content of a Content-Type.
type label struct{ mediaType, boundary, charset string }

// labelOf reads a Content-Type. The type of one with malformed parameters still counts.
func labelOf(contentType string) label {
	mediaType, params, _ := mime.ParseMediaType(contentType)
	return label{mediaType, params["boundary"], params["charset"]}
}

// trimLeading removes what does not count before the content of a body.
func trimLeading(body []byte) []byte {
	return bytes.TrimLeftFunc(body, func(r rune) bool { return r == '?' || isSpace(r) })
}

// split takes a body apart that is text, as far as it is known.
func split(l label, body []byte, wrappings int) (found []field, whole bool, err error) {
	body = trimLeading(body)
	boundary := boundaryOf(l, body)
	switch {
	case boundary != "":
		found, whole, err = multipartFields(boundary, body)
	case len(body) == 0:
		return nil, false, errNotFields
	case body[0] == '{':
		found, whole, err = jsonFields(body)
		if object, ok := bytes.CutSuffix(body, []byte("=")); ok && err != nil { // of a form, whose name it is
			found, _, err = jsonFields(object)
		}
	case body[0] == '[' || body[0] == '"':
		inner, ok := innerJSON(body)
		if !ok || wrappings == 0 {
			return nil, false, errNotFields
		}
		found, _, err = split(label{charset: l.charset}, inner, wrappings-1)
	case l.mediaType == "application/x-www-form-urlencoded", looksLikeForm(body):
		found, whole, err = formFields(body, maxFields)
		name, value, _ := strings.Cut(string(body), "=")
		if strings.HasPrefix(value, "{") && strings.ContainsAny(value, "&%+") && json.Valid([]byte(value)) { // which was not escaped
			found, whole, err = []field{{name: name, value: value}}, false, nil
		}
	default:
		return nil, false, errNotFields
	}
	if err != nil || wrappings == 0 {
		return found, whole, err
	}
	if unwrapped, ok := unwrap(l, found, wrappings-1); ok {
		return unwrapped, false, nil
	}
	return found, whole, nil
}

// looksLikeForm reports whether a body begins like a form, or has the field that a webhook
// has.
func looksLikeForm(body []byte) bool {
	const nameChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.%+[]-"
	afterName := bytes.TrimLeft(body[:min(len(body), 100)], nameChars)
	return len(afterName) > 0 && afterName[0] == '=' || bytes.Contains(body, []byte(typeField+"="))
}

// boundaryOf returns the boundary of a multipart form, or an empty string if the body is not
// one. If the body does not have the label's boundary, it is taken from the body.
func boundaryOf(l label, body []byte) string {
	body = trimLeading(body)
	labelled := strings.HasPrefix(l.mediaType, "multipart/")
	if labelled && l.boundary != "" && hasDelimiter(body, "--"+l.boundary) {
		return l.boundary
	}
	if !labelled && !bytes.HasPrefix(body, []byte("--")) {
		return ""
	}
	// A delimiter, and the header that each part of a form has.
	own := ""
	for line := range strings.Lines(string(body[:min(len(body), maxPreamble)])) {
		line = strings.TrimRight(line, " \t\r\n")
		rest, isDelimiter := strings.CutPrefix(line, "--")
		name, _, isHeader := strings.Cut(line, ":")
		switch {
		case isDelimiter && rest != "" && len(rest) <= 70:
			own = rest
		case line == "":
			own = ""
		case own != "" && isHeader && strings.EqualFold(strings.TrimSpace(name), "content-disposition"):
			return own
		}
	}
	return ""
}

// hasDelimiter reports whether a line of the body is the delimiter, or the closing one.
func hasDelimiter(body []byte, delimiter string) bool {
	for start := 0; ; {
		i := bytes.Index(body[start:], []byte(delimiter))
		if i < 0 {
			return false
		}
		start += i + len(delimiter)
		first := start - len(delimiter)
		line, _, _ := bytes.Cut(body[start:min(len(body), start+maxPreamble)], []byte("\n"))
		rest := strings.TrimRight(string(line), " \t\r")
		if (first == 0 || body[first-1] == '\n') && (rest == "" || rest == "--") {
			return true
		}
	}
}

// unwrap returns the fields of a webhook inside one of the fields: payload={…}, {"payload":
// {…}}, or a form whose only name is JSON. It keeps the other fields. It ignores fields with
// text of people, because they could write a webhook there.
func unwrap(l label, found []field, wrappings int) (unwrapped []field, ok bool) {
	if hasType(found) {
		return nil, false
	}
	for i, f := range found {
		if slices.Contains([]string{"text", "name", "caption", "address"}, f.name) {
			continue
		}
		for _, text := range []string{f.value, f.name} {
			if !utf8.ValidString(text) {
				if decoded, err := decode(cmp.Or(f.charset, l.charset), text); err == nil {
					text = decoded
				}
			}
			body := trimLeading([]byte(text))
			if len(body) == 0 || !strings.Contains("{[\"", string(body[:1])) {
				continue
			}
			inner, _, err := split(label{charset: l.charset}, body, wrappings)
			if err != nil || !hasType(inner) || len(inner)+len(found) > maxFields {
				continue
			}
			unwrapped = append(unwrapped, found[:i]...)
			unwrapped = append(unwrapped, found[i+1:]...)
			return append(unwrapped, inner...), true
		}
	}
	return nil, false
}

func hasType(found []field) bool {
	for _, f := range found {
		if f.name == typeField {
			return true
		}
	}
	return false
}
