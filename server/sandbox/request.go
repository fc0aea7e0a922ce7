package sandbox

import (
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"
)

// Request is one call as it arrived. Copies share Header, Body and Params, which MUST NOT be
// changed.
type Request struct {
	Time     time.Time   `json:"time"`
	Method   string      `json:"method"`
	Path     string      `json:"path"`
	RawQuery string      `json:"raw_query"`
	Header   http.Header `json:"header"`
	// Body is every byte that was read, at most 10 MiB. In JSON it is the string body if it is
	// valid UTF-8, and otherwise body_base64.
	Body []byte `json:"-"`
	// Params are the body's fields. Of a repeated name it has the last value. JSON Booleans and
	// numbers become text, and nulls are omitted. Params does not include the query.
	Params map[string]string `json:"params"`
	// Files are the files of a multipart body. Params does not include them.
	Files []File `json:"files,omitempty"`
	// Status is the status of the answer. It is 0 until there is an answer, and stays 0 if a fault
	// ends the connection without one.
	Status int `json:"status"`
}

// Requests lists the calls, oldest first. It keeps the newest 10,000, with at most 64 MiB of bodies
// together. A call is listed when its body has been read, before it is answered. Calls to unknown
// paths are listed, controls are not.
func (s *Sandbox) Requests() []Request { return s.requests.list() }

// MarshalJSON encodes the body as text if it is valid UTF-8.
func (r Request) MarshalJSON() ([]byte, error) {
	return encodeReadably(requestJSON{plainRequest(r), newBodyJSON(r.Body)})
}

// UnmarshalJSON decodes the output of MarshalJSON.
func (r *Request) UnmarshalJSON(data []byte) error {
	var read requestJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*r = Request(read.plainRequest)
	r.Body = read.bytes()
	return nil
}

// plainRequest has no methods, so that encoding it does not call MarshalJSON again.
type plainRequest Request

type requestJSON struct {
	plainRequest
	bodyJSON
}

// bodyJSON is a body in JSON, without loss: text if it is valid UTF-8, and otherwise base64.
type bodyJSON struct {
	Text   *string `json:"body,omitempty"`
	Base64 []byte  `json:"body_base64,omitempty"`
}

func newBodyJSON(body []byte) bodyJSON {
	if !utf8.Valid(body) {
		return bodyJSON{Base64: body}
	}
	text := string(body)
	return bodyJSON{Text: &text}
}

func (b bodyJSON) bytes() []byte {
	if b.Text != nil {
		return []byte(*b.Text)
	}
	return b.Base64
}
