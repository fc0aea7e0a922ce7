package sandbox

import (
	"crypto/subtle"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// AuthForm is one of the places where a call may carry the token.
type AuthForm string

// The forms that Ongair's documentation and clients use.
const (
	// AuthColon is the documented header, "Authorization: Token token:X".
	AuthColon AuthForm = "colon"
	// AuthEquals is the header of the older manual and the Node client, "Authorization: Token token=X".
	AuthEquals AuthForm = "equals"
	// AuthQuery is "?token=X" in the URL.
	AuthQuery AuthForm = "query"
	// AuthField is a field "token" of the body, whichever its encoding.
	AuthField AuthForm = "form"
)

func authForms() []AuthForm { return []AuthForm{AuthColon, AuthEquals, AuthQuery, AuthField} }

// auth holds which tokens are accepted, and in which forms; with no forms, in all.
type auth struct {
	mu     sync.Mutex
	tokens []string
	forms  []AuthForm
}

// SetTokens replaces the tokens that are accepted, as when a channel gets a new one. An empty one
// is none.
func (s *Sandbox) SetTokens(tokens ...string) {
	s.auth.mu.Lock()
	defer s.auth.mu.Unlock()
	s.auth.tokens = slices.Clone(tokens)
}

// SetAuthForms replaces the forms that are accepted, since real accounts take only one of the two headers. With none,
// all are accepted again, as they are from the start.
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

// authenticated says whether a call carries a token in at least one accepted form. A wrong one beside it does no harm.
func (s *Sandbox) authenticated(r *http.Request, params map[string]string) bool {
	for _, form := range s.auth.accepted() {
		if s.isToken(presented(form, r, params)) {
			return true
		}
	}
	return false
}

// presented is the token that a call carries in one form, or empty.
func presented(form AuthForm, r *http.Request, params map[string]string) string {
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
