package ongair

import (
	"fmt"
	"net/http"
)

// AuthForm is the form of the token in the header Authorization. Ongair's documentation uses a colon.
// Its older manual and its Node client use an equals sign. Accounts differ in which of them they
// accept.
type AuthForm int

// The forms of the token.
const (
	// AuthAuto starts with AuthColon. A 401 has no effect, so a call that gets one is retried once
	// in the other form. Later calls of the client use the form that Ongair accepted, until it gets
	// a 401, too. An account that changes therefore needs no restart.
	AuthAuto AuthForm = iota
	// AuthColon is always "Token token:meowmeowmeow".
	AuthColon
	// AuthEquals is always "Token token=meowmeowmeow".
	AuthEquals
)

// String returns the form's name in configuration: auto, colon or equals.
func (f AuthForm) String() string {
	switch f {
	case AuthAuto:
		return "auto"
	case AuthColon:
		return "colon"
	case AuthEquals:
		return "equals"
	}
	return fmt.Sprintf("AuthForm(%d)", int(f))
}

// ParseAuthForm parses a name that String returns. Every other name is an error, including the
// empty one.
func ParseAuthForm(name string) (AuthForm, error) {
	for f := AuthAuto; f.valid(); f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return AuthAuto, fmt.Errorf("unknown auth_form %q: use auto, colon or equals", name)
}

func (f AuthForm) valid() bool { return f >= AuthAuto && f <= AuthEquals }

// authorization returns the header's value in the form, which MUST NOT be AuthAuto.
func (f AuthForm) authorization(token string) string {
	if f == AuthEquals {
		return "Token token=" + token
	}
	return "Token token:" + token
}

// other returns the form to retry with after a 401 to f, which MUST NOT be AuthAuto.
func (f AuthForm) other() AuthForm {
	if f == AuthEquals {
		return AuthColon
	}
	return AuthEquals
}

// formNow returns the form to start a call with. While the form changes, concurrent calls may each
// get one more 401.
func (c *Client) formNow() AuthForm {
	if c.authForm != AuthAuto {
		return c.authForm
	}
	return AuthForm(c.accepted.Load())
}

// provesToken reports whether a status shows that Ongair accepted the token. A throttle, failure or
// redirect often comes from a proxy that did not check it.
func provesToken(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 2 || status/100 == 4
}
