package sandbox

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"
)

const (
	// apiPath is the prefix of every call of Ongair's API except searches.
	apiPath    = "/api/v1/base"
	searchPath = "/api/v1/search/"
)

// answer is the response to a call.
type answer struct {
	status int
	header map[string]string
	body   string
}

// input is the content of a call.
type input struct {
	params map[string]string
	files  []upload
	// origin is the scheme and address by which the client reached the sandbox.
	origin string
}

func origin(r *http.Request) string {
	if r.TLS != nil {
		return "https://" + r.Host
	}
	return "http://" + r.Host
}

// serveAPI handles one call in the steps that the package comment lists.
func (s *Sandbox) serveAPI(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(w, r, maxBody)
	in := input{origin: origin(r)}
	if err == nil {
		in.params, in.files, err = parseBody(body)
	}
	request := &Request{
		Time:     time.Now(),
		Method:   r.Method,
		Path:     r.URL.Path,
		RawQuery: r.URL.RawQuery,
		Header:   r.Header.Clone(),
		Body:     body,
		Params:   in.params,
		Files:    withoutContent(in.files),
	}
	s.requests.add(request, len(body))

	// answered runs before the first byte of the answer, so that a client that has its answer also
	// finds the status in Requests.
	answered := func(status int) {
		s.requests.change(func() { request.Status = status })
		s.logger.Debug("sandbox answered a call", "method", r.Method, "path", r.URL.Path, "status", status)
	}
	path := callName(r.URL.Path)
	work := func() answer { return s.call(r, path, in) }
	if err != nil {
		work = func() answer { return unreadable(err) }
	}
	fault, ok := s.faults.match(path)
	if !ok {
		write(w, work(), answered)
		return
	}
	fault.apply(w, r, work, answered)
}

// callName returns the name of the call at a path. This is the part after apiPath, such as "/send",
// or the whole path of a search. The name is empty for a path outside the API, which only a fault
// for all calls matches. Like Rails, callName squeezes slashes, because some clients call
// "//api/v1/base/send".
func callName(path string) string {
	segments := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	squeezed := "/" + strings.Join(segments, "/")
	if name, ok := strings.CutPrefix(squeezed, apiPath); ok {
		return name
	}
	if strings.HasPrefix(squeezed, searchPath) {
		return squeezed
	}
	return ""
}

// call executes or rejects one call.
func (s *Sandbox) call(r *http.Request, path string, in input) answer {
	method := http.MethodPost
	var do func(in input) answer
	switch path {
	case "/send":
		do = s.send
	case "/send_image":
		do = s.sendImage
	case "/send_document":
		do = s.sendDocument
	case "/create_conversation":
		do = s.createConversation
	case "/status":
		method, do = http.MethodGet, s.status
	default:
		if !isUnimplemented(path) {
			return reject(http.StatusNotFound, "Not Found")
		}
		method, do = r.Method, func(input) answer {
			return reject(http.StatusNotImplemented, "The sandbox does not implement the call "+path)
		}
	}
	if r.Method != method {
		rejection := reject(http.StatusMethodNotAllowed, "Method Not Allowed")
		rejection.header["Allow"] = method
		return rejection
	}
	if !s.authenticated(r, in.params) {
		return reject(http.StatusUnauthorized, "Invalid API Token")
	}
	return do(in)
}

func unreadable(err error) answer { return reject(statusOfBody(err), err.Error()) }

// statusOfBody returns the HTTP status for an error of readBody or parseBody.
func statusOfBody(err error) int {
	if errors.Is(err, errBodyTooLarge) {
		return http.StatusRequestEntityTooLarge
	}
	return http.StatusBadRequest
}

func succeed(v any) answer { return jsonAnswer(http.StatusOK, v) }

func reject(status int, message string) answer {
	return jsonAnswer(status, struct {
		Error string `json:"error"`
	}{message})
}

func jsonAnswer(status int, v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		status, body = http.StatusInternalServerError, []byte(`{"error":"cannot encode the answer as JSON"}`)
	}
	return answer{status, map[string]string{"Content-Type": "application/json; charset=utf-8"}, string(body)}
}

// write sends a. It calls answered first.
func write(w http.ResponseWriter, a answer, answered func(status int)) {
	answered(a.status)
	setHeader(w, a)
	w.WriteHeader(a.status)
	// The sandbox ignores errors of every write, because a client may disconnect at any time.
	_, _ = w.Write([]byte(a.body))
}

func setHeader(w http.ResponseWriter, a answer) {
	for name, value := range a.header {
		w.Header().Set(name, value)
	}
}
