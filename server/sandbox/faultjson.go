package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// faultJSON is the JSON form of a Fault.
type faultJSON struct {
	Path       string            `json:"path,omitempty"`
	Times      int               `json:"times,omitempty"`
	Delay      string            `json:"delay,omitempty"`
	Status     int               `json:"status,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`
	Body       string            `json:"body,omitempty"`
	Effect     bool              `json:"effect,omitempty"`
	Connection Connection        `json:"connection,omitempty"`
}

// MarshalJSON encodes the delay as a string, for example "1.5s", and omits zero fields.
func (f Fault) MarshalJSON() ([]byte, error) {
	shown := faultJSON{
		Path: f.Path, Times: f.Times, Status: f.Status, Headers: f.Headers, Body: f.Body,
		Effect: f.Effect, Connection: f.Connection,
	}
	if f.Delay != 0 {
		shown.Delay = f.Delay.String()
	}
	return encodeReadably(shown)
}

// UnmarshalJSON decodes the output of MarshalJSON. It rejects unknown fields and invalid faults.
func (f *Fault) UnmarshalJSON(data []byte) error {
	var given faultJSON
	if err := decodeStrictly(bytes.NewReader(data), &given); err != nil {
		return err
	}
	read := Fault{
		Path: given.Path, Times: given.Times, Status: given.Status, Headers: given.Headers, Body: given.Body,
		Effect: given.Effect, Connection: given.Connection,
	}
	if given.Delay != "" {
		delay, err := time.ParseDuration(given.Delay)
		if err != nil {
			return fmt.Errorf("invalid delay %q: use a duration such as 1.5s", given.Delay)
		}
		read.Delay = delay
	}
	if err := read.check(); err != nil {
		return err
	}
	*f = read
	return nil
}

// decodeStrictly decodes exactly one JSON value. It rejects fields that v lacks.
func decodeStrictly(r io.Reader, v any) error {
	decoder := json.NewDecoder(r)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the body is empty")
		}
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected data after the JSON value")
	}
	return nil
}
