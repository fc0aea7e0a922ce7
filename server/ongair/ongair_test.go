package ongair

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBaseURLGetsThePathPrefixOnce(t *testing.T) {
	for given, want := range map[string]string{
		"https://ongair.im":                       "https://ongair.im/api/v1/base",
		"https://ongair.im/":                      "https://ongair.im/api/v1/base",
		"https://ongair.im/api/v1/base":           "https://ongair.im/api/v1/base",
		"https://ongair.im/api/v1/base/":          "https://ongair.im/api/v1/base",
		"http://127.0.0.1:4010":                   "http://127.0.0.1:4010/api/v1/base",
		"http://127.0.0.1:4010/api/v1/base":       "http://127.0.0.1:4010/api/v1/base",
		"http://[::1]:4010":                       "http://[::1]:4010/api/v1/base",
		"HTTPS://beta.ongair.im":                  "https://beta.ongair.im/api/v1/base",
		"http://ongair.im:":                       "http://ongair.im/api/v1/base",
		"http://sandbox.default.svc.cluster.test": "http://sandbox.default.svc.cluster.test/api/v1/base",
	} {
		t.Run(given, func(t *testing.T) {
			got, err := parseBaseURL(given)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		})
	}
}

func TestNewRejectsInvalidConfigurations(t *testing.T) {
	const token = "canary-7d1f"
	for name, test := range map[string]struct {
		config Config
		want   string
	}{
		"no base URL":                 {Config{Token: token}, "base URL of Ongair: it is empty"},
		"a base URL without a scheme": {Config{BaseURL: "ongair.im", Token: token}, "must start with http"},
		"another scheme":              {Config{BaseURL: "ftp://ongair.im", Token: token}, "must start with http"},
		"no host":                     {Config{BaseURL: "https:///api/v1/base", Token: token}, "no host"},
		"a port and no host":          {Config{BaseURL: "http://:80", Token: token}, "no host"},
		"port 0":                      {Config{BaseURL: "http://ongair.im:0", Token: token}, "port must be"},
		"a port beyond 65535":         {Config{BaseURL: "http://ongair.im:65536", Token: token}, "port must be"},
		"another path":                {Config{BaseURL: "https://ongair.im/api/v2", Token: token}, "path must be"},
		"the path twice": {
			Config{BaseURL: "https://ongair.im/api/v1/base/api/v1/base", Token: token}, "path must be",
		},
		"an escaped slash":     {Config{BaseURL: "https://ongair.im/api%2Fv1/base", Token: token}, "path must be"},
		"a user":               {Config{BaseURL: "https://" + token + "@ongair.im", Token: token}, "user or password"},
		"a query":              {Config{BaseURL: "https://ongair.im?token=" + token, Token: token}, "a query"},
		"a fragment":           {Config{BaseURL: "https://ongair.im#" + token, Token: token}, "a fragment"},
		"an invalid URL":       {Config{BaseURL: "https://ongair.im:" + token, Token: token}, "cannot be parsed"},
		"an empty token":       {Config{BaseURL: "https://ongair.im"}, "token for Ongair: it is empty"},
		"a token of two lines": {Config{BaseURL: "https://ongair.im", Token: token + "\r\nX: y"}, "control character"},
		"an unknown form":      {Config{BaseURL: "https://ongair.im", Token: token, AuthForm: 3}, "unknown auth_form AuthForm(3)"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := New(test.config)
			require.ErrorContains(t, err, test.want)
			assert.Nil(t, client)
			assert.NotContains(t, err.Error(), token)
		})
	}
}

func TestNewAcceptsAnyTokenThatAHeaderAllows(t *testing.T) {
	for _, token := range []string{"x", "with space", `"quoted"`, "токен", "\xff\xfe", strings.Repeat("k", 4096)} {
		got := make(chan string, 1)
		url := serve(t, func(w http.ResponseWriter, r *http.Request) {
			got <- r.Header.Get("Authorization")
			answering(http.StatusOK, "application/json", answerSent)(w, r)
		})
		_, err := send(t, newClient(t, url, func(c *Config) { c.Token = token }))
		require.NoError(t, err)
		assert.Equal(t, "Token token:"+token, <-got)
	}
}

func FuzzParseBaseURL(f *testing.F) {
	for _, seed := range []string{
		"https://ongair.im", "http://[::1]:80/api/v1/base/", "http://u:p@h", "https://h?q#f", "http://h:", "//", "http://%31",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		first, err := parseBaseURL(raw)
		if err != nil {
			return
		}
		assert.Equal(t, 1, strings.Count(first, pathPrefix))
		second, err := parseBaseURL(first)
		require.NoError(t, err)
		assert.Equal(t, first, second)
	})
}
