package webhook

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

const (
	newSecret = "the-new-secret-0123456789"
	oldSecret = "the-old-secret-0123456789"
)

// ask posts a webhook to a handler without a socket and returns the status.
func ask(t *testing.T, h *Handler, path string, change ...func(*http.Request)) int {
	t.Helper()
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(form))
	for _, c := range change {
		c(request)
	}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, request)
	return answer.Code
}

func TestTwoSecretsAreValidWhileOneIsReplaced(t *testing.T) {
	for _, tt := range []struct {
		name        string
		credentials Credentials
		valid       []string
		invalid     []string
	}{
		{"one", Credentials{Secret: newSecret}, []string{newSecret}, []string{oldSecret, ""}},
		{"two", Credentials{Secret: newSecret, Previous: oldSecret}, []string{newSecret, oldSecret}, []string{newSecret + oldSecret, newSecret[1:], ""}},
		{"none", Credentials{}, nil, []string{newSecret, ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := New(Config{Access: Access{Channels: map[string]Credentials{testChannel: tt.credentials}}, Log: &memoryLog{}, Logger: discard})
			for _, secret := range tt.valid {
				assert.Equal(t, http.StatusOK, ask(t, h, Path(testChannel, secret)), secret)
			}
			for _, secret := range tt.invalid {
				assert.Equal(t, http.StatusNotFound, ask(t, h, Path(testChannel, secret)), secret)
			}
		})
	}
}

func TestTheUseOfAPreviousSecretIsLoggedOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := &logBuffer{}
		h := New(Config{
			Access: Access{Channels: map[string]Credentials{testChannel: {Secret: newSecret, Previous: oldSecret}}},
			Log:    &memoryLog{}, Logger: lines.logger(),
		})
		logged := func() int { return strings.Count(lines.String(), "previous secret") }
		ask(t, h, Path(testChannel, newSecret))
		assert.Zero(t, logged())
		for range 10 {
			ask(t, h, Path(testChannel, oldSecret))
		}
		assert.Equal(t, 1, logged())
		time.Sleep(logInterval)
		ask(t, h, Path(testChannel, oldSecret))
		assert.Equal(t, 2, logged())
		assert.Contains(t, lines.String(), `"suppressed":9`)
		assert.NotContains(t, lines.String(), oldSecret)
		assert.NotContains(t, lines.String(), newSecret)
	})
}

// The answer has no details, so the log must have them for the operator.
func TestRejectionsAreLoggedOnceAMinuteForEachReason(t *testing.T) {
	for name, tt := range map[string]struct {
		path, password, sender, line string
	}{
		"the secret":   {Path(testChannel, oldSecret), "p", "203.0.113.9:1", `"level":"WARN","msg":"a webhook was rejected with 404","channel":"support","wrong":"the secret","sender":"203.0.113.9:1"`},
		"the password": {Path(testChannel, newSecret), "q", "203.0.113.9:1", `"level":"WARN","msg":"a webhook was rejected with 404","channel":"support","wrong":"the user name or password"`},
		"the network":  {Path(testChannel, newSecret), "p", "198.51.100.9:1", `"level":"WARN","msg":"a webhook was rejected with 404","channel":"support","wrong":"the sender's network","sender":"198.51.100.9:1"`},
		"the channel":  {Path("unknown", oldSecret), "p", "203.0.113.9:1", `"level":"INFO","msg":"a webhook was rejected with 404","channel":""`},
		"the path":     {"/v1" + Path(testChannel, newSecret), "p", "203.0.113.9:1", `"level":"WARN","msg":"a webhook was rejected with 404","channel":"support","wrong":"right secret, wrong path: use /webhooks/CHANNEL/SECRET"`},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lines := &logBuffer{}
				h := New(Config{
					Access: Access{
						Channels:  map[string]Credentials{testChannel: {Secret: newSecret, Username: "u", Password: "p"}},
						AllowFrom: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")},
					},
					Log: &memoryLog{}, Logger: lines.logger(),
				})
				post := func() {
					assert.Equal(t, http.StatusNotFound, ask(t, h, tt.path, func(r *http.Request) {
						r.RemoteAddr = tt.sender
						r.SetBasicAuth("u", tt.password)
					}))
				}
				for range 10 {
					post()
				}
				assert.Contains(t, lines.String(), tt.line)
				assert.Equal(t, 1, strings.Count(lines.String(), "\n"))
				time.Sleep(logInterval)
				post()
				assert.Equal(t, 2, strings.Count(lines.String(), "\n"))
				assert.Contains(t, lines.String(), `"suppressed":9`)
				for _, secret := range []string{oldSecret, newSecret} {
					assert.NotContains(t, lines.String(), secret)
				}
			})
		})
	}
}

func TestBasicAuthenticationIsRequiredBesidesTheSecret(t *testing.T) {
	as := func(username, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(username, password) }
	}
	h := New(Config{
		Access: Access{Channels: map[string]Credentials{testChannel: {Secret: testSecret, Username: "ongair", Password: "pass:word"}}},
		Log:    &memoryLog{}, Logger: discard,
	})
	assert.Equal(t, http.StatusOK, ask(t, h, Path(testChannel, testSecret), as("ongair", "pass:word")))
	for name, change := range map[string]func(*http.Request){
		"nothing":          func(*http.Request) {},
		"another password": as("ongair", "password"),
		"another user":     as("Ongair", "pass:word"),
		"nonsense":         func(r *http.Request) { r.Header.Set("Authorization", "Basic ?") },
	} {
		assert.Equal(t, http.StatusNotFound, ask(t, h, Path(testChannel, testSecret), change), name)
	}
	assert.Equal(t, http.StatusNotFound, ask(t, h, Path(testChannel, newSecret), as("ongair", "pass:word")), "a wrong secret")
	open := New(Config{Access: Access{Channels: channels}, Log: &memoryLog{}, Logger: discard})
	assert.Equal(t, http.StatusOK, ask(t, open, Path(testChannel, testSecret), as("any", "password")), "a channel that requires no password")
}

func TestTwoPasswordsAreValidWhileOneIsReplaced(t *testing.T) {
	lines := &logBuffer{}
	h := New(Config{
		Access: Access{Channels: map[string]Credentials{testChannel: {Secret: testSecret, Username: "ongair", Password: "new", PreviousPassword: "old"}}},
		Log:    &memoryLog{}, Logger: lines.logger(),
	})
	as := func(password string) int {
		return ask(t, h, Path(testChannel, testSecret), func(r *http.Request) { r.SetBasicAuth("ongair", password) })
	}
	assert.Equal(t, http.StatusNotFound, as("older"))
	assert.Equal(t, http.StatusNotFound, as(""))
	assert.Equal(t, http.StatusOK, as("new"))
	assert.NotContains(t, lines.String(), "previous")
	assert.Equal(t, http.StatusOK, as("old"))
	assert.Contains(t, lines.String(), "previous secret or password")
	assert.Equal(t, http.StatusNotFound, ask(t, h, Path(testChannel, testSecret)), "without a password")
}

func TestAllowedAndTrustedSources(t *testing.T) {
	networks := func(all ...string) (parsed []netip.Prefix) {
		for _, n := range all {
			parsed = append(parsed, netip.MustParsePrefix(n))
		}
		return parsed
	}
	for _, tt := range []struct {
		name             string
		allowed, proxies []netip.Prefix
		remote           string
		forwarded        []string
		status           int
	}{
		{"any address, without allowed networks", nil, nil, "203.0.113.9:1", nil, 200},
		{"an allowed address", networks("203.0.113.0/24"), nil, "203.0.113.9:1", nil, 200},
		{"an allowed address of IPv6", networks("2001:db8::/32"), nil, "[2001:db8::9]:1", nil, 200},
		{"an IPv4-mapped IPv6 address", networks("203.0.113.0/24"), nil, "[::ffff:203.0.113.9]:1", nil, 200},
		{"another address", networks("203.0.113.0/24"), nil, "198.51.100.9:1", nil, 404},
		{"another address that claims to be allowed", networks("203.0.113.0/24"), nil, "198.51.100.9:1", []string{"203.0.113.9"}, 404},
		{"a proxy that forwards an allowed address", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"203.0.113.9"}, 200},
		{"a proxy that forwards another address", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"198.51.100.9"}, 404},
		{"two proxies in a row", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"203.0.113.9, 10.0.0.2"}, 200},
		{"a proxy that adds the port", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"203.0.113.9:443"}, 200},
		{"a proxy that adds the port to an IPv6 address", networks("2001:db8::/32"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"[2001:db8::9]:443"}, 200},
		{"two headers", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"203.0.113.9", "10.0.0.2"}, 200},
		{"a sender that wrote an allowed address first", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"203.0.113.9, 198.51.100.9"}, 404},
		{"a proxy without the header", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", nil, 404},
		{"a proxy with an invalid address", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"unknown"}, 404},
		{"an invalid address before the sender's", networks("203.0.113.0/24"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"?, 203.0.113.9"}, 200},
		{"only proxies", networks("0.0.0.0/0"), networks("10.0.0.0/8"), "10.0.0.1:1", []string{"10.0.0.2"}, 404},
		{"no address", networks("0.0.0.0/0"), nil, "@", nil, 404},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := New(Config{Access: Access{Channels: channels, AllowFrom: tt.allowed, TrustedProxies: tt.proxies}, Log: &memoryLog{}, Logger: discard})
			status := ask(t, h, Path(testChannel, testSecret), func(r *http.Request) {
				r.RemoteAddr = tt.remote
				r.Header["X-Forwarded-For"] = tt.forwarded
			})
			assert.Equal(t, tt.status, status)
		})
	}
}

func FuzzForwardedFor(f *testing.F) {
	f.Add("203.0.113.9, 10.0.0.2", "10.0.0.1:1")
	f.Add(",,", "[::1]:2")
	s := senders{allowed: []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	f.Fuzz(func(t *testing.T, forwarded, remote string) {
		r := &http.Request{RemoteAddr: remote, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		if s.admit(r) {
			// Either the peer itself is allowed, or it is a proxy.
			address := netip.MustParseAddrPort(remote).Addr().Unmap()
			assert.True(t, containsAddr(s.allowed, address) || containsAddr(s.proxies, address))
		}
	})
}

// The work of a rejection must not reveal what is wrong. The test compares allocations, because times
// are noisy.
func TestEveryInvalidCredentialTakesTheSameWork(t *testing.T) {
	h := New(Config{
		Access: Access{Channels: map[string]Credentials{
			testChannel: {Secret: newSecret, Previous: oldSecret}, "sales": {Secret: testSecret, Username: "u", Password: "p"},
		}},
		Log: &memoryLog{}, Logger: discard,
	})
	work := func(path string) float64 {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, http.NoBody)
		request.SetBasicAuth("u", "wrong")
		return testing.AllocsPerRun(100, func() {
			_, _, ok := h.authenticate(request)
			assert.False(t, ok)
		})
	}
	wrongSecret := work(Path(testChannel, testSecret))
	for name, path := range map[string]string{
		"an unknown channel": Path("unknown", testSecret), "a wrong password": Path("sales", testSecret), "another path": "/webhook/support/" + testSecret,
		"a right secret in a wrong path": "/v1" + Path("sales", testSecret), "too many segments": "/a/b/c/d/e/f/g/h/i/" + testSecret,
		"a secret with the right prefix": Path(testChannel, newSecret[:20]+"xxxxxx"),
	} {
		assert.InDelta(t, wrongSecret, work(path), 0, name)
	}
}
