package ongair

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxPublicText bounds how many bytes of Ongair's text go into a message to callers.
	maxPublicText = 512

	// minSecretBytes is the length from which a token is redacted. A shorter one would occur in
	// ordinary words.
	minSecretBytes = 8

	redacted = "[token]"
)

// publicText makes text of others safe for a message: valid UTF-8, one line, no control characters,
// at most maxPublicText bytes.
func publicText(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n', r == '\r', r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\ufffd"))
	text = strings.TrimSpace(text)
	if len(text) <= maxPublicText {
		return text
	}
	end := maxPublicText
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end]
}

// redact replaces the token in a text, both as it is and as %q quotes it. It MUST run before the
// text is cut or cleaned, because a part of the token would not be found.
func (c *Client) redact(text string) string {
	if len(c.token) < minSecretBytes {
		return text
	}
	quoted := strconv.Quote(c.token)
	return strings.NewReplacer(c.token, redacted, quoted[1:len(quoted)-1], redacted).Replace(text)
}

// redactError returns err, or its redacted text if it contains the token. net/http quotes answers
// that it cannot parse, and these may quote the request.
func (c *Client) redactError(err error) error {
	if text := err.Error(); c.redact(text) != text {
		return errors.New(c.redact(text))
	}
	return err
}
