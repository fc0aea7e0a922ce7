// Package webhook turns one POST from Ongair into one event of the log.
//
// Ongair does not sign webhooks, so the path is the credential: POST
// /webhooks/{channel}/{secret}. The sender's network (senders.go) and HTTP basic authentication
// (credentials.go) can be required, too. Every other request gets the same 404 after the same
// work, so an attacker learns nothing. Extra slashes and white space at the end of the path are
// ignored. A valid secret in a wrong path is logged, because it is a mistake in Ongair's settings
// that loses webhooks.
//
// Ongair documents no retries, so a rejected webhook may be lost. So the handler accepts every
// body, whatever its label (body.go, split.go, charset.go, encoding.go). Documented fields become
// typed fields (typed.go). A body that cannot be parsed is stored as it is, and logged.
//
// A request with a valid secret can get these answers:
//
//   - 200 after the event is in the log, never before;
//   - 405 for another method;
//   - 413 for a body over 1 MiB;
//   - 503 with Retry-After if the log cannot store the event, or if too many large bodies are
//     being read.
//
// A message notification with the same type, id and content as one within the duplicate
// window is the same event, and is not stored again. The contact's name does not count
// (identity.go).
package webhook

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/event"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// AnswerTimeout bounds a webhook from the end of its headers to the end of its answer. A webhook is
// small, and Ongair's servers are fast.
const AnswerTimeout = 30 * time.Second

const (
	// appendTimeout bounds the wait for the log. After it the webhook is answered 503, so that
	// webhooks do not pile up.
	appendTimeout = 10 * time.Second
)

// Log appends to the event log.
type Log interface {
	// Append returns once the event is durable; stored is false for a duplicate.
	Append(ctx context.Context, e *ongairv1.Event) (stored bool, err error)
}

// Access configures who may post webhooks.
type Access struct {
	// Channels has the credentials of the channels, by name.
	Channels map[string]Credentials
	// AllowFrom has the networks that may post. Empty means all. TrustedProxies has the networks
	// whose X-Forwarded-For is used.
	AllowFrom, TrustedProxies []netip.Prefix
}

// Config of a Handler.
type Config struct {
	Access
	// Log stores the events.
	Log Log
	// Logger logs rejected webhooks. It never gets a secret or a text of a customer.
	Logger *slog.Logger
}

// Handler is the handler of the webhook port. It is safe for concurrent use.
type Handler struct {
	access atomic.Pointer[access]
	log    Log
	logger *slog.Logger
	reuses *reuses
	bodies *listen.Bodies
}

// New returns the handler.
func New(cfg Config) *Handler {
	h := &Handler{log: cfg.Log, logger: cfg.Logger, reuses: newReuses(), bodies: listen.NewBodies()}
	h.Replace(cfg.Access)
	return h
}

// access is Access in the form for comparisons. It is immutable.
type access struct {
	channels map[string]*credentials
	// unknown is compared with for an unknown channel. It admits no request.
	unknown *credentials
	senders senders
	// owners has the channels by the hashes of their secrets.
	owners map[[sha256.Size]byte]*credentials
}

// Replace replaces who may post, for requests from now on.
func (h *Handler) Replace(in Access) {
	a := &access{
		channels: make(map[string]*credentials, len(in.Channels)),
		unknown:  newCredentials("", Credentials{}),
		senders:  senders{allowed: in.AllowFrom, proxies: in.TrustedProxies},
		owners:   map[[sha256.Size]byte]*credentials{},
	}
	for channel, configured := range in.Channels {
		c := newCredentials(channel, configured)
		a.channels[channel] = c
		a.owners[c.secret.sum], a.owners[c.previous.sum] = c, c
	}
	h.access.Store(a)
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	channel, c, ok := h.authenticate(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.reject(w, channel, http.StatusMethodNotAllowed, "method", r.Method)
		return
	}
	received := time.Now()
	body, release, err := h.readBody(w, r)
	defer release()
	p := posted{contentType: r.Header.Get("Content-Type"), query: r.URL.RawQuery, body: body}
	damaged := errors.Is(err, errEncoding)
	switch {
	case errors.Is(err, listen.ErrBuffersFull):
		h.rejectForNow(w, channel, time.Second, err)
		return
	case errors.Is(err, listen.ErrBodyTooLarge):
		h.reject(w, channel, http.StatusRequestEntityTooLarge, "limit_bytes", listen.MaxBodyBytes)
		listen.Drain(w, r)
		return
	case err != nil && !damaged:
		h.reject(w, channel, http.StatusBadRequest, "error", whyUnread(err))
		return
	}
	e, problem := parse(channel, p)
	e.ReceiveTime = timestamppb.New(received)
	if damaged && problem != "" {
		problem = errEncoding.Error()
	}
	c.logProblem(h.logger, problem)

	// The event is complete. A sender that closes the connection now may never send it again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), appendTimeout)
	defer cancel()
	stored, err := h.log.Append(ctx, e)
	if err != nil {
		h.rejectForNow(w, channel, max(time.Second, fault.From(err).RetryAfter), err)
		return
	}
	if h.reuses.reused(e) {
		c.logReuse(h.logger, e.GetId())
	}
	h.logger.Debug("webhook stored", "channel", channel, "type", loggable(e.GetNotificationType()),
		"event", e.GetId(), "duplicate", !stored)
	w.WriteHeader(http.StatusOK) // Ongair requires exactly 200
}

// loggable returns a type for the log: a documented one, or a single word. Any other type may be a
// text of a customer, and loggable returns an empty string.
func loggable(notificationType string) string {
	if name := event.TypeName(event.TypeOf(notificationType)); name != "" {
		return name
	}
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if len(notificationType) > 64 || strings.Trim(notificationType, letters) != "" {
		return ""
	}
	return notificationType
}

// readBody reads a body of at most listen.MaxBodyBytes, and inflates it to at most as much. If
// the encoding is damaged, it returns the body as it came, with errEncoding. release MUST be
// called when the body is not needed any more.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request) (body []byte, release func(), err error) {
	body, releaseBody, err := h.bodies.Read(w, r)
	encodings := r.Header.Values("Content-Encoding")
	if err != nil || len(encodings) == 0 && !isGzip(body) {
		return body, releaseBody, err
	}
	// A small body may inflate to a large one.
	releaseInflated, err := h.bodies.Reserve(r.Context(), listen.MaxBodyBytes)
	release = func() { releaseBody(); releaseInflated() }
	if err != nil {
		return nil, release, err
	}
	inflated, err := inflate(encodings, body)
	if err != nil {
		return body, release, err
	}
	return inflated, release, nil
}

// whyUnread returns why a body could not be read. The errors of net/http may contain a part of the
// body.
func whyUnread(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the sender was too slow"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "the sender left before it had sent everything"
	}
	return "the body is malformed"
}

// authenticate returns the channel that a request may post to, and the channel's credentials. It does
// the same work for every request.
func (h *Handler) authenticate(r *http.Request) (channel string, c *credentials, ok bool) {
	segments, channel, secret := splitPath(r.URL.EscapedPath())
	a := h.access.Load()
	c, known := a.channels[channel]
	if !known {
		c = a.unknown
	}
	wrong, previous := c.admit(r, secret)
	if !a.senders.admit(r) {
		wrong = wrongNetwork
	}
	if wrong == notRejected {
		if previous {
			c.logPreviousUse(h.logger)
		}
		return channel, c, true
	}
	if owner := a.ownerOf(segments); owner != nil && wrong == wrongSecret {
		c, wrong = owner, wrongPath
	}
	c.logRejection(h.logger, wrong, r.RemoteAddr)
	return channel, nil, false
}

// rejectForNow answers 503, with the time after which the webhook may be sent again.
func (h *Handler) rejectForNow(w http.ResponseWriter, channel string, retryAfter time.Duration, err error) {
	w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
	h.reject(w, channel, http.StatusServiceUnavailable, "error", err)
}

// reject answers with status. The sender knew the secret, so each rejection is a webhook that may be
// lost.
func (h *Handler) reject(w http.ResponseWriter, channel string, status int, why ...any) {
	h.logger.Warn("webhook rejected: Ongair may not send it again",
		append([]any{"channel", channel, "status", status}, why...)...)
	http.Error(w, http.StatusText(status), status)
}
