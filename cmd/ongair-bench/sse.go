package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
)

const (
	// typeSSE is the media type of Server-Sent Events.
	typeSSE = "text/event-stream"
	// sseReadBuffer is the size in bytes of each of the two buffers of a stream.
	sseReadBuffer = 16 << 10
)

// openSSE opens streams of Server-Sent Events, each on its own connection. They start after the
// newest event and do not end.
func openSSE(ctx context.Context, address string, sub subscription) (*streams, error) {
	return openStreams(ctx, sub, func(ctx context.Context, _ int) (receiver, int64, error) {
		receive, err := subscribeSSE(ctx, address)
		return receive, 0, err
	})
}

// subscribeSSE opens one stream. It reads from the connection itself, at a fraction of the cost of
// net/http's client. The stream ends when ctx does.
func subscribeSSE(ctx context.Context, address string) (receiver, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.Close() }) // the reader gets the error
	request := "GET /v1/events:subscribe?position=POSITION_LATEST HTTP/1.1\r\nHost: " + address + "\r\nAccept: " + typeSSE + "\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	response, err := http.ReadResponse(bufio.NewReaderSize(conn, sseReadBuffer), nil) //nolint:bodyclose // closing the connection ends the body
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != typeSSE {
		return nil, fmt.Errorf("unexpected answer to a subscription: %s, %s", response.Status, response.Header.Get("Content-Type"))
	}
	return receiveSSE(response.Body), nil
}

// receiveSSE returns the receiver of a stream. It counts the messages that have data, without
// decoding them.
func receiveSSE(body io.Reader) receiver {
	messages := bufio.NewScanner(body)
	messages.Buffer(make([]byte, sseReadBuffer), maxResponse)
	messages.Split(splitMessages)
	data := []byte("\ndata: ") // JSON has no line breaks
	return func(t *tally) error {
		if !messages.Scan() {
			if err := messages.Err(); err != nil {
				return err
			}
			return io.EOF
		}
		t.events = int64(bytes.Count(messages.Bytes(), data))
		if t.sampled {
			t.sample(messages.Bytes())
		}
		return nil
	}
}

// splitMessages splits a stream after the last complete message that has arrived. It is a
// bufio.SplitFunc.
func splitMessages(arrived []byte, _ bool) (advance int, token []byte, err error) {
	const blankLine = "\n\n"
	end := bytes.LastIndex(arrived, []byte(blankLine))
	if end < 0 {
		return 0, nil, nil
	}
	end += len(blankLine)
	return end, arrived[:end], nil
}

// webStreams compares Server-Sent Events with a handler that writes messages of the same size.
func webStreams(_ context.Context, w *workbench) ([]trial, error) {
	const single, batched = "bare handler, one event a flush", "bare handler, batches"
	one := func(name string, pace int, start func(context.Context) (*process, error)) variant {
		f := fanOut{start: start, sse: true, streams: w.pacedStreams, sampleEvery: 50, pace: pace}
		return f.variant(name, w.runner)
	}
	small := goal{metric: memory, against: batched, compare: ratio, limit: 1.25, atMost: true, text: "memory ≤ 1.25 ×"}
	return []trial{
		{
			name: "W1, flat out", unit: "deliveries",
			variants: []variant{one(single, 0, w.startSSE(oneMessage)), one(batched, 0, w.startSSE(batches)), one(gateway, 0, w.freshGateway)},
			goals: []goal{
				{metric: rate, against: single, compare: ratio, limit: 0.9, text: "≥ 0.9 × deliveries/s"},
				{metric: rate, against: batched, compare: ratio, limit: 0.9, text: "≥ 0.9 × deliveries/s"},
				small,
			},
		},
		{
			name: fmt.Sprintf("W1, %d events/s", pacedRate), unit: "deliveries",
			variants: []variant{one(batched, pacedRate, w.startSSE(batches)), one(gateway, pacedRate, w.freshGateway)},
			goals:    []goal{small},
		},
	}, nil
}

// webLatency compares Server-Sent Events with streams over gRPC.
func webLatency(_ context.Context, w *workbench) ([]trial, error) {
	const baseline = "over gRPC"
	f := fanOut{start: w.freshGateway, connections: w.pacedStreams, streams: w.pacedStreams, sampleEvery: 50, pace: pacedRate}
	web := f
	web.sse = true
	return []trial{{
		name: "W2", unit: "deliveries",
		variants: []variant{f.variant(baseline, w.runner), web.variant(gateway, w.runner)},
		goals: []goal{
			{metric: p99, against: baseline, compare: ratio, limit: 1.25, atMost: true, text: "p99 ≤ 1.25 ×"},
		},
	}}, nil
}
