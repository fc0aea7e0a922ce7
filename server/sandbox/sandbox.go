// Package sandbox is an Ongair to develop against: a stateful fake of Ongair's HTTP API that the gateway's tests, its
// sandbox command and its --sandbox mode share.
//
// # Mechanism
//
// A Sandbox is one channel of one Ongair account. A call to its API goes through five steps:
//
//	body   bounded at 10 MiB and read as JSON, multipart or a form by what it looks like, whatever the header claims
//	record the call is remembered exactly as it arrived, see Requests
//	fault  the first fault that fits may delay, replace or break the answer, see Fault
//	auth   the token is looked for in the four places where Ongair's clients put it
//	state  contacts, conversations and messages change, and the answer has Ongair's documented shape
//
// A message that was sent puts webhooks into a queue that is ordered by the time they are due: MessageSent after
// SentDelay, a DeliveryReceipt right behind it if receipts are on, then the contact's answer after AnswerDelay. One
// goroutine works through the queue, so webhooks leave one by one and in order: the MessageSent of a message always
// comes before its answer. Like Ongair, the sandbox posts each webhook once, whatever the receiver answers.
//
// A webhook is composed of its fields in five steps, which OddForms change: fields, encoding, what precedes the body,
// compression, and the address. Without odd forms it is a form, as Ongair documents.
//
// Under /_sandbox/ are the controls: post any webhook, switch faults, list what arrived. They ask for no token, so a
// Sandbox belongs on a loopback address. GET /_sandbox/ describes them.
//
// # What published clients send
//
// The sandbox takes calls as Ongair's documentation shows them and as its published clients make them:
//
//	phone_number in place of external_id and external_contact_id
//	more than one slash in a row, and one at the end, which Rails squeezes
//	/send_image with any content_type or none
//	text and caption in place of each other below images and documents
//	the image, or the document, as an uploaded file, which is served under /_sandbox/files/
//
// # What Ongair's contacts do here
//
// Every contact exists from its first use, except +254705865640, which Ongair's documentation uses to show a refusal. A
// contact answers a text with a MessageReceived that quotes it, and an image or a document with an ImageReceived. The
// text "close" closes the conversation instead, with a TicketStatusUpdated; the next message opens a new one.
//
// # Limits
//
// Everything is in memory and gone with the Sandbox. It remembers the newest 10,000 calls and the newest 10,000
// webhooks, each list with at most 64 MiB of bodies, as many uploaded files, the newest 10,000 messages, 100,000
// conversations and 100,000 contacts. It queues at most 100,000 webhooks: Deliveries lists the ones beyond with an error,
// and they are not posted.
//
// # Not promised
//
// What Ongair does where its documentation is silent: rate limits, retries of webhooks, the effect of thread.
// Templates, lists, search, groups and the calls that only some clients make are not here and answer 501.
package sandbox

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// The defaults of Config's durations, and the bounds that they stay below.
const (
	defaultSentDelay   = 100 * time.Millisecond
	defaultAnswerDelay = 800 * time.Millisecond
	maxSentDelay       = time.Second - time.Millisecond
	maxAnswerDelay     = 2*time.Second - time.Millisecond
	webhookTimeout     = 10 * time.Second
)

// Config says which account a Sandbox plays. Its zero value lacks only the Token.
type Config struct {
	// Token is the channel's API token, until SetTokens says otherwise: any non-empty string. Without one, Run fails and every call is answered 401.
	Token string
	// WebhookURL is where the channel's webhooks go: an absolute http or https URL. Empty means that none are posted and
	// that contacts never answer.
	WebhookURL string
	// AccountType is the channel's type, sent with every webhook. Default: WhatsApp.
	AccountType string
	// SentDelay is the time from a send to its MessageSent webhook, and from a ticket to its TicketStatusUpdated. Zero
	// means 100 ms, less than zero means at once; 1 s and more is cut to 999 ms.
	SentDelay time.Duration
	// AnswerDelay is the time from a send to the contact's answer. Zero means 800 ms, less than zero means at once; 2 s
	// and more is cut to 1,999 ms. An answer never comes before its MessageSent, so the larger delay holds.
	AnswerDelay time.Duration
	// Silent means that no call causes a webhook: only triggered ones are posted. It is for tests and loads that bring
	// their own.
	Silent bool
	// Receipts means that a DeliveryReceipt follows each MessageSent, until SetReceipts says otherwise. Ongair posts
	// receipts for channels that have them. They are off by default, so that two webhooks show what a send causes.
	Receipts bool
	// HTTPClient posts the webhooks. Default: one that gives up after 10 s and follows no redirects. A client that is
	// given stays the caller's: Run does not close its idle connections.
	HTTPClient *http.Client
	// Logger hears about calls (debug) and about webhooks that were not taken (warn). Default: nobody.
	Logger *slog.Logger
}

// Sandbox is one fake channel of one fake Ongair account. Make it with New. All its methods may be called concurrently.
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

// New makes a Sandbox and starts nothing: its Handler answers at once, but the webhooks that calls cause wait in the
// queue until Run posts them.
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
	// One goroutine posts in the order of due times, so an answer that is due no earlier than its MessageSent, and is
	// queued after it, is also posted after it.
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

// Handler answers Ongair's API under /api/v1/base and the controls under /_sandbox/. It works without Run, but then no
// queued webhook is posted. Faults that break connections need HTTP/1.
func (s *Sandbox) Handler() http.Handler {
	controls := s.controls()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Not a ServeMux: it would redirect a path with two slashes, which Ongair takes.
		if r.URL.Path == controlPath || strings.HasPrefix(r.URL.Path, controlPath+"/") {
			controls.ServeHTTP(w, r)
			return
		}
		s.serveAPI(w, r)
	})
}
