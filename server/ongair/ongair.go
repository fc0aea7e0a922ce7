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

// pathPrefix is the path of Ongair's API on each of its hosts.
const pathPrefix = "/api/v1/base"

// Config configures a Client.
type Config struct {
	// BaseURL is scheme://host[:port] of Ongair, http or https, for example https://ongair.im. New
	// appends the path /api/v1/base unless the URL has it already. Any other path, a user, a query
	// and a fragment are errors.
	BaseURL string
	// Token is the channel's API token: a non-empty string without control characters, because an
	// HTTP header carries it. Ongair does not see spaces at its end, because headers are trimmed.
	Token string
	// AuthForm is the form of the token. The zero value is AuthAuto.
	AuthForm AuthForm
	// Transport sends the requests. Nil means a NewTransport for this client. Clients may share
	// one.
	//
	//   - It MUST NOT repeat a request.
	//   - It MUST NOT write after it has returned an error. An http.Transport therefore MUST NOT
	//     speak HTTP/2, see NewTransport.
	//   - If it is not an *http.Transport and does not report to net/http/httptrace, the client assumes
	//     that it sent every request.
	Transport http.RoundTripper
	// MaxInFlight bounds the calls in flight to Ongair; zero means DefaultMaxInFlight. MaxRate
	// bounds the calls per second on average, with a burst of one second; zero means no rate. A
	// call waits up to 1 s for its turn, and then fails with CHANNEL_BUSY.
	MaxInFlight int
	MaxRate     float64
	// Caller returns the name of a call's caller. Callers share the channel's limits, and no caller
	// can use them up alone. Nil means that all calls have the same caller.
	Caller func(context.Context) string
	// Logger logs each POST at level Debug, with path, status and duration, and each change of the
	// circuit breaker at level Warn. It never gets the token or a body. Nil means no log.
	Logger *slog.Logger
}

// Client makes Ongair's calls for one channel. It MUST be created by New. Its methods are safe for
// concurrent use.
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

	// accepted is the AuthForm that Ongair accepted last. Only AuthAuto uses it.
	accepted atomic.Int32
	// boundary replaces the random boundary of multipart bodies unless it is empty, so that tests
	// can compare them byte by byte.
	boundary string
}

// New returns a client. It checks the config, opens no connection and starts nothing. Its errors
// contain neither the token nor the base URL, because people paste tokens into URLs, too.
func New(config Config) (*Client, error) {
	baseURL, err := parseBaseURL(config.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("base URL of Ongair: %w", err)
	}
	if err := checkToken(config.Token); err != nil {
		return nil, fmt.Errorf("token for Ongair: %w", err)
	}
	if !config.AuthForm.valid() {
		return nil, fmt.Errorf("unknown auth_form %s", config.AuthForm)
	}
	if config.MaxInFlight < 0 || config.MaxRate < 0 {
		return nil, errors.New("limits of a channel must not be negative")
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

// CloseIdleConnections closes the idle connections of the transport, even if it is shared. The
// client stays usable.
func (c *Client) CloseIdleConnections() {
	if closer, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

// parseBaseURL returns the base URL with pathPrefix once and no slash at its end. It hides the
// error of url.Parse, which quotes the URL.
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

// checkToken rejects a token that no header can carry. Otherwise net/http would reject each call.
func checkToken(token string) error {
	if token == "" {
		return errors.New("it is empty")
	}
	for _, b := range []byte(token) {
		if (b < ' ' && b != '\t') || b == 0x7f {
			return errors.New("it must not have control characters")
		}
	}
	return nil
}
