package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds the body of a call and of a triggered webhook, in bytes.
const maxBody = 10 << 20

var (
	errBodyTooLarge = errors.New("the body is larger than 10 MiB")
	errMultipart    = errors.New("the multipart body is malformed or truncated")
)

// readBody reads a body of at most limit bytes. On an error it also returns the bytes that it read
// before.
func readBody(w http.ResponseWriter, r *http.Request, limit int64) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		err = errBodyTooLarge
	}
	return body, err
}

// parseBody returns a body's fields and the files of a multipart body. Of a repeated name it
// returns the last value. It ignores the Content-Type, because Ongair's clients also send forms
// labelled as JSON. The content decides:
//
//   - A JSON object is JSON.
//   - A body that begins with a line "--boundary" and a part is multipart.
//   - Any other body is a form.
//
// Only multipart can be malformed. An invalid escape in a form is kept as it is.
func parseBody(body []byte) (map[string]string, []upload, error) {
	if params, ok := parseJSON(body); ok {
		return params, nil, nil
	}
	if params, files, ok, err := parseMultipart(body); ok {
		return params, files, err
	}
	return lastOfEach(parseForm(string(body))), nil, nil
}

func parseJSON(body []byte) (map[string]string, bool) {
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) {
		return nil, false
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil {
		return nil, false
	}
	params := make(map[string]string, len(fields))
	for name, value := range fields {
		if text, ok := jsonText(value); ok {
			params[name] = text
		}
	}
	return params, true
}

// jsonText returns a JSON value as the text of a form field. It returns false for null.
func jsonText(value json.RawMessage) (string, bool) {
	var decoded *string
	if json.Unmarshal(value, &decoded) == nil {
		if decoded == nil {
			return "", false
		}
		return *decoded, true
	}
	var compact bytes.Buffer
	if json.Compact(&compact, value) != nil {
		return string(value), true
	}
	return compact.String(), true
}

// parseMultipart reads the boundary from the first line. It does not need the Content-Type, whose
// boundary either is the same or does not match the body.
func parseMultipart(body []byte) (params map[string]string, files []upload, isMultipart bool, err error) {
	line, _, ok := bytes.Cut(body, []byte("\n"))
	boundary := strings.TrimPrefix(strings.TrimRight(string(line), " \t\r"), "--")
	if !ok || boundary == "" || !bytes.HasPrefix(line, []byte("--")) {
		return nil, nil, false, nil
	}
	reader := multipart.NewReader(bytes.NewReader(body), boundary)
	params = make(map[string]string)
	for first := true; ; first = false {
		part, err := reader.NextPart()
		if err != nil && first {
			return nil, nil, false, nil
		}
		if errors.Is(err, io.EOF) {
			return params, files, true, nil
		}
		if err != nil {
			return params, files, true, errMultipart
		}
		value, err := io.ReadAll(part)
		if err != nil {
			return params, files, true, errMultipart
		}
		switch field, file := part.FormName(), part.FileName(); {
		case field == "":
		case file == "":
			params[field] = string(value)
		default:
			files = append(files, upload{File{field, file, part.Header.Get("Content-Type"), len(value)}, value})
		}
	}
}

// parseForm returns a form's fields in order.
func parseForm(body string) []Field {
	var fields []Field
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		fields = append(fields, Field{Name: unescape(name), Value: unescape(value)})
	}
	return fields
}

func unescape(escaped string) string {
	if text, err := url.QueryUnescape(escaped); err == nil {
		return text
	}
	return escaped
}

func lastOfEach(fields []Field) map[string]string {
	params := make(map[string]string, len(fields))
	for _, f := range fields {
		params[f.Name] = f.Value
	}
	return params
}
