package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

const controlPath = "/_sandbox"

// maxControlBody bounds the bodies of controls, in bytes. It is larger than maxBody, so that a
// fault may answer with 10 MiB.
const maxControlBody = 32 << 20

// authControl is the body of PUT /_sandbox/auth. Either field may be missing. Answers omit the
// tokens.
type authControl struct {
	Forms  []AuthForm `json:"forms"`
	Tokens []string   `json:"tokens,omitempty"`
}

// controls serves everything under /_sandbox/.
func (s *Sandbox) controls() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+controlPath+"/{$}", describe)
	mux.HandleFunc("POST "+controlPath+"/webhooks", s.triggerWebhook)
	mux.HandleFunc("GET "+controlPath+"/webhooks", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, s.currentSettings())
	})
	mux.HandleFunc("PUT "+controlPath+"/webhooks", s.putWebhooks)
	mux.HandleFunc("GET "+controlPath+"/requests", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, s.Requests())
	})
	mux.HandleFunc("DELETE "+controlPath+"/requests", func(w http.ResponseWriter, _ *http.Request) {
		s.requests.clear()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+controlPath+"/deliveries", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, s.Deliveries())
	})
	mux.HandleFunc("GET "+controlPath+"/files/{id}/{name}", s.serveUpload)
	mux.HandleFunc("GET "+controlPath+"/state", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, s.state.snapshot())
	})
	mux.HandleFunc("GET "+controlPath+"/faults", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, s.faults.current())
	})
	mux.HandleFunc("PUT "+controlPath+"/faults", s.putFaults)
	mux.HandleFunc("DELETE "+controlPath+"/faults", func(w http.ResponseWriter, _ *http.Request) {
		s.SetFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("GET "+controlPath+"/auth", func(w http.ResponseWriter, _ *http.Request) {
		show(w, http.StatusOK, authControl{Forms: s.auth.accepted()})
	})
	mux.HandleFunc("PUT "+controlPath+"/auth", s.putAuth)
	return mux
}

func (s *Sandbox) putFaults(w http.ResponseWriter, r *http.Request) {
	var list []Fault
	if !readControl(w, r, &list) {
		return
	}
	s.SetFaults(list...)
	show(w, http.StatusOK, s.faults.current())
}

func (s *Sandbox) putAuth(w http.ResponseWriter, r *http.Request) {
	var given authControl
	if !readControl(w, r, &given) {
		return
	}
	err := checkAuthForms(given.Forms)
	if given.Forms == nil && given.Tokens == nil {
		err = errors.New(`the fields "forms" and "tokens" are missing: set at least one`)
	}
	if err != nil {
		showError(w, http.StatusBadRequest, err)
		return
	}
	if given.Forms != nil {
		s.SetAuthForms(given.Forms...)
	}
	if given.Tokens != nil {
		s.SetTokens(given.Tokens...)
	}
	show(w, http.StatusOK, authControl{Forms: s.auth.accepted()})
}

// readControl decodes a control's JSON body into v. If that fails, it answers with the reason and
// returns false.
func readControl(w http.ResponseWriter, r *http.Request, v any) bool {
	body, err := readBody(w, r, maxControlBody)
	if err != nil {
		showError(w, statusOfBody(err), err)
		return false
	}
	if err := decodeStrictly(bytes.NewReader(body), v); err != nil {
		showError(w, http.StatusBadRequest, fmt.Errorf("invalid body: %w", err))
		return false
	}
	return true
}

// encodeReadably returns indented JSON that does not escape the "&" of forms and the "<" of HTML.
func encodeReadably(v any) ([]byte, error) {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	err := encoder.Encode(v)
	return encoded.Bytes(), err
}

func show(w http.ResponseWriter, status int, v any) {
	body, err := encodeReadably(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

func showError(w http.ResponseWriter, status int, err error) {
	show(w, status, struct {
		Error string `json:"error"`
	}{err.Error()})
}
