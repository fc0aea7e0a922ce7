package sandbox

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Fault is something that goes wrong with the calls it fits. Of the delay, the answer and the connection at least one
// is set; they happen in this order.
type Fault struct {
	// Path is the call's name, for example "/send". Empty fits every request to the API, unknown paths too.
	Path string
	// Times is how many calls it happens to, after which it is gone; 0 means until it is removed. In a list of faults it
	// is how many are left.
	Times int
	// Delay is how long the answer, or the end of the connection, is kept back. It ends early when the client goes or
	// Run's context ends; then there is no answer. In JSON it is a string such as "1.5s".
	Delay time.Duration
	// Status, 200 to 599, is answered with Headers and Body instead of doing the work. The Content-Type is Ongair's
	// unless Headers has one. 0 means the call's real answer.
	Status  int
	Headers map[string]string
	Body    string
	// Effect means that the work is done nevertheless, and first: the message is kept and its webhooks are queued before
	// the delay begins, whatever the client gets to see of it.
	Effect bool
	// Connection, if not empty, is how the connection ends instead of a whole answer.
	Connection Connection
}

// Connection is a way in which a connection fails a call whose request was read whole. It needs HTTP/1.
type Connection string

const (
	// ResetBeforeAnswer ends the connection with a reset (RST) and no byte of an answer.
	ResetBeforeAnswer Connection = "reset_before_answer"
	// CloseBeforeAnswer ends the connection in order (FIN) with no byte of an answer.
	CloseBeforeAnswer Connection = "close_before_answer"
	// HalfAnswer writes the header, with the whole answer's Content-Length, and half of the body, and closes. Without a
	// Status it is the real answer that is cut, so the work is always done.
	HalfAnswer Connection = "half_answer"
	// Hang never answers: it ends when the client goes or Run's context ends.
	Hang Connection = "hang"
)

// check says why a fault cannot happen.
func (f Fault) check() error {
	switch {
	case f.Path != "" && !strings.HasPrefix(f.Path, "/"):
		return fmt.Errorf("path %q does not begin with a slash: use a call's name, such as /send", f.Path)
	case f.Times < 0:
		return fmt.Errorf("times %d is negative", f.Times)
	case f.Delay < 0:
		return fmt.Errorf("delay %s is negative", f.Delay)
	case f.Status != 0 && (f.Status < 200 || f.Status > 599):
		return fmt.Errorf("status %d is not between 200 and 599", f.Status)
	case f.Status == 0 && (f.Body != "" || len(f.Headers) > 0):
		return errors.New("headers and body need a status")
	case f.Delay == 0 && f.Status == 0 && f.Connection == "":
		return errors.New("a fault needs a delay, a status or a connection")
	}
	switch f.Connection {
	case "", ResetBeforeAnswer, CloseBeforeAnswer, HalfAnswer, Hang:
		return nil
	default:
		return fmt.Errorf("unknown connection %q: use %s, %s, %s or %s", f.Connection,
			ResetBeforeAnswer, CloseBeforeAnswer, HalfAnswer, Hang)
	}
}

// faults is the list of what goes wrong. Its zero value is an empty list.
type faults struct {
	mu   sync.Mutex
	list []Fault
}

// SetFaults replaces all faults; with none, nothing goes wrong any more. Of several that fit a call the first one
// happens. A fault that makes no sense, such as one with Status 42, answers its calls with 500 and the reason.
func (s *Sandbox) SetFaults(list ...Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = slices.Clone(list)
}

// current copies the list. It is never nil, so that it is a list in JSON.
func (fs *faults) current() []Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return append([]Fault{}, fs.list...)
}

// take finds what goes wrong with a call to path, and counts it.
func (fs *faults) take(path string) (Fault, bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.list {
		// The name with its prefix is the same call.
		if f.Path != "" && strings.TrimPrefix(f.Path, apiPath) != path {
			continue
		}
		if f.Times == 1 {
			fs.list = slices.Delete(fs.list, i, i+1)
		} else if f.Times > 1 {
			fs.list[i].Times--
		}
		return f, true
	}
	return Fault{}, false
}

// apply answers a call, or does not, as f says. work does the call and tells its real answer.
func (f Fault) apply(w http.ResponseWriter, r *http.Request, work func() answer, answered func(status int)) {
	if err := f.check(); err != nil {
		write(w, refuse(http.StatusInternalServerError, "the sandbox has a bad fault: "+err.Error()), answered)
		return
	}
	var a answer
	worked := f.Effect || f.Connection == HalfAnswer && f.Status == 0
	if worked {
		a = work()
	}
	if !wait(r.Context(), f.Delay) {
		hangUp(w, false)
		return
	}
	switch f.Connection {
	case ResetBeforeAnswer, CloseBeforeAnswer:
		hangUp(w, f.Connection == ResetBeforeAnswer)
		return
	case Hang:
		<-r.Context().Done()
		hangUp(w, false)
		return
	case HalfAnswer: // once there is an answer to cut in half
	}
	if f.Status != 0 {
		a = f.answer()
	} else if !worked {
		a = work()
	}
	if f.Connection == HalfAnswer {
		writeHalf(w, a, answered)
		return
	}
	write(w, a, answered)
}

func (f Fault) answer() answer {
	header := map[string]string{"Content-Type": "application/json; charset=utf-8"}
	for name, value := range f.Headers {
		header[http.CanonicalHeaderKey(name)] = value
	}
	return answer{f.Status, header, f.Body}
}
