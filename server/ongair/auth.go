package ongair

import (
	"fmt"
	"net/http"
)

// AuthForm is how the token is written in the header Authorization. Ongair's
// documentation has a colon, its older manual and its own Node client an equals
// sign, and accounts differ in which they take.
type AuthForm int

// The forms of the token.
const (
	// AuthAuto starts with AuthColon; on a 401, which did nothing, the same call is
	// tried once in the other form. The form that worked is used from then on, for
	// every call of the client, until it gets a 401 itself: so an account that
	// changes heals without a restart.
	AuthAuto AuthForm = iota
	// AuthColon is "Token token:meowmeowmeow" alone.
	AuthColon
	// AuthEquals is "Token token=meowmeowmeow" alone.
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

// ParseAuthForm returns the form of a name that String returns; any other name,
// the empty one too, is an error.
func ParseAuthForm(name string) (AuthForm, error) {
	for f := AuthAuto; f.valid(); f++ {
		if f.String() == name {
			return f, nil
		}
	}
	return AuthAuto, fmt.Errorf("%q is no form of a token: auto, colon or equals", name)
}

func (f AuthForm) valid() bool { return f >= AuthAuto && f <= AuthEquals }

// authorization returns the header's value in the form, which is not AuthAuto.
func (f AuthForm) authorization(token string) string {
	if f == AuthEquals {
		return "Token token=" + token
	}
	return "Token token:" + token
}

// other returns the form that is tried after a 401 to f, which is not AuthAuto.
func (f AuthForm) other() AuthForm {
	if f == AuthEquals {
		return AuthColon
	}
	return AuthEquals
}

// formNow returns the form to start a call with. Calls that run while the form
// changes may each find out for themselves; that costs them a 401 and no more.
func (c *Client) formNow() AuthForm {
	if c.authForm != AuthAuto {
		return c.authForm
	}
	return AuthForm(c.accepted.Load())
}

// provesToken reports whether an answer with the status shows that the token was
// taken. Throttles, failures and redirects often come from something in front of
// Ongair that never looked at it.
func provesToken(status int) bool {
	switch status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired,
		http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	}
	return status/100 == 2 || status/100 == 4
}
