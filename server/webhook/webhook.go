// Package webhook turns one POST from Ongair into one event of the log.
//
// Ongair signs nothing, so the path is the credential: POST
// /webhooks/{channel}/{secret}. Where more is configured, it is asked for besides:
// the sender's network (senders.go), HTTP basic authentication (credentials.go).
// Anything else on this handler, a wrong secret included, gets the same 404 after the same
// work, so that nothing can be learned by trying. Slashes too many and white space at the end
// of the path do not count. A request that knows the secret and whose path is wrong is logged
// as such: it is a mistake in Ongair's settings that loses webhooks.
//
// Ongair does not document that it tries again, so what is refused may be lost for good.
// Therefore every body is taken, whatever it is and however it is labelled (body.go,
// split.go, charset.go, encoding.go): the documented fields become typed ones (typed.go), and
// what cannot be parsed is kept whole and logged. Only a request that knows the secret learns
// more than 404: 405 for another method, 413 for a body over 1 MiB. The handler MUST NOT
// answer 200 before the log has the event, and answers 503 with Retry-After if the log cannot
// take it.
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

// AnswerTimeout bounds a webhook on its port, from the end of its headers to that of its
// answer. A webhook is small and Ongair's servers are fast: a sender that takes longer is
// holding a connection.
const AnswerTimeout = 30 * time.Second

const (
	// appendTimeout bounds the wait for the log: beyond it the sender is told to
	// come again, instead of piling up here.
	appendTimeout = 10 * time.Second
)

// Log is what the intake needs of the event log.
type Log interface {
	// Append returns once the event is durable; stored is false for a duplicate.
	Append(ctx context.Context, e *ongairv1.Event) (stored bool, err error)
}

// Access is who may post what.
type Access struct {
	// Channels are the credentials of the channels, by their names.
	Channels map[string]Credentials
	// AllowFrom are the networks that may post; empty means all. TrustedProxies are
	// the ones whose X-Forwarded-For is believed.
	AllowFrom, TrustedProxies []netip.Prefix
}

// Config of a Handler.
type Config struct {
	Access
	// Log gets the events.
	Log Log
	// Logger gets what was refused. It is never told a secret or what a customer
	// wrote.
	Logger *slog.Logger
}

// Handler is the whole of the webhook port. It is safe for concurrent use.
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

// access is Access as requests are compared with it. It is immutable.
type access struct {
	channels map[string]*credentials
	// unknown stands for the credentials of an unknown channel, and admits no request.
	unknown *credentials
	senders senders
	// owners are the channels by the hashes of their secrets.
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

	// The event is whole: a sender that hangs up now has sent everything, and may never send
	// it again.
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
	w.WriteHeader(http.StatusOK) // exactly 200 is what Ongair takes as received
}

// loggable returns a type as it may be logged: a documented one, or a word that cannot be
// what a customer wrote.
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

// whyUnread says why a body could not be read. What net/http says may have what was posted
// in it.
func whyUnread(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "the sender was too slow"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return "the sender left before it had sent everything"
	}
	return "the body is malformed"
}

// authenticate returns the channel of a request that may post to it, and the channel's
// credentials. It does the same work whatever is wrong, and for an unknown channel.
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

// reject answers with status. Whoever gets it knew the secret, so it was Ongair
// or someone of the house: each refusal is a webhook that may be lost.
func (h *Handler) reject(w http.ResponseWriter, channel string, status int, why ...any) {
	h.logger.Warn("webhook refused; Ongair may not send it again",
		append([]any{"channel", channel, "status", status}, why...)...)
	http.Error(w, http.StatusText(status), status)
}
