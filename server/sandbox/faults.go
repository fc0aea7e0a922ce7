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

// Fault is a failure of calls. At least one of Delay, Status and Connection is set. They take
// effect in this order.
type Fault struct {
	// Path is the call's name, for example "/send". Empty matches every request to the API,
	// including unknown paths.
	Path string
	// Times is the number of calls that fail, after which the fault is removed. Zero means
	// until it is removed. In a list of faults it is the rest.
	Times int
	// Delay is the delay of the answer, or of the end of the connection. It ends early, without
	// an answer, when the client leaves or Run's context ends. In JSON it is a string such as
	// "1.5s".
	Delay time.Duration
	// Status, 200 to 599, is answered with Headers and Body, and the call is not executed. The
	// Content-Type is Ongair's unless Headers has one. Zero means the call's real answer.
	Status  int
	Headers map[string]string
	Body    string
	// Effect means that the call is executed nevertheless, before the delay: the message is
	// stored and its webhooks are queued.
	Effect bool
	// Connection, if not empty, is the way in which the connection ends.
	Connection Connection
}

// Connection is a way in which a connection fails after the request was read. It requires
// HTTP/1.
type Connection string

const (
	// ResetBeforeAnswer ends the connection with a reset (RST) and no byte of an answer.
	ResetBeforeAnswer Connection = "reset_before_answer"
	// CloseBeforeAnswer ends the connection in order (FIN) with no byte of an answer.
	CloseBeforeAnswer Connection = "close_before_answer"
	// HalfAnswer sends the header, with the Content-Length of the whole answer, and half of the
	// body, and closes the connection. Without a Status the call is executed and its real
	// answer is cut.
	HalfAnswer Connection = "half_answer"
	// Hang never answers. The connection ends when the client leaves or Run's context ends.
	Hang Connection = "hang"
)

// check returns an error if a fault is invalid.
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

// faults is the list of faults. The zero value is an empty list.
type faults struct {
	mu   sync.Mutex
	list []Fault
}

// SetFaults replaces all faults. Without arguments it removes them. The first fault that
// matches a call takes effect. An invalid fault, such as one with Status 42, answers its calls
// with 500 and the reason.
func (s *Sandbox) SetFaults(list ...Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = slices.Clone(list)
}

// current returns a copy of the list. It is never nil, so that JSON has a list.
func (fs *faults) current() []Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return append([]Fault{}, fs.list...)
}

// take returns the fault for a call to path, and counts it.
func (fs *faults) take(path string) (Fault, bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.list {
		// The name with its prefix means the same call.
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

// apply answers a call, or fails it, according to f. work executes the call and returns its
// real answer.
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
	case HalfAnswer: // below, when there is an answer
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
