package ongair

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxIDBytes bounds an id. Ongair's ids are numbers, so a longer text is not an id.
const maxIDBytes = 256

// answer is the content of a 2xx.
type answer struct {
	// accepted is false if Ongair rejected the call.
	accepted bool
	// id and conversationID are empty if they are missing.
	id, conversationID string
	// refusal is Ongair's own text of a refusal, or empty.
	refusal string
}

// parseAnswer parses the body of a 2xx. An error means that it is unknown whether Ongair accepted
// the call.
//
// The body is one JSON object. A byte order mark and white space around it are ignored. These rules
// decide, in this order; null counts as absent:
//
//   - "sent" and "success" are synonyms: true, false, 1, 0, or one of these as a string in any
//     case. Other values, and two that differ, are an error.
//   - An id without an error text means accepted.
//   - An error text without an id means refused.
//   - Both, or neither of them, is an error.
func parseAnswer(body []byte) (answer, error) {
	members, err := parseObject(body)
	if err != nil {
		return answer{}, err
	}
	a := answer{
		id:             parseID(members["id"]),
		conversationID: parseID(members["conversation_id"]),
		refusal:        parseText(members["error"]),
	}
	found := false
	for _, name := range []string{"sent", "success"} {
		raw := members[name]
		if isAbsent(raw) {
			continue
		}
		value, ok := parseBool(raw)
		if !ok {
			return answer{}, fmt.Errorf("%q is neither true nor false", name)
		}
		if found && value != a.accepted {
			return answer{}, errors.New(`"sent" and "success" contradict each other`)
		}
		a.accepted, found = value, true
	}
	switch {
	case found:
		return a, nil
	case a.id != "" && a.refusal != "":
		return answer{}, errors.New(`neither "sent" nor "success", but both an id and an error`)
	case a.id != "":
		a.accepted = true
		return a, nil
	case a.refusal != "":
		return a, nil
	}
	return answer{}, errors.New(`none of "sent", "success", "id" and "error"`)
}

// parseErrorText returns the error text in the body of an answer that is not 2xx, or an empty
// string.
func parseErrorText(body []byte) string {
	members, err := parseObject(body)
	if err != nil {
		return ""
	}
	return parseText(members["error"])
}

// parseObject splits a JSON object. Its members stay raw, so that a member of an unexpected type
// does not affect the others.
func parseObject(body []byte) (map[string]json.RawMessage, error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	body = bytes.Trim(body, " \t\r\n")
	if len(body) == 0 {
		return nil, errors.New("empty body")
	}
	if body[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return nil, fmt.Errorf("not a JSON object: %w", err)
	}
	return members, nil
}

func isAbsent(raw json.RawMessage) bool {
	return len(raw) == 0 || string(raw) == "null"
}

func parseBool(raw json.RawMessage) (value, ok bool) {
	text := string(raw)
	if raw[0] == '"' {
		text = strings.ToLower(parseText(raw))
	}
	switch text {
	case "true", "1":
		return true, true
	case "false", "0":
		return false, true
	}
	return false, false
}

// parseID returns an id as it was written. A float could change a large number.
func parseID(raw json.RawMessage) string {
	if isAbsent(raw) {
		return ""
	}
	id := parseText(raw)
	if c := raw[0]; c == '-' || ('0' <= c && c <= '9') {
		id = string(raw)
	}
	if len(id) > maxIDBytes {
		return ""
	}
	return id
}

// parseText returns a JSON string as valid UTF-8, without the white space around it. It returns an
// empty string for any other value.
func parseText(raw json.RawMessage) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	// Most strings have no escapes and need no decoder.
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return strings.TrimSpace(string(inner))
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return ""
	}
	return strings.TrimSpace(text)
}
