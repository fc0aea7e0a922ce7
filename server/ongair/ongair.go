// Package ongair is the client of Ongair's HTTP API: one method per call, one
// POST per method, and for every failure what is known of its effect.
//
// # Mechanism
//
// A call is encoded once, sent with the channel's token, and its answer is read
// up to 1 MiB and judged. Text and tickets go as JSON, images and documents as
// multipart/form-data, as Ongair's documentation shows. An optional field that
// is empty is not sent at all, so that Ongair's own default holds; the two
// exceptions are external_contact_id, which Ongair's tables demand and its
// examples leave out, and so repeats external_id (except for a document), and a
// document's content_type, which is application/pdf.
//
// # Never twice
//
// Ongair has no idempotency key: a second POST can reach a customer twice. So a
// POST is repeated only after one of which is known that it did nothing (retry.go):
// it was not written, or answered 401 or 429, or 503 with a Retry-After. After a 401
// the token is sent once more in the other of its two forms, see AuthForm. Without a
// connection the call is tried again after at most 100, 200 and 400 ms. After a 429 or
// 503 it is tried again only if the answer has a valid Retry-After (seconds or an HTTP
// date), once that is over. A 503 without one may come from a router that has passed the
// request on, so its effect is unknown. No pause goes beyond what the deadline has room
// for, and the retries of a channel are bounded in proportion to its calls.
//
// Redirects are never followed, since the token would go with them. The header
// Idempotency-Key is never sent: net/http takes it as leave to repeat a POST.
// What net/http does repeat is a POST of which it could not write one byte to a
// connection out of its pool.
//
// # Limits
//
// Each client has its own (guard.go): calls in flight and a rate where one is
// configured, which its callers share (turns.go), and a circuit breaker that opens when
// all calls fail, so that an Ongair that is down costs its own channel's callers
// milliseconds and other channels nothing. Whoever is turned away is told so, and that
// nothing was sent.
//
// # What a failure says
//
// Every error is a *fault.Fault with an effect. "None" is claimed only where it
// is known, everything else is "unknown":
//
//	turned away by a limit                CHANNEL_BUSY              none, retry after 1 s or more
//	turned away by the circuit breaker    ONGAIR_CIRCUIT_OPEN       none, retry after 5 s
//	nothing was written                   ONGAIR_UNREACHABLE        none, retry after 1 s
//	broken after a first byte             ONGAIR_CONNECTION_LOST    unknown
//	401 in every form of the token        ONGAIR_TOKEN_REJECTED     none
//	429, 503 with a valid Retry-After     ONGAIR_THROTTLED          none, retry after 1 s to 1 h
//	503 without one, 408, any other 5xx   ONGAIR_FAILED             unknown
//	any other 4xx                         ONGAIR_REFUSED            none
//	3xx                                   ONGAIR_REDIRECTED         unknown: a 303 may follow a POST that was done
//	2xx that says sent or success: false  ONGAIR_REFUSED            none
//	2xx that says nothing clear           ONGAIR_ANSWER_UNREADABLE  unknown
//	the context ended                     DEADLINE_EXCEEDED,        none before the first byte,
//	                                      CANCELLED                 unknown after it
//
// The status is enough for all but a 2xx: where the rest of such an answer gets
// lost, the status still decides. A 2xx whose body breaks off with its
// connection is ONGAIR_CONNECTION_LOST.
//
// # Contradictions
//
// Ongair's documentation, manual and published clients disagree on the form of
// the token, on the names of the flag of success (sent, success) and on whether
// Booleans and numbers come as themselves or as strings. All of these are
// accepted from every call; see parseAnswer for what is not.
//
// # What it does not do
//
// The client has no time limit of its own beyond those of NewTransport for
// making a connection: callers MUST pass a context with a deadline. It checks no
// field. It does not promise that a message whose effect is unknown went out, nor
// that it did not.
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

// Config is what New takes.
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
