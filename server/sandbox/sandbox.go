// Package sandbox is a stateful fake of Ongair's HTTP API for development. The gateway's tests, its
// sandbox command and its --sandbox mode share it.
//
// # How a call is handled
//
// A Sandbox is one channel of one Ongair account. A call to its API passes five steps:
//
//	body   read as JSON, multipart or a form by its content, up to 10 MiB; Content-Type is ignored
//	record the call is kept exactly as it arrived, see Requests
//	fault  the first fault that matches may delay, replace or break the answer, see Fault
//	auth   the token is read from the four places in which Ongair's clients send it
//	state  contacts, conversations and messages change; the answer has Ongair's documented shape
//
// # Webhooks
//
// A sent message queues these webhooks, ordered by the time at which they are due:
//
//   - MessageSent, after SentDelay.
//   - DeliveryReceipt, immediately after MessageSent, if receipts are on.
//   - The contact's answer, after AnswerDelay.
//
// One goroutine posts the queue one by one and in order, so a message's MessageSent always comes
// before its answer. Like Ongair, the sandbox posts each webhook once, whatever the receiver
// answers.
//
// A webhook is composed in five steps, which OddForms change: fields, encoding, prefix of the body,
// compression and address. Without odd forms it is a form, as Ongair documents.
//
// # Controls
//
// The controls under /_sandbox/ post webhooks, set faults and list calls. They need no token, so a
// Sandbox SHOULD listen on a loopback address. GET /_sandbox/ describes them.
//
// # Calls of published clients
//
// The sandbox accepts calls as Ongair documents them and as its published clients make them:
//
//	phone_number in place of external_id and external_contact_id
//	repeated slashes, and one at the end, which Rails squeezes
//	/send_image with any content_type or none
//	text and caption in place of each other for images and documents
//	the image or document as an uploaded file, which is served under /_sandbox/files/
//
// # Contacts
//
// A contact is created when it is first used. Only +254705865640 does not exist, because Ongair's
// documentation uses it as an unknown contact. A contact answers a text with a MessageReceived that
// quotes it, and an image or a document with an ImageReceived. The text "close" closes the
// conversation instead, with a TicketStatusUpdated. The next message opens a new conversation.
//
// # Limits
//
// A Sandbox keeps everything in memory. It keeps the newest of each:
//
//   - 10,000 calls, with at most 64 MiB of bodies
//   - 10,000 webhooks, with at most 64 MiB of bodies
//   - 10,000 uploaded files, with at most 64 MiB of content
//   - 10,000 messages
//   - 100,000 conversations
//   - 100,000 contacts
//
// It queues at most 100,000 webhooks. It does not post further ones and lists them in Deliveries
// with an error.
//
// # Not imitated
//
// The sandbox promises no behaviour that Ongair does not document: rate limits, retries of webhooks
// and the effect of thread. It does not implement templates, lists, search, groups and the calls
// that only some clients make. It answers these calls with 501.
package sandbox

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// The defaults and maximums of Config's durations, and the timeout of the default client.
const (
	defaultSentDelay   = 100 * time.Millisecond
	defaultAnswerDelay = 800 * time.Millisecond
	maxSentDelay       = time.Second - time.Millisecond
	maxAnswerDelay     = 2*time.Second - time.Millisecond
	webhookTimeout     = 10 * time.Second
)

// Config configures a Sandbox. Only Token is required.
type Config struct {
	// Token is the channel's API token until SetTokens replaces it. If it is empty, Run fails and
	// every call is answered with 401.
	Token string
	// WebhookURL is the URL of the channel's webhooks, an absolute http or https URL. If it is
	// empty, no webhooks are posted and contacts never answer.
	WebhookURL string
	// AccountType is the channel's type. Webhooks of messages and tickets include it. Default:
	// WhatsApp.
	AccountType string
	// SentDelay is the time from a send to its MessageSent webhook, and from a ticket to its
	// TicketStatusUpdated. Zero means 100 ms. Negative means immediately. The maximum is 999 ms.
	SentDelay time.Duration
	// AnswerDelay is the time from a send to the contact's answer. Zero means 800 ms. Negative
	// means immediately. The maximum is 1,999 ms. It is at least SentDelay, so that an answer never
	// comes before its MessageSent.
	AnswerDelay time.Duration
	// Silent means that calls cause no webhooks: only triggered ones are posted. Tests and load
	// generators that trigger their own webhooks use it.
	Silent bool
	// Receipts means that a DeliveryReceipt follows each MessageSent, until SetReceipts changes it.
	// Ongair posts receipts for channels that have them. They are off by default, so that a send
	// causes only two webhooks.
	Receipts bool
	// HTTPClient posts the webhooks. Default: a client that times out after 10 s and follows no
	// redirects. Run does not close the idle connections of a given client.
	HTTPClient *http.Client
	// Logger logs calls (debug), the address of Run (info) and problems, such as a webhook that was
	// not accepted (warn). Default: no logs.
	Logger *slog.Logger
}

// Sandbox is one fake channel of one fake Ongair account. Create it with New. It is safe for
// concurrent use.
type Sandbox struct {
	config    Config
	client    *http.Client
	ownClient bool
	logger    *slog.Logger

	running    atomic.Bool
	auth       auth
	faults     faults
	settings   webhookSettings
	state      *state
	queue      *queue
	uploads    uploads
	requests   history[Request]
	deliveries history[Delivery]
}

// New creates a Sandbox and starts nothing. Its Handler works immediately, but the webhooks that
// calls cause wait in the queue until Run posts them.
func New(config Config) *Sandbox {
	s := &Sandbox{
		config: config,
		client: config.HTTPClient,
		logger: config.Logger,
		auth:   auth{tokens: []string{config.Token}},
		state:  newState(),
		queue:  newQueue(),

		settings: webhookSettings{receipts: config.Receipts},
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if s.client == nil {
		s.client, s.ownClient = newWebhookClient(), true
	}
	if config.AccountType == "" {
		s.config.AccountType = "WhatsApp"
	}
	s.config.SentDelay = s.delay("SentDelay", config.SentDelay, defaultSentDelay, maxSentDelay)
	s.config.AnswerDelay = s.delay("AnswerDelay", config.AnswerDelay, defaultAnswerDelay, maxAnswerDelay)
	// One goroutine posts in the order of due times. An answer that is due no earlier than its
	// MessageSent, and is queued after it, is therefore posted after it.
	s.config.AnswerDelay = max(s.config.AnswerDelay, s.config.SentDelay)
	return s
}

func (s *Sandbox) delay(name string, configured, byDefault, most time.Duration) time.Duration {
	switch {
	case configured == 0:
		return byDefault
	case configured > most:
		s.logger.Warn("sandbox delay reduced to its maximum", "name", name, "configured", configured, "bound", most)
		return most
	default:
		return max(configured, 0)
	}
}

// Handler serves Ongair's API under /api/v1/base and the controls under /_sandbox/. It works
// without Run, but then no queued webhook is posted. Faults that break connections need HTTP/1.
func (s *Sandbox) Handler() http.Handler {
	controls := s.controls()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A ServeMux would redirect a path with two slashes, which Ongair accepts.
		if r.URL.Path == controlPath || strings.HasPrefix(r.URL.Path, controlPath+"/") {
			controls.ServeHTTP(w, r)
			return
		}
		s.serveAPI(w, r)
	})
}
