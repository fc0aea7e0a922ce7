package sandbox

import (
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"
)

// Request is a call as it arrived. Its header, body and parameters are shared and MUST NOT be
// changed.
type Request struct {
	Time     time.Time   `json:"time"`
	Method   string      `json:"method"`
	Path     string      `json:"path"`
	RawQuery string      `json:"raw_query"`
	Header   http.Header `json:"header"`
	// Body has the bytes that were read, at most 10 MiB. In JSON it is the string body if it is
	// UTF-8, and otherwise body_base64.
	Body []byte `json:"-"`
	// Params are the body's fields, the last one of each name. Booleans and numbers of JSON are
	// text, and nulls are omitted. The query is not included.
	Params map[string]string `json:"params"`
	// Files are the files of a multipart body. They are not in Params.
	Files []File `json:"files,omitempty"`
	// Status is the answered status. It is 0 before the answer, and if a fault ended the
	// connection without one.
	Status int `json:"status"`
}

// Requests returns the calls that arrived, oldest first: the newest 10,000, with at most 64 MiB
// of bodies in total. A call is listed when its body was read, before it is answered. Calls to
// unknown paths are listed. Controls are not.
func (s *Sandbox) Requests() []Request { return s.requests.list() }

// MarshalJSON encodes the body as text if it is UTF-8.
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

// bodyJSON is the JSON form of a body: text if it is UTF-8, and base64 otherwise.
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
