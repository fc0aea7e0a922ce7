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

	// maxAnswerBytes bounds what is read of an answer's body. Ongair's answers have
	// less than 200 bytes; the rest of the room is for pages of errors.
	maxAnswerBytes = 1 << 20
)

// reply is an answer as far as it could be read.
type reply struct {
	status int
	header http.Header
	url    *url.URL // what was asked: a Location may be relative to it
	body   []byte   // at most maxAnswerBytes
	// tooLarge says that there was more than body.
	tooLarge bool
}

// try makes one try of a call, when it is its turn. The reply is empty where there
// was none.
func (c *Client) try(ctx context.Context, r request) (a answer, got reply, err error) {
	settle, err := c.guard.admit(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = c.broken(ctx, fault.EffectNone, err)
		}
		return answer{}, reply{}, err
	}
	begin, said := time.Now(), errNoVerdict
	defer func() { settle(said) }() // a panic says nothing
	got, err = c.postInEitherForm(ctx, r)
	if err == nil {
		a, err = c.judge(got)
	}
	said = verdict(err, time.Since(begin))
	return a, got, err
}

// postInEitherForm makes one POST, or two where the first got a 401 and the form of
// the token is not pinned.
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

// post makes one POST and reads its answer. An error says that there is none to
// judge.
//
// It uses the transport without an http.Client around it: that is what follows
// redirects, and it fails on a Location that it cannot parse.
func (c *Client) post(ctx context.Context, r request, form AuthForm) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, c.broken(ctx, fault.EffectNone, err)
	}
	var seen progress
	// NewRequest gives a body of this type a GetBody; with it, net/http can take
	// another connection where it could write nothing to a pooled one.
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
	// Closing a body before its end closes the connection: nothing drains it.
	defer func() { _ = response.Body.Close() }()
	got := reply{status: response.StatusCode, header: response.Header, url: httpRequest.URL}
	if got.status >= http.StatusOK { // a 101 has a connection for a body, which may never end
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

// readAnswer reads a body, and one byte more than maxAnswerBytes of a larger one. It
// is mostly as long as its header says.
func readAnswer(response *http.Response) ([]byte, error) {
	if length := response.ContentLength; 0 <= length && length <= maxAnswerBytes {
		body := make([]byte, length)
		n, err := io.ReadFull(response.Body, body)
		return body[:n], err
	}
	return io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes+1))
}

// logPost logs one POST; status 0 means that there was no answer.
func (c *Client) logPost(ctx context.Context, r *http.Request, status int, begin time.Time) {
	c.log.LogAttrs(ctx, slog.LevelDebug, "called Ongair",
		slog.String("method", r.Method),
		slog.String("path", r.URL.Path),
		slog.Int("status", status),
		slog.Duration("duration", time.Since(begin)),
	)
}
