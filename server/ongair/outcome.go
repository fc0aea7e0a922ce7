package ongair

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

// unreachableRetryAfter is the advice for a call that sent nothing. Most refused connections are
// restarts.
const unreachableRetryAfter = time.Second

// judge turns an answer into success or a fault.
func (c *Client) judge(got reply) (answer, error) {
	switch status := got.status; {
	case status/100 == 2:
		return c.judgeSuccess(got)
	case status/100 == 3:
		return answer{}, c.redirected(got)
	case status == http.StatusUnauthorized:
		return answer{}, newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_TOKEN_REJECTED, fault.EffectNone, 0,
			"Ongair rejected the channel's token; nothing was sent")
	case status == http.StatusTooManyRequests, status == http.StatusServiceUnavailable:
		return answer{}, throttled(got)
	case status == http.StatusRequestTimeout, status/100 == 5:
		return answer{}, failed(status)
	case status/100 == 4:
		text := ""
		if !got.tooLarge {
			text = parseErrorText(got.body)
		}
		return answer{}, c.refused(status, text)
	}
	return answer{}, c.unreadable(got.status, errors.New("unknown class of status"))
}

func (c *Client) judgeSuccess(got reply) (answer, error) {
	if got.tooLarge {
		return answer{}, c.unreadable(got.status, fmt.Errorf("more than %d bytes", maxAnswerBytes))
	}
	a, err := parseAnswer(got.body)
	if err != nil {
		return answer{}, c.unreadable(got.status, err)
	}
	if !a.accepted {
		return answer{}, c.refused(got.status, a.refusal)
	}
	return a, nil
}

// broken returns the fault of a POST without a usable answer. Only ctx shows whether the context
// ended: a timeout of the dialer is also a context.DeadlineExceeded to errors.Is.
func (c *Client) broken(ctx context.Context, effect fault.Effect, cause error) error {
	known := "the message may have been sent"
	if effect == fault.EffectNone {
		known = "nothing was sent"
	}
	var f *fault.Fault
	ended := ctx.Err()
	switch {
	case errors.Is(ended, context.DeadlineExceeded):
		f = newFault(ongairv1.ErrorReason_ERROR_REASON_DEADLINE_EXCEEDED, effect, 0, "the deadline passed; "+known)
	case ended != nil:
		f = newFault(ongairv1.ErrorReason_ERROR_REASON_CANCELLED, effect, 0, "the caller cancelled the call; "+known)
	case effect == fault.EffectNone:
		f = newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_UNREACHABLE, effect, 0,
			"Ongair could not be reached; "+known)
		f.RetryAfter = unreachableRetryAfter
	default:
		f = newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CONNECTION_LOST, effect, 0,
			"the connection to Ongair was lost during the call; "+known)
	}
	f.Cause = c.redactError(cause)
	if ended != nil && !errors.Is(f.Cause, ended) {
		f.Cause = fmt.Errorf("%w: %w", ended, f.Cause)
	}
	return f
}

func (c *Client) redirected(got reply) error {
	target := "another address"
	raw := got.header.Get("Location")
	if location, err := got.url.Parse(raw); raw != "" && err == nil && location.Host != "" {
		// Paths and queries of redirects may contain sessions and return addresses.
		target = publicText(c.redact(location.Scheme + "://" + location.Host))
	}
	return newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REDIRECTED, fault.EffectUnknown, got.status,
		fmt.Sprintf("Ongair answered with status %d and a redirect to %s: check the channel's base URL", got.status, target))
}

// throttled returns the fault of a 429 or 503. A 503 counts as a throttle only with a valid
// Retry-After. Without one it may come from a router that has forwarded the request.
func throttled(got reply) error {
	advice, advised := retryAfter(got.header, time.Now())
	if got.status == http.StatusServiceUnavailable && !advised {
		return failed(got.status)
	}
	f := newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_THROTTLED, fault.EffectNone, 0,
		fmt.Sprintf("Ongair throttles the channel (status %d); nothing was sent", got.status))
	f.RetryAfter = advice
	return f
}

func failed(status int) error {
	return newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_FAILED, fault.EffectUnknown, status,
		fmt.Sprintf("Ongair failed with status %d; the message may have been sent", status))
}

// refused returns the fault of a refusal. text is Ongair's own text, and may be empty.
func (c *Client) refused(status int, text string) error {
	message := fmt.Sprintf("Ongair rejected the call with status %d; nothing was sent", status)
	if text = publicText(c.redact(text)); text != "" {
		message = "Ongair rejected the call: " + text
	}
	return newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_REFUSED, fault.EffectNone, status, message)
}

func (c *Client) unreadable(status int, cause error) error {
	f := newFault(ongairv1.ErrorReason_ERROR_REASON_ONGAIR_ANSWER_UNREADABLE, fault.EffectUnknown, status,
		fmt.Sprintf("Ongair's answer with status %d could not be parsed; the message may have been sent", status))
	f.Cause = c.redactError(cause)
	return f
}

// newFault returns a fault. A status of 0 leaves out the metadata upstream_status.
func newFault(reason ongairv1.ErrorReason, effect fault.Effect, status int, message string) *fault.Fault {
	f := fault.New(reason, "%s", message)
	f.Effect = effect
	if status != 0 {
		f.Metadata = map[string]string{"upstream_status": strconv.Itoa(status)}
	}
	return f
}
