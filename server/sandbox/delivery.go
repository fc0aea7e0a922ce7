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
	"strings"
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
	// Fields are the form's fields in order; none if the webhook was triggered as something else than a form.
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

// Trigger posts one webhook now, as a form with these fields in this order, and says what the receiver answered. Names
// and values may be any bytes. It does not wait for queued webhooks, works while Run does not, and fails with
// ErrNoWebhookURL, with ctx's error, or with the reason why there is no answer.
func (s *Sandbox) Trigger(ctx context.Context, fields []Field) (status int, err error) {
	return s.post(ctx, &Delivery{ContentType: formType, Fields: fields, Body: encodeForm(fields), Triggered: true})
}

// deliver posts queued webhooks, one after the other, until ctx ends.
func (s *Sandbox) deliver(ctx context.Context) {
	for {
		compose, err := s.queue.pop(ctx)
		if err != nil {
			return
		}
		fields := compose()
		// The outcome is in Deliveries and the log; a webhook is posted once, whatever it is.
		_, _ = s.post(ctx, &Delivery{ContentType: formType, Fields: fields, Body: encodeForm(fields)})
	}
}

// post posts d once and keeps it with its outcome.
func (s *Sandbox) post(ctx context.Context, d *Delivery) (status int, err error) {
	if s.config.WebhookURL == "" {
		return 0, ErrNoWebhookURL
	}
	d.Time = time.Now()
	d.Status, err = s.exchange(ctx, d.ContentType, d.Body)
	if err != nil {
		d.Error = err.Error()
	}
	s.deliveries.add(d, len(d.Body))
	if d.Status != http.StatusOK {
		s.logger.Warn("a webhook was not taken", "status", d.Status, "error", d.Error)
	}
	return d.Status, err
}

func (s *Sandbox) exchange(ctx context.Context, contentType string, body []byte) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.WebhookURL, bytes.NewReader(body))
	if err != nil {
		return 0, withoutURL(err)
	}
	request.Header.Set("Content-Type", contentType)
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
	d := &Delivery{Time: time.Now(), ContentType: formType, Fields: fields, Body: encodeForm(fields), Error: why.Error()}
	s.deliveries.add(d, len(d.Body))
	s.logger.Warn("a webhook was not posted", "error", d.Error)
}

// encodeForm is url.Values.Encode for fields that keep their order.
func encodeForm(fields []Field) []byte {
	pairs := make([]string, len(fields))
	for i, f := range fields {
		pairs[i] = url.QueryEscape(f.Name) + "=" + url.QueryEscape(f.Value)
	}
	return []byte(strings.Join(pairs, "&"))
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
