// Package webhook turns one POST from Ongair into one event of the log.
//
// Ongair signs nothing, so the path is the credential: POST
// /webhooks/{channel}/{secret}. Where more is configured, it is asked for besides:
// the sender's network (senders.go), HTTP basic authentication (credentials.go).
// Anything else on this handler, a wrong secret included, gets the same 404 in the
// same time, so that nothing can be learned by trying. Only a request that knows the
// secret learns more: 405 for another method, 415 for a content encoding, 413 for a
// body over 1 MiB.
//
// Ongair does not document that it tries again, so what is refused may be lost
// for good. Therefore every body is taken, whatever it is: form, multipart and
// JSON become fields (body.go), the documented fields become typed ones
// (typed.go), and what cannot be parsed is kept whole. The handler MUST NOT
// answer 200 before the log has the event, and answers 503 with Retry-After
// where the log cannot take it.
package webhook

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
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
	pathPrefix = "/webhooks/"
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
}

// New returns the handler.
func New(cfg Config) *Handler {
	h := &Handler{log: cfg.Log, logger: cfg.Logger}
	h.Replace(cfg.Access)
	return h
}

// access is Access as requests are compared with it. It is immutable.
type access struct {
	channels map[string]*credentials
	// unknown stands for the credentials of an unknown channel, and admits no request.
	unknown *credentials
	senders senders
}

// Replace replaces who may post, for requests from now on.
func (h *Handler) Replace(in Access) {
	a := &access{
		channels: make(map[string]*credentials, len(in.Channels)),
		unknown:  newCredentials("", Credentials{}),
		senders:  senders{allowed: in.AllowFrom, proxies: in.TrustedProxies},
	}
	for channel, c := range in.Channels {
		a.channels[channel] = newCredentials(channel, c)
	}
	h.access.Store(a)
}

// Path returns the path of a channel's webhooks.
func Path(channel, secret string) string { return pathPrefix + channel + "/" + secret }

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	channel, ok := h.authenticate(r)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		h.reject(w, channel, http.StatusMethodNotAllowed, "method", r.Method)
		return
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		h.reject(w, channel, http.StatusUnsupportedMediaType, "content_encoding", encoding)
		return
	}
	received := time.Now()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, listen.MaxBodyBytes))
	if err != nil {
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			h.reject(w, channel, http.StatusRequestEntityTooLarge, "limit_bytes", listen.MaxBodyBytes)
			return
		}
		// The sender went away, or was too slow, before it had said everything.
		h.reject(w, channel, http.StatusBadRequest, "error", err)
		return
	}
	e := parse(channel, r.Header.Get("Content-Type"), body)
	e.ReceiveTime = timestamppb.New(received)

	// The event is whole: a sender that hangs up now has said what it had to say,
	// and may never say it again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), appendTimeout)
	defer cancel()
	stored, err := h.log.Append(ctx, e)
	if err != nil {
		retryAfter := max(time.Second, fault.From(err).RetryAfter)
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(retryAfter.Seconds()))))
		h.reject(w, channel, http.StatusServiceUnavailable, "error", err)
		return
	}
	// The type is logged only where it is documented: any other is the sender's text.
	h.logger.Debug("webhook stored", "channel", channel, "type", event.TypeName(event.TypeOf(e.GetNotificationType())),
		"event", e.GetId(), "duplicate", !stored)
	w.WriteHeader(http.StatusOK) // exactly 200 is what Ongair takes as received
}

// authenticate returns the channel of a request that may post to it. It takes the
// same time for whatever is wrong, and for a channel that does not exist.
func (h *Handler) authenticate(r *http.Request) (channel string, ok bool) {
	channel, secret := splitPath(r.URL.EscapedPath())
	a := h.access.Load()
	c, known := a.channels[channel]
	if !known {
		c = a.unknown
	}
	wrong, previous := c.admit(r, secret)
	if !a.senders.admit(r) {
		wrong = wrongNetwork
	}
	if wrong != notRejected {
		c.logRejection(h.logger, wrong, r.RemoteAddr)
		return channel, false
	}
	if previous {
		c.logPreviousUse(h.logger)
	}
	return channel, true
}

// reject answers with status. Whoever gets it knew the secret, so it was Ongair
// or someone of the house: each refusal is a webhook that may be lost.
func (h *Handler) reject(w http.ResponseWriter, channel string, status int, why ...any) {
	h.logger.Warn("webhook refused; Ongair may not send it again",
		append([]any{"channel", channel, "status", status}, why...)...)
	http.Error(w, http.StatusText(status), status)
}
