package ongair

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// maxIDBytes bounds an id. Ongair's are numbers; whatever is longer is none.
const maxIDBytes = 256

// answer is what a 2xx says.
type answer struct {
	// accepted is false for a refusal.
	accepted bool
	// id and conversationID are empty where they are missing.
	id, conversationID string
	// refusal is Ongair's own text of a refusal, as it came; empty where there is
	// none.
	refusal string
}

// parseAnswer reads the body of a 2xx. An error says that it cannot be told
// whether Ongair took the call.
//
// The body is one JSON object, with a byte order mark and white space around it
// or without. In it, "sent" and "success" mean the same. Each is a Boolean, 1 or
// 0, or one of these as a string in any case; anything else, or one true and the
// other false, is an error. Where there is neither, an id means yes and an error
// text means no; both or none of these is an error. A null is as good as absent.
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
	said := false
	for _, name := range []string{"sent", "success"} {
		raw := members[name]
		if isAbsent(raw) {
			continue
		}
		value, ok := parseBool(raw)
		if !ok {
			return answer{}, fmt.Errorf("%q is neither true nor false", name)
		}
		if said && value != a.accepted {
			return answer{}, errors.New(`"sent" and "success" contradict each other`)
		}
		a.accepted, said = value, true
	}
	switch {
	case said:
		return a, nil
	case a.id != "" && a.refusal != "":
		return answer{}, errors.New(`neither "sent" nor "success", but both an id and an error`)
	case a.id != "":
		a.accepted = true
		return a, nil
	case a.refusal != "":
		return a, nil
	}
	return answer{}, errors.New("an object that says neither yes nor no")
}

// parseErrorText returns the error text in the body of an answer that is no 2xx,
// or nothing.
func parseErrorText(body []byte) string {
	members, err := parseObject(body)
	if err != nil {
		return ""
	}
	return parseText(members["error"])
}

// parseObject splits a JSON object. Its members stay raw, so that one of an odd
// type does not spoil the others.
func parseObject(body []byte) (map[string]json.RawMessage, error) {
	body = bytes.TrimPrefix(body, []byte("\ufeff"))
	body = bytes.Trim(body, " \t\r\n")
	if len(body) == 0 {
		return nil, errors.New("an empty answer")
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

// parseID returns an id as it was written: a number that passed through a float
// would not be the same any more.
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

// parseText returns a JSON string without the white space around it, as valid
// UTF-8; nothing for any other value.
func parseText(raw json.RawMessage) string {
	if len(raw) < 2 || raw[0] != '"' {
		return ""
	}
	// Nearly all are plain, and need no decoder.
	if inner := raw[1 : len(raw)-1]; bytes.IndexByte(inner, '\\') < 0 && utf8.Valid(inner) {
		return strings.TrimSpace(string(inner))
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return ""
	}
	return strings.TrimSpace(text)
}
