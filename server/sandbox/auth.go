package sandbox

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// AuthForm is a place in a call that can hold the token.
type AuthForm string

// The forms that Ongair's documentation and clients use.
const (
	// AuthColon is the documented header, "Authorization: Token token:X".
	AuthColon AuthForm = "colon"
	// AuthEquals is the header of the older manual and the Node client, "Authorization: Token
	// token=X".
	AuthEquals AuthForm = "equals"
	// AuthQuery is "?token=X" in the URL.
	AuthQuery AuthForm = "query"
	// AuthField is a field "token" of the body, in any encoding.
	AuthField AuthForm = "form"
)

func authForms() []AuthForm { return []AuthForm{AuthColon, AuthEquals, AuthQuery, AuthField} }

// auth holds the accepted tokens and the accepted forms. No forms means all forms.
type auth struct {
	mu     sync.Mutex
	tokens []string
	forms  []AuthForm
}

// SetTokens replaces the accepted tokens, for example to rotate a token. An empty token is never
// accepted.
func (s *Sandbox) SetTokens(tokens ...string) {
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	s.auth.tokens = slices.Clone(tokens)
}

// SetAuthForms replaces the accepted forms. Real accounts accept only one of the two headers.
// Without arguments all forms are accepted, which is the default.
func (s *Sandbox) SetAuthForms(forms ...AuthForm) {
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	s.auth.forms = slices.Clone(forms)
}

func (a *auth) accepted() []AuthForm {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.forms) == 0 {
		return authForms()
	}
	return slices.Clone(a.forms)
}

// authenticated reports whether a call has a valid token in at least one accepted form. It ignores
// wrong tokens in other forms.
func (s *Sandbox) authenticated(r *http.Request, params map[string]string) bool {
	for _, form := range s.auth.accepted() {
		if s.isToken(tokenIn(form, r, params)) {
			return true
		}
	}
	return false
}

// tokenIn returns the token that a call has in one form, or an empty string.
func tokenIn(form AuthForm, r *http.Request, params map[string]string) string {
	switch form {
	case AuthColon:
		return headerToken(r, "token:")
	case AuthEquals:
		return headerToken(r, "token=")
	case AuthQuery:
		return lastOfEach(parseForm(r.URL.RawQuery))["token"]
	case AuthField:
		return params["token"]
	default:
		return ""
	}
}

func headerToken(r *http.Request, prefix string) string {
	scheme, credentials, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token, ok := strings.CutPrefix(strings.TrimLeft(credentials, " "), prefix)
	if !ok || !strings.EqualFold(scheme, "Token") {
		return ""
	}
	return token
}

func (s *Sandbox) isToken(presented string) bool {
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	return presented != "" && slices.ContainsFunc(s.auth.tokens, func(token string) bool {
		return subtle.ConstantTimeCompare([]byte(presented), []byte(token)) == 1
	})
}

func checkAuthForms(forms []AuthForm) error {
	for _, form := range forms {
		if !slices.Contains(authForms(), form) {
			return fmt.Errorf("unknown form %q: use colon, equals, query or form", form)
		}
	}
	return nil
}
