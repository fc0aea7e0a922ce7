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

// ErrNoWebhookURL is returned if a webhook is triggered and the Config has no WebhookURL.
var ErrNoWebhookURL = errors.New("sandbox: no webhook URL is configured")

var errQueueFull = errors.New("not posted: the webhook queue is full")

// Delivery is one webhook and its outcome. Copies share Fields and Body, which MUST NOT be changed.
type Delivery struct {
	// Time is when posting began.
	Time        time.Time `json:"time"`
	ContentType string    `json:"content_type"`
	// ContentEncoding is the header of that name. It may be empty.
	ContentEncoding string `json:"content_encoding,omitempty"`
	// Query was added to the webhook URL's query. It may be empty.
	Query string `json:"query,omitempty"`
	// As lists the odd forms of the webhook.
	As []OddForm `json:"as,omitempty"`
	// Fields are the webhook's fields in order. A triggered webhook that is not a form has no
	// fields.
	Fields []Field `json:"fields"`
	// Body is the posted body. In JSON it is the string body if it is valid UTF-8, and otherwise
	// body_base64.
	Body []byte `json:"-"`
	// Status is the receiver's status, and Error is the reason if there is none. Exactly one of
	// them is set.
	Status int    `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
	// Triggered is false if a call caused the webhook.
	Triggered bool `json:"triggered"`
}

// Deliveries lists the webhooks in the order in which their posts ended. It keeps the newest
// 10,000, with at most 64 MiB of bodies together.
func (s *Sandbox) Deliveries() []Delivery { return s.deliveries.list() }

// MarshalJSON encodes the body as text if it is valid UTF-8.
func (d Delivery) MarshalJSON() ([]byte, error) {
	return encodeReadably(deliveryJSON{plainDelivery(d), newBodyJSON(d.Body)})
}

// UnmarshalJSON decodes the output of MarshalJSON.
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

// Trigger posts one webhook now and returns the receiver's status. The webhook is a form with these
// fields in this order, unless SetOddForms changed that. Names and values may be any bytes. Trigger
// does not wait for queued webhooks and does not need Run. It fails with ErrNoWebhookURL, with
// ctx's error, or with the reason why there is no answer.
func (s *Sandbox) Trigger(ctx context.Context, fields []Field) (status int, err error) {
	return s.TriggerAs(ctx, fields, s.settings.oddForms()...)
}

// TriggerAs is Trigger with the given odd forms in place of those of SetOddForms. It also fails if
// a form is unknown or the forms cannot be combined.
func (s *Sandbox) TriggerAs(ctx context.Context, fields []Field, as ...OddForm) (status int, err error) {
	if err := checkOddForms(as); err != nil {
		return 0, fmt.Errorf("sandbox: %w", err)
	}
	o := composed(fields, as)
	d := newDelivery(o, as)
	d.Triggered = true
	return s.post(ctx, o, d)
}

// newDelivery returns the Delivery of o without an outcome.
func newDelivery(o *outgoing, as []OddForm) *Delivery {
	return &Delivery{
		Time: time.Now(), ContentType: o.contentType, ContentEncoding: o.contentEncoding, Query: o.query,
		As: slices.Clone(as), Fields: o.fields, Body: o.body,
	}
}

// deliver posts queued webhooks one by one until ctx ends.
func (s *Sandbox) deliver(ctx context.Context) {
	for {
		compose, err := s.queue.pop(ctx)
		if err != nil {
			return
		}
		as := s.settings.oddForms()
		o := composed(compose(), as)
		// Each webhook is posted once. Its outcome is in Deliveries and the log.
		_, _ = s.post(ctx, o, newDelivery(o, as))
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
		s.logger.Warn("webhook not accepted", "status", d.Status, "error", d.Error)
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
	response, err := s.client.Do(request) //nolint:gosec // the operator sets the URL; a request sets only the content
	if err != nil {
		return 0, withoutURL(err)
	}
	// Like Ongair, use only the status. Read at most 64 KiB of the body, so that the connection can
	// be reused.
	_, _ = io.CopyN(io.Discard, response.Body, 64<<10)
	_ = response.Body.Close()
	if !s.running.Load() {
		s.closeIdle()
	}
	return response.StatusCode, nil
}

// withoutURL returns err without the webhook URL, which contains a secret.
func withoutURL(err error) error {
	if inner := new(url.Error); errors.As(err, &inner) {
		return fmt.Errorf("sandbox: post webhook: %w", inner.Err)
	}
	return fmt.Errorf("sandbox: post webhook: %w", err)
}

// recordUnposted lists a webhook that will not be posted.
func (s *Sandbox) recordUnposted(fields []Field, why error) {
	d := newDelivery(composed(fields, nil), nil)
	d.Error = why.Error()
	s.deliveries.add(d, len(d.Body))
	s.logger.Warn("webhook not posted", "error", d.Error)
}

func newWebhookClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute},
		// A redirected POST would arrive as a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       webhookTimeout,
	}
}

// closeIdle closes the idle connections of the default client. They would otherwise stay open for
// up to a minute.
func (s *Sandbox) closeIdle() {
	if s.ownClient {
		s.client.CloseIdleConnections()
	}
}
