package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

const (
	// minReconnectDelay and maxReconnectDelay bound the delay before a reconnect. The minimum is
	// short, because a gateway restarts within a second.
	minReconnectDelay = 200 * time.Millisecond
	maxReconnectDelay = 5 * time.Second
	// minSilence is the shortest silence that ends a connection, even if heartbeats are more
	// frequent. It leaves time for a handshake with a distant gateway.
	minSilence = 2 * time.Second
)

type tailCmd struct {
	clientFlags    `group:"Gateway"`
	selectionFlags `group:"Request" set:"from=latest"`

	HeartbeatInterval time.Duration `name:"heartbeat-interval" default:"15s" group:"Request" placeholder:"DURATION" help:"Interval of the gateway's heartbeats, from 100ms to 5m. After two intervals without a response, tail reconnects (${default})."`

	Output string `enum:"text,json" default:"text" placeholder:"FORMAT" help:"Output format: text, or json with one event per line (${default})."`
}

// Run prints events until ctx ends or the gateway rejects the subscription. It reconnects and
// resumes if the connection is lost or silent.
func (c tailCmd) Run(ctx context.Context, s streams) error {
	return c.run(ctx, s)
}

// run is Run with further dial options.
func (c tailCmd) run(ctx context.Context, s streams, options ...grpc.DialOption) error {
	req, err := c.subscription()
	if err != nil {
		return err
	}
	req.HeartbeatInterval = durationpb.New(c.HeartbeatInterval)
	printEvent := printText
	if c.Output == "json" {
		printEvent = func(out io.Writer, e *ongairv1.Event) error { return printJSON(out, e) }
	}
	delay := minReconnectDelay
	for connected := false; ctx.Err() == nil; {
		err := c.follow(ctx, req, options, func(response *ongairv1.SubscribeResponse) error {
			connected, delay = true, minReconnectDelay
			for _, e := range response.GetEvents() {
				if err := printEvent(s.out, e); err != nil {
					return outputError{fmt.Errorf("stdout: %w", err)}
				}
			}
			// The cursor covers only events that were printed.
			req.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: response.GetCursor()}
			return nil
		})
		switch {
		case ctx.Err() != nil:
			continue
		case !connected:
			return c.diagnose(ctx, err)
		case !isRetryable(err):
			return err
		}
		_, _ = fmt.Fprintf(s.err, "ongair-gateway: connection lost, reconnecting: %s\n", describe(err)) // stderr may be closed
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(2*delay, maxReconnectDelay)
	}
	return nil
}

// follow calls handle with every response of a subscription. It ends a subscription without a
// response for two heartbeats, and at least minSilence. Each subscription has its own connection,
// because the connection may be the cause of the silence.
func (f clientFlags) follow(ctx context.Context, req *ongairv1.SubscribeRequest, options []grpc.DialOption,
	handle func(*ongairv1.SubscribeResponse) error,
) error {
	conn, err := f.dial(options...)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the subscription has ended
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := max(2*req.GetHeartbeatInterval().AsDuration(), minSilence)
	silent := status.Errorf(codes.Unavailable, "no response for %s", silence)
	watchdog := time.AfterFunc(silence, func() { cancel(silent) })
	defer watchdog.Stop()
	stream, err := ongairv1.NewOngairServiceClient(conn).Subscribe(ctx, req)
	for err == nil {
		var response *ongairv1.SubscribeResponse
		if response, err = stream.Recv(); err == nil {
			watchdog.Stop() // writing to stdout may block
			err = handle(response)
			watchdog.Reset(silence)
		}
	}
	switch {
	case errors.Is(context.Cause(ctx), silent):
		return silent
	case errors.Is(err, io.EOF):
		return status.Error(codes.Unavailable, "the gateway ended the stream")
	}
	return err
}

// outputError is a failed write to stdout.
type outputError struct{ error }

func (e outputError) Unwrap() error { return e.error }

// isRetryable reports whether a subscription that ended with err can be resumed. tail neither
// cancels a subscription nor sets a deadline, so those codes come from a proxy. An error
// without a status means that reconnecting failed, for example while a certificate is replaced.
func isRetryable(err error) bool {
	if _, ok := errors.AsType[outputError](err); ok {
		return false
	}
	s := statusOf(err)
	if s == nil {
		return true
	}
	switch s.Code() {
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.ResourceExhausted, codes.Canceled, codes.DeadlineExceeded:
		return true
	default:
		return false
	}
}

// printText prints an event as a line of text: time, channel, type, contact and content.
func printText(out io.Writer, e *ongairv1.Event) error {
	line := []string{
		e.GetReceiveTime().AsTime().Local().Format("2006-01-02 15:04:05.000"),
		e.GetChannel(),
		quoteUnprintable(cmp.Or(e.GetNotificationType(), "(no type)")),
		quoteUnprintable(cmp.Or(e.GetContact().GetExternalId(), "-")),
	}
	switch p := e.GetPayload().(type) {
	case *ongairv1.Event_MessageSent:
		line = append(line, quoteAll(p.MessageSent.GetImage(), p.MessageSent.GetText())...)
	case *ongairv1.Event_MessageReceived:
		line = append(line, quoteAll(p.MessageReceived.GetText())...)
	case *ongairv1.Event_ImageReceived:
		line = append(line, quoteAll(p.ImageReceived.GetImage(), p.ImageReceived.GetText())...)
	case *ongairv1.Event_TicketStatusUpdated:
		line = append(line, quoteUnprintable(p.TicketStatusUpdated.GetStatus()), "conversation "+quoteUnprintable(e.GetConversationId()))
	case *ongairv1.Event_LocationReceived:
		line = append(line, quoteUnprintable(p.LocationReceived.GetLatitude()+","+p.LocationReceived.GetLongitude()))
		line = append(line, quoteAll(p.LocationReceived.GetAddress())...)
	case *ongairv1.Event_DeliveryReceipt:
		line = append(line, "message "+quoteUnprintable(p.DeliveryReceipt.GetId()))
	case *ongairv1.Event_GroupMessageReceived:
		line = append(line, "group "+quoteUnprintable(p.GroupMessageReceived.GetGroupId()))
		line = append(line, quoteAll(p.GroupMessageReceived.GetText())...)
	case *ongairv1.Event_ContactAddedToGroup:
		line = append(line, "group "+quoteUnprintable(p.ContactAddedToGroup.GetGroupId()))
	case *ongairv1.Event_ContactRemovedFromGroup:
		line = append(line, "group "+quoteUnprintable(p.ContactRemovedFromGroup.GetGroupId()))
	case *ongairv1.Event_GroupCreated:
		line = append(line, "group "+quoteUnprintable(p.GroupCreated.GetId()))
		line = append(line, quoteAll(p.GroupCreated.GetName())...)
	default:
		for _, f := range e.GetFields() {
			line = append(line, quoteUnprintable(f.GetName())+"="+strconv.Quote(f.GetValue()))
		}
	}
	_, err := fmt.Fprintln(out, strings.Join(line, "  "))
	return err
}

// quoteUnprintable returns s, quoted if it has unprintable characters. Without quotes, a webhook
// could add lines or control a terminal.
func quoteUnprintable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// quoteAll returns the non-empty values, quoted.
func quoteAll(values ...string) []string {
	var quoted []string
	for _, v := range values {
		if v != "" {
			quoted = append(quoted, strconv.Quote(v))
		}
	}
	return quoted
}
