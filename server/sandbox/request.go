package sandbox

import (
	"encoding/json"
	"net/http"
	"time"
	"unicode/utf8"
)

// Request is one call as it arrived. Its header, body and parameters are shared by everyone who lists it and MUST NOT
// be changed.
type Request struct {
	Time     time.Time   `json:"time"`
	Method   string      `json:"method"`
	Path     string      `json:"path"`
	RawQuery string      `json:"raw_query"`
	Header   http.Header `json:"header"`
	// Body is every byte that was read, at most 10 MiB. In JSON it is the string body if it is UTF-8, and otherwise
	// body_base64.
	Body []byte `json:"-"`
	// Params are the body's fields; of a repeated one the last. JSON's Booleans and numbers are their text, its nulls are
	// left out. The query is not among them.
	Params map[string]string `json:"params"`
	// Files are the files of a multipart body. They are not among Params.
	Files []File `json:"files,omitempty"`
	// Status is what was answered: 0 while nothing was, and for good if a fault ended the connection without an answer.
	Status int `json:"status"`
}

// Requests lists every call that arrived, oldest first: the newest 10,000, with at most 64 MiB of bodies together. A
// call is listed as soon as its body has been read, before it is answered. Calls to unknown paths are listed too,
// controls are not.
func (s *Sandbox) Requests() []Request { return s.requests.list() }

// MarshalJSON writes the body as text where it is text.
func (r Request) MarshalJSON() ([]byte, error) {
	return encodeReadably(requestJSON{plainRequest(r), newBodyJSON(r.Body)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
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

// bodyJSON is a body in JSON: readable where that loses nothing, exact always.
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
