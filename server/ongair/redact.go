package ongair

import (
	"errors"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxPublicText bounds how much of Ongair's own words, in bytes, goes into a
	// message to callers.
	maxPublicText = 512

	// minSecretBytes is the length from which a token is looked for in texts. A
	// shorter one is no secret, and would be found inside of ordinary words.
	minSecretBytes = 8

	redacted = "[token]"
)

// publicText makes words from outside fit for a message: valid UTF-8, one line
// without control characters, at most maxPublicText bytes.
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

// redact removes the token, as it is and as %q writes it, from words that an
// answer may have put it in. It MUST run before a text is cut or cleaned, since
// half a token would not be found.
func (c *Client) redact(text string) string {
	if len(c.token) < minSecretBytes {
		return text
	}
	quoted := strconv.Quote(c.token)
	return strings.NewReplacer(c.token, redacted, quoted[1:len(quoted)-1], redacted).Replace(text)
}

// redactError returns err itself, or its text alone where that has the token in
// it: net/http quotes from answers that it cannot read, and those may quote the
// request.
func (c *Client) redactError(err error) error {
	if text := err.Error(); c.redact(text) != text {
		return errors.New(c.redact(text))
	}
	return err
}
