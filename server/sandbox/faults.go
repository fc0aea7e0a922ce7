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

// Fault replaces, delays or breaks the answers to the calls that it matches. At least one of Delay,
// Status and Connection is set. They apply in this order.
type Fault struct {
	// Path is the name of the call, for example "/send". An empty Path matches every request to the
	// API, including unknown paths.
	Path string
	// Times is how many calls the fault applies to before it is removed. 0 means no limit. In a
	// list of faults it is the number of calls that are left.
	Times int
	// Delay is how long the answer, or the end of the connection, is delayed. It ends early,
	// without an answer, when the client disconnects or Run's context ends. In JSON it is a string
	// such as "1.5s".
	Delay time.Duration
	// Status, 200 to 599, is answered with Headers and Body, and the call is not executed. The
	// Content-Type is Ongair's unless Headers has one. 0 means the call's real answer.
	Status  int
	Headers map[string]string
	Body    string
	// Effect means that the call is executed nevertheless, before the delay begins. The message is
	// kept and its webhooks are queued, whatever the client receives.
	Effect bool
	// Connection, if not empty, is how the connection ends in place of a whole answer.
	Connection Connection
}

// Connection is a way to break the connection of a call after the whole request was read. It needs
// HTTP/1.
type Connection string

const (
	// ResetBeforeAnswer closes the connection with a reset (RST) before any byte of an answer.
	ResetBeforeAnswer Connection = "reset_before_answer"
	// CloseBeforeAnswer closes the connection in order (FIN) before any byte of an answer.
	CloseBeforeAnswer Connection = "close_before_answer"
	// HalfAnswer writes the header, with the whole answer's Content-Length, and half of the body.
	// Then it closes the connection. Without a Status it cuts the real answer, so the call is
	// always executed.
	HalfAnswer Connection = "half_answer"
	// Hang never answers. It ends when the client disconnects or Run's context ends.
	Hang Connection = "hang"
)

// check returns an error if the fault is invalid.
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
		return errors.New("headers and body require a status")
	case f.Delay == 0 && f.Status == 0 && f.Connection == "":
		return errors.New("a fault requires a delay, a status or a connection")
	}
	switch f.Connection {
	case "", ResetBeforeAnswer, CloseBeforeAnswer, HalfAnswer, Hang:
		return nil
	default:
		return fmt.Errorf("unknown connection %q: use %s, %s, %s or %s", f.Connection,
			ResetBeforeAnswer, CloseBeforeAnswer, HalfAnswer, Hang)
	}
}

// faults is the list of faults. Its zero value is an empty list.
type faults struct {
	mu   sync.Mutex
	list []Fault
}

// SetFaults replaces all faults. Without arguments it removes them. Only the first fault that
// matches a call applies. An invalid fault, such as one with Status 42, answers its calls with 500
// and the reason.
func (s *Sandbox) SetFaults(list ...Fault) {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.list = slices.Clone(list)
}

// current returns a copy of the list. It is never nil, so that its JSON is a list.
func (fs *faults) current() []Fault {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return append([]Fault{}, fs.list...)
}

// match returns the first fault that matches a call to path and counts the call.
func (fs *faults) match(path string) (Fault, bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i, f := range fs.list {
		// A Path may include the prefix of the API.
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

// apply answers a call as f specifies. work executes the call and returns its real answer.
func (f Fault) apply(w http.ResponseWriter, r *http.Request, work func() answer, answered func(status int)) {
	if err := f.check(); err != nil {
		write(w, reject(http.StatusInternalServerError, "invalid fault of the sandbox: "+err.Error()), answered)
		return
	}
	var a answer
	worked := f.Effect || f.Connection == HalfAnswer && f.Status == 0
	if worked {
		a = work()
	}
	if !wait(r.Context(), f.Delay) {
		closeWithoutAnswer(w, false)
		return
	}
	switch f.Connection {
	case ResetBeforeAnswer, CloseBeforeAnswer:
		closeWithoutAnswer(w, f.Connection == ResetBeforeAnswer)
		return
	case Hang:
		<-r.Context().Done()
		closeWithoutAnswer(w, false)
		return
	case HalfAnswer: // handled below, because it needs an answer
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
