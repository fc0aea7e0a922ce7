package sandbox

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// authCase is one way to present the token.
type authCase struct {
	form          AuthForm
	authorization string
	query         string
	contentType   string
	body          string
}

func authCases(token string) map[string]authCase {
	const fields = "external_id=a&text=Hello"
	return map[string]authCase{
		"the documented header": {AuthColon, "Token token:" + token, "", formType, fields},
		"the older header":      {AuthEquals, "Token token=" + token, "", formType, fields},
		"a lower-case scheme":   {AuthColon, "token token:" + token, "", formType, fields},
		"the query":             {AuthQuery, "", "?x=%zz&token=" + token, formType, fields},
		"the form":              {AuthField, "", "", formType, fields + "&token=" + token},
		"a form labelled JSON":  {AuthField, "", "", "application/json", fields + "&token=" + token},
		"a JSON field":          {AuthField, "", "", "application/json", `{"external_id":"a","text":"b","token":"` + token + `"}`},
	}
}

func TestTheTokenIsAcceptedInEveryForm(t *testing.T) {
	_, baseURL := start(t, Config{})
	for name, tt := range authCases(token) {
		t.Run(name, func(t *testing.T) {
			status, answer := exchange(t, http.MethodPost, baseURL+apiPath+"/send"+tt.query, tt.contentType, tt.body,
				"Authorization", tt.authorization)
			assert.Equal(t, http.StatusOK, status, answer)
		})
	}
}

func TestAWrongTokenIsRejectedInEveryForm(t *testing.T) {
	s, baseURL := start(t, Config{})
	cases := authCases("purr")
	cases["no token"] = authCase{"", "", "", formType, "external_id=a&text=Hello"}
	cases["an empty token"] = authCase{"", "Token token:", "?token=", formType, "token="}
	cases["a bare token"] = authCase{"", "Token " + token, "", formType, ""}
	cases["another scheme"] = authCase{"", "Bearer " + token, "", formType, ""}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			status, answer := exchange(t, http.MethodPost, baseURL+apiPath+"/send"+tt.query, tt.contentType, tt.body,
				"Authorization", tt.authorization)
			assert.Equal(t, http.StatusUnauthorized, status)
			assert.Equal(t, golden(t, "answers", "bad_token.json"), answer)
		})
	}
	assert.Empty(t, s.state.snapshot().Messages)
}

func TestOnlyConfiguredFormsAreAccepted(t *testing.T) {
	s, baseURL := start(t, Config{})
	for _, accepted := range authForms() {
		s.SetAuthForms(accepted)
		for name, tt := range authCases(token) {
			t.Run(string(accepted)+" and "+name, func(t *testing.T) {
				status, _ := exchange(t, http.MethodPost, baseURL+apiPath+"/send"+tt.query, tt.contentType, tt.body,
					"Authorization", tt.authorization)
				if tt.form == accepted {
					assert.Equal(t, http.StatusOK, status)
				} else {
					assert.Equal(t, http.StatusUnauthorized, status)
				}
			})
		}
	}
	s.SetAuthForms()
	assert.Equal(t, authForms(), s.auth.accepted())
}

func TestASandboxWithoutATokenRejectsEveryCall(t *testing.T) {
	s := New(Config{})
	status, _ := ask(s, "/send", "external_id=a&text=Hello&token=")
	assert.Equal(t, http.StatusUnauthorized, status)
}
