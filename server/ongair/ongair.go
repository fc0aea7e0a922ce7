// Package ongair is a client of Ongair's HTTP API. Each method makes one call, and each error says
// what is known of the call's effect.
//
// # Mechanism
//
// A call is encoded once and sent with the channel's token. Its answer is read up to 1 MiB. Texts
// and tickets are sent as JSON, images and documents as multipart/form-data, as in Ongair's
// documentation. An optional field that is empty is not sent, so that Ongair's default applies.
// There are two exceptions:
//
//   - external_contact_id defaults to external_id, except for documents, because Ongair's tables
//     require it and its examples leave it out;
//   - content_type of a document defaults to application/pdf.
//
// # Never twice
//
// Ongair has no idempotency key, so a second POST can reach a customer twice. A POST is retried only
// if the one before certainly had no effect (retry.go):
//
//   - It could not connect. It is retried after at most 100, 200 and 400 ms.
//   - It was answered 401. It is retried once with the other form of the token, see AuthForm.
//   - It was answered 429 or 503 with a valid Retry-After (seconds or an HTTP date). It is retried
//     after that time. A 503 without one may come from a router that has forwarded the request, so
//     its effect is unknown.
//
// No pause exceeds the deadline. The number of a channel's retries is bounded in proportion to its
// calls.
//
// Redirects are never followed, because the token would be sent with them. The header
// Idempotency-Key is never sent, because net/http would retry the POST. net/http itself retries only
// a POST of which it could not write one byte to a pooled connection.
//
// # Limits
//
// Each client has limits (guard.go): calls in flight, and a rate if one is configured. The callers of
// the channel share them (turns.go). A circuit breaker opens when all calls fail, so that an outage
// of Ongair costs the channel's callers milliseconds and does not affect other channels. A rejected
// call has no effect.
//
// # Errors
//
// Every error is a *fault.Fault with an effect. The effect is "none" only if that is certain:
//
//	rejected by a limit                   CHANNEL_BUSY              none, retry after 1 s or more
//	rejected by the circuit breaker       ONGAIR_CIRCUIT_OPEN       none, retry after 5 s
//	nothing was written                   ONGAIR_UNREACHABLE        none, retry after 1 s
//	broken after a first byte             ONGAIR_CONNECTION_LOST    unknown
//	401 in every form of the token        ONGAIR_TOKEN_REJECTED     none
//	429, 503 with a valid Retry-After     ONGAIR_THROTTLED          none, retry after 1 s to 1 h
//	503 without one, 408, any other 5xx   ONGAIR_FAILED             unknown
//	any other 4xx                         ONGAIR_REFUSED            none
//	3xx                                   ONGAIR_REDIRECTED         unknown: a 303 may follow a POST that was done
//	2xx with sent or success: false       ONGAIR_REFUSED            none
//	2xx with an unreadable body           ONGAIR_ANSWER_UNREADABLE  unknown
//	the context ended                     DEADLINE_EXCEEDED,        none before the first byte,
//	                                      CANCELLED                 unknown after it
//
// Except for 2xx the status alone decides, even if the body is lost. A 2xx whose body is cut off with
// its connection is ONGAIR_CONNECTION_LOST.
//
// # Contradictions
//
// Ongair's documentation, manual and published clients disagree on the form of the token, on the name
// of the success flag (sent or success), and on whether Booleans and numbers are strings. The client
// accepts all of them in every answer; see parseAnswer.
//
// # Not promised
//
// The client has no timeout except those of NewTransport for connecting: callers MUST pass a context
// with a deadline. It does not validate fields.
package ongair

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
)

// pathPrefix is where Ongair's API lives on each of its hosts.
const pathPrefix = "/api/v1/base"

// Config configures a Client.
type Config struct {
	// BaseURL is scheme://host[:port] of Ongair, http or https, for example
	// https://ongair.im. The path /api/v1/base is appended; a base URL that has it
	// already is taken too. Any other path, a user, a query and a fragment are
	// errors.
	BaseURL string
	// Token is the channel's API token: any non-empty string that an HTTP header
	// can carry, so without control characters. Ongair does not see spaces at its
	// end, since no header keeps them.
	Token string
	// AuthForm is how the token is sent. The zero value, AuthAuto, finds out.
	AuthForm AuthForm
	// Transport carries the requests; nil means NewTransport, one pool per Client.
	// It may be shared by clients. It MUST NOT repeat a request, and once it has
	// returned an error it MUST NOT go on writing: so an http.Transport MUST NOT
	// speak HTTP/2, see NewTransport. One that is no *http.Transport and reports
	// nothing to net/http/httptrace is taken to have sent every request that it was
	// given.
	Transport http.RoundTripper
	// MaxInFlight bounds the calls that are with Ongair at once, and MaxRate, where it
	// is not 0, how many are made in a second on average; up to as many as in a
	// second may come at once. A call waits up to 1 s for its turn and then fails with
	// CHANNEL_BUSY. Zero means DefaultMaxInFlight, and no rate.
	MaxInFlight int
	MaxRate     float64
	// Caller returns who makes a call: callers share what the channel may do, and none
	// can take all of it. Nil means that they are one.
	Caller func(context.Context) string
	// Logger gets one line at level Debug per POST: path, status and duration,
	// never the token or a body; and one at level Warn when the circuit opens or
	// closes. Nil means none.
	Logger *slog.Logger
}

// Client makes Ongair's calls for one channel. It MUST be made by New. All its
// methods are safe for concurrent use.
type Client struct {
	baseURL   string
	token     string
	authForm  AuthForm
	transport http.RoundTripper
	log       *slog.Logger
	guard     *guard
	budget    retryBudget
	// tries bounds the tries of one call.
	tries int

	// accepted is the AuthForm that Ongair took last; only AuthAuto uses it.
	accepted atomic.Int32
	// boundary, where it is not empty, replaces the random one of multipart
	// bodies, so that tests can compare them byte by byte.
	boundary string
}

// New returns a client. It checks the base URL, the token and the form, opens no
// connection and starts nothing. Its errors contain neither token nor base URL,
// in which people paste tokens too.
func New(config Config) (*Client, error) {
	baseURL, err := parseBaseURL(config.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base URL of Ongair: %w", err)
	}
	if err := checkToken(config.Token); err != nil {
		return nil, fmt.Errorf("token for Ongair: %w", err)
	}
	if !config.AuthForm.valid() {
		return nil, fmt.Errorf("form of the token for Ongair: %s is none", config.AuthForm)
	}
	if config.MaxInFlight < 0 || config.MaxRate < 0 {
		return nil, errors.New("limits of a channel: they cannot be negative")
	}
	if config.MaxInFlight == 0 {
		config.MaxInFlight = DefaultMaxInFlight
	}
	client := &Client{
		baseURL:   baseURL,
		token:     config.Token,
		authForm:  config.AuthForm,
		transport: config.Transport,
		log:       config.Logger,
		tries:     maxTries,
	}
	if client.transport == nil {
		client.transport = NewTransport()
	}
	if client.log == nil {
		client.log = slog.New(slog.DiscardHandler)
	}
	client.guard = newGuard(config, client.log)
	client.accepted.Store(int32(AuthColon))
	return client, nil
}

// CloseIdleConnections closes the transport's connections that carry no call;
// those of a shared transport too. The client stays usable.
func (c *Client) CloseIdleConnections() {
	if closer, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// parseBaseURL returns the base URL with the path prefix once and no slash at
// its end. url.Parse's own error repeats its input, and so is not passed on.
func parseBaseURL(raw string) (string, error) {
	if raw == "" {
		return "", errors.New("it is empty")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "", errors.New("it cannot be parsed")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "", errors.New("it must start with http:// or https://")
	case u.Hostname() == "":
		return "", errors.New("it has no host")
	case u.User != nil:
		return "", errors.New("it must not have a user or password")
	case u.RawQuery != "" || u.ForceQuery:
		return "", errors.New("it must not have a query")
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return "", errors.New("it must not have a fragment")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return "", errors.New("its port must be 1 to 65535")
		}
	}
	if path := strings.TrimRight(u.EscapedPath(), "/"); path != "" && path != pathPrefix {
		return "", errors.New("its path must be empty or " + pathPrefix)
	}
	host := strings.TrimSuffix(u.Host, ":")
	return u.Scheme + "://" + host + pathPrefix, nil
}

// checkToken refuses what no header can carry; net/http would refuse each call.
func checkToken(token string) error {
	if token == "" {
		return errors.New("it is empty")
	}
	for _, b := range []byte(token) {
		if (b < ' ' && b != '\t') || b == 0x7f {
			return errors.New("it has a control character, which no HTTP header can carry")
		}
	}
	return nil
}
