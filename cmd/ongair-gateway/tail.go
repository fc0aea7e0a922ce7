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

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
)

// Pauses between two tries to connect again: short at first, since a gateway
// that restarts is back within a second.
const (
	minReconnectDelay = 200 * time.Millisecond
	maxReconnectDelay = 5 * time.Second
)

type tailCmd struct {
	clientFlags    `group:"Gateway"`
	selectionFlags `group:"Request" set:"from=latest"`

	Output string `enum:"text,json" default:"text" placeholder:"FORMAT" help:"text, or json: one event a line (${default})."`
}

// Run prints events until ctx ends or the gateway says that it cannot go on. A
// connection that was lost is made again, and continues where it was.
func (c tailCmd) Run(ctx context.Context, s streams) error {
	req, err := c.subscription()
	if err != nil {
		return err
	}
	client, conn, err := c.client()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is under way any more
	printEvent := printText
	if c.Output == "json" {
		printEvent = func(out io.Writer, e *ongairv1.Event) error { return printJSON(out, e) }
	}
	delay := minReconnectDelay
	for connected := false; ; {
		err := follow(ctx, client, req, func(response *ongairv1.SubscribeResponse) error {
			connected, delay = true, minReconnectDelay
			for _, e := range response.GetEvents() {
				if err := printEvent(s.out, e); err != nil {
					return fmt.Errorf("stdout: %w", err)
				}
			}
			// Only what was printed is behind the cursor to come back with.
			req.Start = &ongairv1.SubscribeRequest_Cursor{Cursor: response.GetCursor()}
			return nil
		})
		if ctx.Err() != nil {
			return nil
		}
		if !connected {
			return c.diagnose(ctx, err)
		}
		if !isRetryable(err) {
			return err
		}
		_, _ = fmt.Fprintf(s.err, "ongair-gateway: lost the gateway, connecting again: %s\n", describe(err)) // nowhere left to complain
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
		delay = min(2*delay, maxReconnectDelay)
	}
}

// follow calls handle with every response of a subscription until it ends.
func follow(ctx context.Context, client ongairv1.OngairServiceClient, req *ongairv1.SubscribeRequest,
	handle func(*ongairv1.SubscribeResponse) error,
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Subscribe(ctx, req)
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return status.Error(codes.Unavailable, "the gateway ended the stream")
		}
		if err != nil {
			return err
		}
		if err := handle(response); err != nil {
			return err
		}
	}
}

// isRetryable reports whether a subscription that ended with err can go on later.
func isRetryable(err error) bool {
	s := statusOf(err)
	if s == nil {
		return false // stdout is gone
	}
	switch s.Code() {
	case codes.Unavailable, codes.Internal, codes.Unknown, codes.ResourceExhausted:
		return true
	default:
		return false
	}
}

// printText prints an event for people: when, where, what, who, and what was
// said.
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

// quoteUnprintable returns s, quoted where it has more than printable characters: whoever
// sends webhooks must not be able to break lines or control a terminal.
func quoteUnprintable(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(s)
	}
	return s
}

// quoteAll quotes what people wrote, and leaves out what is empty.
func quoteAll(values ...string) []string {
	var quoted []string
	for _, v := range values {
		if v != "" {
			quoted = append(quoted, strconv.Quote(v))
		}
	}
	return quoted
}
