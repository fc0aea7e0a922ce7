package ongair

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"time"

	"github.com/ongair/ongair-gateway/server/fault"
)

const (
	userAgent = "ongair-gateway"

	// maxAnswerBytes bounds how much of an answer's body is read. Ongair's answers have less than
	// 200 bytes. The rest is for error pages.
	maxAnswerBytes = 1 << 20
)

// reply is an answer, as far as it was read.
type reply struct {
	status int
	header http.Header
	url    *url.URL // the URL of the request: a Location may be relative to it
	body   []byte   // at most maxAnswerBytes
	// tooLarge is true if the answer had more than maxAnswerBytes.
	tooLarge bool
}

// try waits for a turn and makes one try of a call. The reply is empty if there was none.
func (c *Client) try(ctx context.Context, r request) (a answer, got reply, err error) {
	settle, err := c.guard.admit(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = c.broken(ctx, fault.EffectNone, err)
		}
		return answer{}, reply{}, err
	}
	begin, result := time.Now(), errNoVerdict
	defer func() { settle(result) }() // a panic keeps errNoVerdict
	got, err = c.postInEitherForm(ctx, r)
	if err == nil {
		a, err = c.judge(got)
	}
	result = verdict(err, time.Since(begin))
	return a, got, err
}

// postInEitherForm makes one POST, and a second one if the first got a 401 and the form of the
// token is AuthAuto.
func (c *Client) postInEitherForm(ctx context.Context, r request) (reply, error) {
	form := c.formNow()
	got, err := c.post(ctx, r, form)
	if err == nil && got.status == http.StatusUnauthorized && c.authForm == AuthAuto {
		form = form.other()
		got, err = c.post(ctx, r, form)
		if err == nil && provesToken(got.status) {
			c.accepted.Store(int32(form))
		}
	}
	return got, err
}

// post makes one POST and reads its answer. It fails if there is no answer to judge.
//
// It calls the transport directly, because an http.Client follows redirects, and fails on a
// Location that it cannot parse.
func (c *Client) post(ctx context.Context, r request, form AuthForm) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, c.broken(ctx, fault.EffectNone, err)
	}
	var seen progress
	// NewRequest sets GetBody for a body of this type. It lets net/http take another connection if
	// it could not write one byte to a pooled one.
	httpRequest, err := http.NewRequestWithContext(
		httptrace.WithClientTrace(ctx, seen.trace()), http.MethodPost, c.baseURL+r.path, bytes.NewReader(r.body))
	if err != nil {
		return reply{}, unencodable(c.redactError(err))
	}
	httpRequest.Header.Set("Accept", "application/json")
	httpRequest.Header.Set("Authorization", form.authorization(c.token))
	httpRequest.Header.Set("Content-Type", r.contentType)
	httpRequest.Header.Set("User-Agent", userAgent)

	begin := time.Now()
	response, err := c.transport.RoundTrip(httpRequest)
	if err != nil {
		c.logPost(ctx, httpRequest, 0, begin)
		return reply{}, c.broken(ctx, seen.effect(c.transport), err)
	}
	// Closing a body before its end closes the connection, without draining it.
	defer func() { _ = response.Body.Close() }()
	got := reply{status: response.StatusCode, header: response.Header, url: httpRequest.URL}
	if got.status >= http.StatusOK { // the body of a 101 is a connection, which may never end
		got.body, err = readAnswer(response)
	}
	c.logPost(ctx, httpRequest, got.status, begin)
	if err != nil && got.status/100 == 2 {
		return reply{}, c.broken(ctx, fault.EffectUnknown, err)
	}
	if len(got.body) > maxAnswerBytes {
		got.body, got.tooLarge = got.body[:maxAnswerBytes], true
	}
	return got, nil
}

// readAnswer reads a body of at most maxAnswerBytes, or maxAnswerBytes+1 bytes of a larger one. It
// allocates the Content-Length if there is one.
func readAnswer(response *http.Response) ([]byte, error) {
	if length := response.ContentLength; 0 <= length && length <= maxAnswerBytes {
		body := make([]byte, length)
		n, err := io.ReadFull(response.Body, body)
		return body[:n], err
	}
	return io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
}

// logPost logs one POST. A status of 0 means no answer.
func (c *Client) logPost(ctx context.Context, r *http.Request, status int, begin time.Time) {
	c.log.LogAttrs(ctx, slog.LevelDebug, "called Ongair",
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", status),
		slog.Duration("duration", time.Since(begin)),
	)
}
