package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

const formType = "application/x-www-form-urlencoded"

// ErrNoWebhookURL means that a webhook cannot be triggered because the Config has no WebhookURL.
var ErrNoWebhookURL = errors.New("sandbox: no webhook URL is configured")

var errQueueFull = errors.New("not posted: the queue of webhooks is full")

// Delivery is one webhook that was posted, or tried. Its fields and body are shared by everyone who lists it and MUST
// NOT be changed.
type Delivery struct {
	// Time is when posting it began.
	Time        time.Time `json:"time"`
	ContentType string    `json:"content_type"`
	// ContentEncoding is the header of that name, if any.
	ContentEncoding string `json:"content_encoding,omitempty"`
	// Query is what was added to the webhook URL's query, if anything.
	Query string `json:"query,omitempty"`
	// As are the odd forms in which the webhook was posted.
	As []OddForm `json:"as,omitempty"`
	// Fields are the webhook's fields in order. A webhook that was triggered as something else than a form has none.
	Fields []Field `json:"fields"`
	// Body is what was posted. In JSON it is the string body if it is UTF-8, and otherwise body_base64.
	Body []byte `json:"-"`
	// Status is what the receiver answered, and Error why there is no answer: one of them is set.
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	// Triggered tells the webhooks that were asked for from those that a call caused.
	Triggered bool `json:"triggered"`
}

// Deliveries lists every webhook that was posted, in the order in which the posts ended: the newest 10,000, with at
// most 64 MiB of bodies together.
func (s *Sandbox) Deliveries() []Delivery { return s.deliveries.list() }

// MarshalJSON writes the body as text where it is text.
func (d Delivery) MarshalJSON() ([]byte, error) {
	return encodeReadably(deliveryJSON{plainDelivery(d), newBodyJSON(d.Body)})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (d *Delivery) UnmarshalJSON(data []byte) error {
	var read deliveryJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*d = Delivery(read.plainDelivery)
	d.Body = read.bytes()
	return nil
}

// plainDelivery has no methods, so that encoding it does not call MarshalJSON again.
type plainDelivery Delivery

type deliveryJSON struct {
	plainDelivery
	bodyJSON
}

// Trigger posts one webhook now, as a form with these fields in this order, unless SetOddForms says otherwise, and
// returns what the receiver answered. Names and values may be any bytes. It does not wait for queued webhooks, works
// while Run does not, and fails with ErrNoWebhookURL, with ctx's error, or with the reason why there is no answer.
func (s *Sandbox) Trigger(ctx context.Context, fields []Field) (status int, err error) {
	return s.TriggerAs(ctx, fields, s.settings.oddForms()...)
}

// TriggerAs is Trigger in the given odd forms, whatever SetOddForms says. It also fails if they are unknown or do not go
// together.
func (s *Sandbox) TriggerAs(ctx context.Context, fields []Field, as ...OddForm) (status int, err error) {
	if err := checkOddForms(as); err != nil {
		return 0, fmt.Errorf("sandbox: %w", err)
	}
	o := composed(fields, as)
	d := delivery(o, as)
	d.Triggered = true
	return s.post(ctx, o, d)
}

// delivery returns what is listed of o.
func delivery(o *outgoing, as []OddForm) *Delivery {
	return &Delivery{
		Time: time.Now(), ContentType: o.contentType, ContentEncoding: o.contentEncoding, Query: o.query,
		As: slices.Clone(as), Fields: o.fields, Body: o.body,
	}
}

// deliver posts queued webhooks, one after the other, until ctx ends.
func (s *Sandbox) deliver(ctx context.Context) {
	for {
		compose, err := s.queue.pop(ctx)
		if err != nil {
			return
		}
		as := s.settings.oddForms()
		o := composed(compose(), as)
		// The outcome is in Deliveries and the log; a webhook is posted once, whatever it is.
		_, _ = s.post(ctx, o, delivery(o, as))
	}
}

// post posts o once and keeps d with the outcome.
func (s *Sandbox) post(ctx context.Context, o *outgoing, d *Delivery) (status int, err error) {
	if s.config.WebhookURL == "" {
		return 0, ErrNoWebhookURL
	}
	d.Status, err = s.exchange(ctx, o)
	if err != nil {
		d.Error = err.Error()
	}
	s.deliveries.add(d, len(d.Body))
	if d.Status != http.StatusOK {
		s.logger.Warn("a webhook was not taken", "status", d.Status, "error", d.Error)
	}
	return d.Status, err
}

func (s *Sandbox) exchange(ctx context.Context, o *outgoing) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.WebhookURL, bytes.NewReader(o.body))
	if err != nil {
		return 0, withoutURL(err)
	}
	o.address(request)
	request.Header.Set("User-Agent", "Ongair-Sandbox")
	response, err := s.client.Do(request) //nolint:gosec // the URL is the operator's; only what is posted comes with a request
	if err != nil {
		return 0, withoutURL(err)
	}
	// The status is all that Ongair looks at. The rest is read so that the connection can be used again, but not for ever.
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	_ = response.Body.Close()
	if !s.running.Load() {
		s.closeIdle()
	}
	return response.StatusCode, nil
}

// withoutURL keeps the webhook URL, and the secret in it, out of logs and lists.
func withoutURL(err error) error {
	if inner := new(url.Error); errors.As(err, &inner) {
		return fmt.Errorf("sandbox: post webhook: %w", inner.Err)
	}
	return fmt.Errorf("sandbox: post webhook: %w", err)
}

// undelivered lists a webhook that is not even tried.
func (s *Sandbox) undelivered(fields []Field, why error) {
	d := delivery(composed(fields, nil), nil)
	d.Error = why.Error()
	s.deliveries.add(d, len(d.Body))
	s.logger.Warn("a webhook was not posted", "error", d.Error)
}

func newWebhookClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
		// A redirected POST would arrive as a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       webhookTimeout,
	}
}

// closeIdle lets go of the connections of the Sandbox's own client, which would otherwise outlive it for a while.
func (s *Sandbox) closeIdle() {
	if s.ownClient {
		s.client.CloseIdleConnections()
	}
}
