// Package sandbox imitates Ongair's HTTP API: a stateful fake for the gateway's tests, its
// sandbox command and its --sandbox flag.
//
// # How a call is handled
//
// A Sandbox is one channel of one Ongair account. A call has five steps:
//
//	body    read as JSON, multipart or a form by its content, at most 10 MiB
//	record  the call is recorded as it arrived (Requests)
//	fault   the first matching fault may delay, replace or break the answer (Fault)
//	auth    the token is looked up in the four places where Ongair's clients send it
//	state   contacts, conversations and messages change, and Ongair's answer is sent
//
// # Webhooks
//
// A sent message queues webhooks: MessageSent after SentDelay, then a DeliveryReceipt if receipts
// are on, and the contact's answer after AnswerDelay. One goroutine posts them one by one, in the
// order of their due times, so the MessageSent of a message always precedes its answer. Like
// Ongair, the sandbox posts each webhook once, whatever the receiver answers.
//
// A webhook is composed in five steps, which OddForms change: fields, encoding, prefix of the
// body, compression and address. By default it is a form, as Ongair documents.
//
// # Controls
//
// The controls under /_sandbox/ post webhooks, set faults and list what arrived. GET /_sandbox/
// describes them. They need no token, so a Sandbox should listen on loopback.
//
// # Calls of Ongair's clients
//
// The sandbox accepts calls as in Ongair's documentation and as made by its published clients:
//
//   - phone_number instead of external_id and external_contact_id
//   - repeated and trailing slashes in the path, as in Rails
//   - /send_image with any content_type or none
//   - text and caption in place of each other
//   - the image or document as an uploaded file, which is served under /_sandbox/files/
//
// # Contacts
//
// Every contact exists except +254705865640, which Ongair's documentation uses for an error. A
// contact answers a text with a MessageReceived that quotes it, and an image or a document with an
// ImageReceived. The text "close" closes the conversation, with a TicketStatusUpdated. The next
// message opens a new one.
//
// # Limits
//
// Everything is in memory. The sandbox keeps the newest 10,000 calls, 10,000 webhooks and 10,000
// messages, uploaded files, 100,000 conversations and 100,000 contacts. Calls, webhooks and files
// have at most 64 MiB of bodies each. It queues at most 100,000 webhooks. Deliveries lists further
// ones with an error.
//
// # Not imitated
//
// The sandbox does not imitate behaviour that Ongair does not document: rate limits, retries of
// webhooks, the effect of thread. Templates, lists, search, groups and calls of single clients
// answer 501.
package sandbox

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults and bounds of the durations in Config.
const (
	defaultSentDelay   = 100 * time.Millisecond
	defaultAnswerDelay = 800 * time.Millisecond
	maxSentDelay       = time.Second - time.Millisecond
	maxAnswerDelay     = 2*time.Second - time.Millisecond
	webhookTimeout     = 10 * time.Second
)

// Config configures a Sandbox. Only Token is required.
type Config struct {
	// Token is the channel's API token until SetTokens is called: any non-empty string. Without
	// a token Run fails, and all calls are answered with 401.
	Token string
	// WebhookURL is the absolute http or https URL for the channel's webhooks. Empty means that
	// none are posted and that contacts do not answer.
	WebhookURL string
	// AccountType is the channel's type, which is sent with every webhook. The default is
	// WhatsApp.
	AccountType string
	// SentDelay is the time from a send to its MessageSent webhook, and from a ticket to its
	// TicketStatusUpdated. Zero means 100 ms, and less than zero none. The maximum is 999 ms.
	SentDelay time.Duration
	// AnswerDelay is the time from a send to the contact's answer. Zero means 800 ms, and less
	// than zero none. The maximum is 1,999 ms, and the minimum is SentDelay, because an answer
	// never precedes its MessageSent.
	AnswerDelay time.Duration
	// Silent means that calls cause no webhooks. Only triggered ones are posted.
	Silent bool
	// Receipts means that a DeliveryReceipt follows each MessageSent, until SetReceipts is
	// called. Ongair posts receipts for some channels.
	Receipts bool
	// HTTPClient posts the webhooks. The default has a timeout of 10 s and follows no
	// redirects. Run does not close the idle connections of a given client.
	HTTPClient *http.Client
	// Logger logs calls at debug level and webhooks that were not accepted at warn level. Nil
	// logs nothing.
	Logger *slog.Logger
}

// Sandbox is a fake channel of a fake Ongair account. Create it with New. Its methods are safe
// for concurrent use.
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

// New returns a Sandbox and starts nothing. Its Handler answers at once. Webhooks of calls are
// queued until Run posts them.
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
	// Webhooks are posted in the order of due times, so this keeps an answer after its
	// MessageSent.
	s.config.AnswerDelay = max(s.config.AnswerDelay, s.config.SentDelay)
	return s
}

func (s *Sandbox) delay(name string, configured, byDefault, most time.Duration) time.Duration {
	switch {
	case configured == 0:
		return byDefault
	case configured > most:
		s.logger.Warn("a sandbox delay is cut to its bound", "name", name, "configured", configured, "bound", most)
		return most
	default:
		return max(configured, 0)
	}
}

// Handler serves Ongair's API under /api/v1/base and the controls under /_sandbox/. It works
// without Run, but then queued webhooks are not posted. Faults that break connections require
// HTTP/1.
func (s *Sandbox) Handler() http.Handler {
	controls := s.controls()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// ServeMux would redirect a path with two slashes, which Ongair accepts.
		if r.URL.Path == controlPath || strings.HasPrefix(r.URL.Path, controlPath+"/") {
			controls.ServeHTTP(w, r)
			return
		}
		s.serveAPI(w, r)
	})
}
